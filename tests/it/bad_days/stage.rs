//! A cluster of gateway processes in front of one simulator, and what must hold of it whatever happened.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use grok2api_schemas::meter::{DayBucket, MeterKind};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::load::{Call, GREEDY, Load, Seen, Targets};
use crate::support::admin::NewKey;
use crate::support::http::Http;
use crate::support::journal::{Day, JournalReader};
use crate::support::nats::NatsServers;
use crate::support::{Admin, Gateway, Plan, Sim, eventually};

/// Longer than anything here takes.
pub const SOON: Duration = Duration::from_secs(40);
/// As long as a unit that an owner handed out and nobody got may stay open: asked for at the last exchange (4 s), alive for
/// 30 s, and seen at the tick after that (5 s); and a machine with other things to do.
const LAPSED: Duration = Duration::from_secs(120);
/// Teams of one key each.
const TEAMS: usize = 4;
/// Calls a minute that a team allows of the model that too much is asked of.
const GREEDY_RPM: u64 = 60;
/// The same of every other model.
const STEADY_RPM: u64 = 600;
/// Calls a second that are asked of both.
const STEADY_RATE: u32 = 10;
const GREEDY_RATE: u32 = 6;

/// The stage of a bad day.
pub struct Stage {
    pub nats: NatsServers,
    pub sim: Sim,
    pub nodes: Vec<Gateway>,
    pub targets: Targets,
    /// Keeps books of its own of what the owners write.
    pub journal: JournalReader,
    key: NewKey,
    token: String,
    /// What the configuration was last set to, by an edit that was accepted.
    edited: Mutex<u64>,
}

/// What every node is started with; the first one brings the tokens and the limits.
pub fn plan(sim: &Sim, nats_url: &str, at: usize) -> Plan {
    let mut plan = Plan::of(sim, if at == 0 { TEAMS } else { 0 })
        .env("NATS_URL", nats_url)
        .set("server.drain_delay_secs", 2)
        .set("cluster.node_id", format!("node{at}"));
    if at == 0 {
        for team in 0..TEAMS {
            let limits = format!("rpm = {GREEDY_RPM}");
            plan = plan.limits(&Sim::team_id(team), GREEDY, &limits);
            plan = plan.config(&format!("[xai.teams.limits.\"*\"]\nrpm = {STEADY_RPM}\n"));
        }
    }
    plan
}

/// The upstream that all of them stand before.
pub async fn upstream() -> Sim {
    let team = |at: usize| {
        let mut team = Sim::team(at);
        team["limits"] = json!({GREEDY: {"rpm": GREEDY_RPM}, "*": {"rpm": STEADY_RPM}});
        team
    };
    Sim::play(json!({"first_token_ms": 20, "teams": (0..TEAMS).map(team).collect::<Vec<_>>()})).await
}

impl Stage {
    /// So many nodes on these servers.
    pub async fn set(nats: NatsServers, nodes: usize) -> Stage {
        let urls = vec![nats.url(); nodes];
        Stage::set_over(nats, &urls, |_, plan| plan).await
    }

    /// A node for each of these addresses of NATS, with what `change` makes of its plan.
    pub async fn set_over(nats: NatsServers, urls: &[String], change: impl Fn(usize, Plan) -> Plan) -> Stage {
        let sim = upstream().await;
        let first = change(0, plan(&sim, &urls[0], 0)).start_warm().await;
        let admin = first.admin().await;
        let others = urls.iter().enumerate().skip(1);
        let others = others.map(|(at, url)| change(at, plan(&sim, url, at)).start());
        let mut nodes = vec![first];
        nodes.extend(join_all(others).await);
        let key = admin
            .new_key(json!({"name": "clients", "limits": {"chat_per_day": 1_000_000}}))
            .await;
        let stage = Stage {
            targets: Targets::default(),
            journal: JournalReader::start(&nats.url(), "grok2api"),
            token: admin.token().to_owned(),
            edited: Mutex::new(0),
            nats,
            sim,
            nodes,
            key,
        };
        stage.point_at_all();
        stage.shared_out(0, urls.len()).await;
        for node in &stage.nodes {
            let client = node.as_client(&stage.key.secret);
            eventually("the clients' key works on every node", SOON, || async {
                let got = client.get("/v1/models").await;
                if got.status == 200 { Ok(()) } else { Err(got.text()) }
            })
            .await;
        }
        stage
    }

