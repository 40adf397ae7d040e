//! The older project's way to change credentials: the whole list at once. Rows with an id change that credential, rows
//! with a full secret add one, and what is missing is deleted only when that is asked for.

use std::collections::{BTreeMap, HashMap, HashSet};

use grok2api_schemas::admin::tokens::{EnrolResult, NewToken, TokenPatch, TokenView};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{PoolName, TokenState, TokenSwitch};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::audit::Actor;
use super::import::unknown_pool;
use super::normalise;
use super::tokens::{TokenOps, check_patch, checked, no_such_token, not_a_secret};
use crate::engine::error::{ErrorKind, GatewayError};

/// A row of the older list. Fields that are not named here (quota, counts…) are shown, never taken.
#[derive(Debug, Default, Deserialize)]
struct Row {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    proxy: Option<String>,
}

/// What became of a whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceReport {
    /// New credentials.
    pub added: u64,
    /// Rows whose credential changed.
    pub changed: u64,
    /// Credentials that were missing and deleted.
    pub deleted: u64,
    /// Rows that the pool refused.
    pub invalid: Vec<RefusedRow>,
}

/// A row that is not a credential of its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// The masked form.
    pub token: String,
    /// Why.
    pub reason: String,
}

/// What a list asks for; nothing is done yet.
struct Plan {
    add: Vec<NewToken>,
    change: HashMap<TokenId, TokenPatch>,
    delete: Vec<TokenId>,
}

/// Reads a whole list, and does what it asks for if all of it makes sense.
///
/// # Errors
/// `InvalidBody`, `InvalidField` that names the row, `NotFound` for an unknown id: nothing was done. Later: what the
/// pool answers.
pub async fn replace(
    ops: &TokenOps,
    actor: &Actor,
    body: &[u8],
    delete_missing: bool,
) -> Result<ReplaceReport, GatewayError> {
    let known: HashMap<TokenId, TokenView> = ops.all().await?.into_iter().map(|token| (token.id, token)).collect();
    let plan = plan(ops, &known, body, delete_missing)?;
    let mut report = ReplaceReport::default();
    if !plan.add.is_empty() {
        for outcome in ops.enrol(actor, plan.add).await? {
            match outcome.result {
                EnrolResult::Added => report.added += 1,
                EnrolResult::Existing => {}
                EnrolResult::Invalid(reason) => report.invalid.push(RefusedRow {
                    token: outcome.masked,
                    reason,
                }),
            }
        }
    }
    if !plan.change.is_empty() {
        report.changed = plan.change.len() as u64;
        let ids: Vec<TokenId> = plan.change.keys().copied().collect();
        ops.pool().patch(plan.change.into_iter().collect()).await?;
        actor.did("tokens.patch", &ids, "whole list");
    }
    report.deleted = ops.delete(actor, plan.delete).await? as u64;
    Ok(report)
}

fn plan(
    ops: &TokenOps,
    known: &HashMap<TokenId, TokenView>,
    body: &[u8],
    delete_missing: bool,
) -> Result<Plan, GatewayError> {
    let pools: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).map_err(|_| {
        GatewayError::new(
            ErrorKind::InvalidBody,
            "The body must be a JSON object of pool names and lists of tokens.",
        )
    })?;
    let mut plan = Plan {
        add: Vec::new(),
        change: HashMap::new(),
        delete: Vec::new(),
    };
    let mut named: HashSet<TokenId> = HashSet::new();
    for (name, rows) in &pools {
        if name == "replace" {
            continue;
        }
        let pool = PoolName::parse(name).ok_or_else(|| GatewayError::field(name.clone(), unknown_pool(name)))?;
        let rows: Vec<&RawValue> = serde_json::from_str(rows.get())
            .map_err(|_| GatewayError::field(name.clone(), format!("`{name}` must be a list of tokens.")))?;
        for (at, raw) in rows.into_iter().enumerate() {
            let at = format!("{name}.{at}");
            let row = read_row(raw, &at)?;
            match existing(ops, &row, &at)? {
                Some(id) => {
                    let token = known.get(&id).ok_or_else(no_such_token)?;
                    named.insert(id);
                    let patch = difference(token, pool, row, &at)?;
                    if !patch.is_empty() {
                        plan.change.insert(id, patch);
                    }
                }
                None => plan.add.push(new_token(pool, row, &at)?),
            }
        }
    }
    if delete_missing {
        plan.delete = known.keys().filter(|id| !named.contains(id)).copied().collect();
        plan.delete.sort_unstable();
    }
    Ok(plan)
}

