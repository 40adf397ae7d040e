//! What is looked at every now and then: whether the store still takes writes, and what can be forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::App;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// The name of the blocker in `/readyz`.
const BLOCKER: &str = "store";

/// Watches until the app ends.
pub(super) fn start(app: &Arc<App>) {
    let (app, stop) = (app.clone(), app.stop.clone());
    let tracker = app.tracker.clone();
    tracker.spawn(async move {
        let mut swept = tokio::time::Instant::now();
        let mut was_degraded = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(app.clock.until_next(LOOK_EVERY)) => {}
            }
            match app.store.degraded() {
                Some(error) => {
                    if !was_degraded {
                        tracing::error!(%error, "the store takes no writes: quotas cannot be granted and changes cannot be kept");
                    }
                    app.readiness.block(BLOCKER, error.to_string());
                    was_degraded = true;
                }
                None if was_degraded => {
                    tracing::info!("the store takes writes again");
                    app.readiness.clear(BLOCKER);
                    was_degraded = false;
                }
                None => {}
            }
            if swept.elapsed() >= SWEEP_EVERY {
                swept = tokio::time::Instant::now();
                match app.bindings.sweep(app.clock.wall().0).await {
                    Ok(forgotten) => tracing::debug!(forgotten, "bindings of upstream objects have expired"),
                    Err(error) => tracing::warn!(%error, "expired bindings could not be forgotten"),
                }
            }
        }
    });
}
