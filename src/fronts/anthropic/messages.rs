//! `POST /v1/messages`.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_schemas::config::Config;
use http::HeaderMap;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::MessagesDialect;
use super::error::{error_response, sign};
use super::request::MessagesHead;
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::dialect::Dialect;
use crate::engine::error::GatewayError;
use crate::fronts::answering::respond;
use crate::fronts::asking::{self, Use};
use crate::fronts::converted::{ConvertedDialect, Responses, Target, Terms, of_messages};
use crate::fronts::members::Members;
use crate::fronts::pins;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/messages";
/// The upstream's own messages.
const OWN: &str = "/messages";

/// Answers a request for a message.
pub async fn messages(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Arc<App>, mut request: Request, arrival: &Arrival) -> Result<Response, GatewayError> {
    let config = app.config();
    let refused = |error: &GatewayError| app.refused(arrival, ROUTE, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        let body = read_body(&mut request, &app.body_limits()).await?;
        let members = Members::read(&body)?;
        let head = MessagesHead::read(&members, false)?;
        let headers = request.headers();
        let pin = pins::of_files(app, &caller, &body, "messages").await?;
        let ask = asking::within_budget(app, || {
            ask(app, &config, caller.clone(), arrival, &head, &members, &body, headers)
        })
        .await?;
        let is_converted = ask.path != OWN;
        Ok((Ask { pin, ..ask }, is_converted))
    };
    let (ask, is_converted) = made.await.inspect_err(refused)?;
    let answer = app.engine.run(ask).await?;
    let mut response = match is_converted {
        true => ConvertedDialect(Target::Messages, Responses).respond(answer, arrival)?,
        false => respond(answer, arrival),
    };
    sign(&mut response, &arrival.id.to_string());
    Ok(response)
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
    head: &MessagesHead,
    members: &Members<'_>,
    body: &Bytes,
    headers: &HeaderMap,
) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&head.model);
    asking::may_use(&caller, &head.model, resolved.upstream_name)?;
    asking::must_make(&resolved, Use::Messages)?;
    asking::must_see(&resolved, head.pictures, "messages")?;
    let affordable = app.affordable_output(&caller, &resolved, head.input_bytes, 1)?;
    let max_output = affordable.map_or(head.max_output, |cap| head.max_output.min(cap));
    let (path, body_out, dialect): (&'static str, Bytes, Arc<dyn Dialect>) =
        if resolved.entry.is_some_and(|entry| entry.only_responses) {
            let terms = Terms {
                model: resolved.upstream_name,
                stream: head.stream,
                max_output: Some(max_output),
            };
            let converted = of_messages(body, terms)?;
            (
                "/responses",
                converted,
                Arc::new(ConvertedDialect(Target::Messages, Responses)),
            )
        } else {
            let mut set: Vec<(&str, Value)> = vec![("model", resolved.upstream_name.into())];
            if max_output < head.max_output {
                set.push(("max_tokens", json!(max_output)));
            }
            (OWN, members.with(body, &set), Arc::new(MessagesDialect))
        };
    Ok(Ask {
        conversation: asking::conversation(&caller, headers, &head.affinity),
        stream: head.stream,
        body: body_out,
        bytes_in: body.len() as u64,
        input_bytes: head.input_bytes,
        headers: asking::forwarded(headers, config),
        buckets: asking::chat_buckets(&resolved),
        max_output: Some(max_output),
        ..Ask::new(
            Route::post(ROUTE, path),
            arrival,
            caller,
            &head.model,
            &resolved,
            dialect,
        )
    })
}
