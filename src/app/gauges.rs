//! Counts that others keep, copied into the metrics before each scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grok2api_schemas::token::{PoolName, TokenState};

use super::App;
use crate::telemetry::metrics::set_total;

/// Shows the pool, the ledger and the waiting rooms in the metrics.
pub(super) fn register(app: &Arc<App>) {
    let pool = app.pool.clone();
    app.metrics.register_pull(move |metrics| {
        let states = pool.states();
        for name in PoolName::ALL {
            for state in TokenState::ALL {
                let count = states.get(&(name, state)).copied().unwrap_or(0);
                metrics.set_pool_tokens(name.as_str(), state.as_str(), count);
            }
        }
        for (scope, cause, total) in pool.cooling_events() {
            metrics.set_cooling_total(scope, cause, total);
        }
        let (hits, borrows, rebinds, bindings) = pool.affinity_counts();
        metrics.set_affinity(hits, borrows, rebinds, bindings);
        metrics.set_mailbox_depth("token", pool.mailbox_depth());
    });
    let media = app.media.clone();
    app.metrics
        .register_pull(move |metrics| metrics.set_mailbox_depth("media", media.downloads()));
    let ledger = app.ledger.clone();
    app.metrics.register_pull(move |metrics| {
        let counters = ledger.counters();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shown = metrics.ledger();
        set_total(&shown.grants, read(&counters.grants));
        set_total(&shown.lapses, read(&counters.lapses));
        set_total(&shown.lapsed_units, read(&counters.presumed_units));
        set_total(&shown.presumed, read(&counters.presumed));
        set_total(&shown.late, read(&counters.late));
        set_total(&shown.appends, read(&counters.appends));
    });
    let engine = app.engine.clone();
    app.metrics.register_pull(move |metrics| {
        metrics
            .client_waits()
            .set(i64::try_from(engine.waiting()).unwrap_or(i64::MAX));
    });
    let catalogue = app.catalogue.load();
    app.metrics
        .set_known_models(catalogue.models().iter().map(|model| model.id.clone()));
}
