use proptest::prelude::*;

use super::*;

#[test]
fn missing_is_not_zero() {
    let usage = Usage::parse(br#"{"prompt_tokens":0,"completion_tokens_details":{"reasoning_tokens":7}}"#).unwrap();
    assert_eq!(
        usage,
        Usage {
            prompt: Some(0),
            reasoning: Some(7),
            ..Usage::default()
        }
    );
    assert_eq!(usage.total_tokens(), None);
    for nothing in [
        "{}",
        "null",
        "[]",
        "7",
        "{\"prompt_tokens\":null}",
        "{\"prompt_tokens\":-1}",
        "",
        "{",
    ] {
        assert_eq!(Usage::parse(nothing.as_bytes()), None, "{nothing}");
    }
}

#[test]
fn odd_types_spoil_nothing_else() {
    let json = br#"{"prompt_tokens":"12","completion_tokens":{"a":[1]},"total_tokens":[1],"cost_in_usd_ticks":12.2,
        "prompt_tokens_details":{"cached_tokens":true},"completion_tokens_details":null,"extra":{}}"#;
    let usage = Usage::parse(json).unwrap();
    assert_eq!(
        usage,
        Usage {
            cost_in_usd_ticks: Some(13),
            ..Usage::default()
        }
    );
}

#[test]
fn the_total_is_the_upstreams_or_the_sum() {
    let usage = Usage {
        prompt: Some(12),
        completion: Some(1),
        reasoning: Some(290),
        ..Usage::default()
    };
    assert_eq!(usage.total_tokens(), Some(303));
    assert_eq!(
        Usage {
            total: Some(9),
            ..usage
        }
        .total_tokens(),
        Some(9)
    );
}

const TAIL: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"cost_in_usd_ticks":99}"#;

fn seven() -> Option<Usage> {
    Some(Usage {
        prompt: Some(3),
        completion: Some(4),
        total: Some(7),
        cost_in_usd_ticks: Some(99),
        ..Usage::default()
    })
}

#[test]
fn an_answer_is_read_from_both_ends() {
    let choice = r#"{"index":0,"message":{"role":"assistant","content":"\"usage\":{} \"finish_reason\":\"x\""},"finish_reason":"stop"}"#;
    for body in [
        format!(r#"{{"id":"i","model":"grok-4.6","choices":[{choice}],{TAIL}}}"#),
        format!(
            r#"{{"id":"i","model":"grok-4.6","choices":[{choice}],{TAIL},"system_fingerprint":"f","citations":["usage"]}} "#
        ),
        format!("{{\n \"model\" : \"grok-4.6\",\n {TAIL} ,\n \"choices\": [ {choice} ]\n}}\n"),
        // A nested member of that name behind the real one.
        format!(r#"{{"model":"grok-4.6",{TAIL},"choices":[{choice}],"x":{{"usage":{{"prompt_tokens":1000}}}}}}"#),
    ] {
        let facts = read_answer(body.as_bytes());
        assert_eq!(facts.usage, seven(), "{body}");
        assert_eq!(facts.model.as_deref(), Some("grok-4.6"));
        assert_eq!(facts.finished, 1);
    }
}

#[test]
fn an_answer_that_tells_nothing() {
    for body in [
        "",
        "{}",
        "[]",
        "\"usage\"",
        r#"{"usage":null}"#,
        r#"{"choices":[{"usage":{"prompt_tokens":5}}]}"#,
        "\"usage\":{",
        "<html>",
    ] {
        assert_eq!(read_answer(body.as_bytes()).usage, None, "{body}");
    }
}

#[test]
fn a_search_says_what_to_parse() {
    assert!(may_have_usage(br#"{"choices":[],"usage" : {"prompt_tokens":1}}"#));
    assert!(!may_have_usage(br#"{"choices":[],"usage":null}"#));
    assert!(!may_have_usage(br#"{"choices":[{"delta":{"content":"\"usage\":{"}}]}"#));
    assert!(may_have_usage(br#"{"a":"usage","usage":{}}"#));
    assert_eq!(
        finished_choices(
            br#"{"choices":[{"finish_reason":null},{"finish_reason": "stop"},{"finish_reason":"length"}]}"#
        ),
        2
    );
    assert!(has_choices(br#"{"choices":[]}"#));
    assert!(!has_choices(br#"{"error":"\"choices\""}"#));
    assert!(is_ping(br#"{"type":"ping"}"#) && !is_ping(br#"{"type":"pong"}"#) && !is_ping(b"{}"));
}

#[test]
fn a_chunk_says_what_it_holds() {
    let content = |delta: &str| {
        read_chunk(format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#).as_bytes())
            .unwrap()
            .has_content
    };
    for delta in [
        r#"{"content":"x"}"#,
        r#"{"reasoning_content":"x"}"#,
        r#"{"tool_calls":[{}]}"#,
        r#"{"refusal":"x"}"#,
        r#"{"content":"\u0041"}"#,
    ] {
        assert!(content(delta), "{delta}");
    }
    for delta in [
        "{}",
        "null",
        r#"{"role":"assistant","content":""}"#,
        r#"{"content":null,"tool_calls":[]}"#,
    ] {
        assert!(!content(delta), "{delta}");
    }
    let facts =
        read_chunk(format!(r#"{{"model":"m","choices":[],{TAIL},"citations":["https://a"]}}"#).as_bytes()).unwrap();
    assert_eq!(
        facts,
        ChunkFacts {
            model: Some("m".to_owned()),
            usage: seven(),
            no_choices: true,
            has_content: false,
            has_citations: true
        }
    );
    assert!(!read_chunk(b"{}").unwrap().no_choices, "absent is not empty");
    assert_eq!(read_chunk(b"7"), None);
}

proptest! {
    #[test]
    fn reading_never_panics(body: Vec<u8>, at in any::<prop::sample::Index>()) {
        read_answer(&body);
        read_chunk(&body);
        let mut near = format!(r#"{{"model":"m","choices":[],{TAIL}}}"#).into_bytes();
        let at = at.index(near.len());
        near.splice(at..at, body.iter().copied().take(3));
        read_answer(&near);
        read_chunk(&near);
        may_have_usage(&near);
        finished_choices(&near);
    }
}
