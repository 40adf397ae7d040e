//! Others use the quota, too: what the upstream says is used, beside what we know of. It only ever lowers what we may send.

use super::Held;
use crate::clock::Mono;

/// Answers in a row that the upstream gave although it had said that nothing was left: its numbers mean something else.
const CONTRADICTIONS: u8 = 3;
/// How long its numbers are passed over then, milliseconds.
const PASSED_OVER_MS: u64 = 600_000;

/// What was made of the upstream's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Foreign {
    /// When it said that nothing was left.
    empty_since: Option<Mono>,
    contradicted: u8,
    passed_over_until: Mono,
}

impl Held {
    /// An ordinary answer said what the upstream allows in the window and what is left; the call was sent at `sent`. Answers
    /// whether the owner should hear of it.
    ///
    /// What is charged or granted to others is so before the upstream can count it and until after it has forgotten it. So
    /// if the upstream counts more than that, the rest is strangers' use, however late its answer comes.
    pub fn note_remaining(&mut self, now: Mono, sent: Mono, limit: u64, remaining: u64) -> bool {
        let known = self.limit.filter(|known| *known == limit && remaining <= limit);
        let Some(known) = known.filter(|_| now >= self.foreign.passed_over_until) else {
            return false;
        };
        match self.foreign.empty_since {
            Some(since) if remaining == 0 && sent > since => self.foreign.contradicted += 1,
            _ if remaining > 0 => self.foreign.contradicted = 0,
            _ => {}
        }
        self.foreign.empty_since = (remaining == 0).then_some(now);
        if self.foreign.contradicted >= CONTRADICTIONS {
            self.foreign = Foreign {
                passed_over_until: now.plus_ms(PASSED_OVER_MS),
                ..Foreign::default()
            };
            self.seen = None;
            return false;
        }
        let upstream = known - remaining;
        // What is in this node's own hand is not in here: it was not sent.
        let news = upstream > self.used && self.seen.is_none_or(|seen| upstream > seen);
        if news {
            self.seen = Some(upstream);
        }
        news
    }
}
