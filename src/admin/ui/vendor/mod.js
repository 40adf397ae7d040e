// The one place that imports vendored libraries.

import { h, render, Component, Fragment } from './preact.js';
import htm from './htm.js';

export { h, render, Component, Fragment };
export { useEffect, useLayoutEffect, useMemo, useRef, useState, useCallback, useErrorBoundary } from './hooks.js';
export { signal, computed, effect, batch, useSignal, useComputed } from './signals.js';
export const html = htm.bind(h);
/** uPlot is the largest file: only a page with a chart loads it. */
export const loadPlot = () => import('./uplot.js').then((module) => module.default);
