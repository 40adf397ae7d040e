//! Routes of the older project that stand for what is not done here, and its small ones.

use grok2api_schemas::admin::rollups::{RollupAsk, RollupBy, RollupPoint, RollupStep};
use serde_json::json;
use time::OffsetDateTime;

use super::call::{Answer, Guarded, json as answer};
use crate::engine::error::{ErrorKind, GatewayError};

/// `GET /storage`.
pub async fn storage(guarded: Guarded) -> Answer {
    answer(&json!({"type": guarded.call.admin.storage}))
}

/// Sign-up of accounts and changes to their settings: no.
pub async fn not_offered(_: Guarded) -> Answer {
    Err(GatewayError::new(
        ErrorKind::NotOffered,
        "This gateway does not sign up accounts and does not change settings of theirs. It takes credentials that their \
         owner brings: POST /api/v1/admin/tokens/import.",
    ))
}

/// `GET /metrics`: the numbers of the older project's data centre (`seed-surface.md` §9).
pub async fn metrics(guarded: Guarded) -> Answer {
    const HOUR_MS: u64 = 3_600_000;
    let admin = &guarded.call.admin;
    let now = admin.clock.wall().0;
    let sums = |since_ms: u64, step| {
        admin.requests.rollups(RollupAsk {
            since_ms: Some(since_ms),
            until_ms: None,
            step,
            by: RollupBy::Model,
        })
    };
    let hourly = sums(now.saturating_sub(23 * HOUR_MS), RollupStep::Hour).await?;
    let daily = sums(now.saturating_sub(6 * 24 * HOUR_MS), RollupStep::Day).await?;
    let point = |point: &RollupPoint| {
        let at = OffsetDateTime::from_unix_timestamp((point.at_ms / 1000) as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        json!({
            "hour": format!("{:02}:00", at.hour()), "date": format!("{:02}-{:02}", u8::from(at.month()), at.day()),
            "total": point.sums.requests, "success": point.sums.success, "failed": point.sums.failed,
        })
    };
    let (total, success) = (daily.total.requests, daily.total.success);
    let rate = match total {
        0 => 0.0,
        total => (success as f64 * 1000.0 / total as f64).round() / 10.0,
    };
    let counts = admin.tokens.pool().counts();
    let models: Vec<_> = daily
        .groups
        .iter()
        .take(10)
        .map(|group| json!({"model": group.name, "count": group.sums.requests}))
        .collect();
    answer(&json!({
        "tokens": {
            "total": counts.total, "active": counts.active, "cooling": counts.cooling + counts.exhausted,
            "expired": counts.expired, "disabled": counts.disabled, "chat_quota": 0, "image_quota": 0,
            "total_calls": counts.total_calls,
        },
        "request_stats": {
            "hourly": hourly.series.iter().map(point).collect::<Vec<_>>(),
            "daily": daily.series.iter().map(point).collect::<Vec<_>>(),
            "models": models,
            "summary": {"total": total, "success": success, "failed": daily.total.failed, "success_rate": rate},
        },
    }))
}

/// Every other path.
pub async fn unknown(_: Guarded) -> Answer {
    Err(no_such_route())
}

/// There is no such route.
pub fn no_such_route() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "No such admin route.")
}
