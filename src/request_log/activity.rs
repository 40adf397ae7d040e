//! What each token served in the last hour, in memory: counted as records are written, and from the log at the start.

use std::collections::HashMap;

use grok2api_schemas::admin::requests::{Outcome, RequestRecord};
use grok2api_schemas::admin::tokens::{TokenActivity, TokenSteps};
use grok2api_schemas::ids::TokenId;

/// Length of a step, and how many there are: an hour.
pub(super) const STEP_MS: u64 = 120_000;
pub(super) const STEPS: usize = 30;
/// Tokens that are counted; beyond it those go that served nothing for longest. About 3 MB.
const MOST: usize = 16_384;

/// Counts of one token. A step lies at its number modulo [`STEPS`].
#[derive(Clone, Debug)]
struct Counts {
    /// The number of the latest step that is counted in.
    latest: u64,
    ok: [u16; STEPS],
    failed: [u16; STEPS],
}

impl Counts {
    fn move_to(&mut self, step: u64) {
        for passed in (self.latest + 1)..=step.min(self.latest + STEPS as u64) {
            let at = (passed % STEPS as u64) as usize;
            (self.ok[at], self.failed[at]) = (0, 0);
        }
        self.latest = self.latest.max(step);
    }
}

/// Counts of all tokens.
#[derive(Debug, Default)]
pub(super) struct Activity(HashMap<TokenId, Counts>);

impl Activity {
    /// Counts the attempts of some requests.
    pub(super) fn add<'a>(&mut self, records: impl IntoIterator<Item = &'a RequestRecord>) {
        for record in records {
            for attempt in &record.attempts {
                let step = (record.time_ms + u64::from(attempt.started_ms)) / STEP_MS;
                // A client that hangs up is no failure of the token.
                let is_ok = matches!(attempt.outcome, Outcome::Success | Outcome::ClientGone);
                self.count(attempt.token_id, step, is_ok);
            }
        }
    }

    fn count(&mut self, token: TokenId, step: u64, is_ok: bool) {
        if self.0.len() >= MOST && !self.0.contains_key(&token) {
            self.make_room();
        }
        let counts = self.0.entry(token).or_insert(Counts {
            latest: step,
            ok: [0; STEPS],
            failed: [0; STEPS],
        });
        counts.move_to(step);
        if step + STEPS as u64 <= counts.latest {
            return;
        }
        let at = (step % STEPS as u64) as usize;
        let count = if is_ok {
            &mut counts.ok[at]
        } else {
            &mut counts.failed[at]
        };
        *count = count.saturating_add(1);
    }

    /// The eighth that served nothing for longest goes.
    fn make_room(&mut self) {
        let mut latest: Vec<u64> = self.0.values().map(|counts| counts.latest).collect();
        let at = latest.len() / 8;
        let (_, bound, _) = latest.select_nth_unstable(at);
        let bound = *bound;
        self.0.retain(|_, counts| counts.latest > bound);
    }

    /// The last hour of these tokens; those that served nothing are left out.
    pub(super) fn of(&self, ids: &[TokenId], now_ms: u64) -> TokenActivity {
        let last = now_ms / STEP_MS;
        let first = (last + 1).saturating_sub(STEPS as u64);
        let steps = |id: &TokenId| {
            let counts = self.0.get(id)?;
            let mut now = counts.clone();
            now.move_to(last);
            let in_order = |counted: &[u16; STEPS]| -> Vec<u16> {
                let at = |step: u64| counted[(step % STEPS as u64) as usize];
                (first..=last).map(at).collect()
            };
            let (ok, failed) = (in_order(&now.ok), in_order(&now.failed));
            let served = ok.iter().chain(&failed).any(|count| *count > 0);
            served.then_some(TokenSteps { id: *id, ok, failed })
        };
        TokenActivity {
            since_ms: first * STEP_MS,
            step_ms: STEP_MS,
            items: ids.iter().filter_map(steps).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> TokenId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        TokenId::from_bytes(bytes)
    }

    #[test]
    fn an_hour_is_counted_in_steps_and_forgotten_after() {
        let mut activity = Activity::default();
        let now = 1_000 * STEP_MS + 7;
        activity.count(id(1), 1_000, true);
        activity.count(id(1), 1_000, false);
        activity.count(id(1), 971, true);
        // Too old for what is shown, and one that comes late.
        activity.count(id(1), 970, true);
        activity.count(id(1), 999, true);
        let shown = activity.of(&[id(1), id(2)], now);
        assert_eq!((shown.since_ms, shown.items.len()), (971 * STEP_MS, 1));
        let steps = &shown.items[0];
        assert_eq!(
            (steps.ok.len(), steps.ok[0], steps.ok[28], steps.ok[29]),
            (STEPS, 1, 1, 1)
        );
        assert_eq!((steps.failed[29], steps.failed.iter().sum::<u16>()), (1, 1));
        // Half an hour later the older ones are gone, later still all.
        let later = activity.of(&[id(1)], now + 20 * STEP_MS);
        assert_eq!(later.items[0].ok.iter().sum::<u16>(), 2);
        assert!(activity.of(&[id(1)], now + 30 * STEP_MS).items.is_empty());
        // A jump of a whole turn clears everything.
        activity.count(id(1), 1_000 + 3 * STEPS as u64, true);
        let sum: u16 = activity.of(&[id(1)], now + 3 * STEPS as u64 * STEP_MS).items[0]
            .ok
            .iter()
            .sum();
        assert_eq!(sum, 1);
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let mut activity = Activity::default();
        for n in 0..=MOST as u16 {
            activity.count(id(n), 1_000 + u64::from(n) / 64, true);
        }
        assert!(activity.0.len() <= MOST);
        assert!(activity.0.contains_key(&id(MOST as u16)) && !activity.0.contains_key(&id(0)));
    }
}
