//! A simulator of the official xAI API: teams, keys, limits that really refuse, streamed answers that depend on the
//! prompt, prices, and misbehaviour on command. `grok2api --demo` runs it inside the process; tests run it as a process
//! of its own (`grok2api simulate`), where it also judges: it logs every arrival and says how many fell in any sliding
//! window.
//!
//! It knows nothing of the rest of the gateway: what it says is written from the API's description, so that the gateway
//! is tested against an upstream that shares none of its code.

mod about;
mod body;
mod call;
mod caller;
mod chat;
mod control;
mod demo;
mod errors;
mod meter;
mod misbehave;
mod models;
mod routes;
mod scenario;
mod server;
mod tokens;
mod window;
mod world;

#[cfg(test)]
mod tests;

pub use demo::demo_keys;
pub use misbehave::{Effects, Rule};
pub use scenario::{KeyOptions, Limits, Scenario, ScenarioError, SimulatorOptions, TeamOptions, generated_secret};
pub use server::{RunningSimulator, serve};
