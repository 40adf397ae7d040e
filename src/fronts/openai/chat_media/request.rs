//! What a chat request says to a model that makes pictures or films: the last thing that the user says, and the pictures
//! that come with it.

use serde_json::{Map, Value, json};

use crate::engine::error::GatewayError;
use crate::fronts::json::Kind;
use crate::fronts::members::{clip, wrong_type};
use crate::fronts::openai::images::request::{integer, text};

/// What is to be made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// In words.
    pub prompt: String,
    /// Pictures that it builds on, as the client named them.
    pub pictures: Vec<String>,
}

/// Reads the messages. The words are those of the last user message that has any; pictures of all of that message count.
///
/// # Errors
/// 400 when there are no words, or something that neither picture nor film can be made of.
pub fn wish(body: &Map<String, Value>) -> Result<Wish, GatewayError> {
    let messages = body.get("messages").and_then(Value::as_array);
    let mut last = None;
    for (at, message) in messages.into_iter().flatten().enumerate() {
        if message.get("role").and_then(Value::as_str) != Some("user") {
            continue;
        }
        let read = one(at, message.get("content").unwrap_or(&Value::Null))?;
        if !read.prompt.is_empty() || !read.pictures.is_empty() {
            last = Some(read);
        }
    }
    let wish = last.unwrap_or_default();
    if wish.prompt.is_empty() {
        return Err(GatewayError::field(
            "messages",
            "Say in a message of the user what is to be seen: none has a text.",
        )
        .with_code("empty_prompt"));
    }
    Ok(wish)
}

fn one(at: usize, content: &Value) -> Result<Wish, GatewayError> {
    let mut wish = Wish::default();
    let parts = match content {
        Value::String(text) => {
            text.trim().clone_into(&mut wish.prompt);
            return Ok(wish);
        }
        Value::Array(parts) => parts,
        _ => return Ok(wish),
    };
    let mut texts = Vec::new();
    for (part_at, part) in parts.iter().enumerate() {
        let field = || format!("messages.{at}.content.{part_at}");
        match part.get("type").and_then(Value::as_str) {
            Some("text" | "input_text") => {
                texts.extend(
                    part.get("text")
                        .and_then(Value::as_str)
                        .map(str::trim)
                        .filter(|text| !text.is_empty()),
                );
            }
            Some("image_url" | "input_image") => {
                let image = part.get("image_url").unwrap_or(&Value::Null);
                let url = image.get("url").unwrap_or(image).as_str().filter(|url| !url.is_empty());
                let url = url.ok_or_else(|| {
                    GatewayError::field(format!("{}.image_url", field()), "A picture needs its `url`.")
                        .with_code("missing_url")
                })?;
                wish.pictures.push(url.to_owned());
            }
            other => {
                return Err(GatewayError::field(
                    format!("{}.type", field()),
                    format!(
                        "Pictures and films are made of `text` and `image_url` parts; this one is `{}`.",
                        clip(other.unwrap_or("nothing"))
                    ),
                )
                .with_code("invalid_type"));
            }
        }
    }
    wish.prompt = texts.join("\n");
    Ok(wish)
}

/// The request for pictures that a chat amounts to.
pub fn drawing(body: &Map<String, Value>, wish: &Wish) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("prompt".to_owned(), json!(wish.prompt));
    for name in ["model", "n", "size", "aspect_ratio", "resolution", "quality", "user"] {
        if let Some(value) = body.get(name) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    if !wish.pictures.is_empty() {
        members.insert("images".to_owned(), json!(wish.pictures));
    }
    members
}

