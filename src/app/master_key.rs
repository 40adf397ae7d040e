//! Which master key this node seals with. Another key than the one that was sealed with before would open no credential,
//! and no client key would be recognised any more: a node that served like that would refuse everybody and say nothing of
//! why.
//!
//! A cluster has one key, and a record with its fingerprint. Who writes that record first (compare-and-set) decides what
//! the key is; all others are handed it, sealed to their own public key, or are refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::bus::{BusError, BusErrorKind, BusHandle, Expect, codec};
use grok2api_actors::vault::{MasterKey, NodeIdentity, VaultError};
use grok2api_schemas::bus::join::{KeyReply, KeyRequest};
use grok2api_schemas::bus::subjects::{buckets, requests};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::build::BuildError;
use crate::door::health::Readiness;

#[cfg(test)]
mod tests;

/// Where the bus remembers which key its records are sealed with; what it holds says nothing about the key.
const MARK: &[u8] = b"master-key-id";
/// Asks for whatever key a node has: there is no fingerprint to ask by.
const ANY_KEY: [u8; 8] = [0; 8];
/// How long one node is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Between two looks for the fingerprint, where it could not be read.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Its name in `/readyz`.
const KEY_BLOCKER: &str = "key";
/// How often the fingerprint is written or read again when the outcome is not known.
const MARK_ATTEMPTS: u32 = 10;

/// What a node brings to its start.
pub(super) struct KeySources {
    /// `security.master_key`.
    pub configured: Option<SecretString>,
    /// Where nodes are that have things in common with this one.
    pub cluster: Option<ClusterKeys>,
    /// Where the key is kept that was made or handed over.
    pub key_file: PathBuf,
}

/// How keys go around in a cluster.
pub(super) struct ClusterKeys {
    /// Where this node keeps its own key pair.
    pub identity_file: PathBuf,
    /// Whether nodes hand the key to whoever asks (`nats.join = "open"`).
    pub open: bool,
    /// How long somebody is waited for who hands the key over.
    pub patience: Duration,
}

/// Finds the master key: the configured one, else the file's, else a new one if nothing was sealed yet, else the one that
/// another node hands over.
///
/// # Errors
/// No key where there was one, another key, or one that cannot be used: one line, and nothing was changed.
pub(super) async fn find_master_key(bus: &BusHandle, sources: &KeySources) -> Result<MasterKey, BuildError> {
    let mark = read_mark(bus).await?;
    if let Some(text) = &sources.configured {
        let key = MasterKey::configured(text).map_err(unusable)?;
        return settle(bus, mark, key, &|| another_key(sources)).await;
    }
    let claim = Claim::beside(&sources.key_file);
    if let Some(key) = MasterKey::read(&sources.key_file).map_err(unusable)? {
        claim.drop();
        return settle(bus, mark, key, &|| another_key(sources)).await;
    }
    let wanted = match mark {
        // Nobody was here before, or NATS was wiped under nodes that go on: those have a key. A new one is on the disk
        // before its fingerprint is on the bus: a crash in between leaves a claim that the next start goes on with, never
        // a fingerprint without a key.
        None => {
            if let Some(cluster) = &sources.cluster
                && let Some(key) = ask_anybody(bus, cluster).await?
            {
                claim.drop();
                let key = settle(bus, None, key, &|| another_key(sources)).await?;
                key.keep(&sources.key_file).map_err(unusable)?;
                return Ok(key);
            }
            let key = claim.make()?;
            let decided = put_mark(bus, key.id()).await?;
            if decided == key.id() {
                return claim.promote(key, &sources.key_file);
            }
            claim.drop();
            decided
        }
        Some(mark) => {
            if let Some(key) = claim.read()?.filter(|key| key.id() == mark) {
                return claim.promote(key, &sources.key_file);
            }
            claim.drop();
            mark
        }
    };
    let Some(cluster) = &sources.cluster else {
        return Err(BuildError(format!(
            "the master key: {file} is missing, and what is stored was sealed with it: put {file} back from a backup, or \
             set GROK2API__SECURITY__MASTER_KEY to what it holds",
            file = sources.key_file.display()
        )));
    };
    let key = ask_for_key(bus, cluster, wanted).await?;
    key.keep(&sources.key_file).map_err(unusable)?;
    tracing::info!(file = %sources.key_file.display(), "another node handed over the cluster's key; it is kept in this file");
    Ok(key)
}

/// A key of our own against the fingerprint.
async fn settle(
    bus: &BusHandle,
    mark: Option<[u8; 8]>,
    key: MasterKey,
    another: &dyn Fn() -> BuildError,
) -> Result<MasterKey, BuildError> {
    let decided = match mark {
        Some(mark) => mark,
        None => put_mark(bus, key.id()).await?,
    };
    if decided == key.id() { Ok(key) } else { Err(another()) }
}

