mod cases;

use http::HeaderValue;

use super::super::rules::RuleSpec;
use super::*;
use crate::engine::error::RefusalReason;
use cases::{JSON, PLAIN, TEAM_ID, cases};

fn judge_it(status: u16, content_type: &str, body: &str, extra: &[(&'static str, &str)], rules: &Rules) -> Verdict {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert("content-type", content_type.parse().unwrap());
    }
    for (name, value) in extra {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let ctx = Context {
        model: "grok-x",
        shown_model: "my-grok",
        rules,
        now: WallMs(784_111_777_000 - 30_000),
    };
    classify(status, &headers, body.as_bytes(), &ctx)
}

fn judge_body(status: u16, body: &str) -> Verdict {
    judge_it(status, JSON, body, &[], &Rules::default())
}

#[track_caller]
fn assert_clean(id: &str, verdict: &Verdict) {
    for text in [
        verdict.client.message.as_ref(),
        &verdict.detail,
        verdict.client.detail.as_deref().unwrap_or_default(),
    ] {
        for secret in [TEAM_ID, "<team", "team-uuid", "xa***", "***", "console.x.ai"] {
            assert!(!text.contains(secret), "{id}: `{secret}` in `{text}`");
        }
    }
    assert!(
        !verdict.client.message.contains("grok-x"),
        "{id}: {}",
        verdict.client.message
    );
    assert!(!verdict.client.message.is_empty(), "{id}");
}

#[test]
fn every_known_refusal_is_understood() {
    for case in cases() {
        let verdict = judge_it(case.status, case.content_type, case.body, &[], &Rules::default());
        assert_eq!(verdict.class, case.class, "{}: class", case.id);
        assert_eq!(verdict.retry, case.retry, "{}: retry", case.id);
        assert_eq!(verdict.cool.map(|cool| cool.scope), case.scope, "{}: scope", case.id);
        assert_eq!(
            (verdict.client.http_status(), verdict.client.public_code()),
            case.client,
            "{}: client",
            case.id
        );
        assert_clean(case.id, &verdict);
    }
}

/// The whole collection, where it is at hand: `GROK2API_ORACLES` names the directory that holds `xai-errors/`.
#[test]
fn the_collection_of_error_bodies_is_understood() {
    let Some(directory) = std::env::var_os("GROK2API_ORACLES") else {
        return;
    };
    let path = std::path::Path::new(&directory).join("xai-errors/error-bodies.json");
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let http = all["http"].as_array().unwrap();
    assert!(http.len() >= 30);
    for case in http {
        let id = case["id"].as_str().unwrap();
        let body = match &case["body"] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let extra: Vec<(&'static str, &str)> = match case["headers"]["retry-after"].as_str() {
            Some(value) => vec![("retry-after", value)],
            None => vec![],
        };
        let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
        let verdict = judge_it(
            status,
            case["content_type"].as_str().unwrap(),
            &body,
            &extra,
            &Rules::default(),
        );
        let wanted = case["suggested_disposition"].as_str().unwrap();
        let class = match () {
            () if wanted.starts_with("key-dead") => Class::KeyDead,
            () if wanted.starts_with("team-") => Class::TeamBroke,
            () if wanted.starts_with("ambiguous") || wanted.starts_with("as model-missing") => Class::ModelUnavailable,
            () if wanted.starts_with("cool (team, model)") => Class::RateLimited,
            () if wanted.starts_with("service-wide") => Class::Capacity,
            () if wanted.starts_with("retry") => Class::Transient,
            () if wanted.starts_with("gateway bug") => Class::GatewayFault,
            () => Class::ClientError,
        };
        assert_eq!(verdict.class, class, "{id}");
        assert_clean(id, &verdict);
        if class != Class::ClientError && class != Class::ModelUnavailable {
            assert!(
                !matches!(verdict.client.http_status(), 400..=428),
                "{id}: not the client's fault"
            );
        }
    }
    for case in all["stream"].as_array().unwrap() {
        let raw = case["raw"].as_str().unwrap();
        let field = |name: &str| raw.lines().find_map(|line| line.strip_prefix(name)).map(str::as_bytes);
        let verdict = stream_event(field("event: "), field("data: ").unwrap()).unwrap();
        assert_eq!(
            verdict.client.kind.source(),
            crate::engine::error::Source::Upstream,
            "{}",
            case["id"]
        );
        assert_clean(case["id"].as_str().unwrap(), &verdict);
    }
}

#[test]
fn who_is_dead_stays_so_and_who_is_broke_until_funded() {
    for case in cases() {
        let verdict = judge_it(case.status, case.content_type, case.body, &[], &Rules::default());
        match verdict.class {
            Class::KeyDead | Class::TeamBroke => assert_eq!(verdict.cool.unwrap().for_ms, None, "{}", case.id),
            _ => assert!(verdict.cool.is_none_or(|cool| cool.for_ms.is_some()), "{}", case.id),
        }
    }
}

#[test]
fn limits_are_learned_from_the_text() {
    let text = |limits: &str| {
        format!(
            r#"{{"code":"resource-exhausted","error":"Too many requests for team {TEAM_ID} and model grok-4.6. Your team's rate limit is — {limits}."}}"#
        )
    };
    let verdict = judge_body(429, &text("Requests per Second (actual/limit): 2/2"));
    assert_eq!(verdict.cool.unwrap().for_ms, Some(1_500));
    let verdict = judge_body(
        429,
        &text(
            "Requests per Second (actual/limit): 1/2, Requests per Minute (actual/limit): 1,922/1,060, Tokens per Minute (actual/limit): 5/10",
        ),
    );
    assert_eq!(verdict.cool.unwrap().for_ms, Some(30_000));
    assert_eq!(
        verdict.learned,
        Some(LearnedLimits {
            rps: Some(2),
            rpm: Some(1060),
            tpm: Some(10),
            team: Some(TEAM_ID.to_owned()),
            model: Some("grok-4.6".to_owned()),
            ..LearnedLimits::default()
        })
    );
    assert_eq!(verdict.client.retry_after_ms, Some(30_000));
    assert_eq!(verdict.client.reason, Some(RefusalReason::Upstream));
    assert!(!verdict.maybe_executed, "refused");
}

#[test]
fn hints_are_believed_up_to_a_cap() {
    let with = |status, value| judge_it(status, JSON, "{}", &[("retry-after", value)], &Rules::default());
    assert_eq!(with(429, "7").cool.unwrap().for_ms, Some(7_000));
    assert_eq!(with(429, "0").cool.unwrap().for_ms, Some(5_000));
    assert_eq!(with(429, "86400").cool.unwrap().for_ms, Some(MAX_HINT_MS));
    assert_eq!(
        with(429, "Sun, 06 Nov 1994 08:49:37 GMT").cool.unwrap().for_ms,
        Some(30_000)
    );
    assert_eq!(with(429, "soon").cool.unwrap().for_ms, Some(5_000));
    assert_eq!(with(522, "60").client.retry_after_ms, Some(60_000));
}

#[test]
fn what_may_have_run_is_said() {
    for (status, may) in [
        (500, true),
        (504, true),
        (522, true),
        (408, true),
        (200, true),
        (521, false),
        (526, false),
        (429, false),
        (403, false),
    ] {
        assert_eq!(judge_body(status, "{}").maybe_executed, may, "{status}");
    }
}

#[test]
fn a_refusal_of_content_is_billed_and_not_repeated() {
    let verdict = judge_body(
        403,
        r#"{"error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_X"}"#,
    );
    assert!(verdict.maybe_executed);
    assert_eq!((verdict.retry, verdict.cool), (Retry::No, None));
    // The codes that are retried by default do not change that; they do for what costs nothing.
    let codes = Rules::compile(Vec::new(), vec![401, 403, 429, 422]).unwrap();
    let refused = r#"{"error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_X"}"#;
    assert_eq!(judge_it(403, "application/json", refused, &[], &codes).retry, Retry::No);
    assert_ne!(
        judge_it(422, "application/json", r#"{"error":"bad field"}"#, &[], &codes).retry,
        Retry::No
    );
}

#[test]
fn nobody_talks_a_token_dead() {
    // A refusal of the request's form repeats the request.
    let echoes = [
        "Failed to deserialize the JSON body into the target type: tool_choice: unknown variant `Incorrect API key provided: x`",
        "Invalid request content: Your API key has been disabled",
        "Argument not supported on this model: your team has used all available credits",
    ];
    for echo in echoes {
        for status in [400, 422] {
            for body in [
                echo.to_owned(),
                serde_json::json!({ "code": "invalid-argument", "error": echo }).to_string(),
            ] {
                let verdict = judge_it(status, PLAIN, &body, &[], &Rules::default());
                assert_eq!(
                    (verdict.class, verdict.cool),
                    (Class::ClientError, None),
                    "{status} {body}"
                );
            }
        }
    }
}

#[test]
fn helpful_words_reach_the_client() {
    let verdict = judge_body(
        400,
        r#"{"code":"x","error":"Argument not supported on this model: presencePenalty"}"#,
    );
    assert_eq!(verdict.client.param.as_deref(), Some("presence_penalty"));
    assert_eq!(
        verdict.client.message,
        "Argument not supported on this model: presencePenalty"
    );
    let verdict = judge_it(
        422,
        PLAIN,
        "Failed to deserialize the JSON body into the target type: messages[0].content: invalid type",
        &[],
        &Rules::default(),
    );
    assert_eq!(verdict.client.param.as_deref(), Some("messages.0.content"));
    let verdict = judge_body(400, r#"{"error":"grok-x is too old. Use grok-x-2, not grok-x."}"#);
    assert_eq!(verdict.client.message, "my-grok is too old. Use grok-x-2, not my-grok.");
    let verdict = judge_body(400, "{}");
    assert_eq!(verdict.client.message, "The upstream refused the request (status 400).");
}

fn stream_event(name: Option<&[u8]>, data: &[u8]) -> Option<Verdict> {
    let ctx = Context {
        model: "grok-x",
        shown_model: "my-grok",
        rules: &Rules::default(),
        now: WallMs(0),
    };
    classify_stream_event(name, data, &ctx)
}

#[test]
fn failures_inside_a_stream_are_found() {
    let class = |name: Option<&str>, data: &str| {
        stream_event(name.map(str::as_bytes), data.as_bytes()).map(|verdict| {
            assert!(verdict.maybe_executed);
            assert_clean(data, &verdict);
            (verdict.class, verdict.client.http_status())
        })
    };
    let found = [
        (
            None,
            r#"{"code":"The service is currently unavailable","error":"Service temporarily unavailable. The model did not respond to this request."}"#,
            Class::Transient,
            503,
        ),
        (
            Some("error"),
            r#"{"sequence_number":0,"type":"error","code":null,"message":"The model is currently at capacity due to high demand.","param":null}"#,
            Class::Capacity,
            503,
        ),
        (
            None,
            r#"{"type":"error","code":503,"message":"Service temporarily unavailable"}"#,
            Class::Transient,
            503,
        ),
        (
            Some("response.failed"),
            r#"{"type":"response.failed","response":{"id":"x","error":{"code":"server_error","message":"..."}}}"#,
            Class::Transient,
            502,
        ),
        (
            None,
            r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}"#,
            Class::ClientError,
            400,
        ),
        (
            None,
            r#"{"error":"Too many requests for team a and model b."}"#,
            Class::RateLimited,
            429,
        ),
        (Some("error"), "{}", Class::Transient, 502),
        (None, "<html>", Class::Transient, 502),
        (None, "[1]", Class::Transient, 502),
    ];
    for (name, data, wanted, status) in found {
        assert_eq!(class(name, data), Some((wanted, status)), "{data}");
    }
    for data in [r#"{"choices":[],"error":null}"#, r#"{"type":"ping"}"#, "{}"] {
        assert_eq!(class(None, data), None, "{data}");
    }
}

#[test]
fn rules_of_the_operator_come_first() {
    let rules = |spec: RuleSpec, codes: &[u16]| Rules::compile(vec![spec], codes.to_vec()).unwrap();
    let body = r#"{"error":"The flux is \"low\"."}"#;

    let rule = RuleSpec {
        status: Some(400),
        text: Some("flux is .low".to_owned()),
        model: Some("grok*".to_owned()),
        retry: Some(true),
        cool: Some(CoolScope::Team),
        for_secs: Some(9),
    };
    let verdict = judge_it(400, JSON, body, &[], &rules(rule.clone(), &[]));
    assert_eq!((verdict.class, verdict.retry), (Class::Ruled, Retry::OtherTeam));
    let cooled = verdict.cool.unwrap();
    assert_eq!(
        (cooled.scope, cooled.cause, cooled.for_ms),
        (CoolScope::Team, CoolingCause::Operator, Some(9_000))
    );
    assert_eq!(
        verdict.client.http_status(),
        502,
        "the operator says that it is not the client's fault"
    );

    for other in [
        RuleSpec {
            status: Some(401),
            ..rule.clone()
        },
        RuleSpec {
            text: Some("flux is high".to_owned()),
            ..rule.clone()
        },
        RuleSpec {
            model: Some("claude*".to_owned()),
            ..rule.clone()
        },
    ] {
        assert_eq!(
            judge_it(400, JSON, body, &[], &rules(other, &[])).class,
            Class::ClientError
        );
    }

    let quiet = RuleSpec {
        status: Some(403),
        retry: Some(false),
        ..RuleSpec::default()
    };
    let verdict = judge_it(403, JSON, "{}", &[], &rules(quiet.clone(), &[403]));
    assert_eq!(
        (verdict.retry, verdict.cool),
        (Retry::No, None),
        "a rule wins over the list of statuses"
    );
    assert_eq!(verdict.client.http_status(), 502);

    let verdict = judge_it(400, JSON, body, &[], &rules(quiet, &[400, 429]));
    assert_eq!(
        (verdict.retry, verdict.cool, verdict.class),
        (Retry::OtherToken, None, Class::ClientError)
    );
    assert_eq!(
        verdict.client.http_status(),
        400,
        "if all tokens say so, it is the request"
    );
}

proptest::proptest! {
    #[test]
    fn any_answer_gets_a_verdict(status in 100u16..1000, body: Vec<u8>, text in "\\PC*", html: bool) {
        let rules = Rules::default();
        let ctx = Context { model: "grok-x", shown_model: "my-grok", rules: &rules, now: WallMs(0) };
        let mut headers = HeaderMap::new();
        if html {
            headers.insert("content-type", HeaderValue::from_static("text/html"));
        }
        for body in [body, text.clone().into_bytes(), serde_json::json!({ "code": &text, "error": &text }).to_string().into_bytes()] {
            let verdict = classify(status, &headers, &body, &ctx);
            proptest::prop_assert!(verdict.class != Class::ClientError || (400..500).contains(&status));
            proptest::prop_assert!(verdict.detail.chars().count() <= 300);
            let _ = classify_stream_event(None, &body, &ctx);
        }
    }
}