    /// The proxy learns where the nodes are now.
    pub fn point_at_all(&self) {
        *self.targets.lock() = self.nodes.iter().map(|node| node.as_client(&self.key.secret)).collect();
    }

    /// Demand of both kinds.
    pub fn demand(&self) -> Load {
        Load::start(&self.targets, STEADY_RATE, GREEDY_RATE)
    }

    /// A client of a node.
    pub fn client(&self, node: usize) -> Http {
        self.nodes[node].as_client(&self.key.secret)
    }

    /// The administrator, on one node: a session is valid on all.
    pub fn admin(&self, node: usize) -> Admin {
        Admin::with_token(self.nodes[node].http(), &self.token)
    }

    /// What a node says of the cluster.
    pub async fn view(&self, node: usize) -> Value {
        self.admin(node).get("/cluster").await.ok().json()
    }

    /// Waits until a node sees so many that live, and every shard decided for by whom it should be.
    pub async fn shared_out(&self, by: usize, live: usize) {
        eventually("every shard has its owner", SOON, || async {
            let view = self.view(by).await;
            let nodes = view["nodes"].as_array().unwrap().iter();
            let alive = nodes.filter(|node| node["state"] == "live").count();
            let mut shards = view["shards"].as_array().unwrap().iter();
            let right = shards.all(|shard| !shard["owner"].is_null() && shard["owner"] == shard["named"]);
            if alive == live && right {
                Ok(())
            } else {
                Err(view.to_string())
            }
        })
        .await;
    }

    /// The node that decides for most of what is under way.
    pub async fn busiest(&self) -> usize {
        let view = self.view(0).await;
        let outstanding = |node: usize| -> u64 {
            let name = format!("node{node}");
            let shards = view["shards"].as_array().unwrap().iter();
            let own = shards.filter(|shard| shard["node"] == name.as_str());
            own.map(|shard| shard["outstanding"].as_u64().unwrap()).sum()
        };
        // Not the first: it is the one that is asked.
        (1..self.nodes.len()).max_by_key(|node| outstanding(*node)).unwrap()
    }

    /// Edits the configuration on a node. Answers the status.
    pub async fn edit(&self, node: usize) -> u16 {
        let value = *self.edited.lock() + 1;
        let edit = json!({"clients": {"max_wait_ms": 2_000 + value}});
        let got = self.admin(node).post("/config", &edit).await;
        if got.status == 200 {
            *self.edited.lock() = value;
        } else {
            println!("  an edit on node {node} is refused: {} {}", got.status, got.text());
        }
        got.status.as_u16()
    }

    /// Prints why some calls were refused, as a node's records have it.
    pub async fn explain(&self, node: usize, calls: &[&Call]) {
        for call in calls.iter().filter(|call| !call.request.is_empty()).take(3) {
            let got = self.admin(node).get(&format!("/requests/{}", call.request)).await;
            let record = got.text();
            println!("  why {} was refused: {record}", call.request);
        }
    }

