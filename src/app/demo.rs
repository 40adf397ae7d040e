//! `--demo`: the built-in upstream, and a little traffic of its own, so that cooling and recovery show within a minute to
//! somebody who only watches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::clock::Clock;
use grok2api_actors::vault::random_secret;
use grok2api_schemas::config::{Config, Secret};
use grok2api_schemas::ids::RequestId;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::App;
use super::build::BuildError;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Caller, Route};
use crate::fronts::openai::dialect::ChatDialect;
use crate::http::arrival::Arrival;
use crate::simulator::{self, RunningSimulator, SimulatorOptions};

/// A request this often: each of the three teams is met several times a minute.
const EVERY: Duration = Duration::from_millis(1_500);
const MODEL: &str = "grok-4.6";

/// Starts the built-in upstream and points the configuration at it.
///
/// # Errors
/// When it cannot listen.
pub(super) async fn start_upstream(
    config: &mut Config,
    enrol: &mut Vec<Secret>,
) -> Result<RunningSimulator, BuildError> {
    let tracker = TaskTracker::new();
    let running = simulator::serve(SimulatorOptions::demo(), Clock::system(), &tracker)
        .await
        .map_err(|error| BuildError(format!("the built-in upstream: {error}")))?;
    config.xai.base_url = running.base_url();
    *enrol = simulator::demo_keys()
        .into_iter()
        .map(|(secret, _)| Secret::from(secret))
        .collect();
    Ok(running)
}

/// A client key for this run alone, so that there is a call to paste at every start: the first start's key is stored
/// hashed. `None` where the configuration has a key.
pub(super) fn key_of_this_run(app: &App) -> Option<Zeroizing<String>> {
    if !app.config().app.api_key.expose().is_empty() {
        return None;
    }
    let key = Zeroizing::new(random_secret("sk-demo-", 24));
    app.keys.set_config_key(Some(&key));
    Some(key)
}

/// Asks something now and then, until the app ends.
pub(super) fn keep_busy(app: &Arc<App>) {
    let (app, stop) = (app.clone(), app.stop.clone());
    let tracker = app.tracker.clone();
    tracker.spawn(async move {
        for n in 0_u64.. {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let answer = app.engine.run(question(&app, n)).await;
            if let Ok(Answer::Stream { mut body, .. }) = answer {
                while body.next().await.is_some() {}
            }
        }
    });
}

fn question(app: &App, n: u64) -> Ask {
    let stream = n.is_multiple_of(2);
    let body = serde_json::json!({
        "model": MODEL, "stream": stream,
        "messages": [{"role": "user", "content": format!("What is worth knowing about the number {n}?")}],
    });
    let body = Bytes::from(body.to_string());
    let arrival = Arrival {
        id: RequestId::generate(),
        received: app.clock.now(),
        time_ms: app.clock.wall().0,
        ip: "demo".to_owned(),
    };
    let catalogue = app.catalogue.load();
    Ask {
        stream,
        bytes_in: body.len() as u64,
        input_bytes: body.len(),
        body,
        ..Ask::new(
            Route::post("/v1/chat/completions", "/chat/completions"),
            &arrival,
            Caller::Anonymous,
            MODEL,
            &catalogue.resolve(MODEL),
            Arc::new(ChatDialect {
                keep_usage: false,
                choices: 1,
            }),
        )
    }
}
