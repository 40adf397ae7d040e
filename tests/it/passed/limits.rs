//! A key's limits and its budget hold on every route, what it costs known beforehand or not.

use http::Method;
use serde_json::{Value, json};

use super::{form, post_form, stage};
use crate::support::http::{Got, Http};
use crate::support::{MODEL, eventually};

/// One call of every route that passes, as a client makes it. Whether it is known, refused or not found upstream is no
/// matter here.
async fn call(http: &Http, path: &str) -> Got {
    let sound = vec![7_u8; 3_200];
    match path {
        "/v1/files" | "/v1/stt" | "/v1/audio/transcriptions" | "/v1/skills" => {
            let part = if path == "/v1/skills" { "files" } else { "file" };
            let (kind, body) = form(&[("model", None, b"whisper-1"), (part, Some("a"), &sound)]);
            http.send(Method::POST, path, &[("content-type", &kind)], body).await
        }
        _ => match body_of(path) {
            Some(body) => http.post(path, &body).await,
            None => http.get(path).await,
        },
    }
}

fn body_of(path: &str) -> Option<Value> {
    let body = match path {
        "/v1/completions" => json!({"model": MODEL, "prompt": "Hi", "max_tokens": 5}),
        "/v1/embeddings" => json!({"model": "v1", "input": "Hi"}),
        "/v1/tokenize-text" => json!({"model": MODEL, "text": "Hi"}),
        "/v1/batches" => json!({"name": "b"}),
        "/v1/documents/search" => json!({"query": "q", "source": {"collection_ids": []}}),
        "/v1/tts" => json!({"text": "Hi", "language": "en"}),
        "/v1/audio/speech" => json!({"model": "tts-1", "input": "Hi", "voice": "alloy"}),
        _ => return None,
    };
    Some(body)
}

/// Every route that a client reaches the upstream's own API through.
const ROUTES: [&str; 17] = [
    "/v1/completions",
    "/v1/embeddings",
    "/v1/tokenize-text",
    "/v1/language-models",
    "/v1/image-generation-models",
    "/v1/video-generation-models",
    "/v1/embedding-models",
    "/v1/language-models/grok-4.6",
    "/v1/files",
    "/v1/skills",
    "/v1/batches",
    "/v1/documents/search",
    "/v1/tts",
    "/v1/tts/voices",
    "/v1/audio/speech",
    "/v1/stt",
    "/v1/audio/transcriptions",
];

#[tokio::test(flavor = "multi_thread")]
async fn calls_a_minute_hold_on_every_route() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    for path in ROUTES {
        let key = admin.new_key(json!({"name": path, "rpm": 2})).await;
        let client = gateway.as_client(&key.secret);
        for _ in 0..2 {
            call(&client, path).await.ok();
        }
        let refused = call(&client, path).await.with_status(429);
        assert_eq!(
            refused.header("x-grok2api-reason"),
            "client_limit",
            "{path}: {}",
            refused.text()
        );
        refused.error();
        let nobody = gateway.http().anonymous().get(path).await;
        assert!(
            [401, 405].contains(&nobody.status.as_u16()),
            "{path}: {}",
            nobody.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_on_every_route_that_costs_something() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    for (path, budget) in [
        ("/v1/completions", 0.001),
        ("/v1/tts", 0.000_05),
        ("/v1/audio/speech", 0.000_05),
        ("/v1/stt", 0.000_1),
        ("/v1/audio/transcriptions", 0.000_1),
        ("/v1/documents/search", 0.004),
    ] {
        let key = admin.new_key(json!({"name": path, "budget_usd": budget})).await;
        let client = gateway.as_client(&key.secret);
        let mut answered = 0;
        let refused = loop {
            let got = call(&client, path).await;
            if got.status != 200 {
                break got;
            }
            answered += 1;
            assert!(answered < 40, "{path}: no budget holds it");
        };
        assert_eq!(refused.with_status(429).error_code(), "insufficient_quota", "{path}");
        assert!(answered > 0, "{path}: not even one call");
        let shown = admin.key(&key.id).await;
        let spent = shown["usage_today"]["spent_usd"].as_f64().unwrap();
        assert!(spent > 0.0 && spent < budget * 1.6, "{path}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_did_cost_is_charged_once_a_look_shows_it() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    // A call costs two cents there, and little was expected.
    let key = admin.new_key(json!({"name": "batches", "budget_usd": 0.03})).await;
    let client = gateway.as_client(&key.secret);
    let batch = client.post("/v1/batches", &json!({"name": "b"})).await.ok().json();
    let path = format!("/v1/batches/{}", batch["batch_id"].as_str().unwrap());
    let call = json!({"batch_requests": [{"batch_request_id": "1", "batch_request": {"chat_get_completion":
        {"model": "grok-4.3", "messages": [], "max_tokens": 1}}}]});
    // What is refused was not charged, and does not pay for what is accepted.
    let dear = json!({"batch_requests": [{"batch_request_id": "0", "batch_request": {"chat_get_completion":
        {"model": "grok-4.3", "messages": [], "max_tokens": 100_000}}}]});
    client.post(&format!("{path}/requests"), &dear).await.with_status(429);
    client.post(&format!("{path}/requests"), &call).await.ok();
    for _ in 0..4 {
        client.get(&path).await.ok();
    }
    let spent = async || {
        let shown = admin.key(&key.id).await;
        shown["usage_today"]["spent_usd"]
            .as_f64()
            .unwrap_or_else(|| panic!("{shown}"))
    };
    let all_of_it = async || match spent().await {
        spent if (0.0199..0.0201).contains(&spent) => Ok(()),
        spent => Err(format!("{spent}")),
    };
    eventually(
        "two cents are charged, once",
        std::time::Duration::from_secs(5),
        all_of_it,
    )
    .await;
    client.post(&format!("{path}/requests"), &call).await.ok();
    client.get(&path).await.ok();
    // The second look charged what takes the key past its budget: nothing that costs is done for it any more.
    eventually(
        "the budget is used up",
        std::time::Duration::from_secs(5),
        async || match client.get(&path).await.status.as_u16() {
            429 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await;
    let talk = json!({"model": "grok-4.3", "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..5 {
        client.chat(&talk).await.with_status(429);
    }
    client.post(&format!("{path}/requests"), &call).await.with_status(429);
    // A key that may not use the model adds no call of it; one with a strict budget shows what it adds.
    let narrow = admin
        .new_key(json!({"name": "narrow", "allowed_models": ["grok-4.7"]}))
        .await;
    let narrow = gateway.as_client(&narrow.secret);
    let batch = narrow.post("/v1/batches", &json!({"name": "b"})).await.ok().json();
    let path = format!("/v1/batches/{}/requests", batch["batch_id"].as_str().unwrap());
    assert_eq!(
        narrow.post(&path, &call).await.with_status(403).error_code(),
        "model_not_allowed"
    );
    let file = post_form(&narrow, "/v1/files", &[("file", Some("a.jsonl"), b"{}")])
        .await
        .ok()
        .json();
    let hidden = json!({"name": "b", "input_file_id": file["id"]});
    assert_eq!(
        narrow.post("/v1/batches", &hidden).await.with_status(403).error_code(),
        "input_file_not_allowed"
    );
}
