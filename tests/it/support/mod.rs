//! Starts the built program as a person would, and talks to it over sockets.

// The long tests share these files and need fewer of them.
#![allow(
    dead_code,
    unused_imports,
    clippy::allow_attributes,
    reason = "shared by two test binaries, neither of which uses everything"
)]

pub mod admin;
pub mod cut;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod load;
pub mod nats;
pub mod process;
pub mod recorder;
pub mod saturation;
pub mod scramble;
pub mod scripts;
pub mod sim;
pub mod tap;

use std::time::Duration;

use tokio::time::Instant;

pub use self::admin::Admin;
pub use self::gateway::{Gateway, Plan};
pub use self::sim::Sim;
pub use self::tap::Tap;

/// Tries until it is so, or panics with what was said last.
pub async fn eventually<F, Fut>(what: &str, limit: Duration, mut check: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let end = Instant::now() + limit;
    loop {
        let complaint = match check().await {
            Ok(()) => return,
            Err(complaint) => complaint,
        };
        assert!(
            Instant::now() < end,
            "not in {} s: {what}: {complaint}",
            limit.as_secs_f64()
        );
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A chat request.
pub fn ask(model: &str, prompt: &str) -> serde_json::Value {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

/// The same, streamed.
pub fn ask_streamed(model: &str, prompt: &str) -> serde_json::Value {
    let mut request = ask(model, prompt);
    request["stream"] = true.into();
    request
}

/// The model that tests ask for where it does not matter.
pub const MODEL: &str = "grok-4.6";
