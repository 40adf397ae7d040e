//! The answers have the fields that recorded ones have, and say something.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::simulator::Scenario;

use super::client::{Sim, ask, ask_streamed, key_paths};

const USAGE: &[&str] = &[
    "usage",
    "usage.completion_tokens",
    "usage.completion_tokens_details",
    "usage.completion_tokens_details.accepted_prediction_tokens",
    "usage.completion_tokens_details.audio_tokens",
    "usage.completion_tokens_details.reasoning_tokens",
    "usage.completion_tokens_details.rejected_prediction_tokens",
    "usage.cost_in_usd_ticks",
    "usage.num_sources_used",
    "usage.prompt_tokens",
    "usage.prompt_tokens_details",
    "usage.prompt_tokens_details.audio_tokens",
    "usage.prompt_tokens_details.cached_tokens",
    "usage.prompt_tokens_details.image_tokens",
    "usage.prompt_tokens_details.text_tokens",
    "usage.total_tokens",
];
/// `service_tier` is newer than the recordings.
const FRAME: &[&str] = &[
    "choices",
    "created",
    "id",
    "model",
    "object",
    "service_tier",
    "system_fingerprint",
];

fn expect_keys(value: &Value, sets: &[&[&str]]) {
    let expected = sets.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(key_paths(value), expected, "{value}");
}

fn check_sum(usage: &Value) {
    let number = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap();
    let reasoning = number("/completion_tokens_details/reasoning_tokens");
    assert_eq!(
        number("/total_tokens"),
        number("/prompt_tokens") + number("/completion_tokens") + reasoning
    );
}

#[tokio::test]
async fn an_answer_has_the_recorded_fields() {
    let sim = Sim::play(json!({})).await;
    let got = sim
        .chat(&ask("grok-3-mini", "Tell me about lighthouses, please."))
        .await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.headers.contains_key("x-request-id"));
    assert!(got.headers.contains_key("x-metrics-e2e-ms"));
    let answer = got.json();
    expect_keys(
        &answer,
        &[
            FRAME,
            USAGE,
            &[
                "choices[].finish_reason",
                "choices[].index",
                "choices[].message",
                "choices[].message.content",
                "choices[].message.reasoning_content",
                "choices[].message.refusal",
                "choices[].message.role",
            ],
        ],
    );
    assert!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("lighthouses")
    );
    check_sum(&answer["usage"]);
    let usage = |pointer: &str| answer["usage"].pointer(pointer).and_then(Value::as_u64).unwrap();
    let output = usage("/completion_tokens") + usage("/completion_tokens_details/reasoning_tokens");
    assert_eq!(
        usage("/cost_in_usd_ticks"),
        usage("/prompt_tokens") * 3_000 + output * 5_000
    );
}

#[tokio::test]
async fn a_stream_has_the_recorded_order() {
    let sim = Sim::play(json!({})).await;
    let mut body = ask_streamed("grok-4", "What is a lighthouse?");
    body["stream_options"] = json!({"include_usage": true});
    let got = sim.chat(&body).await;
    assert_eq!(got.headers["content-type"], "text/event-stream");
    let events = got.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let (last, rest) = chunks.split_last().unwrap();
    expect_keys(last, &[FRAME, USAGE]);
    assert_eq!(last["choices"], json!([]));
    check_sum(&last["usage"]);
    let (finish, deltas) = rest.split_last().unwrap();
    assert_eq!(finish["choices"][0]["delta"], json!({}));
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert!(deltas.len() >= 20);
    assert_eq!(deltas[0]["choices"][0]["delta"]["role"], "assistant");
    let text = |field: &str| -> String {
        deltas
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str())
            .collect()
    };
    assert!(text("content").contains("What is a lighthouse?"));
    assert!(text("reasoning_content").contains("What is a lighthouse?"));
    let last_thought = deltas
        .iter()
        .rposition(|chunk| chunk["choices"][0]["delta"].get("reasoning_content").is_some());
    let first_word = deltas
        .iter()
        .position(|chunk| chunk["choices"][0]["delta"].get("content").is_some());
    assert!(last_thought < first_word);
    for chunk in &chunks {
        assert_eq!(chunk["model"], "grok-4.3", "the alias is resolved");
        assert_eq!(chunk["id"], last["id"]);
    }
    for chunk in rest {
        assert!(chunk.get("usage").is_none());
    }
    let visible = deltas
        .iter()
        .filter(|chunk| chunk["choices"][0]["delta"].get("content").is_some())
        .count();
    assert_eq!(last["usage"]["completion_tokens"], json!(visible));
}

