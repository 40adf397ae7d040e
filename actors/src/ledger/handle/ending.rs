//! A graceful end: everything goes back, is settled, and is handed over.

use std::time::Duration;

use grok2api_schemas::cluster::NodeRequest;
use grok2api_schemas::ids::SessionId;
use tokio_util::sync::CancellationToken;

use super::Ledger;
use crate::bus::BusError;
use crate::ledger::remote;

/// How long a graceful end waits for acknowledgements.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How long a graceful end waits for other nodes to take its shards over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);
/// How often a graceful end looks whether it is done.
const CLOSE_LOOK: Duration = Duration::from_millis(10);

impl Ledger {
    /// Asks another node to hand over what it has and to end.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask_to_drain(&self, session: SessionId) -> Result<(), BusError> {
        remote::ask(&self.inner.bus, session, &NodeRequest::Drain, remote::COMMAND_WITHIN).await?;
        Ok(())
    }

    /// Cancelled once this node is asked to hand over and to end.
    pub fn asked_to_drain(&self) -> &CancellationToken {
        &self.inner.shards.asked_to_drain
    }

    /// A graceful end: gives back what is not in use, settles everything, hands the shards over, writes down what is
    /// left, stops. Calls still in flight are settled by presumption, in a cluster by a lapse, alone in the process's next
    /// life.
    pub async fn close(&self) {
        let inner = &self.inner;
        inner.node.start_closing();
        inner.shards.membership.drain();
        let settled = async {
            // Again and again: the answer to an ask that was under way may bring units that nobody will use.
            while !self.wind_up() {
                tokio::time::sleep(CLOSE_LOOK).await;
            }
            self.hand_over().await;
            inner.shards.finish().await;
        };
        if tokio::time::timeout(CLOSE_WITHIN, settled).await.is_err() {
            tracing::warn!("the ledger's end ran out of time: what was not written lapses");
        }
        inner.stop.cancel();
        inner.shards.membership.leave();
    }

    /// Gives back what is not in use; answers whether every owner has acknowledged everything.
    fn wind_up(&self) -> bool {
        let mut is_settled = true;
        for entry in self.inner.meters.iter() {
            let meter = entry.value();
            let settled = {
                let mut held = meter.state.lock();
                held.wind_up();
                held.is_settled()
            };
            if !settled {
                is_settled = false;
                self.inner.node.activate(meter);
                self.inner.node.hurry(meter, false);
            }
        }
        is_settled
    }

    /// Waits until other nodes have taken the shards over, if there are any to do so.
    async fn hand_over(&self) {
        let shards = &self.inner.shards;
        let end = tokio::time::Instant::now() + HAND_OVER_WITHIN;
        while !shards.claims().is_empty() && tokio::time::Instant::now() < end {
            let snapshot = shards.membership.snapshot();
            let has_heir = snapshot.connected && snapshot.named.iter().flatten().any(|heir| *heir != snapshot.me);
            if !has_heir {
                return;
            }
            tokio::time::sleep(CLOSE_LOOK).await;
        }
    }
}
