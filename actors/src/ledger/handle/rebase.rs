//! Asking the upstream what is left of quotas that a lapse took for long: the owner says of which, the caller asks, the owner
//! takes the answer.

use grok2api_schemas::meter::Meter;
use tokio::sync::oneshot;

use super::Ledger;
use crate::ledger::actor::{Lost, Rebase};
use crate::ledger::handle::shard_of;
use crate::ledger::meter::Question;

/// A meter of which units are presumed spent for longer than anybody can wait, and how it stood when this was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostUnits {
    /// Which.
    pub meter: Meter,
    question: Question,
    /// The turn of the owner that said it: what a later owner knows is not comparable.
    epoch: u64,
}

impl Ledger {
    /// Meters with lost units, of the shards that this node decides for. Ask each one's upstream what is left, no sooner than
    /// D after this, and tell [`Ledger::rebase`].
    pub async fn lost_units(&self) -> Vec<LostUnits> {
        let mut all = Vec::new();
        for link in self.inner.shards.links() {
            let Some(open) = link.open.load_full() else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            if open.addr.try_send(Lost(reply)).is_ok()
                && let Ok(lost) = answer.await
            {
                all.extend(lost.into_iter().map(|(meter, question)| LostUnits {
                    meter,
                    question,
                    epoch: open.epoch,
                }));
            }
        }
        all
    }

    /// The upstream said that so many units are left. Free is from now on that, less what is granted and not settled, and less
    /// what was charged since [`Ledger::lost_units`]. Answers whether it was taken: not if another owner decides by now.
    pub async fn rebase(&self, lost: LostUnits, remaining: u64) -> bool {
        let open = self.inner.shards.local(usize::from(shard_of(&lost.meter.domain)));
        let Some(open) = open.filter(|open| open.epoch == lost.epoch) else {
            return false;
        };
        let (reply, answer) = oneshot::channel();
        let rebase = Rebase {
            meter: lost.meter,
            question: lost.question,
            remaining,
            reply,
        };
        open.addr.try_send(rebase).is_ok() && answer.await.unwrap_or(false)
    }
}
