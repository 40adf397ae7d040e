//! `GET /v1/api-key` and `GET /v1/me`: what a client key is, in the upstream's shape. What the upstream would say is about
//! one of the pool's credentials, which is nobody's business.

use std::sync::Arc;

use grok2api_actors::clients::Identity;
use poem::{Request, Response};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ServiceDialect, json_response};
use crate::app::App;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::GatewayError;
use crate::fronts::openai::error::error_response;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Stands where the upstream names a team or user: for a client there is one, this gateway.
const OWNER: &str = "grok2api";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboutKey {
    /// What the key is.
    Key,
    /// Whose it is.
    Me,
}

/// Answers either.
pub async fn about_key(app: &Arc<App>, request: Request, what: AboutKey) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, &request, &arrival, what).await {
        Ok(body) => json_response(body.to_string(), &arrival),
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Arc<App>, request: &Request, arrival: &Arrival, what: AboutKey) -> Result<Value, GatewayError> {
    let label = match what {
        AboutKey::Key => "/v1/api-key",
        AboutKey::Me => "/v1/me",
    };
    let caller = authenticate(app, request.headers()).inspect_err(|error| app.refused(arrival, label, error))?;
    let said = view(&caller, what);
    let ask = Ask::of_service(
        Route::post(label, ""),
        arrival,
        caller,
        "about-key",
        Arc::new(ServiceDialect::default()),
    );
    app.engine.answer_here(ask, async { Ok(said) }).await
}

fn view(caller: &Caller, what: AboutKey) -> Value {
    let (id, shown, name, created_ms, models) = match caller {
        Caller::Key(Identity::Key(key)) => (
            key.id.to_string(),
            key.display_key.clone(),
            key.name.clone(),
            key.created_ms,
            key.allowed_models.clone(),
        ),
        Caller::Key(Identity::Config) => (
            "config".to_owned(),
            "***".to_owned(),
            "app.api_key".to_owned(),
            0,
            Vec::new(),
        ),
        Caller::Anonymous => (
            "anonymous".to_owned(),
            String::new(),
            "anonymous".to_owned(),
            0,
            Vec::new(),
        ),
    };
    match what {
        AboutKey::Me => json!({
            "user_id": OWNER,
            "team_id": OWNER,
            "zdr_status": "no_zdr",
            "team_blocked": false,
            "api_key": {"redacted_api_key": shown, "api_key_id": id, "blocked": false, "disabled": false},
        }),
        AboutKey::Key => {
            let models = if models.is_empty() {
                vec!["*".to_owned()]
            } else {
                models
            };
            let acls: Vec<String> = std::iter::once("api-key:endpoint:*".to_owned())
                .chain(models.iter().map(|model| format!("api-key:model:{model}")))
                .collect();
            let created = moment(created_ms);
            json!({
                "redacted_api_key": shown,
                "user_id": OWNER,
                "name": name,
                "create_time": created,
                "modify_time": created,
                "modified_by": OWNER,
                "team_id": OWNER,
                "acls": acls,
                "api_key_id": id,
                "team_blocked": false,
                "api_key_blocked": false,
                "api_key_disabled": false,
            })
        }
    }
}

fn moment(ms: u64) -> String {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
