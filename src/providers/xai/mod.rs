//! The official xAI API.

pub mod classify;
pub mod files;
pub mod ratelimit;
pub mod rules;
pub mod sanitise;
pub mod team_keys;
mod upstream;
mod management;
mod probe;

pub use probe::{Listed, Management, XaiProber};
pub use upstream::{XaiOptions, XaiUpstream};
