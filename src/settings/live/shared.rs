//! The configuration that the nodes of a cluster share: one sealed record on the bus, changed by compare-and-set.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::bus::{BusError, BusErrorKind, BusHandle, Expect, KvEntry, codec};
use grok2api_actors::clock::Clock;
use grok2api_actors::vault::Vault;
use grok2api_schemas::bus::changes::{ConfigChanged, SharedConfig};
use grok2api_schemas::bus::events::ConfigEvent;
use grok2api_schemas::bus::subjects::{buckets, events};
use grok2api_schemas::config;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{EditError, LiveConfig, LiveOptions, changed, state};
use crate::settings::compose::{Values, compose, seed};
use crate::settings::error::{Place, SettingsError};
use crate::settings::read_file;

/// The record's key; also the context that it is sealed for.
const KEY: &[u8] = b"config";
/// How often the record is read although nothing was heard.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often an edit of other keys than ours is merged before we give up.
const MERGES: u32 = 8;

/// What a shared configuration lives on.
#[derive(Clone)]
pub struct SharedOptions {
    /// Where the record is.
    pub bus: BusHandle,
    /// What seals it.
    pub vault: Arc<Vault>,
    /// For dates.
    pub clock: Clock,
    /// This node's name.
    pub node: String,
}

pub(super) struct Shared(SharedOptions);

/// The record, opened.
struct Stored {
    revision: u64,
    values: Values,
}

impl Shared {
    async fn read(&self) -> Result<Option<Stored>, BusError> {
        let entry = self.0.bus.kv_get(buckets::CLUSTER, KEY).await?;
        entry.map(|entry| self.open(&entry)).transpose()
    }

    fn open(&self, entry: &KvEntry) -> Result<Stored, BusError> {
        let corrupt = |why: String| BusError::new(BusErrorKind::Corrupt, format!("the cluster's configuration: {why}"));
        let record: SharedConfig = codec::decode(&entry.value).map_err(|error| corrupt(error.to_string()))?;
        let text = self.0.vault.open_sealed(KEY, &record.sealed);
        let text = text.map_err(|error| corrupt(error.to_string()))?;
        let values = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        Ok(Stored {
            revision: entry.revision,
            values,
        })
    }

    async fn write(&self, values: &Values, by: &str, expect: Expect) -> Result<u64, BusError> {
        let storage = |why: String| BusError::new(BusErrorKind::Storage, format!("the cluster's configuration: {why}"));
        let text = serde_json::to_vec(values).map_err(|error| storage(error.to_string()))?;
        let record = SharedConfig {
            changed_ms: self.0.clock.wall().0,
            changed_by: by.to_owned(),
            sealed: self.0.vault.seal(KEY, &text),
        };
        let bytes = codec::encode(codec::VERSION, &record).map_err(|error| storage(error.to_string()))?;
        let written = self
            .0
            .bus
            .kv_put(buckets::CLUSTER, Bytes::from_static(KEY), bytes.clone(), expect)
            .await;
        let revision = match written {
            // The outcome is not known: what stands there says. Sealing is never the same twice.
            Err(error) if error.kind == BusErrorKind::Timeout => {
                match self.0.bus.kv_get(buckets::CLUSTER, KEY).await? {
                    Some(entry) if entry.value == bytes => entry.revision,
                    _ => return Err(error),
                }
            }
            written => written?,
        };
        if let Ok(told) = codec::encode(codec::VERSION, &ConfigChanged { revision }) {
            self.0.bus.publish(events::CONFIG, told);
        }
        Ok(revision)
    }

    fn tell_watchers(&self, revision: u64, keys: &[String], by: &str) {
        let event = ConfigEvent {
            revision: revision.to_string(),
            keys: keys.to_vec(),
            changed_by: by.to_owned(),
            node: self.0.node.clone(),
        };
        match serde_json::to_vec(&event) {
            Ok(event) => self.0.bus.publish(events::CONFIG_CHANGED, event.into()),
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }
}

impl LiveConfig {
    /// The configuration of a node in a cluster: the shared record with the node's own keys. Where there is no record yet,
    /// the node's file becomes it, unless another node was quicker.
    ///
    /// # Errors
    /// The bus cannot be read; the shared record, or the node's own sources, are wrong.
    pub async fn shared(options: LiveOptions, with: SharedOptions) -> Result<LiveConfig, EditError> {
        let shared = Shared(with);
        let text = read_file(&options.file).map_err(EditError::Refused)?;
        let mut stored = shared.read().await.map_err(EditError::Bus)?;
        if stored.is_none() {
            let values = text
                .as_deref()
                .map(|text| seed(&options.file, text))
                .unwrap_or_default();
            match shared.write(&values, "", Expect::Absent).await {
                Ok(revision) => {
                    tracing::info!(file = %options.file.display(), "this file is the cluster's configuration from now on");
                    stored = Some(Stored { revision, values });
                }
                Err(error) if error.kind == BusErrorKind::Conflict => {
                    stored = shared.read().await.map_err(EditError::Bus)?;
                }
                Err(error) => return Err(EditError::Bus(error)),
            }
        } else if let (Some(text), Some(stored)) = (&text, &stored) {
            say_what_does_not_count(&seed(&options.file, text), &stored.values);
        }
        let stored = stored.unwrap_or(Stored {
            revision: 0,
            values: Values::new(),
        });
        let composed = compose(&options.args, &options.file, text.as_deref(), Some(&stored.values));
        let composed = composed.map_err(EditError::Refused)?;
        Ok(LiveConfig::of(
            options,
            Some(shared),
            composed,
            stored.revision.to_string(),
        ))
    }

