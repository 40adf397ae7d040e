//! What answers: the door, the fronts, the engine and the providers of grok2api.

pub mod catalogue;
pub mod cli;
pub mod engine;
pub mod settings;
