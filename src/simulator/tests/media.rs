//! Images, videos and embeddings, as the API's own clients see them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::simulator::Scenario;

use super::client::{Got, Sim};

const KEY: &str = Scenario::DEFAULT_KEY;

/// The object at a URL of the simulator.
async fn fetched(sim: &Sim, url: &str) -> Got {
    let path = url.strip_prefix(&format!("http://{}", sim.running.addr)).unwrap();
    sim.send(Method::GET, path, &[], "").await
}

#[tokio::test]
async fn images_are_real_and_their_urls_end() {
    let sim = Sim::play(json!({"media_url_ms": 1_000})).await;
    let ask = |more: Value| {
        let mut body = json!({"prompt": "A lighthouse", "model": "grok-imagine-image"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let made = sim
        .post("/v1/images/generations", KEY, &ask(json!({"n": 2})))
        .await
        .json();
    assert_eq!(made["data"].as_array().unwrap().len(), 2);
    assert!(made.get("created").is_none());
    assert_eq!(made["usage"]["cost_in_usd_ticks"], 400_000_000);
    assert_eq!(sim.running.stats()["cost_in_usd_ticks"], 400_000_000);
    let url = made["data"][0]["url"].as_str().unwrap();
    let picture = fetched(&sim, url).await;
    assert_eq!(picture.headers["content-type"], "image/jpeg");
    assert!(picture.body.starts_with(&[0xff, 0xd8, 0xff]) && picture.body.ends_with(&[0xff, 0xd9]));
    sim.time.advance_ms(2_000);
    assert_eq!(fetched(&sim, url).await.status, StatusCode::NOT_FOUND);
    let large = sim
        .post(
            "/v1/images/generations",
            KEY,
            &ask(json!({"resolution": "2k", "response_format": "b64_json"})),
        )
        .await
        .json();
    let bytes = STANDARD.decode(large["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    let edit = ask(json!({"image": {"url": "data:image/png;base64,AAAA"}}));
    assert_eq!(sim.post("/v1/images/edits", KEY, &edit).await.status, StatusCode::OK);
    for wrong in [
        json!({"n": 11}),
        json!({"aspect_ratio": "7:1"}),
        json!({"model": "grok-4.6"}),
    ] {
        let got = sim.post("/v1/images/generations", KEY, &ask(wrong)).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{}", got.text());
    }
    let form = [
        ("authorization", "Bearer xai-simulator"),
        ("content-type", "multipart/form-data"),
    ];
    let got = sim.send(Method::POST, "/v1/images/edits", &form, "").await;
    assert_eq!(got.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_video_is_waited_for_by_its_team() {
    let teams = json!([{"id": "a", "keys": ["xai-a"]}, {"id": "b", "keys": ["xai-b"]}]);
    let sim = Sim::play(json!({"teams": teams, "video_ms": 10_000})).await;
    let ask = json!({"prompt": "Waves", "model": "grok-imagine-video", "duration": 3});
    let made = sim.post("/v1/videos/generations", "xai-a", &ask).await.json();
    let path = format!("/v1/videos/{}", made["request_id"].as_str().unwrap());
    assert_eq!(sim.get(&path, "xai-b").await.status, StatusCode::NOT_FOUND);
    let empty = sim.get(&path, "xai-a").await;
    assert_eq!((empty.status, empty.body.len()), (StatusCode::ACCEPTED, 0));
    sim.time.advance_ms(5_000);
    assert_eq!(
        sim.get(&path, "xai-a").await.json(),
        json!({"status": "pending", "progress": 50})
    );
    sim.time.advance_ms(5_000);
    let done = sim.get(&path, "xai-a").await.json();
    assert_eq!(done["status"], "done");
    assert_eq!(done["usage"]["cost_in_usd_ticks"], 1_500_000_000_u64);
    let video = fetched(&sim, done["video"]["url"].as_str().unwrap()).await;
    assert_eq!(video.headers["content-type"], "video/mp4");
    assert_eq!(&video.body[4..8], b"ftyp");
}

#[tokio::test]
async fn embeddings_are_there_if_a_scenario_has_them() {
    let sim = Sim::play(json!({"models": [{"id": "v1", "embedding": true}]})).await;
    let got = sim
        .post(
            "/v1/embeddings",
            KEY,
            &json!({"model": "v1", "input": ["one", "two words"]}),
        )
        .await
        .json();
    assert_eq!(got["data"].as_array().unwrap().len(), 2);
    assert_eq!(got["usage"]["prompt_tokens"], 3);
    let none = json!({"model": "v2", "input": "one"});
    assert_eq!(
        sim.post("/v1/embeddings", KEY, &none).await.status,
        StatusCode::NOT_FOUND
    );
}
