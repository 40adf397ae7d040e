//! `/__sim/…`: the judge's evidence, scripted misbehaviour, and changes while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::SimBody;
use super::errors::json_body;
use super::misbehave::Rule;
use super::scenario::{KeyOptions, Limits, TeamOptions};
use super::world::World;

type Outcome = Result<Value, String>;

/// Answers a control request.
pub async fn handle(world: &Arc<World>, request: Request<Incoming>) -> Response<SimBody> {
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return json_body(StatusCode::BAD_REQUEST, &json!({"error": error.to_string()})),
    };
    let what = parts.uri.path().strip_prefix("/__sim/").unwrap_or("");
    let query = parts.uri.query().unwrap_or("");
    let outcome = match (parts.method.clone(), what) {
        (Method::GET, "arrivals") => Ok(arrivals(world)),
        (Method::GET, "keys") => Ok(keys(world)),
        (Method::GET, "stats") => Ok(stats(world)),
        (Method::GET, "errors") => Ok(json!(super::errors::ids().collect::<Vec<_>>())),
        (Method::GET, "script") => Ok(world.script.report()),
        (Method::POST, "script") => script(world, &body),
        (Method::DELETE, "script") => Ok(json!({"removed": world.script.remove(query_id(query))})),
        (Method::POST, "reset") => {
            world.reset(!query.contains("keep_rules"));
            Ok(json!({"status": "reset"}))
        }
        (Method::GET, "management") => Ok(world.management.report()),
        (Method::POST, "management") => world.management.lose_answers(&body),
        (Method::POST, "team") => patch_team(world, &body),
        (Method::POST, "key") => patch_key(world, &body),
        _ => return json_body(StatusCode::NOT_FOUND, &json!({"error": "no such control"})),
    };
    match outcome {
        Ok(value) => json_body(StatusCode::OK, &value),
        Err(error) => json_body(StatusCode::BAD_REQUEST, &json!({"error": error})),
    }
}

fn query_id(query: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix("id=")?.parse().ok())
}

/// Per team and model: what arrived, what was refused, the fullest windows.
pub fn arrivals(world: &World) -> Value {
    let mut rows = Vec::new();
    for team in world.teams.iter() {
        for meter in team.meters.iter() {
            let mut row = meter.value().report();
            row["team"] = json!(team.id);
            row["model"] = json!(meter.key());
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| (row["team"].to_string(), row["model"].to_string()));
    let over: u64 = rows
        .iter()
        .flat_map(|row| row["windows"].as_array().into_iter().flatten())
        .filter_map(|window| window["over"].as_u64())
        .sum();
    json!({"over": over, "arrivals": rows})
}

/// Per key: routes, statuses, its own meters.
pub fn keys(world: &World) -> Value {
    let mut rows: Vec<Value> = world
        .keys
        .iter()
        .map(|key| {
            let tally = key.tally.lock().clone();
            json!({
                "secret": key.secret,
                "id": key.id,
                "team": key.team.id,
                "blocked": key.blocked.load(Ordering::Relaxed),
                "disabled": key.disabled.load(Ordering::Relaxed),
                "routes": tally.routes,
                "statuses": tally.statuses,
                "cancelled": tally.cancelled,
                "meter": key.meter.report(),
            })
        })
        .collect();
    rows.sort_by_key(|row| (row["team"].to_string(), row["secret"].to_string()));
    json!({"keys": rows})
}

/// Totals.
pub fn stats(world: &World) -> Value {
    let stats = &world.stats;
    let cost: u64 = world
        .teams
        .iter()
        .map(|team| team.spent_ticks.load(Ordering::Relaxed))
        .sum();
    json!({
        "requests": stats.requests.load(Ordering::Relaxed),
        "unknown_keys": stats.unknown_keys.load(Ordering::Relaxed),
        "in_flight": stats.in_flight.load(Ordering::Relaxed),
        "max_in_flight": stats.max_in_flight.load(Ordering::Relaxed),
        "completed": stats.completed.load(Ordering::Relaxed),
        "cancelled": stats.cancelled.load(Ordering::Relaxed),
        "cut": stats.cut.load(Ordering::Relaxed),
        "refused": stats.refused.load(Ordering::Relaxed),
        "connections": stats.connections.load(Ordering::Relaxed),
        "connections_total": stats.connections_total.load(Ordering::Relaxed),
        "deferred": world.deferred.len(),
        "cost_in_usd_ticks": cost,
    })
}

/// One rule or a list of them.
fn script(world: &World, body: &[u8]) -> Outcome {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    let rules: Vec<Rule> = values
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    for rule in &rules {
        rule.act.check()?;
    }
    let ids: Vec<u64> = rules
        .into_iter()
        .map(|rule| world.script.add(rule, &world.clock))
        .collect::<Result<_, _>>()?;
    Ok(json!({"ids": ids}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeamPatch {
    id: String,
    funded: Option<bool>,
    blocked: Option<bool>,
    zdr: Option<bool>,
    credit_ticks: Option<u64>,
    models: Option<Vec<String>>,
    limits: Option<std::collections::BTreeMap<String, Limits>>,
}

/// Changes a team, or adds one that is not there.
fn patch_team(world: &World, body: &[u8]) -> Outcome {
    let patch: TeamPatch = match serde_json::from_slice(body) {
        Ok(patch) => patch,
        Err(error) => {
            // A whole team, with keys.
            let team: TeamOptions = serde_json::from_slice(body).map_err(|_| error.to_string())?;
            world.add_team(&team).map_err(|error| error.0)?;
            return Ok(json!({"added": team.id}));
        }
    };
    let Some(team) = world.teams.get(&patch.id).map(|team| team.clone()) else {
        let team: TeamOptions = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        world.add_team(&team).map_err(|error| error.0)?;
        return Ok(json!({"added": team.id}));
    };
    for (flag, wish) in [
        (&team.funded, patch.funded),
        (&team.blocked, patch.blocked),
        (&team.zdr, patch.zdr),
    ] {
        if let Some(wish) = wish {
            flag.store(wish, Ordering::Relaxed);
        }
    }
    if let Some(credit) = patch.credit_ticks {
        *team.credit_ticks.write() = Some(credit);
    }
    if let Some(models) = patch.models {
        *team.models.write() = models;
    }
    if let Some(limits) = patch.limits {
        *team.limits.write() = limits;
        for meter in team.meters.iter() {
            meter.value().set_limits(team.limits_for(meter.key()));
        }
    }
    Ok(json!({"changed": team.id}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPatch {
    secret: String,
    blocked: Option<bool>,
    disabled: Option<bool>,
    expired: Option<bool>,
}

/// Changes a key, or adds one that is not there.
fn patch_key(world: &World, body: &[u8]) -> Outcome {
    let options: KeyOptions = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let Some(key) = world.keys.get(&options.secret).map(|key| key.clone()) else {
        let secret = options.secret.clone();
        world.add_key(options).map_err(|error| error.0)?;
        return Ok(json!({"added": secret}));
    };
    let patch: KeyPatch = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    for (flag, wish) in [
        (&key.blocked, patch.blocked),
        (&key.disabled, patch.disabled),
        (&key.expired, patch.expired),
    ] {
        if let Some(wish) = wish {
            flag.store(wish, Ordering::Relaxed);
        }
    }
    Ok(json!({"changed": patch.secret}))
}
