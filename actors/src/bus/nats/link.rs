//! The connection with what every part needs of it: names, deadlines, JetStream calls whose failures are told apart.

use std::sync::Arc;

use async_nats::connection::State;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, RawMessage};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use grok2api_schemas::bus::subjects::streams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::errors;
use crate::bus::room::Room;
use crate::bus::{BusError, BusErrorKind};

/// What a message's headers may take of its size.
const HEADER_BYTES: usize = 1_024;

pub(super) struct Link {
    pub client: Client,
    pub jetstream: Context,
    pub prefix: String,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub room: Arc<Room>,
}

#[derive(Deserialize)]
struct Found {
    message: RawMessage,
}

impl Link {
    /// The stream of the buckets.
    pub fn kv_stream(&self) -> String {
        format!("{}{}", streams::KV, self.prefix)
    }

    /// The stream of the journals.
    pub fn journal_stream(&self) -> String {
        format!("{}_{}", self.prefix, streams::JOURNAL)
    }

    /// The stream of the records.
    pub fn records_stream(&self) -> String {
        format!("{}_{}", self.prefix, streams::RECORDS)
    }

    /// The stream of the objects.
    pub fn objects_stream(&self) -> String {
        format!("{}{}", streams::OBJECTS, self.prefix)
    }

    /// A subject of ours.
    pub fn subject(&self, subject: &str) -> String {
        format!("{}.{subject}", self.prefix)
    }

    /// Refuses at once what could only wait for a connection, and then happen late.
    pub fn connected(&self) -> Result<(), BusError> {
        if self.stop.is_cancelled() {
            return Err(BusError::new(BusErrorKind::Closed, "the bus is closed"));
        }
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => {
                Err(BusError::new(BusErrorKind::Unreachable, "not connected to NATS"))
            }
        }
    }

    /// Publishes to a stream and waits until it is stored.
    pub async fn store(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<PublishAck, BusError> {
        self.send(subject, headers, payload).await?.await
    }

    /// Publishes to a stream; what it answers says whether it is stored.
    pub async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<PublishAck, BusError>> + Send + use<>, BusError> {
        self.connected()?;
        self.fits(payload.len())?;
        let stream = self.stream_of(&subject);
        let server = self.client.server_info().server_name;
        let sent = self.jetstream.publish_with_headers(subject, headers, payload).await;
        let ack = sent.map_err(|error| errors::publish(&error))?;
        let room = self.room.clone();
        Ok(async move {
            let outcome = ack.await.map_err(|error| match errors::publish(&error) {
                error if error.kind == BusErrorKind::Full => no_room(&stream, &server, &error),
                error => error,
            });
            room.note(&outcome);
            outcome
        })
    }

    /// The stream that keeps what is published on a subject.
    fn stream_of(&self, subject: &str) -> String {
        if subject.starts_with(streams::KV_SUBJECTS) {
            self.kv_stream()
        } else if *subject == self.subject(streams::RECORDS) {
            self.records_stream()
        } else {
            self.journal_stream()
        }
    }

    /// Refuses what the server would cut the connection for.
    pub fn fits(&self, bytes: usize) -> Result<(), BusError> {
        let most = self.client.max_payload().saturating_sub(HEADER_BYTES);
        if bytes <= most {
            return Ok(());
        }
        Err(BusError::new(
            BusErrorKind::Storage,
            format!("a message of {bytes} bytes is more than the NATS server takes ({most}): raise its max_payload"),
        ))
    }

    /// A call of JetStream's interface. The inner result is JetStream's own refusal.
    pub async fn call<T: DeserializeOwned>(
        &self,
        subject: String,
        body: &(impl Serialize + Sync),
    ) -> Result<Result<T, jetstream::Error>, BusError> {
        self.connected()?;
        match self.jetstream.request::<_, _, Response<T>>(subject, body).await {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(errors::call(&error)),
        }
    }

    /// How a stream stands, as its leader says.
    pub async fn info(&self, stream: &str) -> Result<Info, BusError> {
        self.call(format!("STREAM.INFO.{stream}"), &())
            .await?
            .map_err(|error| errors::api(&error))
    }

    /// The last message of a subject (wildcards allowed), as the stream's leader says.
    pub async fn last(&self, stream: &str, subject: &str) -> Result<Option<StreamMessage>, BusError> {
        self.get(stream, &json!({ "last_by_subj": subject })).await
    }

    /// The first message of a subject from a sequence on, as the stream's leader says.
    pub async fn next(&self, stream: &str, subject: &str, from: u64) -> Result<Option<StreamMessage>, BusError> {
        self.get(stream, &json!({ "seq": from, "next_by_subj": subject })).await
    }

    /// The message at a sequence, as the stream's leader says.
    pub async fn at(&self, stream: &str, sequence: u64) -> Result<Option<StreamMessage>, BusError> {
        self.get(stream, &json!({ "seq": sequence })).await
    }

    async fn get(&self, stream: &str, which: &serde_json::Value) -> Result<Option<StreamMessage>, BusError> {
        match self.call::<Found>(format!("STREAM.MSG.GET.{stream}"), which).await? {
            Ok(found) => {
                let message = found.message.try_into();
                message
                    .map(Some)
                    .map_err(|error| BusError::new(BusErrorKind::Corrupt, format!("a message of {stream}: {error}")))
            }
            Err(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Err(error) => Err(errors::api(&error)),
        }
    }

    /// The messages of some subjects in a stream's order, from where the policy says, without end. They may come from a
    /// replica that lags: whoever decides must know which sequence to wait for.
    pub async fn follow(
        &self,
        stream: &str,
        subjects: Vec<String>,
        deliver_policy: DeliverPolicy,
    ) -> Result<Ordered, BusError> {
        self.connected()?;
        let broken = |error: &dyn std::fmt::Display| {
            BusError::new(BusErrorKind::Unreachable, format!("following {stream}: {error}"))
        };
        let config = OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            filter_subjects: subjects,
            deliver_policy,
            ..OrderedConfig::default()
        };
        let consumer = self.jetstream.create_consumer_on_stream(config, stream).await;
        let consumer = consumer.map_err(|error| broken(&error))?;
        consumer.messages().await.map_err(|error| broken(&error))
    }
}

/// For the operator: what is full, where, and how to mend it.
fn no_room(stream: &str, server: &str, error: &BusError) -> BusError {
    BusError::new(
        BusErrorKind::Full,
        format!(
            "the storage of NATS is full: stream {stream} on server {server} takes no more ({}). Delete what is not needed \
             there (other streams of the account too), or raise jetstream max_file_store, the account's limit, or the disk; \
             writes then go on by themselves",
            error.message
        ),
    )
}
