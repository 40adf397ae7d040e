//! The streams: made at the first start, checked at every one.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use grok2api_schemas::bus::subjects::streams;
use tokio::time::Instant;

use super::connect::NatsOptions;
use super::link::Link;
use super::{StartError, errors};
use crate::bus::{BusError, BusErrorKind};

/// Metadata of the journals' stream: which life of it this is.
pub(super) const INCARNATION: &str = "grok2api-incarnation";
/// How long JetStream knows message ids: a retry later than that is recognised by reading.
const KNOWS_IDS: Duration = Duration::from_secs(120);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// Every stream as it should stand.
fn wanted(link: &Link, options: &NatsOptions) -> Vec<Config> {
    let common = |name: String, subjects: String, description: &str| Config {
        name,
        subjects: vec![subjects],
        description: Some(description.to_owned()),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: options.replicas,
        max_bytes: -1,
        max_messages: -1,
        max_message_size: -1,
        max_consumers: -1,
        // No reads from a replica that may lag.
        allow_direct: false,
        ..Config::default()
    };
    let incarnation = format!("{:016x}", fastrand::u64(..));
    vec![
        Config {
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            deny_delete: true,
            allow_rollup: true,
            allow_message_ttl: true,
            duplicate_window: KNOWS_IDS,
            ..common(
                link.kv_stream(),
                format!("{}{}.>", streams::KV_SUBJECTS, link.prefix),
                "grok2api: tokens, keys, configuration and whatever else nodes share",
            )
        },
        Config {
            max_messages_per_subject: -1,
            discard: DiscardPolicy::New,
            deny_delete: true,
            duplicate_window: KNOWS_IDS,
            metadata: HashMap::from([(INCARNATION.to_owned(), incarnation)]),
            ..common(
                link.journal_stream(),
                link.subject(&format!("{}.*", streams::JOURNAL)),
                "grok2api: the quota ledger; without it nothing is sent upstream for a while",
            )
        },
        // Limits that stand are left as they are: nodes that were configured differently would take turns at changing them.
        Config {
            discard: DiscardPolicy::Old,
            max_messages_per_subject: -1,
            max_bytes: i64::try_from(options.records_max_bytes).unwrap_or(i64::MAX),
            max_age: options.records_max_age,
            duplicate_window: KNOWS_IDS.min(options.records_max_age),
            compression: Some(Compression::S2),
            ..common(
                link.records_stream(),
                link.subject(streams::RECORDS),
                "grok2api: the request log of all nodes",
            )
        },
    ]
}

