//! The OpenAPI 3.1 document: the public API, and administration. `poem-openapi` writes 3.0 and cannot describe handlers
//! that let bytes pass, so it is put together here, from the table of routes and that of operations.

use std::sync::LazyLock;

use bytes::Bytes;
use grok2api_schemas::openai::error::ErrorBody;
use grok2api_schemas::public::AnthropicError;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::definitions::Definitions;
use super::public::{self, Gives, Public, Takes};
use super::text;
use crate::ops::table::{Operation, operations};

const ADMIN: &str = "/api/v1/admin";

/// The document, as it is served: the same bytes each time.
pub fn served() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(text(openapi())));
    TEXT.clone()
}

/// The document.
pub fn openapi() -> Value {
    let mut definitions = Definitions::of(SchemaSettings::draft2020_12);
    let mut paths: Map<String, Value> = Map::new();
    let mut add = |path: &str, method: &str, operation: Value| {
        let at = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        if let Some(methods) = at.as_object_mut() {
            methods.insert(method.to_owned(), operation);
        }
    };
    let error = definitions.output(|generator| generator.subschema_for::<ErrorBody<'static>>());
    let anthropic = definitions.output(|generator| generator.subschema_for::<AnthropicError>());
    for route in public::routes() {
        let refusal = if route.path.starts_with("/v1/messages") || route.path == "/v1/complete" {
            &anthropic
        } else {
            &error
        };
        add(route.path, route.method, of_route(&mut definitions, &route, refusal));
    }
    for operation in operations() {
        let about = &operation.about;
        let (method, path) = about.http;
        add(
            &format!("{ADMIN}{path}"),
            &method.to_lowercase(),
            of_rest(operation, &error),
        );
        let by_name = of_operation(&mut definitions, operation, &error);
        add(&format!("{ADMIN}/operations/{}", about.name()), "post", by_name);
    }
    for (method, path, about) in OTHER_ADMIN {
        add(&format!("{ADMIN}{path}"), method, other(path, method, about, &error));
    }
    let (schemas, inputs) = definitions.finish();
    for (key, schema) in inputs {
        let (path, method) = key.split_once(' ').unwrap_or((&key, "post"));
        if let Some(operation) = paths.get_mut(path).and_then(|at| at.get_mut(method)) {
            operation["requestBody"]["content"]["application/json"]["schema"] = schema;
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "grok2api",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's, Anthropic's and xAI's APIs in front of a pool of Grok credentials. What a request \
                            or an answer holds beside what stands here passes as it came.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A client key of this gateway."},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same, as Anthropic's clients send it."},
                "session": {"type": "http", "scheme": "bearer", "description": "The token of an administrator's session (POST /api/v1/admin/login)."},
            },
        },
    })
}

/// Routes of administration that are no operation of the table.
const OTHER_ADMIN: [(&str, &str, &str); 28] = [
    ("post", "/login", "Begins a session."),
    ("post", "/logout", "Ends it."),
    ("get", "/session", "Shows it."),
    (
        "post",
        "/session/key",
        "Answers the session's client key, for the panel's chat: it ends with the session, on every node.",
    ),
    ("get", "/storage", "Tells where things are kept."),
    ("get", "/operations", "Lists the operations."),
    ("get", "/config", "Shows the configuration."),
    ("post", "/config", "Changes the configuration."),
    ("get", "/tokens", "Lists credentials."),
    (
        "post",
        "/tokens",
        "Makes a whole list of credentials the one that is in force.",
    ),
    ("get", "/tokens/counts", "Counts credentials by pool and state."),
    ("post", "/tokens/{id}/refresh", "Asks the upstream about a credential."),
    ("post", "/tokens/{id}/clear-cooling", "Ends a credential's rest."),
    ("post", "/tokens/import", "Adds credentials from a file."),
    ("post", "/tokens/export", "Gives credentials out."),
    ("post", "/tokens/nsfw/refresh", "Of the older project; not offered."),
    (
        "post",
        "/tokens/auto-register",
        "Starts a provisioner's job, in the older project's form; not offered without one.",
    ),
    (
        "get",
        "/tokens/auto-register/status",
        "A job, in the older project's form.",
    ),
    (
        "post",
        "/tokens/auto-register/stop",
        "A job, in the older project's form.",
    ),
    ("post", "/keys/update", "Changes a key, in the older project's form."),
    ("post", "/keys/delete", "Deletes a key, in the older project's form."),
    ("get", "/cache", "Tells what is kept of images and videos."),
    ("post", "/cache/online/clear", "Of the older project; not offered."),
    (
        "get",
        "/events",
        "Tells what happens, as it happens, in server-sent events.",
    ),
    (
        "get",
        "/logs/stream",
        "Tells what is logged, as it is, in server-sent events.",
    ),
    (
        "get",
        "/metrics",
        "Sums requests of a day and a week, in the older project's form.",
    ),
    ("get", "/requests", "Lists requests."),
    ("get", "/cluster", "Shows the cluster."),
];

