//! The official xAI API.

pub mod classify;
pub mod ratelimit;
pub mod rules;
pub mod sanitise;
mod upstream;
mod probe;

pub use probe::{Listed, XaiProber};
pub use upstream::{XaiOptions, XaiUpstream};
