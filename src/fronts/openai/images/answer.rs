//! Pictures on their way to the client: kept where links are asked for, inline where not; whole or as events.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use grok2api_schemas::media::MediaKind;
use serde_json::{Map, Value, json};

use super::request::{Format, Making, Told};
use crate::app::App;
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::fronts::media::files;
use crate::fronts::media::links::Links;

/// What becomes of the upstream's pictures.
#[derive(Clone)]
pub struct Handing {
    /// The node.
    pub app: Arc<App>,
    /// Makes links.
    pub links: Links,
    /// How they are handed out.
    pub format: Format,
    /// Unix seconds.
    pub created: u64,
}

/// The upstream's answer.
pub struct Made {
    answer: Map<String, Value>,
    pictures: Vec<Map<String, Value>>,
}

impl Made {
    /// Reads it.
    ///
    /// # Errors
    /// 400 when everything in it was withheld, 502 when it is not what it should be.
    pub fn read(body: &[u8]) -> Result<Made, GatewayError> {
        let strange = |what: &str| {
            GatewayError::new(ErrorKind::UpstreamFailed, "The upstream's answer makes no sense.")
                .with_detail(what.to_owned())
                .because(RefusalReason::Upstream)
        };
        let mut answer: Map<String, Value> =
            serde_json::from_slice(body).map_err(|error| strange(&error.to_string()))?;
        let Some(Value::Array(data)) = answer.remove("data") else {
            return Err(strange("no data"));
        };
        let pictures: Vec<Map<String, Value>> = data
            .into_iter()
            .filter_map(|item| match item {
                Value::Object(item) => Some(item),
                _ => None,
            })
            .collect();
        if pictures.is_empty() {
            return Err(strange("no pictures"));
        }
        if pictures.iter().all(is_withheld) {
            return Err(withheld());
        }
        Ok(Made { answer, pictures })
    }
}

impl Made {
    /// What it cost.
    pub fn cost_ticks(&self) -> Option<u64> {
        self.answer.get("usage")?.get("cost_in_usd_ticks")?.as_u64()
    }
}

