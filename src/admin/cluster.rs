//! The cluster.

use grok2api_schemas::admin::cluster::DrainRequest;

use super::body;
use super::call::{Answer, Guarded, json as answer};
use crate::ops::input;

/// `GET /cluster`.
pub async fn status(guarded: Guarded) -> Answer {
    answer(&guarded.call.admin.cluster.status())
}

/// `POST /cluster/drain`.
pub async fn drain(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let request: DrainRequest = input::json(&bytes)?;
    answer(&call.admin.cluster.drain(&actor, &request).await?)
}
