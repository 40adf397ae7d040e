//! Looks after a video until it is done: its link dies within minutes, and only its end says what it cost. Until then the
//! reservation of the client key stands; where this node dies before, it stands for good.

use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::ledger::{Actual, CallLease};
use grok2api_schemas::ids::RequestId;
use serde_json::Value;

use super::job::{self, Found, Standing};
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::engine::Answered;
use crate::engine::ask::Caller;
use crate::engine::error::ErrorKind;
use crate::http::arrival::Arrival;

/// What the settlement is written down as.
const ROUTE: &str = "/v1/videos/{id}";
/// The first looks come after so long, and every further one somewhat later.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);
/// A video that takes longer than this is given up on.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);

/// Begins to look after a video.
pub fn over(app: &Arc<App>, found: Found, caller: Caller, ip: String, unsettled: Option<Box<CallLease>>) {
    let watched = app.clone();
    app.tracker.spawn(async move {
        let stop = watched.stop.clone();
        let watch = tokio::time::timeout(PATIENCE, end(&watched, &found));
        let ended = tokio::select! {
            ended = watch => ended.ok().flatten(),
            () = stop.cancelled() => None,
        };
        let Some(answer) = ended else { return };
        let cost = answer.pointer("/usage/cost_in_usd_ticks").and_then(Value::as_u64);
        // What failed is not billed, unless it says so.
        let is_free = answer.get("status").and_then(Value::as_str) == Some("failed");
        let cost = cost.or(is_free.then_some(0));
        if let Some(lease) = unsettled {
            lease.settle(Actual {
                tokens: Some(0),
                usd_ticks: cost,
            });
        }
        let arrival = Arrival {
            id: RequestId::generate(),
            received: watched.clock.now(),
            time_ms: watched.clock.wall().0,
            ip,
        };
        let about = Answered {
            caller: &caller,
            model: &found.job.model,
            cost_ticks: cost,
            bytes_in: 0,
        };
        watched.engine.settled(&arrival, ROUTE, &about);
    });
}

/// Videos that are looked after again, at most.
const MOST_RESUMED: usize = 500;

/// Looks again after what was being made when a process ended: their links die whether anybody polls or not. Their
/// reservations stand, for who held them is gone.
pub fn resume(app: &Arc<App>) {
    let app = app.clone();
    let tracker = app.tracker.clone();
    tracker.spawn(async move {
        let now_secs = app.clock.wall().0 / 1000;
        let known = match app.bindings.list(ObjectKind::Video).await {
            Ok(known) => known,
            Err(error) => return tracing::warn!(%error, "videos that were being made are not looked after"),
        };
        let pending = known.into_iter().filter_map(|(id, binding)| {
            let job = job::read(&binding)?;
            let is_young = job.created + PATIENCE.as_secs() > now_secs;
            (job.ended.is_none() && is_young).then_some(Found { id, binding, job })
        });
        for found in pending.take(MOST_RESUMED) {
            let watched = app.clone();
            app.tracker.spawn(async move {
                let stop = watched.stop.clone();
                tokio::select! {
                    _ = tokio::time::timeout(PATIENCE, end(&watched, &found)) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    });
}

/// What the upstream says at its end; nothing when it knows nothing of it any more.
async fn end(app: &Arc<App>, found: &Found) -> Option<Value> {
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST);
        match job::look(app, found, RequestId::generate()).await {
            Ok(Standing::Ended(ended)) => return Some(ended.answer),
            Ok(Standing::Pending(_)) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {
                tracing::warn!(
                    id = found.id,
                    "the upstream knows nothing of a video that it was making"
                );
                return None;
            }
            Err(error) => tracing::debug!(id = found.id, error = %error.message, "a video could not be looked at"),
        }
    }
}
