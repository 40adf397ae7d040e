//! Upstream credentials: lists, single ones, refresh.

use std::collections::BTreeMap;

use grok2api_schemas::admin::history::TokenHistoryAsk;
use grok2api_schemas::admin::page::Cursor;
use grok2api_schemas::admin::tokens::{TokenPatch, TokenQuery, TokenSort, TokenView};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{PoolName, TokenState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body;
use super::call::{Answer, Call, Guarded, json as answer};
use super::query::{Query, wrong};
use crate::engine::error::GatewayError;
use crate::ops::normalise::{NotASecret, is_masked};
use crate::ops::tokens::{MOST_NAMED, no_such_token, not_a_secret};

/// Parameters that ask for a page instead of the older shape.
const PAGE_PARAMETERS: [&str; 9] = [
    "limit", "cursor", "pool", "state", "text", "team", "sort", "order", "status",
];

/// `GET /tokens`: without parameters pool → rows as in the older project, else a page.
pub async fn list(guarded: Guarded) -> Answer {
    let call = &guarded.call;
    if call.query.has_any(&PAGE_PARAMETERS) {
        return answer(&call.admin.tokens.list(token_query(&call.query)?).await?);
    }
    let tokens = call.admin.tokens.all().await?;
    let mut pools: BTreeMap<&str, Vec<&TokenView>> = BTreeMap::new();
    for token in &tokens {
        pools.entry(token.pool.as_str()).or_default().push(token);
    }
    answer(&pools)
}

fn token_query(query: &Query) -> Result<TokenQuery, GatewayError> {
    let state = |word: &str| match word {
        // The older project's word.
        "invalid" => Some(TokenState::Expired),
        word => TokenState::ALL.into_iter().find(|state| state.as_str() == word),
    };
    let states = "of active, cooling, exhausted, expired, disabled";
    let mut states_asked = query.words("state", states, state)?;
    states_asked.extend(query.words("status", states, state)?);
    let (sort, minus) = match query.text("sort") {
        None => (TokenSort::Created, false),
        Some(word) => {
            let (word, minus) = word.strip_prefix('-').map_or((word, false), |word| (word, true));
            let sort = match word {
                "created" => TokenSort::Created,
                "last_used" => TokenSort::LastUsed,
                "use_count" => TokenSort::UseCount,
                "fail_count" => TokenSort::FailCount,
                "label" => TokenSort::Label,
                _ => {
                    return Err(wrong(
                        "sort",
                        "one of created, last_used, use_count, fail_count, label, with `-` before it for the largest first",
                    ));
                }
            };
            (sort, minus)
        }
    };
    let descending = match query.text("order") {
        None => minus,
        Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(wrong("order", "asc or desc")),
    };
    Ok(TokenQuery {
        pools: query.words("pool", "of apiKey, ssoBasic, ssoSuper", PoolName::parse)?,
        states: states_asked,
        text: query.text("text").map(str::to_owned),
        team: query.text("team").map(str::to_owned),
        sort,
        descending,
        cursor: query.parsed::<Cursor>("cursor", "`next_cursor` of the page before")?,
        limit: query.rows()?,
    })
}

/// `GET /tokens/counts`.
pub async fn counts(guarded: Guarded) -> Answer {
    answer(&guarded.call.admin.tokens.pool().counts())
}

/// `GET /tokens/{id}`.
pub async fn get(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    answer(&guarded.call.admin.tokens.get(id)?)
}

/// `GET /tokens/{id}/quotas`.
pub async fn quotas(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    answer(&guarded.call.admin.tokens.quotas(id).await?)
}

/// `GET /tokens/{id}/history`.
pub async fn history(guarded: Guarded) -> Answer {
    let ask = TokenHistoryAsk {
        id: id_of(&guarded.call)?,
    };
    answer(&guarded.call.admin.ops.history.of(&ask).await?)
}

/// `GET /tokens/activity?ids=`.
pub async fn activity(guarded: Guarded) -> Answer {
    let ids = guarded
        .call
        .query
        .words("ids", "ids of credentials", |id| id.parse::<TokenId>().ok())?;
    answer(&guarded.call.admin.requests.activity(&ids)?)
}

/// `POST /tokens/add`: one credential.
pub async fn add(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    answer(&call.admin.tokens.add(&actor, body::json(&bytes)?).await?)
}

/// `PATCH /tokens/{id}`.
pub async fn patch(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let patch: TokenPatch = body::json(&bytes)?;
    answer(&call.admin.tokens.patch(&actor, id, patch).await?)
}

/// `DELETE /tokens/{id}`.
pub async fn delete(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    let tokens = &guarded.call.admin.tokens;
    tokens.get(id)?;
    let deleted = tokens.delete(&guarded.actor, vec![id]).await?;
    answer(&json!({"status": "success", "deleted": deleted}))
}

/// `POST /tokens/{id}/refresh`.
pub async fn refresh(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    let tokens = &guarded.call.admin.tokens;
    tokens.get(id)?;
    let outcomes = tokens.refresh(&guarded.actor, vec![id]).await?;
    let outcome = outcomes.into_iter().next().ok_or_else(no_such_token)?;
    answer(&json!({"status": "success", "result": outcome, "token": tokens.get(id)?}))
}

/// `POST /tokens/{id}/clear-cooling`.
pub async fn clear_cooling(guarded: Guarded) -> Answer {
    let id = id_of(&guarded.call)?;
    let tokens = &guarded.call.admin.tokens;
    tokens.get(id)?;
    let cleared = tokens.clear_cooling(&guarded.actor, vec![id]).await?;
    answer(&json!({"status": "success", "cleared": cleared > 0, "token": tokens.get(id)?}))
}

/// Bodies that name credentials: ids or full secrets, under the older project's names or ours.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    ids: Vec<String>,
}

