//! Objects that a team of the upstream keeps for those who made them: files, skills, voices, batches. A call that names one
//! goes to the team that has it, and only whoever made it through this gateway finds it.

mod batches;
mod list;
mod make;
mod one;
mod translated;

pub(in crate::fronts) use make::read_upload;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::ServiceDialect;
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::members::{Members, clip};
use crate::fronts::openai::error::error_response;
use crate::fronts::pins;
use crate::http::arrival::Arrival;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A kind of object, and how the upstream shows it.
#[derive(Debug)]
pub struct Family {
    /// What it is, in messages.
    noun: &'static str,
    /// Label of the list, which is its path.
    pub root: &'static str,
    /// Label of one.
    pub one: &'static str,
    /// Label of what is below one.
    pub below: &'static str,
    /// What its calls count as.
    service: &'static str,
    kind: ObjectKind,
    /// The member that holds the id.
    id: &'static str,
    /// The member of a list that holds the objects.
    rows: &'static str,
    /// The part of a form that holds what is uploaded, and how many there may be; nothing: it is made from JSON.
    upload: Option<(&'static str, usize)>,
    /// It changes by itself, and is looked up anew for lists.
    is_changing: bool,
    /// What `DELETE` does; nothing: it is not deleted.
    is_deletable: bool,
    /// How long it is remembered, unless the upstream says when it ends.
    life_ms: u64,
}

/// Every family.
pub static FAMILIES: [Family; 4] = [
    Family {
        noun: "File",
        root: "/v1/files",
        one: "/v1/files/{id}",
        below: "/v1/files/{id}/{action}",
        service: "files",
        kind: ObjectKind::File,
        id: "id",
        rows: "data",
        upload: Some(("file", 1)),
        is_changing: false,
        is_deletable: true,
        life_ms: 3650 * DAY_MS,
    },
    Family {
        noun: "Skill",
        root: "/v1/skills",
        one: "/v1/skills/{id}",
        below: "/v1/skills/{id}/{action}",
        service: "skills",
        kind: ObjectKind::Skill,
        id: "id",
        rows: "data",
        upload: Some(("files", 16)),
        is_changing: false,
        is_deletable: true,
        life_ms: 3650 * DAY_MS,
    },
    Family {
        noun: "Voice",
        root: "/v1/custom-voices",
        one: "/v1/custom-voices/{id}",
        below: "/v1/custom-voices/{id}/{action}",
        service: "voices",
        kind: ObjectKind::Voice,
        id: "voice_id",
        rows: "voices",
        upload: Some(("file", 1)),
        is_changing: false,
        is_deletable: true,
        life_ms: 3650 * DAY_MS,
    },
    Family {
        noun: "Batch",
        root: "/v1/batches",
        one: "/v1/batches/{id}",
        below: "/v1/batches/{id}/{action}",
        service: "batches",
        kind: ObjectKind::Batch,
        id: "batch_id",
        rows: "batches",
        upload: None,
        is_changing: true,
        is_deletable: false,
        life_ms: 60 * DAY_MS,
    },
];

impl Family {
    fn not_found(&self, id: &str) -> GatewayError {
        GatewayError::new(ErrorKind::NotFound, format!("{} '{}' not found.", self.noun, clip(id)))
            .with_code("object_not_found")
    }

    async fn find(&self, app: &App, caller: &Caller, id: &str) -> Result<Binding, GatewayError> {
        pins::of_caller(app, caller, self.kind, id, || self.not_found(id)).await
    }

    /// The path upstream.
    fn path(&self) -> &'static str {
        self.root.trim_start_matches("/v1")
    }

    fn no_method(&self, path: &str) -> GatewayError {
        GatewayError::new(
            ErrorKind::MethodNotAllowed,
            format!("{path} does not take this method."),
        )
    }

    /// A call of this family.
    fn ask(&self, label: &'static str, method: Method, path: String, arrival: &Arrival, caller: &Caller) -> Ask {
        let route = Route {
            label,
            method,
            path: Cow::Owned(path),
        };
        let dialect = ServiceDialect {
            id_member: Some(self.id),
            ticks: 0,
        };
        Ask::of_service(route, arrival, caller.clone(), self.service, Arc::new(dialect))
    }
}

/// Answers every call of a family: `rest` is what stands behind its root.
pub async fn objects(app: &Arc<App>, request: Request, family: &'static Family, rest: String) -> Response {
    let arrival = Arrival::of(&request, app);
    let answered = match (rest.split_once('/'), rest.is_empty(), request.method().clone()) {
        (None, true, Method::POST) => make::make(app, request, &arrival, family).await,
        (None, true, Method::GET) => list::list(app, &request, &arrival, family).await,
        (None, true, _) => Err(refuse(app, &arrival, family.root, family.no_method(family.root))),
        (None, false, _) if family.kind == ObjectKind::File && translated::file_named(&rest).is_some() => {
            translated::results(app, &request, &arrival, family, &rest, "").await
        }
        (Some((id, action)), _, _) if family.kind == ObjectKind::File && translated::file_named(id).is_some() => {
            translated::results(app, &request, &arrival, family, id, action).await
        }
        (None, false, _) => one::one(app, request, &arrival, family, &rest, "").await,
        (Some((id, action)), _, _) => one::one(app, request, &arrival, family, id, action).await,
    };
    match answered {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

fn refuse(app: &App, arrival: &Arrival, label: &'static str, error: GatewayError) -> GatewayError {
    app.refused(arrival, label, &error);
    error
}

/// What is kept of an object beside where it lies: how it was shown last, or what of its cost was charged.
fn kept(binding: &Binding) -> Option<Value> {
    serde_json::from_slice(binding.answer.as_deref()?).ok()
}

/// A file as OpenAI's clients expect it: with its state, and without an end where it has none.
fn as_a_file(mut shown: Value) -> Value {
    if let Some(members) = shown.as_object_mut()
        && members.contains_key("filename")
    {
        if members.get("expires_at").is_some_and(Value::is_null) {
            members.remove("expires_at");
        }
        members.entry("status").or_insert_with(|| json!("processed"));
    }
    shown
}

impl Family {
    /// An answer that shows one, as clients get it.
    fn shown(&self, body: Bytes) -> Bytes {
        match (self.kind, serde_json::from_slice(&body)) {
            (ObjectKind::File, Ok(shown)) => Bytes::from(as_a_file(shown).to_string()),
            _ => body,
        }
    }
}

/// A list of the upstream with the member that SDKs turn pages by.
fn with_has_more(body: Bytes) -> Bytes {
    let Ok(members) = Members::read(&body) else {
        return body;
    };
    if members.span("pagination_token").is_none() || members.span("has_more").is_some() {
        return body;
    }
    let has_more = members
        .raw("pagination_token")
        .is_some_and(|token| !matches!(token, "null" | "\"\""));
    members.with(&body, &[("has_more", json!(has_more))])
}

/// The query of a request, to go on upstream.
fn query_of(request: &Request) -> String {
    match request.uri().query() {
        Some(query) if !query.is_empty() => format!("?{query}"),
        _ => String::new(),
    }
}
