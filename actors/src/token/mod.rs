//! The pool of upstream tokens: what is known of each, which can serve now, which one serves next.
//!
//! [`cooling`] and [`limits`] are pure decisions; [`choice`] reads what [`pool`] keeps in memory; each token's actor writes,
//! tells and probes; [`roster`] is what operators do.

pub mod cooling;
pub mod limits;
mod eligible;
mod entry;
mod team;
pub mod affinity;
pub mod conversations;
mod choice;
mod pool;
mod placing;
mod merge;
mod model_lists;
mod saving;
mod search;
mod follow;
mod events;
mod share;
mod meters;
mod quotas;
mod blame;
mod findings;
mod enrol;
mod listing;
mod paging;
pub mod probe;
mod timers;
mod actor;
mod life;
mod probing;
mod roster;

pub use choice::{Pick, Reason, Tried, Wish};
pub use eligible::ModelId;
pub use enrol::mask;
pub use entry::Token;
pub use listing::{RestScope, Resting};
pub use pool::{Pool, PoolCounters, PoolOptions, PoolParts};
pub use share::{Share, keeper, place_in_line};
pub use team::{MeterUse, Takes, Team, TeamModel};

#[cfg(test)]
mod tests;
