//! `POST /v1/chat/completions` and `GET /v1/chat/deferred-completion/{id}`.

mod answer;
mod compose;
mod objections;
mod pattern;
mod render;
mod request;
mod schema;
mod structured;
mod toolcalls;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

pub use self::request::{Unreadable, read};

use self::answer::{Choice, Speech, Usage, prompt_tokens};
use self::objections::objection;
use self::render::{Frame, Pace};
use self::request::ChatRequest;
use super::body::SimBody;
use super::call::Call;
use super::caller::Caller;
use super::errors::{self, Mention, respond};
use super::meter::{Exceeded, Standing};
use super::misbehave::{Effects, Seen};
use super::routes::{Answer, Cut, misbehaved_head, unreadable};
use super::world::{Deferred, World, random_uuid};

/// How long a deferred answer is kept, in milliseconds.
const DEFERRED_KEPT_MS: u64 = 24 * 3_600_000;

/// Answers a chat request.
pub async fn complete(world: &Arc<World>, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Answer {
    let request = match ChatRequest::parse(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-chat-422")),
    };
    // The upstream looks the model up before it looks at the key.
    let name = request.model.as_deref().unwrap_or("latest");
    let Some(model) = world.models.find(name).cloned() else {
        let id = if caller.key.is_some() && request.model.is_some() {
            "model-missing-404"
        } else {
            "model-missing-400"
        };
        return Ok(respond(
            id,
            &Mention {
                model: name,
                ..caller.mention()
            },
        ));
    };
    let key = match caller.require() {
        Ok(key) => key.clone(),
        Err(refusal) => return Ok(*refusal),
    };
    let team = key.team.clone();
    let mention = Mention {
        model: &model.id,
        ..caller.mention()
    };
    let meter = world.meter(&team, &model.id);
    // Both count every arrival, whatever becomes of it.
    let by_key = key.meter.arrive(&world.clock);
    let by_team = meter.arrive(&world.clock);
    let (standing, mut call) = match (by_team, by_key) {
        (Ok(standing), Ok(_)) => (
            standing,
            Box::new(Call::begin(world.clone(), key.clone(), model.clone(), meter.clone())),
        ),
        (team_says, key_says) => {
            if team_says.is_ok() {
                meter.leave();
            }
            if key_says.is_ok() {
                key.meter.leave();
            }
            if let Some(refusal) = caller.barred("chat", Some(&model.id)) {
                return Ok(*refusal);
            }
            world.stats.refused.fetch_add(1, Ordering::Relaxed);
            let (id, exceeded) = match team_says {
                Err(exceeded) => ("rate-rps-rpm", exceeded),
                Ok(_) => ("rate-key", key_says.err().unwrap_or_default()),
            };
            let detail = format!(
                "{}. Your rate limit tier is determined by your cumulative spend",
                Exceeded::describe(&exceeded)
            );
            return Ok(respond(
                id,
                &Mention {
                    detail: &detail,
                    ..mention
                },
            ));
        }
    };
    let refuse = |call: &mut Call, response: Response<SimBody>| {
        call.finish();
        Ok(response)
    };
    if let Some(refusal) = caller.barred("chat", Some(&model.id)) {
        return refuse(&mut call, *refusal);
    }
    let stream = request.stream == Some(true);
    let prompt_text = request.last_user_text();
    let effects = world.script.magic(&prompt_text).or_else(|| {
        let seen = Seen {
            team: &team.id,
            key: &key.secret,
            model: &model.id,
            path: "/v1/chat/completions",
            stream,
        };
        world.script.pick(&seen, &world.clock)
    });
    let effects = effects.unwrap_or_default();
    match misbehaved_head(world, &effects, &mention).await {
        Ok(None) => {}
        Ok(Some(response)) => return refuse(&mut call, response),
        Err(Cut) => {
            call.cut();
            return Err(Cut);
        }
    }
    if let Some(refusal) = objection(&request, &model, &mention) {
        return refuse(&mut call, refusal);
    }
    let mut usage = prompt_tokens(&request);
    if usage.prompt() > model.context {
        let detail = format!("{} but the request contains {}", model.context, usage.prompt());
        return refuse(
            &mut call,
            respond(
                "ctx-too-long",
                &Mention {
                    detail: &detail,
                    ..mention
                },
            ),
        );
    }
    let conversation = request
        .prompt_cache_key
        .as_deref()
        .or_else(|| headers.get("x-grok-conv-id").and_then(|value| value.to_str().ok()));
    if let Some(conversation) = conversation {
        usage.cached = world.cached_tokens(&team, conversation, usage.prompt()).min(usage.text);
    }
    let tier = if matches!(request.service_tier.as_deref(), Some("priority" | "fast")) {
        "priority"
    } else {
        "default"
    };
    let price_factor = if tier == "priority" { 2 } else { 1 };
    call.prompt(usage.prompt(), usage.cached, price_factor);

    let speech = Speech {
        request: &request,
        model: &model,
        dictated: effects.answer.as_deref(),
        exact: world.scenario.answer_chunks,
    };
    let mut choices = speech.choices();
    usage.visible = choices.iter().map(|choice| choice.visible).sum();
    usage.reasoning = choices.iter().map(|choice| choice.reasoning).sum();
    let cost = model.cost(usage.prompt(), usage.cached, usage.visible + usage.reasoning) * price_factor;
    let frame = Frame {
        id: random_uuid(),
        created: world.clock.wall().0 / 1000,
        model: &model.id,
        fingerprint: &model.fingerprint,
        tier,
        logprobs: (request.logprobs == Some(true) && model.logprobs)
            .then(|| request.top_logprobs.unwrap_or(0).max(0) as usize),
    };
    let sent_usage = render::usage_value(&usage, cost, effects.usage);
    let pace = Pace {
        first: Duration::from_millis(effects.first_token_ms.unwrap_or(world.scenario.first_token_ms)),
        each: Duration::from_millis(effects.pace_ms.unwrap_or(world.scenario.pace_ms)),
    };

    if request.deferred == Some(true) {
        let body = Bytes::from(render::object(&frame, &choices, sent_usage.as_ref()));
        return Ok(defer(world, &mut call, &usage, pace, body));
    }
    let mut response = if stream {
        let sent_usage = sent_usage.as_ref().filter(|_| request.wants_usage());
        let steps = render::stream(&frame, &choices, sent_usage, pace, &effects, &mention);
        let mut response = Response::new(SimBody::paced(steps).with_call(call));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        metrics(response.headers_mut(), pace, None);
        response
    } else {
        if let (Some(size), Some(choice)) = (effects.huge_chunk, choices.first_mut()) {
            choice.content.push_str(&"x".repeat(size));
        }
        unary(&frame, &choices, sent_usage.as_ref(), &usage, pace, &effects, call).await
    };
    limits_shown(response.headers_mut(), &standing);
    let zdr = team.zdr.load(Ordering::Relaxed);
    response.headers_mut().insert(
        "x-zero-data-retention",
        HeaderValue::from_static(if zdr { "true" } else { "false" }),
    );
    decorate(&mut response, &effects);
    Ok(response)
}

/// An answer in one piece, after the time it takes to make.
async fn unary(
    frame: &Frame<'_>,
    choices: &[Choice],
    sent_usage: Option<&serde_json::Value>,
    usage: &Usage,
    pace: Pace,
    effects: &Effects,
    mut call: Box<Call>,
) -> Response<SimBody> {
    let body = render::object(frame, choices, sent_usage);
    let tokens = u32::try_from(usage.visible + usage.reasoning).unwrap_or(u32::MAX);
    let takes = making_time(usage, pace);
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
    let body = if effects.needs_steps() {
        SimBody::paced(render::pieces(body, tokens, effects)).with_call(call)
    } else {
        call.wrote(tokens);
        SimBody::full(Bytes::from(body)).with_call(call)
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    metrics(response.headers_mut(), pace, Some(takes));
    response
}

/// How long an answer takes when it comes whole.
fn making_time(usage: &Usage, pace: Pace) -> Duration {
    let chunks = u32::try_from(usage.visible + usage.reasoning).unwrap_or(u32::MAX);
    pace.first + pace.each.saturating_mul(chunks)
}

/// Accepts a deferred call; the answer is ready after the time it takes.
fn defer(world: &World, call: &mut Call, usage: &Usage, pace: Pace, body: Bytes) -> Response<SimBody> {
    let id = random_uuid().to_string();
    let now = world.clock.now();
    let ready = now.plus_ms(making_time(usage, pace).as_millis() as u64);
    world
        .deferred
        .retain(|_, one| now.ms_since(one.ready) < DEFERRED_KEPT_MS);
    world.deferred.insert(
        id.clone(),
        Deferred {
            team: call.key.team.id.clone(),
            ready,
            body,
        },
    );
    call.wrote(u32::try_from(usage.visible + usage.reasoning).unwrap_or(u32::MAX));
    call.finish();
    errors::json_body(StatusCode::OK, &serde_json::json!({"request_id": id}))
}

/// `GET /v1/chat/deferred-completion/{id}`: 202 while it is made, 200 once, 404 from then on.
pub fn fetch_deferred(world: &World, caller: &Caller, id: &str) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("chat", None) {
        return *refusal;
    }
    let missing = || {
        respond(
            "deferred-missing",
            &Mention {
                detail: id,
                ..caller.mention()
            },
        )
    };
    let Some(entry) = world.deferred.get(id).map(|entry| entry.clone()) else {
        return missing();
    };
    if entry.team != key.team.id {
        return missing();
    }
    if world.clock.now() < entry.ready {
        let mut response = Response::new(SimBody::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    }
    match world.deferred.remove(id) {
        Some((_, entry)) => errors::plain(StatusCode::OK, "application/json", entry.body),
        None => missing(),
    }
}

fn limits_shown(headers: &mut HeaderMap, standing: &Standing) {
    if let Some((limit, left)) = standing.requests {
        headers.insert("x-ratelimit-limit-requests", HeaderValue::from(limit));
        headers.insert("x-ratelimit-remaining-requests", HeaderValue::from(left));
    }
    if let Some((limit, left)) = standing.tokens {
        headers.insert("x-ratelimit-limit-tokens", HeaderValue::from(limit));
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from(left));
    }
}

fn metrics(headers: &mut HeaderMap, pace: Pace, whole: Option<Duration>) {
    headers.insert("x-metrics-ttft-ms", HeaderValue::from(pace.first.as_millis() as u64));
    if let Some(whole) = whole {
        headers.insert("x-metrics-e2e-ms", HeaderValue::from(whole.as_millis() as u64));
        headers.insert("x-metrics-mean-itl-ms", HeaderValue::from(pace.each.as_millis() as u64));
    }
}

/// Headers that a script adds or replaces.
pub fn decorate(response: &mut Response<SimBody>, effects: &Effects) {
    if let Some(kind) = effects
        .content_type
        .as_deref()
        .and_then(|kind| HeaderValue::from_str(kind).ok())
    {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    for (name, value) in &effects.headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}
