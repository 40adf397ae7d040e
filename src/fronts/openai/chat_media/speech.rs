//! Pictures and films as what an assistant says: Markdown for pictures, a tag for films, as the older project had them.

use bytes::Bytes;
use serde_json::{Value, json};

/// Pictures and films are made at no other.
const TIER: &str = "default";

/// The form of one answer.
#[derive(Clone, Debug)]
pub struct Speech {
    /// The answer's id.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// As the client named it.
    pub model: String,
}

impl Speech {
    /// All of it at once.
    pub fn whole(&self, content: &str, usage: &Value) -> Bytes {
        let answer = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": null, "annotations": []},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "service_tier": TIER,
            "usage": usage,
        });
        Bytes::from(answer.to_string())
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> Bytes {
        let chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
            "service_tier": TIER,
        });
        Bytes::from(format!("data: {chunk}\n\n"))
    }

    /// The first event.
    pub fn begins(&self) -> Bytes {
        self.chunk(&json!({"role": "assistant", "content": ""}), None)
    }

    /// More of it.
    pub fn says(&self, content: &str) -> Bytes {
        self.chunk(&json!({ "content": content }), None)
    }

    /// The last events; `usage` where the client wants it.
    pub fn ends(&self, usage: Option<&Value>) -> Bytes {
        let mut last = self.chunk(&json!({}), Some("stop")).to_vec();
        if let Some(usage) = usage {
            let chunk = json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
                "choices": [],
                "service_tier": TIER,
                "usage": usage,
            });
            last.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
        }
        last.extend_from_slice(b"data: [DONE]\n\n");
        Bytes::from(last)
    }
}

/// What it cost, in the members that chat clients expect.
pub fn usage(cost_ticks: Option<u64>) -> Value {
    let mut usage = json!({
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        "completion_tokens_details": {
            "text_tokens": 0, "audio_tokens": 0, "reasoning_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
        "num_sources_used": 0,
    });
    if let Some(ticks) = cost_ticks {
        usage["cost_in_usd_ticks"] = json!(ticks);
    }
    usage
}

/// A picture in Markdown. `inline`: its bytes in base64, with their type.
pub fn picture(picture: &Value) -> String {
    let text = |name: &str| picture.get(name).and_then(Value::as_str);
    let inline = text("b64_json").or_else(|| text("base64"));
    match (text("url"), inline) {
        (Some(url), _) => format!("![image]({url})\n"),
        (None, Some(bytes)) => {
            let mime = text("mime_type").unwrap_or("image/jpeg");
            format!("![image](data:{mime};base64,{bytes})\n")
        }
        (None, None) => "(The upstream's moderation withheld this picture.)\n".to_owned(),
    }
}

/// A film as a tag; `preview`: as a link, where the operator wants that.
pub fn film(url: &str, preview: bool) -> String {
    let url = url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    if preview {
        return format!("<a href=\"{url}\" target=\"_blank\" rel=\"noopener noreferrer\">{url}</a>\n");
    }
    format!(
        "<video id=\"video\" controls=\"\" preload=\"none\">\n  <source id=\"mp4\" src=\"{url}\" \
         type=\"video/mp4\">\n</video>"
    )
}

/// How far a film is, as the older project said it.
pub fn progress(percent: u64) -> String {
    format!("正在生成视频中，当前进度{percent}%\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_films_are_words() {
        assert_eq!(
            picture(&json!({"url": "https://a/b.png"})),
            "![image](https://a/b.png)\n"
        );
        assert_eq!(
            picture(&json!({"base64": "AAAA", "mime_type": "image/png"})),
            "![image](data:image/png;base64,AAAA)\n"
        );
        assert!(picture(&json!({"respect_moderation": false})).contains("moderation"));
        assert!(film("https://a/b.mp4?a=1&b=\"", false).contains("src=\"https://a/b.mp4?a=1&amp;b=&quot;\""));
        let speech = Speech {
            id: "chatcmpl-1".to_owned(),
            created: 1,
            model: "m".to_owned(),
        };
        let ends = String::from_utf8(speech.ends(Some(&usage(Some(5)))).to_vec()).unwrap();
        assert!(ends.contains("\"finish_reason\":\"stop\"") && ends.contains("\"cost_in_usd_ticks\":5"));
        assert!(ends.ends_with("data: [DONE]\n\n"));
    }
}
