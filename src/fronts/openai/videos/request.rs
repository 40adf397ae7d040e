//! What a request for a video says, in either dialect, and what of it the upstream gets (`xai-api.md` §9, §18).

use serde_json::{Map, Value, json};

use crate::engine::error::GatewayError;
use crate::fronts::media::form::As;
use crate::fronts::members::{clip, wrong_type};
use crate::fronts::openai::images::request::{integer, model, prompt, text};

/// The model that a request means which names none.
pub const DEFAULT_MODEL: &str = "grok-imagine-video";
/// Longest video, seconds.
const LONGEST: i64 = 15;
/// What is asked for of an extension, seconds.
const EXTENSIONS: (i64, i64) = (2, 10);
/// What OpenAI means where a request to it does not say.
const OPENAI_SIZE: &str = "720x1280";
const OPENAI_SECONDS: i64 = 4;
/// Longest edge of a size.
const MAX_SIDE: u32 = 4_096;

/// Members that are no strings, for forms.
pub const FORM_KINDS: [(&str, As); 1] = [("duration", As::Integer)];

/// Shapes that the upstream makes.
const RATIOS: [(&str, f64); 7] = [
    ("1:1", 1.0),
    ("16:9", 16.0 / 9.0),
    ("9:16", 9.0 / 16.0),
    ("4:3", 4.0 / 3.0),
    ("3:4", 3.0 / 4.0),
    ("3:2", 3.0 / 2.0),
    ("2:3", 2.0 / 3.0),
];

/// What is asked of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// A new video.
    Generations,
    /// A video out of another.
    Edits,
    /// More of one.
    Extensions,
}

impl Making {
    /// How long it is where the request does not say, seconds. What is edited is as long as its source, at most 15.
    const fn usual_seconds(self) -> u32 {
        match self {
            Making::Generations => 8,
            Making::Edits => 15,
            Making::Extensions => 6,
        }
    }
}

/// A request for a video, sources aside.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoRequest {
    /// As the client names it.
    pub model: String,
    /// What is to be seen.
    pub prompt: String,
    /// How long it will be at most, seconds.
    pub seconds: u32,
    /// Width and height, as OpenAI writes them.
    pub size: String,
    /// What the upstream gets.
    pub rest: Map<String, Value>,
}

/// Refuses what older documentation promised.
fn no_upscaling(members: &Map<String, Value>) -> Result<(), GatewayError> {
    match ["upscale", "upscaling"].into_iter().find(|name| {
        members
            .get(*name)
            .is_some_and(|value| !value.is_null() && *value != json!(false))
    }) {
        Some(name) => Err(upscaling(name)),
        None => Ok(()),
    }
}

/// There is no upscaling.
pub fn upscaling(param: &'static str) -> GatewayError {
    GatewayError::field(
        param,
        "The upstream has no call that upscales a video. To make one anew out of another, ask POST /v1/videos/edits; to \
         have it larger from the start, give `resolution` with POST /v1/videos/generations.",
    )
    .with_code("unsupported_parameter")
}

