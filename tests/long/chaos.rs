//! Chaos: three nodes, three NATS servers, one upstream that counts arrivals, more demand than the limits allow, and a fault
//! every few seconds. Nothing may pass a limit, whatever happens; what clients saw must have a reason; and the limits must
//! have been used.
//!
//! `GROK2API_TEST_SEED` repeats a run's faults, `GROK2API_TEST_SECONDS` sets how long it takes.

mod faults;
mod judge;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::faults::{Stage, Wires};
use self::judge::{Call, Judge};
use crate::support::http::Http;
use crate::support::journal::JournalReader;
use crate::support::nats::NatsServers;
use crate::support::{MODEL, Plan, Sim, ask, eventually};

const NODES: usize = 3;
const TEAMS: usize = 10;
const KEYS_PER_TEAM: usize = 5;
/// Requests per second of all clients.
const RATE: u64 = 210;
/// D of the run: how late a call may reach the upstream. The machine is busy; what was measured is printed.
const SLACK_MS: u64 = 500;
/// A client waits for at most this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute and a half"]
async fn a_minute_of_chaos() {
    run(Duration::from_secs(75)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes six minutes"]
async fn five_minutes_of_chaos() {
    run(Duration::from_secs(330)).await;
}

/// Limits of a team.
#[derive(Clone, Copy, Debug)]
struct Limits {
    rpm: u64,
    rps: Option<u64>,
}

impl Limits {
    fn draw(random: &mut fastrand::Rng, team: usize) -> Limits {
        Limits {
            rpm: random.u64(30..=120),
            // Of every three teams one is held to a number per second, too.
            rps: team.is_multiple_of(3).then(|| random.u64(6..=10)),
        }
    }
}

/// Where clients send, as a load balancer knows it.
#[derive(Clone)]
struct Place {
    http: Http,
    /// Not while it is down or says that it drains.
    takes: bool,
}

type Places = Arc<Mutex<Vec<Place>>>;

async fn run(length: Duration) {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from_environment("GROK2API_TEST_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let length = from_environment("GROK2API_TEST_SECONDS").map_or(length, Duration::from_secs);
    println!("seed {seed}, {} s", length.as_secs());
    let mut random = fastrand::Rng::with_seed(seed);
    let Some(nats) = NatsServers::start(3, "max_payload: 8MB").await else {
        return;
    };
    let limits: Vec<Limits> = (0..TEAMS).map(|team| Limits::draw(&mut random, team)).collect();
    let sim = Sim::play(scenario(&limits)).await;
    let mut nodes = Vec::new();
    let mut wires = Vec::new();
    for at in 0..NODES {
        let wire = Wires::to(&nats).await;
        nodes.push(plan(&sim, &limits, at, &wire).start().await);
        wires.push(wire);
    }
    let journal = JournalReader::start(&nats.url(), "grok2api");
    let admin = nodes[0].admin().await;
    admin.wait_for_tokens(TEAMS * KEYS_PER_TEAM).await;
    eventually("every shard has its owner", Duration::from_secs(30), || async {
        let view = admin.get("/cluster").await.ok().json();
        let shards = view["shards"].as_array().unwrap();
        let right = shards
            .iter()
            .all(|shard| !shard["owner"].is_null() && shard["owner"] == shard["named"]);
        if right { Ok(()) } else { Err(view.to_string()) }
    })
    .await;

    let places: Places = Arc::new(Mutex::new(
        nodes
            .iter()
            .map(|node| Place {
                http: node.http().clone(),
                takes: true,
            })
            .collect(),
    ));
    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    clients.spawn(load(places.clone(), stop.clone(), began));
    let stage = Stage::new(nodes, nats, wires, places, began);
    let (stage, log) = stage.play(&mut random, length).await;
    stop.store(true, Ordering::Relaxed);
    let calls = clients.join_next().await.unwrap().unwrap();
    // The last records are on their way.
    tokio::time::sleep(judge::BATCH).await;
    let (records, answered_after) = stage.records().await;
    let losses = stage.losses().await;
    let judge = Judge {
        limits,
        calls,
        faults: log,
        took: began.elapsed(),
        arrivals: sim.arrivals().await,
        records,
        answered_after,
        lapsed: losses.lapsed,
        late: losses.late,
    };
    println!("{}", judge.describe());
    let (entries, faults) = (journal.entries(), journal.faults());
    println!("{entries} entries of the journals, {} grants", journal.grants().len());
    judge.assert_kept(seed);
    assert!(entries > 0 && faults.is_empty(), "seed {seed}: {faults:#?}");
}

fn scenario(limits: &[Limits]) -> serde_json::Value {
    let teams: Vec<_> = limits
        .iter()
        .enumerate()
        .map(|(team, limits)| {
            let keys: Vec<String> = (0..KEYS_PER_TEAM).map(|at| key(team, at)).collect();
            let mut allowed = json!({"rpm": limits.rpm});
            if let Some(rps) = limits.rps {
                allowed["rps"] = rps.into();
            }
            json!({"id": Sim::team_id(team), "keys": keys, "limits": {"*": allowed}})
        })
        .collect();
    json!({"teams": teams})
}

fn key(team: usize, at: usize) -> String {
    Sim::key(team * 100 + at)
}

fn plan(sim: &Sim, limits: &[Limits], at: usize, wire: &Wires) -> Plan {
    let mut plan = Plan::new(&sim.base_url())
        .env("NATS_URL", &wire.url())
        .set("nats.replicas", 3)
        .set("nats.start_deadline_secs", 60)
        .set("cluster.node_id", format!("node{at}"))
        .set("server.drain_delay_secs", 2)
        .set("xai.delivery_slack_ms", SLACK_MS)
        .keys((0..TEAMS).flat_map(|team| (0..KEYS_PER_TEAM).map(move |at| key(team, at))));
    for (team, limits) in limits.iter().enumerate() {
        let rps = limits.rps.map_or_else(String::new, |rps| format!("\nrps = {rps}"));
        plan = plan.limits(&Sim::team_id(team), "*", &format!("rpm = {}{rps}", limits.rpm));
    }
    plan
}

/// Clients that come at an even rate, each to the next node that takes calls; who is refused a connection goes on to
/// another node.
async fn load(places: Places, stop: Arc<AtomicBool>, began: Instant) -> Vec<Call> {
    let mut clients = JoinSet::new();
    let mut calls = Vec::new();
    let mut at: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(began + Duration::from_micros(at * 1_000_000 / RATE)).await;
        clients.spawn(call(places.clone(), at as usize, began));
        at += 1;
        while let Some(done) = clients.try_join_next() {
            calls.push(done.unwrap());
        }
    }
    while let Some(done) = clients.join_next().await {
        calls.push(done.unwrap());
    }
    calls
}

async fn call(places: Places, number: usize, began: Instant) -> Call {
    let started = began.elapsed();
    let mut turn = number;
    let end = Instant::now() + PATIENCE;
    loop {
        let node = turn % NODES;
        let place = places.lock()[node].clone();
        if !place.takes {
            turn += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            if Instant::now() < end {
                continue;
            }
        }
        let body = ask(MODEL, &format!("call {number}"));
        let answer = tokio::time::timeout(PATIENCE, place.http.try_chat(&body)).await;
        let outcome = match answer {
            Ok(Ok(got)) => Ok(got),
            // What a proxy may repeat: nothing was sent.
            Ok(Err(error)) if error.contains("onnect") && !error.contains("reset") && Instant::now() < end => {
                turn += 1;
                continue;
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer in {PATIENCE:?}")),
        };
        return Call::new(node, started, began.elapsed(), outcome);
    }
}
