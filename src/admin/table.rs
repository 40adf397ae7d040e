//! Routes that are an operation of the table as it stands: the query or the body in, its answer out. Who may is the
//! operation's own affair, also where it only looks.

use poem::Response;
use serde_json::{Map, Value};

use super::body;
use super::call::{Answer, Guarded};
use crate::engine::error::GatewayError;
use crate::ops::table::operation;

/// Parameters that are numbers; what looks like one elsewhere is a text.
const NUMBERS: [&str; 4] = ["limit", "lines", "since_ms", "until_ms"];

/// Runs the operation of a subject with the query's parameters.
pub async fn looked(guarded: Guarded, subject: &str) -> Answer {
    let mut ask = Map::new();
    for (name, text) in guarded.call.query.pairs() {
        let value = match text.parse::<u64>() {
            Ok(number) if NUMBERS.contains(&name) => Value::from(number),
            _ => Value::from(text),
        };
        ask.insert(name.to_owned(), value);
    }
    run(guarded, subject, Value::Object(ask).to_string().into()).await
}

/// Runs the operation of a subject with the body.
pub async fn sent(mut guarded: Guarded, subject: &str) -> Answer {
    let sent = std::mem::take(&mut guarded.call.body);
    let bytes = body::read(sent, guarded.call.admin.limits.ordinary).await?;
    run(guarded, subject, bytes).await
}

async fn run(guarded: Guarded, subject: &str, ask: bytes::Bytes) -> Answer {
    let name = grok2api_schemas::bus::subjects::admin::name_of(subject);
    let operation = operation(name).ok_or_else(|| GatewayError::internal(format!("{name} is not in the table")))?;
    let answer = operation
        .run(guarded.call.admin.ops.clone(), guarded.actor, ask)
        .await?;
    Ok(Response::builder().content_type("application/json").body(answer))
}
