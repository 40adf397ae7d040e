//! The file of a batch: a call a line.

use std::collections::HashSet;
use std::iter::Enumerate;
use std::slice::Split;

use grok2api_schemas::meter::DayBucket;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::error::GatewayError;
use crate::fronts::members::clip;

/// Lines of a file, as both sides have it.
const MOST_LINES: usize = 50_000;
/// Bytes of a name.
const LONGEST_NAME: usize = 512;

/// What all calls of a batch are.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(in super::super) enum Endpoint {
    /// Chat completions.
    #[serde(rename = "/v1/chat/completions")]
    Chat,
    /// Responses.
    #[serde(rename = "/v1/responses")]
    Responses,
    /// Pictures.
    #[serde(rename = "/v1/images/generations")]
    Images,
    /// Pictures made of others.
    #[serde(rename = "/v1/images/edits")]
    Edits,
}

impl Endpoint {
    pub(super) const ALL: [Endpoint; 4] = [Endpoint::Chat, Endpoint::Responses, Endpoint::Images, Endpoint::Edits];

    pub(super) fn of(path: &str) -> Option<Endpoint> {
        Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Responses => "/v1/responses",
            Endpoint::Images => "/v1/images/generations",
            Endpoint::Edits => "/v1/images/edits",
        }
    }

    /// The upstream's name of such a call, and what it counts as.
    pub(super) const fn call(self) -> (&'static str, DayBucket) {
        match self {
            Endpoint::Chat => ("chat_get_completion", DayBucket::Chat),
            Endpoint::Responses => ("responses", DayBucket::Chat),
            Endpoint::Images => ("image_generation", DayBucket::Image),
            Endpoint::Edits => ("image_edit", DayBucket::Image),
        }
    }
}

/// A call.
#[derive(Debug)]
pub(super) struct Line {
    pub number: usize,
    pub custom_id: String,
    pub body: Value,
}

/// Tells the end of a line.
type IsEnd = fn(&u8) -> bool;

/// The calls of a file, in their order.
pub(super) struct Lines<'a> {
    rest: Enumerate<Split<'a, u8, IsEnd>>,
    endpoint: Endpoint,
    names: HashSet<String>,
}

/// What is said of a file without calls.
pub(super) fn empty() -> GatewayError {
    wrong(
        "The file holds no calls: write one a line, {\"custom_id\", \"method\": \"POST\", \"url\", \"body\"}."
            .to_owned(),
    )
}

fn wrong(text: String) -> GatewayError {
    GatewayError::field("input_file_id", text).with_code("invalid_batch_line")
}

impl<'a> Lines<'a> {
    pub(super) fn of(content: &'a [u8], endpoint: Endpoint) -> Lines<'a> {
        let is_end: IsEnd = |byte| *byte == b'\n';
        Lines {
            rest: content.split(is_end).enumerate(),
            endpoint,
            names: HashSet::new(),
        }
    }

    fn read(&mut self, number: usize, raw: &[u8]) -> Result<Line, GatewayError> {
        let wrong = |text: String| wrong(format!("Line {number} of the file: {text}"));
        let mut line: Map<String, Value> =
            serde_json::from_slice(raw).map_err(|error| wrong(format!("it is no JSON object: {error}.")))?;
        let custom_id = match line.remove("custom_id") {
            Some(Value::String(id)) if !id.is_empty() && id.len() <= LONGEST_NAME => id,
            _ => {
                return Err(wrong(format!(
                    "`custom_id` must be a text of 1 to {LONGEST_NAME} bytes: it names the result."
                )));
            }
        };
        if line.get("method").is_some_and(|method| method != "POST") {
            return Err(wrong("`method` must be POST.".to_owned()));
        }
        let expected = self.endpoint.path();
        if line.get("url").is_none_or(|url| url != expected) {
            return Err(wrong(format!("`url` must be the batch's `endpoint`, {expected}.")));
        }
        let Some(body @ Value::Object(_)) = line.remove("body") else {
            return Err(wrong("`body` must be an object.".to_owned()));
        };
        if body["stream"] == true {
            return Err(wrong("`body.stream` cannot be true: nobody listens.".to_owned()));
        }
        if self.names.len() >= MOST_LINES {
            return Err(wrong(format!("a batch takes at most {MOST_LINES} calls.")));
        }
        if !self.names.insert(custom_id.clone()) {
            return Err(wrong(format!("`custom_id` {} stands in it twice.", clip(&custom_id))));
        }
        Ok(Line {
            number,
            custom_id,
            body,
        })
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<Line, GatewayError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (at, raw) = self.rest.next()?;
            let raw = if at == 0 {
                raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw)
            } else {
                raw
            };
            let raw = raw.trim_ascii();
            if !raw.is_empty() {
                return Some(self.read(at + 1, raw));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"m","input":"Hi"}}"#;

    fn read(content: &str) -> Result<Vec<Line>, GatewayError> {
        Lines::of(content.as_bytes(), Endpoint::Responses).collect()
    }

    #[test]
    fn blank_lines_count_and_are_no_calls() {
        let second = GOOD.replace("\"a\"", "\"b\"");
        let read = read(&format!("\u{feff}{GOOD}\r\n\n  \n{second}")).unwrap();
        let told: Vec<(usize, &str)> = read.iter().map(|line| (line.number, &*line.custom_id)).collect();
        assert_eq!(told, [(1, "a"), (4, "b")]);
        assert_eq!(read[0].body["input"], "Hi");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (line, named) in [
            ("{", "JSON"),
            ("[]", "JSON"),
            (r#"{"custom_id":1}"#, "custom_id"),
            (r#"{"custom_id":""}"#, "custom_id"),
            (r#"{"custom_id":"b","method":"GET"}"#, "method"),
            (
                r#"{"custom_id":"b","method":"POST","url":"/v1/chat/completions"}"#,
                "url",
            ),
            (r#"{"custom_id":"b","method":"POST","url":"/v1/responses"}"#, "body"),
            (
                r#"{"custom_id":"b","method":"POST","url":"/v1/responses","body":[]}"#,
                "body",
            ),
            (
                r#"{"custom_id":"b","url":"/v1/responses","body":{"stream":true}}"#,
                "stream",
            ),
            (GOOD, "twice"),
        ] {
            let error = read(&format!("{GOOD}\n{line}\n")).unwrap_err();
            assert_eq!(error.http_status(), 400);
            let text = error.to_string();
            assert!(text.contains("Line 2") && text.contains(named), "{line}: {text}");
        }
    }
}
