use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fronts::openai::request::{BodyLimits, parse_chat};

fn edited(body: &str, edits: &Edits<'_>) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let head = parse_chat(&body, &BodyLimits::default()).unwrap();
    String::from_utf8(edit_chat(&body, &head, edits).to_vec()).unwrap()
}

const HI: &str = r#""messages": [ {"content":"Hi" ,"role":"developer"} ]"#;

#[test]
fn nothing_to_change_copies_nothing() {
    let body = Bytes::from(format!(
        r#"{{"model":"m","stream":true,"stream_options":{{"include_usage":true}},"max_tokens":5,{HI}}}"#
    ));
    let head = parse_chat(&body, &BodyLimits::default()).unwrap();
    let edits = Edits {
        model: Some("m"),
        default_stream: Some(false),
        force_include_usage: true,
        max_tokens_cap: Some(5),
        developer_as_system: false,
    };
    assert_eq!(edit_chat(&body, &head, &edits).as_ptr(), body.as_ptr());
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let body = format!("{{ \"x\":1e5,\t\"model\" : \"a\\u0062\" ,{HI} , \"y\": \"\\/\" }}");
    let edits = Edits {
        model: Some("quo\"te"),
        developer_as_system: true,
        ..Edits::default()
    };
    assert_eq!(
        edited(&body, &edits),
        body.replace("\"a\\u0062\"", "\"quo\\\"te\"")
            .replace("\"developer\"", "\"system\"")
    );
}