#[tokio::test]
async fn usage_comes_only_when_asked_for() {
    let sim = Sim::play(json!({})).await;
    let got = sim.chat(&ask_streamed("grok-4.6", "hello")).await;
    assert!(!got.text().contains("\"usage\""));
    assert!(got.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn the_usual_pace_is_at_least_twenty_chunks_over_a_second() {
    let usual = Scenario::default();
    let sim = Sim::play(json!({"pace_ms": usual.pace_ms, "first_token_ms": usual.first_token_ms})).await;
    let begun = Instant::now();
    let got = sim.chat(&ask_streamed("grok-4.20-non-reasoning", "hi")).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(got.events().len() >= 22);
}

#[tokio::test]
async fn tools_are_called_with_arguments_from_the_prompt() {
    let sim = Sim::play(json!({})).await;
    let mut body = ask("grok-3-mini", "What is the weather in San Francisco and Tokyo?");
    body["tools"] = json!([
        {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place", "parameters":
            {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}},
        {"type": "function", "function": {"name": "send_mail", "parameters": {"type": "object", "properties": {}}}},
    ]);
    let answer = sim.chat(&body).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "");
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let arguments: Vec<&str> = message["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["function"]["arguments"].as_str())
        .collect();
    assert_eq!(
        arguments,
        [r#"{"location":"San Francisco"}"#, r#"{"location":"Tokyo"}"#]
    );
    expect_keys(
        &message["tool_calls"],
        &[&[
            "[].function",
            "[].function.arguments",
            "[].function.name",
            "[].id",
            "[].type",
        ]],
    );

    body["stream"] = json!(true);
    let chunks: Vec<Value> = sim
        .chat(&body)
        .await
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str(event).ok())
        .collect();
    let calls: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"].get("tool_calls"))
        .collect();
    assert_eq!(calls.len(), 2, "each call comes whole in a chunk of its own");
    assert_eq!(calls[1][0]["index"], 1);
    assert_eq!(calls[1][0]["function"]["arguments"], r#"{"location":"Tokyo"}"#);

    body["parallel_tool_calls"] = json!(false);
    body["stream"] = json!(false);
    let one = sim.chat(&body).await.json();
    assert_eq!(one["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1);
    body["tool_choice"] = json!("none");
    assert_eq!(sim.chat(&body).await.json()["choices"][0]["finish_reason"], "stop");
    body["tool_choice"] = json!({"type": "function", "function": {"name": "send_mail"}});
    let forced = sim.chat(&body).await.json();
    assert_eq!(
        forced["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "send_mail"
    );
}

#[tokio::test]
async fn the_result_of_a_tool_is_taken_up() {
    let sim = Sim::play(json!({})).await;
    let body = json!({
        "model": "grok-4.6",
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "messages": [
            {"role": "user", "content": "How is the weather in Oslo?"},
            {"role": "assistant", "content": "", "tool_calls":
                [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees, rain"},
        ],
    });
    let answer = sim.chat(&body).await.json();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.contains("weather: 12 degrees, rain"), "{content}");
}

#[tokio::test]
async fn structured_output_is_json_of_the_schema() {
    let sim = Sim::play(json!({})).await;
    let mut body = ask("grok-4.6", "Extract: Anna is 31.");
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": false,
    }}});
    let answer = sim.chat(&body).await.json();
    let made: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert_eq!(made, json!({"name": "Anna", "age": 31}));
    body["response_format"] = json!({"type": "json_object"});
    let answer = sim.chat(&body).await.json();
    let made: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(made.is_object());
}

#[tokio::test]
async fn several_choices_logprobs_length_and_cache() {
    let sim = Sim::play(json!({})).await;
    let mut body = ask("grok-3-mini", "Tell me a story about a fox.");
    body["n"] = json!(2);
    body["max_tokens"] = json!(5);
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(2);
    body["prompt_cache_key"] = json!("conversation");
    let answer = sim.chat(&body).await.json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    assert_eq!(answer["choices"][1]["finish_reason"], "length");
    let logprobs = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(logprobs.len(), 5);
    assert_eq!(logprobs[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(answer["usage"]["completion_tokens"], 10);
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let again = sim.chat(&body).await.json();
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    assert_eq!(cached + 1, again["usage"]["prompt_tokens"].as_u64().unwrap());
    assert!(again["usage"]["cost_in_usd_ticks"].as_u64() < answer["usage"]["cost_in_usd_ticks"].as_u64());
    // Newer models ignore the wish for logprobs.
    body["model"] = json!("grok-4.6");
    assert!(sim.chat(&body).await.json()["choices"][0].get("logprobs").is_none());
}

#[tokio::test]
async fn pictures_are_seen_and_counted() {
    let sim = Sim::play(json!({})).await;
    let body = json!({"model": "grok-4.6", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is on it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    ]}]});
    let answer = sim.chat(&body).await.json();
    assert!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("picture")
    );
    assert_eq!(answer["usage"]["prompt_tokens_details"]["image_tokens"], 256);
}

#[tokio::test]
async fn a_deferred_answer_is_read_once() {
    let sim = Sim::play(json!({"pace_ms": 10, "teams": [
        {"id": "a", "keys": ["xai-simulator"]}, {"id": "b", "keys": ["xai-other"]},
    ]}))
    .await;
    let mut body = ask("grok-4.6", "Take your time.");
    body["deferred"] = json!(true);
    let accepted = sim.chat(&body).await;
    assert_eq!(accepted.status, StatusCode::OK);
    let path = format!(
        "/v1/chat/deferred-completion/{}",
        accepted.json()["request_id"].as_str().unwrap()
    );
    let pending = sim.get(&path, "xai-simulator").await;
    assert_eq!((pending.status, pending.body.len()), (StatusCode::ACCEPTED, 0));
    sim.time.advance_ms(60_000);
    assert_eq!(
        sim.get(&path, "xai-other").await.status,
        StatusCode::NOT_FOUND,
        "another team's"
    );
    let done = sim.get(&path, "xai-simulator").await;
    assert_eq!(done.status, StatusCode::OK);
    assert_eq!(done.json()["object"], "chat.completion");
    assert_eq!(sim.get(&path, "xai-simulator").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn models_and_the_key_are_described() {
    let sim = Sim::play(json!({"teams": [{
        "id": "team-1", "models": ["grok-4*"], "zdr": true,
        "keys": [{"secret": "xai-abcdefgh", "name": "mine"}],
    }]}))
    .await;
    let key = sim.get("/v1/api-key", "xai-abcdefgh").await.json();
    expect_keys(
        &key,
        &[&[
            "acls",
            "api_key_blocked",
            "api_key_disabled",
            "api_key_id",
            "create_time",
            "modified_by",
            "modify_time",
            "name",
            "redacted_api_key",
            "team_blocked",
            "team_id",
            "user_id",
        ]],
    );
    assert_eq!(key["team_id"], "team-1");
    assert_eq!(key["redacted_api_key"], "xai-...efgh");
    let me = sim.get("/v1/me", "xai-abcdefgh").await.json();
    assert_eq!(me["zdr_status"], "zdr");
    let models = sim.get("/v1/models", "xai-abcdefgh").await.json();
    let ids: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert!(ids.contains(&"grok-4.6") && !ids.contains(&"grok-3-mini"), "{ids:?}");
    assert_eq!(
        sim.get("/v1/models/grok-4", "xai-abcdefgh").await.json()["id"],
        "grok-4.3"
    );
    assert_eq!(
        sim.get("/v1/models/grok-3-mini", "xai-abcdefgh").await.status,
        StatusCode::NOT_FOUND
    );
    let language = sim.get("/v1/language-models", "xai-abcdefgh").await.json();
    assert!(language["models"][0]["input_modalities"].is_array());
    let body = json!({"text": "Hello world!", "model": "grok-4.6"});
    let tokens = sim.post("/v1/tokenize-text", "xai-abcdefgh", &body).await.json();
    assert_eq!(tokens["token_ids"][1]["string_token"], " world!");
    assert_eq!(tokens["token_ids"][0]["token_bytes"], json!([72, 101, 108, 108, 111]));
}
