//! How a call to the upstream ended: the closed set that labels metrics. How a request ended is
//! [`grok2api_schemas::admin::requests::Outcome`].

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
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_numbers() {
        for (position, outcome) in AttemptOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, position);
        }
    }
}