#[test]
fn usage_is_asked_for_in_every_state_of_the_options() {
    for (before, after) in [
        ("", r#""stream_options":{"include_usage":true},"#),
        (
            r#""stream_options":null,"#,
            r#""stream_options":{"include_usage":true},"#,
        ),
        (
            r#""stream_options": { } ,"#,
            r#""stream_options": {"include_usage":true} ,"#,
        ),
        (
            r#""stream_options": { "a":1},"#,
            r#""stream_options": {"include_usage":true, "a":1},"#,
        ),
        (
            r#""stream_options":{"a":1,"include_usage": false },"#,
            r#""stream_options":{"a":1,"include_usage": true },"#,
        ),
        (
            r#""stream_options":{"include_usage":null,"a":1},"#,
            r#""stream_options":{"include_usage":true,"a":1},"#,
        ),
    ] {
        let edits = Edits {
            force_include_usage: true,
            ..Edits::default()
        };
        assert_eq!(
            edited(&format!(r#"{{{before}"model":"m",{HI}}}"#), &edits),
            format!(r#"{{{after}"model":"m",{HI}}}"#)
        );
    }
}

#[test]
fn output_is_capped_in_every_state_of_the_limits() {
    for (before, after) in [
        ("", r#""max_completion_tokens":50,"#),
        (r#""max_tokens":null,"#, r#""max_tokens":50,"#),
        (r#""max_tokens":49,"#, r#""max_tokens":49,"#),
        (r#""max_tokens":51,"#, r#""max_tokens":50,"#),
        (
            r#""max_tokens":7,"max_completion_tokens":9000,"#,
            r#""max_tokens":7,"max_completion_tokens":50,"#,
        ),
        (
            r#""max_tokens":9000,"max_completion_tokens":null,"#,
            r#""max_tokens":50,"max_completion_tokens":null,"#,
        ),
    ] {
        let edits = Edits {
            max_tokens_cap: Some(50),
            ..Edits::default()
        };
        assert_eq!(
            edited(&format!(r#"{{{before}"model":"m",{HI}}}"#), &edits),
            format!(r#"{{{after}"model":"m",{HI}}}"#)
        );
    }
}

#[test]
fn stream_has_a_default_and_no_more() {
    for (before, after) in [
        ("", "\"stream\":true,"),
        ("\"stream\": null,", "\"stream\": true,"),
        ("\"stream\":false,", "\"stream\":false,"),
    ] {
        let edits = Edits {
            default_stream: Some(true),
            ..Edits::default()
        };
        assert_eq!(
            edited(&format!(r#"{{{before}"model":"m",{HI}}}"#), &edits),
            format!(r#"{{{after}"model":"m",{HI}}}"#)
        );
    }
}

/// The same edits on a tree.
fn by_tree(mut body: Value, edits: &Edits<'_>) -> Value {
    if let Some(model) = edits.model {
        body["model"] = json!(model);
    }
    if let (Some(stream), true) = (edits.default_stream, body["stream"].is_null()) {
        body["stream"] = json!(stream);
    }
    if edits.force_include_usage {
        if body["stream_options"].is_null() {
            body["stream_options"] = json!({});
        }
        body["stream_options"]["include_usage"] = json!(true);
    }
    if let Some(cap) = edits.max_tokens_cap {
        let mut limited = false;
        for name in ["max_tokens", "max_completion_tokens"] {
            if let Some(tokens) = body.get(name).and_then(Value::as_u64) {
                limited = true;
                body[name] = json!(tokens.min(cap));
            }
        }
        if !limited {
            let name = match (body.get("max_completion_tokens"), body.get("max_tokens")) {
                (None, Some(_)) => "max_tokens",
                _ => "max_completion_tokens",
            };
            body[name] = json!(cap);
        }
    }
    if edits.developer_as_system {
        for message in body["messages"].as_array_mut().unwrap() {
            if message["role"] == "developer" {
                message["role"] = json!("system");
            }
        }
    }
    body
}

/// JSON text with members in a random order, white space between tokens and letters of strings escaped.
fn render(value: &Value, random: &mut impl FnMut() -> u8, out: &mut String) {
    let space = |random: &mut dyn FnMut() -> u8, out: &mut String| {
        out.push_str(["", "", " ", "\n\t"][usize::from(random() % 4)])
    };
    let text = |text: &str, random: &mut dyn FnMut() -> u8, out: &mut String| {
        out.push('"');
        for c in text.chars() {
            match random().is_multiple_of(8) && (c as u32) < 0x10000 {
                true => out.push_str(&format!("\\u{:04x}", c as u32)),
                false => out.push_str(
                    json!(c.to_string())
                        .to_string()
                        .trim_matches('"')
                        .trim_start_matches("\\\""),
                ),
            }
        }
        out.push('"');
    };
    space(random, out);
    match value {
        Value::String(string) if string.contains('"') => out.push_str(&value.to_string()),
        Value::String(string) => text(string, random, out),
        Value::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                render(value, random, out);
            }
            space(random, out);
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for i in (1..members.len()).rev() {
                members.swap(i, usize::from(random()) % (i + 1));
            }
            out.push('{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                space(random, out);
                text(name, random, out);
                space(random, out);
                out.push(':');
                render(value, random, out);
            }
            space(random, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
    space(random, out);
}

fn maybe(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    prop::option::of(prop::sample::select(values))
}

fn body() -> impl Strategy<Value = Value> {
    let message = (
        prop::sample::select(vec!["developer", "system", "user", "assistant"]),
        prop::sample::select(vec![
            json!("Hi \"you\""),
            json!("Zoë 😀"),
            json!([{"type": "text", "text": "developer"}]),
            json!([{"type": "image_url", "image_url": {"url": "https://x"}}]),
        ]),
    )
        .prop_map(|(role, content)| json!({"role": role, "content": content, "name": "model"}));
    let limits = vec![json!(null), json!(1), json!(99), json!(5000)];
    (
        prop::collection::vec(message, 1..5),
        maybe(vec![json!(null), json!(true), json!(false)]),
        maybe(vec![
            json!(null),
            json!({}),
            json!({"x": 1}),
            json!({"include_usage": false}),
            json!({"include_usage": true, "y": []}),
        ]),
        maybe(limits.clone()),
        maybe(limits),
        maybe(vec![
            json!({"model": "inner", "messages": []}),
            json!("\"model\":"),
            json!(1.5),
        ]),
    )
        .prop_map(
            |(messages, stream, options, max_tokens, max_completion_tokens, extra)| {
                let mut body = json!({"model": "grok-4.6", "messages": messages});
                for (name, value) in [
                    ("stream", stream),
                    ("stream_options", options),
                    ("max_tokens", max_tokens),
                    ("max_completion_tokens", max_completion_tokens),
                    ("metadata2", extra),
                ] {
                    if let Some(value) = value {
                        body[name] = value;
                    }
                }
                body
            },
        )
}

proptest! {
    #[test]
    fn editing_bytes_is_editing_the_tree(
        body in body(),
        seed in prop::collection::vec(any::<u8>(), 64),
        model in prop::option::of("[a-z\"\\\\é]{1,8}"),
        default_stream in prop::option::of(any::<bool>()),
        force_include_usage: bool,
        max_tokens_cap in prop::option::of(1u64..6000),
        developer_as_system: bool,
    ) {
        let mut at = 0;
        let mut random = || { at += 1; seed[at % seed.len()].wrapping_add((at / seed.len()) as u8) };
        let mut text = String::new();
        render(&body, &mut random, &mut text);
        prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &body);

        let edits = Edits { model: model.as_deref(), default_stream, force_include_usage, max_tokens_cap, developer_as_system };
        let after: Value = serde_json::from_str(&edited(&text, &edits)).unwrap();
        prop_assert_eq!(after, by_tree(body, &edits), "{}", text);
    }
}
