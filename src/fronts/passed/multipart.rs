//! Forms as SDKs upload files in: read to check them, and for the few routes that need what is in them.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::engine::error::{ErrorKind, GatewayError};

/// More parts than any form of these APIs has.
const MAX_PARTS: usize = 64;

/// One part of a form.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The name of the file, if it is one.
    pub filename: Option<String>,
    /// What it is, as it says.
    pub content_type: Option<String>,
    /// What is in it.
    pub content: Bytes,
}

/// A whole form.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its parts, in their order.
    pub parts: Vec<Part>,
    /// The header that says how it is divided.
    pub content_type: HeaderValue,
}

impl Parts {
    /// Reads a form.
    ///
    /// # Errors
    /// 415 when the body is no form, 400 when it breaks off or is malformed.
    pub async fn read(headers: &HeaderMap, body: Bytes) -> Result<Parts, GatewayError> {
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        let boundary = content_type
            .as_ref()
            .and_then(|value| value.to_str().ok())
            .and_then(|kind| multer::parse_boundary(kind).ok());
        let (Some(content_type), Some(boundary)) = (content_type, boundary) else {
            return Err(GatewayError::new(
                ErrorKind::UnsupportedMediaType,
                "Send a form: `Content-Type: multipart/form-data` with a boundary.",
            ));
        };
        let whole = futures::stream::once(async move { Ok::<Bytes, Infallible>(body) });
        let mut form = multer::Multipart::new(whole, boundary);
        let mut parts = Vec::new();
        loop {
            let field = match form.next_field().await.map_err(|error| malformed(&error))? {
                Some(field) => field,
                None => break,
            };
            if parts.len() >= MAX_PARTS {
                return Err(GatewayError::new(
                    ErrorKind::InvalidBody,
                    format!("The form has more than {MAX_PARTS} parts."),
                )
                .with_code("too_many_parts"));
            }
            let (name, filename) = (field.name().map(str::to_owned), field.file_name().map(str::to_owned));
            let content_type = field.content_type().map(ToString::to_string);
            let content = field.bytes().await.map_err(|error| malformed(&error))?;
            parts.push(Part {
                name: name.unwrap_or_default(),
                filename,
                content_type,
                content,
            });
        }
        Ok(Parts { parts, content_type })
    }

    /// The parts of this name; `name[]` counts as well.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Part> {
        self.parts
            .iter()
            .filter(move |part| part.name == name || part.name.strip_suffix("[]") == Some(name))
    }

    /// The one file of this name.
    ///
    /// # Errors
    /// 400 when there is none or it is empty, and when there are more than `most`.
    pub fn files<'a>(&'a self, name: &'static str, most: usize) -> Result<Vec<&'a Part>, GatewayError> {
        let found: Vec<&Part> = self.named(name).collect();
        let wrong = |code: &'static str, text: String| Err(GatewayError::field(name, text).with_code(code));
        if found.is_empty() {
            return wrong("missing", format!("The form has no part `{name}` with a file in it."));
        }
        if found.len() > most {
            let allowed = if most == 1 { "one".to_owned() } else { most.to_string() };
            return wrong(
                "too_many_files",
                format!(
                    "The form has {} parts `{name}`; at most {allowed} may be sent.",
                    found.len()
                ),
            );
        }
        if found.iter().any(|part| part.filename.is_none()) {
            return wrong(
                "missing",
                format!("The part `{name}` must be a file: it has no filename."),
            );
        }
        if found.iter().any(|part| part.content.is_empty()) {
            return wrong("empty_file", format!("The file in `{name}` is empty."));
        }
        Ok(found)
    }

    /// The text of a part.
    ///
    /// # Errors
    /// 400 when it is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, GatewayError> {
        let Some(part) = self.named(name).next() else {
            return Ok(None);
        };
        match std::str::from_utf8(&part.content) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => Err(GatewayError::field(
                name,
                format!("The part `{name}` is not text in UTF-8."),
            )),
        }
    }
}

fn malformed(error: &multer::Error) -> GatewayError {
    let is_cut = matches!(
        error,
        multer::Error::IncompleteStream | multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteHeaders
    );
    if is_cut {
        return GatewayError::new(ErrorKind::InvalidBody, "The form breaks off before its last boundary.")
            .with_code("incomplete_body");
    }
    GatewayError::new(ErrorKind::InvalidBody, "The form is malformed.")
        .with_code("invalid_form")
        .with_detail(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(boundary: &str) -> HeaderMap {
        let kind = format!("multipart/form-data; boundary={boundary}");
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])
    }

    const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nassistants\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n";

    #[tokio::test]
    async fn a_form_is_read_part_by_part() {
        let parts = Parts::read(&headers("b"), Bytes::from(FORM)).await.unwrap();
        assert_eq!(parts.text("purpose").unwrap().as_deref(), Some("assistants"));
        let files = parts.files("file", 1).unwrap();
        assert_eq!(
            (&files[0].content[..], files[0].filename.as_deref()),
            (&b"hello"[..], Some("a.txt"))
        );
        assert_eq!(parts.files("image", 1).unwrap_err().public_code(), "missing");
    }

    #[tokio::test]
    async fn a_form_that_breaks_off_anywhere_is_told_so_and_never_accepted() {
        for cut in 1..FORM.len() - 4 {
            let read = Parts::read(&headers("b"), Bytes::from(&FORM[..cut])).await;
            let error = read.map(|parts| parts.parts.len()).unwrap_err();
            assert_eq!(error.http_status(), 400, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn seventeen_files_are_too_many_for_sixteen() {
        let part = "--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a\"\r\n\r\nx\r\n";
        let form = format!("{}--b--\r\n", part.repeat(17));
        let parts = Parts::read(&headers("b"), Bytes::from(form)).await.unwrap();
        assert_eq!(parts.files("files", 17).unwrap().len(), 17);
        assert_eq!(parts.files("files", 16).unwrap_err().public_code(), "too_many_files");
        let form = format!("{}--b--\r\n", part.repeat(65));
        assert_eq!(
            Parts::read(&headers("b"), Bytes::from(form))
                .await
                .unwrap_err()
                .public_code(),
            "too_many_parts"
        );
        let no_form = Parts::read(&HeaderMap::new(), Bytes::from(FORM)).await.unwrap_err();
        assert_eq!(no_form.http_status(), 415);
    }
}
