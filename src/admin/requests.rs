//! The request log.

use grok2api_schemas::admin::requests::{Outcome, RequestQuery};
use grok2api_schemas::ids::{KeyId, RequestId, TokenId};

use super::call::{Answer, Guarded, json as answer};
use crate::engine::error::GatewayError;

/// `GET /requests`, newest first.
pub async fn list(guarded: Guarded) -> Answer {
    let call = &guarded.call;
    let query = &call.query;
    let outcomes: Vec<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
    let query = RequestQuery {
        key: query.parsed::<KeyId>("key", "a client key's id (key_…)")?,
        model: query.text("model").map(str::to_owned),
        token: query.parsed::<TokenId>("token", "a token's id (tok_…)")?,
        outcomes: query.words("outcome", &format!("of {}", outcomes.join(", ")), Outcome::parse)?,
        since_ms: query.time_ms("since")?,
        until_ms: query.time_ms("until")?,
        text: query.text("text").map(str::to_owned),
        cursor: query.parsed::<RequestId>("cursor", "`next_cursor` of the page before")?,
        limit: query.rows()?,
    };
    answer(&call.admin.requests.list(query).await?)
}

/// `GET /requests/{id}`.
pub async fn get(guarded: Guarded) -> Answer {
    let id = guarded
        .call
        .path_id
        .parse::<RequestId>()
        .map_err(|_| GatewayError::field("id", "The path must name a request's id, as in `x-request-id`."))?;
    answer(guarded.call.admin.requests.get(id).await?.as_ref())
}
