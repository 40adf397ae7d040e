//! Looks after a video until it is done: its link dies within minutes, and only its end says what it cost. Until then the
//! reservation of the client key stands; where this node dies before, it stands for good.

use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::ledger::CallLease;
use grok2api_schemas::ids::RequestId;
use serde_json::Value;

use super::job::{self, Found, Standing};
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::engine::ask::Caller;
use crate::fronts::media::later::{self, Order};

/// What the settlement is written down as.
const ROUTE: &str = "/v1/videos/{id}";
/// A video that takes longer than this is given up on.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);

/// Begins to look after a video.
pub fn over(app: &Arc<App>, found: Found, caller: Caller, ip: String, unsettled: Option<Box<CallLease>>) {
    let order = Order {
        caller,
        ip,
        model: found.job.model.clone(),
        route: ROUTE,
        unsettled,
    };
    let watched = app.clone();
    app.tracker.spawn(async move {
        let Some(answer) = end(&watched, &found).await else {
            return;
        };
        let cost = answer.pointer("/usage/cost_in_usd_ticks").and_then(Value::as_u64);
        // What failed is not billed, unless it says so.
        let is_free = answer.get("status").and_then(Value::as_str) == Some("failed");
        order.settle(&watched, cost.or(is_free.then_some(0)));
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
                end(&watched, &found).await;
            });
        }
    });
}

/// What the upstream says at its end; nothing when it knows nothing of it any more.
async fn end(app: &Arc<App>, found: &Found) -> Option<Value> {
    let look = || async {
        Ok(match job::look(app, found, RequestId::generate()).await? {
            Standing::Ended(ended) => Some(ended.answer),
            Standing::Pending(_) => None,
        })
    };
    later::ended(app, &found.id, PATIENCE, look).await
}