/// A new key that is not the key yet.
struct Claim(PathBuf);

impl Claim {
    fn beside(key_file: &Path) -> Claim {
        let mut name = key_file.as_os_str().to_owned();
        name.push(".claim");
        Claim(name.into())
    }

    fn make(&self) -> Result<MasterKey, BuildError> {
        MasterKey::read_or_make(&self.0).map_err(unusable)
    }

    fn read(&self) -> Result<Option<MasterKey>, BuildError> {
        MasterKey::read(&self.0).map_err(unusable)
    }

    /// The claim was first: its key is the key.
    fn promote(&self, key: MasterKey, key_file: &Path) -> Result<MasterKey, BuildError> {
        key.keep(key_file).map_err(unusable)?;
        self.drop();
        Ok(key)
    }

    /// The claim came to nothing, or is not needed any more.
    fn drop(&self) {
        // What stays behind is looked at, and dropped, by the next start.
        drop(std::fs::remove_file(&self.0));
    }
}

async fn read_mark(bus: &BusHandle) -> Result<Option<[u8; 8]>, BuildError> {
    let mut read = bus.kv_get(buckets::CLUSTER, MARK).await;
    for _ in 0..MARK_ATTEMPTS {
        if !matches!(&read, Err(error) if error.kind == BusErrorKind::Timeout) {
            break;
        }
        read = bus.kv_get(buckets::CLUSTER, MARK).await;
    }
    let found = read.map_err(|error| no_bus(&error))?;
    found
        .map(|entry| {
            entry.value[..].try_into().map_err(|_| {
                BuildError("the master key: what the store remembers of it is damaged; nothing was changed".to_owned())
            })
        })
        .transpose()
}

/// Writes the fingerprint unless there is one, and answers the one that counts.
async fn put_mark(bus: &BusHandle, id: [u8; 8]) -> Result<[u8; 8], BuildError> {
    let mut last = None;
    for _ in 0..MARK_ATTEMPTS {
        let put = bus.kv_put(
            buckets::CLUSTER,
            Bytes::from_static(MARK),
            Bytes::copy_from_slice(&id),
            Expect::Absent,
        );
        match put.await {
            Ok(_) => return Ok(id),
            // Somebody was first, or nobody knows: what stands there counts.
            Err(error) if matches!(error.kind, BusErrorKind::Conflict | BusErrorKind::Timeout) => {
                if let Some(mark) = read_mark(bus).await? {
                    return Ok(mark);
                }
                last = Some(error);
            }
            Err(error) => return Err(no_bus(&error)),
        }
    }
    Err(last.map_or_else(
        || BuildError("the store: it neither takes nor shows the key's fingerprint".to_owned()),
        |error| no_bus(&error),
    ))
}

/// Asks once whether any node has a key; where none answers, nobody has.
async fn ask_anybody(bus: &BusHandle, cluster: &ClusterKeys) -> Result<Option<MasterKey>, BuildError> {
    if !cluster.open {
        return Ok(None);
    }
    let identity = NodeIdentity::read_or_make(&cluster.identity_file).map_err(unusable)?;
    let question = KeyRequest {
        key_id: ANY_KEY,
        public_key: identity.public_key(),
    };
    let question = codec::encode(codec::VERSION, &question).map_err(|e| BuildError(format!("joining: {e}")))?;
    let Ok(answer) = bus.request(requests::KEY, question, ANSWER_WITHIN).await else {
        return Ok(None);
    };
    match codec::decode::<KeyReply>(&answer) {
        Ok(KeyReply::BringYourOwn) => Err(bring_your_own()),
        Ok(KeyReply::Sealed(sealed)) => Ok(identity.open(&sealed).ok()),
        Err(_) => Ok(None),
    }
}

