//! Every other path below `/v1` that the operator lets through: sent on as it came. Where its body names a model, the call
//! goes to a team that offers it; else to any.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use poem::{Request, Response};

use super::{ServiceDialect, content_type_of, must_be_open, respond_as_it_is};
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::ask::{Ask, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::asking;
use crate::fronts::members::Members;
use crate::fronts::openai::error::error_response;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const LABEL: &str = "/v1/*";

/// Answers such a call.
pub async fn anything(app: &Arc<App>, request: Request) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Arc<App>, mut request: Request, arrival: &Arrival) -> Result<Response, GatewayError> {
    let config = app.config();
    let refused = |error: &GatewayError| app.refused(arrival, LABEL, error);
    let path = request.uri().path().to_owned();
    // What there is not, is not there for anybody: no key is needed to be told so.
    must_be_open(&config, &path).inspect_err(refused)?;
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        let is_plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.:@~".contains(&b))
        };
        let rest = path.strip_prefix("/v1").unwrap_or(&path);
        if !rest.trim_start_matches('/').split('/').all(is_plain) {
            return Err(GatewayError::new(
                ErrorKind::NotFound,
                format!("There is no {} here.", crate::fronts::members::clip(&path)),
            ));
        }
        let method = request.method().clone();
        if !matches!(
            method,
            Method::GET | Method::POST | Method::PATCH | Method::PUT | Method::DELETE
        ) {
            return Err(GatewayError::new(
                ErrorKind::MethodNotAllowed,
                format!("{path} does not take this method."),
            ));
        }
        let body = read_body(&mut request, &app.body_limits()).await?;
        let query = request
            .uri()
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let route = Route {
            label: LABEL,
            method: method.clone(),
            path: Cow::Owned(format!("{rest}{query}")),
        };
        let dialect = Arc::new(ServiceDialect::default());
        let ask = match named_model(&body) {
            Some((model, stream)) => {
                let catalogue = app.catalogue.load();
                let resolved = catalogue.resolve(&model);
                asking::may_use(&caller, &model, resolved.upstream_name)?;
                let members = Members::read(&body)?;
                Ask {
                    stream,
                    body: members.with(&body, &[("model", resolved.upstream_name.into())]),
                    input_bytes: body.len(),
                    buckets: asking::chat_buckets(&resolved),
                    ..Ask::new(route, arrival, caller, &model, &resolved, dialect)
                }
            }
            None => Ask {
                body: body.clone(),
                ..Ask::of_service(route, arrival, caller, "other", dialect)
            },
        };
        Ok(Ask {
            bytes_in: body.len() as u64,
            content_type: content_type_of(request.headers()),
            headers: asking::forwarded(request.headers(), &config),
            is_binary: !ask.stream,
            is_repeatable: method == Method::GET,
            ..ask
        })
    };
    let ask = made.await.inspect_err(refused)?;
    Ok(respond_as_it_is(app.engine.run(ask).await?, arrival))
}

/// The model that a body in JSON names, and whether it wants events.
fn named_model(body: &[u8]) -> Option<(String, bool)> {
    let members = Members::read(body).ok()?;
    let model = members.model().ok()?;
    Some((model, members.boolean("stream").ok()?.unwrap_or(false)))
}
