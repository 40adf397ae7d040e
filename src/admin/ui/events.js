// What the backend tells as it happens. A stream that breaks off is opened again; pages that cannot have one poll.

import { useEffect, useState } from './vendor/mod.js';

const ADMIN = '/api/v1/admin';

/** Calls `on[kind]` with each event's data while the component is there. Answers whether the stream is open. */
export function useEvents(path, on, deps = []) {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    if (!path) return undefined;
    const source = new EventSource(ADMIN + path);
    source.onopen = () => setOpen(true);
    source.onerror = () => setOpen(false);
    for (const [kind, tell] of Object.entries(on)) {
      source.addEventListener(kind, (event) => { try { tell(JSON.parse(event.data)); } catch { /* of a newer node */ } });
    }
    return () => source.close();
  }, [path, ...deps]);
  return open;
}