    /// A figure of a node's metrics; 0 if there is none.
    pub async fn metric(&self, node: usize, name: &str) -> f64 {
        let metrics = self.nodes[node].http().get("/metrics").await.ok().text();
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Asks a node for its readiness until the answer is as `wanted`; how long that took.
    pub async fn readiness(&self, node: usize, what: &str, wanted: impl Fn(u16, &str) -> bool) -> Duration {
        let began = Instant::now();
        eventually(what, SOON, || async {
            let got = self.nodes[node].http().get("/readyz").await;
            if wanted(got.status.as_u16(), &got.text()) {
                Ok(())
            } else {
                Err(format!("{} {}", got.status, got.text()))
            }
        })
        .await;
        began.elapsed()
    }

    /// Calls that the client key is charged for today, as each node says.
    async fn used(&self) -> Vec<u64> {
        let mut used = Vec::new();
        for node in 0..self.nodes.len() {
            let key = self.admin(node).key(&self.key.id).await;
            used.push(key["usage_today"]["chat_used"].as_u64().unwrap());
        }
        used
    }

    /// The sessions that take part.
    async fn living(&self) -> BTreeSet<String> {
        let view = self.view(0).await;
        let nodes = view["nodes"].as_array().unwrap().iter();
        let living = nodes.filter(|node| node["state"] != "silent");
        living
            .map(|node| node["session"].as_str().unwrap().to_owned())
            .collect()
    }

    fn day(&self, living: &BTreeSet<String>) -> Day {
        let kind = MeterKind::PerDay(DayBucket::Chat);
        self.journal.day_of_key(&self.key.id, kind, living)
    }

    /// Calls of the clients' key that nodes have told owners of.
    pub fn told(&self) -> u64 {
        self.day(&BTreeSet::new()).used
    }

    /// What the journals say, read by somebody who shares no code with owners and holders: one decided at a time, every
    /// grant was made and closed once, what was used is what arrived where no node died, and beyond it only what is presumed.
    /// Every node says the same. Answers what is charged.
    async fn judge_books(&self, arrived: u64, lost: usize) -> u64 {
        let living = self.living().await;
        eventually("nodes, journals and the upstream agree", LAPSED, || async {
            let told = self.used().await;
            let day = self.day(&living);
            let charged = day.charged + day.presumed;
            let is_exact = lost > 0 || (day.used == arrived && day.presumed == 0);
            let is_right = told.iter().all(|told| *told == charged) && is_exact;
            if is_right && day.used_by_living <= arrived && arrived <= charged {
                Ok(())
            } else {
                Err(format!("{told:?} charged, {day:?}, {arrived} arrived"))
            }
        })
        .await;
        // What nobody needs any more goes back; what died with a node lapses later than a test waits.
        eventually("every grant is closed", LAPSED, || async {
            let open: Vec<_> = self
                .journal
                .grants()
                .into_iter()
                .filter(|grant| {
                    let goes_back = matches!(grant.meter.kind, MeterKind::Requests { .. } | MeterKind::PerDay(_));
                    let is_open = grant.open_units() > 0 && !grant.presumed;
                    goes_back && living.contains(&grant.holder) && is_open
                })
                .collect();
            if open.is_empty() {
                Ok(())
            } else {
                Err(format!("{open:?}"))
            }
        })
        .await;
        let faults = self.journal.faults();
        assert!(faults.is_empty(), "{faults:#?}");
        let day = self.day(&living);
        println!(
            "  {} entries of the journals, {} grants; {} calls used and {} presumed",
            self.journal.entries(),
            self.journal.grants().len(),
            day.used,
            day.presumed
        );
        day.charged + day.presumed
    }

    /// What must hold at the end of every day. `lost` are nodes that were killed: what they had in hand may be charged
    /// beyond what arrived.
    pub async fn judge(&self, day: &str, seen: &Seen, lost: usize) {
        self.judge_with(day, seen, lost, 0).await;
    }

    /// The same, where so many calls arrived that were of other client keys.
    pub async fn judge_with(&self, day: &str, seen: &Seen, lost: usize, of_others: u64) {
        println!("{day}\n{}", seen.describe().trim_end());
        let arrivals = self.sim.arrivals().await;
        let total = self.sim.total().await - of_others;
        assert_eq!(arrivals["over"], 0, "overspent: {arrivals}");
        assert_eq!(self.sim.stat("refused").await, 0, "{arrivals}");
        assert!(total >= seen.succeeded(), "{total} arrived: {arrivals}");
        let charged = self.judge_books(total, lost).await;
        let greedy: u64 = arrivals["arrivals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let is_greedy = row["model"] == GREEDY;
                if is_greedy { row["total"].as_u64().unwrap() } else { 0 }
            })
            .sum();
        println!(
            "  {total} arrived, 0 over, {charged} charged ({} presumed); {greedy} of the scarce model in a minute's {}",
            charged - total,
            GREEDY_RPM * TEAMS as u64
        );
        let edited = 2_000 + *self.edited.lock();
        for node in 0..self.nodes.len() {
            let admin = self.admin(node);
            let tokens = admin.tokens().await;
            let teams: BTreeSet<&str> = tokens.iter().filter_map(|token| token["team"].as_str()).collect();
            assert_eq!((tokens.len(), teams.len()), (TEAMS, TEAMS), "{tokens:?}");
            assert!(tokens.iter().all(|token| token["state"] == "active"), "{tokens:?}");
            if edited > 2_000 {
                eventually("the last accepted edit is in force", SOON, || async {
                    let config = admin.get("/config").await.ok().json();
                    let wait = &config["clients"]["max_wait_ms"];
                    if *wait == edited {
                        Ok(())
                    } else {
                        Err(format!("{wait} instead of {edited} on node {node}"))
                    }
                })
                .await;
            }
            self.nodes[node].assert_alive().await;
        }
    }
}

/// Lets the load go on.
pub async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
