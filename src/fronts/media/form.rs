//! `multipart/form-data`, as SDKs send what holds files.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, header};
use poem::Request;
use serde_json::{Map, Value};

use crate::door::body::{BodyLimits, read_body};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::members::{clip, duplicate};

/// Parts of a form: more than any request of the dialects has.
const MAX_PARTS: usize = 64;
/// Bytes of a part that is no file.
const MAX_TEXT: usize = 256 * 1024;

/// A file in a form.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The member that it is given for, without the `[]` of lists.
    pub name: String,
    /// What the client calls it.
    pub filename: String,
    /// What the client says that it is.
    pub content_type: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What a form holds.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Texts, in their order.
    pub texts: Vec<(String, String)>,
    /// Files, in their order.
    pub files: Vec<FilePart>,
    /// Bytes of all.
    pub bytes: u64,
}

/// Whether a request says that it is a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("multipart/form-data")
        })
}

fn malformed(what: &str) -> GatewayError {
    GatewayError::new(
        ErrorKind::InvalidBody,
        format!("The request body is not the multipart form that its Content-Type promises: {what}"),
    )
    .with_code("invalid_multipart")
}

/// Reads a form.
///
/// # Errors
/// 400 when it is none, breaks off, or has too many parts; 413 when it is over the limit.
pub async fn read_form(request: &mut Request, limits: &BodyLimits) -> Result<Form, GatewayError> {
    let boundary = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| multer::parse_boundary(kind).ok())
        .ok_or_else(|| malformed("the Content-Type names no boundary. Let your HTTP client set it."))?;
    let body = read_body(request, limits).await?;
    let mut form = Form {
        bytes: body.len() as u64,
        ..Form::default()
    };
    let whole = futures::stream::once(async move { Ok::<Bytes, Infallible>(body) });
    let mut parts = multer::Multipart::new(whole, boundary);
    loop {
        let part = match parts.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(error) => return Err(malformed(&error.to_string())),
        };
        if form.texts.len() + form.files.len() >= MAX_PARTS {
            return Err(malformed(&format!("it has more than {MAX_PARTS} parts.")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let filename = part.file_name().map(str::to_owned);
        let content_type = part.content_type().map(ToString::to_string);
        let bytes = part.bytes().await.map_err(|error| malformed(&error.to_string()))?;
        match filename {
            Some(filename) => form.files.push(FilePart {
                name: name.trim_end_matches("[]").to_owned(),
                filename,
                content_type,
                bytes,
            }),
            None if bytes.len() > MAX_TEXT => {
                return Err(GatewayError::field(
                    name.clone(),
                    format!("`{}` is longer than {MAX_TEXT} bytes.", clip(&name)),
                ));
            }
            None => {
                let text = String::from_utf8(bytes.to_vec())
                    .map_err(|_| GatewayError::field(name.clone(), format!("`{}` is not valid UTF-8.", clip(&name))))?;
                form.texts.push((name, text));
            }
        }
    }
    Ok(form)
}

/// How a text of a form is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Flag,
    /// JSON.
    Json,
}

impl Form {
    /// The texts as the members of a JSON body would be; those of `kinds` are no strings there. `a[b]` stands for the
    /// member `b` of the object `a`.
    ///
    /// # Errors
    /// 400 naming the field that is given twice or reads as nothing of its kind.
    pub fn members(&self, kinds: &[(&str, As)]) -> Result<Map<String, Value>, GatewayError> {
        let mut members = Map::new();
        for (name, text) in &self.texts {
            let (outer, inner) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((outer, inner)) if !inner.is_empty() => (outer, Some(inner)),
                _ => (name.trim_end_matches("[]"), None),
            };
            let value = match kinds.iter().find(|(known, _)| *known == outer) {
                Some((_, kind)) if inner.is_none() => typed(outer, text, *kind)?,
                _ => Value::String(text.clone()),
            };
            let slot = members.entry(outer);
            match (inner, slot) {
                (None, serde_json::map::Entry::Vacant(slot)) => {
                    slot.insert(value);
                }
                (None, serde_json::map::Entry::Occupied(_)) => return Err(duplicate(outer)),
                (Some(inner), slot) => {
                    let object = slot.or_insert_with(|| Value::Object(Map::new()));
                    match object.as_object_mut() {
                        Some(object) => object.insert(inner.to_owned(), value),
                        None => return Err(duplicate(outer)),
                    };
                }
            }
        }
        Ok(members)
    }
}

