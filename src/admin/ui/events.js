// What the backend tells as it happens. A stream that breaks off is opened again; pages that cannot have one poll.
//
// A browser opens six connections to a node, for all of its tabs together, and a stream holds one as long as it is open. So
// who listens to the same shares one, and a page that nobody looks at, or that was left, has none.

import { useEffect, useState } from './vendor/mod.js';

const ADMIN = '/api/v1/admin';
/** Looked away from for so long. */
const HIDDEN_MS = 10_000;
/** Refused, not broken off: the browser does not try again by itself. */
const REFUSED_MS = 5000;

/** By path: {path, listeners, source, timer}. */
const streams = new Map();

function hear(stream, listener) {
  for (const [kind, tell] of Object.entries(listener.on)) {
    stream.source.addEventListener(kind, (event) => {
      if (!stream.listeners.has(listener)) return;
      try { tell(JSON.parse(event.data)); } catch { /* of a newer node */ }
    });
  }
}

function begin(stream) {
  if (stream.source) return;
  const source = new EventSource(ADMIN + stream.path);
  const say = (isOpen) => { for (const listener of stream.listeners) listener.say(isOpen); };
  stream.source = source;
  source.onopen = () => say(true);
  source.onerror = () => {
    say(false);
    if (source.readyState !== EventSource.CLOSED || stream.source !== source) return;
    end(stream);
    stream.timer = setTimeout(() => { if (stream.listeners.size) begin(stream); }, REFUSED_MS);
  };
  for (const listener of stream.listeners) hear(stream, listener);
}

function end(stream) {
  clearTimeout(stream.timer);
  stream.source?.close();
  stream.source = null;
  for (const listener of stream.listeners) listener.say(false);
}

const endAll = () => streams.forEach(end);
const beginAll = () => streams.forEach(begin);
let looking = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(looking);
  if (document.hidden) looking = setTimeout(endAll, HIDDEN_MS);
  else beginAll();
});
// A page that was left may be kept, with its streams, to be shown again.
window.addEventListener('pagehide', endAll);
window.addEventListener('pageshow', beginAll);

/** Calls `on[kind]` with each event's data while the component is there. Answers whether the stream is open. */
export function useEvents(path, on, deps = []) {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (!path) return undefined;
    const listener = { on, say: setOpen };
    let stream = streams.get(path);
    if (!stream) streams.set(path, stream = { path, listeners: new Set(), source: null, timer: 0 });
    stream.listeners.add(listener);
    if (stream.source) {
      hear(stream, listener);
      setOpen(stream.source.readyState === EventSource.OPEN);
    } else begin(stream);
    return () => {
      stream.listeners.delete(listener);
      if (stream.listeners.size) return;
      end(stream);
      streams.delete(path);
    };
  }, [path, ...deps]);
  return open;
}
