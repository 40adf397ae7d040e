//! What a request for pictures says, whichever way it was sent, and what of it the upstream gets.

use serde_json::{Map, Value, json};

use super::size;
use crate::engine::error::GatewayError;
use crate::fronts::media::form::As;
use crate::fronts::members::{clip, missing, wrong_type};

/// The model that a request means which names none, as the older project had it.
pub const DEFAULT_MODEL: &str = "grok-imagine-image";
/// Most pictures of one request.
const MAX_PICTURES: i64 = 10;
/// Most pictures that a request may build on: the upstream takes five, the older project sixteen.
pub const MAX_SOURCES: usize = 16;
/// Longest prompt, bytes.
const MAX_PROMPT: usize = 128 * 1024;

/// Members that are no strings, for forms.
pub const FORM_KINDS: [(&str, As); 8] = [
    ("n", As::Integer),
    ("concurrency", As::Integer),
    ("partial_images", As::Integer),
    ("output_compression", As::Integer),
    ("stream", As::Flag),
    ("deferred", As::Flag),
    ("output", As::Json),
    ("storage_options", As::Json),
];

/// Members of OpenAI's and of the older project that the upstream does not know.
const OURS: [&str; 13] = [
    "size",
    "style",
    "background",
    "output_format",
    "output_compression",
    "partial_images",
    "stream",
    "moderation",
    "input_fidelity",
    "concurrency",
    "mask",
    "image",
    "images",
];

/// What is asked of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// New pictures.
    Generations,
    /// Pictures out of others.
    Edits,
}

/// How pictures are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As links.
    Url,
    /// Inline, in OpenAI's member.
    B64Json,
    /// Inline, in the older project's member.
    Base64,
}

impl Format {
    /// Of a name; case does not matter.
    pub fn of(name: &str) -> Option<Format> {
        match name.trim().to_ascii_lowercase().as_str() {
            "url" => Some(Format::Url),
            "b64_json" => Some(Format::B64Json),
            "base64" => Some(Format::Base64),
            _ => None,
        }
    }

    /// The member that holds a picture.
    pub const fn member(self) -> &'static str {
        match self {
            Format::Url => "url",
            Format::B64Json => "b64_json",
            Format::Base64 => "base64",
        }
    }
}

/// A request for pictures.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// As the client names it.
    pub model: String,
    /// How many.
    pub n: u64,
    /// Whether they are asked for as events.
    pub stream: bool,
    /// Whether they are fetched later, under an id.
    pub deferred: bool,
    /// How they are handed out; `None`: as is usual.
    pub format: Option<Format>,
    /// What they look like, as events repeat it.
    pub told: Told,
    /// What the upstream gets, the model and sources aside.
    pub rest: Map<String, Value>,
}

/// What OpenAI's events repeat of a request.
#[derive(Clone, Debug)]
pub struct Told {
    /// As asked for.
    pub size: String,
    /// As asked for.
    pub quality: String,
    /// As asked for.
    pub background: String,
}

/// A member, if it is there and not null.
fn given<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn kind_of(value: &Value) -> crate::fronts::json::Kind {
    use crate::fronts::json::Kind;
    match value {
        Value::Null => Kind::Null,
        Value::Bool(_) => Kind::Bool,
        Value::Number(_) => Kind::Number,
        Value::String(_) => Kind::String,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    }
}

/// A string member; empty counts as not given.
pub fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, GatewayError> {
    match given(members, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(wrong_type(name, "a string", kind_of(other))),
    }
}

/// A whole number within bounds.
pub fn integer(members: &Map<String, Value>, name: &str, min: i64, max: i64) -> Result<Option<i64>, GatewayError> {
    let Some(value) = given(members, name) else {
        return Ok(None);
    };
    let number = value
        .as_i64()
        .ok_or_else(|| wrong_type(name, "an integer", kind_of(value)))?;
    if number < min {
        let message = format!("`{name}` must be at least {min}; it is {number}.");
        return Err(GatewayError::field(name.to_owned(), message).with_code("integer_below_min_value"));
    }
    if number > max {
        let message = format!("`{name}` must be at most {max}; it is {number}.");
        return Err(GatewayError::field(name.to_owned(), message).with_code("integer_above_max_value"));
    }
    Ok(Some(number))
}

/// `true` or `false`; not given is `false`.
pub fn flag(members: &Map<String, Value>, name: &str) -> Result<bool, GatewayError> {
    match given(members, name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong_type(name, "a boolean", kind_of(other))),
    }
}

/// The prompt, which every request for media has.
pub fn prompt(members: &Map<String, Value>) -> Result<&str, GatewayError> {
    let prompt = match given(members, "prompt") {
        None => return Err(missing("prompt", "`prompt` is required: say what is to be seen.")),
        Some(_) => text(members, "prompt")?
            .map(str::trim)
            .filter(|prompt| !prompt.is_empty()),
    };
    let prompt = prompt.ok_or_else(|| GatewayError::field("prompt", "`prompt` is empty.").with_code("empty_prompt"))?;
    if prompt.len() > MAX_PROMPT {
        return Err(GatewayError::field(
            "prompt",
            format!("`prompt` is longer than {MAX_PROMPT} bytes."),
        ));
    }
    Ok(prompt)
}

