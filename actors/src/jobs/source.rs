//! The seams of a job: where credentials come from, and what makes one a token of the pool.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use grok2api_schemas::ids::{JobId, TokenId};
use grok2api_schemas::job::{JobRecord, JobSpec, JobStep, TokenAction};
use grok2api_schemas::token::{PoolName, TokenSwitch};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A credential with what goes with it. Holds a secret: it is not printed, and is serialised only to be sealed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Payload {
    /// The secret as it came.
    pub secret: String,
    /// Its pool, if it says.
    #[zeroize(skip)]
    pub pool: Option<PoolName>,
    /// The operator's name for it.
    pub label: String,
    /// The operator's note.
    pub note: String,
    /// The operator's tags.
    pub tags: Vec<String>,
    /// Its proxy.
    pub proxy: Option<String>,
    /// On or off from the start.
    #[zeroize(skip)]
    pub switch: TokenSwitch,
}

impl Payload {
    /// A credential of which nothing else is known.
    pub fn of(secret: String) -> Payload {
        let mut payload = Payload::default();
        payload.secret = secret;
        payload
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// What a source is asked about: one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The job.
    pub job: JobId,
    /// The item's place, from 0.
    pub index: u32,
    /// What it is to be called, or is called, at the source.
    pub name: String,
    /// What the source knows it by, once it does.
    pub foreign: String,
    /// Tries that failed before.
    pub tries: u16,
    /// The job's pool.
    pub pool: Option<PoolName>,
}

/// A credential that a source gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// It.
    pub payload: Payload,
    /// What the source knows it by; may be empty.
    pub foreign: String,
}

/// A credential that is in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Who it is there.
    pub token: TokenId,
    /// Its masked form.
    pub masked: String,
    /// Whether it was new.
    pub is_new: bool,
    /// What the operator should know of it; may be empty.
    pub note: String,
}

/// Why a step was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub step: JobStep,
    /// What the operator reads.
    pub reason: String,
    /// What comes of it.
    pub kind: FaultKind,
}

/// What comes of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is wrong yet: look again after so many milliseconds.
    Wait(u64),
    /// Try again, not before so many milliseconds if the other side said so.
    Again(Option<u64>),
    /// Nobody knows whether it was done.
    Perhaps,
    /// This item will never be.
    Never,
    /// The source has no more.
    Empty,
    /// No item of this job can be: the whole job is given up.
    Hopeless,
}

impl Fault {
    /// A fault of a step.
    pub fn new(step: JobStep, kind: FaultKind, reason: impl Into<String>) -> Fault {
        Fault {
            step,
            reason: reason.into(),
            kind,
        }
    }
}

/// Where the credentials of a job come from.
pub trait Source: Send + Sync + 'static {
    /// For how long after it was begun an unanswered [`Source::obtain`] may still come to pass, milliseconds: so long whoever
    /// continues the job waits before it finds out.
    fn settles_ms(&self) -> u64;

    /// Has one credential. Called once for an item, unless it is known not to have happened.
    fn obtain<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Supplied, Fault>>;

    /// Finds out what became of an [`Source::obtain`] that nobody heard the end of; `None`: it did not happen.
    fn recover<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Option<Supplied>, Fault>>;

    /// Whether the credential can be used already.
    fn is_ready<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        let _ = order;
        Box::pin(async { Ok(()) })
    }

    /// Takes it back. Harmless when it is gone already.
    fn revoke<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(), Fault>> {
        let _ = order;
        let fault = Fault::new(JobStep::Revoke, FaultKind::Never, "this source takes nothing back");
        Box::pin(async { Err(fault) })
    }
}

/// What jobs need of the rest of the node.
pub trait Workshop: Send + Sync + 'static {
    /// The source of a job.
    ///
    /// # Errors
    /// What the operator must set before there can be one.
    fn source(&self, spec: &JobSpec) -> Result<Arc<dyn Source>, String>;

    /// Makes a credential a token of the pool: normalised, asked about at the upstream if the job says so, enrolled. Doing it
    /// twice is as doing it once.
    fn admit<'a>(&'a self, job: &'a JobRecord, payload: Payload) -> BoxFuture<'a, Result<Admitted, Fault>>;

    /// Does something to a token of the pool; answers what the operator should know of it. Doing it twice is as doing it
    /// once.
    fn apply(&self, action: TokenAction, token: TokenId) -> BoxFuture<'_, Result<String, Fault>>;

    /// Takes a token out of the pool. Harmless when it is gone already.
    fn withdraw(&self, token: TokenId) -> BoxFuture<'_, Result<(), Fault>>;
}
