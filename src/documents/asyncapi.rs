//! The AsyncAPI document: every operation of the table as a channel with its reply, every event as a channel.

use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::bus::subjects::admin::{QUEUE, SERVICE};
use grok2api_schemas::openai::error::ErrorBody;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::definitions::Definitions;
use crate::control::events::events;
use crate::ops::table::{Operation, operations};

/// The message that every operation may answer instead.
const ERROR: &str = "error";

/// The document.
pub fn asyncapi() -> Value {
    let mut definitions = Definitions::of(SchemaSettings::draft07);
    let (mut channels, mut deeds, mut messages) = (Map::new(), Map::new(), Map::new());
    for operation in operations() {
        let name = operation.about.name();
        definitions.input(&ask(name), operation.input);
        let answer = definitions.output(operation.output);
        messages.insert(ask(name), json!({"name": ask(name), "title": operation.about.doc}));
        messages.insert(
            done(name),
            json!({"name": done(name), "title": format!("Answer of {name}"), "headers": headers(false), "payload": answer}),
        );
        channels.insert(
            name.to_owned(),
            channel(operation.about.subject, operation.about.doc, &ask(name)),
        );
        channels.insert(
            reply(name),
            json!({
                "address": null,
                "title": format!("Answers of {name}"),
                "description": "The reply subject of the request.",
                "messages": {done(name): message(&done(name)), ERROR: message(ERROR)},
            }),
        );
        deeds.insert(name.to_owned(), deed(operation));
    }
    for event in events() {
        let payload = definitions.output(event.payload);
        messages.insert(
            event.subject.to_owned(),
            json!({"name": event.subject, "title": event.doc, "payload": payload}),
        );
        channels.insert(
            event.subject.to_owned(),
            channel(event.subject, event.doc, event.subject),
        );
        deeds.insert(
            event.subject.to_owned(),
            json!({
                "action": "send",
                "summary": event.doc,
                "channel": {"$ref": format!("#/channels/{}", event.subject)},
                "messages": [message_of(event.subject, event.subject)],
            }),
        );
    }
    let error = definitions.output(|generator| generator.subschema_for::<ErrorBody<'static>>());
    messages.insert(
        ERROR.to_owned(),
        json!({
            "name": ERROR,
            "title": "Why an operation was not done: the same words as over HTTP",
            "headers": headers(true),
            "payload": error,
        }),
    );
    let (schemas, inputs) = definitions.finish();
    for (name, payload) in inputs {
        if let Some(Value::Object(message)) = messages.get_mut(&name) {
            message.insert("payload".to_owned(), payload);
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "grok2api over NATS",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Administration of a grok2api cluster, and what happens in it. The operations are endpoints of the \
                 micro-service `{SERVICE}` (queue group `{QUEUE}`): `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` answer. \
                 Whoever NATS allows to publish to `<prefix>.admin.>` is an administrator."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "{host}",
                "protocol": "nats",
                "description": "The NATS that the nodes use (`NATS_URL`).",
                "variables": {"host": {"default": "127.0.0.1:4222"}},
            },
        },
        "channels": channels,
        "operations": deeds,
        "components": {"messages": messages, "schemas": schemas},
    })
}

fn ask(name: &str) -> String {
    format!("{name}.input")
}

fn done(name: &str) -> String {
    format!("{name}.output")
}

fn reply(name: &str) -> String {
    format!("{name}.reply")
}

fn message(name: &str) -> Value {
    json!({"$ref": format!("#/components/messages/{name}")})
}

fn message_of(channel: &str, name: &str) -> Value {
    json!({"$ref": format!("#/channels/{channel}/messages/{name}")})
}

fn channel(subject: &str, doc: &str, name: &str) -> Value {
    json!({
        "address": format!("{{prefix}}.{subject}"),
        "title": subject,
        "description": doc,
        "parameters": {
            "prefix": {"description": "What this cluster's subjects begin with (`nats.prefix`).", "default": "grok2api"},
        },
        "messages": {name: message(name)},
    })
}

fn deed(operation: &Operation) -> Value {
    let about = &operation.about;
    let name = about.name();
    let (method, path) = about.http;
    let role = match about.role {
        Role::Viewer => "viewer",
        Role::Admin => "admin",
    };
    json!({
        "action": "receive",
        "summary": about.doc,
        "description": format!("Over HTTP: `{method} /api/v1/admin{path}`."),
        "x-role": role,
        "channel": {"$ref": format!("#/channels/{name}")},
        "messages": [message_of(name, &ask(name))],
        "reply": {
            "channel": {"$ref": format!("#/channels/{}", reply(name))},
            "messages": [message_of(&reply(name), &done(name)), message_of(&reply(name), ERROR)],
        },
    })
}

fn headers(is_error: bool) -> Value {
    let mut properties = json!({"x-request-id": {"type": "string", "description": "Names this answer."}});
    if is_error {
        properties["Nats-Service-Error"] =
            json!({"type": "string", "description": "The words of the error on one line, at most 200 characters."});
        properties["Nats-Service-Error-Code"] =
            json!({"type": "string", "pattern": "^[45][0-9]{2}$", "description": "The status that HTTP would have."});
    }
    json!({"type": "object", "properties": properties})
}
