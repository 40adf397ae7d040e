//! One call of a model, whatever the dialect it is asked in: it is counted and admitted, misbehaves as scripted, and says
//! something that costs tokens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::body::{SimBody, Step};
use super::call::Call;
use super::caller::Caller;
use super::chat::{ChatRequest, Choice, Speech, Usage, objection, prompt_tokens};
use super::errors::{Mention, respond};
use super::meter::{Exceeded, Standing};
use super::misbehave::{Effects, Seen};
use super::models::Model;
use super::pacing::{Pace, pieces};
use super::routes::{Answer, Cut, misbehaved_head};
use super::world::{Team, World};

/// An answer that is given instead of going on.
pub type Instead = Box<Answer>;

fn instead(response: Response<SimBody>) -> Instead {
    Box::new(Ok(response))
}

/// Where a model is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The path, as rules see it.
    pub path: &'static str,
    /// What an ACL calls it.
    pub endpoint: &'static str,
    /// The model, as the client names it.
    pub model: Option<&'a str>,
    /// Whether events are wanted.
    pub stream: bool,
    /// What the user says, in which there may be magic.
    pub prompt: &'a str,
}

/// A call that the upstream takes.
#[derive(Debug)]
pub struct Admitted {
    pub team: Arc<Team>,
    pub model: Arc<Model>,
    pub call: Box<Call>,
    pub standing: Standing,
    pub effects: Effects,
}

impl Admitted {
    /// What refusals may mention.
    pub fn mention<'a>(&'a self, caller: &'a Caller) -> Mention<'a> {
        Mention {
            model: &self.model.id,
            ..caller.mention()
        }
    }

    /// Gives the call back with a refusal.
    pub fn refuse(mut self, response: Response<SimBody>) -> Instead {
        self.call.finish();
        instead(response)
    }

    /// Adds the headers that every success bears.
    pub fn dress(&self, response: &mut Response<SimBody>) {
        dress(response, &self.standing, &self.team, &self.effects);
    }
}

fn dress(response: &mut Response<SimBody>, standing: &Standing, team: &Team, effects: &Effects) {
    let headers = response.headers_mut();
    if let Some((limit, left)) = standing.requests {
        headers.insert("x-ratelimit-limit-requests", HeaderValue::from(limit));
        headers.insert("x-ratelimit-remaining-requests", HeaderValue::from(left));
    }
    if let Some((limit, left)) = standing.tokens {
        headers.insert("x-ratelimit-limit-tokens", HeaderValue::from(limit));
        headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from(left));
    }
    let zdr = team.zdr.load(Ordering::Relaxed);
    headers.insert(
        "x-zero-data-retention",
        HeaderValue::from_static(if zdr { "true" } else { "false" }),
    );
    decorate(response, effects);
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

/// Takes a call, or says why not: the model, the key, the limits of team and key, what the key may do, the script.
pub async fn admit(world: &Arc<World>, caller: &Caller, asked: &Asked<'_>) -> Result<Admitted, Instead> {
    // The upstream looks the model up before it looks at the key.
    let name = asked.model.unwrap_or("latest");
    let Some(model) = world.models.find(name).cloned() else {
        let id = if caller.key.is_some() && asked.model.is_some() {
            "model-missing-404"
        } else {
            "model-missing-400"
        };
        return Err(instead(respond(
            id,
            &Mention {
                model: name,
                ..caller.mention()
            },
        )));
    };
    let key = match caller.require() {
        Ok(key) => key.clone(),
        Err(refusal) => return Err(instead(*refusal)),
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
            if let Some(refusal) = caller.barred(asked.endpoint, Some(&model.id)) {
                return Err(instead(*refusal));
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
            return Err(instead(respond(
                id,
                &Mention {
                    detail: &detail,
                    ..mention
                },
            )));
        }
    };
    if let Some(refusal) = caller.barred(asked.endpoint, Some(&model.id)) {
        call.finish();
        return Err(instead(*refusal));
    }
    let effects = world.script.magic(asked.prompt).or_else(|| {
        let seen = Seen {
            team: &team.id,
            key: &key.secret,
            model: &model.id,
            path: asked.path,
            stream: asked.stream,
        };
        world.script.pick(&seen, &world.clock)
    });
    let effects = effects.unwrap_or_default();
    match misbehaved_head(world, &effects, &mention).await {
        Ok(None) => {}
        Ok(Some(response)) => {
            call.finish();
            return Err(instead(response));
        }
        Err(Cut) => {
            call.cut();
            return Err(Box::new(Err(Cut)));
        }
    }
    Ok(Admitted {
        team,
        model,
        call,
        standing,
        effects,
    })
}

