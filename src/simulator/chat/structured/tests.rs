//! A small checker for the part of JSON Schema that people send, and schemas of theirs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Filler;
use crate::simulator::chat::schema::resolve;

/// Why `value` does not satisfy `schema`; `None`: it does.
fn fault(schema: &Value, root: &Value, value: &Value) -> Option<String> {
    let Some(rules) = schema.as_object() else {
        return (schema == &Value::Bool(false)).then(|| "nothing is allowed".to_owned());
    };
    for (rule, wanted) in rules {
        let broken = match (rule.as_str(), wanted) {
            ("$ref", Value::String(path)) => match resolve(root, path) {
                Some(target) => fault(target, root, value),
                None => Some(format!("no {path}")),
            },
            ("type", Value::String(name)) => (!is(value, name)).then(|| format!("{value} is no {name}")),
            ("type", Value::Array(names)) => (!names.iter().filter_map(Value::as_str).any(|name| is(value, name)))
                .then(|| format!("{value} is none of {names:?}")),
            ("const", wanted) => (value != wanted).then(|| format!("{value} is not {wanted}")),
            ("enum", Value::Array(all)) => (!all.contains(value)).then(|| format!("{value} not in enum")),
            ("allOf", Value::Array(all)) => all.iter().find_map(|one| fault(one, root, value)),
            ("anyOf", Value::Array(all)) => all
                .iter()
                .all(|one| fault(one, root, value).is_some())
                .then(|| format!("{value} fits no anyOf")),
            ("oneOf", Value::Array(all)) => {
                let fits = all.iter().filter(|one| fault(one, root, value).is_none()).count();
                (fits != 1).then(|| format!("{value} fits {fits} of oneOf"))
            }
            ("required", Value::Array(names)) if value.is_object() => names
                .iter()
                .filter_map(Value::as_str)
                .find(|name| value.get(name).is_none())
                .map(|n| format!("no {n}")),
            ("properties", Value::Object(properties)) if value.is_object() => properties
                .iter()
                .find_map(|(name, property)| value.get(name).and_then(|inner| fault(property, root, inner))),
            ("additionalProperties", extra) if value.is_object() => {
                let known = rules.get("properties").and_then(Value::as_object);
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)))
                    .find_map(|(_, inner)| fault(extra, root, inner))
            }
            ("items", items) if value.is_array() => {
                let skip = rules.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .skip(skip)
                    .find_map(|inner| fault(items, root, inner))
            }
            ("prefixItems", Value::Array(items)) if value.is_array() => items
                .iter()
                .zip(value.as_array().unwrap())
                .find_map(|(item, inner)| fault(item, root, inner)),
            ("minItems", least) => count(value)
                .filter(|n| *n < least.as_u64().unwrap())
                .map(|n| format!("{n} items")),
            ("maxItems", most) => count(value)
                .filter(|n| *n > most.as_u64().unwrap())
                .map(|n| format!("{n} items")),
            ("uniqueItems", Value::Bool(true)) => value.as_array().and_then(|list| {
                let twice = list.iter().enumerate().find(|(at, one)| list[..*at].contains(one));
                twice.map(|(_, one)| format!("{one} twice"))
            }),
            ("minLength", least) => length(value)
                .filter(|n| *n < least.as_u64().unwrap())
                .map(|n| format!("length {n}")),
            ("maxLength", most) => length(value)
                .filter(|n| *n > most.as_u64().unwrap())
                .map(|n| format!("length {n}")),
            ("pattern", Value::String(pattern)) => {
                let regex = regex::Regex::new(pattern).unwrap();
                value
                    .as_str()
                    .filter(|text| !regex.is_match(text))
                    .map(|text| format!("{text} is not {pattern}"))
            }
            ("minimum", least) => number(value)
                .filter(|n| *n < least.as_f64().unwrap())
                .map(|n| format!("{n} too low")),
            ("maximum", most) => number(value)
                .filter(|n| *n > most.as_f64().unwrap())
                .map(|n| format!("{n} too high")),
            ("exclusiveMinimum", least) => number(value)
                .filter(|n| *n <= least.as_f64().unwrap())
                .map(|n| format!("{n} too low")),
            ("exclusiveMaximum", most) => number(value)
                .filter(|n| *n >= most.as_f64().unwrap())
                .map(|n| format!("{n} too high")),
            ("multipleOf", step) => number(value)
                .filter(|n| (n / step.as_f64().unwrap()).fract().abs() > 1e-9)
                .map(|n| format!("{n} is no multiple of {step}")),
            _ => None,
        };
        if broken.is_some() {
            return broken;
        }
    }
    None
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    }
}

