//! The official xAI API.

pub mod classify;
pub mod ratelimit;
pub mod rules;
pub mod sanitise;
