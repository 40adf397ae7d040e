//! From an error to the outcome that the log and the metrics show.

use grok2api_schemas::admin::requests::Outcome;

use crate::engine::error::ErrorKind;

impl From<ErrorKind> for Outcome {
    fn from(kind: ErrorKind) -> Outcome {
        match kind {
            ErrorKind::InvalidBody
            | ErrorKind::InvalidField
            | ErrorKind::RejectedByUpstream
            | ErrorKind::ContextTooLong
            | ErrorKind::UnknownModel
            | ErrorKind::NotFound
            | ErrorKind::MethodNotAllowed
            | ErrorKind::TooLarge
            | ErrorKind::UnsupportedMediaType
            | ErrorKind::Conflict => Outcome::BadRequest,
            ErrorKind::Unauthenticated => Outcome::Unauthenticated,
            ErrorKind::Forbidden => Outcome::Forbidden,
            ErrorKind::ClientLimit => Outcome::ClientLimit,
            ErrorKind::ClientBudget => Outcome::ClientBudget,
            ErrorKind::PoolLimit => Outcome::PoolLimit,
            ErrorKind::PoolUnusable => Outcome::PoolUnusable,
            ErrorKind::UpstreamBusy => Outcome::UpstreamBusy,
            ErrorKind::UpstreamFailed => Outcome::UpstreamFailed,
            ErrorKind::UpstreamTimeout => Outcome::UpstreamTimeout,
            ErrorKind::Overloaded => Outcome::Overloaded,
            ErrorKind::ShuttingDown => Outcome::ShuttingDown,
            ErrorKind::NotOffered => Outcome::NotOffered,
            ErrorKind::Internal => Outcome::Internal,
        }
    }
}
