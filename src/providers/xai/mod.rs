//! The official xAI API.

pub mod classify;
pub mod ratelimit;
pub mod rules;
pub mod sanitise;
mod upstream;
mod probe;

pub use probe::XaiProber;
pub use upstream::{XaiOptions, XaiUpstream};
