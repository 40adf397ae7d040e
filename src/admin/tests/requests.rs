use grok2api_schemas::admin::requests::{Outcome, RequestRecord, TimingView, UsageView};
use grok2api_schemas::ids::RequestId;

use super::*;

fn record(model: &str, outcome: Outcome) -> RequestRecord {
    RequestRecord {
        id: RequestId::generate(),
        time_ms: 1,
        node: String::new(),
        key_id: None,
        key_name: String::new(),
        route: "/v1/chat/completions".into(),
        model: model.into(),
        upstream_model: model.into(),
        stream: true,
        client_ip: "192.0.2.9".into(),
        status: 200,
        outcome,
        error_code: None,
        error_message: None,
        candidates: Vec::new(),
        candidates_left_out: 0,
        attempts: Vec::new(),
        timing: TimingView::default(),
        usage: UsageView::default(),
        cost_ticks: Some(5),
        presumed: false,
        bytes_in: 0,
        bytes_out: 0,
    }
}

#[tokio::test]
async fn a_request_can_be_looked_up_and_listed_right_after_its_answer() {
    let desk = desk().await;
    let first = record("grok-4", Outcome::Success);
    let second = record("grok-3", Outcome::PoolLimit);
    desk.log.offer(first.clone());
    desk.log.offer(second.clone());
    let (status, answer) = desk.get(&format!("/requests/{}", first.id)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(serde_json::from_value::<RequestRecord>(answer).unwrap(), first);
    let (_, page) = desk.get("/requests?limit=1").await;
    assert_eq!(
        (&page["total"], &page["items"][0]["id"]),
        (&json!(2), &json!(second.id.to_string()))
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, page) = desk.get(&format!("/requests?limit=1&cursor={cursor}")).await;
    assert_eq!(page["items"][0]["id"], json!(first.id.to_string()));
    let (_, page) = desk.get("/requests?outcome=pool_limit,internal&model=grok-3").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn wrong_filters_are_named() {
    let desk = desk().await;
    for (query, param) in [
        ("key=sk-abc", "key"),
        ("outcome=maybe", "outcome"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("token=xai-secret", "token"),
    ] {
        let (status, answer) = desk.get(&format!("/requests?{query}")).await;
        assert_eq!((status.as_u16(), error_of(&answer).1), (400, param));
        assert!(!answer.to_string().contains("xai-secret"));
    }
    assert_eq!(desk.get("/requests/nonsense").await.0, 400);
    let (status, answer) = desk.get(&format!("/requests/{}", RequestId::generate())).await;
    assert_eq!((status.as_u16(), error_of(&answer).0), (404, "request_not_found"));
}
