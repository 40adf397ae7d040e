//! How a request ended: the closed set that labels metrics, log lines and the request log.

use crate::engine::error::ErrorKind;

/// How a request ended, from the client's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// The client left before the end.
    ClientGone,
    /// The answer broke off after its first byte.
    BrokenStream,
    /// It was answered with an error.
    Failed(ErrorKind),
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = 3 + ErrorKind::ALL.len();

    /// The label. Unlike an error's public code it tells a client key's limit from the pool's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ClientGone => "client_gone",
            Outcome::BrokenStream => "broken_stream",
            Outcome::Failed(kind) => match kind {
                ErrorKind::InvalidBody => "invalid_body",
                ErrorKind::InvalidField => "invalid_field",
                ErrorKind::RejectedByUpstream => "rejected_by_upstream",
                ErrorKind::ContextTooLong => "context_too_long",
                ErrorKind::UnknownModel => "unknown_model",
                ErrorKind::NotFound => "not_found",
                ErrorKind::MethodNotAllowed => "method_not_allowed",
                ErrorKind::TooLarge => "too_large",
                ErrorKind::UnsupportedMediaType => "unsupported_media_type",
                ErrorKind::Unauthenticated => "unauthenticated",
                ErrorKind::Forbidden => "forbidden",
                ErrorKind::Conflict => "conflict",
                ErrorKind::ClientLimit => "client_limit",
                ErrorKind::ClientBudget => "client_budget",
                ErrorKind::PoolLimit => "pool_limit",
                ErrorKind::PoolUnusable => "pool_unusable",
                ErrorKind::UpstreamBusy => "upstream_busy",
                ErrorKind::UpstreamFailed => "upstream_failed",
                ErrorKind::UpstreamTimeout => "upstream_timeout",
                ErrorKind::Overloaded => "overloaded",
                ErrorKind::ShuttingDown => "shutting_down",
                ErrorKind::NotOffered => "not_offered",
                ErrorKind::Internal => "internal",
            },
        }
    }

    /// Every outcome, in the order of [`Outcome::index`].
    pub fn all() -> impl Iterator<Item = Outcome> {
        [Outcome::Ok, Outcome::ClientGone, Outcome::BrokenStream]
            .into_iter()
            .chain(ErrorKind::ALL.into_iter().map(Outcome::Failed))
    }

    /// A dense number below [`Outcome::COUNT`].
    pub const fn index(self) -> usize {
        match self {
            Outcome::Ok => 0,
            Outcome::ClientGone => 1,
            Outcome::BrokenStream => 2,
            Outcome::Failed(kind) => 3 + kind as usize,
        }
    }
}

/// How one call to the upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AttemptOutcome {
    /// It was answered to the end.
    Ok,
    /// 429: requests or tokens of the team and model.
    RateLimited,
    /// No credit, or the spending limit is reached.
    OutOfCredit,
    /// The credential is refused.
    BadCredential,
    /// The credential is right and may not use the model.
    NoModelAccess,
    /// The request itself is refused.
    BadRequest,
    /// The upstream has no capacity.
    Capacity,
    /// 5xx and answers that make no sense.
    ServerError,
    /// No connection came about.
    ConnectFailed,
    /// Silence for too long.
    Timeout,
    /// It broke off after its first byte.
    BrokenStream,
    /// We gave it up because the client left.
    Cancelled,
    /// The lease had lapsed before the request was sent.
    LeaseLapsed,
}

impl AttemptOutcome {
    /// Every outcome, in the order of the numbers behind them.
    pub const ALL: [AttemptOutcome; 13] = [
        AttemptOutcome::Ok,
        AttemptOutcome::RateLimited,
        AttemptOutcome::OutOfCredit,
        AttemptOutcome::BadCredential,
        AttemptOutcome::NoModelAccess,
        AttemptOutcome::BadRequest,
        AttemptOutcome::Capacity,
        AttemptOutcome::ServerError,
        AttemptOutcome::ConnectFailed,
        AttemptOutcome::Timeout,
        AttemptOutcome::BrokenStream,
        AttemptOutcome::Cancelled,
        AttemptOutcome::LeaseLapsed,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Ok => "ok",
            AttemptOutcome::RateLimited => "rate_limited",
            AttemptOutcome::OutOfCredit => "out_of_credit",
            AttemptOutcome::BadCredential => "bad_credential",
            AttemptOutcome::NoModelAccess => "no_model_access",
            AttemptOutcome::BadRequest => "bad_request",
            AttemptOutcome::Capacity => "capacity",
            AttemptOutcome::ServerError => "server_error",
            AttemptOutcome::ConnectFailed => "connect_failed",
            AttemptOutcome::Timeout => "timeout",
            AttemptOutcome::BrokenStream => "broken_stream",
            AttemptOutcome::Cancelled => "cancelled",
            AttemptOutcome::LeaseLapsed => "lease_lapsed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn indices_are_dense_and_labels_unique() {
        let indices: Vec<usize> = Outcome::all().map(Outcome::index).collect();
        assert_eq!(indices, (0..Outcome::COUNT).collect::<Vec<_>>());
        let labels: HashSet<&str> = Outcome::all().map(Outcome::as_str).collect();
        assert_eq!(labels.len(), Outcome::COUNT);
        for (position, outcome) in AttemptOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, position);
        }
    }
}
