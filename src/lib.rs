//! What answers: the door, the fronts, the engine and the providers of grok2api.

pub mod door;
pub mod engine;
pub mod shutdown;
pub mod telemetry;