fn count(value: &Value) -> Option<u64> {
    value.as_array().map(|list| list.len() as u64)
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn satisfied(schema: &Value) -> Value {
    let mut last = Value::Null;
    for prompt in [
        "",
        "Extract: Alice Miller, 42, from Paris and Tokyo.",
        "the price is 3.5, red or blue",
    ] {
        last = Filler::new(prompt, 0).value(schema);
        assert_eq!(fault(schema, schema, &last), None, "{schema} with {last}");
    }
    last
}

#[test]
fn what_people_send_is_satisfied() {
    // As the OpenAI SDKs derive them from a class: strict, nested, nullable, with $defs.
    satisfied(&json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "date": {"type": "string", "format": "date"},
            "participants": {"type": "array", "items": {"$ref": "#/$defs/Person"}, "minItems": 1},
            "mood": {"anyOf": [{"type": "null"}, {"enum": ["good", "bad"]}]},
            "size": {"type": ["integer", "null"], "minimum": 3, "maximum": 5},
        },
        "required": ["name", "date", "participants", "mood", "size"],
        "additionalProperties": false,
        "$defs": {"Person": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": false,
        }},
    }));
}

#[test]
fn names_and_numbers_come_from_the_prompt() {
    let schema = json!({
        "type": "object",
        "properties": {"age": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["age", "name"],
    });
    let value = Filler::new("Tell me about Alice Miller, aged 42.", 0).value(&schema);
    assert_eq!(value, json!({"age": 42, "name": "Alice Miller"}));
}

#[test]
fn recursion_ends() {
    // A tree, and a list that may end.
    let tree = json!({
        "type": "object",
        "properties": {
            "value": {"type": "number"},
            "children": {"type": "array", "items": {"$ref": "#"}},
        },
        "required": ["value", "children"],
    });
    satisfied(&tree);
    satisfied(&json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"],
        }},
    }));
    // Impossible, but it must end.
    let hostile = json!({
        "type": "object",
        "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}},
        "required": ["a", "b"],
    });
    Filler::new("", 0).value(&hostile);
    Filler::new("", 0).value(&json!({"$ref": "#"}));
    Filler::new("", 0).value(&json!({"allOf": [{"$ref": "#"}]}));
}

#[test]
fn odd_corners() {
    for schema in [
        json!({"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}$"}),
        json!({"type": "string", "pattern": "^(foo|bar)+baz?$"}),
        json!({"type": "string", "minLength": 30, "maxLength": 32}),
        json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        json!({"type": "number", "minimum": 0.5, "maximum": 2.0, "multipleOf": 0.5}),
        json!({"type": "integer", "minimum": 10, "multipleOf": 7}),
        json!({"type": "integer", "exclusiveMaximum": -4}),
        json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true, "minItems": 3}),
        json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": {"type": "null"}}),
        json!({"type": "array", "items": {"type": "integer"}, "maxItems": 0}),
        json!({"allOf": [
            {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]}),
        json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]},
        ]}),
        json!({"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}}),
        json!({"type": "object", "minProperties": 2, "additionalProperties": {"type": "boolean"}}),
    ] {
        satisfied(&schema);
    }
}

/// Random schemas of the shapes above, nested.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        (0u64..5, 5u64..20).prop_map(|(low, high)| json!({"type": "string", "minLength": low, "maxLength": high})),
        (-50i64..50, 0i64..50)
            .prop_map(|(low, wide)| json!({"type": "integer", "minimum": low, "maximum": low + wide})),
        (-50i64..50, 1i64..50).prop_map(|(low, wide)| json!({"type": "number", "minimum": low, "maximum": low + wide})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"enum": ["red", 2, null]})),
        Just(json!({"type": "string", "pattern": "^[a-f0-9]{4}(-x)?$"})),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[a-e]", inner.clone(), 0..4).prop_map(|fields| {
                let required: Vec<String> = fields.keys().cloned().collect();
                json!({"type": "object", "properties": fields, "required": required, "additionalProperties": false})
            }),
            (inner.clone(), 0u64..4)
                .prop_map(|(items, least)| json!({"type": "array", "items": items, "minItems": least})),
            proptest::collection::vec(inner, 1..3).prop_map(|all| json!({"anyOf": all})),
        ]
    })
}

proptest! {
    #[test]
    fn any_such_schema_is_satisfied(schema in schemas(), prompt in "[A-Z][a-z]{2,6} [0-9]{1,3} (red|Blue Sky)?") {
        let value = Filler::new(&prompt, 0).value(&schema);
        prop_assert_eq!(fault(&schema, &schema, &value), None, "{} with {}", schema, value);
    }
}
