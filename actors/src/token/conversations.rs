//! Bindings of conversations across nodes, and for operators.
//!
//! Each node tells the others of the bindings it makes: many a message, the first at once and then one in two seconds, by core publish. They
//! are hints: one that is lost, or comes late, costs a miss of the upstream's prompt cache and nothing else. So they are not
//! worth a write that must last (which would be most of the bus's traffic), nor a question while a client waits; for the
//! same reason clocks that differ by a second do no harm, and the binding made last, by time, wins. A node that starts
//! learns of a conversation when its binding is told again, after half of its life, or makes its own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use grok2api_schemas::bus::changes::{ConversationsCleared, ConversationsTold, WhichConversations};
use grok2api_schemas::bus::subjects::events;
use grok2api_schemas::ids::TokenId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::affinity::{Bound, ConversationId};
use super::pool::Pool;
use crate::bus::codec;

/// From one message to the next. Each is passed on to every server: at two a second they were a tenth of the bus's traffic
/// under load.
const TELL_EVERY: Duration = Duration::from_millis(2_000);
/// Bindings of one message: about 30 bytes each.
const TOGETHER: usize = 8_000;

/// A conversation and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundConversation {
    /// The conversation.
    pub conversation: ConversationId,
    /// The token.
    pub token: TokenId,
    /// Its quota domain, once known.
    pub team: Option<String>,
    /// Calls of it in flight on this node.
    pub in_flight: u32,
    /// Until it is forgotten if nothing more is said, milliseconds.
    pub expires_in_ms: u64,
}

impl Pool {
    /// Tells other nodes of bindings, and hears theirs, until `stop`.
    pub fn share_conversations(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        let mut told = self.0.bus.subscribe(events::AFFINITY);
        self.affinity().is_told.store(true, Ordering::Relaxed);
        let (pool, ended) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => return,
                    message = told.next() => match message {
                        Some(message) => pool.hear_of_conversations(&message),
                        None => return,
                    }
                }
            }
        });
        let (pool, ended) = (self.clone(), stop.clone());
        tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = pool.affinity().more.notified() => {}
                }
                let bound = pool.affinity().take_untold(TOGETHER);
                if bound.is_empty() {
                    continue;
                }
                pool.tell_of_conversations(bound, None);
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = tokio::time::sleep(TELL_EVERY) => {}
                }
            }
        });
    }

    fn tell_of_conversations(&self, bound: Vec<Bound>, cleared: Option<ConversationsCleared>) {
        let told = ConversationsTold {
            teller: self.0.options.session,
            bound,
            cleared,
        };
        match codec::encode(codec::VERSION, &told) {
            Ok(told) => self.0.bus.publish(events::AFFINITY, told),
            Err(error) => tracing::error!(%error, "other nodes do not hear of conversations"),
        }
    }

    fn hear_of_conversations(&self, message: &[u8]) {
        let told = match codec::decode::<ConversationsTold>(message) {
            Ok(told) if told.teller == self.0.options.session => return,
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(%error, "what another node tells of conversations does not decode");
                return;
            }
        };
        if let Some(cleared) = told.cleared {
            self.affinity().clear(cleared);
        }
        let (now, wall) = (self.0.clock.now(), self.0.clock.wall());
        for (conversation, token, bound_ms) in told.bound {
            // A token that is not known here yet, or not any more: the next turn finds another.
            if let Some(token) = self.find(token) {
                self.affinity()
                    .heard(ConversationId(conversation), &token, bound_ms, now, wall);
            }
        }
    }

    /// Every conversation that is bound, in no order.
    pub fn conversations(&self) -> Vec<BoundConversation> {
        let now = self.0.clock.now();
        let bindings = &self.affinity().bindings;
        bindings
            .iter()
            .filter(|row| row.expires > now && !row.token.is_gone())
            .map(|row| BoundConversation {
                conversation: *row.key(),
                token: row.token.id,
                team: row.token.record().team.as_deref().map(str::to_owned),
                in_flight: row.in_flight.load(Ordering::Relaxed),
                expires_in_ms: row.expires.ms_since(now),
            })
            .collect()
    }

    /// Unbinds conversations, on every node; answers how many were bound here. Calls in flight go on.
    pub fn clear_conversations(&self, which: WhichConversations) -> u64 {
        let cleared = ConversationsCleared {
            at_ms: self.0.clock.wall().0,
            which,
        };
        let count = self.affinity().clear(cleared.clone());
        if self.affinity().is_told.load(Ordering::Relaxed) {
            self.tell_of_conversations(Vec::new(), Some(cleared));
        }
        count
    }
}
