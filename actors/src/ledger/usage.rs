//! What client keys have used, over all nodes: charged and granted as their owners have it, less what is in anybody's hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures::future::join_all;
use grok2api_schemas::cluster::{MeterUsage, NodeReply, NodeRequest};
use grok2api_schemas::ids::SessionId;
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
/// What is counted by the day.
const KINDS: [MeterKind; 5] = [
    MeterKind::PerDay(DayBucket::Chat),
    MeterKind::PerDay(DayBucket::Heavy),
    MeterKind::PerDay(DayBucket::Image),
    MeterKind::PerDay(DayBucket::Video),
    MeterKind::UsdPerDay,
];

impl Ledger {
    /// What these client keys have used today, by meter. A meter whose owner does not answer is as this node last heard.
    pub async fn used_by_keys(&self, keys: &[String]) -> HashMap<Meter, u64> {
        let mut counted: HashMap<Meter, u64> = HashMap::new();
        let mut in_hand: HashMap<Meter, u64> = HashMap::new();
        let own = known(self.shards(), self.meters(), keys);
        let (own, others) = tokio::join!(own, self.known_elsewhere(keys));
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
        let mut used: HashMap<Meter, u64> = HashMap::new();
        for (meter, held) in in_hand {
            let amount = match counted.get(&meter) {
                Some(counted) => counted.saturating_sub(held),
                None => self.meters().get(&meter).map_or(0, |held| held.used_in_window()),
            };
            used.insert(meter, amount);
        }
        used
    }

    async fn known_elsewhere(&self, keys: &[String]) -> Vec<MeterUsage> {
        let snapshot = self.shards().membership.snapshot();
        let others: Vec<SessionId> = snapshot
            .nodes
            .iter()
            .filter(|node| node.live && node.beat.session != snapshot.me)
            .map(|node| node.beat.session)
            .collect();
        let asked = keys.chunks(KEYS_A_MESSAGE).flat_map(|keys| {
            let request = Arc::new(NodeRequest::KeyUsage(keys.to_vec()));
            others.iter().map(move |session| (*session, request.clone()))
        });
        let answers = asked.map(|(session, request)| async move {
            match remote::ask(self.bus(), session, &request, WITHIN).await {
                Ok(NodeReply::KeyUsage(known)) => known,
                Ok(NodeReply::Exchange(_) | NodeReply::Done) => Vec::new(),
                Err(error) => {
                    tracing::debug!(%session, %error, "a node does not say what client keys have used");
                    Vec::new()
                }
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }
}

/// What this node knows of the meters of some client keys.
pub(super) async fn known(shards: &Shards, meters: &Meters, keys: &[String]) -> Vec<MeterUsage> {
    let mut by_shard: HashMap<usize, Vec<&String>> = HashMap::new();
    for key in keys {
        let shard = shard_of(&Domain::ClientKey(key.clone()));
        by_shard.entry(usize::from(shard)).or_default().push(key);
    }
    let mut counted: HashMap<Meter, u64> = HashMap::new();
    for (shard, keys) in by_shard {
        let Some(open) = shards.local(shard) else { continue };
        let (reply, answer) = oneshot::channel();
        if open.addr.try_send(Inspect(reply)).is_err() {
            continue;
        }
        let standing = answer.await.unwrap_or_default();
        let of_keys = standing.into_iter().filter(|standing| {
            matches!(&standing.meter.domain, Domain::ClientKey(key) if keys.contains(&key))
                && KINDS.contains(&standing.meter.kind)
        });
        counted.extend(of_keys.map(|standing| (standing.meter, standing.charged + standing.outstanding)));
    }
    let mut known = Vec::new();
    for key in keys {
        for kind in KINDS {
            let meter = Meter {
                domain: Domain::ClientKey(key.clone()),
                kind,
            };
            let counted = counted.get(&meter).copied();
            let held = meters.get(&meter).map(|held| held.in_hand());
            if counted.is_some() || held.is_some() {
                known.push(MeterUsage {
                    meter,
                    counted,
                    in_hand: held.unwrap_or(0),
                });
            }
        }
    }
    known
}
