//! Who did what: a log line with target `audit` for every change, and a record that every node can list. None has a secret
//! in it.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::bus::{BusHandle, KvWrite, codec};
use grok2api_actors::clock::Clock;
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::admin::audit::{AuditChange, AuditListAsk, AuditPage, AuditRecord};
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::ids::AuditId;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ROWS, rows, unavailable};
use crate::engine::error::GatewayError;

/// Ids that one record names; the count says how many there were.
const NAMED: usize = 20;
/// Characters of a value before and after.
const LONGEST_VALUE: usize = 300;
/// Records that may wait for a bus that is away.
const WAITING: usize = 4_096;
/// Records of one write.
const BATCH: usize = 128;
/// Records that are kept; the oldest go first.
const KEPT: usize = 10_000;
/// Writes between two lookings for records that are too many.
const PRUNE_EVERY: usize = 500;
/// After a bus that did not answer.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// Who acts, from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The account.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// The address it came from; `None` for the bus and the command line.
    pub ip: Option<IpAddr>,
    /// Where what it does is recorded.
    pub trail: Option<AuditTrail>,
}

impl Actor {
    /// Somebody whom NATS lets call the admin service: its permissions are the only ones asked.
    pub fn over_nats(trail: AuditTrail) -> Actor {
        Actor {
            username: "nats".to_owned(),
            role: Role::Admin,
            ip: None,
            trail: Some(trail),
        }
    }

    /// Says that it was done.
    pub fn did<I: Display>(&self, action: &'static str, ids: &[I], details: &str) {
        self.changed(action, ids, details, Vec::new());
    }

    /// Says that it was done, and what changed by it.
    pub fn changed<I: Display>(&self, action: &'static str, ids: &[I], details: &str, changes: Vec<AuditChange>) {
        let named: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
        tracing::info!(
            target: "audit",
            action,
            who = %self.username,
            from = %self.ip.map_or_else(|| "here".to_owned(), |ip| ip.to_string()),
            count = ids.len(),
            ids = %named.join(" "),
            details,
            "admin action"
        );
        if let Some(trail) = &self.trail {
            trail.push(AuditRecord {
                id: AuditId::generate(),
                time_ms: trail.0.clock.wall().0,
                node: trail.0.node.clone(),
                who: self.username.clone(),
                role: self.role,
                from: self.ip.map(|ip| ip.to_string()).unwrap_or_default(),
                action: action.to_owned(),
                ids: named,
                count: ids.len() as u64,
                details: cut(details),
                changes,
            });
        }
    }
}

/// What differs between two states of a record, of these fields.
pub fn differences(before: &impl Serialize, after: &impl Serialize, fields: &[&str]) -> Vec<AuditChange> {
    let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) else {
        return Vec::new();
    };
    fields
        .iter()
        .filter(|field| before[**field] != after[**field])
        .map(|field| AuditChange {
            field: (*field).to_owned(),
            before: in_words(&before[*field]),
            after: in_words(&after[*field]),
        })
        .collect()
}

/// A value as a person reads it.
pub fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        Value::Null => String::new(),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_VALUE).collect()
}

/// Every admin action, on every node of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct AuditTrail(Arc<Inner>);

struct Inner {
    bus: BusHandle,
    clock: Clock,
    node: String,
    waiting: Mutex<VecDeque<AuditRecord>>,
    more: Notify,
}

impl fmt::Debug for AuditTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditTrail")
    }
}

