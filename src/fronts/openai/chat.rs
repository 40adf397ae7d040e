//! `POST /v1/chat/completions`: read what routing and quotas need, change what must differ upstream, pass the rest.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_schemas::config::Config;
use http::HeaderMap;
use poem::{Request, Response};

use super::chat_media;
use super::dialect::ChatDialect;
use super::edit::{Edits, edit_chat};
use super::error::error_response;
use super::request::{BodyLimits, ChatHead, parse_chat};
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::dialect::Dialect;
use crate::engine::error::GatewayError;
use crate::fronts::answering::respond;
use crate::fronts::asking::{self, Use};
use crate::fronts::converted::{ConvertedDialect, Responses, Target, Terms, of_chat};
use crate::fronts::media::links::Links;
use crate::fronts::pins;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/chat/completions";

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
    let read = async {
        let body = read_body(&mut request, &app.body_limits()).await?;
        let head = parse_chat(&body, &BodyLimits::default())?;
        Ok((body, head))
    };
    let (body, head) = read.await.inspect_err(|error| app.refused(arrival, ROUTE, error))?;
    if let Some(kind) = chat_media::makes(app, &head.model) {
        let chat = chat_media::Chat {
            arrival,
            caller: &caller,
            head: &head,
            body: &body,
            headers: request.headers(),
            links: Links::of(app, &request),
        };
        // Seldom, and large: apart from what every chat carries along.
        return Box::pin(chat_media::answer(app, chat, kind)).await;
    }
    let target = converted(app, &head);
    let result = async {
        let headers = request.headers();
        let pin = pins::of_files(app, &caller, &body, "messages").await?;
        let ask = asking::within_budget(app, || {
            ask(
                app,
                &config,
                caller.clone(),
                arrival,
                &head,
                body.clone(),
                headers,
                target,
            )
        })
        .await?;
        Ok(Ask { pin, ..ask })
    }
    .await;
    let ask = result.inspect_err(|error| app.refused(arrival, ROUTE, error))?;
    let deferred = ask.deferred;
    let answer = app.engine.run(ask).await?;
    if deferred {
        return super::deferred::accepted(app, arrival, &caller, answer).await;
    }
    match target {
        Some(target) => ConvertedDialect(target, Responses).respond(answer, arrival),
        None => Ok(respond(answer, arrival)),
    }
}

/// What answers must be turned into, where the model is served over another dialect.
fn converted(app: &App, head: &ChatHead) -> Option<Target> {
    let catalogue = app.catalogue.load();
    let entry = catalogue.resolve(&head.model).entry?;
    entry.only_responses.then_some(Target::Chat {
        keep_usage: head.include_usage == Some(true),
    })
}

#[expect(
    clippy::too_many_arguments,
    reason = "what a request is, once, and nothing to gain by a name for it"
)]
fn ask(
    app: &App,
    config: &Config,
    caller: Caller,
    arrival: &Arrival,
    head: &ChatHead,
    body: Bytes,
    headers: &HeaderMap,
    target: Option<Target>,
) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&head.model);
    asking::may_use(&caller, &head.model, resolved.upstream_name)?;
    asking::must_make(&resolved, Use::Chat)?;
    asking::must_see(&resolved, head.images as u64, "messages")?;
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
    let max_output = match (head.max_output, output_cap) {
        (Some(stated), Some(cap)) => Some(stated.min(cap)),
        (stated, cap) => stated.or(cap),
    };
    let terms = Terms {
        model: resolved.upstream_name,
        stream,
        max_output,
    };
    let (route, body, dialect): (Route, Bytes, Arc<dyn Dialect>) = match target {
        Some(target) => (
            Route::post(ROUTE, "/responses"),
            of_chat(&body, terms)?,
            Arc::new(ConvertedDialect(target, Responses)),
        ),
        None => (
            Route::post(ROUTE, "/chat/completions"),
            edit_chat(&body, head, &edits),
            Arc::new(ChatDialect {
                keep_usage: head.include_usage == Some(true),
                choices: head.n,
            }),
        ),
    };
    Ok(Ask {
        conversation: asking::conversation(&caller, headers, &head.affinity),
        stream,
        deferred: head.deferred,
        body,
        bytes_in,
        input_bytes: head.input_bytes,
        headers: asking::forwarded(headers, config),
        buckets: asking::chat_buckets(&resolved),
        max_output,
        answers: head.n,
        ..Ask::new(route, arrival, caller, &head.model, &resolved, dialect)
    })
}