/// Makes what is missing and checks what stands.
pub(super) async fn ensure(link: &Link, options: &NatsOptions, deadline: Instant) -> Result<(), StartError> {
    let mut said = false;
    for config in wanted(link, options) {
        loop {
            let error = match ensure_one(link, &config).await {
                Ok(()) => break,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(error)) => error,
            };
            // A cluster that has just started has no leader yet.
            if Instant::now() + PAUSE > deadline {
                return Err(StartError(format!(
                    "stream {} can be neither read nor made: {}: is JetStream enabled, and are most servers up?",
                    config.name, error.message
                )));
            }
            if !said {
                said = true;
                tracing::warn!(
                    "stream {} can be neither read nor made yet: {}; this node waits",
                    config.name,
                    error.message
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Looks at one stream, another one each turn: a question is about six messages between the servers. Where one is gone, or
/// is not as it should be, all are looked at and made.
pub(super) async fn look(link: &Link, options: &NatsOptions, turn: usize) -> Result<(), StartError> {
    let wanted = wanted(link, options);
    let Some(config) = wanted.get(turn % wanted.len().max(1)) else {
        return Ok(());
    };
    match link.info(&config.name).await {
        Ok(info) if mismatch(config, &info.config).is_none() => Ok(()),
        _ => ensure(link, options, Instant::now()).await,
    }
}

enum Trouble {
    Final(StartError),
    Passing(BusError),
}

impl From<BusError> for Trouble {
    fn from(error: BusError) -> Trouble {
        Trouble::Passing(error)
    }
}

async fn ensure_one(link: &Link, config: &Config) -> Result<(), Trouble> {
    let info = match link.call::<Info>(format!("STREAM.INFO.{}", config.name), &()).await? {
        Ok(info) => info,
        Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            let subject = format!("STREAM.CREATE.{}", config.name);
            match link.call::<Info>(subject, config).await? {
                Ok(info) => {
                    tracing::info!(stream = config.name, replicas = config.num_replicas, "stream made");
                    info
                }
                // Another node was quicker: look again.
                Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    return Err(errors::api(&error).into());
                }
                Err(error) => return Err(refused(config, &error)),
            }
        }
        Err(error) => return Err(refused(config, &error)),
    };
    match mismatch(config, &info.config) {
        None => Ok(()),
        Some(mismatch) => Err(Trouble::Final(StartError(format!(
            "stream {} stands otherwise than this node needs it: {mismatch}",
            config.name
        )))),
    }
}

fn refused(config: &Config, error: &async_nats::jetstream::Error) -> Trouble {
    let too_few = || {
        format!(
            "stream {} cannot have {} replicas: {error}: start as many NATS servers as one cluster, or lower nats.replicas",
            config.name, config.num_replicas
        )
    };
    let told = match error.error_code() {
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => too_few(),
        // Servers of a cluster that has just started do not know of each other yet.
        ErrorCode::CLUSTER_NO_PEERS => {
            return Trouble::Passing(BusError::new(BusErrorKind::Unreachable, too_few()));
        }
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => format!(
            "JetStream is not enabled on NATS (or not for this account): start nats-server with --jetstream: {error}"
        ),
        _ => {
            let error = errors::api(error);
            return match error.kind {
                BusErrorKind::Storage | BusErrorKind::Full => Trouble::Final(StartError(format!(
                    "stream {} cannot be made: {}",
                    config.name, error.message
                ))),
                _ => Trouble::Passing(error),
            };
        }
    };
    Trouble::Final(StartError(told))
}

/// What stands and what is wanted, of what matters.
fn mismatch(wanted: &Config, stands: &Config) -> Option<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, stands: String, wanted: String, mend: &str| {
        if stands != wanted {
            differences.push(format!("{what} is {stands}, wanted is {wanted}{mend}"));
        }
    };
    let name = &wanted.name;
    compare(
        "replicas",
        stands.num_replicas.to_string(),
        wanted.num_replicas.to_string(),
        &format!(
            " (set nats.replicas = {}, or run: nats stream edit {name} --replicas {})",
            stands.num_replicas, wanted.num_replicas
        ),
    );
    compare("subjects", stands.subjects.join(" "), wanted.subjects.join(" "), "");
    compare(
        "max_msgs_per_subject",
        limit(stands.max_messages_per_subject),
        limit(wanted.max_messages_per_subject),
        "",
    );
    compare(
        "storage",
        format!("{:?}", stands.storage),
        format!("{:?}", wanted.storage),
        "",
    );
    compare(
        "retention",
        format!("{:?}", stands.retention),
        format!("{:?}", wanted.retention),
        "",
    );
    compare(
        "discard",
        format!("{:?}", stands.discard),
        format!("{:?}", wanted.discard),
        "",
    );
    compare(
        "allow_msg_ttl",
        stands.allow_message_ttl.to_string(),
        wanted.allow_message_ttl.to_string(),
        "",
    );
    if wanted.discard == DiscardPolicy::New {
        // What drops the oldest by itself would be a fresh quota, or a lost token.
        compare(
            "max_age",
            format!("{:?}", stands.max_age),
            format!("{:?}", wanted.max_age),
            "",
        );
        compare("max_msgs", limit(stands.max_messages), limit(wanted.max_messages), "");
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

fn limit(limit: i64) -> String {
    if limit <= 0 {
        "none".to_owned()
    } else {
        limit.to_string()
    }
}
