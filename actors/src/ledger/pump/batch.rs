//! What has gathered for one shard's owner.

use std::collections::HashMap;
use std::sync::Arc;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Ask, GrantId, OwnerRequest, Report, Settlement};

use crate::clock::Mono;
use crate::ledger::holder::HeldMeter;

/// What goes to one shard.
pub(super) struct Batch {
    session: SessionId,
    pub(super) request: OwnerRequest,
    sent: Sent,
    /// Where in the request a grant is settled: what is told twice before it goes out goes out once.
    settled: HashMap<GrantId, usize>,
    /// Somebody waits for the answer.
    pub(super) urgent: bool,
    pub(super) spoke_at: Mono,
    /// Meters of the shard are in use here: its owner must hear that the session lives.
    pub(super) holds: bool,
    /// Something here is nearly used up, or slots are in use: it goes out more often.
    pub(super) is_brisk: bool,
    /// Went astray or got lost: it does not wait for the next exchange.
    pub(super) is_overdue: bool,
    /// The node that was asked last does not own the shard.
    pub(super) not_before: Option<Mono>,
    /// Since when somebody waits for an answer without having got any.
    pub(super) waiting_since: Option<Mono>,
}

/// What one exchange carried, to make sense of its answer.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) asks: Vec<(Arc<HeldMeter>, u64)>,
    pub(super) told: Vec<Told>,
    pub(super) urgent: bool,
    pub(super) at: Mono,
}

/// A settlement that was told.
pub(super) struct Told {
    /// `None` for what an earlier session left behind.
    pub(super) meter: Option<Arc<HeldMeter>>,
    pub(super) grant: GrantId,
    pub(super) report: Report,
}

impl Batch {
    pub(super) fn new(session: SessionId, now: Mono) -> Batch {
        Batch {
            session,
            request: OwnerRequest::of(session),
            sent: Sent::default(),
            settled: HashMap::new(),
            urgent: false,
            spoke_at: now,
            holds: false,
            is_brisk: false,
            is_overdue: false,
            not_before: None,
            waiting_since: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.request.learned.is_empty()
            && self.request.seen.is_empty()
            && self.request.settlements.is_empty()
            && self.request.asks.is_empty()
    }

    /// Adds a settlement, or puts it in the place of an earlier one of the same grant.
    pub(super) fn tell(&mut self, meter: Option<&Arc<HeldMeter>>, settlement: Settlement) {
        let (grant, report) = (settlement.grant, settlement.report);
        if let Some(index) = self.settled.get(&grant)
            && let (Some(place), Some(told)) =
                (self.request.settlements.get_mut(*index), self.sent.told.get_mut(*index))
        {
            *place = settlement;
            told.report = report;
            return;
        }
        self.settled.insert(grant, self.request.settlements.len());
        self.request.settlements.push(settlement);
        self.sent.told.push(Told {
            meter: meter.cloned(),
            grant,
            report,
        });
    }

    /// Adds an ask; of one meter only the last one counts.
    pub(super) fn ask(&mut self, meter: &Arc<HeldMeter>, ask: Ask) {
        if let Some(index) = self.sent.asks.iter().position(|(asked, _)| Arc::ptr_eq(asked, meter))
            && let (Some(place), Some(noted)) = (self.request.asks.get_mut(index), self.sent.asks.get_mut(index))
        {
            noted.1 = ask.number;
            *place = ask;
            return;
        }
        self.sent.asks.push((meter.clone(), ask.number));
        self.request.asks.push(ask);
    }

    /// Takes what has gathered.
    pub(super) fn take(&mut self, now: Mono, urgent: bool) -> (OwnerRequest, Sent) {
        self.spoke_at = now;
        self.urgent = false;
        self.is_overdue = false;
        self.not_before = None;
        self.settled.clear();
        if urgent {
            self.waiting_since.get_or_insert(now);
        }
        let mut sent = std::mem::take(&mut self.sent);
        sent.urgent = urgent;
        sent.at = now;
        (
            std::mem::replace(&mut self.request, OwnerRequest::of(self.session)),
            sent,
        )
    }
}
