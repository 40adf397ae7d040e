//! `POST /v1/embeddings`. The upstream's list of models for it is empty; a scenario may have one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::chat::read;
use super::errors::{Mention, json_body, respond};
use super::routes::{Answer, unreadable};
use super::tokens;
use super::turn::{Asked, admit};
use super::world::World;

/// Numbers of a vector unless asked otherwise, and at most.
const DIMENSIONS: usize = 32;
const MOST_DIMENSIONS: usize = 4_096;

#[derive(Deserialize)]
struct EmbeddingRequest {
    input: Texts,
    model: Option<String>,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// Answers with vectors that are the same for the same text.
pub async fn embed(world: &Arc<World>, caller: &Caller, body: &[u8]) -> Answer {
    let request: EmbeddingRequest = match read(body) {
        Ok(request) => request,
        Err(error) => return Ok(unreadable(&error, "deser-resp-422")),
    };
    let texts = match request.input {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    };
    let asked = Asked {
        path: "/v1/embeddings",
        endpoint: "embed",
        model: request.model.as_deref(),
        stream: false,
        prompt: texts.first().map_or("", String::as_str),
    };
    let mut admitted = match admit(world, caller, &asked).await {
        Ok(admitted) => admitted,
        Err(instead) => return *instead,
    };
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
    let detail = if !admitted.model.embedding {
        Some("This model does not make embeddings.")
    } else if texts.is_empty() || !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        Some("input must not be empty, and dimensions must be between 1 and 4096.")
    } else {
        None
    };
    if let Some(detail) = detail {
        let mention = Mention {
            detail,
            ..admitted.mention(caller)
        };
        let refusal = respond("arg-invalid", &mention);
        return *admitted.refuse(refusal);
    }
    let count: u64 = texts.iter().map(|text| tokens::count(text)).sum();
    let as_base64 = request.encoding_format.as_deref() == Some("base64");
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let shown = if as_base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"index": index, "embedding": shown, "object": "embedding"})
        })
        .collect();
    admitted.call.prompt(count, 0, 1);
    admitted.call.finish();
    let mut response = json_body(
        StatusCode::OK,
        &json!({
            "object": "list",
            "model": admitted.model.id,
            "data": data,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }),
    );
    admitted.dress(&mut response);
    Ok(response)
}

/// Of length one.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut bytes = vec![0; dimensions];
    blake3::Hasher::new()
        .update(text.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    let numbers: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) / 255.0 - 0.5).collect();
    let length = numbers
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| number / length).collect()
}
