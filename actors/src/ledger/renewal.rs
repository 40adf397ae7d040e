//! Slots of a hard meter: whoever counts them frees those of a silent session, so that a node that is not heard has to break
//! its calls off before that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::node::Node;
use crate::clock::Mono;

/// Calls on hard meters end when nobody has confirmed for so long that this session lives, milliseconds (`ledger.md` §1:
/// others count a silent session's slots for 8 s after they last heard it).
pub(super) const CUT_OFF_AFTER_MS: u64 = 6_000;

/// Slots of hard meters that one call uses.
#[derive(Clone)]
pub struct HardSlots {
    node: Arc<Node>,
    shards: Vec<u16>,
}

impl fmt::Debug for HardSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HardSlots").field(&self.shards).finish()
    }
}

impl HardSlots {
    /// How often to look.
    pub const LOOK_EVERY: Duration = Duration::from_millis(250);

    /// `None` where no shard is named.
    pub(super) fn of(node: &Arc<Node>, shards: Vec<u16>) -> Option<HardSlots> {
        (!shards.is_empty()).then(|| HardSlots {
            node: node.clone(),
            shards,
        })
    }

    /// Whether the call has to be broken off.
    pub fn is_cut_off(&self) -> bool {
        let now = self.node.clock.now();
        self.shards.iter().any(|shard| self.node.is_unheard(*shard, now))
    }

    /// Waits until the call has to be broken off.
    pub async fn cut_off(&self) {
        while !self.is_cut_off() {
            tokio::time::sleep(Self::LOOK_EVERY).await;
        }
    }
}

/// Whether nobody may count this session's slots any more: too long ago is when the last request that the owner answered was
/// sent, or when this node heard its own beat as a successor of the owner would have.
pub(super) fn is_unheard(now: Mono, answered: Mono, lag_ms: u64) -> bool {
    lag_ms >= CUT_OFF_AFTER_MS || now.ms_since(answered) >= CUT_OFF_AFTER_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::owner::SILENCE_MS;

    #[test]
    fn either_silence_ends_a_call_before_others_stop_counting_it() {
        let answered = Mono(1_000_000_000);
        let last = answered.plus_ms(CUT_OFF_AFTER_MS - 1);
        assert!(!is_unheard(last, answered, 0));
        assert!(!is_unheard(last, answered, CUT_OFF_AFTER_MS - 1));
        assert!(is_unheard(answered, answered, CUT_OFF_AFTER_MS));
        assert!(is_unheard(answered.plus_ms(CUT_OFF_AFTER_MS), answered, 0));
        assert!(CUT_OFF_AFTER_MS + 2 * HardSlots::LOOK_EVERY.as_millis() as u64 <= SILENCE_MS);
    }
}