impl VideoRequest {
    /// Reads a request in the upstream's dialect: members that are not known here go on as they are.
    ///
    /// # Errors
    /// 400 naming the member.
    pub fn native(members: &Map<String, Value>, making: Making) -> Result<VideoRequest, GatewayError> {
        no_upscaling(members)?;
        let prompt = prompt(members)?.to_owned();
        let model = model(members, DEFAULT_MODEL)?;
        let (least, most) = match making {
            Making::Extensions => EXTENSIONS,
            Making::Generations | Making::Edits => (1, LONGEST),
        };
        let mut rest = members.clone();
        let duration = match integer(members, "duration", least, most)? {
            Some(duration) => Some(duration),
            // The upstream takes OpenAI's name as well, as a number or as text.
            None => seconds(members, least, most)?,
        };
        rest.remove("seconds");
        if let Some(duration) = duration {
            rest.insert("duration".to_owned(), json!(duration));
        }
        let known = |name: &'static str, words: &[&str]| -> Result<(), GatewayError> {
            match text(members, name)? {
                Some(word) if !words.contains(&word) => Err(GatewayError::field(
                    name,
                    format!("`{name}` must be one of {}; it is `{}`.", words.join(", "), clip(word)),
                )),
                _ => Ok(()),
            }
        };
        known("aspect_ratio", &RATIOS.map(|(name, _)| name))?;
        known("resolution", &["480p", "720p", "1080p"])?;
        let resolution = text(members, "resolution")?.unwrap_or("480p");
        let ratio = text(members, "aspect_ratio")?.unwrap_or("16:9");
        Ok(VideoRequest {
            model,
            prompt,
            seconds: duration.map_or(making.usual_seconds(), |duration| duration as u32),
            size: pixels(resolution, ratio),
            rest,
        })
    }

    /// Reads a request in OpenAI's dialect.
    ///
    /// # Errors
    /// 400 naming the member.
    pub fn openai(members: &Map<String, Value>, making: Making) -> Result<VideoRequest, GatewayError> {
        no_upscaling(members)?;
        let prompt = prompt(members)?.to_owned();
        let model = model(members, DEFAULT_MODEL)?;
        let (least, most) = match making {
            Making::Extensions => EXTENSIONS,
            Making::Generations | Making::Edits => (1, LONGEST),
        };
        let duration = seconds(members, least, most)?;
        let mut rest = Map::new();
        rest.insert("prompt".to_owned(), json!(prompt));
        if let Some(user) = text(members, "user")? {
            rest.insert("user".to_owned(), json!(user));
        }
        if let Some(duration) = duration
            && making != Making::Edits
        {
            rest.insert("duration".to_owned(), json!(duration));
        }
        let size = text(members, "size")?.map(str::trim);
        let duration = match making {
            Making::Generations => {
                let (ratio, resolution) = shape(size.unwrap_or(OPENAI_SIZE))?;
                rest.insert("aspect_ratio".to_owned(), json!(ratio));
                rest.insert("resolution".to_owned(), json!(resolution));
                rest.entry("duration").or_insert(json!(OPENAI_SECONDS));
                duration.or(Some(OPENAI_SECONDS))
            }
            Making::Edits | Making::Extensions => duration,
        };
        Ok(VideoRequest {
            model,
            prompt,
            seconds: duration.map_or(making.usual_seconds(), |duration| duration as u32),
            size: size.unwrap_or(OPENAI_SIZE).to_owned(),
            rest,
        })
    }
}

