//! Responses, messages and files, as the API's own clients see them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::simulator::Scenario;

use super::client::Sim;

const KEY: &str = Scenario::DEFAULT_KEY;

/// The payloads of a stream of named events, each with its name.
fn named(text: &str) -> Vec<(String, Value)> {
    text.split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            (name.strip_prefix("event: ").unwrap().to_owned(), data)
        })
        .collect()
}

async fn two_teams() -> Sim {
    Sim::play(json!({"teams": [{"id": "a", "keys": ["xai-a", "xai-a2"]}, {"id": "b", "keys": ["xai-b"]}]})).await
}

#[tokio::test]
async fn a_streamed_response_has_the_recorded_order() {
    let sim = Sim::play(json!({})).await;
    let body = json!({"model": "grok-4", "input": "What is a lighthouse?", "stream": true,
        "include": ["reasoning.encrypted_content"], "store": false});
    let got = sim.post("/v1/responses", KEY, &body).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    let events = named(&got.text());
    for (at, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], at);
        assert_eq!(data["type"], name.as_str());
    }
    let mut kinds: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let last = &events.last().unwrap().1["response"];
    assert_eq!(last["model"], "grok-4.3", "the alias is resolved");
    assert!(last["output"][0]["encrypted_content"].is_string());
    let usage = |pointer: &str| last["usage"].pointer(pointer).and_then(Value::as_u64).unwrap();
    assert_eq!(
        usage("/total_tokens"),
        usage("/input_tokens") + usage("/output_tokens"),
        "reasoning is inside the output"
    );
    let price = usage("/input_tokens") * 12_500 + usage("/output_tokens") * 25_000;
    assert_eq!(usage("/cost_in_usd_ticks"), price);
    assert_eq!(sim.running.stats()["cost_in_usd_ticks"], price);
}

#[tokio::test]
async fn what_is_stored_is_seen_by_its_team_alone() {
    let sim = two_teams().await;
    let made = sim
        .post(
            "/v1/responses",
            "xai-a",
            &json!({"model": "grok-4.6", "input": "Hello there"}),
        )
        .await
        .json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}");
    assert_eq!(sim.get(&path, "xai-a2").await.json()["output"], made["output"]);
    assert_eq!(sim.get(&path, "xai-b").await.status, StatusCode::NOT_FOUND);
    let items = sim.get(&format!("{path}/input_items?limit=1"), "xai-a").await.json();
    assert_eq!(items["data"][0]["content"][0]["text"], "Hello there");
    let next = json!({"model": "grok-4.6", "input": "And now?", "previous_response_id": id});
    assert_eq!(
        sim.post("/v1/responses", "xai-b", &next).await.status,
        StatusCode::NOT_FOUND
    );
    let more = sim.post("/v1/responses", "xai-a2", &next).await.json();
    assert!(more["usage"]["input_tokens"].as_u64() > made["usage"]["input_tokens"].as_u64());
    let bearer = [("authorization", "Bearer xai-a")];
    assert_eq!(
        sim.send(Method::DELETE, &path, &bearer, "").await.json()["deleted"],
        true
    );
    assert_eq!(
        sim.send(Method::DELETE, &path, &bearer, "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_sealed_item_opens_for_its_team_alone() {
    let sim = two_teams().await;
    let ask =
        json!({"model": "grok-4.6", "input": "Think", "store": false, "include": ["reasoning.encrypted_content"]});
    let made = sim.post("/v1/responses", "xai-a", &ask).await.json();
    let again = json!({"model": "grok-4.6", "store": false, "input": [made["output"][0], {"role": "user", "content": "Go on"}]});
    assert_eq!(sim.post("/v1/responses", "xai-a2", &again).await.status, StatusCode::OK);
    assert_eq!(
        sim.post("/v1/responses", "xai-b", &again).await.status,
        StatusCode::BAD_REQUEST
    );
    let compact = sim
        .post(
            "/v1/responses/compact",
            "xai-a",
            &json!({"model": "grok-4.6", "input": "A story"}),
        )
        .await
        .json();
    assert_eq!(compact["object"], "response.compaction");
    let again = json!({"model": "grok-4.6", "input": [compact["output"][0], {"role": "user", "content": "Go on"}]});
    assert_eq!(sim.post("/v1/responses", "xai-a", &again).await.status, StatusCode::OK);
    assert_eq!(
        sim.post("/v1/responses", "xai-b", &again).await.json()["code"],
        "invalid_compaction_blob"
    );
}

#[tokio::test]
async fn a_team_without_retention_must_not_store() {
    let sim = Sim::play(json!({"teams": [{"id": "a", "zdr": true, "keys": ["xai-a"]}]})).await;
    let ask = |store: Value| json!({"model": "grok-4.6", "input": "Hello", "store": store});
    for refused in [json!(true), Value::Null] {
        let got = sim.post("/v1/responses", "xai-a", &ask(refused)).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{}", got.text());
    }
    assert_eq!(
        sim.post("/v1/responses", "xai-a", &ask(json!(false))).await.status,
        StatusCode::OK
    );
    assert_eq!(sim.get("/v1/me", "xai-a").await.json()["zdr_status"], "zdr");
}

#[tokio::test]
async fn messages_stream_in_the_order_that_clients_expect() {
    let sim = Sim::play(json!({})).await;
    let weather = json!({"name": "get_weather", "description": "The weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}});
    let body = json!({"model": "grok-4.6", "max_tokens": 100, "stream": true, "tools": [weather],
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}]});
    let events = named(&sim.post("/v1/messages", KEY, &body).await.text());
    let mut kinds: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let input: String = events
        .iter()
        .filter_map(|(_, data)| data["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(input, r#"{"city":"Paris"}"#);
    let wrong = json!({"model": "grok-4.6", "messages": [{"role": "user", "content": "Hello"}]});
    let refused = sim.post("/v1/messages", KEY, &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.json()["error"].is_string(), "the API's own flat shape");
}

#[tokio::test]
async fn files_belong_to_their_team() {
    let sim = two_teams().await;
    let upload = |order: [&str; 2]| {
        let part = |name: &str| match name {
            "file" => "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello".to_owned(),
            name => format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n3600"),
        };
        format!(
            "--cut\r\n{}\r\n--cut\r\n{}\r\n--cut--\r\n",
            part(order[0]),
            part(order[1])
        )
    };
    let headers = [
        ("authorization", "Bearer xai-a"),
        ("content-type", "multipart/form-data; boundary=cut"),
    ];
    let post = |body: String| sim.send(Method::POST, "/v1/files", &headers, body);
    let made = post(upload(["expires_after", "file"])).await.json();
    assert_eq!(made["bytes"], 5, "{made}");
    let late = post(upload(["file", "expires_after"])).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST, "it must come before the file");
    let path = format!("/v1/files/{}", made["id"].as_str().unwrap());
    assert_eq!(sim.get(&format!("{path}/content"), "xai-a2").await.text(), "hello");
    assert_eq!(sim.get(&path, "xai-b").await.status, StatusCode::NOT_FOUND);
    assert_eq!(sim.get("/v1/files", "xai-b").await.json()["data"], json!([]));
    assert_eq!(sim.get("/v1/files", "xai-a").await.json()["data"][0]["id"], made["id"]);
}
