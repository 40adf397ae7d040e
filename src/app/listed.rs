//! Models and aliases that the upstream lists, laid over the model table, and kept on the bus: names mean the same on every
//! node, whichever of them asked the upstream, and after a restart before anybody has asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::bus::{BusError, BusErrorKind, BusHandle, Expect, codec};
use grok2api_schemas::bus::changes::ListedModels;
use grok2api_schemas::bus::subjects::buckets;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalogue::{Catalogue, ListedModel};
use crate::providers::xai::Listed;

/// The record's key.
const KEY: &[u8] = b"listed-models";
/// Models that are remembered at most.
const MOST: usize = 2_000;
/// After the bus failed, or somebody else wrote at the same moment.
const PAUSE: Duration = Duration::from_millis(500);

type Names = BTreeMap<String, Vec<String>>;

/// What is listed; clones share it.
#[derive(Clone)]
pub(super) struct ListedNames(Arc<Inner>);

struct Inner {
    bus: BusHandle,
    /// The table without what is listed.
    table: Arc<Catalogue>,
    catalogue: Arc<ArcSwap<Catalogue>>,
    known: Mutex<Names>,
    /// What this node was told and has not written yet.
    unwritten: Mutex<Names>,
    more: Notify,
}

impl ListedNames {
    /// Lays what is kept over the table.
    ///
    /// # Errors
    /// When the bus cannot be read.
    pub(super) async fn read(bus: BusHandle, catalogue: Arc<ArcSwap<Catalogue>>) -> Result<ListedNames, BusError> {
        let names = ListedNames(Arc::new(Inner {
            bus,
            table: catalogue.load_full(),
            catalogue,
            known: Mutex::default(),
            unwritten: Mutex::default(),
            more: Notify::new(),
        }));
        names.read_again().await?;
        Ok(names)
    }

    /// Takes note of what the upstream lists.
    pub(super) fn listener(&self) -> Listed {
        let names = self.clone();
        Box::new(move |listed| {
            let told: Names = listed
                .iter()
                .map(|model| (model.id.clone(), model.aliases.clone()))
                .collect();
            let news = names.learn(told);
            if !news.is_empty() {
                names.0.unwritten.lock().extend(news);
                names.0.more.notify_one();
            }
        })
    }

    /// Writes what this node is told, and follows what others are, until `stop`.
    pub(super) fn keep(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let names = self.clone();
        tracker.spawn(async move {
            let keep = async {
                loop {
                    if let Err(error) = names.follow().await {
                        tracing::warn!(%error, "the names of models are not kept; trying again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep => {}
            }
        });
    }

    /// Until the watch ends.
    async fn follow(&self) -> Result<(), BusError> {
        let mut changes = self.0.bus.kv_watch(buckets::CLUSTER).await?;
        self.read_again().await?;
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(change) if change.key[..] == *KEY => {
                        if let Some(value) = change.value {
                            self.take_in(&value);
                        }
                    }
                    Some(_) => {}
                    None => return Ok(()),
                },
                () = self.0.more.notified() => self.write().await?,
            }
        }
    }

    async fn read_again(&self) -> Result<(), BusError> {
        if let Some(entry) = self.0.bus.kv_get(buckets::CLUSTER, KEY).await? {
            self.take_in(&entry.value);
        }
        if !self.0.unwritten.lock().is_empty() {
            self.0.more.notify_one();
        }
        Ok(())
    }

    fn take_in(&self, value: &[u8]) {
        match codec::decode::<ListedModels>(value) {
            Ok(listed) => {
                let mut told: Names = listed.models.into_iter().collect();
                // What this node was told meanwhile is newer.
                told.retain(|id, _| !self.0.unwritten.lock().contains_key(id));
                self.learn(told);
            }
            Err(error) => tracing::warn!(%error, "the names of models that are kept do not decode"),
        }
    }

    /// Puts names into force; answers those that are news.
    fn learn(&self, told: Names) -> Names {
        let mut known = self.0.known.lock();
        let mut news = Names::new();
        for (id, aliases) in told {
            if known.get(&id) != Some(&aliases) && (known.len() < MOST || known.contains_key(&id)) {
                known.insert(id.clone(), aliases.clone());
                news.insert(id, aliases);
            }
        }
        if !news.is_empty() {
            let all: Vec<ListedModel> = known
                .iter()
                .map(|(id, aliases)| ListedModel {
                    id: id.clone(),
                    aliases: aliases.clone(),
                })
                .collect();
            self.0.catalogue.store(Arc::new(self.0.table.with_listed(&all)));
        }
        news
    }

