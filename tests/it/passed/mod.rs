//! The upstream's own API through the gateway: what passes, what belongs to whom, and that a key's limits hold everywhere.

mod batches;
mod limits;
mod objects;
mod sockets;
mod together;
mod voice;

use http::Method;
use serde_json::{Value, json};

use crate::support::http::{Got, Http};
use crate::support::{Gateway, MODEL, Plan, Sim, ask};

/// A form with these parts: name, filename, content.
pub fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, filename, content) in parts {
        let file = filename.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        body.extend_from_slice(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

/// Sends a form.
pub async fn post_form(http: &Http, path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Got {
    let (kind, body) = form(parts);
    http.send(Method::POST, path, &[("content-type", &kind)], body).await
}

/// A gateway in front of three teams, and of a model that makes vectors.
pub async fn stage() -> (Sim, Gateway) {
    stage_with(json!({})).await
}

pub async fn stage_with(more: Value) -> (Sim, Gateway) {
    let mut scenario = json!({
        "teams": (0..3).map(Sim::team).collect::<Vec<_>>(),
        "models": [
            {"id": "v1", "embedding": true},
            {"id": "grok-voice-think-fast-2.0", "aliases": ["grok-voice-latest"]},
        ],
    });
    for (name, value) in more.as_object().unwrap() {
        scenario[name] = value.clone();
    }
    let sim = Sim::play(scenario).await;
    let gateway = Plan::of(&sim, 3).start_warm().await;
    (sim, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_embeddings_and_tokens_pass() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let completion = json!({"model": MODEL, "prompt": "Hello there", "max_tokens": 20});
    let got = http.post("/v1/completions", &completion).await.ok().json();
    assert_eq!(got["object"], "text_completion", "{got}");
    assert!(!got["choices"][0]["text"].as_str().unwrap().is_empty(), "{got}");

    let mut streamed = completion.clone();
    streamed["stream"] = true.into();
    let events = http.post("/v1/completions", &streamed).await.ok().events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
    assert!(
        !events.iter().any(|event| event.contains("\"usage\":{")),
        "usage was not asked for: {events:?}"
    );
    streamed["stream_options"] = json!({"include_usage": true});
    let events = http.post("/v1/completions", &streamed).await.ok().events();
    assert!(events.iter().any(|event| event.contains("\"usage\":{")), "{events:?}");

    let got = http
        .post("/v1/embeddings", &json!({"model": "v1", "input": ["one", "two"]}))
        .await;
    let got = got.ok().json();
    assert_eq!(got["data"].as_array().unwrap().len(), 2, "{got}");
    let tokens = json!({"model": MODEL, "text": "one two three"});
    let got = http.post("/v1/tokenize-text", &tokens).await.ok().json();
    assert!(got["token_ids"].as_array().unwrap().len() >= 3, "{got}");

    // All of it is in the log, with what it cost.
    let admin = gateway.admin().await;
    for route in ["/v1/completions", "/v1/embeddings", "/v1/tokenize-text"] {
        let rows = admin.requests(&format!("?route={route}")).await;
        assert!(rows.iter().any(|row| row["route"] == route), "{route}: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_models_pass_and_show_what_the_key_may_use() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    for (list, expected) in [
        ("/v1/language-models", MODEL),
        ("/v1/image-generation-models", "grok-imagine-image"),
        ("/v1/video-generation-models", "grok-imagine-video"),
        ("/v1/embedding-models", "v1"),
    ] {
        let got = http.get(list).await.ok().json();
        let models = got["models"].as_array().unwrap();
        assert!(models.iter().any(|model| model["id"] == expected), "{list}: {got}");
    }
    let one = http.get(&format!("/v1/language-models/{MODEL}")).await.ok().json();
    assert_eq!(one["id"], MODEL);
    assert_eq!(
        http.get("/v1/language-models/grok-99")
            .await
            .with_status(404)
            .error_code(),
        "model_not_found"
    );
    assert_eq!(
        http.get("/v1/language-models/..%2Fapi-key")
            .await
            .with_status(404)
            .error_code(),
        "model_not_found"
    );

    let narrow = gateway
        .admin()
        .await
        .new_key(json!({"name": "narrow", "allowed_models": ["grok-4.3*"]}))
        .await;
    let narrow = gateway.as_client(&narrow.secret);
    let got = narrow.get("/v1/language-models").await.ok().json();
    let ids: Vec<&str> = got["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["grok-4.3"]);
    narrow
        .get("/v1/language-models/grok-4.7")
        .await
        .with_status(404)
        .error();
    let refused = narrow
        .post("/v1/tts", &json!({"text": "Hi", "language": "en"}))
        .await
        .with_status(403);
    assert_eq!(refused.error_code(), "model_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_of_its_own_key_and_of_no_other() {
    let (_sim, gateway) = stage().await;
    let key = gateway.admin().await.new_key(json!({"name": "mine"})).await;
    let client = gateway.as_client(&key.secret);
    for path in ["/v1/api-key", "/v1/me"] {
        let got = client.get(path).await.ok();
        assert!(!got.text().contains("7ea00000"), "the team's id: {}", got.text());
        assert!(!got.text().contains(&key.secret), "{}", got.text());
        assert!(got.text().contains(&key.id), "{}", got.text());
        gateway.http().anonymous().get(path).await.with_status(401).error();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_on_the_list_is_not_there() {
    let (sim, gateway) = stage().await;
    let http = gateway.http();
    for path in [
        "/v1/moderations",
        "/v1/fine_tuning/jobs",
        "/v1/auth/teams",
        "/v1/files%2f..",
        "/v1/",
    ] {
        let got = http.get(path).await.with_status(404);
        assert!(!got.error()["message"].as_str().unwrap().is_empty());
        http.post(path, &json!({})).await.with_status(404).error();
    }
    http.post("/v1/tts/voices/../../api-key", &json!({}))
        .await
        .with_status(404)
        .error();
    assert_eq!(
        http.get("/v1/tts/voices").await.ok().json()["voices"][0]["voice_id"],
        "eve"
    );
    // And what an operator takes off it is not there either.
    let closed = Plan::of(&sim, 3)
        .config("[xai]\npass_through = [\"/v1/tts*\"]\n")
        .start_warm()
        .await;
    closed.http().get("/v1/tts/voices").await.ok();
    closed.http().get("/v1/files").await.with_status(404).error();
    closed
        .http()
        .post("/v1/embeddings", &json!({"model": "v1", "input": "x"}))
        .await
        .with_status(404)
        .error();
    closed.http().chat(&ask(MODEL, "Hi")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_only_for_what_it_makes() {
    let (sim, gateway) = stage().await;
    let http = gateway.http();
    let text = json!([{"role": "user", "content": "Hi"}]);
    let seen = json!([{"role": "user", "content": [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]}]);
    for (path, body, named, code) in [
        (
            "/v1/completions",
            json!({"model": "grok-imagine-video", "prompt": "Hi"}),
            "/v1/videos",
            "model_not_supported",
        ),
        (
            "/v1/chat/completions",
            json!({"model": "grok-voice-latest", "messages": text}),
            "/v1/realtime",
            "model_not_supported",
        ),
        (
            "/v1/completions",
            json!({"model": "grok-4.20-multi-agent", "prompt": "Hi"}),
            "/v1/responses",
            "model_not_supported",
        ),
        (
            "/v1/chat/completions",
            json!({"model": "grok-3-mini", "messages": seen}),
            "images",
            "images_not_supported",
        ),
        (
            "/v1/responses",
            json!({"model": "grok-imagine-image", "input": "Hi"}),
            "/v1/images/generations",
            "model_not_supported",
        ),
        (
            "/v1/responses",
            json!({"model": "grok-3-mini", "input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]}),
            "images",
            "images_not_supported",
        ),
        (
            "/v1/embeddings",
            json!({"model": MODEL, "input": "Hi"}),
            "/v1/chat/completions",
            "model_not_supported",
        ),
        (
            "/v1/completions",
            json!({"model": "grok-imagine-image", "prompt": "Hi"}),
            "/v1/images",
            "model_not_supported",
        ),
    ] {
        let got = http.post(path, &body).await.with_status(400);
        assert_eq!(got.error_code(), code, "{path} {body}");
        assert!(
            got.error()["message"].as_str().unwrap().contains(named),
            "{}",
            got.text()
        );
    }
    let got = http
        .post(
            "/v1/messages",
            &json!({"model": "grok-imagine-image", "max_tokens": 5, "messages": text}),
        )
        .await;
    assert_eq!(got.with_status(400).json()["error"]["type"], "invalid_request_error");
    assert_eq!(sim.total().await, 0, "nothing of it went upstream");
    for alias in ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "claude-haiku-4-5"] {
        http.chat(&ask(alias, "Hi")).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_name_that_nobody_lists_names_its_successor() {
    let teams = vec![json!({"id": Sim::team_id(0), "keys": [Sim::key(0)], "models": ["grok-4.3"]})];
    let sim = Sim::play(json!({"teams": teams})).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let got = gateway.http().chat(&ask("grok-4.33", "Hi")).await.with_status(404);
    assert!(
        got.error()["message"].as_str().unwrap().contains("grok-4.3?"),
        "{}",
        got.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_that_lets_nothing_be_kept_is_asked_so() {
    let sim = Sim::play(json!({"teams": [{"id": Sim::team_id(0), "keys": [Sim::key(0)], "zdr": true}]})).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let body = json!({"model": MODEL, "input": "Hi"});
    let got = gateway.http().post("/v1/responses", &body).await.ok().json();
    assert_eq!(got["store"], false, "{got}");
    let path = format!("/v1/responses/{}", got["id"].as_str().unwrap());
    gateway.http().get(&path).await.with_status(404).error();
    // Everybody else's are kept, as is the default.
    let (_sim, gateway) = stage().await;
    let got = gateway.http().post("/v1/responses", &body).await.ok().json();
    assert_eq!(got["store"], true, "{got}");
}
