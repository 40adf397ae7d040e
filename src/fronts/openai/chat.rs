//! `POST /v1/chat/completions`: read what routing and quotas need, change what must differ upstream, pass the rest.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grok2api_actors::clients::Identity;
use grok2api_actors::token::affinity::ConversationId;
use grok2api_schemas::config::Config;
use grok2api_schemas::meter::DayBucket;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::{Request, Response};

use super::dialect::ChatDialect;
use super::edit::{Edits, edit_chat};
use super::error::error_response;
use super::request::{BodyLimits, ChatHead, parse_chat};
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Caller};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Route label and upstream path.
const ROUTE: &str = "/v1/chat/completions";
const PATH: &str = "/chat/completions";

/// How often a request that waits for a strict budget looks again.
const BUDGET_LOOK: Duration = Duration::from_millis(50);

/// Headers by which clients name a conversation, most telling first: xAI's own, then those of Codex and Claude Code.
const CONVERSATION_HEADERS: [&str; 5] = [
    "x-grok-conv-id",
    "session_id",
    "conversation_id",
    "x-claude-code-session-id",
    "x-session-id",
];

/// Answers a chat request.
pub async fn chat(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Arc<App>, mut request: Request, arrival: &Arrival) -> Result<Response, GatewayError> {
    let config = app.config();
    let caller = authenticate(app, request.headers()).inspect_err(|error| app.refused(arrival, ROUTE, error))?;
    let result = async {
        let body = read_body(&mut request, &app.body_limits()).await?;
        let head = parse_chat(&body, &BodyLimits::default())?;
        let began = app.clock.now();
        loop {
            let made = ask(
                app,
                &config,
                caller.clone(),
                arrival,
                &head,
                body.clone(),
                request.headers(),
            );
            match made {
                // Calls under way hold the rest of a strict budget: most give some of it back.
                Err(error)
                    if error.kind == ErrorKind::ClientBudget
                        && error.retry_after_ms.is_some_and(|ms| ms <= config.clients.max_wait_ms)
                        && app.clock.now().ms_since(began) < config.clients.max_wait_ms =>
                {
                    tokio::time::sleep(BUDGET_LOOK).await;
                }
                made => break made,
            }
        }
    }
    .await;
    let ask = result.inspect_err(|error| app.refused(arrival, ROUTE, error))?;
    let deferred = ask.deferred;
    let answer = app.engine.run(ask).await?;
    if deferred {
        return super::deferred::accepted(app, arrival, &caller, answer).await;
    }
    Ok(respond(answer, arrival))
}

fn ask(
    app: &App,
    config: &Config,
    caller: Caller,
    arrival: &Arrival,
    head: &ChatHead,
    body: Bytes,
    headers: &HeaderMap,
) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&head.model);
    if let Caller::Key(Identity::Key(key)) = &caller {
        let may = |pattern: &String| {
            grok2api_schemas::config::glob_matches(pattern, &head.model)
                || grok2api_schemas::config::glob_matches(pattern, resolved.upstream_name)
        };
        if !key.allowed_models.is_empty() && !key.allowed_models.iter().any(may) {
            return Err(GatewayError::new(
                ErrorKind::Forbidden,
                format!("This key may not use the model {}.", head.model),
            )
            .with_code("model_not_allowed")
            .with_param("model"));
        }
    }
    let stream = head.stream.unwrap_or(config.grok.stream) && !head.deferred;
    let output_cap = app.affordable_output(&caller, &resolved, head.input_bytes, head.n)?;
    let edits = Edits {
        model: Some(resolved.upstream_name),
        default_stream: (head.stream.is_none() && stream).then_some(true),
        force_include_usage: stream,
        max_tokens_cap: output_cap,
        developer_as_system: !resolved.entry.is_some_and(|entry| entry.knows_developer_role)
            && head.has_developer_role(),
    };
    let bytes_in = body.len() as u64;
    let body = edit_chat(&body, head, &edits);
    let max_output = match (head.max_output, output_cap) {
        (Some(stated), Some(cap)) => Some(stated.min(cap)),
        (stated, cap) => stated.or(cap),
    };
    Ok(Ask {
        arrival: arrival.clone(),
        route: ROUTE,
        path: PATH,
        conversation: conversation(&caller, head, headers),
        caller,
        model: head.model.clone(),
        upstream_model: resolved.upstream_name.to_owned(),
        stream,
        deferred: head.deferred,
        body,
        bytes_in,
        input_bytes: head.input_bytes,
        headers: forwarded(headers, config),
        buckets: match resolved.entry.is_some_and(|entry| entry.heavy) {
            true => vec![(DayBucket::Chat, 1), (DayBucket::Heavy, 1)],
            false => vec![(DayBucket::Chat, 1)],
        },
        max_output,
        output_cap: resolved.entry.and_then(|entry| entry.max_output),
        answers: head.n,
        dialect: Arc::new(ChatDialect {
            keep_usage: head.include_usage == Some(true),
            choices: head.n,
        }),
    })
}

/// The conversation a request belongs to: what the client says, else who asks and how the conversation begins.
fn conversation(caller: &Caller, head: &ChatHead, headers: &HeaderMap) -> Option<ConversationId> {
    let mut hasher = std::hash::DefaultHasher::new();
    match caller {
        Caller::Key(Identity::Key(key)) => key.id.hash(&mut hasher),
        Caller::Key(Identity::Config) => 1_u8.hash(&mut hasher),
        Caller::Anonymous => 0_u8.hash(&mut hasher),
    }
    let header = || {
        CONVERSATION_HEADERS
            .iter()
            .find_map(|name| headers.get(*name))
            .map(HeaderValue::as_bytes)
    };
    if let Some(key) = &head.affinity.prompt_cache_key {
        (1_u8, key).hash(&mut hasher);
    } else if let Some(value) = header() {
        (2_u8, value).hash(&mut hasher);
    } else if let Some(user) = &head.affinity.user {
        (3_u8, user).hash(&mut hasher);
    } else {
        (4_u8, head.affinity.first_message_hash?).hash(&mut hasher);
    }
    Some(ConversationId(hasher.finish()))
}

/// Headers of the client that go on upstream: only those the operator lists.
fn forwarded(headers: &HeaderMap, config: &Config) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &config.xai.forward_headers {
        if let Ok(name) = HeaderName::try_from(name.as_str()) {
            for value in headers.get_all(&name) {
                passed.append(name.clone(), value.clone());
            }
        }
    }
    passed
}

/// The answer with the headers that every answer bears.
pub(super) fn respond(answer: Answer, arrival: &Arrival) -> Response {
    let (mut response, overhead_us) = match answer {
        Answer::Whole {
            status,
            body,
            overhead_us,
            ..
        } => {
            let response = Response::builder()
                .status(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
                .header(header::CONTENT_TYPE, "application/json")
                .body(body);
            (response, overhead_us)
        }
        Answer::Stream {
            status,
            body,
            overhead_us,
            ..
        } => {
            let response = Response::builder()
                .status(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
                .header(header::CONTENT_TYPE, "text/event-stream")
                .header(header::CACHE_CONTROL, "no-cache")
                // Proxies of nginx's kind hold back small chunks unless they are told not to.
                .header("x-accel-buffering", "no")
                .body(poem::Body::from_bytes_stream(body));
            (response, overhead_us)
        }
    };
    arrival.sign(&mut response);
    if let Ok(value) = HeaderValue::from_str(&format!("{:.3}", overhead_us as f64 / 1000.0)) {
        response.headers_mut().insert("x-grok2api-overhead-ms", value);
    }
    response
}