/// The model, or the one that is meant where none is named.
pub fn model(members: &Map<String, Value>, default: &str) -> Result<String, GatewayError> {
    let model = text(members, "model")?.map(str::trim).filter(|model| !model.is_empty());
    match model {
        Some(model) if model.len() > 256 => Err(GatewayError::field(
            "model",
            "`model` is longer than 256 bytes; no model has such a name.",
        )),
        Some(model) => Ok(model.to_owned()),
        None => Ok(default.to_owned()),
    }
}

impl ImageRequest {
    /// Reads the members of a body.
    ///
    /// # Errors
    /// 400 naming the member.
    pub fn read(members: &Map<String, Value>) -> Result<ImageRequest, GatewayError> {
        prompt(members)?;
        let model = model(members, DEFAULT_MODEL)?;
        let n = integer(members, "n", 1, MAX_PICTURES)?.unwrap_or(1).unsigned_abs();
        // Older clients set it for another way of making pictures; there is nothing to do at a time here.
        integer(members, "concurrency", 1, 3)?;
        integer(members, "partial_images", 0, 3)?;
        integer(members, "output_compression", 0, 100)?;
        let stream = flag(members, "stream")?;
        let deferred = flag(members, "deferred")?;
        if deferred && stream {
            return Err(GatewayError::field(
                "deferred",
                "Pictures for later come with GET /v1/images/{request_id} and not as events: leave `stream` or `deferred` out.",
            )
            .with_code("contradiction"));
        }
        let format = match text(members, "response_format")? {
            None => None,
            Some(name) => Some(Format::of(name).ok_or_else(|| {
                GatewayError::field(
                    "response_format",
                    format!(
                        "`response_format` must be url, b64_json or base64; it is `{}`.",
                        clip(name)
                    ),
                )
                .with_code("invalid_response_format")
            })?),
        };
        let mut rest = members.clone();
        for name in OURS.iter().chain(&["model", "response_format", "deferred", "n"]) {
            rest.remove(*name);
        }
        rest.insert("n".to_owned(), json!(n));
        if deferred {
            rest.insert("deferred".to_owned(), json!(true));
        }
        shape(members, &mut rest)?;
        quality(members, &mut rest)?;
        unknown_to_the_upstream(members)?;
        let word =
            |name: &str| -> Result<String, GatewayError> { Ok(text(members, name)?.unwrap_or("auto").to_owned()) };
        Ok(ImageRequest {
            model,
            n,
            stream,
            deferred,
            format,
            told: Told {
                size: word("size")?,
                quality: word("quality")?,
                background: word("background")?,
            },
            rest,
        })
    }
}

fn shape(members: &Map<String, Value>, rest: &mut Map<String, Value>) -> Result<(), GatewayError> {
    let stated = text(members, "aspect_ratio")?;
    if let Some(stated) = stated
        && size::named(stated).is_none()
    {
        return Err(GatewayError::field(
            "aspect_ratio",
            format!(
                "`aspect_ratio` must be one of {}, or auto; it is `{}`.",
                size::names(),
                clip(stated)
            ),
        )
        .with_code("invalid_aspect_ratio"));
    }
    if let Some(resolution) = text(members, "resolution")?
        && !["1k", "1.5k", "2k"].contains(&resolution)
    {
        return Err(GatewayError::field(
            "resolution",
            format!("`resolution` must be 1k, 1.5k or 2k; it is `{}`.", clip(resolution)),
        )
        .with_code("invalid_resolution"));
    }
    let Some(written) = text(members, "size")? else {
        return Ok(());
    };
    let shape = size::of_size(written).ok_or_else(|| {
        GatewayError::field(
            "size",
            format!(
                "`size` `{}` is none that can be made: give WIDTHxHEIGHT in one of the shapes {}.",
                clip(written),
                size::names()
            ),
        )
        .with_code("invalid_size")
    })?;
    if let Some(ratio) = shape.aspect_ratio {
        match stated {
            Some(stated) if stated != ratio && stated != "auto" => {
                return Err(GatewayError::field(
                    "size",
                    format!("`size` is {ratio} and `aspect_ratio` is {stated}: leave one of them out."),
                )
                .with_code("contradiction"));
            }
            _ => rest.insert("aspect_ratio".to_owned(), json!(ratio)),
        };
    }
    if let Some(resolution) = shape.resolution
        && !rest.contains_key("resolution")
    {
        rest.insert("resolution".to_owned(), json!(resolution));
    }
    Ok(())
}

/// OpenAI's words for quality in those of the upstream.
fn quality(members: &Map<String, Value>, rest: &mut Map<String, Value>) -> Result<(), GatewayError> {
    let Some(quality) = text(members, "quality")? else {
        rest.remove("quality");
        return Ok(());
    };
    match quality {
        "auto" | "standard" => rest.remove("quality"),
        "hd" => rest.insert("quality".to_owned(), json!("high")),
        "low" | "medium" | "high" => None,
        other => {
            return Err(GatewayError::field(
                "quality",
                format!(
                    "`quality` must be low, medium, high, standard, hd or auto; it is `{}`.",
                    clip(other)
                ),
            ));
        }
    };
    Ok(())
}