impl Named {
    async fn read(call: Call) -> Result<Vec<String>, GatewayError> {
        let bytes = body::read(call.body, call.admin.limits.ordinary * 4).await?;
        let named: Named = body::json(&bytes)?;
        let mut texts: Vec<String> = Vec::new();
        for text in named
            .token
            .into_iter()
            .chain(named.tokens)
            .chain(named.id)
            .chain(named.ids)
        {
            if is_masked(&text) {
                return Err(not_a_secret(NotASecret::Masked, "tokens"));
            }
            if !text.trim().is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
            if texts.len() > MOST_NAMED {
                return Err(GatewayError::field(
                    "tokens",
                    format!("`tokens` names more than {MOST_NAMED} tokens."),
                ));
            }
        }
        if texts.is_empty() {
            return Err(GatewayError::field("tokens", "No tokens provided").with_code("missing"));
        }
        Ok(texts)
    }
}

/// `POST /tokens/refresh`: the older project's form; results stand under what was sent. A disabled credential stays so.
pub async fn refresh_many(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let texts = Named::read(call).await?;
    let mut known: Vec<(String, TokenId)> = Vec::new();
    let mut results: Map<String, Value> = Map::new();
    for text in texts {
        match admin.tokens.named(&text, "tokens") {
            Ok(id) => known.push((text, id)),
            Err(_) => {
                results.insert(text, Value::Bool(false));
            }
        }
    }
    let mut ids: Vec<TokenId> = known.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    let outcomes = admin.tokens.refresh(&actor, ids).await?;
    for (text, id) in known {
        let ok = outcomes.iter().any(|outcome| outcome.id == id && outcome.ok);
        results.insert(text, Value::Bool(ok));
    }
    answer(&json!({"status": "success", "results": results, "details": outcomes}))
}

/// `POST /tokens/clear-cooling`: many at once.
pub async fn clear_cooling_many(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let ids = named_ids(call).await?;
    let cleared = admin.tokens.clear_cooling(&actor, ids).await?;
    answer(&json!({"status": "success", "cleared": cleared}))
}

/// `POST /tokens/delete`: many at once.
pub async fn delete_many(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let admin = call.admin.clone();
    let ids = named_ids(call).await?;
    let deleted = admin.tokens.delete(&actor, ids).await?;
    answer(&json!({"status": "success", "deleted": deleted}))
}

/// The credentials that a body names; all of them must be here.
async fn named_ids(call: Call) -> Result<Vec<TokenId>, GatewayError> {
    let admin = call.admin.clone();
    let texts = Named::read(call).await?;
    let mut ids = texts
        .iter()
        .map(|text| admin.tokens.named(text, "tokens"))
        .collect::<Result<Vec<TokenId>, GatewayError>>()?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The id in the path. A secret has no place there: paths are logged.
fn id_of(call: &Call) -> Result<TokenId, GatewayError> {
    if is_masked(&call.path_id) {
        return Err(not_a_secret(NotASecret::Masked, "id"));
    }
    call.path_id.parse().map_err(|_| {
        GatewayError::field(
            "id",
            "The path must name a token's id, such as tok_0190…, never a secret.",
        )
    })
}
