//! Requests and answers of pictures and films, as far as the gateway looks into them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A picture to be made.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ImageAsk {
    /// What is to be seen.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// The model; without one, the gateway's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "grok-imagine-image")]
    pub model: Option<String>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub n: Option<u8>,
    /// `url`, `b64_json` or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<String>,
    /// Width and height, as OpenAI writes them; stands for `aspect_ratio` and `resolution`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "1024x1024")]
    pub size: Option<String>,
    /// Whether events are wanted.
    #[serde(default)]
    pub stream: bool,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A picture to be changed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ImageEditAsk {
    /// What it is made of: one or several of an address, `{"url": …}` or `{"file_id": …}`.
    pub image: Value,
    /// What is to be made.
    #[serde(flatten)]
    pub ask: ImageAsk,
}

/// Pictures that were made.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ImagesMade {
    /// Unix seconds.
    pub created: u64,
    /// Each with `url`, `b64_json` or `base64`.
    pub data: Vec<BTreeMap<String, Value>>,
    /// What they cost.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// How web sessions make pictures.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct ImageMethod {
    /// The method's name.
    pub image_generation_method: String,
}

/// A picture that was uploaded.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Uploaded {
    /// Where it is, for later requests.
    pub url: String,
    /// Its name.
    pub name: String,
    /// How large it is.
    pub size_bytes: u64,
}

/// A film to be made, in the upstream's form.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct VideoAsk {
    /// What is to be seen.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// The model; without one, the gateway's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "grok-imagine-video")]
    pub model: Option<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 15))]
    pub duration: Option<u8>,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A film to be made out of another, in the upstream's form.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct VideoEditAsk {
    /// The other: `{"url": …}` or `{"file_id": …}`.
    pub video: BTreeMap<String, Value>,
    /// What is to be seen.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// Whatever else the upstream takes.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A film to be made, in OpenAI's form.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct OpenAiVideoAsk {
    /// What is to be seen.
    #[schemars(length(min = 1))]
    pub prompt: String,
    /// The model; OpenAI's names stand for the upstream's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Seconds, as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "4")]
    pub seconds: Option<String>,
    /// Width and height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "1280x720")]
    pub size: Option<String>,
}

/// What is to be seen in a film that is made out of another.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct RemixAsk {
    /// What is to be different.
    #[schemars(length(min = 1))]
    pub prompt: String,
}
