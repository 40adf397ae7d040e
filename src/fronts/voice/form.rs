//! Forms as the upstream takes them.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use crate::fronts::passed::Part;

/// A form on its way together; the file comes last, as the upstream wants it.
pub struct Form {
    boundary: String,
    body: BytesMut,
}

impl Form {
    /// An empty one. The boundary occurs in nothing that is sent: it is drawn for this form.
    pub fn new() -> Form {
        Form {
            boundary: format!("grok2api-{:032x}", fastrand::u128(..)),
            body: BytesMut::new(),
        }
    }

    fn head(&mut self, name: &str, filename: Option<&str>, kind: Option<&str>) {
        let mut head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"",
            self.boundary,
            quoted(name)
        );
        if let Some(filename) = filename {
            head.push_str(&format!("; filename=\"{}\"", quoted(filename)));
        }
        if let Some(kind) = kind {
            head.push_str(&format!("\r\nContent-Type: {}", quoted(kind)));
        }
        head.push_str("\r\n\r\n");
        self.body.extend_from_slice(head.as_bytes());
    }

    /// Adds a text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.head(name, None, None);
        self.body.extend_from_slice(text.as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, file: &Part) {
        self.head(
            name,
            Some(file.filename.as_deref().unwrap_or("audio")),
            Some(file.content_type.as_deref().unwrap_or("application/octet-stream")),
        );
        self.body.extend_from_slice(&file.content);
        self.body.extend_from_slice(b"\r\n");
    }

    /// The body, and what it is.
    pub fn finish(mut self) -> (Bytes, Option<HeaderValue>) {
        self.body
            .extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        let kind = HeaderValue::try_from(format!("multipart/form-data; boundary={}", self.boundary));
        (self.body.freeze(), kind.ok())
    }
}

/// A text that cannot end what it stands in.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '"' || c == '\\' || c.is_control() {
                '_'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::fronts::passed::Parts;

    #[tokio::test]
    async fn a_form_reads_as_it_was_written_whatever_the_names_hold() {
        let file = Part {
            name: "file".to_owned(),
            filename: Some("a\"; name=\"x\r\n.wav".to_owned()),
            content_type: None,
            content: Bytes::from_static(b"RIFF\r\n--grok2api-0\r\n"),
        };
        let mut form = Form::new();
        form.text("language", "en");
        form.file("file", &file);
        let (body, kind) = form.finish();
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind.unwrap())]);
        let parts = Parts::read(&headers, body).await.unwrap();
        assert_eq!(parts.parts.len(), 2);
        assert_eq!(parts.text("language").unwrap().as_deref(), Some("en"));
        let read = parts.files("file", 1).unwrap();
        assert_eq!(read[0].content, file.content);
    }
}
