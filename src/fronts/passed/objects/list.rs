//! Lists of what a client key made: the upstream's would show what everybody made with that team, and of no other team.

use std::cmp::Reverse;
use std::sync::Arc;

use futures::StreamExt;
use http::Method;
use poem::{Request, Response};
use serde_json::{Map, Value, json};

use super::super::{json_response, must_be_open};
use super::translated::{Remembered, as_openai};
use super::{Family, as_a_file, kept};
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::direct::Direct;
use crate::engine::error::GatewayError;
use crate::fronts::members::clip;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Objects of a page, unless asked otherwise, and at most.
const PAGE: usize = 20;
const MOST: usize = 100;
/// The most that an SDK asks for; it gets [`MOST`] and turns the page.
const ASKED_AT_MOST: usize = 10_000;
/// Objects looked up at a time.
const AT_A_TIME: usize = 8;

struct Wanted {
    limit: usize,
    is_ascending: bool,
    after: Option<String>,
}

impl Wanted {
    fn of(query: &str) -> Result<Wanted, GatewayError> {
        let mut wanted = Wanted {
            limit: PAGE,
            is_ascending: false,
            after: None,
        };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=ASKED_AT_MOST).contains(limit));
                    wanted.limit = limit.ok_or_else(|| {
                        GatewayError::field(
                            "limit",
                            format!("`limit` must be 1 to {ASKED_AT_MOST}; it is {}.", clip(value)),
                        )
                    })?;
                }
                "order" => {
                    wanted.is_ascending = match value {
                        "asc" => true,
                        "desc" | "" => false,
                        other => {
                            return Err(GatewayError::field(
                                "order",
                                format!("`order` must be asc or desc; it is {}.", clip(other)),
                            ));
                        }
                    }
                }
                "after" | "pagination_token" if !value.is_empty() => wanted.after = Some(crate::http::decode(value)),
                _ => {}
            }
        }
        wanted.limit = wanted.limit.min(MOST);
        Ok(wanted)
    }
}

/// Answers `GET` of a family's root.
pub(super) async fn list(
    app: &Arc<App>,
    request: &Request,
    arrival: &Arrival,
    family: &'static Family,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, family.root, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    must_be_open(&app.config(), family.root).inspect_err(refused)?;
    let wanted = Wanted::of(request.uri().query().unwrap_or_default()).inspect_err(refused)?;
    let ask = family.ask(family.root, Method::GET, family.path().to_owned(), arrival, &caller);
    let owner = caller.owner();
    let body = app
        .engine
        .answer_here(ask, page(app, family, &owner, &wanted, arrival))
        .await?;
    Ok(json_response(body.to_string(), arrival))
}

async fn page(
    app: &Arc<App>,
    family: &'static Family,
    owner: &str,
    wanted: &Wanted,
    arrival: &Arrival,
) -> Result<Value, GatewayError> {
    let all = app
        .bindings
        .list(family.kind)
        .await
        .map_err(|error| GatewayError::internal(error.to_string()))?;
    let mut own: Vec<(u64, String, Binding)> = all
        .into_iter()
        .filter(|(_, binding)| binding.owner == owner && binding.expires_ms > arrival.time_ms)
        .map(|(id, binding)| (made_at(family, &binding), id, binding))
        .collect();
    match wanted.is_ascending {
        true => own.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1))),
        false => own.sort_by(|a, b| (Reverse(a.0), &a.1).cmp(&(Reverse(b.0), &b.1))),
    }
    let start = match &wanted.after {
        None => 0,
        Some(after) => own
            .iter()
            .position(|(_, id, _)| id == after)
            .map(|at| at + 1)
            .ok_or_else(|| family.not_found(after))?,
    };
    let rest = own.len().saturating_sub(start);
    let page: Vec<(u64, String, Binding)> = own.into_iter().skip(start).take(wanted.limit).collect();
    let has_more = rest > page.len();
    let (first, last) = (
        page.first().map(|(_, id, _)| id.clone()),
        page.last().map(|(_, id, _)| id.clone()),
    );
    let (rows, data): (Vec<Value>, Vec<Value>) = futures::stream::iter(page)
        .map(|(_, id, binding)| row(app, family, id, binding, arrival))
        .buffered(AT_A_TIME)
        .filter_map(std::future::ready)
        .unzip()
        .await;
    let mut body = Map::new();
    body.insert("object".to_owned(), "list".into());
    body.insert(family.rows.to_owned(), rows.into());
    if family.rows != "data" {
        // SDKs of OpenAI look for rows there.
        body.insert("data".to_owned(), data.into());
    }
    body.insert("has_more".to_owned(), has_more.into());
    body.insert("first_id".to_owned(), json!(first));
    body.insert("last_id".to_owned(), json!(last));
    body.insert("pagination_token".to_owned(), json!(last.filter(|_| has_more)));
    Ok(Value::Object(body))
}

/// When it was made, milliseconds, as far as is known.
fn made_at(family: &Family, binding: &Binding) -> u64 {
    let said = kept(binding).and_then(|shown| shown["created_at"].as_u64());
    said.map_or_else(|| binding.expires_ms.saturating_sub(family.life_ms), |secs| secs * 1000)
}

/// How one is shown: to the upstream's clients, and to OpenAI's.
async fn row(
    app: &Arc<App>,
    family: &'static Family,
    id: String,
    binding: Binding,
    arrival: &Arrival,
) -> Option<(Value, Value)> {
    let asked = Remembered::of(&binding);
    let row = shown(app, family, id.clone(), binding, arrival).await?;
    Some(match family.kind {
        ObjectKind::File => (as_a_file(row), Value::Null),
        ObjectKind::Batch => {
            let batch = as_openai(&id, &row, asked.as_ref(), arrival.time_ms);
            (row, batch)
        }
        _ => (row.clone(), row),
    })
}

/// One of them: as the upstream showed it when it was made, unless it changes by itself.
async fn shown(
    app: &Arc<App>,
    family: &'static Family,
    id: String,
    binding: Binding,
    arrival: &Arrival,
) -> Option<Value> {
    if !family.is_changing
        && let Some(shown) = kept(&binding)
    {
        return Some(shown);
    }
    let path = format!("{}/{id}", family.path());
    let fetched = app.engine.direct(binding.token, &Direct::get(&path), arrival.id).await;
    match fetched {
        Ok(fetched) => serde_json::from_slice(&fetched.body).ok(),
        Err(error) => {
            tracing::debug!(%id, %error, "an object is left out of a list: it could not be looked up");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_what_makes_no_sense_is_refused() {
        let wanted = Wanted::of("limit=5&order=asc&after=file_1&purpose=x").unwrap();
        assert_eq!(
            (wanted.limit, wanted.is_ascending, wanted.after.as_deref()),
            (5, true, Some("file_1"))
        );
        assert_eq!(Wanted::of("limit=10000").unwrap().limit, MOST);
        assert_eq!(Wanted::of("").unwrap().limit, PAGE);
        for wrong in ["limit=0", "limit=-1", "limit=x", "limit=10001", "order=up"] {
            assert_eq!(Wanted::of(wrong).err().unwrap().http_status(), 400, "{wrong}");
        }
    }
}
