use serde_json::{Value, json};

use super::*;
use crate::engine::error::{ErrorKind, RefusalReason};

const NOW: WallMs = WallMs(1_794_873_600_000);

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

fn answer(err: &GatewayError) -> Answer {
    let response = render(err, "req_1", NOW);
    let (parts, body) = response.into_parts();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(body.into_bytes()).unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap(),
    }
}

#[test]
fn every_kind_has_the_shape_that_sdks_read() {
    for kind in ErrorKind::ALL {
        let answer = answer(&GatewayError::new(kind, "Say \"why\"."));
        assert_eq!(answer.status, kind.status());
        assert_eq!(
            answer.body,
            json!({"error": {"message": "Say \"why\".", "type": kind.openai_type(), "param": null, "code": kind.code()}})
        );
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(answer.headers["x-request-id"], "req_1");
        assert!(!answer.headers.contains_key("retry-after"), "no time is invented");
        let stops = answer
            .headers
            .get("x-should-retry")
            .is_some_and(|value| value == "false");
        assert_eq!(stops, would_retry(answer.status) && !kind.is_retryable(), "{kind:?}");
    }
}

#[test]
fn a_near_time_is_in_the_header() {
    let limit = |ms| {
        answer(
            &GatewayError::new(ErrorKind::ClientLimit, "x")
                .retry_after(Some(ms))
                .because(RefusalReason::ClientLimit),
        )
    };
    for (ms, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (120_000, "120")] {
        let answer = limit(ms);
        assert_eq!(answer.headers["retry-after"], header, "{ms}");
        assert_eq!(answer.headers["x-grok2api-reason"], "client_limit");
        assert!(!answer.headers.contains_key("x-should-retry"));
        assert!(answer.body["error"].get("available_at").is_none());
    }
}

#[test]
fn a_far_time_is_in_the_body_and_stops_the_sdks() {
    let answer = answer(
        &GatewayError::new(ErrorKind::PoolLimit, "x")
            .retry_after(Some(3_600_000))
            .because(RefusalReason::Pool),
    );
    assert_eq!(answer.headers["retry-after"], "120");
    assert_eq!(answer.headers["x-should-retry"], "false");
    assert_eq!(answer.headers["x-grok2api-reason"], "pool");
    assert_eq!(answer.body["error"]["retry_after_seconds"], 3600);
    assert_eq!(answer.body["error"]["available_at"], "2026-11-17T01:00:00Z");
    // A time that no calendar holds leaves the date out, and nothing breaks.
    let never = self::answer(&GatewayError::new(ErrorKind::PoolLimit, "x").retry_after(Some(u64::MAX)));
    assert!(never.body["error"].get("available_at").is_none());
    assert_eq!(never.headers["x-should-retry"], "false");
}

#[test]
fn a_known_time_makes_it_worth_retrying() {
    let budget = GatewayError::new(ErrorKind::ClientBudget, "x");
    assert_eq!(answer(&budget).headers["x-should-retry"], "false");
    assert!(
        !answer(&budget.retry_after(Some(9_000)))
            .headers
            .contains_key("x-should-retry")
    );
}

#[test]
fn more_exact_codes_and_odd_ids() {
    let err = GatewayError::field("messages.0.role", "x")
        .with_code("missing")
        .with_status(422);
    let first = answer(&err);
    assert_eq!(first.status, 422);
    assert_eq!(first.body["error"]["param"], "messages.0.role");
    assert_eq!(first.body["error"]["code"], "missing");
    let response = render(&err, "bad\nid", NOW);
    assert!(!response.headers().contains_key("x-request-id"));
}

#[test]
fn the_event_is_one_line_and_parses() {
    let event = error_event(&GatewayError::new(ErrorKind::UpstreamFailed, "two\nlines"));
    let text = std::str::from_utf8(&event).unwrap();
    let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    assert!(!data.contains('\n'));
    let body: ErrorBody<'_> = serde_json::from_str(data).unwrap();
    assert_eq!(body.error.message, "two\nlines");
    assert_eq!(body.error.code.as_deref(), Some("upstream_error"));
}
