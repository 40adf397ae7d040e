//! What the owners say.

use std::sync::atomic::Ordering;

use grok2api_schemas::ledger::OwnerReply;

use super::batch::Sent;
use super::{Answered, LOST_MS, Outcome, Pump};
use crate::clock::Mono;

/// After an answer from a node that does not own the shard, the right one is asked no sooner than this: it may be about
/// to take over.
const ASTRAY_MS: u64 = 10;

impl Pump {
    pub(super) fn answered(&mut self, answer: Answered) {
        let Answered { shard, sent, outcome } = answer;
        let now = self.node.clock.now();
        match outcome {
            Outcome::Reply(from, epoch, reply) if !self.shards.is_stale(shard, from, epoch) => {
                if let Some(batch) = self.batches.get_mut(shard) {
                    batch.not_before = None;
                    batch.waiting_since = None;
                }
                self.node.set_answered(shard, sent.at);
                self.replied(now, &sent, &reply);
            }
            Outcome::NotMine => self.astray(now, shard, &sent),
            Outcome::Reply(..) | Outcome::Lost => self.lost(now, shard, &sent),
        }
    }

    fn replied(&mut self, now: Mono, sent: &Sent, reply: &OwnerReply) {
        if reply.acknowledged {
            for told in &sent.told {
                if let Some(meter) = &told.meter {
                    meter.state.lock().acknowledge(told.grant, told.report);
                }
                self.inherited.remove(&told.grant);
                if let Some(spool) = &mut self.spool {
                    spool.acknowledged(now, told.grant, told.report);
                }
            }
        }
        for (name, grant) in &reply.gone {
            let known = sent.told.iter().filter_map(|told| told.meter.as_ref());
            if let Some(meter) = known.into_iter().find(|meter| meter.meter() == name) {
                meter.state.lock().gone(*grant);
            }
        }
        if !reply.recalled.is_empty() {
            self.node.recall(now, &reply.recalled);
        }
        for answer in &reply.answers {
            let Some((meter, _)) = sent
                .asks
                .iter()
                .find(|(meter, number)| *number == answer.ask && *meter.meter() == answer.meter)
            else {
                continue;
            };
            let fresh = {
                let mut held = meter.state.lock();
                let fresh = held.answer(now, answer);
                meter.publish(&held);
                fresh
            };
            if fresh > 0 {
                meter.wake(fresh);
            }
            if meter.waiting.load(Ordering::Acquire) > 0 {
                self.node.hurry(meter, false);
            }
            self.node.activate(meter);
        }
    }

    /// The node that was asked does not own the shard: the right one is asked at once.
    fn astray(&mut self, now: Mono, shard: usize, sent: &Sent) {
        if let Some(batch) = self.batches.get_mut(shard) {
            batch.not_before = Some(now.plus_ms(ASTRAY_MS));
            batch.is_overdue = true;
        }
        for (meter, number) in &sent.asks {
            meter.state.lock().ask_astray(*number);
            self.node.activate(meter);
            if sent.urgent {
                self.node.hurry(meter, false);
            }
        }
        self.untold(sent);
    }

    fn lost(&mut self, now: Mono, shard: usize, sent: &Sent) {
        if !sent.urgent
            && let Some(batch) = self.batches.get_mut(shard)
        {
            batch.not_before = Some(now.plus_ms(LOST_MS));
            batch.is_overdue = true;
        }
        self.node.counters.requests_lost.fetch_add(1, Ordering::Relaxed);
        for (meter, number) in &sent.asks {
            meter.state.lock().ask_failed(*number, now);
            self.node.activate(meter);
        }
        self.untold(sent);
    }

    fn untold(&self, sent: &Sent) {
        for meter in sent.told.iter().filter_map(|told| told.meter.as_ref()) {
            meter.state.lock().not_told();
            self.node.activate(meter);
        }
    }
}