impl AuditTrail {
    /// Records on this bus, in the background until `stop`; what waits then is written before the task ends.
    pub fn start(
        bus: BusHandle,
        clock: Clock,
        node: String,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> AuditTrail {
        let trail = AuditTrail(Arc::new(Inner {
            bus,
            clock,
            node,
            waiting: Mutex::default(),
            more: Notify::new(),
        }));
        let writer = trail.clone();
        tracker.spawn(async move {
            let mut since_pruned = PRUNE_EVERY;
            loop {
                let stopping = tokio::select! {
                    () = stop.cancelled() => true,
                    () = writer.0.more.notified() => false,
                };
                let written = writer.write(&stop).await;
                since_pruned += written;
                if stopping {
                    return;
                }
                if since_pruned >= PRUNE_EVERY {
                    since_pruned = 0;
                    if let Err(error) = writer.prune().await {
                        tracing::warn!(%error, "old records of admin actions could not be forgotten");
                    }
                }
            }
        });
        trail
    }

    fn push(&self, record: AuditRecord) {
        let mut waiting = self.0.waiting.lock();
        if waiting.len() >= WAITING {
            // The log line has it.
            waiting.pop_front();
            tracing::error!("admin actions cannot be recorded fast enough: the oldest that waited is in the log alone");
        }
        waiting.push_back(record);
        drop(waiting);
        self.0.more.notify_one();
    }

    /// Writes what waits; answers how many that were.
    async fn write(&self, stop: &CancellationToken) -> usize {
        let mut written = 0;
        loop {
            let batch: Vec<AuditRecord> = self.0.waiting.lock().iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return written;
            }
            let writes = batch.iter().filter_map(|record| {
                let value = codec::encode(codec::VERSION, record).ok()?;
                Some(KvWrite {
                    bucket: buckets::AUDIT,
                    key: Bytes::copy_from_slice(record.id.as_bytes()),
                    value: Some(value),
                })
            });
            match self.0.bus.kv_write(writes.collect()).await {
                Ok(()) => {
                    let mut waiting = self.0.waiting.lock();
                    while waiting
                        .front()
                        .is_some_and(|first| batch.iter().any(|one| one.id == first.id))
                    {
                        waiting.pop_front();
                    }
                    written += batch.len();
                }
                Err(error) => {
                    tracing::warn!(%error, "admin actions are not recorded yet; they wait");
                    tokio::select! {
                        () = stop.cancelled() => return written,
                        () = tokio::time::sleep(AGAIN_AFTER) => {}
                    }
                }
            }
        }
    }

    async fn prune(&self) -> Result<(), grok2api_actors::bus::BusError> {
        let mut keys: Vec<Bytes> = self
            .0
            .bus
            .kv_list(buckets::AUDIT)
            .await?
            .into_iter()
            .map(|entry| entry.key)
            .collect();
        let surplus = keys.len().saturating_sub(KEPT);
        keys.sort();
        let writes: Vec<KvWrite> = keys
            .into_iter()
            .take(surplus)
            .map(|key| KvWrite {
                bucket: buckets::AUDIT,
                key,
                value: None,
            })
            .collect();
        match writes.is_empty() {
            true => Ok(()),
            false => self.0.bus.kv_write(writes).await,
        }
    }

    /// A page of actions, newest first.
    ///
    /// # Errors
    /// `InvalidField`; the store cannot be read.
    pub async fn list(&self, ask: &AuditListAsk) -> Result<AuditPage, GatewayError> {
        let limit = rows(ask.limit, ROWS)?;
        let stored = self
            .0
            .bus
            .kv_list(buckets::AUDIT)
            .await
            .map_err(|error| unavailable(&error))?;
        let mut all: Vec<AuditRecord> = self.0.waiting.lock().iter().cloned().collect();
        for entry in stored {
            // Of a newer build: not shown here.
            let Ok(record) = codec::decode::<AuditRecord>(&entry.value) else {
                continue;
            };
            if !all.iter().any(|waiting| waiting.id == record.id) {
                all.push(record);
            }
        }
        let text = ask
            .text
            .as_deref()
            .map(str::to_lowercase)
            .filter(|text| !text.is_empty());
        all.retain(|record| {
            ask.who.as_ref().is_none_or(|who| record.who == *who)
                && ask
                    .action
                    .as_ref()
                    .is_none_or(|action| record.action.starts_with(action.as_str()))
                && ask.since_ms.is_none_or(|since| record.time_ms >= since)
                && ask.until_ms.is_none_or(|until| record.time_ms < until)
                && text.as_ref().is_none_or(|text| holds(record, text))
        });
        all.sort_by_key(|record| std::cmp::Reverse(record.id));
        let total = all.len() as u64;
        let mut rest = all
            .into_iter()
            .filter(|record| ask.cursor.is_none_or(|cursor| record.id < cursor));
        let items: Vec<AuditRecord> = rest.by_ref().take(limit).collect();
        let has_more = rest.next().is_some();
        Ok(AuditPage {
            next_cursor: items.last().filter(|_| has_more).map(|record| record.id),
            items,
            total,
        })
    }
}

