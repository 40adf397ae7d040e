//! Kept images and videos, in the older project's routes.

use grok2api_schemas::admin::cache::{CacheClearAsk, CacheDeleteAsk, CacheListAsk, CacheStatusAsk};
use grok2api_schemas::media::MediaKind;
use serde_json::json;

use super::body;
use super::call::{Answer, Guarded, json as answer};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::input;

/// `GET /cache`: what nodes keep, in the older project's shape. What a provider keeps is at `GET /cache/online`.
pub async fn all(guarded: Guarded) -> Answer {
    let status = guarded.call.admin.ops.cache.status(&CacheStatusAsk::default()).await?;
    answer(&json!({
        "local_image": status.local_image,
        "local_video": status.local_video,
        "online": {"count": 0, "status": "not_loaded", "token": null, "last_asset_clear_at": null},
        "online_accounts": [],
        "online_scope": "none",
        "online_details": [],
    }))
}

/// `GET /cache/local`.
pub async fn local(guarded: Guarded) -> Answer {
    let ask = CacheStatusAsk {
        node: guarded.call.query.text("node").map(str::to_owned),
    };
    answer(&guarded.call.admin.ops.cache.status(&ask).await?)
}

/// `GET /cache/list`.
pub async fn list(guarded: Guarded) -> Answer {
    let query = &guarded.call.query;
    let kind = match query.text("type").or_else(|| query.text("cache_type")) {
        None | Some("image") => MediaKind::Image,
        Some(_) => MediaKind::Video,
    };
    let ask = CacheListAsk {
        node: query.text("node").map(str::to_owned),
        kind: Some(kind),
        page: query.parsed("page", "a whole number from 1")?,
        page_size: query.parsed("page_size", "a whole number from 1 to 1000")?,
    };
    answer(&guarded.call.admin.ops.cache.list(&ask).await?)
}

/// `POST /cache/clear`.
pub async fn clear(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let ask: CacheClearAsk = input::json(&bytes)?;
    answer(&call.admin.ops.cache.clear(&actor, ask).await?)
}

/// `POST /cache/item/delete`.
pub async fn delete(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let ask: CacheDeleteAsk = input::json(&bytes)?;
    answer(&call.admin.ops.cache.delete(&actor, ask).await?)
}

/// `POST /cache/online/clear`: the older project emptied the storage of web sessions.
pub async fn online(_: Guarded) -> Answer {
    Err(GatewayError::new(
        ErrorKind::NotOffered,
        "The official API keeps no pictures or films of ours that could be cleared: its links end by themselves. Files that \
         were uploaded there are listed at GET /api/v1/admin/cache/online and deleted at POST /api/v1/admin/cache/online/delete.",
    ))
}
