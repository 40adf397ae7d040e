//! Uploaded files: kept in memory, seen by their team alone.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::body::SimBody;
use super::caller::Caller;
use super::errors::{Mention, json_body, plain, respond};
use super::world::{World, random_uuid};

/// Largest file.
const LARGEST: usize = 50 << 20;
/// Files of a page, unless asked otherwise and at most.
const PAGE: usize = 100;
/// Files kept; over this no more are taken.
const MOST_FILES: usize = 10_000;

/// One of them.
#[derive(Clone, Debug)]
pub struct StoredFile {
    pub team: String,
    filename: String,
    purpose: String,
    bytes: Bytes,
    created: u64,
    expires: Option<u64>,
    /// The order of arrival.
    number: u64,
}

impl StoredFile {
    fn shown(&self, id: &str) -> Value {
        json!({
            "id": id,
            "object": "file",
            "bytes": self.bytes.len(),
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.filename,
            "purpose": self.purpose,
        })
    }
}

fn invalid(caller: &Caller, detail: &str) -> Response<SimBody> {
    respond(
        "arg-invalid",
        &Mention {
            detail,
            ..caller.mention()
        },
    )
}

/// `POST /v1/files`.
pub async fn upload(world: &World, caller: &Caller, headers: &HeaderMap, body: Bytes) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("files", None) {
        return *refusal;
    }
    let boundary = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|kind| multer::parse_boundary(kind).ok());
    let Some(boundary) = boundary else {
        return respond("wrong-ct-415", &caller.mention());
    };
    let body = futures::stream::once(async move { Ok::<Bytes, Infallible>(body) });
    let mut parts = multer::Multipart::new(body, boundary);
    let mut fields: HashMap<String, String> = HashMap::new();
    let mut file = None;
    loop {
        let field = match parts.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(error) => return invalid(caller, &format!("multipart: {error}")),
        };
        let name = field.name().unwrap_or_default().to_owned();
        if file.is_some() && name.starts_with("expires_after") {
            return invalid(caller, "expires_after must come before file.");
        }
        let filename = field.file_name().map(str::to_owned);
        let content = match field.bytes().await {
            Ok(content) => content,
            Err(error) => return invalid(caller, &format!("multipart: {error}")),
        };
        if name == "file" {
            file = Some((filename.unwrap_or_else(|| "file".to_owned()), content));
        } else {
            fields.insert(name, String::from_utf8_lossy(&content).into_owned());
        }
    }
    let Some((filename, bytes)) = file else {
        return invalid(caller, "file is missing.");
    };
    if bytes.len() > LARGEST || world.files.len() >= MOST_FILES {
        return respond("too-large-413", &caller.mention());
    }
    let life = ["expires_after", "expires_after[seconds]"]
        .iter()
        .find_map(|name| fields.get(*name));
    let life = match life.map(|text| text.parse::<u64>()) {
        None => None,
        Some(Ok(seconds)) if (3_600..=2_592_000).contains(&seconds) => Some(seconds),
        Some(_) => return invalid(caller, "expires_after must be between 3600 and 2592000 seconds."),
    };
    let created = world.clock.wall().0 / 1000;
    let id = format!("file_{}", random_uuid());
    let stored = StoredFile {
        team: key.team.id.clone(),
        filename,
        purpose: fields.remove("purpose").unwrap_or_default(),
        bytes,
        created,
        expires: life.map(|seconds| created + seconds),
        number: world.files.len() as u64 + 1,
    };
    let shown = stored.shown(&id);
    world.files.insert(id, stored);
    json_body(StatusCode::OK, &shown)
}

/// `GET /v1/files?limit&order&pagination_token`. There is no `has_more`.
pub fn list(world: &World, caller: &Caller, query: &str) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("files", None) {
        return *refusal;
    }
    let asked = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    };
    let limit = match asked("limit").map(str::parse) {
        None => PAGE,
        Some(Ok(limit)) if (1..=PAGE).contains(&limit) => limit,
        Some(_) => return invalid(caller, "limit must be between 1 and 100."),
    };
    let start: usize = asked("pagination_token")
        .and_then(|token| token.parse().ok())
        .unwrap_or(0);
    let mut files: Vec<(u64, Value)> = world
        .files
        .iter()
        .filter(|file| file.team == key.team.id)
        .map(|file| (file.number, file.shown(file.key())))
        .collect();
    files.sort_by_key(|(number, _)| *number);
    if asked("order") != Some("asc") {
        files.reverse();
    }
    let more = files.len() > start + limit;
    let data: Vec<Value> = files
        .into_iter()
        .skip(start)
        .take(limit)
        .map(|(_, shown)| shown)
        .collect();
    let token = more.then(|| (start + limit).to_string());
    json_body(StatusCode::OK, &json!({"data": data, "pagination_token": token}))
}

/// `GET`, `DELETE /v1/files/{id}` and `GET /v1/files/{id}/content`.
pub fn one(world: &World, caller: &Caller, method: &Method, id: &str, content: bool) -> Response<SimBody> {
    let key = match caller.require() {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    if let Some(refusal) = caller.barred("files", None) {
        return *refusal;
    }
    let file = world.files.get(id).map(|file| file.clone());
    let Some(file) = file.filter(|file| file.team == key.team.id) else {
        return respond(
            "file-other-team",
            &Mention {
                detail: id,
                ..caller.mention()
            },
        );
    };
    if content {
        return plain(StatusCode::OK, "application/octet-stream", file.bytes);
    }
    if *method == Method::DELETE {
        world.files.remove(id);
        return json_body(StatusCode::OK, &json!({"id": id, "object": "file", "deleted": true}));
    }
    json_body(StatusCode::OK, &file.shown(id))
}