fn holds(record: &AuditRecord, text: &str) -> bool {
    let has = |some: &str| some.to_lowercase().contains(text);
    has(&record.who)
        || has(&record.action)
        || has(&record.details)
        || has(&record.from)
        || record.ids.iter().any(|id| has(id))
        || record
            .changes
            .iter()
            .any(|change| has(&change.field) || has(&change.before) || has(&change.after))
}

#[cfg(test)]
mod tests {
    use grok2api_actors::bus::local::LocalBus;
    use grok2api_actors::clock::WallMs;
    use grok2api_actors::store::Store;

    use super::*;

    #[tokio::test]
    async fn actions_are_found_by_who_what_and_when_and_survive_the_node() {
        let (clock, manual) = Clock::manual(WallMs(1_700_000_000_000));
        let bus = LocalBus::new(Store::temporary().unwrap(), clock.clone());
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let trail = AuditTrail::start(bus.clone(), clock.clone(), "one".into(), &tracker, stop.clone());
        let actor = |username: &str| Actor {
            username: username.into(),
            role: Role::Admin,
            ip: Some([192, 0, 2, 7].into()),
            trail: Some(trail.clone()),
        };
        for n in 0..30 {
            actor("ann").did("tokens.delete", &[n], "");
            manual.advance_ms(1);
        }
        let changes = differences(
            &serde_json::json!({"note": "old", "rpm": 3, "same": 1}),
            &serde_json::json!({"note": "new", "rpm": null, "same": 1}),
            &["note", "rpm", "same"],
        );
        assert_eq!(changes.len(), 2);
        actor("ben").changed("keys.update", &["key_1"], "note rpm", changes);
        let page = trail.list(&AuditListAsk::default()).await.unwrap();
        assert_eq!((page.items.len(), page.total), (31, 31));
        assert_eq!(
            (page.items[0].who.as_str(), page.items[0].from.as_str()),
            ("ben", "192.0.2.7")
        );
        assert_eq!(
            (
                page.items[0].changes[1].before.as_str(),
                page.items[0].changes[1].after.as_str()
            ),
            ("3", "")
        );
        stop.cancel();
        tracker.close();
        tracker.wait().await;

        let next = AuditTrail::start(bus, clock, "two".into(), &TaskTracker::new(), CancellationToken::new());
        let list = async |ask: AuditListAsk| next.list(&ask).await.unwrap();
        let first = list(AuditListAsk {
            who: Some("ann".into()),
            limit: Some(20),
            ..AuditListAsk::default()
        })
        .await;
        assert_eq!((first.items.len(), first.total), (20, 30));
        let second = list(AuditListAsk {
            who: Some("ann".into()),
            cursor: first.next_cursor,
            ..AuditListAsk::default()
        })
        .await;
        assert_eq!((second.items.len(), second.next_cursor), (10, None));
        for (ask, count) in [
            (
                AuditListAsk {
                    action: Some("keys".into()),
                    ..AuditListAsk::default()
                },
                1,
            ),
            (
                AuditListAsk {
                    text: Some("NEW".into()),
                    ..AuditListAsk::default()
                },
                1,
            ),
            (
                AuditListAsk {
                    since_ms: Some(1_700_000_000_020),
                    ..AuditListAsk::default()
                },
                11,
            ),
            (
                AuditListAsk {
                    until_ms: Some(1_700_000_000_020),
                    ..AuditListAsk::default()
                },
                20,
            ),
        ] {
            assert_eq!(list(ask.clone()).await.total, count, "{ask:?}");
        }
    }
}
