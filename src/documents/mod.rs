//! Documents for programs, generated from the code: JSON Schemas of everything that operators' doors take and answer, and
//! an AsyncAPI document of what is on NATS. They stand in `schemas/`; a test fails when they are not what this makes.

mod asyncapi;
mod configuration;
mod definitions;
pub mod openapi;
mod public;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use grok2api_schemas::openai::error::ErrorBody;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::cli::command_of;
use crate::control::events::events;
use crate::ops::table::operations;

pub use asyncapi::asyncapi;

/// Directory of the JSON Schemas below that of all documents.
const SCHEMAS: &str = "json";

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its path below `schemas/`.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

/// Every document.
pub fn documents() -> Vec<Document> {
    let mut all = vec![Document {
        path: "asyncapi.json".to_owned(),
        text: text(asyncapi()),
    }];
    let mut schema = |name: &str, schema: Value| {
        all.push(Document {
            path: format!("{SCHEMAS}/{name}.json"),
            text: text(schema),
        });
    };
    for operation in operations() {
        let name = operation.about.name();
        schema(
            &format!("{name}.input"),
            root(operation.input, SchemaSettings::for_deserialize),
        );
        schema(
            &format!("{name}.output"),
            root(operation.output, SchemaSettings::for_serialize),
        );
    }
    for event in events() {
        schema(event.subject, root(event.payload, SchemaSettings::for_serialize));
    }
    schema(
        "error",
        root(
            |generator| generator.subschema_for::<ErrorBody<'static>>(),
            SchemaSettings::for_serialize,
        ),
    );
    schema("config", configuration::schema());
    all
}

/// The README's table: every operation and the doors to it.
pub fn operations_table() -> String {
    let mut table =
        String::from("| operation | HTTP, below `/api/v1/admin` | NATS | command line |\n|---|---|---|---|\n");
    for operation in operations() {
        let about = &operation.about;
        let (method, path) = about.http;
        // Writing to a text cannot fail.
        let _ = writeln!(
            table,
            "| {} | `{method} {path}` | `{}` | `grok2api {} {}` |",
            about.doc.trim_end_matches('.'),
            about.subject,
            command_of(about.group()),
            about.verb()
        );
    }
    table
}

/// A schema that stands by itself.
fn root(of: fn(&mut SchemaGenerator) -> Schema, contract: fn(SchemaSettings) -> SchemaSettings) -> Value {
    let mut generator = contract(SchemaSettings::draft2020_12()).into_generator();
    let mut schema = of(&mut generator);
    let definitions = generator.take_definitions(true);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    let mut object = schema.to_value();
    if let Value::Object(object) = &mut object {
        object.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        if !definitions.is_empty() {
            object.insert("$defs".to_owned(), Value::Object(definitions));
        }
    }
    object
}

/// JSON for people, the same from every build.
pub fn text(value: Value) -> String {
    // Strings, numbers and maps of them: this cannot fail.
    let mut text = serde_json::to_string_pretty(&sorted(value)).unwrap_or_default();
    text.push('\n');
    text
}

/// With every object in the order of its names. Whether a map keeps the order of insertion is up to whatever else is built
/// with it.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let by_name: BTreeMap<String, Value> = object.into_iter().collect();
            Value::Object(by_name.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// Writes every document below a directory, and takes away schemas of what is no more.
///
/// # Errors
/// The directory cannot be written.
pub fn write(directory: &Path) -> io::Result<usize> {
    let all = documents();
    fs::create_dir_all(directory.join(SCHEMAS))?;
    for entry in fs::read_dir(directory.join(SCHEMAS))? {
        let path = entry?.path();
        let is_known = all.iter().any(|document| directory.join(&document.path) == path);
        if path.extension().is_some_and(|extension| extension == "json") && !is_known {
            fs::remove_file(path)?;
        }
    }
    for document in &all {
        fs::write(directory.join(&document.path), &document.text)?;
    }
    Ok(all.len())
}
