// The one place that imports vendored libraries.

import { h, render, Component, Fragment } from './preact.js';
import htm from './htm.js';

export { h, render, Component, Fragment };
export { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useErrorBoundary } from './hooks.js';
export { signal, computed, effect, batch, useSignal, useComputed } from './signals.js';
/** Every element is made anew. htm would keep those without a variable part, and one that is kept holds the element that it was
 * last in, and that one its own, back to the first: nothing drawn would ever be let go. */
export const html = htm.bind(function make(...of) { this[0] = 3; return h(...of); });
/** uPlot is the largest file: only a page with a chart loads it. */
export const loadPlot = () => import('./uplot.js').then((module) => module.default);
