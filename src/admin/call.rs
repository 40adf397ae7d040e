//! One admin call: who makes it, whether they may, and how its answer or error goes out.

use std::future::Future;
use std::sync::Arc;

use grok2api_schemas::admin::accounts::{Role, SessionRecord};
use grok2api_schemas::ids::RequestId;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Method};
use poem::{Body, Endpoint, Request, Response};
use serde::Serialize;

use super::query::Query;
use super::{Admin, Origin, cookie};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::openai::error::error_response;
use crate::ops::audit::Actor;

/// What a handler answers.
pub type Answer = Result<Response, GatewayError>;

/// A call on its way to a handler.
pub struct Call {
    /// What the routes need.
    pub admin: Arc<Admin>,
    /// Where it came from.
    pub origin: Origin,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its query string.
    pub query: Query,
    /// What stands for `:id` in the path.
    pub path_id: String,
    /// Its body, not read yet.
    pub body: Body,
}

/// A call of somebody with a session.
pub struct Guarded {
    /// The call.
    pub call: Call,
    /// Who.
    pub actor: Actor,
    /// The session that says so.
    pub session: Arc<SessionRecord>,
    /// Its token.
    pub token: String,
}

/// The id that the door gave a request.
pub fn request_id(request: &Request) -> RequestId {
    request
        .extensions()
        .get::<RequestId>()
        .copied()
        .unwrap_or_else(RequestId::generate)
}

/// A route for anybody. There is one.
pub fn open<F, Fut>(admin: &Arc<Admin>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let admin = admin.clone();
    let handler = Arc::new(handler);
    poem::endpoint::make(move |request: Request| {
        let (admin, handler) = (admin.clone(), handler.clone());
        async move {
            let id = request_id(&request);
            let (_, call) = unpack(admin, request);
            finish(handler(call).await, id)
        }
    })
}

/// A route for those who have a session; for administrators, if it changes anything.
pub fn guarded<F, Fut>(admin: &Arc<Admin>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(Guarded) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    with_session(admin, Role::Admin, handler)
}

/// A route for everybody who has a session, even if it changes something of their own.
pub fn own<F, Fut>(admin: &Arc<Admin>, handler: F) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(Guarded) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    with_session(admin, Role::Viewer, handler)
}

fn with_session<F, Fut>(
    admin: &Arc<Admin>,
    role_to_change: Role,
    handler: F,
) -> impl Endpoint<Output = Response> + 'static
where
    F: Fn(Guarded) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let admin = admin.clone();
    let handler = Arc::new(handler);
    poem::endpoint::make(move |request: Request| {
        let (admin, handler) = (admin.clone(), handler.clone());
        async move {
            let id = request_id(&request);
            let (method, call) = unpack(admin, request);
            let answer = match admit(&method, role_to_change, call).await {
                Ok(guarded) => handler(guarded).await,
                Err(error) => Err(error),
            };
            finish(answer, id)
        }
    })
}

fn unpack(admin: Arc<Admin>, request: Request) -> (Method, Call) {
    let origin = (admin.origin)(&request);
    let path_id = request.raw_path_param("id").unwrap_or_default().to_owned();
    let query = Query::of(request.uri().query().unwrap_or_default());
    let method = request.method().clone();
    let (parts, body) = request.into_parts();
    let call = Call {
        admin,
        origin,
        headers: parts.headers,
        query,
        path_id,
        body,
    };
    (method, call)
}

/// Lets a call in, or says why not.
async fn admit(method: &Method, role_to_change: Role, call: Call) -> Result<Guarded, GatewayError> {
    let reads_only = matches!(*method, Method::GET | Method::HEAD);
    let (token, from_cookie) = match (bearer(&call.headers), cookie::session(&call.headers)) {
        (Some(token), _) => (token.to_owned(), false),
        (None, Some(token)) => (token.to_owned(), true),
        (None, None) => {
            return Err(GatewayError::new(
                ErrorKind::Unauthenticated,
                "No session. Log in at POST /api/v1/admin/login and send the token as `Authorization: Bearer <token>`.",
            )
            .with_code("missing_session"));
        }
    };
    let session = match call.admin.accounts.session(&token).await {
        Ok(session) => session,
        Err(error) if call.admin.keys.registry().is_client_key(&token) => {
            return Err(GatewayError::new(
                ErrorKind::Unauthenticated,
                "This is a client key. It opens /v1, never an admin route: log in at POST /api/v1/admin/login.",
            )
            .with_code("client_key")
            .with_detail(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    if from_cookie && !reads_only && !cookie::csrf_is_right(&call.headers, &session.csrf_token) {
        return Err(GatewayError::new(
            ErrorKind::Forbidden,
            "The session's cookie alone changes nothing: send `x-csrf-token` as well (GET /api/v1/admin/session tells it).",
        )
        .with_code("csrf"));
    }
    if !reads_only && session.role < role_to_change {
        return Err(GatewayError::new(ErrorKind::Forbidden, "This account may only look."));
    }
    let actor = Actor {
        username: session.username.clone(),
        role: session.role,
        ip: Some(call.origin.ip),
        trail: Some(call.admin.ops.audit.clone()),
    };
    Ok(Guarded {
        call,
        actor,
        session,
        token,
    })
}

/// The bearer of a request; the scheme in any case.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// An answer in JSON.
///
/// # Errors
/// `Internal` if it does not serialise.
pub fn json(value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| GatewayError::internal(format!("answer: {error}")))?;
    Ok(Response::builder().content_type("application/json").body(body))
}

fn finish(answer: Answer, id: RequestId) -> poem::Result<Response> {
    let id = id.to_string();
    let mut response = match answer {
        Ok(mut response) => {
            if let Ok(value) = HeaderValue::from_str(&id) {
                response.headers_mut().insert("x-request-id", value);
            }
            response
        }
        Err(error) => {
            if let Some(detail) = &error.detail {
                tracing::warn!(request = %id, code = error.public_code(), detail, "admin call failed");
            }
            error_response(&error, &id)
        }
    };
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