/// The request for a film that a chat amounts to: `video_config` as the older project had it.
///
/// # Errors
/// 400 naming the member of it.
pub fn filming(body: &Map<String, Value>, wish: &Wish) -> Result<Map<String, Value>, GatewayError> {
    let mut members = Map::new();
    members.insert("prompt".to_owned(), json!(wish.prompt));
    for name in ["model", "user"] {
        if let Some(value) = body.get(name) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(first) = wish.pictures.first() {
        members.insert("image".to_owned(), json!({ "url": first }));
    }
    let config = match body.get("video_config") {
        None | Some(Value::Null) => return Ok(members),
        Some(Value::Object(config)) => config,
        Some(_) => return Err(wrong_type("video_config", "an object", Kind::String)),
    };
    let within = |error: GatewayError, code: &'static str| {
        let name = error.param.clone().unwrap_or_default();
        error.with_param(format!("video_config.{name}")).with_code(code)
    };
    let word = |name: &str, words: &[&str], code: &'static str| -> Result<Option<String>, GatewayError> {
        match text(config, name).map_err(|error| within(error, code))? {
            Some(word) if !words.contains(&word) => Err(GatewayError::field(
                format!("video_config.{name}"),
                format!("`{name}` must be one of {}; it is `{}`.", words.join(", "), clip(word)),
            )
            .with_code(code)),
            found => Ok(found.map(str::to_owned)),
        }
    };
    let ratios = ["2:3", "3:2", "1:1", "9:16", "16:9"];
    if let Some(ratio) = word("aspect_ratio", &ratios, "invalid_aspect_ratio")? {
        members.insert("aspect_ratio".to_owned(), json!(ratio));
    }
    let length = integer(config, "video_length", 5, 15).map_err(|error| within(error, "invalid_video_length"))?;
    if let Some(length) = length {
        members.insert("duration".to_owned(), json!(length));
    }
    if let Some(resolution) = word("resolution", &["SD", "HD"], "invalid_resolution")? {
        let resolution = if resolution == "HD" { "720p" } else { "480p" };
        members.insert("resolution".to_owned(), json!(resolution));
    }
    match word("preset", &["fun", "normal", "spicy", "custom"], "invalid_preset")?.as_deref() {
        None | Some("normal" | "custom") => Ok(members),
        Some(other) => Err(GatewayError::field(
            "video_config.preset",
            format!("The preset `{other}` is one of the web application, and the API has none: say it in the prompt."),
        )
        .with_code("unsupported_value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_users_last_words_are_the_wish() {
        let chat = body(
            json!({"model": "grok-imagine-1.0", "n": 2, "temperature": 1, "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "A dog"},
                {"role": "assistant", "content": "![image](x)"},
                {"role": "user", "content": [
                    {"type": "text", "text": " Redder "}, {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}},
                    {"type": "text", "text": "please"}
                ]}
            ]}),
        );
        let wish = wish(&chat).unwrap();
        assert_eq!((wish.prompt.as_str(), wish.pictures.len()), ("Redder\nplease", 1));
        assert_eq!(
            Value::Object(drawing(&chat, &wish)),
            json!({
                "prompt": "Redder\nplease", "model": "grok-imagine-1.0", "n": 2, "images": ["https://e.org/a.png"]
            })
        );
        for wrong in [
            json!([]),
            json!([{"role": "system", "content": "A dog"}]),
            json!([{"role": "user", "content": "  "}]),
            json!([{"role": "user", "content": [{"type": "input_audio"}]}]),
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        ] {
            let error = super::wish(&body(json!({ "messages": wrong }))).unwrap_err();
            assert_eq!(error.http_status(), 400);
        }
    }

    #[test]
    fn a_films_settings_are_those_of_the_older_project() {
        let wish = Wish {
            prompt: "Waves".to_owned(),
            pictures: Vec::new(),
        };
        let chat = |config: Value| body(json!({"model": "grok-imagine-1.0-video", "video_config": config}));
        let config = json!({"aspect_ratio": "9:16", "video_length": 10, "resolution": "HD", "preset": "normal"});
        assert_eq!(
            Value::Object(filming(&chat(config), &wish).unwrap()),
            json!({
                "prompt": "Waves", "model": "grok-imagine-1.0-video", "aspect_ratio": "9:16", "duration": 10,
                "resolution": "720p"
            })
        );
        for (config, param, code) in [
            (
                json!({"aspect_ratio": "4:3"}),
                "video_config.aspect_ratio",
                "invalid_aspect_ratio",
            ),
            (
                json!({"video_length": 4}),
                "video_config.video_length",
                "invalid_video_length",
            ),
            (
                json!({"video_length": "long"}),
                "video_config.video_length",
                "invalid_video_length",
            ),
            (
                json!({"resolution": "4K"}),
                "video_config.resolution",
                "invalid_resolution",
            ),
            (json!({"preset": "wild"}), "video_config.preset", "invalid_preset"),
            (json!({"preset": "fun"}), "video_config.preset", "unsupported_value"),
            (json!("HD"), "video_config", "invalid_type"),
        ] {
            let error = filming(&chat(config.clone()), &wish).unwrap_err();
            assert_eq!(
                (error.param.as_deref(), error.public_code()),
                (Some(param), code),
                "{config}"
            );
        }
    }
}
