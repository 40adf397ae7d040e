use http::HeaderValue;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|&(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

#[test]
fn headers_are_read_as_far_as_they_are_there() {
    let read = RateHeaders::read(&headers(&[
        ("x-ratelimit-limit-requests", "9000"),
        ("x-ratelimit-remaining-requests", " 8999 "),
        ("x-ratelimit-limit-tokens", "many"),
    ]));
    assert_eq!(
        read,
        RateHeaders {
            limit_requests: Some(9000),
            remaining_requests: Some(8999),
            ..RateHeaders::default()
        }
    );
    assert!(RateHeaders::read(&HeaderMap::new()).is_empty());
}

#[test]
fn retry_after_in_every_form() {
    let now = WallMs(784_111_777_000);
    for (name, value, ms) in [
        ("retry-after", "2", Some(2_000)),
        ("retry-after", "0.25", Some(250)),
        ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
        ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("retry-after", "-1", None),
        ("retry-after", "NaN", None),
        ("retry-after", "inf", None),
        ("retry-after", "1e300", Some(u64::MAX)),
        ("retry-after", "tomorrow", None),
        ("retry-after-ms", "12.5", Some(13)),
    ] {
        assert_eq!(retry_after_ms(&headers(&[(name, value)]), now), ms, "{value}");
    }
    let both = headers(&[("retry-after", "9"), ("retry-after-ms", "50")]);
    assert_eq!(retry_after_ms(&both, now), Some(50));
    assert_eq!(retry_after_ms(&HeaderMap::new(), now), None);
}

#[test]
fn a_sentence_without_limits_names_none() {
    assert_eq!(read_limits("Too many requests."), None);
    assert_eq!(read_limits("Requests per Second (actual/limit): x/y"), None);
    let read = read_limits("requests per hour (actual/limit): 3 / 9_000, Tokens per Day (actual/limit): 8/7").unwrap();
    assert_eq!(read.limits.rph, Some(9000));
    assert_eq!(read.longest_reached, Some(Per::Day));
    assert_eq!((read.limits.team, read.limits.model), (None, None));
    let read = read_limits("Requests per Minute (actual/limit): 1/2").unwrap();
    assert_eq!(read.longest_reached, None);
    let huge = "Requests per Minute (actual/limit): 99999999999999999999999/1";
    assert_eq!(read_limits(huge), None, "a number that no machine holds is no number");
}