/// Asks the other nodes until one of them answers.
async fn ask_for_key(bus: &BusHandle, cluster: &ClusterKeys, wanted: [u8; 8]) -> Result<MasterKey, BuildError> {
    if !cluster.open {
        return Err(bring_your_own());
    }
    let identity = NodeIdentity::read_or_make(&cluster.identity_file).map_err(unusable)?;
    let question = KeyRequest {
        key_id: wanted,
        public_key: identity.public_key(),
    };
    let question = codec::encode(codec::VERSION, &question).map_err(|e| BuildError(format!("joining: {e}")))?;
    let begun = tokio::time::Instant::now();
    let mut said = None;
    loop {
        let asked = bus.request(requests::KEY, question.clone(), ANSWER_WITHIN).await;
        match asked.map(|reply| codec::decode::<KeyReply>(&reply)) {
            Ok(Ok(KeyReply::BringYourOwn)) => return Err(bring_your_own()),
            Ok(Ok(KeyReply::Sealed(sealed))) => match identity.open(&sealed) {
                Ok(key) if key.id() == wanted => return Ok(key),
                _ => tracing::warn!("joining: a node answered with a key that is not the cluster's; asking again"),
            },
            Ok(Err(error)) => tracing::warn!(%error, "joining: a node's answer is not understood; asking again"),
            Err(error) => tracing::debug!(%error, "joining: no answer"),
        }
        if begun.elapsed() >= cluster.patience {
            return Err(BuildError(format!(
                "the cluster's key: this cluster has one, this node has none, and no other node answered within {} s: \
                 start a node that has it first, or copy its master.key into this data directory (mode 0600); no second \
                 key was made",
                cluster.patience.as_secs()
            )));
        }
        if said.is_none_or(|said: tokio::time::Instant| said.elapsed() >= SAY_EVERY) {
            said = Some(tokio::time::Instant::now());
            tracing::warn!("joining: waiting for a node that hands over the cluster's key");
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Answers nodes that join, until `stop`.
pub(super) fn answer_joiners(
    bus: &BusHandle,
    key: MasterKey,
    hands_out: bool,
    tracker: &TaskTracker,
    stop: CancellationToken,
) {
    let mut questions = bus.serve(requests::KEY);
    tracker.spawn(async move {
        loop {
            let question = tokio::select! {
                () = stop.cancelled() => return,
                question = questions.next() => question,
            };
            let Some(question) = question else { return };
            let Ok(asked) = codec::decode::<KeyRequest>(&question.payload) else {
                tracing::warn!("a node that joins asks in a way that is not understood here");
                continue;
            };
            // Dropping a question that is not ours leaves it to another node, or to the asker's deadline.
            if asked.key_id != key.id() && asked.key_id != ANY_KEY {
                continue;
            }
            let reply = if hands_out {
                match key.seal_to(asked.public_key) {
                    Ok(sealed) => KeyReply::Sealed(sealed),
                    Err(_) => continue,
                }
            } else {
                KeyReply::BringYourOwn
            };
            if let Ok(reply) = codec::encode(codec::VERSION, &reply) {
                tracing::info!(handed_over = hands_out, "a node that joins asked for the cluster's key");
                // An asker that has gone asks again.
                drop(question.reply.send(reply));
            }
        }
    });
}

/// Sees to it that the fingerprint stands for as long as this node runs. A NATS that was wiped has none: whoever joined then
/// would make a key that opens nothing of what these nodes go on to write. One that is not ours is told.
pub(super) fn keep_mark(
    bus: &BusHandle,
    id: [u8; 8],
    readiness: Readiness,
    tracker: &TaskTracker,
    stop: CancellationToken,
) {
    let bus = bus.clone();
    tracker.spawn(async move {
        let look = async {
            loop {
                // A bucket that was made anew ends its watches.
                if let Ok(mut changes) = bus.kv_watch(buckets::CLUSTER).await
                    && let Ok(stands) = put_mark_again(&bus, id).await
                {
                    if stands == id {
                        readiness.clear(KEY_BLOCKER);
                    } else {
                        tracing::error!("the store's records are sealed with another key than this node's");
                        readiness.block(
                            KEY_BLOCKER,
                            "NATS was wiped and others made another cluster key: give all nodes the same master.key, and restart",
                        );
                    }
                    while changes.next().await.is_some() {}
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = look => {}
        }
    });
}

async fn put_mark_again(bus: &BusHandle, id: [u8; 8]) -> Result<[u8; 8], BuildError> {
    match read_mark(bus).await? {
        Some(stands) => Ok(stands),
        None => {
            tracing::warn!("the store has lost the fingerprint of the master key: it is written again");
            put_mark(bus, id).await
        }
    }
}

fn unusable(error: VaultError) -> BuildError {
    BuildError(format!("the master key: {error}"))
}

fn no_bus(error: &BusError) -> BuildError {
    BuildError(format!("the store: {error}"))
}

fn bring_your_own() -> BuildError {
    BuildError(
        "the cluster's key: this cluster hands out none: set GROK2API__SECURITY__MASTER_KEY to what its other nodes have"
            .to_owned(),
    )
}

fn another_key(sources: &KeySources) -> BuildError {
    let origin = match sources.configured {
        Some(_) => "security.master_key (GROK2API__SECURITY__MASTER_KEY)".to_owned(),
        None => sources.key_file.display().to_string(),
    };
    let mend = if sources.cluster.is_some() {
        "this node belongs to another cluster, or the key was changed: give it the key of the other nodes, or another \
         data directory"
    } else {
        "put the old key back"
    };
    BuildError(format!(
        "the master key: {origin} is not the key that the stored tokens and client keys were sealed with: {mend}; nothing \
         was changed"
    ))
}