fn read_row(raw: &RawValue, at: &str) -> Result<Row, GatewayError> {
    let text = raw.get();
    let row = if text.starts_with('"') {
        serde_json::from_str(text).map(|token| Row {
            token: Some(token),
            ..Row::default()
        })
    } else {
        serde_json::from_str(text)
    };
    row.map_err(|_| {
        GatewayError::field(
            at,
            format!("`{at}` must be a token or an object with `id` or `token`, `status`, `note`, `label`, `tags`."),
        )
    })
}

/// The credential that a row names, if it is here already.
fn existing(ops: &TokenOps, row: &Row, at: &str) -> Result<Option<TokenId>, GatewayError> {
    if let Some(id) = &row.id {
        return ops.named(id, &format!("{at}.id")).map(Some);
    }
    let param = format!("{at}.token");
    let Some(token) = &row.token else {
        return Err(GatewayError::field(
            &param,
            format!("`{at}` has neither `id` nor `token`."),
        ));
    };
    if token.trim().parse::<TokenId>().is_ok() {
        return ops.named(token, &param).map(Some);
    }
    let secret = normalise::secret(token).map_err(|reason| not_a_secret(reason, &param))?;
    Ok(ops.pool().find(secret))
}

/// What a row changes about a credential that is here.
fn difference(token: &TokenView, pool: PoolName, row: Row, at: &str) -> Result<TokenPatch, GatewayError> {
    let is_off = token.state == TokenState::Disabled;
    let wants_off = status_of(&row, at)?;
    let patch = TokenPatch {
        label: row.label.filter(|label| *label != token.label),
        note: row.note.filter(|note| *note != token.note),
        tags: row.tags.filter(|tags| *tags != token.tags),
        switch: match wants_off {
            Some(true) if !is_off => Some(TokenSwitch::Off),
            Some(false) if is_off => Some(TokenSwitch::On),
            _ => None,
        },
        // Lists show a masked proxy: sent back, it means "as it was".
        proxy: row.proxy.filter(|proxy| Some(proxy) != token.proxy.as_ref()),
        pool: (pool != token.pool).then_some(pool),
    };
    check_patch(&patch, &format!("{at}."))?;
    Ok(patch)
}

/// Whether a row's status switches off (`true`), on (`false`), or says only what the upstream makes of it.
fn status_of(row: &Row, at: &str) -> Result<Option<bool>, GatewayError> {
    let Some(status) = &row.status else { return Ok(None) };
    match status.trim().to_ascii_lowercase().as_str() {
        "disabled" => Ok(Some(true)),
        "active" | "" => Ok(Some(false)),
        "cooling" | "invalid" | "expired" | "exhausted" => Ok(None),
        _ => Err(GatewayError::field(
            format!("{at}.status"),
            format!("`{at}.status` must be one of active, cooling, exhausted, invalid, expired, disabled."),
        )),
    }
}

fn new_token(pool: PoolName, row: Row, at: &str) -> Result<NewToken, GatewayError> {
    let off = status_of(&row, at)? == Some(true);
    checked(
        NewToken {
            secret: row.token.unwrap_or_default(),
            pool,
            label: row.label.unwrap_or_default(),
            note: row.note.unwrap_or_default(),
            tags: row.tags.unwrap_or_default(),
            proxy: row.proxy,
            switch: if off { TokenSwitch::Off } else { TokenSwitch::On },
        },
        &format!("{at}."),
    )
}
