// Line icons on a 24 grid, drawn by hand.

import { html } from '../vendor/mod.js';

const paths = {
  token: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5',
  keys: 'M3 12h10M13 12a4 4 0 1 0 8 0 4 4 0 0 0-8 0M4 12v4M8 12v3',
  requests: 'M4 6h16M4 12h16M4 18h10',
  jobs: 'M4 5h10M4 12h16M4 19h7M18 4v4M16 6h4M15 17l2 2 4-4',
  users: 'M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M2.5 20c.7-4 3-6 6.5-6s5.8 2 6.5 6M16 5.5a3.5 3.5 0 0 1 0 6.5M17.5 14.5c2.3.7 3.6 2.5 4 5.5',
  datacenter: 'M4 20V10M10 20V4M16 20v-8M21 20H3',
  cluster: 'M12 4v5M12 9 5 18M12 9l7 9M5 18h14M12 4h.01',
  cache: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 8.5h.01',
  config: 'M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6',
  chat: 'M4 5h16v11H9l-5 4z',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l5 5',
  menu: 'M4 6h16M4 12h16M4 18h16',
  close: 'M6 6l12 12M18 6 6 18',
  plus: 'M12 5v14M5 12h14',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5',
  moon: 'M20 14.5A8 8 0 1 1 9.5 4 6.5 6.5 0 0 0 20 14.5z',
  auto: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  globe: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18',
  user: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M4 20c1-4 4-6 8-6s7 2 8 6',
  exit: 'M14 4h6v16h-6M10 8l-4 4 4 4M6 12h10',
  refresh: 'M20 11a8 8 0 0 0-14-4L4 9M4 4v5h5M4 13a8 8 0 0 0 14 4l2-2M20 20v-5h-5',
  stop: 'M7 7h10v10H7z',
  send: 'M12 19V5M6 11l6-6 6 6',
  edit: 'M4 20h4L19 9l-4-4L4 16z',
  trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5',
  download: 'M12 4v11M7 11l5 5 5-5M4 20h16',
  upload: 'M12 16V5M7 9l5-5 5 5M4 20h16',
  fold: 'M4 5h16v14H4zM9 5v14',
  help: 'M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18h.01',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5l11 7-11 7z',
  eye: 'M2 12s4-6 10-6 10 6 10 6-4 6-10 6-10-6-10-6M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5',
};

export const Icon = ({ name, size = 18 }) => html`
  <svg viewBox="0 0 24 24" width=${size} height=${size} fill="none" stroke="currentColor" stroke-width="1.8"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d=${paths[name]} /></svg>`;

/** States have a shape beside their colour. Made anew each time: an element that is used twice holds where it was before. */
const shapes = {
  active: () => html`<circle cx="6" cy="6" r="5" fill="currentColor" />`,
  cooling: () => html`<circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" /><path d="M6 1.8a4.2 4.2 0 0 1 0 8.4z" fill="currentColor" />`,
  exhausted: () => html`<circle cx="6" cy="6" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" />`,
  expired: () => html`<path d="M2.5 2.5l7 7M9.5 2.5l-7 7" stroke="currentColor" stroke-width="2" stroke-linecap="round" />`,
  disabled: () => html`<path d="M2 6h8" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" />`,
};
export const Shape = ({ state }) => html`<svg viewBox="0 0 12 12" width="10" height="10" aria-hidden="true">${(shapes[state] || shapes.exhausted)()}</svg>`;
