//! What answers: the door, the fronts, the engine and the providers of grok2api.

pub mod admin;
pub mod engine;
pub mod fronts;
pub mod ops;
pub mod providers;
pub mod request_log;
