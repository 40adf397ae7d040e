//! What is used of meters, over all nodes: charged and granted as their owners have it, less what is in anybody's hand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures::future::join_all;
use grok2api_schemas::cluster::{MeterUsage, NodeReply, NodeRequest};
use grok2api_schemas::meter::{DayBucket, Domain, Meter, MeterKind};
use tokio::sync::oneshot;

use super::actor::Inspect;
use super::handle::{Ledger, shard_of};
use super::holder::HeldMeter;
use super::remote;
use super::shards::Shards;

/// Meters of this node by name.
pub(super) type Meters = DashMap<Arc<Meter>, Arc<HeldMeter>>;

/// How long another node has to answer: somebody looks at a page.
const WITHIN: Duration = Duration::from_secs(1);
/// Keys that one message asks about; its answer has up to [`KINDS`] meters of each, and fits into a message of NATS.
const KEYS_A_MESSAGE: usize = 500;
/// Meters that one message asks about, where they are named one by one.
const METERS_A_MESSAGE: usize = 1_000;
/// What is counted by the day.
const KINDS: [MeterKind; 5] = [
    MeterKind::PerDay(DayBucket::Chat),
    MeterKind::PerDay(DayBucket::Heavy),
    MeterKind::PerDay(DayBucket::Image),
    MeterKind::PerDay(DayBucket::Video),
    MeterKind::UsdPerDay,
];

/// How a meter stands over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Units that count against the limit now.
    pub used: u64,
    /// Units that nodes hold and have not used, those among them that are on their way back to the owner.
    pub in_hand: u64,
}

impl Ledger {
    /// What these client keys have used today, by meter. A meter whose owner does not answer is as this node last heard.
    pub async fn used_by_keys(&self, keys: &[String]) -> HashMap<Meter, u64> {
        let asked = keys.chunks(KEYS_A_MESSAGE);
        let requests = asked.map(|keys| NodeRequest::KeyUsage(keys.to_vec())).collect();
        let used = self.used_of(&daily(keys), requests).await;
        used.into_iter().map(|(meter, used)| (meter, used.used)).collect()
    }

    /// How these meters stand; those that nobody has used are left out.
    pub async fn used(&self, wanted: &[Meter]) -> HashMap<Meter, Used> {
        let asked = wanted.chunks(METERS_A_MESSAGE);
        let requests = asked.map(|meters| NodeRequest::Usage(meters.to_vec())).collect();
        self.used_of(wanted, requests).await
    }

    /// `requests` ask other nodes for the same.
    async fn used_of(&self, wanted: &[Meter], requests: Vec<NodeRequest>) -> HashMap<Meter, Used> {
        let mut counted: HashMap<Meter, u64> = HashMap::new();
        let mut in_hand: HashMap<Meter, u64> = HashMap::new();
        let own = known(self.shards(), self.meters(), wanted);
        let (own, others) = tokio::join!(own, self.known_elsewhere(requests));
        for MeterUsage {
            meter,
            counted: here,
            in_hand: held,
        } in own.into_iter().chain(others)
        {
            if let Some(here) = here {
                let most = counted.entry(meter.clone()).or_default();
                // Two owners at the moment of a takeover: the one that knows more.
                *most = here.max(*most);
            }
            *in_hand.entry(meter).or_default() += held;
        }
        let mut standing: HashMap<Meter, Used> = HashMap::new();
        for (meter, in_hand) in in_hand {
            let used = match counted.get(&meter) {
                Some(counted) => counted.saturating_sub(in_hand),
                None => self.meters().get(&meter).map_or(0, |held| held.used_in_window()),
            };
            standing.insert(meter, Used { used, in_hand });
        }
        standing
    }

    async fn known_elsewhere(&self, requests: Vec<NodeRequest>) -> Vec<MeterUsage> {
        let others = self.shards().membership.others();
        let asked = requests.into_iter().flat_map(|request| {
            let request = Arc::new(request);
            others.iter().map(move |session| (*session, request.clone()))
        });
        let answers = asked.map(|(session, request)| async move {
            match remote::ask(self.bus(), session, &request, WITHIN).await {
                Ok(NodeReply::KeyUsage(known)) => known,
                Ok(NodeReply::Exchange(_) | NodeReply::Done) => Vec::new(),
                Err(error) => {
                    tracing::debug!(%session, %error, "a node does not say what is used of meters");
                    Vec::new()
                }
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }
}

/// The meters that client keys are counted in by the day.
pub(super) fn daily(keys: &[String]) -> Vec<Meter> {
    let of_key = |key: &String| {
        let key = key.clone();
        KINDS.map(|kind| Meter {
            domain: Domain::ClientKey(key.clone()),
            kind,
        })
    };
    keys.iter().flat_map(of_key).collect()
}

/// What this node knows of some meters.
pub(super) async fn known(shards: &Shards, meters: &Meters, wanted: &[Meter]) -> Vec<MeterUsage> {
    let wanted: HashSet<&Meter> = wanted.iter().collect();
    let of_shards: HashSet<u16> = wanted.iter().map(|meter| shard_of(&meter.domain)).collect();
    let mut counted: HashMap<Meter, u64> = HashMap::new();
    for shard in of_shards {
        let Some(open) = shards.local(usize::from(shard)) else {
            continue;
        };
        let (reply, answer) = oneshot::channel();
        if open.addr.try_send(Inspect(reply)).is_err() {
            continue;
        }
        let standing = answer.await.unwrap_or_default();
        let known = standing.into_iter().filter(|standing| wanted.contains(&standing.meter));
        counted.extend(known.map(|standing| (standing.meter, standing.charged + standing.outstanding)));
    }
    let mut known = Vec::new();
    for meter in wanted {
        let counted = counted.get(meter).copied();
        let held = meters.get(meter).map(|held| held.unused());
        if counted.is_some() || held.is_some() {
            known.push(MeterUsage {
                meter: meter.clone(),
                counted,
                in_hand: held.unwrap_or(0),
            });
        }
    }
    known
}