    /// Follows the edits of other nodes until `stop`.
    pub fn follow(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let Some(shared) = &self.inner.shared else { return };
        let bus = shared.0.bus.clone();
        let live = self.clone();
        let mut events = bus.subscribe(events::CONFIG);
        tracker.spawn(async move {
            let mut watch = bus.kv_watch(buckets::CLUSTER).await.ok();
            loop {
                let changes = async {
                    match &mut watch {
                        Some(changes) => changes.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(_) = events.next() => {}
                    change = changes => match change {
                        Some(change) if change.key[..] != *KEY => continue,
                        Some(_) => {}
                        None => watch = None,
                    },
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                if watch.is_none() {
                    watch = bus.kv_watch(buckets::CLUSTER).await.ok();
                }
                live.catch_up().await;
            }
        });
    }

    /// Puts into force what is stored, if it is newer and right.
    async fn catch_up(&self) {
        let Some(shared) = &self.inner.shared else { return };
        let _writer = self.inner.writer.lock().await;
        let current = self.state();
        let stored = match shared.read().await {
            Ok(Some(stored)) => stored,
            // Deleted by hand: what counts goes on counting.
            Ok(None) => return,
            Err(error) if error.kind == BusErrorKind::Corrupt => {
                return self.leave_out(&current.revision, error.to_string());
            }
            Err(error) => {
                tracing::debug!(%error, "the cluster's configuration is not read");
                return;
            }
        };
        let is_newer = current
            .revision
            .parse::<u64>()
            .is_ok_and(|revision| stored.revision > revision);
        if !is_newer {
            return;
        }
        match self.compose_with(&stored.values) {
            Ok(composed) => {
                self.put_in_force(state(&self.inner.options, composed, stored.revision.to_string()));
            }
            Err(error) => self.leave_out(&stored.revision.to_string(), error.to_string()),
        }
    }

    /// What is stored is wrong: the values in force stay.
    fn leave_out(&self, revision: &str, problem: String) {
        let current = self.state();
        if current.problem.as_ref() == Some(&problem) {
            return;
        }
        tracing::error!(%problem, "the cluster's configuration is wrong and is not put into force; the one before goes on");
        let next = super::State {
            revision: revision.to_owned(),
            problem: Some(problem),
            ..(*current).clone()
        };
        self.put_in_force(next);
    }

    fn compose_with(&self, values: &Values) -> Result<crate::settings::compose::Composed, SettingsError> {
        let options = &self.inner.options;
        let text = read_file(&options.file)?;
        compose(&options.args, &options.file, text.as_deref(), Some(values))
    }

    pub(super) async fn edit_shared(
        &self,
        shared: &Shared,
        by: &str,
        expected: Option<&str>,
        changes: &[(&str, Json)],
    ) -> Result<Vec<String>, EditError> {
        let mut looked_at: Option<Values> = None;
        for _ in 0..MERGES {
            let stored = shared.read().await.map_err(EditError::Bus)?.unwrap_or(Stored {
                revision: 0,
                values: Values::new(),
            });
            let conflict = || EditError::Conflict {
                current: stored.revision.to_string(),
            };
            if expected.is_some_and(|expected| expected != stored.revision.to_string()) {
                return Err(conflict());
            }
            // Somebody was quicker: other keys than ours are theirs to change, ours are not both of ours to win.
            if let Some(before) = &looked_at
                && changes
                    .iter()
                    .any(|(path, _)| at(before, path) != at(&stored.values, path))
            {
                return Err(conflict());
            }
            let next = changed(&stored.values, changes).map_err(EditError::Refused)?;
            let composed = self.compose_with(&next).map_err(EditError::Refused)?;
            let expect = match stored.revision {
                0 => Expect::Absent,
                revision => Expect::Revision(revision),
            };
            match shared.write(&next, by, expect).await {
                Ok(revision) => {
                    let keys = self.put_in_force(state(&self.inner.options, composed, revision.to_string()));
                    shared.tell_watchers(revision, &keys, by);
                    return Ok(keys);
                }
                Err(error) if error.kind == BusErrorKind::Conflict => looked_at = Some(stored.values),
                Err(error) => return Err(EditError::Bus(error)),
            }
        }
        Err(EditError::Conflict {
            current: self.state().revision.clone(),
        })
    }
}

fn at<'a>(values: &'a Values, path: &str) -> Option<&'a Json> {
    let (section, key) = path.split_once('.')?;
    values.get(section)?.get(key)
}

/// The operator edits a file that does not count any more: say so, once a start.
fn say_what_does_not_count(own: &Values, shared: &Values) {
    let differing: Vec<String> = config::keys()
        .map(|spec| spec.path())
        .filter(|path| at(own, path).is_some_and(|value| at(shared, path) != Some(value)))
        .collect();
    if !differing.is_empty() {
        tracing::warn!(
            keys = %differing.join(" "),
            "{}: these keys of this node's file do not count, the cluster's configuration does", Place::Cluster
        );
    }
}
