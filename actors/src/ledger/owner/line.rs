//! Who waits for units of a meter: whoever was served longest ago comes first, so that a holder that asks more often, or
//! whose callers wait longer, gets no more; and nobody buys ahead what another waits for.

use grok2api_schemas::ids::SessionId;

use crate::clock::Mono;

/// A holder that was told when to come again, and does not come so long after that, has lost its place, milliseconds.
const LATE_MS: u64 = 500;
/// Who was served when is remembered for so long after somebody waited, milliseconds.
const REMEMBERED_MS: u64 = 60_000;

/// The holders that wait for units of one meter, and those that did.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<Holder>);

#[derive(Clone, Copy, Debug)]
struct Holder {
    session: SessionId,
    /// When it got something last; at no time, if that is not known.
    served: Mono,
    /// Since when it waits.
    since: Mono,
    /// What is set aside for it: what it needs, at most its fair part.
    claim: u64,
    /// It asks again by then, if it waits.
    expected_by: Mono,
}

impl Holder {
    fn waits(&self, now: Mono) -> bool {
        self.claim > 0 && self.expected_by > now
    }
}

impl Line {
    /// Units that are set aside for others when this holder asks: for those that come before it; for all, if it only buys
    /// ahead.
    pub(super) fn set_aside(&self, now: Mono, session: SessionId, is_needed: bool) -> u64 {
        let known = self.0.iter().find(|holder| holder.session == session);
        let own = known.map_or((Mono(0), now), |holder| {
            let since = if holder.waits(now) { holder.since } else { now };
            (holder.served, since)
        });
        let others = self.0.iter().filter(|holder| holder.session != session);
        others
            .filter(|holder| holder.waits(now) && (!is_needed || (holder.served, holder.since) < own))
            .map(|holder| holder.claim)
            .fold(0, u64::saturating_add)
    }

    /// This holder got something.
    pub(super) fn serve(&mut self, now: Mono, session: SessionId) {
        let holder = self.holder(session);
        holder.served = now;
        holder.claim = 0;
    }

    /// This holder did not get all that it needs, and asks again in so many milliseconds.
    pub(super) fn wait(&mut self, now: Mono, session: SessionId, claim: u64, again_ms: u64) {
        let holder = self.holder(session);
        if !holder.waits(now) {
            holder.since = now;
        }
        holder.claim = claim;
        holder.expected_by = now.plus_ms(again_ms + LATE_MS);
    }

    /// This holder needs nothing.
    pub(super) fn leave(&mut self, session: SessionId) {
        if let Some(holder) = self.0.iter_mut().find(|holder| holder.session == session) {
            holder.claim = 0;
        }
    }

    fn holder(&mut self, session: SessionId) -> &mut Holder {
        let at = match self.0.iter().position(|holder| holder.session == session) {
            Some(at) => at,
            None => {
                self.0.push(Holder {
                    session,
                    served: Mono(0),
                    since: Mono(0),
                    claim: 0,
                    expected_by: Mono(0),
                });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }

    /// Forgets holders of long ago; answers whether any is left.
    pub(super) fn is_kept(&mut self, now: Mono) -> bool {
        self.0
            .retain(|holder| now < holder.expected_by.max(holder.served).plus_ms(REMEMBERED_MS));
        self.0
            .iter()
            .any(|holder| now < holder.expected_by.plus_ms(REMEMBERED_MS))
    }

    /// What decides what happens next, hashed; for tests.
    #[cfg(test)]
    pub(super) fn fingerprint(&self, now: Mono, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let mut holders: Vec<&Holder> = self.0.iter().collect();
        holders.sort_by_key(|holder| (holder.served, holder.since));
        for holder in holders {
            let left = holder.expected_by.us_since(now);
            (holder.session, holder.claim, left).hash(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(100_000_000_000);

    fn sessions() -> [SessionId; 3] {
        [1, 2, 3].map(|n| SessionId::from_bytes([n; 16]))
    }

    #[test]
    fn who_was_served_longest_ago_comes_first_however_often_another_asks() {
        let [a, b, c] = sessions();
        let mut line = Line::default();
        assert_eq!(line.set_aside(NOW, a, true), 0);
        line.wait(NOW, b, 2, 100);
        let later = NOW.plus_ms(10);
        line.wait(later, c, 3, 100);
        line.wait(later, b, 2, 100);
        assert_eq!(
            line.set_aside(later, b, true),
            0,
            "of two that were never served, who came first"
        );
        assert_eq!(line.set_aside(later, c, true), 2);
        assert_eq!(line.set_aside(later.plus_ms(1), a, true), 5);
        assert_eq!(line.set_aside(later, b, false), 3, "nothing is bought ahead of them");
        // It got a part, and needs more: the others come first now.
        line.serve(later, b);
        line.wait(later, b, 1, 100);
        assert_eq!(line.set_aside(later, c, true), 0);
        assert_eq!(line.set_aside(later, b, true), 3);
        // One that comes again after it went away is as near as before.
        line.leave(c);
        assert_eq!(line.set_aside(later, b, true), 0);
        line.wait(later.plus_ms(5), c, 1, 100);
        assert_eq!(line.set_aside(later.plus_ms(5), b, true), 1);
    }

    #[test]
    fn who_does_not_come_again_holds_nobody_up() {
        let [a, b, _] = sessions();
        let mut line = Line::default();
        line.wait(NOW, b, 2, 100);
        let late = NOW.plus_ms(100 + LATE_MS);
        assert_eq!(line.set_aside(Mono(late.0 - 1), a, true), 2);
        assert_eq!(line.set_aside(late, a, true), 0);
        line.serve(late, a);
        assert!(line.is_kept(late.plus_ms(REMEMBERED_MS - 1)));
        assert!(!line.is_kept(late.plus_ms(REMEMBERED_MS)));
        assert_eq!(line.0.len(), 0);
    }
}
