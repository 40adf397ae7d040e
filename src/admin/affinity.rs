//! Bindings.

use grok2api_schemas::admin::affinity::{AffinityClearAsk, AffinityKind, AffinityListAsk};
use grok2api_schemas::ids::TokenId;

use super::body;
use super::call::{Answer, Guarded, json as answer};
use super::query::wrong;
use crate::ops::input;

/// `GET /affinity`.
pub async fn list(guarded: Guarded) -> Answer {
    let call = &guarded.call;
    let query = &call.query;
    let kind = match query.text("kind") {
        None => AffinityKind::default(),
        Some(text) => AffinityKind::parse(text).ok_or_else(|| {
            let known = AffinityKind::ALL.map(AffinityKind::as_str).join(", ");
            wrong("kind", &format!("one of {known}"))
        })?,
    };
    let ask = AffinityListAsk {
        kind,
        token: query.parsed::<TokenId>("token", "a token's id (tok_…)")?,
        cursor: query.text("cursor").map(str::to_owned),
        limit: Some(query.rows()? as u64),
    };
    answer(&call.admin.ops.affinity.list(ask).await?)
}

/// `POST /affinity/clear`.
pub async fn clear(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let ask: AffinityClearAsk = input::json(&bytes)?;
    answer(&call.admin.ops.affinity.clear(&actor, ask).await?)
}
