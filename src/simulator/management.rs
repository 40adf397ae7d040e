//! The Management API (`/auth/…`): keys of a team that are made, listed, given new secrets, deleted. What it did is told at
//! `GET /__sim/management`, for a judge; `POST` there makes it lose answers of calls that it carries out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::body::SimBody;
use super::caller::Caller;
use super::errors::json_body;
use super::misbehave::Seen;
use super::routes::{Answer, Cut, misbehaved_head};
use super::scenario::{KeyOptions, secret_from};
use super::world::World;

/// The management key where a scenario names none.
pub const DEFAULT_KEY: &str = "xai-management-simulator";

/// Looks at a new key before it is known everywhere.
const LOOKS: u64 = 1;

/// A key that was made here.
#[derive(Clone, Debug)]
struct Made {
    team: String,
    name: String,
    secret: String,
    acls: Vec<String>,
    ceilings: Value,
    looks: u64,
    deleted: bool,
}

/// What the Management API knows.
#[derive(Debug, Default)]
pub struct Management {
    keys: Mutex<BTreeMap<String, Made>>,
    made: AtomicU64,
    rotated: AtomicU64,
    deleted: AtomicU64,
    lose: AtomicU64,
}

impl Management {
    /// What was done so far, and every key with its name.
    pub fn report(&self) -> Value {
        let keys = self.keys.lock();
        let rows: Vec<Value> = keys
            .iter()
            .map(|(id, key)| {
                json!({"id": id, "name": key.name, "team": key.team, "secret": key.secret, "deleted": key.deleted, "acls": key.acls, "ceilings": key.ceilings})
            })
            .collect();
        json!({
            "made": self.made.load(Ordering::Relaxed), "rotated": self.rotated.load(Ordering::Relaxed),
            "deleted": self.deleted.load(Ordering::Relaxed), "keys": rows,
        })
    }

    /// The answers of so many calls that make a key are lost.
    pub fn lose_answers(&self, body: &[u8]) -> Result<Value, String> {
        let sent: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let lose = sent["lose_answers"].as_u64().ok_or("lose_answers must be a number")?;
        self.lose.store(lose, Ordering::Relaxed);
        Ok(json!({"lose_answers": lose}))
    }

