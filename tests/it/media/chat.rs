//! Models that make pictures and films, asked over the chat front.

use serde_json::{Value, json};

use super::path_of;
use crate::support::http::streamed_text;
use crate::support::{Gateway, Plan, Sim};

async fn stage() -> (Sim, Gateway) {
    let teams: Vec<Value> = (0..2).map(Sim::team).collect();
    let sim = Sim::play(json!({"teams": teams, "video_ms": 1_500})).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    (sim, gateway)
}

fn ask(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "A lighthouse"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_shows_pictures() {
    let (sim, gateway) = stage().await;
    let http = gateway.http();
    let got = http.chat(&ask("grok-imagine-1.0", json!({"n": 2}))).await.ok();
    let record = gateway.admin().await.request(got.header("x-request-id")).await;
    assert_eq!(
        (&record["route"], &record["cost_ticks"]),
        (&json!("/v1/chat/completions"), &json!(400_000_000))
    );
    let answer = got.json();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(said.matches("![image](http").count(), 2, "{said}");
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("chat.completion"), &json!("grok-imagine-1.0"))
    );
    let link = said.split(['(', ')']).nth(1).unwrap();
    http.anonymous().get(&path_of(&json!(link))).await.ok();

    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = http.chat(&ask("grok-imagine-1.0", more)).await.ok();
    let events = streamed.events();
    assert!(streamed_text(&events).contains("![image]("), "{}", streamed.text());
    assert!(
        streamed.text().contains("\"cost_in_usd_ticks\":200000000") && streamed.text().ends_with("data: [DONE]\n\n")
    );
    // With a picture it is an edit, which looks at that picture for money.
    let picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
    let content = json!([{"type": "text", "text": "Redder"}, {"type": "image_url", "image_url": {"url": picture}}]);
    let edit = json!({"model": "grok-imagine-1.0-edit", "messages": [{"role": "user", "content": content}]});
    let edited = http.chat(&edit).await.ok().json();
    assert_eq!(edited["usage"]["cost_in_usd_ticks"], 220_000_000, "{edited}");
    for (more, code) in [
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}]}),
            "empty_prompt",
        ),
        (json!({"n": 11}), "integer_above_max_value"),
        (json!({"size": "huge"}), "invalid_size"),
    ] {
        let got = http.chat(&ask("grok-imagine-1.0", more)).await.with_status(400);
        assert_eq!(got.error_code(), code, "{}", got.text());
    }
    let withheld = json!({"messages": [{"role": "user", "content": "[[sim:answer=moderated]]"}]});
    let got = http.chat(&ask("grok-imagine-1.0", withheld)).await.with_status(400);
    assert_eq!(got.error_code(), "content_policy_violation");
    let key = gateway
        .admin()
        .await
        .new_key(json!({"name": "one", "limits": {"image_per_day": 1}}))
        .await;
    let client = gateway.as_client(&key.secret);
    client.chat(&ask("grok-imagine-1.0", json!({}))).await.ok();
    client.chat(&ask("grok-imagine-1.0", json!({}))).await.with_status(429);
    drop(sim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_shows_films() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let config = json!({"video_config": {"aspect_ratio": "16:9", "video_length": 5, "resolution": "HD"}});
    let answer = http.chat(&ask("grok-imagine-1.0-video", config)).await.ok().json();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.starts_with("<video") && said.ends_with("</video>"), "{said}");
    let link = said.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
    let film = http.anonymous().get(&path_of(&json!(link))).await.ok();
    assert_eq!(&film.body[4..8], b"ftyp");
    // Five seconds of five cents.
    assert_eq!(answer["usage"]["cost_in_usd_ticks"], 2_500_000_000_u64, "{answer}");

    for (thinking, thinks) in [("enabled", true), ("disabled", false)] {
        let more = json!({"stream": true, "thinking": thinking});
        let streamed = http.chat(&ask("grok-imagine-1.0-video", more)).await.ok();
        let said = streamed_text(&streamed.events());
        assert!(
            said.contains("<video") && streamed.text().ends_with("data: [DONE]\n\n"),
            "{said}"
        );
        assert_eq!(
            said.starts_with("<think>\n") && said.contains("</think>\n<video"),
            thinks,
            "{said}"
        );
    }
    let failing = json!({"stream": true, "messages": [{"role": "user", "content": "[[sim:answer=failed]]"}]});
    let streamed = http.chat(&ask("grok-imagine-1.0-video", failing.clone())).await.ok();
    assert!(
        streamed.text().contains("\"video_failed\"") && !streamed.text().contains("[DONE]"),
        "{}",
        streamed.text()
    );
    let mut whole = failing;
    whole["stream"] = json!(false);
    let got = http.chat(&ask("grok-imagine-1.0-video", whole)).await.with_status(400);
    assert_eq!(got.error_code(), "video_failed");
    for (config, code) in [
        (json!({"video_length": 4}), "invalid_video_length"),
        (json!({"preset": "fun"}), "unsupported_value"),
    ] {
        let got = http
            .chat(&ask("grok-imagine-1.0-video", json!({"video_config": config})))
            .await
            .with_status(400);
        assert_eq!(got.error_code(), code);
    }
}
