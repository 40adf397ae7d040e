//! What a client is told when there is no room for its call.

use grok2api_actors::ledger::Ledger;
use grok2api_schemas::token::CoolingCause;

use super::Engine;
use super::ask::Ask;
use super::call::Call;
use super::error::{ErrorKind, GatewayError, RefusalReason};
use super::room::Look;

/// When to come back while the upstream has not answered any probe.
const UNTOLD_MS: u64 = 5_000;

impl Engine {
    /// What the client is told when there is no room; the record is told whom that is true of.
    pub(super) fn refusal(&self, call: &mut Call, ask: &Ask, look: Look) -> GatewayError {
        let Look {
            blocked,
            retry_ms: look_retry_ms,
            never,
            away,
            dry,
            ..
        } = look;
        self.note(call, ask, look);
        if blocked {
            if never {
                return GatewayError::new(
                    ErrorKind::PoolUnusable,
                    format!(
                        "Every team that offers {} is limited to less than this request needs.",
                        ask.model
                    ),
                )
                .because(RefusalReason::Pool);
            }
            // With the bus away nothing comes back to this node, whatever was said before.
            if away && (!dry || self.ledger.is_cut_off()) {
                return bus_away(&self.ledger, look_retry_ms);
            }
            return GatewayError::new(
                ErrorKind::PoolLimit,
                format!(
                    "The upstream quota for {} is used up at the moment. Try again later.",
                    ask.model
                ),
            )
            .retry_after(look_retry_ms.or(Some(1_000)))
            .because(RefusalReason::Pool);
        }
        if self.pool.is_empty() {
            return GatewayError::new(
                ErrorKind::PoolUnusable,
                "No upstream credential is enrolled. Add one in the panel, with XAI_API_KEY, or over the admin API.",
            )
            .because(RefusalReason::Pool);
        }
        let hindrances = self.hindrances(ask.wanted_model());
        let retry_ms = self.next_recovery_ms(ask);
        let Some((cause, _, _)) = hindrances.causes.first() else {
            return GatewayError::new(
                ErrorKind::UpstreamBusy,
                format!(
                    "No upstream credential can serve {} now: the upstream has not told yet what they may use, or all are \
                     switched off.",
                    ask.model
                ),
            )
            .with_code("no_usable_token")
            .retry_after(Some(UNTOLD_MS))
            .because(RefusalReason::Pool);
        };
        let message = format!(
            "No upstream credential can serve {} now: {}.",
            ask.model,
            explain(*cause)
        );
        match retry_ms {
            Some(ms) => {
                let kind = match cause {
                    CoolingCause::RateLimited => ErrorKind::PoolLimit,
                    _ => ErrorKind::UpstreamBusy,
                };
                GatewayError::new(kind, message)
                    .retry_after(Some(ms))
                    .because(RefusalReason::Pool)
            }
            None => GatewayError::new(ErrorKind::PoolUnusable, message).because(RefusalReason::Pool),
        }
    }
}

/// What a client is told when nothing is left in hand and owners do not answer.
pub(super) fn bus_away(ledger: &Ledger, retry_ms: Option<u64>) -> GatewayError {
    if ledger.no_room().is_some() {
        return GatewayError::new(
            ErrorKind::Overloaded,
            "The cluster's storage is full, so that no quota can be granted, and this node has used up what it had in hand. \
             Its operator has to make room: /readyz says where.",
        )
        .with_code("storage_full")
        .retry_after(retry_ms.or(Some(1_000)));
    }
    if !ledger.is_cut_off() {
        return GatewayError::new(
            ErrorKind::Overloaded,
            "What this node had in hand is used up, and the node that decides about more does not answer; another takes its place \
             within seconds. Try again.",
        )
        .with_code("owner_away")
        .retry_after(retry_ms.or(Some(1_000)));
    }
    GatewayError::new(
        ErrorKind::Overloaded,
        "This node is cut off from its cluster and has used up the quota it had in hand. Try again, or another node.",
    )
    .with_code("bus_away")
    .retry_after(retry_ms.or(Some(1_000)))
}

/// What a client is told whose call was broken off so that it does not go on uncounted.
pub(super) fn cut_off() -> GatewayError {
    GatewayError::new(
        ErrorKind::Overloaded,
        "This node is cut off from its cluster, and the limit of calls at a time that this call counts for is a hard one: it was \
         broken off. Try again, or another node.",
    )
    .with_code("cut_off")
    .retry_after(Some(1_000))
    .because(RefusalReason::Pool)
}

/// The dominating cause, in words for the caller.
pub(super) fn explain(cause: CoolingCause) -> &'static str {
    match cause {
        CoolingCause::RateLimited => "the upstream's rate limits are reached",
        CoolingCause::Capacity => "the upstream is at capacity",
        CoolingCause::ServerErrors => "the upstream answers with errors",
        CoolingCause::Timeouts => "the upstream does not answer in time",
        CoolingCause::OutOfCredit => "their teams have no credit left, or reached their spending limit",
        CoolingCause::BadCredential => "the upstream refuses the credentials",
        CoolingCause::NoModelAccess => "they have no access to the model",
        CoolingCause::Operator => "they rest by an operator's rule",
    }
}
