//! Speech from text and text from speech: a tone whose length is that of the text, and a count of what was heard.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::SimBody;
use super::caller::Caller;
use super::errors::{Mention, json_body, plain, respond};

/// Longest text.
const LONGEST: usize = 15_000;
/// Bytes of sound for a character.
const BYTES_A_CHARACTER: usize = 32;
/// Bytes of sound in a second.
const BYTES_A_SECOND: f64 = 16_000.0;

#[derive(Deserialize)]
struct SpeechRequest {
    text: String,
    language: String,
    voice_id: Option<String>,
    output_format: Option<Format>,
    #[serde(default)]
    with_timestamps: bool,
}

#[derive(Deserialize)]
struct Format {
    codec: String,
}

fn invalid(caller: &Caller, detail: &str) -> Response<SimBody> {
    respond(
        "arg-invalid",
        &Mention {
            detail,
            ..caller.mention()
        },
    )
}

/// `POST /v1/tts`.
pub fn speak(caller: &Caller, body: &[u8]) -> Response<SimBody> {
    let request: SpeechRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return invalid(caller, &error.to_string()),
    };
    if request.text.is_empty() || request.text.chars().count() > LONGEST || request.language.is_empty() {
        return invalid(
            caller,
            "text must have 1 to 15000 characters, and language must be given.",
        );
    }
    if request
        .voice_id
        .as_deref()
        .is_some_and(|voice| !VOICES.contains(&voice))
    {
        return invalid(caller, "no such voice.");
    }
    let kind = match request
        .output_format
        .as_ref()
        .map_or("mp3", |format| format.codec.as_str())
    {
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "pcm" | "mulaw" | "alaw" => "application/octet-stream",
        _ => return invalid(caller, "no such codec."),
    };
    let sound: Vec<u8> = b"ID3"
        .iter()
        .copied()
        .chain((0..request.text.chars().count() * BYTES_A_CHARACTER).map(|at| (at % 251) as u8))
        .collect();
    if request.with_timestamps {
        return json_body(
            StatusCode::OK,
            &json!({"audio": STANDARD.encode(sound), "content_type": kind, "timestamps": []}),
        );
    }
    plain(StatusCode::OK, kind, sound)
}

const VOICES: [&str; 5] = ["eve", "ara", "rex", "sal", "leo"];

/// `GET /v1/tts/voices`.
pub fn voices() -> Response<SimBody> {
    let voices: Vec<Value> = VOICES
        .iter()
        .map(|id| json!({"voice_id": id, "name": id, "language": null}))
        .collect();
    json_body(StatusCode::OK, &json!({ "voices": voices }))
}

/// `POST /v1/stt`.
pub async fn write(caller: &Caller, headers: &HeaderMap, body: Bytes) -> Response<SimBody> {
    let Some((name, sound)) = form_file(headers, body, "file").await else {
        return json_body(StatusCode::BAD_REQUEST, &json!({"error": "file or url is required"}));
    };
    if sound.is_empty() {
        return invalid(caller, "the file is empty.");
    }
    let duration = sound.len() as f64 / BYTES_A_SECOND;
    json_body(
        StatusCode::OK,
        &json!({
            "text": format!("{name} of {} bytes", sound.len()),
            "language": "en",
            "duration": duration,
            "words": [{"text": name, "start": 0.0, "end": duration}],
        }),
    )
}

/// The file of a form.
pub async fn form_file(headers: &HeaderMap, body: Bytes, wanted: &str) -> Option<(String, Bytes)> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let boundary = multer::parse_boundary(kind).ok()?;
    let body = futures::stream::once(async move { Ok::<Bytes, Infallible>(body) });
    let mut form = multer::Multipart::new(body, boundary);
    while let Ok(Some(part)) = form.next_field().await {
        if part.name() == Some(wanted) {
            let name = part.file_name().unwrap_or("file").to_owned();
            return Some((name, part.bytes().await.ok()?));
        }
    }
    None
}
