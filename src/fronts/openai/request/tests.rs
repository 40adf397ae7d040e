use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(body: &str) -> Result<ChatHead, GatewayError> {
    parse_chat(&Bytes::copy_from_slice(body.as_bytes()), &BodyLimits::default())
}

/// A valid body with these members added or replaced.
fn with(members: Value) -> String {
    let mut body = json!({"model": "grok-4.6", "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

#[track_caller]
fn refused(body: &str) -> (Option<String>, &'static str) {
    let error = parse(body).unwrap_err();
    assert_eq!(error.http_status(), 400, "{body}");
    assert_eq!(error.kind.openai_type(), "invalid_request_error");
    assert!(error.message.ends_with('.'), "{}", error.message);
    let code = error.public_code();
    (error.param, code)
}

#[test]
fn reads_what_the_gateway_needs() {
    let body = json!({
        "stream": true, "stream_options": {"x": [1], "include_usage": true}, "max_tokens": 10, "max_completion_tokens": 20,
        "n": 3, "deferred": false, "user": "u-1", "prompt_cache_key": "", "tools": [{"type": "function"}],
        "temperature": 0.5, "unknown": {"deep": [1, 2]},
        "model": "grok-4.6",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {}}]},
            {"role": "tool", "tool_call_id": "c", "content": "42", "name": null},
        ],
    })
    .to_string();
    let head = parse(&body).unwrap();
    assert_eq!(head.model, "grok-4.6");
    assert_eq!((head.stream, head.include_usage), (Some(true), Some(true)));
    assert_eq!((head.max_output, head.n, head.deferred), (Some(20), 3, false));
    assert_eq!(
        head.affinity,
        AffinityHints {
            user: Some("u-1".to_owned()),
            ..AffinityHints::default()
        }
    );
    assert_eq!(
        (head.messages, head.images, head.has_images, head.has_tools),
        (4, 1, true, true)
    );
    assert!(head.has_developer_role());
    let image = r#"{"url":"data:image/png;base64,AAAA"}"#.len();
    assert_eq!(head.input_bytes, body.len() - image);
}

#[test]
fn what_is_not_given_is_none() {
    let nulls = [
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "deferred",
        "user",
        "prompt_cache_key",
        "tools",
        "temperature",
        "stop",
    ];
    let members: serde_json::Map<String, Value> = nulls.iter().map(|&name| (name.to_owned(), Value::Null)).collect();
    for body in [with(json!({})), with(Value::Object(members))] {
        let head = parse(&body).unwrap();
        assert_eq!(
            (head.stream, head.include_usage, head.max_output, head.n, head.deferred),
            (None, None, None, 1, false)
        );
        assert!(!head.has_tools && !head.has_images && !head.has_developer_role());
        assert!(head.affinity.first_message_hash.is_some());
    }
}

