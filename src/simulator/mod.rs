//! A simulator of the official xAI API: teams, keys, limits that really refuse, streamed answers that depend on the
//! prompt, prices, and misbehaviour on command. `grok2api --demo` runs it inside the process; tests run it as a process
//! of its own (`grok2api simulate`), where it also judges: it logs every arrival and says how many fell in any sliding
//! window.
//!
//! It knows nothing of the rest of the gateway: what it says is written from the API's description, so that the gateway
//! is tested against an upstream that shares none of its code.
//!
//! # A scenario
//!
//! ```json
//! {"pace_ms": 0, "first_token_ms": 0, "answer_chunks": 50,
//!  "teams": [{"id": "teamA", "limits": {"grok-4*": {"rps": 5, "rpm": 100, "concurrency": 8}},
//!             "keys": ["xai-a1", {"secret": "xai-a2", "qpm": 10}]}],
//!  "generate": {"teams": 5, "keys_per_team": 4, "limits": {"*": {"rpm": 600}}},
//!  "rules": [{"when": {"team": "teamA"}, "times": 3, "do": {"error": "rate-rps"}}]}
//! ```
//!
//! # Controls
//!
//! | call | what |
//! |---|---|
//! | `GET /__sim/arrivals` | per team and model: total, refused, fullest sliding windows, tokens, cost; `over` = how far limits were passed |
//! | `GET /__sim/keys`, `GET /__sim/stats` | per key: routes, statuses, hang-ups, meters; totals and calls in flight |
//! | `POST /__sim/script` | a [`Rule`] or a list; `GET` shows them with hits, `DELETE [?id=]` removes |
//! | `GET /__sim/errors` | the names of all refusals |
//! | `POST /__sim/team`, `POST /__sim/key` | changes or adds one: `{"id": "teamA", "funded": false}`, `{"secret": "xai-a1", "blocked": true}` |
//! | `POST /__sim/reset[?keep_rules]` | forgets counts, deferred answers, caches, rules |
//!
//! A prompt that contains `[[sim:error=rate-rps;times=1]]` (names as in [`Effects`], shorter) provokes the same through
//! whatever stands in between.

mod about;
mod body;
mod call;
mod caller;
mod chat;
mod control;
mod demo;
mod embeddings;
mod errors;
mod files;
mod kept;
mod media;
mod management;
mod messages;
mod meter;
mod misbehave;
mod models;
mod pacing;
mod realtime;
mod responses;
mod route;
mod routes;
mod scenario;
mod server;
mod tokens;
mod turn;
mod voice;
mod window;
mod world;

#[cfg(test)]
mod tests;

pub use demo::demo_keys;
pub use misbehave::{Effects, Rhythm, Rule, UsageFault, When};
pub use scenario::{
    Generate, KeyEntry, KeyOptions, Limits, Scenario, ScenarioError, SimulatorOptions, TeamOptions, generated_secret,
    generated_team,
};
pub use server::{RunningSimulator, serve};
