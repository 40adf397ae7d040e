//! What answers: the door, the fronts, the engine and the providers of grok2api.

pub mod cli;
pub mod admin;
pub mod app;
pub mod bindings;
pub mod admin;
pub mod catalogue;
pub mod cli;
pub mod door;
pub mod engine;
pub mod fronts;
pub mod http;
pub mod ops;
pub mod providers;
pub mod request_log;
pub mod settings;
pub mod shutdown;
pub mod simulator;
pub mod telemetry;
