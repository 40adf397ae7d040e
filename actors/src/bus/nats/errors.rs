//! What NATS's failures mean to the trait's callers: refused (`Conflict`), unknown (`Timeout`), not done (`Unreachable`).

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::context::{
    PublishError, PublishErrorKind, RequestError as CallError, RequestErrorKind as CallErrorKind,
};
use async_nats::jetstream::{Error as ApiError, ErrorCode};

use crate::bus::{BusError, BusErrorKind};

/// A publication that a stream should have taken.
pub(super) fn publish(error: &PublishError) -> BusError {
    let kind = match error.kind() {
        PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => BusErrorKind::Conflict,
        // Nobody took it: no such stream, or one without a leader at the moment.
        PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => BusErrorKind::Unreachable,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => BusErrorKind::Timeout,
        PublishErrorKind::MaxPayloadExceeded => BusErrorKind::Storage,
        PublishErrorKind::Other => match std::error::Error::source(error).and_then(|source| source.downcast_ref()) {
            Some(refusal) => return api(refusal),
            None => BusErrorKind::Timeout,
        },
    };
    BusError::new(kind, format!("NATS: {error}"))
}

/// A request that somebody should have answered.
pub(super) fn request(error: &RequestError) -> BusError {
    let kind = match error.kind() {
        RequestErrorKind::TimedOut => BusErrorKind::Timeout,
        RequestErrorKind::NoResponders => BusErrorKind::Unreachable,
        RequestErrorKind::MaxPayloadExceeded => BusErrorKind::Storage,
        RequestErrorKind::InvalidSubject | RequestErrorKind::Other => BusErrorKind::Unreachable,
    };
    BusError::new(kind, format!("NATS: {error}"))
}

/// A call of JetStream that was not answered.
pub(super) fn call(error: &CallError) -> BusError {
    let kind = match error.kind() {
        CallErrorKind::TimedOut => BusErrorKind::Timeout,
        CallErrorKind::NoResponders => BusErrorKind::Unreachable,
        CallErrorKind::InvalidSubject => BusErrorKind::Storage,
        CallErrorKind::Other if std::error::Error::source(error).is_some_and(|source| source.is::<RequestError>()) => {
            BusErrorKind::Unreachable
        }
        // What came does not read as an answer.
        CallErrorKind::Other => BusErrorKind::Corrupt,
    };
    BusError::new(kind, format!("JetStream: {error}"))
}

/// A refusal by JetStream.
pub(super) fn api(error: &ApiError) -> BusError {
    let kind = match error.error_code() {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        | ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID => BusErrorKind::Conflict,
        // The same message is still on its way: its fate is not known yet.
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => BusErrorKind::Timeout,
        ErrorCode::STREAM_NOT_FOUND => BusErrorKind::Unreachable,
        _ if is_full(error) => BusErrorKind::Full,
        _ if error.code() == 503 => BusErrorKind::Unreachable,
        _ => BusErrorKind::Storage,
    };
    BusError::new(kind, format!("JetStream: {error} (error {})", error.error_code().0))
}

fn is_full(error: &ApiError) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED
            | ErrorCode::STREAM_STORE_FAILED
    )
}
