//! Responses that are kept: read, listed by their input, deleted, continued, by their team alone.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::body::SimBody;
use super::super::caller::Caller;
use super::super::errors::{Mention, json_body, respond};
use super::super::turn::Turn;
use super::super::world::World;
use super::render::{Frame, Made};

/// Responses kept; over this the memory starts anew.
const MOST_KEPT: usize = 20_000;
/// Items of a page unless asked otherwise, and at most.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 100;

/// One of them.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    team: String,
    response: Value,
    /// What it was asked, with ids.
    input: Vec<Value>,
    /// Everything said so far, what it answered included.
    conversation: Vec<Value>,
}

/// Keeps a response.
pub fn keep(world: &World, turn: &Turn, frame: &Frame<'_>, input: &[Value], mut said: Vec<Value>, made: &Made) {
    if world.responses.len() >= MOST_KEPT {
        world.responses.clear();
    }
    said.extend(made.items.iter().cloned());
    let input = input
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let mut item = item.clone();
            if item["id"].is_null() {
                item["id"] = json!(format!("msg_{}_in_{index}", frame.id));
            }
            item
        })
        .collect();
    world.responses.insert(
        frame.id.clone(),
        StoredResponse {
            team: turn.admitted.team.id.clone(),
            response: frame.response("completed", made, Some(turn)),
            input,
            conversation: said,
        },
    );
}

/// What was said up to a response of the caller's team.
pub fn find(world: &World, caller: &Caller, id: &str) -> Option<Vec<Value>> {
    let team = &caller.key.as_ref()?.team.id;
    let kept = world.responses.get(id).filter(|kept| kept.team == *team)?;
    Some(kept.conversation.clone())
}

/// The response of the caller's team, or the refusal.
fn of_team(world: &World, caller: &Caller, id: &str) -> Result<StoredResponse, Box<Response<SimBody>>> {
    let key = caller.require()?;
    if let Some(refusal) = caller.barred("chat", None) {
        return Err(refusal);
    }
    world
        .responses
        .get(id)
        .filter(|kept| kept.team == key.team.id)
        .map(|kept| kept.clone())
        .ok_or_else(|| {
            Box::new(respond(
                "response-missing",
                &Mention {
                    detail: id,
                    ..caller.mention()
                },
            ))
        })
}

/// `GET /v1/responses/{id}`.
pub fn get(world: &World, caller: &Caller, id: &str) -> Response<SimBody> {
    match of_team(world, caller, id) {
        Ok(kept) => json_body(StatusCode::OK, &kept.response),
        Err(refusal) => *refusal,
    }
}

/// `DELETE /v1/responses/{id}`; the second time there is nothing.
pub fn delete(world: &World, caller: &Caller, id: &str) -> Response<SimBody> {
    if let Err(refusal) = of_team(world, caller, id) {
        return *refusal;
    }
    world.responses.remove(id);
    json_body(
        StatusCode::OK,
        &json!({"id": id, "object": "response", "deleted": true}),
    )
}

/// `GET /v1/responses/{id}/input_items`.
pub fn input_items(world: &World, caller: &Caller, id: &str, query: &str) -> Response<SimBody> {
    let kept = match of_team(world, caller, id) {
        Ok(kept) => kept,
        Err(refusal) => return *refusal,
    };
    let asked = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let invalid = |detail: &str| {
        respond(
            "arg-invalid",
            &Mention {
                detail,
                ..caller.mention()
            },
        )
    };
    let limit = match asked("limit").map(str::parse) {
        None => PAGE,
        Some(Ok(limit)) if (1..=LARGEST_PAGE).contains(&limit) => limit,
        Some(_) => return invalid("limit must be between 1 and 100."),
    };
    let mut items = kept.input;
    if asked("order") == Some("desc") {
        items.reverse();
    }
    if let Some(after) = asked("after") {
        match items.iter().position(|item| item["id"] == after) {
            Some(at) => drop(items.drain(..=at)),
            None => return invalid("after names no item."),
        }
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    json_body(
        StatusCode::OK,
        &json!({
            "object": "list",
            "first_id": items.first().map(|item| &item["id"]),
            "last_id": items.last().map(|item| &item["id"]),
            "has_more": has_more,
            "data": items,
        }),
    )
}
