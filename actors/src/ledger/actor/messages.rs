//! What a shard's actor is asked.

use actix::Message;
use grok2api_schemas::ledger::{OwnerReply, OwnerRequest};
use grok2api_schemas::meter::Meter;
use tokio::sync::oneshot;

use crate::ledger::meter::Question;

/// A request and where its answer goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::ledger) struct Exchange {
    pub(in crate::ledger) request: OwnerRequest,
    /// Whether somebody waits: the append is not left to the tick.
    pub(in crate::ledger) urgent: bool,
    /// Nobody waits, but it is appended when it has been gathered with what others want.
    pub(in crate::ledger) gathers: bool,
    pub(in crate::ledger) reply: oneshot::Sender<OwnerReply>,
}

/// Asks how every meter stands.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::ledger) struct Inspect(pub(in crate::ledger) oneshot::Sender<Vec<OwnerStanding>>);

/// Asks for the meters that units are lost to, and how they stand.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::ledger) struct Lost(pub(in crate::ledger) oneshot::Sender<Vec<(Meter, Question)>>);

/// Brings what the upstream says is left.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::ledger) struct Rebase {
    pub(in crate::ledger) meter: Meter,
    pub(in crate::ledger) question: Question,
    pub(in crate::ledger) remaining: u64,
    pub(in crate::ledger) reply: oneshot::Sender<bool>,
}

/// Asks to write what is pending and to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::ledger) struct Finish(pub(in crate::ledger) oneshot::Sender<()>);

/// How a meter stands with its owner: exact, where [`super::MeterStatus`] is what the node last heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerStanding {
    /// Which meter.
    pub meter: Meter,
    /// The limit in force.
    pub limit: Option<u64>,
    /// Units that the upstream's window may still see.
    pub charged: u64,
    /// Units granted and not settled.
    pub outstanding: u64,
    /// Of the charged, units presumed spent.
    pub presumed: u64,
    /// Grants that are not forgotten.
    pub grants: usize,
}
