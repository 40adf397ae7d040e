//! The schema of the configuration file, from the table of its keys.

use grok2api_schemas::config::spec::{Form, KeySpec, Kind};
use grok2api_schemas::config::{CONFIG_VERSION, SECTIONS};
use serde_json::{Map, Value, json};

/// The schema.
pub(super) fn schema() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "config_version".to_owned(),
        json!({"const": CONFIG_VERSION, "description": "Tells this file from one of the older project."}),
    );
    for section in SECTIONS {
        let mut table = table(section.keys);
        table["description"] = section.doc.into();
        properties.insert(section.name.to_owned(), table);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Config",
        "description": "The configuration of grok2api: `config.toml`.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn table(keys: &[KeySpec]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|spec| (spec.key.to_owned(), key(spec))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn key(spec: &KeySpec) -> Value {
    let mut schema = kind(spec.kind);
    schema["description"] = spec.doc.into();
    if let Some(default) = spec.default.and_then(of_toml) {
        schema["default"] = default;
    }
    if spec.secret {
        schema["writeOnly"] = true.into();
    }
    if spec.restart {
        schema["x-restart"] = true.into();
    }
    schema["x-environment"] = spec.env.map_or_else(|| spec.env_name(), str::to_owned).into();
    schema
}

/// A default, which the table writes as TOML.
fn of_toml(text: &str) -> Option<Value> {
    let document: toml_edit::DocumentMut = format!("value = {text}").parse().ok()?;
    let wrapped: Value = toml_edit::de::from_document(document).ok()?;
    wrapped.get("value").cloned()
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Text(form) => text(form),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Texts(form) => json!({"type": "array", "items": text(form)}),
        Kind::Ints { min, max } => {
            json!({"type": "array", "items": {"type": "integer", "minimum": min, "maximum": max}})
        }
        Kind::Tables(keys) => json!({"type": "array", "items": table(keys)}),
        Kind::TableMap(keys) => json!({"type": "object", "additionalProperties": table(keys)}),
    }
}

/// Forms that JSON Schema has a name for; the others are checked by `grok2api check-config` alone.
fn text(form: Form) -> Value {
    match form {
        Form::Regex => json!({"type": "string", "format": "regex"}),
        _ => json!({"type": "string"}),
    }
}
