//! `grok2api serve`: from the configuration to the last flush.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use std::time::Duration;

use grok2api_actors::clock::Clock;
use grok2api_schemas::config::Config;
use tokio_util::task::TaskTracker;

use super::build::{BuildError, Sources, build};
use super::{cluster, demo, gauges, watch};
use crate::cli::{self, Facts};
use crate::door::{Door, DoorHandle, DoorOptions, Listener, TrustedProxies, descriptors, health::Readiness, tls};
use crate::http::starting::Starting;
use crate::settings::live::{LiveOptions, Patch};
use crate::settings::{LoadArgs, Loaded};
use crate::shutdown::{Shutdown, ShutdownPlan, Signals};
use crate::simulator::SimulatorOptions;
use crate::telemetry::{LogTap, Metrics, SetLogLevel};
use crate::{http, simulator};

/// The name of the blocker of `/readyz` until there is an app.
const START: &str = "start";
/// A start that takes longer says what it waits for.
const LONG_START: Duration = Duration::from_secs(1);

/// Serves until a signal ends it.
///
/// # Errors
/// One line for the operator: what keeps the process from starting.
pub async fn serve(
    args: &LoadArgs,
    loaded: Loaded,
    is_demo: bool,
    set_log_level: SetLogLevel,
    log_tap: LogTap,
) -> Result<ExitCode, BuildError> {
    let Loaded {
        mut config,
        warnings,
        file,
        mut enrol,
        first_start,
    } = loaded;
    let mut signals = Signals::listen().map_err(|error| BuildError(format!("signals: {error}")))?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let descriptors = descriptors::raise();
    let upstream = if is_demo {
        Some(demo::start_upstream(&mut config, &mut enrol).await?)
    } else {
        None
    };

    let metrics = Arc::new(Metrics::new().map_err(|error| BuildError(format!("metrics: {error}")))?);
    let readiness = Readiness::default();
    let options = door_options(&config, &descriptors)?;
    let max_connections = options.max_connections;
    let patience = Duration::from_millis(config.clients.max_wait_ms);
    // Before anything is made: credentials that are shown once must not be made by a start that then fails for its port.
    let listener = Listener::bind(&config.server.host, config.server.port)
        .await
        .map_err(|error| BuildError(error.to_string()))?;
    let built_in = upstream.as_ref().map(|_| config.xai.base_url.clone());
    let sources = Sources {
        config,
        live: LiveOptions {
            args: args.clone(),
            file: file.clone(),
            patch: built_in.map(|url| -> Patch { Arc::new(move |config| config.xai.base_url.clone_from(&url)) }),
        },
        set_log_level,
        log_tap,
        port: listener.local_addr().port(),
    };
    let address = local_address(&listener, options.tls.is_some());
    let tls = options.tls.is_some();
    let handle = DoorHandle::default();
    let starting = Starting::new(readiness.clone(), patience);
    readiness.block(START, "it is not built yet");
    let door = Door::new(starting.clone(), options, handle.clone(), Clock::system());
    let doors = TaskTracker::new();
    doors.spawn(door.serve(listener));
    doors.close();
    // With NATS away this may take as long as it takes; a signal ends it.
    let app = tokio::select! {
        app = build(sources, metrics, readiness.clone()) => app?,
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
        never = say_what_is_waited_for(&readiness, &address) => match never {},
    };
    let config = app.config().clone();
    let mut first = app.first_start(&enrol).await?;
    if is_demo && first.client_key.is_none() {
        first.client_key = demo::key_of_this_run(&app);
    }
    app.metrics.watch_door(handle.clone());
    gauges::register(&app);
    watch::start(&app);
    cluster::watch(&app, handle.clone(), signals.trigger());
    if let Some(nats) = &app.nats {
        super::control::serve(&app, nats).await?;
    }
    readiness.clear(START);
    starting.ready(http::routes(&app));

    let facts = Facts {
        address: address.clone(),
        admin_username: config.app.admin_username.clone(),
        admin_password: first.admin_password.as_ref().map(|password| password.to_string()),
        client_key: first.client_key.as_ref().map(|key| key.to_string()),
        joins: !config.nats.url.is_empty(),
        config_file: file.display().to_string(),
        tokens: app.pool.len(),
        upstream: config.xai.base_url.clone(),
        tls,
        nats: app.nats.as_ref().map(|nats| nats.describe()),
        demo: is_demo,
        anonymous: config.security.allow_anonymous,
        limits: limits_in_words(&config),
        model: String::new(),
    };
    if first_start || is_demo || facts.admin_password.is_some() || facts.client_key.is_some() {
        cli::say(&cli::banner(&facts));
    }
    if is_demo {
        demo::keep_busy(&app);
    }
    tracing::info!(
        %address, tokens = app.pool.len(), descriptors = %descriptors, max_connections, upstream = %config.xai.base_url,
        "ready to serve"
    );

    let plan = ShutdownPlan {
        drain_delay: Duration::from_secs(config.drain_delay_secs()),
        grace: Duration::from_secs(config.server.grace_secs),
    };
    let mut shutdown = Shutdown::new(plan, readiness, handle);
    let (held, unread, cut) = (app.engine.clone(), app.engine.clone(), app.engine.clone());
    shutdown.wait_for(
        move || held.unread().held(),
        move || unread.unread().count(),
        move || cut.unread().cut_off(),
    );
    let draining = app.membership.clone();
    let leaving = app.leaving.clone();
    shutdown.at_once(move || {
        draining.drain();
        leaving.cancel();
    });
    let closing = app.clone();
    shutdown.then("settle and flush", move || async move { closing.close().await });
    let outcome = shutdown.run(&mut signals).await;
    if let Some(upstream) = upstream {
        upstream.stop().await;
    }
    Ok(outcome.exit_code())
}