/// What would change the picture, and cannot: said rather than dropped.
fn unknown_to_the_upstream(members: &Map<String, Value>) -> Result<(), GatewayError> {
    if given(members, "mask").is_some() {
        return Err(no_mask());
    }
    match text(members, "background")? {
        None | Some("auto" | "opaque") => {}
        Some(other) => {
            return Err(GatewayError::field(
                "background",
                format!(
                    "Pictures are made without transparency: `background` `{}` cannot be had.",
                    clip(other)
                ),
            )
            .with_code("unsupported_value"));
        }
    }
    match text(members, "output_format")? {
        None | Some("png" | "jpeg" | "webp") => Ok(()),
        Some(other) => Err(GatewayError::field(
            "output_format",
            format!("`output_format` must be png, jpeg or webp; it is `{}`.", clip(other)),
        )),
    }
}

/// There is no editing by mask.
pub fn no_mask() -> GatewayError {
    GatewayError::field(
        "mask",
        "The upstream edits whole pictures: leave `mask` out and say in the prompt what is to change where.",
    )
    .with_code("unsupported_parameter")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: Value) -> Result<ImageRequest, GatewayError> {
        let mut members = json!({"prompt": "A ship", "model": "grok-imagine-image"});
        for (name, value) in more.as_object().unwrap() {
            members[name] = value.clone();
        }
        ImageRequest::read(members.as_object().unwrap())
    }

    #[test]
    fn the_upstream_gets_what_it_knows() {
        let request = read(json!({
            "n": 2, "size": "1792x1024", "quality": "hd", "style": "vivid", "background": "opaque", "stream": true,
            "partial_images": 2, "output_format": "png", "moderation": "low", "user": "me", "seed": 7, "concurrency": 3,
            "response_format": "B64_JSON"
        }))
        .unwrap();
        assert_eq!(
            Value::Object(request.rest),
            json!({"prompt": "A ship", "n": 2, "quality": "high", "user": "me", "seed": 7, "aspect_ratio": "16:9"})
        );
        assert_eq!(
            (request.n, request.stream, request.format),
            (2, true, Some(Format::B64Json))
        );
        let plain = read(json!({"size": "2048x2048", "quality": "auto", "model": null})).unwrap();
        assert_eq!(plain.model, DEFAULT_MODEL);
        assert_eq!(
            Value::Object(plain.rest),
            json!({"prompt": "A ship", "n": 1, "aspect_ratio": "1:1", "resolution": "2k"})
        );
        let own = read(json!({"aspect_ratio": "21:9", "resolution": "1.5k"})).unwrap();
        assert_eq!(
            Value::Object(own.rest),
            json!({"prompt": "A ship", "n": 1, "aspect_ratio": "21:9", "resolution": "1.5k"})
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (more, param, code) in [
            (json!({"prompt": ""}), "prompt", "empty_prompt"),
            (json!({"prompt": "  "}), "prompt", "empty_prompt"),
            (json!({"prompt": null}), "prompt", "missing"),
            (json!({"prompt": 1}), "prompt", "invalid_type"),
            (json!({"n": 0}), "n", "integer_below_min_value"),
            (json!({"n": 11}), "n", "integer_above_max_value"),
            (json!({"n": "1"}), "n", "invalid_type"),
            (json!({"n": 1.5}), "n", "invalid_type"),
            (json!({"stream": "yes"}), "stream", "invalid_type"),
            (json!({"concurrency": 4}), "concurrency", "integer_above_max_value"),
            (
                json!({"partial_images": 4}),
                "partial_images",
                "integer_above_max_value",
            ),
            (
                json!({"response_format": "png"}),
                "response_format",
                "invalid_response_format",
            ),
            (json!({"size": "huge"}), "size", "invalid_size"),
            (json!({"size": "1024x300"}), "size", "invalid_size"),
            (json!({"aspect_ratio": "7:1"}), "aspect_ratio", "invalid_aspect_ratio"),
            (json!({"resolution": "8k"}), "resolution", "invalid_resolution"),
            (
                json!({"size": "1024x1024", "aspect_ratio": "16:9"}),
                "size",
                "contradiction",
            ),
            (json!({"quality": "best"}), "quality", "invalid_value"),
            (json!({"background": "transparent"}), "background", "unsupported_value"),
            (json!({"output_format": "tiff"}), "output_format", "invalid_value"),
            (json!({"mask": "data:,x"}), "mask", "unsupported_parameter"),
            (json!({"model": 1}), "model", "invalid_type"),
            (json!({"deferred": "yes"}), "deferred", "invalid_type"),
            (json!({"deferred": true, "stream": true}), "deferred", "contradiction"),
        ] {
            let error = read(more.clone()).map(|_| ()).unwrap_err();
            assert_eq!(
                (error.http_status(), error.param.as_deref(), error.public_code()),
                (400, Some(param), code),
                "{more}"
            );
        }
    }
}
