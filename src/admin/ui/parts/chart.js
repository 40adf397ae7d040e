// uPlot in the panel's colours. It redraws when the data, the width or the theme change.

import { html, useEffect, useRef, loadPlot } from '../vendor/mod.js';
import { theme } from '../store.js';
import { t } from '../i18n.js';
import { short, duration, usd, clock } from '../format.js';

const HEIGHT = 200;

/** A role's colour as the canvas needs it. */
function colour(box, role) {
  const probe = document.createElement('span');
  probe.style.color = `var(--${role})`;
  box.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

export function Chart({ x, lines, label, unit = '', kind = 'line', stack = false }) {
  const box = useRef(null);
  const plot = useRef(null);
  const words = (value) => (value === null || value === undefined ? '–' : unit === 'ms' ? duration(value) : unit === '$' ? usd(value) : short(value));
  const dark = theme.value;
  const data = () => {
    if (!stack) return [x, ...lines.map((line) => line.values)];
    // The last line lies at the bottom; each before it stands on those behind.
    const sums = [];
    for (let at = lines.length - 1; at >= 0; at -= 1) sums[at] = lines[at].values.map((value, i) => value + (sums[at + 1]?.[i] || 0));
    return [x, ...sums];
  };
  useEffect(() => {
    const el = box.current;
    let over = false;
    let watch;
    const make = async () => {
      const UPlot = await loadPlot();
      if (over) return;
      const line = colour(el, 'line');
      const axis = { stroke: colour(el, 'soft'), grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
      const bars = kind === 'bars' ? UPlot.paths.bars({ size: [0.7, 24] }) : undefined;
      plot.current?.destroy();
      plot.current = new UPlot({
        width: Math.max(200, el.clientWidth), height: HEIGHT, padding: [8, 26, 0, 0],
        cursor: { y: false, drag: { x: false, y: false } },
        legend: { live: true },
        scales: { y: { range: (_, min, max) => [0, Math.max(max || 0, unit === '$' ? 1e-9 : 1) * 1.1] } },
        axes: [{ ...axis, size: 30, values: (_, ticks) => ticks.map((s) => clock(s * 1000).slice(0, ticks[1] - ticks[0] < 60 ? 8 : 5)), space: 72 },
          { ...axis, size: 58, values: (_, ticks) => ticks.map(words) }],
        series: [{ label: t('req.time'), value: (_, s) => (s === null ? '–' : new Date(s * 1000).toLocaleTimeString()) }, ...lines.map((one, at) => ({
          label: one.label, stroke: colour(el, one.role), fill: bars ? colour(el, one.role) : undefined, width: bars ? 0 : 1.5,
          paths: bars, points: { show: !bars, size: 3 }, spanGaps: true, value: (_, value, series, i) => words(stack && i !== null ? lines[at].values[i] : value),
        }))],
      }, data(), el);
      watch?.disconnect();
      watch = new ResizeObserver(() => { if (el.isConnected) plot.current?.setSize({ width: Math.max(200, el.clientWidth), height: HEIGHT }); });
      watch.observe(el);
    };
    make();
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', make);
    return () => { over = true; watch?.disconnect(); scheme.removeEventListener('change', make); plot.current?.destroy(); plot.current = null; };
  }, [dark, lines.map((one) => one.label).join()]);
  useEffect(() => { plot.current?.setData(data()); });
  return html`<div class="chart" ref=${box} role="img" aria-label=${label}></div>`;
}
