//! The files of a batch's results: made of the upstream's pages of results while they are read, and kept nowhere.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use grok2api_schemas::ids::{RequestId, TokenId};
use http::{Method, StatusCode, header};
use poem::{Body, Request, Response};
use serde_json::{Value, json};

use super::super::super::{json_response, must_be_open};
use super::super::{FAMILIES, Family, batches};
use super::shown;
use super::{Endpoint, Remembered};
use crate::app::App;
use crate::bindings::ObjectKind;
use crate::engine::direct::Direct;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Results of a page.
const PAGE: usize = 200;
/// Pages that are read: twice what the largest batch has.
const MOST_PAGES: u32 = 500;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum File {
    /// Answers.
    Output,
    /// Failures.
    Errors,
}

impl File {
    const fn word(self) -> &'static str {
        match self {
            File::Output => "output",
            File::Errors => "errors",
        }
    }

    /// Its id.
    pub(super) fn id(self, batch: &str) -> String {
        format!("file-{}-{batch}", self.word())
    }
}

/// The file, and its batch, that an id of a file names.
pub(in super::super) fn named(id: &str) -> Option<(File, &str)> {
    [File::Output, File::Errors].into_iter().find_map(|file| {
        let batch = id.strip_prefix("file-")?.strip_prefix(file.word())?.strip_prefix('-')?;
        Some((file, batch))
    })
}

/// Answers a call that names such a file.
pub(in super::super) async fn answer(
    app: &Arc<App>,
    request: &Request,
    arrival: &Arrival,
    files: &'static Family,
    id: &str,
    action: &str,
) -> Result<Response, GatewayError> {
    let label = if action.is_empty() { files.one } else { files.below };
    let refused = |error: &GatewayError| app.refused(arrival, label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    must_be_open(&app.config(), label).inspect_err(refused)?;
    let found = async {
        let (file, batch) = named(id).ok_or_else(|| files.not_found(id))?;
        let family = FAMILIES.iter().find(|family| family.kind == ObjectKind::Batch);
        let family = family.ok_or_else(|| files.not_found(id))?;
        let binding = family
            .find(app, &caller, batch)
            .await
            .map_err(|_| files.not_found(id))?;
        let asked = Remembered::of(&binding).ok_or_else(|| files.not_found(id))?;
        if !matches!(action, "" | "content") {
            return Err(GatewayError::new(
                ErrorKind::NotFound,
                "There is nothing but /content below a file of results.",
            ));
        }
        if *request.method() != Method::GET {
            return Err(GatewayError::new(
                ErrorKind::MethodNotAllowed,
                "A file of results is read, and goes with its batch.",
            ));
        }
        Ok((file, batch.to_owned(), family, binding, asked))
    };
    let (file, batch, family, binding, asked) = found.await.inspect_err(refused)?;
    let path = format!("{}/{batch}", family.path());
    let ask = files.ask(label, Method::GET, path.clone(), arrival, &caller);
    let made = async {
        let look = app
            .engine
            .direct(binding.token, &Direct::get(&path), arrival.id)
            .await?;
        batches::settle(app, &caller, &batch, &look.body).await;
        let shown: Value = serde_json::from_slice(&look.body).unwrap_or_default();
        let shown = shown::batch(&batch, &shown, Some(&asked), arrival.time_ms);
        let member = match file {
            File::Output => "output_file_id",
            File::Errors => "error_file_id",
        };
        if shown[member].is_null() {
            return Err(GatewayError::new(
                ErrorKind::NotFound,
                format!(
                    "File '{id}' is not there: the batch is {}, with {} answers and {} failures.",
                    shown["status"].as_str().unwrap_or("unknown"),
                    shown["request_counts"]["completed"],
                    shown["request_counts"]["failed"],
                ),
            )
            .with_code("object_not_found"));
        }
        let reading = Reading {
            app: app.clone(),
            token: binding.token,
            path: format!("{path}/results"),
            id: arrival.id,
            file,
            endpoint: asked.endpoint,
        };
        // The first page before the head, so that what fails at once is told as an error.
        let first = reading.page(None).await?;
        if action == "content" {
            return Ok(content(reading, first, arrival));
        }
        let bytes: usize = reading
            .lines(first)
            .try_fold(0, async |sum, lines| Ok(sum + lines.len()))
            .await
            .map_err(|error| GatewayError::new(ErrorKind::UpstreamFailed, error.to_string()))?;
        let about = json!({
            "id": id, "object": "file", "bytes": bytes, "created_at": shown["created_at"], "status": "processed",
            "filename": format!("{batch}_{}.jsonl", file.word()), "purpose": "batch_output",
        });
        Ok(json_response(about.to_string(), arrival))
    };
    app.engine.answer_here(ask, made).await
}

fn content(reading: Reading, first: Page, arrival: &Arrival) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/jsonl")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(Body::from_bytes_stream(reading.lines(first)));
    arrival.sign(&mut response);
    response
}

/// A file that is being read.
struct Reading {
    app: Arc<App>,
    token: TokenId,
    path: String,
    id: RequestId,
    file: File,
    endpoint: Endpoint,
}

struct Page {
    lines: String,
    /// What the next page is asked by.
    next: Option<String>,
}

impl Reading {
    async fn page(&self, token: Option<&str>) -> Result<Page, GatewayError> {
        let mut path = format!("{}?limit={PAGE}", self.path);
        if let Some(token) = token {
            path.push_str("&pagination_token=");
            path.push_str(&in_a_query(token));
        }
        let fetched = self.app.engine.direct(self.token, &Direct::get(&path), self.id).await?;
        let body: Value = serde_json::from_slice(&fetched.body).map_err(|error| {
            GatewayError::new(ErrorKind::UpstreamFailed, "The upstream's results cannot be read.")
                .with_detail(error.to_string())
        })?;
        let mut lines = String::new();
        for result in body["results"].as_array().into_iter().flatten() {
            let (file, line) = shown::line(result, self.endpoint);
            if file == self.file {
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        let next = body["pagination_token"].as_str().filter(|next| !next.is_empty());
        Ok(Page {
            lines,
            next: next.filter(|next| token != Some(next)).map(str::to_owned),
        })
    }

    /// Its lines, a page at a time.
    fn lines(self, first: Page) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
        futures::stream::try_unfold((self, Some(first), 1_u32), async |(reading, page, read)| {
            let Some(page) = page else {
                return Ok(None);
            };
            let following = match page.next {
                Some(_) if read >= MOST_PAGES => return Err(io::Error::other("the upstream's results do not end")),
                Some(next) => Some(reading.page(Some(&next)).await.map_err(io::Error::other)?),
                None => None,
            };
            Ok(Some((Bytes::from(page.lines), (reading, following, read + 1))))
        })
    }
}

/// A text as a value of a query.
fn in_a_query(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => written.push(char::from(byte)),
            false => written.push_str(&format!("%{byte:02X}")),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_the_file_and_the_batch() {
        assert_eq!(named(&File::Output.id("batch_1-2")), Some((File::Output, "batch_1-2")));
        assert_eq!(named(&File::Errors.id("b")), Some((File::Errors, "b")));
        for other in ["file_1", "file-1", "file-outputs-1", "output-1", "file-output"] {
            assert_eq!(named(other), None, "{other}");
        }
        assert_eq!(in_a_query("a/b=+é"), "a%2Fb%3D%2B%C3%A9");
    }
}
