//! Whether journals that other nodes write are the ones that this node remembers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_schemas::ids::SessionId;

use super::{ShardLink, Shards};
use crate::ledger::LedgerError;
use crate::ledger::owner::Owner;
use crate::ledger::rules::Moment;

/// A journal that could not be compared is looked at again after so long.
const CHECK_AGAIN: Duration = Duration::from_secs(5);

impl Shards {
    /// Another node decides for a shard in a new epoch: looks in the background whether its journal is still the one that
    /// this node knows. The owner may be new here, and know nothing against a journal that was wiped.
    pub(super) fn check(self: &Arc<Self>, shard: usize, owner: SessionId, epoch: u64) {
        let Some(link) = self.links.get(shard) else {
            return;
        };
        if link.checked.swap(epoch, Ordering::AcqRel) == epoch {
            return;
        }
        let shards = self.clone();
        self.tracker.spawn(async move {
            let stop = shards.stop.clone();
            let suspect = tokio::select! {
                () = stop.cancelled() => return,
                suspect = shards.is_suspect(shard) => suspect,
            };
            match suspect {
                Ok(false) => {}
                // What is noted in the journal binds whoever decides for it next.
                Ok(true) => shards.open(shard, Some(owner)),
                Err(error) => {
                    tracing::debug!(shard, %error, "the journal of another node's shard was not compared");
                    tokio::time::sleep(CHECK_AGAIN).await;
                    if let Some(link) = shards.links.get(shard) {
                        link.checked.store(0, Ordering::Release);
                    }
                }
            }
        });
    }

    /// Whether a journal is not what this node remembers, and does not say so itself. What is right is remembered.
    async fn is_suspect(&self, shard: usize) -> Result<bool, LedgerError> {
        let Some(ShardLink { context, .. }) = self.links.get(shard) else {
            return Ok(false);
        };
        let (number, memory) = (context.shard, &context.memory);
        let head = context.bus.journal_head(number).await?;
        let known = memory.of(number);
        let is_same = known
            .is_none_or(|known| known.incarnation == head.incarnation && known.last_sequence <= head.last_sequence);
        if !is_same {
            let entries = context.bus.journal_read(number, 0).await?;
            let moment = Moment::now(&context.clock);
            let replayed = Owner::<()>::replay(context.options.session, context.options, moment, head, &entries);
            let mut owner = replayed.map_err(|unreadable| LedgerError::Unreadable {
                shard: number,
                unreadable,
            })?;
            owner.compare(moment, known);
            if owner.found_suspect() {
                return Ok(true);
            }
        }
        memory.note(number, head);
        Ok(false)
    }
}