    fn loses(&self) -> bool {
        self.lose
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response<SimBody> {
    json_body(status, &json!({"code": code, "message": message, "details": []}))
}

/// Answers a call.
pub async fn handle(world: &Arc<World>, caller: &Caller, parts: &Parts, body: Bytes) -> Answer {
    let path = parts.uri.path();
    let seen = Seen {
        key: &caller.secret,
        path,
        ..Seen::default()
    };
    let effects = world.script.pick(&seen, &world.clock).unwrap_or_default();
    if let Some(response) = misbehaved_head(world, &effects, &caller.mention()).await? {
        return Ok(response);
    }
    if caller.secret != world.scenario.management_key {
        return Ok(refused(StatusCode::UNAUTHORIZED, 16, "Invalid management key."));
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let segments: Vec<&str> = path.trim_start_matches("/auth/").split('/').collect();
    let management = &world.management;
    let missing = || refused(StatusCode::NOT_FOUND, 5, "Not found.");
    Ok(match (&parts.method, segments.as_slice()) {
        (&Method::GET, ["management-keys", "validation"]) => {
            let team = world.teams.iter().map(|team| team.id.clone()).min().unwrap_or_default();
            json_body(
                StatusCode::OK,
                &json!({"apiKeyId": "mk1", "teamId": team, "scope": "SCOPE_TEAM", "scopeId": team, "ownerUserId": "u", "acls": []}),
            )
        }
        (&Method::POST, ["teams", team, "api-keys"]) => {
            let id = format!("k{}", management.made.fetch_add(1, Ordering::Relaxed) + 1);
            let secret = secret_from(&format!("minted {team} {id}"));
            let made = Made {
                team: (*team).to_owned(),
                name: body["name"].as_str().unwrap_or_default().to_owned(),
                acls: body["acls"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|acl| acl.as_str().map(str::to_owned))
                    .collect(),
                ceilings: json!({"qps": body["qps"], "qpm": body["qpm"], "tpm": body["tpm"], "expireTime": body["expireTime"]}),
                secret,
                looks: 0,
                deleted: false,
            };
            if let Err(error) = add(world, &made) {
                return Ok(refused(StatusCode::BAD_REQUEST, 3, &error));
            }
            let answer = told(&id, &made);
            management.keys.lock().insert(id, made);
            if management.loses() {
                return Err(Cut);
            }
            json_body(StatusCode::OK, &answer)
        }
        (&Method::GET, ["teams", team, "api-keys"]) => {
            let keys = management.keys.lock();
            let rows: Vec<Value> = keys
                .iter()
                .filter(|(_, key)| key.team == *team && !key.deleted)
                .map(|(id, key)| json!({"apiKeyId": id, "name": key.name, "teamId": key.team, "acls": key.acls, "disabled": false}))
                .collect();
            // Two pages, so that whoever reads one only is found out.
            let at = parts.uri.query().unwrap_or_default().contains("paginationToken=more");
            let half = rows.len() / 2;
            let (page, token) = if at {
                (&rows[half..], "")
            } else {
                (&rows[..half], "more")
            };
            json_body(StatusCode::OK, &json!({"apiKeys": page, "paginationToken": token}))
        }
        (&Method::GET, ["api-keys", id, "propagation"]) => match management.keys.lock().get_mut(*id) {
            Some(key) if !key.deleted => {
                key.looks += 1;
                json_body(
                    StatusCode::OK,
                    &json!({"icPropagation": {"us-east-1.api.x.ai": true, "us-west-1.api.x.ai": key.looks > LOOKS}}),
                )
            }
            _ => missing(),
        },
        (&Method::POST, ["api-keys", id, "rotate"]) => {
            let nth = management.rotated.fetch_add(1, Ordering::Relaxed);
            let mut keys = management.keys.lock();
            let Some(key) = keys.get_mut(*id).filter(|key| !key.deleted) else {
                return Ok(missing());
            };
            // An old secret that is to end in the past ends at once.
            let ends = body["oldSecretExpireTime"].as_str().is_some_and(|until| until < "2001");
            if let Some(old) = world.keys.get(&key.secret).filter(|_| ends) {
                old.expired.store(true, Ordering::Relaxed);
            }
            key.secret = secret_from(&format!("rotated {id} {nth}"));
            if let Err(error) = add(world, key) {
                return Ok(refused(StatusCode::BAD_REQUEST, 3, &error));
            }
            json_body(StatusCode::OK, &told(id, key))
        }
        (&Method::DELETE, ["api-keys", id]) => match management.keys.lock().get_mut(*id).filter(|key| !key.deleted) {
            Some(key) => {
                management.deleted.fetch_add(1, Ordering::Relaxed);
                key.deleted = true;
                if let Some(known) = world.keys.get(&key.secret) {
                    known.disabled.store(true, Ordering::Relaxed);
                }
                json_body(StatusCode::OK, &json!({}))
            }
            None => missing(),
        },
        // Limits of teams are told in the configuration of tests.
        _ => missing(),
    })
}

fn add(world: &World, made: &Made) -> Result<(), String> {
    world
        .add_key(KeyOptions {
            secret: made.secret.clone(),
            team: made.team.clone(),
            name: made.name.clone(),
            acls: made.acls.clone(),
            ..KeyOptions::default()
        })
        .map_err(|error| error.0)
}

fn told(id: &str, made: &Made) -> Value {
    json!({
        "apiKey": made.secret, "apiKeyId": id, "name": made.name, "teamId": made.team, "aclStrings": made.acls,
        "redactedApiKey": "xai-...", "disabled": false,
    })
}
