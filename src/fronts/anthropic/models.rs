//! The list of models in Anthropic's shape, for those who ask with its headers.

use http::{HeaderMap, StatusCode, header};
use poem::Response;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{error_response, sign};
use crate::app::App;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::openai::models::offered;
use crate::http::arrival::Arrival;

/// Models a page holds unless asked otherwise, and at most.
const PAGE: usize = 20;
const MOST: usize = 1_000;

/// Whether a request comes from a client of this dialect.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// A page of the list: `limit`, `after_id`, `before_id`.
pub fn list(app: &App, caller: &Caller, query: Option<&str>, arrival: &Arrival) -> Response {
    match page(app, caller, query) {
        Ok(body) => answer(&body, arrival),
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

fn page(app: &App, caller: &Caller, query: Option<&str>) -> Result<Value, GatewayError> {
    let names = offered(app, caller);
    let (mut limit, mut after, mut before) = (PAGE, None, None);
    for (name, value) in url_pairs(query.unwrap_or_default()) {
        match name.as_str() {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MOST).contains(limit))
                    .ok_or_else(|| GatewayError::field("limit", format!("limit: must be from 1 to {MOST}")))?;
            }
            "after_id" => after = Some(value),
            "before_id" => before = Some(value),
            _ => {}
        }
    }
    let place = |id: &String| names.iter().position(|name| name == id);
    let (start, end) = match (&after, &before) {
        (Some(after), _) => {
            let start = place(after).map_or(names.len(), |at| at + 1);
            (start, (start + limit).min(names.len()))
        }
        (None, Some(before)) => {
            let end = place(before).unwrap_or(0);
            (end.saturating_sub(limit), end)
        }
        (None, None) => (0, limit.min(names.len())),
    };
    let shown = names.get(start..end).unwrap_or_default();
    let has_more = if before.is_some() && after.is_none() {
        start > 0
    } else {
        end < names.len()
    };
    let data: Vec<Value> = shown.iter().map(|name| view(app, name)).collect();
    Ok(json!({
        "data": data,
        "has_more": has_more,
        "first_id": shown.first(),
        "last_id": shown.last(),
    }))
}

/// One model.
pub fn one(app: &App, caller: &Caller, id: &str, arrival: &Arrival) -> Response {
    if offered(app, caller).iter().any(|name| name == id) {
        return answer(&view(app, id), arrival);
    }
    let error = GatewayError::new(ErrorKind::UnknownModel, format!("model: {id}")).with_param("model");
    error_response(&error, &arrival.id.to_string())
}

fn view(app: &App, name: &str) -> Value {
    let catalogue = app.catalogue.load();
    let entry = catalogue.resolve(name).entry;
    let created = i64::try_from(app.started_secs)
        .ok()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
        .and_then(|at| at.format(&Rfc3339).ok());
    json!({
        "type": "model",
        "id": name,
        "display_name": entry.map(|entry| entry.display_name.as_str()).filter(|text| !text.is_empty()).unwrap_or(name),
        "created_at": created,
    })
}

fn answer(body: &Value, arrival: &Arrival) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string());
    arrival.sign(&mut response);
    sign(&mut response, &arrival.id.to_string());
    response
}

/// The pairs of a query.
fn url_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (crate::http::decode(name), crate::http::decode(&value.replace('+', " ")))
        })
        .collect()
}
