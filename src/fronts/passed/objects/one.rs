//! One object: looked up, changed, deleted, and what is below it.

use std::sync::Arc;

use http::Method;
use poem::{Request, Response};

use super::super::{content_type_of, json_response, must_be_open, respond_as_it_is};
use super::translated::{self, Remembered};
use super::{Family, batches, query_of, with_has_more};
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::door::body::read_body;
use crate::engine::answer::Answer;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// What is asked of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Read,
    Delete,
    /// Something below it that is read.
    Below(&'static str),
    /// Bytes below it.
    Bytes(&'static str),
    /// Something is done to it.
    Do(&'static str),
    /// More calls for a batch.
    AddCalls,
    /// No more calls of a batch.
    Cancel,
}

fn deed(family: &Family, method: &Method, action: &str) -> Result<Deed, GatewayError> {
    let known: &[(&Method, &str, Deed)] = match family.kind {
        ObjectKind::File => &[
            (&Method::GET, "content", Deed::Bytes("/content")),
            (&Method::POST, "public-url", Deed::Do("/public-url")),
            (&Method::POST, "public-url/revoke", Deed::Do("/public-url/revoke")),
        ],
        ObjectKind::Skill => &[(&Method::GET, "content", Deed::Bytes("/content"))],
        ObjectKind::Voice => &[
            (&Method::PATCH, "", Deed::Do("")),
            (&Method::GET, "audio", Deed::Bytes("/audio")),
        ],
        ObjectKind::Batch => &[
            (&Method::GET, "requests", Deed::Below("/requests")),
            (&Method::POST, "requests", Deed::AddCalls),
            (&Method::GET, "results", Deed::Below("/results")),
            (&Method::POST, "cancel", Deed::Cancel),
        ],
        _ => &[],
    };
    let own: &[(&Method, &str, Deed)] = match family.is_deletable {
        true => &[(&Method::GET, "", Deed::Read), (&Method::DELETE, "", Deed::Delete)],
        false => &[(&Method::GET, "", Deed::Read)],
    };
    let mut of_path = known
        .iter()
        .chain(own)
        .filter(|(_, path, _)| *path == action)
        .peekable();
    if of_path.peek().is_none() {
        let path = format!("{}/{{id}}/{}", family.root, crate::fronts::members::clip(action));
        return Err(GatewayError::new(
            ErrorKind::NotFound,
            format!("There is no {path} here."),
        ));
    }
    match of_path.find(|(takes, _, _)| *takes == method) {
        Some((_, _, deed)) => Ok(*deed),
        None => Err(family.no_method(&format!("{}/{{id}}", family.root))),
    }
}

/// Answers a call that names an object.
pub(super) async fn one(
    app: &Arc<App>,
    mut request: Request,
    arrival: &Arrival,
    family: &'static Family,
    id: &str,
    action: &str,
) -> Result<Response, GatewayError> {
    let id = crate::http::decode(id);
    // The upstream's own form of cancelling.
    let (id, action) = match id.strip_suffix(":cancel") {
        Some(id) if family.kind == ObjectKind::Batch && action.is_empty() => (id.to_owned(), "cancel"),
        _ => (id, action),
    };
    let label = if action.is_empty() { family.one } else { family.below };
    let refused = |error: &GatewayError| app.refused(arrival, label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        must_be_open(&app.config(), label)?;
        let deed = deed(family, request.method(), action)?;
        let binding = family.find(app, &caller, &id).await?;
        let mut path = format!("{}/{id}", family.path());
        match deed {
            Deed::Read | Deed::Delete => {}
            Deed::Below(below) | Deed::Bytes(below) | Deed::Do(below) => path.push_str(below),
            Deed::AddCalls => path.push_str("/requests"),
            Deed::Cancel => path.push_str(":cancel"),
        }
        path.push_str(&query_of(&request));
        let method = request.method().clone();
        let mut ask = family.ask(label, method.clone(), path, arrival, &caller);
        ask.pin = Some(binding.token);
        ask.is_binary = matches!(deed, Deed::Bytes(_) | Deed::Delete | Deed::Do(_) | Deed::Cancel);
        if !matches!(method, Method::GET | Method::DELETE) {
            let body = read_body(&mut request, &app.body_limits()).await?;
            ask.bytes_in = body.len() as u64;
            ask.is_repeatable = false;
            ask.content_type = content_type_of(request.headers()).filter(|_| !body.is_empty());
            ask.body = body;
        }
        if deed == Deed::AddCalls {
            ask = batches::add(app, &caller, ask, &id, &binding).await?;
        }
        Ok((ask, deed, Remembered::of(&binding)))
    };
    let (ask, deed, asked) = made.await.inspect_err(refused)?;
    let added = ask.expected_ticks.filter(|_| deed == Deed::AddCalls);
    let answer = match (app.engine.run(ask).await, added) {
        (Err(error), Some(ticks)) => {
            batches::not_added(app, &id, ticks).await;
            return Err(error);
        }
        (answer, _) => answer?,
    };
    let answer = match (deed, asked, answer) {
        (Deed::Read | Deed::Cancel, Some(asked), Answer::Whole { status, body, .. })
            if (200..300).contains(&status) =>
        {
            batches::settle(app, &caller, &id, &body).await;
            let batch = translated::merged(&id, &body, &asked, arrival.time_ms);
            return Ok(json_response(batch.unwrap_or(body), arrival));
        }
        (_, _, answer) => answer,
    };
    match (deed, answer) {
        (Deed::Delete, answer) => {
            app.bindings
                .forget(family.kind, &id)
                .await
                .map_err(|error| GatewayError::internal(error.to_string()))?;
            Ok(respond_as_it_is(answer, arrival))
        }
        (Deed::Below(_), Answer::Whole { body, .. }) => Ok(json_response(with_has_more(body), arrival)),
        (Deed::Bytes(_) | Deed::Do(_) | Deed::Cancel, answer) => Ok(respond_as_it_is(answer, arrival)),
        (_, answer) => {
            if let (Deed::Read, true, Answer::Whole { body, .. }) = (deed, family.is_settled_by_looking(), &answer) {
                batches::settle(app, &caller, &id, body).await;
            }
            let answer = match answer {
                Answer::Whole {
                    status,
                    headers,
                    body,
                    served_by,
                    unsettled,
                    overhead_us,
                } if deed == Deed::Read => Answer::Whole {
                    body: family.shown(body),
                    status,
                    headers,
                    served_by,
                    unsettled,
                    overhead_us,
                },
                other => other,
            };
            Ok(crate::fronts::answering::respond(answer, arrival))
        }
    }
}
