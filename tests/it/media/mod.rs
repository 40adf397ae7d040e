//! Pictures and films, through the built program.

mod cache;
mod chat;
mod deferred;
mod images;
mod kept;
mod nodes;
mod videos;

use http::Method;
use serde_json::Value;

use crate::support::http::{Got, Http};

/// A model that makes pictures.
const PAINTER: &str = "grok-imagine-image";

/// A small picture.
fn png() -> Vec<u8> {
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde".to_vec()
}

/// One part of a form: name, file name, content.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// A form.
fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |file| {
            format!("; filename=\"{file}\"\r\nContent-Type: application/octet-stream")
        });
        body.extend(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

/// Sends a form.
async fn send_form(http: &Http, path: &str, parts: &[Part<'_>]) -> Got {
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    http.send(Method::POST, path, &headers, form(parts)).await
}

/// The path of a link of this gateway.
fn path_of(link: &Value) -> String {
    let link = link.as_str().unwrap_or_else(|| panic!("no link: {link}"));
    let at = link.find("/v1/files/").unwrap_or_else(|| panic!("not ours: {link}"));
    link[at..].to_owned()
}
