//! What an order to start a job says: checked, and made its items.

use std::collections::HashSet;

use grok2api_actors::jobs::NewItem;
use grok2api_actors::jobs::source::Payload;
use grok2api_schemas::admin::jobs::{JobStartAsk, RotateAsk};
use grok2api_schemas::config::RegisterConfig;
use grok2api_schemas::ids::{JobId, TokenId};
use grok2api_schemas::job::{JobSpec, MOST_ITEMS, RotateSpec, TokenAction};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::NamedKey;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::import::formats::credentials;

/// Longest title and name, characters.
pub(super) const LONGEST_TITLE: usize = 100;
/// How long old secrets go on at most, hours (`xai-api.md` §15).
const LONGEST_OVERLAP_HOURS: u32 = 7 * 24;
/// What names of new keys are made from.
const KEY_NAME: &str = "grok2api-{n}";

pub(super) fn listed(
    text: &str,
    pool: Option<grok2api_schemas::token::PoolName>,
) -> Result<Vec<NewItem>, GatewayError> {
    let found = credentials(text, pool);
    if found.is_empty() || found.len() > MOST_ITEMS as usize {
        return Err(GatewayError::field(
            "list.lines",
            format!(
                "`list.lines` must hold 1 to {MOST_ITEMS} credentials, and holds {}. POST /api/v1/admin/tokens/import takes any number.",
                found.len()
            ),
        ));
    }
    let item = |(line, found)| match found {
        Ok(token) => NewItem::Here {
            line,
            payload: payload(token),
        },
        Err(reason) => NewItem::Invalid { line, reason },
    };
    Ok(found.into_iter().map(item).collect())
}

fn payload(token: grok2api_schemas::admin::tokens::NewToken) -> Payload {
    let mut payload = Payload::of(token.secret);
    payload.pool = Some(token.pool);
    payload.label = token.label;
    payload.note = token.note;
    payload.tags = token.tags;
    payload.proxy = token.proxy;
    payload.switch = token.switch;
    payload
}

/// Tokens of the pool, each once.
pub(super) fn in_pool(
    ids: &[TokenId],
    masked: impl Fn(TokenId) -> Option<String>,
) -> Result<Vec<NewItem>, GatewayError> {
    let mut seen = HashSet::with_capacity(ids.len());
    let ids: Vec<TokenId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
    if ids.is_empty() || ids.len() > MOST_ITEMS as usize {
        return Err(GatewayError::field(
            "batch.ids",
            format!(
                "`batch.ids` must name 1 to {MOST_ITEMS} tokens, and names {}.",
                ids.len()
            ),
        ));
    }
    let item = |token| {
        let masked = masked(token).ok_or_else(|| {
            GatewayError::new(ErrorKind::NotFound, format!("No such token: {token}."))
                .with_code("token_not_found")
                .with_param("batch.ids")
        })?;
        Ok(NewItem::InPool { token, masked })
    };
    ids.into_iter().map(item).collect()
}

pub(super) fn to_obtain(keys: Vec<NamedKey>) -> Vec<NewItem> {
    keys.into_iter()
        .map(|(foreign, name)| NewItem::ToObtain { name, foreign })
        .collect()
}

pub(super) fn counted(said: Option<u32>, defaults: &RegisterConfig, at: &str) -> Result<u32, GatewayError> {
    let count = said.unwrap_or(defaults.default_count);
    match (1..=MOST_ITEMS).contains(&count) {
        true => Ok(count),
        false => Err(GatewayError::field(at, format!("`{at}` must be 1 to {MOST_ITEMS}."))),
    }
}

/// The name of the n-th key: no other key of any job has it, so that it can be found by it.
pub(super) fn key_name(pattern: Option<&str>, n: u32, id: JobId) -> Result<String, GatewayError> {
    let pattern = pattern
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .unwrap_or(KEY_NAME);
    if pattern.chars().count() > LONGEST_TITLE || pattern.chars().any(char::is_control) {
        return Err(too_long("mint.name"));
    }
    let numbered = match pattern.contains("{n}") {
        true => pattern.replace("{n}", &n.to_string()),
        false => format!("{pattern}-{n}"),
    };
    let [.., a, b, c, d] = *id.as_bytes();
    Ok(format!("{numbered}-{a:02x}{b:02x}{c:02x}{d:02x}"))
}

pub(super) fn rotate_spec(rotate: &RotateAsk) -> Result<RotateSpec, GatewayError> {
    check_date(rotate.expire_time.as_deref(), "rotate.expire_time")?;
    let hours = rotate.overlap_hours.unwrap_or(24);
    if hours > LONGEST_OVERLAP_HOURS {
        return Err(GatewayError::field(
            "rotate.overlap_hours",
            format!("`rotate.overlap_hours` must be 0 to {LONGEST_OVERLAP_HOURS}."),
        ));
    }
    Ok(RotateSpec {
        overlap_ms: u64::from(hours) * 3_600_000,
        expire_time: rotate.expire_time.clone(),
    })
}

pub(super) fn check_date(said: Option<&str>, at: &str) -> Result<(), GatewayError> {
    match said {
        Some(text) if OffsetDateTime::parse(text, &Rfc3339).is_err() => Err(GatewayError::field(
            at,
            format!("`{at}` must be a date such as 2027-01-01T00:00:00Z."),
        )),
        _ => Ok(()),
    }
}

pub(super) fn which(ask: &JobStartAsk) -> &'static str {
    match (&ask.mint, &ask.rotate) {
        (Some(_), _) => "mint",
        (_, Some(_)) => "rotate",
        _ => "revoke",
    }
}

pub(super) fn not_set(at: &str, words: &str) -> GatewayError {
    GatewayError::field(at, format!("{words}.")).with_code("not_configured")
}

pub(super) fn management_says(at: &str, words: &str) -> GatewayError {
    GatewayError::field(at, format!("The Management API: {words}.")).with_code("management_api")
}

pub(super) fn too_long(param: &str) -> GatewayError {
    GatewayError::field(
        param,
        format!("`{param}` must have at most {LONGEST_TITLE} printable characters."),
    )
}

pub(super) fn title_of(spec: &JobSpec, total: u32) -> String {
    match spec {
        JobSpec::List => format!("{total} from a list"),
        JobSpec::Mint(_) => format!("{total} new keys"),
        JobSpec::Rotate(_) => format!("new secrets for {total} keys"),
        JobSpec::Revoke => format!("{total} keys revoked"),
        JobSpec::Provision => format!("{total} from the provisioner"),
        JobSpec::Batch(action) => match action {
            TokenAction::Refresh => format!("{total} tokens asked about"),
            TokenAction::ClearCooling => format!("rests of {total} tokens ended"),
            TokenAction::Enable => format!("{total} tokens switched on"),
            TokenAction::Disable => format!("{total} tokens switched off"),
            TokenAction::Delete => format!("{total} tokens deleted"),
        },
    }
}