/// Says where probes are answered, once a start takes long.
async fn say_what_is_waited_for(readiness: &Readiness, address: &str) -> Infallible {
    tokio::time::sleep(LONG_START).await;
    let blockers = readiness.blockers();
    let reasons: Vec<_> = blockers.into_iter().map(|(_, reason)| reason).collect();
    tracing::info!(%address, "still starting; probes are answered, calls are refused: {}", reasons.join("; "));
    std::future::pending().await
}

fn door_options(config: &Config, descriptors: &descriptors::DescriptorLimit) -> Result<DoorOptions, BuildError> {
    let tls = match (config.server.tls_cert.as_str(), config.server.tls_key.as_str()) {
        ("", "") => None,
        (cert, key) => {
            Some(tls::server_config(cert.as_ref(), key.as_ref()).map_err(|error| BuildError(error.to_string()))?)
        }
    };
    let derived = descriptors.connections();
    let configured = usize::try_from(config.server.max_connections).unwrap_or(derived);
    Ok(DoorOptions {
        max_connections: if configured == 0 { derived } else { configured },
        header_read_timeout: Duration::from_secs(config.server.header_read_timeout_secs),
        trusted_proxies: TrustedProxies::parse(&config.server.trusted_proxies).map_err(BuildError)?,
        tls,
        ..DoorOptions::default()
    })
}

/// Where clients on this machine reach us: an address that means all of them is shown as loopback.
fn local_address(listener: &Listener, tls: bool) -> String {
    let mut address = listener.local_addr();
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    format!("{}://{address}", if tls { "https" } else { "http" })
}

fn limits_in_words(config: &Config) -> Vec<String> {
    match config.xai.teams.len() {
        0 => Vec::new(),
        1 => vec!["1 team with limits of its own".to_owned()],
        n => vec![format!("{n} teams with limits of their own")],
    }
}

/// Runs the built-in upstream on its own, for tests.
///
/// # Errors
/// One line: what keeps it from starting.
pub async fn simulate(options: SimulatorOptions) -> Result<ExitCode, BuildError> {
    let mut signals = Signals::listen().map_err(|error| BuildError(format!("signals: {error}")))?;
    let tracker = TaskTracker::new();
    let running = simulator::serve(options, Clock::system(), &tracker)
        .await
        .map_err(|error| BuildError(format!("the simulator: {error}")))?;
    cli::say(&format!("listening on http://{}", running.addr));
    let _ = signals.next().await;
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}
