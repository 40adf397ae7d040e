//! What lives in grok2api: the pool of upstream tokens, the ledger of their quotas, the bus, the store, the connections.
//!
//! Invariants, held by tests: no poem and no chat dialect in here · only [`egress`] builds HTTP clients · only
//! [`bus::codec`] names bincode · [`clock`] is the only source of time that a decision rests on · pure decisions (choice,
//! ledger, cooling) take `now` and return data; the actors around them are plumbing.

pub mod cluster;
pub mod token;
pub mod ledger;
pub mod clients;
pub mod jobs;
pub mod bus;
pub mod store;
pub mod vault;
pub mod mirror;
pub mod egress;
pub mod media;
pub mod mailbox;
pub mod supervise;
pub mod runtime;
pub mod repoll;
pub mod observe;
pub mod clock;
