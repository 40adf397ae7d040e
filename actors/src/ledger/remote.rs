//! Owners on other nodes: requests to them, and answers to theirs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use grok2api_schemas::cluster::{NodeReply, NodeRequest, ShardReply, ShardRequest};
use grok2api_schemas::ids::SessionId;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::actor::Exchange;
use super::shards::Shards;
use super::usage::{Meters, daily, known};
use crate::bus::{BusError, BusErrorKind, BusHandle, codec};
use crate::cluster::ask_subject;

/// Requests of other nodes that are answered at a time; more are left to their deadlines.
const AT_A_TIME: usize = 512;
/// After this long nobody waits for an answer any more.
const GIVE_UP: Duration = Duration::from_secs(8);
/// Meters that one answer recalls: it has to fit into a message.
const MOST_RECALLED: usize = 128;
/// How long an operator's word may take to a node.
pub(super) const COMMAND_WITHIN: Duration = Duration::from_secs(2);

/// Asks another node.
///
/// # Errors
/// It cannot be reached, does not answer in time, or is not understood (`Corrupt`).
pub(super) async fn ask(
    bus: &BusHandle,
    session: SessionId,
    request: &NodeRequest,
    deadline: Duration,
) -> Result<NodeReply, BusError> {
    let corrupt = |error: codec::CodecError| BusError::new(BusErrorKind::Corrupt, error.to_string());
    let payload = codec::encode(codec::VERSION, request).map_err(corrupt)?;
    let answer = bus.request(&ask_subject(session), payload, deadline).await?;
    codec::decode(&answer).map_err(corrupt)
}

/// Answers what other nodes ask this one, until it ends.
pub(super) async fn serve(
    shards: Arc<Shards>,
    meters: Arc<Meters>,
    bus: BusHandle,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let subject = ask_subject(shards.membership.me());
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        let mut requests = bus.serve(&subject);
        loop {
            let request = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                request = requests.next() => request,
            };
            let Some(request) = request else {
                break;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (shards, meters) = (shards.clone(), meters.clone());
            tracker.spawn(async move {
                let reply = answer(&shards, &meters, &request.payload);
                if let Ok(Some(reply)) = tokio::time::timeout(GIVE_UP, reply).await {
                    // Whoever asked may have given up.
                    let _ = request.reply.send(reply);
                }
                drop(place);
            });
        }
        // The bus let go of the subject: serve it again, without a storm.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn answer(shards: &Shards, meters: &Meters, payload: &[u8]) -> Option<Bytes> {
    let request: NodeRequest = match codec::decode(payload) {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(%error, "a node's request is not understood; it runs into its deadline");
            return None;
        }
    };
    let reply = match request {
        NodeRequest::Exchange(parts) => {
            // All are handed to their actors before the first answer is waited for.
            let waiting: Vec<_> = parts.into_iter().map(|part| hand_over(shards, part)).collect();
            NodeReply::Exchange(join_all(waiting).await)
        }
        NodeRequest::Yield { shard } => {
            shards.make_way(usize::from(shard)).await;
            NodeReply::Done
        }
        NodeRequest::Recall { meters } => {
            shards.recall(&meters);
            NodeReply::Done
        }
        NodeRequest::KeyUsage(keys) => NodeReply::KeyUsage(known(shards, meters, &daily(&keys)).await),
        NodeRequest::Usage(wanted) => NodeReply::KeyUsage(known(shards, meters, &wanted).await),
        NodeRequest::Drain => {
            shards.asked_to_drain.cancel();
            NodeReply::Done
        }
    };
    match codec::encode(codec::VERSION, &reply) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::error!(%error, "an answer to another node does not encode");
            None
        }
    }
}

/// Gives a part to the shard's actor at once; the future is its answer.
fn hand_over(shards: &Shards, part: ShardRequest) -> impl Future<Output = ShardReply> + use<> {
    let (reply, answer) = oneshot::channel();
    let taken = shards.local(usize::from(part.shard)).and_then(|open| {
        let exchange = Exchange {
            request: part.request,
            urgent: part.urgent,
            gathers: true,
            reply,
        };
        open.addr.try_send(exchange).is_ok().then_some(open.epoch)
    });
    async move {
        let Some(epoch) = taken else {
            return ShardReply::NotMine;
        };
        match answer.await {
            Ok(mut reply) => {
                // The rest is recalled with the next answer, when these have given.
                reply.recalled.truncate(MOST_RECALLED);
                ShardReply::Answered { epoch, reply }
            }
            // The actor stepped down with the request in hand: the next owner decides.
            Err(_) => ShardReply::NotMine,
        }
    }
}
