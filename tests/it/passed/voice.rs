//! Speech and transcripts, in the upstream's form and in OpenAI's.

use http::Method;
use serde_json::json;

use super::{form, post_form, stage};

#[tokio::test(flavor = "multi_thread")]
async fn speech_comes_in_either_form() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let own = http
        .post(
            "/v1/tts",
            &json!({"text": "Hello", "language": "en", "voice_id": "ara"}),
        )
        .await
        .ok();
    assert_eq!(
        (own.header("content-type"), &own.body[..3]),
        ("audio/mpeg", &b"ID3"[..])
    );
    let asked = json!({"model": "tts-1", "input": "Hello", "voice": "alloy", "response_format": "wav", "instructions": "gently"});
    let got = http.post("/v1/audio/speech", &asked).await.ok();
    assert_eq!(got.header("content-type"), "audio/wav");
    assert_eq!(got.header("x-grok2api-left-out"), "instructions");
    assert_eq!(got.body.len(), own.body.len());
    for (path, wrong) in [
        ("/v1/tts", json!({"language": "en"})),
        ("/v1/tts", json!({"text": "x".repeat(15_001), "language": "en"})),
        ("/v1/tts", json!({"text": "Hi"})),
        ("/v1/tts", json!([])),
        ("/v1/audio/speech", json!({"model": "tts-1", "input": "Hi"})),
        (
            "/v1/audio/speech",
            json!({"model": "tts-1", "input": "Hi", "voice": "nobody"}),
        ),
        (
            "/v1/audio/speech",
            json!({"model": "tts-1", "input": "Hi", "voice": "alloy", "response_format": "opus"}),
        ),
    ] {
        http.post(path, &wrong).await.with_status(400).error();
    }
    http.get("/v1/tts").await.with_status(405).error();
    let rows = gateway.admin().await.requests("").await;
    let row = rows
        .iter()
        .find(|row| row["route"] == "/v1/tts" && row["status"] == 200)
        .unwrap();
    let id = row["id"].as_str().unwrap();
    let record = gateway.admin().await.request(id).await;
    assert_eq!(record["cost_ticks"], 5 * 150_000, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcripts_come_in_either_form() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let sound = vec![7_u8; 32_000];
    let file: (&str, Option<&str>, &[u8]) = ("file", Some("talk.wav"), &sound);
    let own = post_form(http, "/v1/stt", &[("language", None, b"en"), file])
        .await
        .ok()
        .json();
    assert_eq!(
        (&own["text"], &own["duration"]),
        (&json!("talk.wav of 32000 bytes"), &json!(2.0))
    );
    // The SDK puts the file where it likes.
    let asked = [file, ("model", None, &b"whisper-1"[..])];
    let got = post_form(http, "/v1/audio/transcriptions", &asked).await.ok().json();
    assert_eq!(
        got,
        json!({"text": "talk.wav of 32000 bytes", "usage": {"type": "duration", "seconds": 2.0}})
    );
    let verbose = [
        ("model", None, &b"whisper-1"[..]),
        ("response_format", None, &b"verbose_json"[..]),
        file,
    ];
    let got = post_form(http, "/v1/audio/transcriptions", &verbose).await.ok().json();
    assert_eq!(
        (&got["task"], &got["words"][0]["word"]),
        (&json!("transcribe"), &json!("talk.wav"))
    );
    let text = [
        ("model", None, &b"whisper-1"[..]),
        ("response_format", None, &b"text"[..]),
        file,
    ];
    let got = post_form(http, "/v1/audio/transcriptions", &text).await.ok();
    assert_eq!(
        (got.text().as_str(), got.header("content-type")),
        ("talk.wav of 32000 bytes", "text/plain; charset=utf-8")
    );
    for wrong in [
        vec![("model", None, &b"whisper-1"[..])],
        vec![file],
        vec![
            ("model", None, &b"whisper-1"[..]),
            ("response_format", None, &b"srt"[..]),
            file,
        ],
        vec![("model", None, &b"whisper-1"[..]), ("stream", None, &b"true"[..]), file],
        vec![("model", None, &b"whisper-1"[..]), file, file],
    ] {
        post_form(http, "/v1/audio/transcriptions", &wrong)
            .await
            .with_status(400)
            .error();
    }
    let (kind, body) = form(&[file]);
    let cut = body[..body.len() - 10].to_vec();
    http.send(Method::POST, "/v1/stt", &[("content-type", &kind)], cut)
        .await
        .with_status(400)
        .error();
    http.post("/v1/audio/transcriptions", &json!({}))
        .await
        .with_status(415)
        .error();
}