/// Whether the upstream kept a picture back.
fn is_withheld(picture: &Map<String, Value>) -> bool {
    let holds = |name: &str| {
        picture
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    !holds("url") && !holds("b64_json")
}

/// Everything that was made was kept back.
pub fn withheld() -> GatewayError {
    GatewayError::new(
        ErrorKind::RejectedByUpstream,
        "The upstream's moderation withheld what it made of this prompt. It counts and is billed like any other; another \
         prompt may pass.",
    )
    .with_code("content_policy_violation")
    .with_param("prompt")
    .because(RefusalReason::Upstream)
}

impl Handing {
    /// One picture as the client gets it: the upstream's members, with ours in place of its link.
    async fn picture(&self, mut picture: Map<String, Value>) -> Map<String, Value> {
        if is_withheld(&picture) {
            picture.remove("url");
            picture.remove("b64_json");
            picture.insert("respect_moderation".to_owned(), json!(false));
            picture.insert(
                "moderation".to_owned(),
                json!("The upstream's moderation withheld this picture."),
            );
            return picture;
        }
        let inline = picture.remove("b64_json");
        let url = picture.remove("url");
        match (self.format, inline, url) {
            (Format::Url, _, Some(Value::String(url))) => {
                let link = match self.app.media.download(None, MediaKind::Image, &url).await {
                    Ok(file) => {
                        picture.insert("mime_type".to_owned(), json!(file.mime));
                        self.links.to(&file)
                    }
                    // It was paid for: for a few minutes it can be had there.
                    Err(_) => url,
                };
                picture.insert("url".to_owned(), json!(link));
            }
            (Format::Url, Some(Value::String(inline)), _) => {
                let kept = match STANDARD.decode(&inline) {
                    Ok(bytes) => self.app.media.keep(MediaKind::Image, &bytes).await.ok(),
                    Err(_) => None,
                };
                match kept {
                    Some(file) => picture.insert("url".to_owned(), json!(self.links.to(&file))),
                    None => picture.insert("b64_json".to_owned(), json!(inline)),
                };
            }
            (format, Some(Value::String(inline)), _) => {
                self.keep_a_copy(&inline);
                picture.insert(format.member().to_owned(), json!(inline));
            }
            (format, _, Some(Value::String(url))) => match self.fetched(&url).await {
                Some(inline) => {
                    picture.insert(format.member().to_owned(), json!(inline));
                }
                None => {
                    picture.insert("url".to_owned(), json!(url));
                }
            },
            _ => {}
        }
        picture
    }

    /// A picture that came as a link and is wanted inline.
    async fn fetched(&self, url: &str) -> Option<String> {
        let media = &self.app.media;
        let file = media.download(None, MediaKind::Image, url).await.ok()?;
        let opened = media.read(file.kind, &file.name).await.ok()??;
        let bytes = files::whole(opened).await.ok()?;
        if !self.app.config().cache.keep_base64_cache
            && let Err(error) = media.delete(file.kind, &file.name).await
        {
            tracing::warn!(%error, "a picture that is not to be kept is kept");
        }
        Some(STANDARD.encode(bytes))
    }

    /// Keeps what is handed out inline, where the operator wants that; nobody waits for it.
    fn keep_a_copy(&self, inline: &str) {
        if !self.app.config().cache.keep_base64_cache {
            return;
        }
        let (media, inline) = (self.app.media.clone(), inline.to_owned());
        self.app.tracker.spawn(async move {
            if let Ok(bytes) = STANDARD.decode(&inline)
                && let Err(error) = media.keep(MediaKind::Image, &bytes).await
            {
                tracing::debug!(%error, "a picture that was handed out inline is not kept");
            }
        });
    }

    /// The pictures alone.
    pub async fn pictures(&self, made: Made) -> Vec<Value> {
        let pictures = made.pictures.into_iter().map(|picture| self.picture(picture));
        join_all(pictures).await.into_iter().map(Value::Object).collect()
    }

    /// The answer in one piece.
    pub async fn whole(&self, made: Made) -> Bytes {
        let Made { mut answer, pictures } = made;
        let data = join_all(pictures.into_iter().map(|picture| self.picture(picture))).await;
        answer.insert("created".to_owned(), json!(self.created));
        answer.insert("data".to_owned(), data.into_iter().map(Value::Object).collect());
        let usage = usage(answer.remove("usage"));
        answer.insert("usage".to_owned(), usage);
        Bytes::from(Value::Object(answer).to_string())
    }

    /// The answer as events: one for each picture, for the upstream has none on the way.
    pub fn events(self, made: Made, making: Making, told: Told) -> poem::Body {
        let name = match making {
            Making::Generations => "image_generation.completed",
            Making::Edits => "image_edit.completed",
        };
        let Made { mut answer, pictures } = made;
        let usage = usage(answer.remove("usage"));
        let events = futures::stream::iter(pictures.into_iter().enumerate()).then(move |(index, picture)| {
            let (handing, told, usage) = (self.clone(), told.clone(), usage.clone());
            async move {
                let mut event = handing.picture(picture).await;
                let format = event
                    .get("mime_type")
                    .and_then(Value::as_str)
                    .and_then(|mime| mime.strip_prefix("image/"))
                    .unwrap_or("jpeg")
                    .to_owned();
                for (name, value) in [
                    ("type", json!(name)),
                    ("index", json!(index)),
                    ("partial_image_index", json!(index)),
                    ("progress", json!(100)),
                    ("created_at", json!(handing.created)),
                    ("size", json!(told.size)),
                    ("quality", json!(told.quality)),
                    ("background", json!(told.background)),
                    ("output_format", json!(format)),
                    ("usage", usage),
                ] {
                    event.insert(name.to_owned(), value);
                }
                let event = format!("event: {name}\ndata: {}\n\n", Value::Object(event));
                Ok::<_, std::io::Error>(Bytes::from(event))
            }
        });
        poem::Body::from_bytes_stream(events)
    }
}

/// The upstream's usage with the members that clients of OpenAI's expect.
pub(super) fn usage(said: Option<Value>) -> Value {
    let mut usage = match said {
        Some(Value::Object(usage)) => usage,
        _ => Map::new(),
    };
    for name in ["input_tokens", "output_tokens", "total_tokens"] {
        usage.entry(name).or_insert(json!(0));
    }
    usage
        .entry("input_tokens_details")
        .or_insert(json!({"text_tokens": 0, "image_tokens": 0, "cached_tokens": 0}));
    Value::Object(usage)
}