fn typed(name: &str, text: &str, kind: As) -> Result<Value, GatewayError> {
    let text = text.trim();
    let wrong = |wanted: &str| {
        GatewayError::field(
            name.to_owned(),
            format!("`{name}` must be {wanted}; it is `{}`.", clip(text)),
        )
        .with_code("invalid_type")
    };
    match kind {
        As::Integer => text.parse::<i64>().map(Value::from).map_err(|_| wrong("an integer")),
        As::Flag => match text {
            "true" | "True" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "0" => Ok(Value::Bool(false)),
            _ => Err(wrong("true or false")),
        },
        As::Json => serde_json::from_str(text).map_err(|_| wrong("JSON")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 10_000,
        max_silence: std::time::Duration::from_secs(1),
        max_duration: std::time::Duration::from_secs(1),
    };

    async fn read(kind: &str, body: &str) -> Result<Form, GatewayError> {
        let body = body.replace('\n', "\r\n");
        let mut request = Request::builder().header("content-type", kind).body(body);
        read_form(&mut request, &LIMITS).await
    }

    const KIND: &str = "multipart/form-data; boundary=b";

    #[tokio::test]
    async fn texts_and_files_are_told_apart() {
        let body = "--b\nContent-Disposition: form-data; name=\"prompt\"\n\nA ship\n\
            --b\nContent-Disposition: form-data; name=\"n\"\n\n2\n\
            --b\nContent-Disposition: form-data; name=\"stream\"\n\nfalse\n\
            --b\nContent-Disposition: form-data; name=\"input_reference[file_id]\"\n\nfile_1\n\
            --b\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\nContent-Type: image/png\n\nPNG\n\
            --b--\n";
        let form = read(KIND, body).await.unwrap();
        let members = form.members(&[("n", As::Integer), ("stream", As::Flag)]).unwrap();
        assert_eq!(
            Value::Object(members),
            json!({"prompt": "A ship", "n": 2, "stream": false, "input_reference": {"file_id": "file_1"}})
        );
        let file = &form.files[0];
        assert_eq!(
            (file.name.as_str(), file.filename.as_str(), &file.bytes[..]),
            ("image", "a.png", &b"PNG"[..])
        );
    }

    #[tokio::test]
    async fn what_is_no_form_is_said_to_be_none() {
        for (kind, body) in [
            ("multipart/form-data", "--b--\n"),
            (KIND, "{\"prompt\": 1}"),
            (KIND, "--b\nContent-Disposition: form-data; name=\"prompt\"\n\nA shi"),
            (KIND, ""),
        ] {
            let error = read(kind, body).await.unwrap_err();
            assert_eq!(
                (error.http_status(), error.public_code()),
                (400, "invalid_multipart"),
                "{body}"
            );
        }
        let twice = "--b\nContent-Disposition: form-data; name=\"n\"\n\n1\n--b\nContent-Disposition: form-data; \
                     name=\"n\"\n\n2\n--b--\n";
        let form = read(KIND, twice).await.unwrap();
        assert_eq!(form.members(&[]).unwrap_err().public_code(), "duplicate_field");
        let form = read(KIND, &twice.replacen("\n\n1\n", "\n\nmany\n", 1)).await.unwrap();
        assert_eq!(
            form.members(&[("n", As::Integer)]).unwrap_err().public_code(),
            "invalid_type"
        );
        let many = "--b\nContent-Disposition: form-data; name=\"n\"\n\n1\n".repeat(70) + "--b--\n";
        assert_eq!(read(KIND, &many).await.unwrap_err().public_code(), "invalid_multipart");
        let error = read(KIND, &"x".repeat(20_000)).await.unwrap_err();
        assert_eq!(error.http_status(), 413);
    }
}