    /// Adds what this node was told to what is kept.
    async fn write(&self) -> Result<(), BusError> {
        let news = self.0.unwritten.lock().clone();
        if news.is_empty() {
            return Ok(());
        }
        let entry = self.0.bus.kv_get(buckets::CLUSTER, KEY).await?;
        let expect = entry
            .as_ref()
            .map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let kept = entry.and_then(|entry| codec::decode::<ListedModels>(&entry.value).ok());
        let mut all: Names = kept.into_iter().flat_map(|kept| kept.models).collect();
        all.extend(news.iter().map(|(id, aliases)| (id.clone(), aliases.clone())));
        let record = ListedModels {
            models: all.into_iter().take(MOST).collect(),
        };
        let bytes = codec::encode(codec::VERSION, &record)
            .map_err(|error| BusError::new(BusErrorKind::Storage, error.to_string()))?;
        let put = self
            .0
            .bus
            .kv_put(buckets::CLUSTER, Bytes::from_static(KEY), bytes, expect);
        put.await?;
        let mut unwritten = self.0.unwritten.lock();
        unwritten.retain(|id, aliases| news.get(id) != Some(aliases));
        if !unwritten.is_empty() {
            self.0.more.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use grok2api_actors::bus::local::LocalBus;
    use grok2api_actors::clock::Clock;
    use grok2api_actors::store::Store;

    use super::*;

    struct Node {
        names: ListedNames,
        catalogue: Arc<ArcSwap<Catalogue>>,
        stop: CancellationToken,
    }

    impl Node {
        async fn on(bus: &BusHandle) -> Node {
            let empty = tempfile::tempdir().unwrap();
            let catalogue = Arc::new(ArcSwap::from_pointee(Catalogue::load(empty.path()).unwrap()));
            let names = ListedNames::read(bus.clone(), catalogue.clone()).await.unwrap();
            let stop = CancellationToken::new();
            names.keep(&TaskTracker::new(), stop.clone());
            Node { names, catalogue, stop }
        }

        fn told(&self, id: &str, alias: &str) {
            let model = ListedModel {
                id: id.to_owned(),
                aliases: vec![alias.to_owned()],
            };
            (self.names.listener())(&[model]);
        }

        fn means(&self, name: &str) -> String {
            self.catalogue.load().resolve(name).canonical.to_owned()
        }
    }

    async fn until(is_so: impl Fn() -> bool) {
        for _ in 0..400 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not in 4 s");
    }

    #[tokio::test]
    async fn what_one_node_is_told_counts_on_all_and_after_a_restart() {
        let bus: BusHandle = LocalBus::new(Store::temporary().unwrap(), Clock::system());
        let (a, b) = (Node::on(&bus).await, Node::on(&bus).await);
        // At the same moment: neither undoes the other.
        a.told("grok-new-1", "grok-newest");
        b.told("grok-other-1", "grok-other");
        for node in [&a, &b] {
            until(|| node.means("grok-newest") == "grok-new-1" && node.means("grok-other") == "grok-other-1").await;
        }
        let written = || bus.kv_get(buckets::CLUSTER, KEY);
        let is_whole = async || {
            let entry = written().await.unwrap().unwrap();
            codec::decode::<ListedModels>(&entry.value).unwrap().models.len() == 2
        };
        for _ in 0..200 {
            if is_whole().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(is_whole().await);
        // The alias moves on; the node that starts then knows the latest.
        b.told("grok-new-1", "grok-newer-still");
        until(|| a.means("grok-newer-still") == "grok-new-1").await;
        for node in [&a, &b] {
            node.stop.cancel();
        }
        let late = Node::on(&bus).await;
        assert_eq!(late.means("grok-newer-still"), "grok-new-1");
        assert_eq!(late.means("grok-newest"), "grok-newest", "no alias any more");
        assert_eq!(late.means("grok-other"), "grok-other-1");
        late.stop.cancel();
    }
}
