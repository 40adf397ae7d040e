use poem::Request;

use super::*;

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new().unwrap())
}

#[test]
fn a_series_appears_with_its_first_value() {
    let metrics = metrics();
    assert!(!metrics.render().unwrap().contains("grok2api_requests_total{"));
    metrics.request(Route::Chat, Outcome::Success);
    metrics.request(Route::Chat, Outcome::Success);
    metrics.request(Route::Chat, Outcome::PoolLimit);
    metrics.attempt(AttemptOutcome::RateLimited);
    metrics.set_cooling_total("team_model", "rate_limited", 1);
    metrics.set_pool_tokens("apiKey", "active", 3);
    let text = metrics.render().unwrap();
    for line in [
        r#"grok2api_requests_total{outcome="success",route="chat"} 2"#,
        r#"grok2api_requests_total{outcome="pool_limit",route="chat"} 1"#,
        r#"grok2api_attempts_total{outcome="rate_limited"} 1"#,
        r#"grok2api_cooling_events_total{cause="rate_limited",scope="team_model"} 1"#,
        r#"grok2api_pool_tokens{pool="apiKey",state="active"} 3"#,
        "grok2api_ledger_grants_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn only_known_models_get_a_label() {
    let metrics = metrics();
    metrics.set_known_models(["grok-4", "grok-3"]);
    let kept = metrics.model("grok-4", Operation::Chat);
    kept.usage(Some(10), None);
    metrics.set_known_models(["grok-4"]);
    assert!(Arc::ptr_eq(&kept, &metrics.model("grok-4", Operation::Chat)));
    metrics.model("grok-4", Operation::Chat).usage(Some(10), Some(0));
    for invented in 0..50 {
        let model = metrics.model(&format!("invented-{invented}"), Operation::Chat);
        model.duration(1.0);
        model.first_token(0.1);
    }
    let text = metrics.render().unwrap();
    let usage =
        r#"gen_ai_operation_name="chat",gen_ai_provider_name="x_ai",gen_ai_request_model="grok-4",gen_ai_token_type"#;
    assert!(
        text.contains(&format!("gen_ai_client_token_usage_count{{{usage}=\"input\"}} 2")),
        "{text}"
    );
    assert!(
        text.contains(&format!("gen_ai_client_token_usage_sum{{{usage}=\"output\"}} 0")),
        "{text}"
    );
    assert!(!text.contains("invented"));
    let other = r#"gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="x_ai",gen_ai_request_model="other"} 50"#;
    assert!(text.contains(other), "{text}");
}

#[test]
fn pulls_copy_totals_that_never_shrink() {
    let metrics = metrics();
    let total = Arc::new(std::sync::atomic::AtomicU64::new(5));
    let counted = total.clone();
    metrics.register_pull(move |metrics| {
        set_total(
            &metrics.ledger().appends,
            counted.load(std::sync::atomic::Ordering::Relaxed),
        );
    });
    assert!(metrics.render().unwrap().contains("grok2api_ledger_appends_total 5"));
    total.store(9, std::sync::atomic::Ordering::Relaxed);
    assert!(metrics.render().unwrap().contains("grok2api_ledger_appends_total 9"));
    total.store(1, std::sync::atomic::Ordering::Relaxed);
    assert!(metrics.render().unwrap().contains("grok2api_ledger_appends_total 9"));
}

#[test]
fn the_process_and_the_door_are_in_it() {
    let metrics = metrics();
    let door = DoorHandle::default();
    let _busy = door.in_flight().enter(Route::Images);
    metrics.watch_door(door);
    let text = metrics.render().unwrap();
    assert!(text.contains(r#"grok2api_in_flight{route="images"} 1"#), "{text}");
    assert!(text.contains("grok2api_connections 0"), "{text}");
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_cpu_seconds_total",
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .expect(name);
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(value > 0.0, "{line}");
    }
}

#[tokio::test]
async fn the_endpoint_speaks_text_format_004() {
    let response = endpoint(metrics()).get_response(Request::default()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4"));
}