/// `seconds`, a number or a text that is one.
fn seconds(members: &Map<String, Value>, least: i64, most: i64) -> Result<Option<i64>, GatewayError> {
    let Some(Value::String(text)) = members.get("seconds") else {
        return integer(members, "seconds", least, most);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let number: i64 = text.trim().parse().map_err(|_| {
        wrong_type(
            "seconds",
            "a whole number, as text or not",
            crate::fronts::json::Kind::String,
        )
    })?;
    let mut one = Map::new();
    one.insert("seconds".to_owned(), json!(number));
    integer(&one, "seconds", least, most)
}

/// The shape and resolution of a size.
fn shape(size: &str) -> Result<(&'static str, &'static str), GatewayError> {
    let wrong = || {
        GatewayError::field(
            "size",
            format!(
                "`size` `{}` is none that can be made: give WIDTHxHEIGHT in one of the shapes {}.",
                clip(size),
                RATIOS.map(|(name, _)| name).join(", ")
            ),
        )
        .with_code("invalid_size")
    };
    let (width, height) = size.split_once(['x', 'X']).ok_or_else(wrong)?;
    let side = |text: &str| text.parse::<u32>().ok().filter(|side| (64..=MAX_SIDE).contains(side));
    let (Some(width), Some(height)) = (side(width), side(height)) else {
        return Err(wrong());
    };
    let distance = |quotient: f64| (f64::from(width) / f64::from(height) / quotient).ln().abs();
    // OpenAI's 1792x1024 is between 16:9 and 3:2; it is far from neither.
    let nearest = RATIOS
        .iter()
        .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
        .filter(|(_, quotient)| distance(*quotient) <= 0.1)
        .ok_or_else(wrong)?;
    let resolution = match width.min(height) {
        1080.. => "1080p",
        720.. => "720p",
        _ => "480p",
    };
    Ok((nearest.0, resolution))
}

/// Width and height of a resolution in a shape.
fn pixels(resolution: &str, ratio: &str) -> String {
    let short: u32 = resolution.trim_end_matches('p').parse().unwrap_or(480);
    let quotient = RATIOS
        .iter()
        .find(|(name, _)| *name == ratio)
        .map_or(16.0 / 9.0, |(_, quotient)| *quotient);
    let even = |side: f64| ((side / 2.0).round() * 2.0) as u32;
    let long = even(f64::from(short) * quotient.max(1.0 / quotient));
    match quotient >= 1.0 {
        true => format!("{long}x{short}"),
        false => format!("{short}x{long}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn openai_words_become_the_upstreams() {
        let asked = members(json!({"prompt": "Waves", "model": "sora-2", "seconds": "4", "size": "1280x720"}));
        let request = VideoRequest::openai(&asked, Making::Generations).unwrap();
        assert_eq!(
            (request.model.as_str(), request.seconds, request.size.as_str()),
            ("sora-2", 4, "1280x720")
        );
        assert_eq!(
            Value::Object(request.rest),
            json!({"prompt": "Waves", "duration": 4, "aspect_ratio": "16:9", "resolution": "720p"})
        );
        let bare = VideoRequest::openai(&members(json!({"prompt": "Waves"})), Making::Generations).unwrap();
        assert_eq!((bare.seconds, bare.size.as_str()), (4, "720x1280"));
        assert_eq!(
            Value::Object(bare.rest),
            json!({"prompt": "Waves", "duration": 4, "aspect_ratio": "9:16", "resolution": "720p"})
        );
        for (size, ratio, resolution) in [
            ("720x1280", "9:16", "720p"),
            ("1792x1024", "16:9", "720p"),
            ("1024x1792", "9:16", "720p"),
            ("1920x1080", "16:9", "1080p"),
            ("480x480", "1:1", "480p"),
        ] {
            assert_eq!(shape(size).unwrap(), (ratio, resolution), "{size}");
        }
        assert_eq!(pixels("720p", "9:16"), "720x1280");
        assert_eq!(pixels("480p", "16:9"), "854x480");
    }

    #[test]
    fn the_upstreams_own_words_go_on() {
        let asked = members(json!({
            "prompt": "Waves", "model": "grok-imagine-video", "seconds": "3", "keyframes": [1], "resolution": "1080p"
        }));
        let request = VideoRequest::native(&asked, Making::Generations).unwrap();
        assert_eq!((request.seconds, request.size.as_str()), (3, "1920x1080"));
        assert_eq!(
            Value::Object(request.rest),
            json!({
                "prompt": "Waves", "model": "grok-imagine-video", "duration": 3, "keyframes": [1], "resolution": "1080p"
            })
        );
        assert_eq!(
            VideoRequest::native(&members(json!({"prompt": "More"})), Making::Extensions)
                .unwrap()
                .seconds,
            6
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (more, making, param) in [
            (json!({"prompt": ""}), Making::Generations, "prompt"),
            (json!({}), Making::Generations, "prompt"),
            (json!({"prompt": "a", "duration": 16}), Making::Generations, "duration"),
            (
                json!({"prompt": "a", "duration": "long"}),
                Making::Generations,
                "duration",
            ),
            (json!({"prompt": "a", "seconds": "0"}), Making::Generations, "seconds"),
            (
                json!({"prompt": "a", "seconds": "soon"}),
                Making::Generations,
                "seconds",
            ),
            (json!({"prompt": "a", "duration": 11}), Making::Extensions, "duration"),
            (
                json!({"prompt": "a", "resolution": "4k"}),
                Making::Generations,
                "resolution",
            ),
            (
                json!({"prompt": "a", "aspect_ratio": "7:1"}),
                Making::Generations,
                "aspect_ratio",
            ),
            (json!({"prompt": "a", "upscale": true}), Making::Generations, "upscale"),
        ] {
            let error = VideoRequest::native(&members(more.clone()), making).unwrap_err();
            assert_eq!(
                (error.http_status(), error.param.as_deref()),
                (400, Some(param)),
                "{more}"
            );
        }
        for size in ["720p", "1x1", "1280x100", "9999x9999", "a x b"] {
            let asked = members(json!({"prompt": "a", "size": size}));
            let error = VideoRequest::openai(&asked, Making::Generations).unwrap_err();
            assert_eq!(error.public_code(), "invalid_size", "{size}");
        }
        let error = VideoRequest::openai(&members(json!({"prompt": "a", "upscale": "2x"})), Making::Edits).unwrap_err();
        assert!(error.message.contains("/v1/videos/edits"), "{}", error.message);
    }
}
