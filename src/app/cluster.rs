//! What the node's place in its cluster means for the process: probes turn red while it can do nothing for clients, and a
//! drain ends it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::cluster::NodeIdentity;
use grok2api_actors::vault::{self, VaultError};
use grok2api_schemas::cluster::NodeLoad;
use grok2api_schemas::config::Config;
use grok2api_schemas::ids::SessionId;

use super::App;
use super::peers::Peers;
use crate::door::DoorHandle;
use crate::shutdown::ShutdownTrigger;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A bus that is away for longer than a JetStream election turns `/readyz` red, milliseconds. Until then, and somewhat
/// longer, calls are served from what is in hand.
const AWAY_MS: u64 = 10_000;
/// Names of blockers in `/readyz`.
pub(super) const BUS: &str = "bus";
const CLOCK: &str = "clock";
const JOURNAL: &str = "journal";
const STORAGE: &str = "storage";

/// What people call this node, everywhere: as configured, else the host with a mark of the node's own key pair, which is
/// kept in its data directory: one host may have several nodes, and each keeps its name.
pub(super) fn node_name(config: &Config, key_pair: Option<&Path>, session: SessionId) -> Result<String, VaultError> {
    let configured = config.cluster.node_id.trim();
    if !configured.is_empty() {
        return Ok(configured.to_owned());
    }
    let host = host_name();
    let Some(key_pair) = key_pair else {
        return Ok(host.unwrap_or_else(|| session.to_string()));
    };
    let [a, b, c, ..] = vault::NodeIdentity::read_or_make(key_pair)?.public_key();
    let host = host.as_deref().unwrap_or("node");
    Ok(format!("{host}-{a:02x}{b:02x}{c:02x}"))
}

/// Who this node is; `port` is where it listens.
pub(super) fn identity(config: &Config, port: u16, session: SessionId, node: String) -> NodeIdentity {
    let scheme = if config.server.tls_cert.is_empty() {
        "http"
    } else {
        "https"
    };
    let advertise_url = match config.cluster.advertise_url.trim_end_matches('/') {
        "" => {
            let host = match config.server.host.as_str() {
                "0.0.0.0" | "::" | "[::]" => host_name().unwrap_or_else(|| node.clone()),
                host => host.to_owned(),
            };
            format!("{scheme}://{host}:{port}")
        }
        url => url.to_owned(),
    };
    NodeIdentity {
        node,
        session,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        advertise_url,
        max_clock_skew_ms: config.cluster.max_clock_skew_secs * 1000,
    }
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

/// Follows the membership until the app ends.
pub(super) fn watch(app: &Arc<App>, door: DoorHandle, end: ShutdownTrigger) {
    let load = (door, app.ledger.clone());
    app.membership.measure_load(move || {
        let (door, ledger) = &load;
        NodeLoad {
            in_flight: u32::try_from(door.in_flight().total()).unwrap_or(u32::MAX),
            meters: u32::try_from(ledger.meter_count()).unwrap_or(u32::MAX),
        }
    });
    let (app, stop) = (app.clone(), app.stop.clone());
    let tracker = app.tracker.clone();
    let asked = app.ledger.asked_to_drain().clone();
    tracker.spawn(async move {
        let mut is_asked = false;
        let mut peers = Peers::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = asked.cancelled(), if !is_asked => {
                    is_asked = true;
                    end.ask("an operator drains this node");
                }
                () = tokio::time::sleep(app.clock.until_next(LOOK_EVERY)) => {
                    look(&app);
                    look_for_peers(&app, &mut peers);
                }
            }
        }
    });
}

fn look_for_peers(app: &App, peers: &mut Peers) {
    let snapshot = app.membership.snapshot();
    // Who is cut off hears nobody, and says that instead.
    if app.membership.is_clustered() && snapshot.connected {
        for change in peers.changes(snapshot.me, &snapshot.nodes) {
            change.tell();
        }
    }
}

fn look(app: &App) {
    match app.ledger.distrusted() {
        Some((shards, reason)) => app.readiness.block(
            JOURNAL,
            format!(
                "{reason}: no grants of {shards} shards until the upstream has forgotten what the lost one granted"
            ),
        ),
        None => app.readiness.clear(JOURNAL),
    }
    if !app.membership.is_clustered() {
        return;
    }
    let snapshot = app.membership.snapshot();
    if !snapshot.settled && !snapshot.connected {
        app.readiness.block(BUS, "not connected to the cluster yet");
    } else if !snapshot.connected && snapshot.lag_ms >= AWAY_MS {
        app.readiness
            .block(BUS, format!("the bus has been away for {} s", snapshot.lag_ms / 1000));
    } else if snapshot.connected {
        app.readiness.clear(BUS);
    }
    match app.bus.no_room() {
        Some(missing) => app.readiness.block(STORAGE, missing.words),
        None => app.readiness.clear(STORAGE),
    }
    match &snapshot.objection {
        Some(objection) => app.readiness.block(CLOCK, objection.clone()),
        None => app.readiness.clear(CLOCK),
    }
}
