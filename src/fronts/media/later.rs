//! What the upstream makes later, under an id: pictures and films. Somebody looks after it until it is done, for links die
//! within minutes and only the end says what it cost.

use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::ledger::{Actual, CallLease};
use grok2api_schemas::ids::{RequestId, TokenId};
use serde::Deserialize;

use crate::app::App;
use crate::engine::Answered;
use crate::engine::answer::Answer;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::http::arrival::Arrival;

/// The first look comes after so long, and every further one somewhat later.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// An order that the upstream took.
pub struct Accepted {
    /// Names what it makes.
    pub id: String,
    /// The token that ordered it.
    pub token: TokenId,
    /// What the client key's budget was reserved, until it is known what it costs.
    pub unsettled: Option<Box<CallLease>>,
    /// The answer, for the client.
    pub answer: Answer,
}

#[derive(Deserialize)]
struct WireAccepted {
    request_id: String,
}

impl Accepted {
    /// Reads the upstream's answer to an order.
    ///
    /// # Errors
    /// 502 when it names no id.
    pub fn of(answer: Answer) -> Result<Accepted, GatewayError> {
        let strange = || {
            GatewayError::new(
                ErrorKind::UpstreamFailed,
                "The upstream took the request and named no id for it.",
            )
            .because(RefusalReason::Upstream)
        };
        let Answer::Whole {
            status,
            headers,
            body,
            served_by: Some(token),
            unsettled,
            overhead_us,
        } = answer
        else {
            return Err(strange());
        };
        let WireAccepted { request_id: id } = serde_json::from_slice(&body).map_err(|_| strange())?;
        Ok(Accepted {
            id,
            token,
            unsettled,
            answer: Answer::Whole {
                status,
                headers,
                body,
                served_by: Some(token),
                unsettled: None,
                overhead_us,
            },
        })
    }
}

/// Who ordered something that is paid for at its end.
pub struct Order {
    /// The client.
    pub caller: Caller,
    /// The client's address.
    pub ip: String,
    /// The model as the client named it.
    pub model: String,
    /// What the settlement is written down as.
    pub route: &'static str,
    /// What was reserved.
    pub unsettled: Option<Box<CallLease>>,
}

impl Order {
    /// It is over, and did cost this.
    pub fn settle(self, app: &App, cost: Option<u64>) {
        if let Some(lease) = self.unsettled {
            lease.settle(Actual {
                tokens: Some(0),
                usd_ticks: cost,
            });
        }
        let arrival = Arrival {
            id: RequestId::generate(),
            received: app.clock.now(),
            time_ms: app.clock.wall().0,
            ip: self.ip,
        };
        let about = Answered {
            caller: &self.caller,
            model: &self.model,
            cost_ticks: cost,
            bytes_in: 0,
        };
        app.engine.settled(&arrival, self.route, &about);
    }
}

/// Looks until there is an end. Nothing: the upstream knows nothing of it any more, it takes longer than that, or the node
/// ends.
pub async fn ended<T, F>(app: &Arc<App>, id: &str, patience: Duration, look: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<Option<T>, GatewayError>>,
{
    let looking = async {
        let mut pause = FIRST;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(LONGEST);
            match look().await {
                Ok(Some(ended)) => return Some(ended),
                Ok(None) => {}
                Err(error) if error.kind == ErrorKind::NotFound => {
                    tracing::warn!(id, "the upstream knows nothing of what it was making");
                    return None;
                }
                Err(error) => tracing::debug!(id, error = %error.message, "what is being made could not be looked at"),
            }
        }
    };
    tokio::select! {
        ended = tokio::time::timeout(patience, looking) => ended.ok().flatten(),
        () = app.stop.cancelled() => None,
    }
}
