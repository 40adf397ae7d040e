//! How NATS and our streams stand.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use tokio::time::Instant;

use super::link::Link;
use super::talk;
use crate::bus::{BusErrorKind, BusStatus, FollowerStatus, StreamStatus};

/// Nobody serves it, which the server says at once: that is the round trip.
const NOBODY: &str = "nobody";
/// A server that takes longer counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn status(link: &Link, dropped_messages: u64) -> BusStatus {
    let server = link.client.server_info();
    let connects = link.client.statistics().connects.load(Ordering::Relaxed);
    let mut status = BusStatus {
        kind: "nats",
        connected: link.connected().is_ok(),
        server: server.server_name,
        version: server.version,
        reconnects: connects.saturating_sub(1),
        dropped_messages,
        ..BusStatus::default()
    };
    let asked = Instant::now();
    let answer = talk::request(link, NOBODY, Bytes::new(), PATIENCE).await;
    if answer.is_err_and(|error| error.kind == BusErrorKind::Unreachable) && status.connected {
        status.rtt_us = u64::try_from(asked.elapsed().as_micros()).ok();
    }
    let names = [link.kv_stream(), link.journal_stream(), link.records_stream()];
    let asked = names.map(|name| async move {
        match tokio::time::timeout(PATIENCE, link.info(&name)).await {
            Ok(Ok(info)) => of_stream(name, info),
            Ok(Err(error)) => silent(name, error.message),
            Err(_) => silent(name, "no answer in time".to_owned()),
        }
    });
    status.streams = futures::future::join_all(asked).await;
    status
}

fn silent(name: String, error: String) -> StreamStatus {
    StreamStatus {
        name,
        error: Some(error),
        ..StreamStatus::default()
    }
}

fn of_stream(name: String, info: Info) -> StreamStatus {
    let cluster = info.cluster.unwrap_or_default();
    let followers = cluster.replicas.into_iter().map(|peer| FollowerStatus {
        name: peer.name,
        current: peer.current,
        offline: peer.offline,
        lag: peer.lag.unwrap_or(0),
        heard_ms: u64::try_from(peer.active.as_millis()).unwrap_or(u64::MAX),
    });
    StreamStatus {
        name,
        messages: info.state.messages,
        bytes: info.state.bytes,
        last_sequence: info.state.last_sequence,
        replicas: info.config.num_replicas,
        leader: cluster.leader.unwrap_or_default(),
        followers: followers.collect(),
        error: None,
    }
}