#[test]
fn bad_members_are_named() {
    for (members, param, code) in [
        (json!({"model": null}), "model", "missing"),
        (json!({"model": 4}), "model", "invalid_type"),
        (json!({"model": " "}), "model", "invalid_value"),
        (json!({"model": "x".repeat(257)}), "model", "invalid_value"),
        (json!({"stream": "yes"}), "stream", "invalid_type"),
        (json!({"stream": 1}), "stream", "invalid_type"),
        (json!({"stream_options": true}), "stream_options", "invalid_type"),
        (
            json!({"stream_options": {"include_usage": 1}}),
            "stream_options.include_usage",
            "invalid_type",
        ),
        (json!({"n": 0}), "n", "integer_below_min_value"),
        (json!({"n": -1}), "n", "integer_below_min_value"),
        (json!({"n": 129}), "n", "integer_above_max_value"),
        (json!({"n": 1.5}), "n", "invalid_type"),
        (json!({"n": "1"}), "n", "invalid_type"),
        (json!({"max_tokens": 0}), "max_tokens", "integer_below_min_value"),
        (json!({"max_tokens": -9}), "max_tokens", "integer_below_min_value"),
        (
            json!({"max_completion_tokens": 1u64 << 40}),
            "max_completion_tokens",
            "integer_above_max_value",
        ),
        (
            json!({"max_completion_tokens": [1]}),
            "max_completion_tokens",
            "invalid_type",
        ),
        (json!({"deferred": "true"}), "deferred", "invalid_type"),
        (json!({"user": 7}), "user", "invalid_type"),
        (json!({"prompt_cache_key": {}}), "prompt_cache_key", "invalid_type"),
        (json!({"temperature": "hot"}), "temperature", "invalid_type"),
        (json!({"tools": {}}), "tools", "invalid_type"),
        (json!({"tool_choice": 1}), "tool_choice", "invalid_type"),
        (json!({"response_format": "json"}), "response_format", "invalid_type"),
        (json!({"messages": null}), "messages", "invalid_type"),
        (json!({"messages": "Hi"}), "messages", "invalid_type"),
        (json!({"messages": {}}), "messages", "invalid_type"),
        (json!({"messages": []}), "messages", "empty_array"),
        (json!({"messages": ["Hi"]}), "messages.0", "invalid_type"),
        (json!({"messages": [{"content": "Hi"}]}), "messages.0.role", "missing"),
        (
            json!({"messages": [{"role": 1, "content": "Hi"}]}),
            "messages.0.role",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "king", "content": "Hi"}]}),
            "messages.0.role",
            "invalid_value",
        ),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content", "missing"),
        (
            json!({"messages": [{"role": "user", "content": null}]}),
            "messages.0.content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "messages.0.content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": {}}]}),
            "messages.0.content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": []}]}),
            "messages.0.content",
            "empty_array",
        ),
        (
            json!({"messages": [{"role": "user", "content": ["Hi"]}]}),
            "messages.0.content.0",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}),
            "messages.0.content.0.type",
            "missing_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}),
            "messages.0.content.0.text",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]}),
            "messages.1.content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": null, "tool_calls": []}]}),
            "messages.0.content",
            "invalid_type",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": "x"}]}),
            "messages.0.tool_calls",
            "invalid_type",
        ),
    ] {
        let body = with(members);
        assert_eq!(refused(&body), (Some(param.to_owned()), code), "{body}");
    }
    assert_eq!(
        refused(r#"{"messages":[{"role":"user","content":"a"}]}"#),
        (Some("model".to_owned()), "missing")
    );
    assert_eq!(refused(r#"{"model":"m"}"#), (Some("messages".to_owned()), "missing"));
}

#[test]
fn an_assistant_may_say_nothing_but_call() {
    for message in [
        json!({"role": "assistant", "tool_calls": [{"id": "x"}]}),
        json!({"role": "assistant", "content": null, "function_call": {"name": "f"}}),
        json!({"role": "assistant", "content": null, "refusal": "No."}),
        json!({"role": "assistant", "content": "", "tool_calls": null}),
        json!({"role": "assistant", "content": [], "tool_calls": [{}]}),
    ] {
        let body = with(json!({"messages": [message]}));
        assert!(parse(&body).is_ok(), "{body}");
    }
}

#[test]
fn a_member_appears_once() {
    for (body, param) in [
        (
            r#"{"model":"a","messages":[{"role":"user","content":"x"}],"model":"b"}"#,
            "model",
        ),
        (
            r#"{"model":"a","messages":[{"role":"user","content":"x"}],"mod\u0065l":"b"}"#,
            "model",
        ),
        (
            r#"{"model":"a","max_tokens":1,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#,
            "max_tokens",
        ),
        (
            r#"{"model":"a","messages":[{"role":"user","role":"system","content":"x"}]}"#,
            "messages.0.role",
        ),
        (
            r#"{"model":"a","messages":[{"role":"user","content":"x","content":"y"}]}"#,
            "messages.0.content",
        ),
        (
            r#"{"model":"a","stream_options":{"include_usage":true,"include_usage":false},"messages":[]}"#,
            "stream_options.include_usage",
        ),
    ] {
        assert_eq!(refused(body), (Some(param.to_owned()), "duplicate_field"));
    }
    // What nobody here reads is nobody's business here.
    assert!(parse(r#"{"x":1,"x":2,"model":"a","messages":[{"role":"user","content":"x","y":1,"y":2}]}"#).is_ok());
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for body in [
        "",
        "{",
        "nope",
        "{\"model\":}",
        "{\"model\":\"a\",}",
        "{'model':1}",
        "{} {}",
        "\u{FEFF}{}",
        "{\"n\":1e}",
        "{\"x\":01}",
    ] {
        let error = parse(body).unwrap_err();
        assert_eq!(
            (error.http_status(), error.public_code()),
            (400, "invalid_json"),
            "{body}"
        );
        assert!(error.message.contains("line 1, column"), "{}", error.message);
    }
    for body in ["[]", "null", "\"x\"", "17"] {
        assert_eq!(refused(body), (None, "invalid_type"));
    }
    let error = parse_chat(&Bytes::from_static(b"{\"model\":\"\xff\"}"), &BodyLimits::default()).unwrap_err();
    assert_eq!((error.http_status(), error.public_code()), (400, "invalid_json"));
    assert!(
        error.message.contains("UTF-8") && error.message.contains("offset 10"),
        "{}",
        error.message
    );
}

#[test]
fn depth_numbers_and_counts_are_bounded() {
    let deep = |levels: usize| {
        with(json!({})).replace(
            "\"Hi\"",
            &format!("\"Hi\",\"x\":{}{}", "[".repeat(levels), "]".repeat(levels)),
        )
    };
    assert!(parse(&deep(125)).is_ok());
    assert_eq!(
        refused(&deep(126)),
        (None, "nested_too_deeply"),
        "three levels stand around it"
    );
    assert_eq!(refused(&"[".repeat(3_000_000)), (None, "nested_too_deeply"));

    let number = |digits: &str| with(json!({"max_tokens": 1})).replace(":1", &format!(":{digits}"));
    assert_eq!(refused(&number(&"9".repeat(5000))).1, "integer_above_max_value");
    assert_eq!(
        refused(&number(&format!("-{}", "9".repeat(5000)))).1,
        "integer_below_min_value"
    );
    assert_eq!(refused(&number("1e999999999")).1, "invalid_type");

    let many = |count: usize| with(json!({"messages": vec![json!({"role": "user", "content": "x"}); count]}));
    assert_eq!(parse(&many(2048)).unwrap().messages, 2048);
    assert_eq!(
        refused(&many(2049)),
        (Some("messages".to_owned()), "array_above_max_length")
    );
}

#[test]
fn a_conversation_is_recognised_by_how_it_begins() {
    let hash = |messages: Value| {
        parse(&with(json!({"messages": messages})))
            .unwrap()
            .affinity
            .first_message_hash
            .unwrap()
    };
    let begin = hash(json!([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]));
    let later = hash(json!([
        {"role": "system", "content": "S"}, {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"}, {"role": "user", "content": "V"}]));
    assert_eq!(begin, later);
    assert_ne!(
        begin,
        hash(json!([{"role": "system", "content": "S"}, {"role": "user", "content": "W"}]))
    );
    assert_ne!(
        begin,
        hash(json!([{"role": "system", "content": "T"}, {"role": "user", "content": "U"}]))
    );
    assert_ne!(
        hash(json!([{"role": "system", "content": "U"}])),
        hash(json!([{"role": "user", "content": "U"}]))
    );
    let long = |middle: &str, end: &str| {
        let text = format!("{0}{middle}{0}{end}", "x".repeat(1000));
        hash(json!([{"role": "user", "content": text}]))
    };
    assert_eq!(long("a", "c"), long("b", "c"), "the ends count, and the length");
    assert_ne!(long("a", "c"), long("a", "d"));
    assert_ne!(long("a", "c"), long("aa", "c"));
    assert_eq!(
        begin, 3_584_445_089_364_074_290,
        "the same on every node and in every release"
    );
    assert_eq!(
        parse(&with(json!({"prompt_cache_key": "k"})))
            .unwrap()
            .affinity
            .first_message_hash,
        None
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>) {
        let _ = parse_chat(&Bytes::from(body), &BodyLimits::default());
    }

    #[test]
    fn a_broken_body_is_refused_or_still_json(at in any::<prop::sample::Index>(), with_byte: u8, cut: bool) {
        let mut body = with(json!({
            "stream": true, "stream_options": {"include_usage": false}, "n": 2, "max_tokens": 77, "user": "ü",
            "messages": [{"role": "developer", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
                {"role": "assistant", "tool_calls": [{"id": "\u{1}"}]}]})).into_bytes();
        let at = at.index(body.len());
        match cut {
            true => body.truncate(at),
            false => body[at] = with_byte,
        }
        if parse_chat(&Bytes::from(body.clone()), &BodyLimits::default()).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
