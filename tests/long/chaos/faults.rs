//! What happens to the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{NODES, Places};
use crate::support::Gateway;
use crate::support::cut::CutProxy;
use crate::support::nats::NatsServers;

/// The stream whose leader decides about quotas.
const LEDGER: &str = "grok2api_journal";

/// One node's way to every server.
pub struct Wires(Vec<CutProxy>);

impl Wires {
    pub async fn to(nats: &NatsServers) -> Wires {
        let mut wires = Vec::new();
        for n in 0..nats.count() {
            wires.push(CutProxy::start(nats.address(n)).await);
        }
        Wires(wires)
    }

    pub fn url(&self) -> String {
        let urls = self.0.iter().map(|wire| format!("nats://{}", wire.address()));
        urls.collect::<Vec<_>>().join(",")
    }

    fn each(&self, act: impl Fn(&CutProxy)) {
        self.0.iter().for_each(act);
    }
}

/// What was done, and when, counted from the beginning.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The node that was killed.
    pub killed: Option<usize>,
    /// Whether the bus was in trouble for somebody.
    pub bus: bool,
    pub from: Duration,
    pub until: Duration,
}

/// Everything that faults happen to.
pub struct Stage {
    nodes: Vec<Gateway>,
    nats: NatsServers,
    wires: Vec<Wires>,
    places: Places,
    began: Instant,
    log: Vec<Fault>,
    /// Units that were presumed spent, and heads that were written late, as far as nodes that are gone said.
    gone: Losses,
}

/// What nodes count of what went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// Units presumed spent.
    pub lapsed: f64,
    /// Heads written later than D.
    pub late: f64,
}

impl Stage {
    pub fn new(nodes: Vec<Gateway>, nats: NatsServers, wires: Vec<Wires>, places: Places, began: Instant) -> Stage {
        Stage {
            nodes,
            nats,
            wires,
            places,
            began,
            log: Vec::new(),
            gone: Losses::default(),
        }
    }

    /// Faults for so long, and a quiet end.
    pub async fn play(mut self, random: &mut fastrand::Rng, length: Duration) -> (Stage, Vec<Fault>) {
        let end = self.began + length - Duration::from_secs(10).min(length / 4);
        sleep(Duration::from_secs(3)).await;
        let mut order: Vec<usize> = Vec::new();
        while Instant::now() < end {
            if order.is_empty() {
                // Every kind comes before one comes again.
                order = (0..8).collect();
                random.shuffle(&mut order);
            }
            let kind = order.pop().unwrap();
            let node = random.usize(..NODES);
            let server = random.usize(..self.nats.count());
            let hold = Duration::from_millis(random.u64(1_000..6_000));
            self.fault(kind, node, server, hold).await;
            sleep(Duration::from_millis(random.u64(500..2_500))).await;
        }
        sleep((self.began + length).saturating_duration_since(Instant::now())).await;
        let log = self.log.clone();
        (self, log)
    }

    async fn fault(&mut self, kind: usize, node: usize, server: usize, hold: Duration) {
        let from = self.began.elapsed();
        let (mut killed, mut bus) = (None, false);
        let what = match kind {
            0 => {
                self.remember(node).await;
                killed = Some(node);
                self.nodes[node].kill();
                self.takes(node, false);
                sleep(hold / 2).await;
                self.restart(node).await;
                format!("node {node} killed and started again")
            }
            1 => {
                self.remember(node).await;
                let ended = self.drain(node).await;
                self.restart(node).await;
                format!("node {node} ended ({ended}) and started again")
            }
            2 => {
                bus = true;
                let leader = self.nats.leader_of(LEDGER).await.unwrap_or(server);
                self.nats.kill(leader);
                sleep(hold).await;
                self.nats.restart(leader).await;
                format!("NATS server {leader}, the ledger's leader, killed and started again")
            }
            3 => {
                bus = true;
                self.nats.kill(server);
                sleep(hold).await;
                self.nats.restart(server).await;
                format!("NATS server {server} killed and started again")
            }
            4 => {
                bus = true;
                self.nats.pause(server);
                sleep(hold).await;
                self.nats.resume(server);
                format!("NATS server {server} stopped for {hold:?}")
            }
            5 => {
                bus = true;
                self.wires[node].each(CutProxy::cut);
                sleep(hold).await;
                self.wires[node].each(CutProxy::restore);
                format!("node {node} cut from NATS for {hold:?}")
            }
            6 => {
                bus = true;
                self.wires[node].each(CutProxy::break_all);
                format!("every connection of node {node} to NATS broken")
            }
            _ => {
                bus = true;
                for wires in &self.wires {
                    wires.each(|wire| wire.delay(Duration::from_millis(200)));
                }
                sleep(hold).await;
                for wires in &self.wires {
                    wires.each(|wire| wire.delay(Duration::ZERO));
                }
                format!("200 ms to NATS and back each way for {hold:?}")
            }
        };
        let until = self.began.elapsed();
        println!("{:6.1}–{:5.1} s  {what}", from.as_secs_f64(), until.as_secs_f64());
        self.log.push(Fault {
            killed,
            bus,
            from,
            until,
        });
    }

