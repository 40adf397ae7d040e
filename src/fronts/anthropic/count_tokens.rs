//! `POST /v1/messages/count_tokens`: what a request would count as input. The upstream has no such call; it is asked to cut
//! the request's text into tokens, and where it cannot be asked, an estimate is given that says so.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::error::{error_response, sign};
use super::request::MessagesHead;
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Route};
use crate::engine::error::GatewayError;
use crate::engine::expectations::input_tokens;
use crate::fronts::asking;
use crate::fronts::members::Members;
use crate::fronts::plain::PlainDialect;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const ROUTE: &str = "/v1/messages/count_tokens";
/// Tokens that a picture or page stands for, about: the upstream charges 256 to 1,792 for a picture by its size.
const MEDIA_TOKENS: u64 = 1_024;
/// Says that the count is ours.
const ESTIMATED: &str = "x-grok2api-estimated";

#[derive(Deserialize)]
struct Tokens {
    token_ids: Vec<IgnoredAny>,
}

/// Answers a request for a count.
pub async fn count_tokens(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    let mut response = match count(app, request, &arrival).await {
        Ok((tokens, is_estimate)) => {
            let mut response = Response::builder()
                .status(StatusCode::OK)
                .header(header::CONTENT_TYPE, "application/json")
                .body(json!({ "input_tokens": tokens }).to_string());
            if is_estimate {
                response
                    .headers_mut()
                    .insert(ESTIMATED, HeaderValue::from_static("true"));
            }
            arrival.sign(&mut response);
            response
        }
        Err(error) => error_response(&error, &arrival.id.to_string()),
    };
    sign(&mut response, &arrival.id.to_string());
    response
}

async fn count(app: &Arc<App>, mut request: Request, arrival: &Arrival) -> Result<(u64, bool), GatewayError> {
    let refused = |error: &GatewayError| app.refused(arrival, ROUTE, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        let body = read_body(&mut request, &app.body_limits()).await?;
        let members = Members::read(&body)?;
        let head = MessagesHead::read(&members, true)?;
        let catalogue = app.catalogue.load();
        let resolved = catalogue.resolve(&head.model);
        asking::may_use(&caller, &head.model, resolved.upstream_name)?;
        let text = text_of(&members);
        let asked = json!({ "model": resolved.upstream_name, "text": text }).to_string();
        let ask = Ask {
            bytes_in: body.len() as u64,
            // Nothing is generated and nothing is paid for.
            input_bytes: 0,
            max_output: Some(0),
            body: Bytes::from(asked),
            ..Ask::new(
                Route::post(ROUTE, "/tokenize-text"),
                arrival,
                caller.clone(),
                &head.model,
                &resolved,
                Arc::new(PlainDialect { id_member: None }),
            )
        };
        Ok((ask, head))
    };
    let (ask, head) = made.await.inspect_err(refused)?;
    let media = head.media.saturating_mul(MEDIA_TOKENS);
    match app.engine.run(ask).await {
        Ok(Answer::Whole { body, .. }) => match serde_json::from_slice::<Tokens>(&body) {
            Ok(tokens) => Ok((tokens.token_ids.len() as u64 + media, head.media > 0)),
            Err(_) => Ok((input_tokens(head.input_bytes) + media, true)),
        },
        Ok(Answer::Stream { .. }) => Ok((input_tokens(head.input_bytes) + media, true)),
        Err(error) if error.kind.is_client_fault() => Err(error),
        Err(_) => Ok((input_tokens(head.input_bytes) + media, true)),
    }
}

/// Everything in a request that the model reads as text.
fn text_of(members: &Members<'_>) -> String {
    let mut text = String::new();
    for name in ["system", "messages"] {
        members.strings(name, |member, said| {
            if matches!(member, "text" | "content" | "thinking" | "system" | "") {
                // Escapes decoded; what does not decode counts as it stands.
                let quoted = format!("\"{said}\"");
                text.push_str(&serde_json::from_str::<String>(&quoted).unwrap_or_else(|_| said.to_owned()));
                text.push('\n');
            }
        });
    }
    // Inputs and schemas of tools are read as they are written.
    text.push_str(members.raw("tools").unwrap_or_default());
    text
}
