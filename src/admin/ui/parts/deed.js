// What is done once. A press that comes while a deed is under way begins no second one, not even within the moment before
// the page is drawn anew: two clicks, or Enter and a click, in one go.

import { useRef, useState } from '../vendor/mod.js';

/** `[busy, begin]`: `begin(deed, name)` runs it unless one is under way; `busy` is its name meanwhile. Answers whether it ran. */
export function useDeed() {
  const under = useRef(false);
  const [busy, setBusy] = useState('');
  const begin = async (deed, name = 'deed') => {
    if (under.current) return false;
    under.current = true;
    setBusy(name);
    try {
      await deed();
    } finally {
      under.current = false;
      setBusy('');
    }
    return true;
  };
  return [busy, begin];
}
