//! Reading JSON schemas: references, unions, bounds.

use serde_json::{Map, Number, Value};

/// References followed, and levels nested, before optional things are left out.
pub const DEEP: usize = 8;
/// The same for optional references, which are mostly recursive.
const OPTIONAL_REFERENCES: usize = 4;

/// A count that the schema states.
pub fn size(schema: &Map<String, Value>, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|number| usize::try_from(number).ok())
}

/// `#/$defs/Name` and `#`.
pub fn resolve<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let pointer = path.strip_prefix('#')?;
    if pointer.is_empty() {
        Some(root)
    } else {
        root.pointer(pointer)
    }
}

/// The type to make; deep down `null` where it is allowed, so that recursion ends.
pub fn type_of(schema: &Map<String, Value>, depth: usize) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            let null = names.contains(&"null");
            if depth >= DEEP && null {
                return "null";
            }
            names.into_iter().find(|name| *name != "null").unwrap_or("null")
        }
        _ if schema.contains_key("properties") || schema.contains_key("required") => "object",
        _ if schema.contains_key("items") || schema.contains_key("prefixItems") => "array",
        _ if schema.contains_key("minimum") || schema.contains_key("maximum") => "number",
        _ => "string",
    }
}

/// The variant to make: the first one that is not null; deep down the simplest. Optional references end soon, since they
/// usually lead back to where they stand.
pub fn choose<'a>(variants: &'a [Value], root: &'a Value, depth: usize) -> Option<&'a Value> {
    let resolved = |variant: &'a Value| {
        variant
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| resolve(root, path))
            .unwrap_or(variant)
    };
    let kind = |variant: &'a Value| resolved(variant).get("type").and_then(Value::as_str).unwrap_or("");
    if depth >= DEEP {
        let simple = variants
            .iter()
            .find(|variant| !matches!(kind(variant), "object" | "array" | ""));
        return simple.or(variants.first());
    }
    let null = variants.iter().find(|variant| kind(variant) == "null");
    let referred = variants.iter().any(|variant| variant.get("$ref").is_some());
    if depth >= OPTIONAL_REFERENCES && referred && null.is_some() {
        return null;
    }
    variants
        .iter()
        .find(|variant| kind(variant) != "null")
        .or(variants.first())
}

/// One schema that says what all of them say, for the cases people write: properties, required and scalars.
pub fn merge_all(outer: &Map<String, Value>, parts: &[Value], root: &Value, depth: usize) -> Value {
    let mut merged = outer.clone();
    merged.remove("allOf");
    for part in parts {
        let part = part
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| resolve(root, path))
            .unwrap_or(part);
        let nested;
        let part = match part.get("allOf").and_then(Value::as_array) {
            // Schemas that contain themselves end here.
            Some(_) if depth > DEEP => continue,
            Some(inner) => {
                nested = merge_all(part.as_object().unwrap_or(&Map::new()), inner, root, depth + 1);
                &nested
            }
            None => part,
        };
        for (name, value) in part.as_object().into_iter().flatten() {
            match (merged.get_mut(name), value) {
                (Some(Value::Object(have)), Value::Object(more)) => {
                    for (key, value) in more {
                        have.insert(key.clone(), value.clone());
                    }
                }
                (Some(Value::Array(have)), Value::Array(more)) if name == "required" => {
                    have.extend(more.iter().cloned());
                }
                _ => {
                    merged.insert(name.clone(), value.clone());
                }
            }
        }
    }
    Value::Object(merged)
}

/// Another value than those in the list: the next of an enum, a longer text, a greater number.
pub fn distinct(schema: &Value, root: &Value, value: &Value, list: &[Value]) -> Option<Value> {
    let schema = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| resolve(root, path))
        .unwrap_or(schema);
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return choices.iter().find(|choice| !list.contains(choice)).cloned();
    }
    let count = list.len();
    match value {
        Value::String(text) => Some(Value::String(format!("{text} {}", count + 1))),
        Value::Number(number) => {
            let next = number.as_i64()?.checked_add(i64::try_from(count).ok()?)?;
            Some(Value::Number(Number::from(next)))
        }
        _ => None,
    }
}

/// Lowest and highest number allowed; `step` is how far an exclusive bound is kept away from.
pub fn bounds(schema: &Map<String, Value>, step: f64) -> (f64, f64) {
    let number = |name: &str| schema.get(name).and_then(Value::as_f64);
    let low = number("minimum").unwrap_or(f64::NEG_INFINITY);
    let low = number("exclusiveMinimum").map_or(low, |bound| low.max(bound + step));
    let high = number("maximum").unwrap_or(f64::INFINITY);
    let high = number("exclusiveMaximum").map_or(high, |bound| high.min(bound - step));
    (low.max(-9.0e15), high.min(9.0e15))
}

/// A text of a named format.
pub fn of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => "2026-11-23",
        "date-time" => "2026-11-23T12:00:00Z",
        "time" => "12:00:00Z",
        "duration" => "PT15M",
        "email" => "someone@example.com",
        "hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "url" => "https://example.com/",
        "uuid" => "0f8fad5b-d9cb-469f-a165-70867728950e",
        _ => return None,
    })
}
