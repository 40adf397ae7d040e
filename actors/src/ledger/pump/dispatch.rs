//! What goes to the shards' owners, and when.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grok2api_schemas::cluster::{NodeReply, NodeRequest, ShardReply, ShardRequest};
use grok2api_schemas::ids::SessionId;
use tokio::sync::oneshot;

use super::pieces::{Part, pieces};
use super::{Answered, Outcome, Pump};
use crate::bus::BusErrorKind;
use crate::clock::Mono;
use crate::ledger::actor::Exchange;
use crate::ledger::held::Asks;
use crate::ledger::remote;
use crate::ledger::shards::Route;

/// An owner is told no more often than this that the session lives, if there is nothing else to tell.
const HEARTBEAT_MS: u64 = 1_800;
/// How long an owner on another node has to answer what somebody waits for; half of it is how long the bus may be silent
/// before callers are told.
const URGENT_WITHIN: Duration = Duration::from_secs(2);
/// The same for what is gathered before it is appended. An owner that is gone is noticed by this, with most of what is in hand
/// still there.
const LAZY_WITHIN: Duration = Duration::from_secs(3);

impl Pump {
    /// Sends what has gathered to the shards' owners: to those of this node at once, to another node what somebody waits
    /// for at once and the rest together, when it is time.
    pub(super) fn dispatch(&mut self, now: Mono) {
        let mut urgent: BTreeMap<SessionId, Vec<Part>> = BTreeMap::new();
        let mut lazy: BTreeMap<SessionId, Vec<Part>> = BTreeMap::new();
        let is_closing = self.node.is_closing();
        let is_clustered = self.shards.membership.is_clustered();
        for shard in 0..self.batches.len() {
            let Some(batch) = self.batches.get_mut(shard) else {
                continue;
            };
            let is_time = match self.occasion {
                Asks::All => true,
                Asks::Brisk => batch.is_brisk,
                Asks::None | Asks::Urgent => false,
            };
            // An owner hears of what is held at every exchange, and more often of slots.
            let heartbeat = batch.holds && is_time && now.ms_since(batch.spoke_at) >= HEARTBEAT_MS;
            if batch.is_empty() && !heartbeat {
                continue;
            }
            if batch.not_before.is_some_and(|at| now < at) {
                continue;
            }
            let hurries = batch.urgent || is_closing;
            match self.shards.route(shard) {
                Route::Local(open) => {
                    let (request, sent) = batch.take(now, hurries);
                    let (reply, answer) = oneshot::channel();
                    let exchange = Exchange {
                        gathers: is_clustered && !request.asks.is_empty(),
                        request,
                        urgent: hurries,
                        reply,
                    };
                    self.node.counters.requests.fetch_add(1, Ordering::Relaxed);
                    let delivered = open.addr.try_send(exchange).is_ok();
                    let (me, epoch) = (self.node.options.session, open.epoch);
                    self.pending.push(Box::pin(async move {
                        let outcome = match answer.await {
                            Ok(reply) => Outcome::Reply(me, epoch, reply),
                            // Let go of with the request in hand, or full.
                            Err(_) if delivered => Outcome::NotMine,
                            Err(_) => Outcome::Lost,
                        };
                        vec![Answered { shard, sent, outcome }]
                    }));
                }
                Route::Remote(session) => {
                    if !hurries && !is_time && !batch.is_overdue {
                        continue;
                    }
                    let (request, sent) = batch.take(now, hurries);
                    let part = ShardRequest {
                        shard: u16::try_from(shard).unwrap_or(u16::MAX),
                        urgent: hurries,
                        request,
                    };
                    let parts = if hurries { &mut urgent } else { &mut lazy };
                    parts.entry(session).or_default().push((shard, part, sent));
                }
                Route::Nobody => {
                    let (_, sent) = batch.take(now, hurries);
                    let lost = Answered {
                        shard,
                        sent,
                        outcome: Outcome::Lost,
                    };
                    self.node.counters.requests.fetch_add(1, Ordering::Relaxed);
                    self.answered(lost);
                }
            }
        }
        for (session, parts) in urgent {
            self.send(session, parts, URGENT_WITHIN);
        }
        for (session, parts) in lazy {
            self.send(session, parts, LAZY_WITHIN);
        }
    }

    /// One message to another node, or as many as it takes.
    fn send(&self, session: SessionId, parts: Vec<Part>, within: Duration) {
        for parts in pieces(parts) {
            self.send_piece(session, parts, within);
        }
    }

    fn send_piece(&self, session: SessionId, parts: Vec<Part>, within: Duration) {
        let bus = self.bus.clone();
        let counters = self.node.counters.clone();
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.remote_requests.fetch_add(1, Ordering::Relaxed);
        self.pending.push(Box::pin(async move {
            let mut requests = Vec::with_capacity(parts.len());
            let mut sent = Vec::with_capacity(parts.len());
            for (shard, request, told) in parts {
                requests.push(request);
                sent.push((shard, told));
            }
            let began = tokio::time::Instant::now();
            let answer = remote::ask(&bus, session, &NodeRequest::Exchange(requests), within).await;
            let mut replies = match answer {
                Ok(NodeReply::Exchange(replies)) => replies,
                Ok(NodeReply::Done | NodeReply::KeyUsage(_)) => Vec::new(),
                Err(error) => {
                    counters.remote_lost.fetch_add(1, Ordering::Relaxed);
                    if error.kind == BusErrorKind::Unreachable {
                        // Nobody serves that session: do not spin.
                        let pause = Duration::from_millis(100).saturating_sub(began.elapsed());
                        tokio::time::sleep(pause).await;
                    }
                    tracing::debug!(%session, %error, "an owner on another node did not answer");
                    Vec::new()
                }
            }
            .into_iter();
            let answers = sent.into_iter().map(|(shard, sent)| Answered {
                shard,
                sent,
                outcome: match replies.next() {
                    Some(ShardReply::Answered { epoch, reply }) => Outcome::Reply(session, epoch, reply),
                    Some(ShardReply::NotMine) => Outcome::NotMine,
                    None => Outcome::Lost,
                },
            });
            answers.collect()
        }));
    }
}