/// What the model says, and what it costs.
#[derive(Debug)]
pub struct Turn {
    pub admitted: Admitted,
    pub choices: Vec<Choice>,
    pub usage: Usage,
    pub cost_ticks: u64,
    pub tier: &'static str,
    pub pace: Pace,
}

/// Has the model speak.
pub fn speak(
    world: &World,
    caller: &Caller,
    headers: &HeaderMap,
    mut admitted: Admitted,
    request: &ChatRequest,
    path: &str,
) -> Result<Turn, Instead> {
    let mention = admitted.mention(caller);
    if let Some(refusal) = objection(request, &admitted.model, path, &mention) {
        return Err(admitted.refuse(refusal));
    }
    let mut usage = prompt_tokens(request);
    if usage.prompt() > admitted.model.context {
        let detail = format!("{} but the request contains {}", admitted.model.context, usage.prompt());
        let refusal = respond(
            "ctx-too-long",
            &Mention {
                detail: &detail,
                ..mention
            },
        );
        return Err(admitted.refuse(refusal));
    }
    let conversation = request
        .prompt_cache_key
        .as_deref()
        .or_else(|| headers.get("x-grok-conv-id").and_then(|value| value.to_str().ok()));
    if let Some(conversation) = conversation {
        usage.cached = world
            .cached_tokens(&admitted.team, conversation, usage.prompt())
            .min(usage.text);
    }
    let tier = if matches!(request.service_tier.as_deref(), Some("priority" | "fast")) {
        "priority"
    } else {
        "default"
    };
    let price_factor = if tier == "priority" { 2 } else { 1 };
    admitted.call.prompt(usage.prompt(), usage.cached, price_factor);
    let effects = &admitted.effects;
    let speech = Speech {
        request,
        model: &admitted.model,
        dictated: effects.answer.as_deref(),
        called: effects.call.as_deref(),
        exact: world.scenario.answer_chunks,
    };
    let choices = speech.choices();
    usage.visible = choices.iter().map(|choice| choice.visible).sum();
    usage.reasoning = choices.iter().map(|choice| choice.reasoning).sum();
    let output = usage.visible + usage.reasoning;
    let cost_ticks = admitted.model.cost(usage.prompt(), usage.cached, output) * price_factor;
    let pace = Pace {
        first: Duration::from_millis(effects.first_token_ms.unwrap_or(world.scenario.first_token_ms)),
        each: Duration::from_millis(effects.pace_ms.unwrap_or(world.scenario.pace_ms)),
    };
    Ok(Turn {
        admitted,
        choices,
        usage,
        cost_ticks,
        tier,
        pace,
    })
}

impl Turn {
    /// All output tokens.
    pub fn output(&self) -> u64 {
        self.usage.visible + self.usage.reasoning
    }

    /// How long the answer takes when it comes whole.
    pub fn making_time(&self) -> Duration {
        let chunks = u32::try_from(self.output()).unwrap_or(u32::MAX);
        self.pace.first + self.pace.each.saturating_mul(chunks)
    }

    /// The answer in these steps.
    pub fn streamed(self, steps: VecDeque<Step>) -> Response<SimBody> {
        let Admitted {
            team,
            call,
            standing,
            effects,
            ..
        } = self.admitted;
        let mut response = Response::new(SimBody::paced(steps).with_call(call));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        metrics(headers, self.pace, None);
        dress(&mut response, &standing, &team, &effects);
        response
    }

    /// The answer in one piece, after the time it takes to make.
    pub async fn whole(self, body: Vec<u8>) -> Response<SimBody> {
        let tokens = u32::try_from(self.output()).unwrap_or(u32::MAX);
        let takes = self.making_time();
        let Admitted {
            team,
            mut call,
            standing,
            effects,
            ..
        } = self.admitted;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let body = if effects.needs_steps() {
            SimBody::paced(pieces(body, tokens, &effects)).with_call(call)
        } else {
            call.wrote(tokens);
            SimBody::full(Bytes::from(body)).with_call(call)
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        metrics(headers, self.pace, Some(takes));
        dress(&mut response, &standing, &team, &effects);
        response
    }
}

fn metrics(headers: &mut HeaderMap, pace: Pace, whole: Option<Duration>) {
    headers.insert("x-metrics-ttft-ms", HeaderValue::from(pace.first.as_millis() as u64));
    if let Some(whole) = whole {
        headers.insert("x-metrics-e2e-ms", HeaderValue::from(whole.as_millis() as u64));
        headers.insert("x-metrics-mean-itl-ms", HeaderValue::from(pace.each.as_millis() as u64));
    }
}
