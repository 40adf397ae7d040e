//! Bad requests are refused in the upstream's shapes and order.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::{Sim, ask};

const KEY: (&str, &str) = ("authorization", "Bearer xai-simulator");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let sim = Sim::play(json!({})).await;
    for (body, status, starts) in [
        ("{", 400, "Failed to parse the request body as JSON: "),
        ("\u{1}", 400, "Failed to parse the request body as JSON: "),
        (
            "{\"messages\":[{\"content\":\"x\"}]}",
            422,
            "Failed to deserialize the JSON body into the target type: messages[0]: missing field `role`",
        ),
        (
            "{\"messages\":3}",
            422,
            "Failed to deserialize the JSON body into the target type: messages: invalid type",
        ),
        (
            "{\"model\":\"grok-4.6\"}",
            422,
            "Failed to deserialize the JSON body into the target type: missing field `messages`",
        ),
        (
            "{\"model\":\"grok-4.6\",\"messages\":[],\"n\":\"2\"}",
            422,
            "Failed to deserialize the JSON body into the target type: n: ",
        ),
        (
            "{\"messages\":[{\"role\":\"developer\",\"content\":\"x\"}]}",
            422,
            "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `developer`",
        ),
        (
            "{\"messages\":[{\"role\":\"user\"}]}",
            422,
            "Failed to deserialize the JSON body into the target type: messages[0]: missing field `content`",
        ),
    ] {
        let got = sim
            .send(Method::POST, "/v1/chat/completions", &[KEY, JSON], body.to_owned())
            .await;
        assert_eq!(got.status.as_u16(), status, "{body}");
        assert_eq!(got.headers["content-type"], "text/plain; charset=utf-8");
        assert!(got.text().starts_with(starts), "{body}: {}", got.text());
    }
    let got = sim.send(Method::POST, "/v1/chat/completions", &[KEY], "{}").await;
    assert_eq!(got.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn credentials_come_after_the_model() {
    let sim = Sim::play(json!({})).await;
    let good = ask("grok-4.6", "hi");
    let none = sim
        .send(Method::POST, "/v1/chat/completions", &[JSON], good.to_string())
        .await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
    assert_eq!(none.json()["code"], "unauthenticated:no-credentials");
    let wrong = sim.post("/v1/chat/completions", "xai-wrong-key", &good).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "not 401");
    assert_eq!(
        wrong.json()["error"],
        "Incorrect API key provided: xa***ey. You can obtain an API key from https://console.x.ai."
    );
    let both = sim
        .post("/v1/chat/completions", "xai-wrong-key", &ask("gpt-9", "hi"))
        .await;
    assert_eq!(both.json()["error"], "Model not found: gpt-9");
    let unknown = sim.chat(&ask("gpt-9", "hi")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.json()["code"], "not-found");
    let omitted = sim
        .chat(&json!({"messages": [{"role": "user", "content": "hi"}]}))
        .await;
    assert_eq!(omitted.json()["error"], "Model not found: latest");
    let old_style = sim
        .send(
            Method::POST,
            "/v1/chat/completions",
            &[("x-api-key", "xai-simulator"), JSON],
            good.to_string(),
        )
        .await;
    assert_eq!(old_style.status, StatusCode::OK);
    assert_eq!(
        sim.get("/v1/api-key", "xai-wrong-key").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn arguments_that_the_model_does_not_take() {
    let sim = Sim::play(json!({})).await;
    let with = |model: &str, name: &str, value: Value| {
        let mut body = ask(model, "hi");
        body[name] = value;
        body
    };
    for (body, status, says) in [
        (
            with("grok-4.6", "presence_penalty", json!(0)),
            400,
            "Argument not supported on this model: presencePenalty",
        ),
        (
            with("grok-4.6", "stop", json!(["x"])),
            400,
            "Argument not supported on this model: stop",
        ),
        (with("grok-4.3", "stop", json!(["x"])), 200, ""),
        (
            with("grok-4.20", "reasoning_effort", json!("low")),
            400,
            "Argument not supported on this model: reasoningEffort",
        ),
        (with("grok-4.6", "reasoning_effort", json!("xhigh")), 200, ""),
        (
            with("grok-4.6", "search_parameters", json!({"mode": "auto"})),
            410,
            "Live search is deprecated",
        ),
        (
            with("grok-4.6", "messages", json!([])),
            400,
            "Invalid request content: Each message must have at least one",
        ),
        (with("grok-4.6", "n", json!(-1)), 400, "Invalid request content: n must"),
        (
            with("grok-4.6", "temperature", json!(3)),
            400,
            "Invalid request content: temperature",
        ),
        (with("grok-4.6", "something_new", json!({"a": 1})), 200, ""),
        (
            with("grok-imagine-image", "seed", json!(1)),
            400,
            "Invalid request content: This model is not available",
        ),
        (
            ask("grok-3-mini", &"word ".repeat(140_000)),
            400,
            "This model's maximum prompt length is 131072 but the request",
        ),
    ] {
        let got = sim.chat(&body).await;
        assert_eq!(got.status.as_u16(), status, "{}", got.text());
        if status != 200 {
            let text = got.json()["error"].as_str().unwrap().to_owned();
            assert!(text.starts_with(says), "{text}");
        }
    }
}

#[tokio::test]
async fn paths_that_are_not_there() {
    let sim = Sim::play(json!({})).await;
    let got = sim.get("/v1/moderations", "xai-simulator").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    assert_eq!(got.json()["error"]["code"], 404);
    assert_eq!(
        sim.get("/v1/chat/completions", "xai-simulator").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(sim.get("/", "xai-simulator").await.status, StatusCode::NOT_FOUND);
    let body = json!({"model": "v1", "input": "x"});
    assert_eq!(
        sim.post("/v1/embeddings", "xai-simulator", &body).await.status,
        StatusCode::NOT_FOUND
    );
}
