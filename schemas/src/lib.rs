//! What travels between the parts of grok2api: identifiers, stored records, bus messages, configuration and the views
//! that the admin doors answer with.
//!
//! Invariants, held by tests: this crate knows nothing but serde (no tokio, no I/O), and has no behaviour beyond
//! parsing and printing its own types.

pub mod admin;
pub mod bus;
pub mod client_key;
pub mod cluster;
pub mod config;
pub mod ids;
pub mod job;
pub mod ledger;
pub mod media;
pub mod meter;
pub mod openai;
pub mod public;
pub mod rare;
pub mod since;
pub mod token;
pub mod token_event;
