//! What answers: the door, the fronts, the engine and the providers of grok2api.

pub mod cli;
pub mod app;
pub mod shutdown;
pub mod door;
pub mod http;
pub mod fronts;
pub mod engine;
pub mod providers;
pub mod catalogue;
pub mod bindings;
pub mod jobs;
pub mod logs;
pub mod admin;
pub mod control;
pub mod documents;
pub mod ops;
pub mod request_log;
pub mod settings;
pub mod telemetry;
pub mod token_history;
pub mod simulator;