    /// SIGTERM; who sends calls sees that it is no longer ready.
    async fn drain(&mut self, node: usize) -> String {
        let process = self.nodes[node].process();
        process.signal(rustix::process::Signal::TERM);
        sleep(Duration::from_millis(500)).await;
        self.takes(node, false);
        self.nodes[node]
            .process()
            .wait(Duration::from_secs(60))
            .await
            .to_string()
    }

    async fn restart(&mut self, node: usize) {
        self.nodes[node].restart().await;
        let mut places = self.places.lock();
        places[node].http = self.nodes[node].http().clone();
        places[node].takes = true;
    }

    fn takes(&self, node: usize, takes: bool) {
        self.places.lock()[node].takes = takes;
    }

    /// What this life of a node has counted.
    async fn losses_of(&self, node: usize) -> Losses {
        let metrics = self.nodes[node].http().try_send(http::Method::GET, "/metrics", &[], "");
        let text = metrics.await.map(|got| got.text()).unwrap_or_default();
        let read = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            lines.find_map(|value| value.trim().parse().ok()).unwrap_or(0.0)
        };
        Losses {
            lapsed: read("grok2api_ledger_lapsed_units_total"),
            late: read("grok2api_ledger_late_total"),
        }
    }

    /// This life of a node is about to end.
    async fn remember(&mut self, node: usize) {
        let losses = self.losses_of(node).await;
        self.gone.lapsed += losses.lapsed;
        self.gone.late += losses.late;
    }

    /// Over all nodes and all of their lives.
    pub async fn losses(&self) -> Losses {
        let mut all = self.gone;
        for node in 0..NODES {
            let losses = self.losses_of(node).await;
            all.lapsed += losses.lapsed;
            all.late += losses.late;
        }
        all
    }

    /// The record of every request that failed, and how long answers took to begin, milliseconds. Every node is asked: what
    /// a node that was killed had not told the others is on its own disk.
    pub async fn records(&self) -> (Vec<Value>, Vec<u64>) {
        let (mut records, mut answered_after) = (BTreeMap::new(), Vec::new());
        for node in 0..NODES {
            let answered = self.records_of(node, &mut records).await;
            if node == 0 {
                answered_after = answered;
            }
        }
        (records.into_values().collect(), answered_after)
    }

    async fn records_of(&self, node: usize, records: &mut BTreeMap<String, Value>) -> Vec<u64> {
        let admin = self.nodes[node].admin().await;
        let mut answered_after = Vec::new();
        let mut cursor = String::new();
        for _ in 0..2_000 {
            let got = admin.get(&format!("/requests?limit=1000{cursor}")).await.ok().json();
            for one in got["items"].as_array().unwrap() {
                let attempts = one["attempts"].as_array().into_iter().flatten();
                let answered = attempts.filter(|attempt| !attempt["status"].is_null());
                answered_after.extend(answered.filter_map(|attempt| attempt["took_ms"].as_u64()));
                if one["status"] != 200 {
                    records.insert(one["id"].as_str().unwrap().to_owned(), one.clone());
                }
            }
            match got["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        answered_after
    }
}
