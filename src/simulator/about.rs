//! The endpoints that answer at once: models, the key and its owner, the tokenizer.

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::SimBody;
use super::caller::Caller;
use super::chat::read;
use super::errors::{Mention, json_body, respond};
use super::route::Route;
use super::routes::unreadable;
use super::tokens;
use super::world::World;

/// Models, the key, its owner.
pub fn about(world: &World, caller: &Caller, route: &Route) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    let team = &key.team;
    // A key is told about itself even when it may do nothing else.
    match route {
        Route::ApiKey => {
            return json_body(
                StatusCode::OK,
                &json!({
                    "redacted_api_key": key.shown(),
                    "user_id": team.user_id,
                    "name": key.name,
                    "create_time": "2026-01-05T09:30:00.000000Z",
                    "modify_time": "2026-01-05T09:30:00.000000Z",
                    "modified_by": team.user_id,
                    "team_id": team.id,
                    "acls": key.acls,
                    "api_key_id": key.id,
                    "team_blocked": team.blocked.load(Ordering::Relaxed),
                    "api_key_blocked": key.blocked.load(Ordering::Relaxed),
                    "api_key_disabled": key.disabled.load(Ordering::Relaxed),
                }),
            );
        }
        Route::Me => {
            return json_body(
                StatusCode::OK,
                &json!({
                    "user_id": team.user_id,
                    "team_id": team.id,
                    "zdr_status": if team.zdr.load(Ordering::Relaxed) { "zdr" } else { "no_zdr" },
                    "team_blocked": team.blocked.load(Ordering::Relaxed),
                    "api_key": {
                        "redacted_api_key": key.shown(),
                        "api_key_id": key.id,
                        "blocked": key.blocked.load(Ordering::Relaxed),
                        "disabled": key.disabled.load(Ordering::Relaxed),
                    },
                }),
            );
        }
        _ => {}
    }
    if let Some(refusal) = caller.barred("models", None) {
        return *refusal;
    }
    let usable = |id: &str| team.may_use(id) && key.allows("model", id);
    let missing = |name: &str| {
        respond(
            "model-missing-404",
            &Mention {
                model: name,
                ..caller.mention()
            },
        )
    };
    match route {
        Route::Models => {
            let data: Vec<Value> = world
                .models
                .iter()
                .filter(|model| usable(&model.id))
                .map(|model| model.listed())
                .collect();
            json_body(StatusCode::OK, &json!({"data": data, "object": "list"}))
        }
        Route::LanguageModels => {
            let models: Vec<Value> = world
                .models
                .iter()
                .filter(|model| !model.media && !model.embedding && usable(&model.id))
                .map(|model| model.described())
                .collect();
            json_body(StatusCode::OK, &json!({"models": models}))
        }
        Route::MediaModels(kind) => {
            let models: Vec<Value> = world
                .models
                .iter()
                .filter(|model| model.media && model.id.contains(kind) && usable(&model.id))
                .map(|model| model.described())
                .collect();
            json_body(StatusCode::OK, &json!({"models": models}))
        }
        Route::Model(name) => match world.models.find(name).filter(|model| usable(&model.id)) {
            Some(model) => json_body(StatusCode::OK, &model.listed()),
            None => missing(name),
        },
        Route::LanguageModel(name) => {
            match world
                .models
                .find(name)
                .filter(|model| !model.media && !model.embedding && usable(&model.id))
            {
                Some(model) => json_body(StatusCode::OK, &model.described()),
                None => missing(name),
            }
        }
        _ => {
            let models: Vec<Value> = world
                .models
                .iter()
                .filter(|model| model.embedding && usable(&model.id))
                .map(|model| model.described())
                .collect();
            json_body(StatusCode::OK, &json!({"models": models}))
        }
    }
}

#[derive(Deserialize)]
struct TokenizeRequest {
    text: String,
    model: Option<String>,
}

pub fn tokenize(world: &World, caller: &Caller, body: &[u8]) -> Response<SimBody> {
    let request: TokenizeRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return unreadable(&error, "deser-resp-422"),
    };
    let name = request.model.as_deref().unwrap_or("latest");
    let Some(model) = world.models.find(name) else {
        return respond(
            "model-missing-404",
            &Mention {
                model: name,
                ..caller.mention()
            },
        );
    };
    if let Err(refusal) = caller.require() {
        return *refusal;
    }
    if let Some(refusal) = caller.barred("tokenize", Some(&model.id)) {
        return *refusal;
    }
    let ids: Vec<Value> = tokens::pieces(&request.text)
        .map(|piece| {
            let hash = blake3::hash(piece.as_bytes());
            let [a, b, ..] = *hash.as_bytes();
            json!({
                "token_id": u32::from(a) << 8 | u32::from(b),
                "string_token": piece,
                "token_bytes": piece.as_bytes(),
            })
        })
        .collect();
    json_body(StatusCode::OK, &json!({"token_ids": ids}))
}
