//! OpenAI's Responses, which the upstream speaks itself: bytes pass through, the model's name and the credential are
//! replaced, and what a response leaves behind is bound to the token that made it and to who asked.

pub(in crate::fronts) mod dialect;
mod request;
mod socket;
mod stored;
mod tools;

use std::sync::Arc;

use bytes::Bytes;
use grok2api_schemas::config::Config;
use grok2api_schemas::ids::TokenId;
use http::{HeaderMap, HeaderValue};
use poem::{Request, Response};
use serde_json::{Value, json};

use super::error::error_response;
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Caller, Notes, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::fronts::asking::{self, Use};
use crate::fronts::members::Members;
use crate::fronts::pins::{self, Maker};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

pub use dialect::ResponsesDialect;
pub use request::ResponsesHead;
pub(in crate::fronts) use request::opening;
pub use socket::responses_socket;
pub use stored::{Stored, stored};

/// Says which tools the model was not offered.
const LEFT_OUT: &str = "x-grok2api-left-out";

/// What is asked of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// A response.
    Response,
    /// A compaction: a conversation in one sealed item.
    Compaction,
}

impl Making {
    const fn label(self) -> &'static str {
        match self {
            Making::Response => "/v1/responses",
            Making::Compaction => "/v1/responses/compact",
        }
    }

    const fn route(self) -> Route {
        match self {
            Making::Response => Route::post("/v1/responses", "/responses"),
            Making::Compaction => Route::post("/v1/responses/compact", "/responses/compact"),
        }
    }
}

/// Answers `POST /v1/responses` and `POST /v1/responses/compact`.
pub async fn create(app: &Arc<App>, request: Request, making: Making) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival, making).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(
    app: &Arc<App>,
    mut request: Request,
    arrival: &Arrival,
    making: Making,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, making.label(), error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        let body = read_body(&mut request, &app.body_limits()).await?;
        prepare(app, &caller, request.headers(), arrival, making, body).await
    };
    let Prepared { ask, maker, left_out } = made.await.inspect_err(refused)?;
    let answer = app.engine.run(ask).await?;
    // A stream tells its id with its first event, long before the client can have use for it.
    if matches!(answer, Answer::Whole { .. }) {
        maker.written().await;
    }
    let mut response = respond(answer, arrival);
    if let Some(left_out) = left_out.and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().insert(LEFT_OUT, left_out);
    }
    Ok(response)
}

/// A request that is ready to go.
struct Prepared {
    ask: Ask,
    maker: Arc<Maker>,
    /// Tools that the model was not offered.
    left_out: Option<String>,
}

async fn prepare(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    arrival: &Arrival,
    making: Making,
    body: Bytes,
) -> Result<Prepared, GatewayError> {
    let config = app.config();
    let members = Members::read(&body)?;
    let head = ResponsesHead::read(&members)?;
    let pin = pins::resolve(app, caller, &head.references).await?;
    let keeps = making == Making::Response && head.store;
    let kept = keeps.then_some(ObjectKind::Response);
    let tools = tools::kept(&members)?;
    let maker = Maker::new(app, caller, kept, pins::RESPONSE_LIFE_MS);
    let ask = asking::within_budget(app, || {
        let asked = Asked {
            caller: caller.clone(),
            arrival,
            making,
            pin,
            headers,
            tools: tools.as_ref().map(|kept| &kept.tools),
        };
        ask(app, &config, asked, &head, &members, &body)
    })
    .await?;
    let notes: Arc<dyn Notes> = maker.clone();
    Ok(Prepared {
        ask: Ask {
            notes: Some(notes),
            ..ask
        },
        maker,
        left_out: tools.map(|kept| kept.left_out),
    })
}

struct Asked<'a> {
    caller: Caller,
    arrival: &'a Arrival,
    making: Making,
    pin: Option<TokenId>,
    headers: &'a HeaderMap,
    /// The tools to send instead of the client's.
    tools: Option<&'a Value>,
}

fn ask(
    app: &Arc<App>,
    config: &Config,
    asked: Asked<'_>,
    head: &ResponsesHead,
    members: &Members<'_>,
    body: &Bytes,
) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&head.model);
    asking::may_use(&asked.caller, &head.model, resolved.upstream_name)?;
    asking::must_make(&resolved, Use::Responses)?;
    asking::must_see(&resolved, head.pictures, "input")?;
    let is_response = asked.making == Making::Response;
    if !is_response && head.stream {
        return Err(GatewayError::field(
            "stream",
            "A compaction is not streamed: leave `stream` out.",
        ));
    }
    let affordable = app.affordable_output(&asked.caller, &resolved, head.input_bytes, 1)?;
    let mut set: Vec<(&str, Value)> = vec![("model", resolved.upstream_name.into())];
    if let Some(tools) = asked.tools {
        set.push(("tools", tools.clone()));
    }
    let cap = affordable.filter(|cap| head.max_output.is_none_or(|stated| stated > *cap));
    if let Some(cap) = cap
        && is_response
    {
        set.push(("max_output_tokens", json!(cap)));
    }
    Ok(Ask {
        conversation: asking::conversation(&asked.caller, asked.headers, &head.affinity),
        stream: head.stream,
        body: members.with(body, &set),
        bytes_in: body.len() as u64,
        input_bytes: head.input_bytes,
        headers: asking::forwarded(asked.headers, config),
        buckets: asking::chat_buckets(&resolved),
        max_output: cap.or(head.max_output),
        unkept: (is_response && head.store).then_some(unkept),
        pin: asked.pin,
        ..Ask::new(
            asked.making.route(),
            asked.arrival,
            asked.caller,
            &head.model,
            &resolved,
            Arc::new(ResponsesDialect),
        )
    })
}

/// The request for a team that lets nothing be kept: it refuses what does not say so (`xai-api.md` §5).
fn unkept(body: &Bytes) -> Bytes {
    match Members::read(body) {
        Ok(members) => members.with(body, &[("store", json!(false))]),
        Err(_) => body.clone(),
    }
}

/// A response that is not here, or belongs to somebody else.
fn not_found(id: &str) -> GatewayError {
    GatewayError::new(
        ErrorKind::NotFound,
        format!("Response with id '{}' not found.", crate::fronts::members::clip(id)),
    )
    .with_code("response_not_found")
}