fn parameters(path: &str, query: &[&str]) -> Vec<Value> {
    let in_path = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({
                "name": name, "in": "path", "required": true,
                "schema": {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9_.-]{1,100}$"},
            })
        });
    let in_query = query.iter().map(|name| {
        let schema = match *name {
            "limit" => json!({"type": "integer", "minimum": 1, "maximum": 100}),
            "order" => json!({"type": "string", "enum": ["asc", "desc"]}),
            _ => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]*$"}),
        };
        json!({"name": name, "in": "query", "required": false, "schema": schema})
    });
    in_path.chain(in_query).collect()
}

/// What a caller may get instead: refused, not there, or not now.
fn refusals(error: &Value) -> Value {
    json!({"description": "Why not.", "content": {"application/json": {"schema": error}}})
}

/// Names an operation by its method and path.
fn id_of(method: &str, path: &str) -> String {
    let words: String = path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{method}{words}").trim_end_matches('_').to_owned()
}

fn of_route(definitions: &mut Definitions, route: &Public, error: &Value) -> Value {
    let mut operation = json!({
        "operationId": id_of(route.method, route.path),
        "summary": route.about,
        "tags": [route.group],
        "responses": {"default": refusals(error)},
    });
    let parameters = parameters(route.path, route.query);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if route.is_open {
        operation["security"] = json!([]);
    } else {
        operation["security"] = json!([{"key": []}, {"x-api-key": []}]);
    }
    match route.takes {
        Takes::Nothing => {}
        Takes::Json(of) => {
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {}}});
            definitions.input(&format!("{} {}", route.path, route.method), of);
        }
        Takes::Object => {
            operation["requestBody"] =
                json!({"required": false, "content": {"application/json": {"schema": {"type": "object"}}}});
        }
        Takes::Form(part) => {
            operation["requestBody"] =
                json!({"required": true, "content": {"multipart/form-data": {"schema": public::form(part)}}});
        }
        Takes::JsonOrForm(of, part) => {
            let form = json!({"schema": public::form(part)});
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {}, "multipart/form-data": form}});
            definitions.input(&format!("{} {}", route.path, route.method), of);
        }
    }
    let object = json!({"type": "object"});
    let given = match route.gives {
        Gives::Json(of) => json!({"application/json": {"schema": definitions.output(of)}}),
        Gives::Object => json!({"application/json": {"schema": object}}),
        Gives::Events => json!({
            "application/json": {"schema": object},
            "text/event-stream": {"schema": {
                "type": "object",
                "description": "Each event.",
                "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
                "required": ["data"],
            }},
        }),
        Gives::Bytes(kinds) => {
            let kinds = kinds.iter().map(|kind| ((*kind).to_owned(), json!({})));
            Value::Object(kinds.collect())
        }
        Gives::Socket => {
            operation["responses"]["101"] = json!({"description": "The connection is a WebSocket from here on."});
            return operation;
        }
    };
    operation["responses"]["200"] = json!({"description": "Done.", "content": given});
    operation
}

fn admin(id: String, about: &str, error: &Value) -> Value {
    json!({
        "operationId": id,
        "summary": about,
        "tags": ["Administration"],
        "security": [{"session": []}],
        "responses": {"default": refusals(error)},
    })
}

/// An operation by its own path, whose types are those of older clients.
fn of_rest(operation: &Operation, error: &Value) -> Value {
    let (method, path) = operation.about.http;
    other(path, &method.to_lowercase(), operation.about.doc, error)
}

fn other(path: &str, method: &str, about: &str, error: &Value) -> Value {
    let mut told = admin(id_of(method, &format!("{ADMIN}{path}")), about, error);
    told["responses"]["200"] = json!({"description": "Done.", "content": {"application/json": {}, "application/x-ndjson": {}, "text/event-stream": {}}});
    let parameters = parameters(path, &[]);
    if !parameters.is_empty() {
        told["parameters"] = parameters.into();
    }
    if matches!(method, "post" | "patch") {
        told["requestBody"] = json!({"required": false, "content": {"application/json": {"schema": {}}}});
    }
    told
}

/// An operation by its name, in its exact types.
fn of_operation(definitions: &mut Definitions, operation: &Operation, error: &Value) -> Value {
    let about = &operation.about;
    let path = format!("{ADMIN}/operations/{}", about.name());
    let mut told = admin(id_of("post", &path), about.doc, error);
    told["requestBody"] = json!({"required": false, "content": {"application/json": {}}});
    definitions.input(&format!("{path} post"), operation.input);
    let answer = definitions.output(operation.output);
    told["responses"]["200"] = json!({"description": "Done.", "content": {"application/json": {"schema": answer}}});
    told
}
