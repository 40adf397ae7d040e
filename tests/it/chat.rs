//! `POST /v1/chat/completions` and what belongs to it: bytes pass through, only what must change is changed.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::gateway::API_KEY;
use crate::support::http::{Ending, streamed_text};
use crate::support::recorder::{ANSWER, Canned, Recorder};
use crate::support::{Gateway, MODEL, Plan, Sim, ask, ask_streamed, eventually};

async fn recorded() -> (Recorder, Gateway) {
    let recorder = Recorder::start().await;
    let gateway = Plan::new(&recorder.base_url()).keys([Sim::key(0)]).start_warm().await;
    (recorder, gateway)
}

const ODD_ANSWER: &str = "{ \"id\":\"a\\u0301\",  \"object\":\"chat.completion\",\"created\":1,\"model\":\"grok-4.6\",\
    \"x_new\":{\"deep\":[1e3,0.10,-0,{\"k\":null}]},\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\
    \"content\":\"\\ud83d\\ude00 ünï\",\"reasoning_content\":\"hm\"},\"finish_reason\":\"end_turn\",\"logprobs\":null}],\n\
    \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3,\"cost_in_usd_ticks\":7} }";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_passes_byte_for_byte() {
    let (recorder, gateway) = recorded().await;
    recorder.answer(Canned::json(ODD_ANSWER));
    let got = gateway.http().chat(&ask(MODEL, "Hello")).await.ok();
    assert_eq!(got.text(), ODD_ANSWER);
    assert!(got.header("content-type").starts_with("application/json"));
    assert!(!got.header("x-request-id").is_empty());
    let overhead: f64 = got.header("x-grok2api-overhead-ms").parse().unwrap();
    assert!((0.0..1000.0).contains(&overhead), "{overhead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_must_change_of_a_request_changes() {
    let (recorder, gateway) = recorded().await;
    // Spaces, order, number forms and unknown members, as no serialiser would write them.
    let body = "{\"x_unknown\" : {\"a\":[1.0,1e2,\"\\u00e9\"]},\n\"model\":\"grok-4.6\",\"temperature\":0.70, \
        \"messages\":[ {\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"},\
        {\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\",\"detail\":\"low\"}}]} ],\
        \"logprobs\":true,\"top_logprobs\":2,\"reasoning_effort\":\"high\",\"service_tier\":\"priority\"}";
    let http = gateway.http();
    let json_type = ("content-type", "application/json");
    let sdk = [
        json_type,
        ("x-stainless-lang", "python"),
        ("openai-organization", "org-1"),
        ("x-grok-conv-id", "conversation 7"),
        ("user-agent", "OpenAI/Python 3.54.0"),
        ("cookie", "a=b"),
        ("x-api-key", "something else"),
    ];
    http.send(http::Method::POST, "/v1/chat/completions", &sdk, body)
        .await
        .ok();
    let arrived = recorder.only();
    assert_eq!(arrived.body, Bytes::from(body), "nothing needed to change");
    let header = |name: &str| {
        arrived
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("authorization").unwrap(), format!("Bearer {}", Sim::key(0)));
    assert_eq!(header("x-grok-conv-id").unwrap(), "conversation 7");
    for name in ["x-stainless-lang", "openai-organization", "cookie", "x-api-key"] {
        assert_eq!(header(name), None, "{name} was passed on");
    }
    assert!(!format!("{:?}", arrived.headers).contains(API_KEY));

    // Another name for the model, and a role that the upstream does not know: these bytes change, no others.
    let body = r#"{"model": "gpt-4o","x":[ 1 ],"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"developer"}]}"#;
    http.send(http::Method::POST, "/v1/chat/completions", &[json_type], body)
        .await
        .ok();
    let expected = body
        .replace("\"gpt-4o\"", "\"grok-4.7\"")
        .replace("\"role\":\"developer\"", "\"role\":\"system\"");
    assert_eq!(recorder.only().body, Bytes::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_asked_for_upstream_and_taken_out_again() {
    let (recorder, gateway) = recorded().await;
    let first =
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hi\"}}]}\n\n";
    let last = "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let usage = "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1,\"total_tokens\":5,\
        \"cost_in_usd_ticks\":50}}\n\n";
    let done = "data: [DONE]\n\n";
    recorder.answer(Canned::stream([first, last, usage, done]));

    let mut request = ask_streamed(MODEL, "Hi");
    let got = gateway.http().chat(&request).await.ok();
    assert_eq!(got.text(), [first, last, done].concat());
    assert!(got.header("content-type").starts_with("text/event-stream"));
    let sent = recorder.only().json();
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));

    // Who asks for it gets it, and nothing is changed.
    request["stream_options"] = json!({"include_usage": true});
    let got = gateway.http().chat(&request).await.ok();
    assert_eq!(got.text(), [first, last, usage, done].concat());
    assert_eq!(recorder.only().body, Bytes::from(request.to_string()));

    // Who says no does not, whatever else stands in the options.
    request["stream_options"] = json!({"include_usage": false, "other": 1});
    let got = gateway.http().chat(&request).await.ok();
    assert_eq!(got.text(), [first, last, done].concat());
    assert_eq!(
        recorder.only().json()["stream_options"],
        json!({"include_usage": true, "other": 1})
    );

    // Either way it was read: the log knows what the calls used.
    let record = gateway.admin().await.request(got.header("x-request-id")).await;
    assert_eq!(record["usage"]["total_tokens"], 5, "{record}");
    assert_eq!(record["cost_ticks"], 50, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_stream_is_not_streamed() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    for stream in [None, Some(Value::Null), Some(json!(false))] {
        let mut request = ask(MODEL, "Hello");
        if let Some(stream) = stream {
            request["stream"] = stream;
        }
        let got = gateway.http().chat(&request).await.ok();
        assert!(got.header("content-type").starts_with("application/json"));
        assert_eq!(got.json()["object"], "chat.completion");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_in_order_and_at_the_upstreams_pace() {
    let sim = Sim::play(json!({"pace_ms": 30, "first_token_ms": 100, "teams": [Sim::team(0)]})).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let mut stream = gateway
        .http()
        .open_chat(&ask_streamed(MODEL, "Why is the sky blue?"))
        .await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.finish().await, Ending::Clean);
    let events = crate::support::http::events(&stream.text);
    assert_eq!(events.last().unwrap(), "[DONE]");
    assert!(events.len() >= 20, "{} events", events.len());
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    // It was not collected on the way.
    let (first, last) = (stream.times[0], *stream.times.last().unwrap());
    assert!(
        last - first > Duration::from_millis(400) && stream.times.len() >= 10,
        "{:?}",
        stream.times
    );
    // The same text as when it is not streamed.
    let whole = gateway
        .http()
        .chat(&ask(MODEL, "Why is the sky blue?"))
        .await
        .ok()
        .json();
    assert_eq!(whole["choices"][0]["message"]["content"], streamed_text(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_gets_comments() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).set("server.keep_alive_secs", 1).start_warm().await;
    let prompt = "Hello [[sim:stall=3;stall_ms=2600]]";
    let mut stream = gateway.http().open_chat(&ask_streamed(MODEL, prompt)).await;
    assert_eq!(stream.finish().await, Ending::Clean);
    let comments = stream.text.split("\n\n").filter(|event| event.starts_with(':')).count();
    assert!(comments >= 2, "{comments} comments in {}", stream.text);
    assert!(stream.text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_features_survive() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let weather = json!({"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }});
    let mut request = ask(MODEL, "What is the weather in Oslo and in Rome?");
    request["tools"] = json!([weather]);
    request["tool_choice"] = json!("required");
    let got = gateway.http().chat(&request).await.ok().json();
    let calls = got["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[0]["function"]["name"], "get_weather");

    let mut request = ask("grok-4.3", "A number");
    request["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false}}});
    let got = gateway.http().chat(&request).await.ok().json();
    let content: Value = serde_json::from_str(got["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(content["n"].is_i64(), "{content}");

    let got = gateway
        .http()
        .chat(&ask(MODEL, "Think hard about it."))
        .await
        .ok()
        .json();
    assert!(got["choices"][0]["message"]["reasoning_content"].is_string(), "{got}");
    assert!(
        got["usage"]["completion_tokens_details"]["reasoning_tokens"]
            .as_u64()
            .unwrap()
            > 0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_answer_is_fetched_once_and_only_by_its_owner() {
    let sim = Sim::play(json!({"first_token_ms": 700, "teams": [Sim::team(0), Sim::team(1), Sim::team(2)]})).await;
    let mut gateway = Plan::of(&sim, 3).start_warm().await;
    let admin = gateway.admin().await;
    let owner = admin.new_key(json!({"name": "owner"})).await;
    let other = admin.new_key(json!({"name": "other"})).await;
    let mut request = ask(MODEL, "Take your time");
    request["deferred"] = json!(true);
    let got = gateway.as_client(&owner.secret).chat(&request).await.ok().json();
    let id = got["request_id"].as_str().unwrap_or_else(|| panic!("{got}")).to_owned();
    let path = format!("/v1/chat/deferred-completion/{id}");

    let early = gateway.as_client(&owner.secret).get(&path).await;
    assert_eq!(early.status, 202, "{}", early.text());
    gateway
        .as_client(&other.secret)
        .get(&path)
        .await
        .with_status(404)
        .error();
    gateway.http().anonymous().get(&path).await.with_status(401).error();

    // The binding to the token that made it outlives the process.
    gateway.restart().await;
    let client = gateway.as_client(&owner.secret);
    eventually("the answer is there", Duration::from_secs(10), || async {
        match client.get(&path).await {
            got if got.status == 202 => Err("not yet".to_owned()),
            got => {
                assert_eq!(got.status, 200, "{}", got.text());
                assert_eq!(got.json()["object"], "chat.completion");
                Ok(())
            }
        }
    })
    .await;
    // The upstream hands it out once; the gateway keeps it, so that an answer lost on the way to the client is not lost.
    let again = client.get(&path).await.ok();
    assert_eq!(again.json()["object"], "chat.completion");
    client
        .get("/v1/chat/deferred-completion/00000000-0000-4000-8000-000000000000")
        .await
        .with_status(404)
        .error();
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_those_that_pool_and_key_may_use() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let ids = |got: &Value| -> Vec<String> {
        assert_eq!(got["object"], "list");
        let rows = got["data"].as_array().unwrap();
        rows.iter()
            .map(|row| {
                assert_eq!(row["object"], "model", "{row}");
                assert!(row["created"].is_u64() && row["owned_by"].is_string(), "{row}");
                row["id"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    let all = ids(&gateway.http().get("/v1/models").await.ok().json());
    assert!(all.iter().any(|id| id == MODEL) && all.len() > 1, "{all:?}");
    let one = gateway.http().get(&format!("/v1/models/{MODEL}")).await.ok().json();
    assert_eq!(one["id"], MODEL);
    let got = gateway.http().get("/v1/models/no-such-model").await.with_status(404);
    assert_eq!(got.error_code(), "model_not_found");

    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "narrow", "allowed_models": ["grok-4.3*"]}))
        .await;
    let narrow = gateway.as_client(&key.secret);
    let some = ids(&narrow.get("/v1/models").await.ok().json());
    assert!(
        !some.is_empty() && some.iter().all(|id| id.starts_with("grok-4.3")),
        "{some:?}"
    );
    narrow.chat(&ask("grok-4.3", "Hello")).await.ok();
    let refused = narrow.chat(&ask(MODEL, "Hello")).await;
    assert!(matches!(refused.status.as_u16(), 403 | 404), "{}", refused.status);
    refused.error();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_gets_in_nowhere() {
    let recorder = Recorder::start().await;
    recorder.answer(Canned::json(ANSWER));
    let gateway = Plan::new(&recorder.base_url()).keys([Sim::key(0)]).start_warm().await;
    let stranger = gateway.http().anonymous();
    for client in [
        stranger.clone(),
        stranger.with_bearer("sk-wrong"),
        stranger.with_bearer(""),
    ] {
        for path in ["/v1/models", "/v1/models/grok-4.6", "/v1/chat/deferred-completion/x"] {
            let got = client.get(path).await.with_status(401);
            assert_eq!(got.error()["type"], "authentication_error");
        }
        let got = client.chat(&ask(MODEL, "Hello")).await.with_status(401);
        assert_eq!(got.error_code(), "invalid_api_key");
    }
    assert!(recorder.take().is_empty());
    // The key of older Anthropic SDKs' header is as good.
    let headers = [("x-api-key", API_KEY), ("content-type", "application/json")];
    let body = ask(MODEL, "Hello").to_string();
    stranger
        .send(http::Method::POST, "/v1/chat/completions", &headers, body)
        .await
        .ok();
    // And the upstream's credential opens nothing here.
    stranger
        .with_bearer(&Sim::key(0))
        .chat(&ask(MODEL, "Hello"))
        .await
        .with_status(401);
}
