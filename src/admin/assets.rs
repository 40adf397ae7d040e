//! The panel's files: in the binary, and in debug builds read from the tree, so that an edit shows at the next load.

use std::borrow::Cow;
use std::sync::LazyLock;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY};
use http::header::{LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use poem::endpoint::make_sync;
use poem::{Endpoint, Request, Response};

/// Nothing but our own files, nothing inline, and no page around ours. Pictures may also be data that the panel made.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `("path", bytes)` of files below `ui/`.
macro_rules! files {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("ui/", $path)).as_slice())),*]
    };
}

/// Every file that is served, under `/admin/ui/`. A test compares the list with the directory.
const FILES: &[(&str, &[u8])] = files! {
    "index.html"
    "icon.svg"
    "api.js"
    "app.js"
    "css/base.css"
    "css/chat.css"
    "css/docs.css"
    "css/frame.css"
    "css/pages.css"
    "css/parts.css"
    "docs.html"
    "docs.js"
    "events.js"
    "format.js"
    "i18n.js"
    "pages/cache.js"
    "pages/cache_online.js"
    "pages/chat.js"
    "pages/chat_composer.js"
    "pages/chat_image.js"
    "pages/chat_key.js"
    "pages/chat_keybar.js"
    "pages/chat_made.js"
    "pages/chat_sources.js"
    "pages/chat_store.js"
    "pages/chat_stream.js"
    "pages/chat_turn.js"
    "pages/chat_video.js"
    "pages/cluster.js"
    "pages/cluster_feed.js"
    "pages/config.js"
    "pages/config_control.js"
    "pages/config_docs.js"
    "pages/datacenter.js"
    "pages/datacenter_long.js"
    "pages/datacenter_sums.js"
    "pages/job_drawer.js"
    "pages/job_start.js"
    "pages/jobs.js"
    "pages/key_dialog.js"
    "pages/keys.js"
    "pages/log_files.js"
    "pages/log_live.js"
    "pages/login.js"
    "pages/request_drawer.js"
    "pages/requests.js"
    "pages/token.js"
    "pages/token_add.js"
    "pages/token_batch.js"
    "pages/token_changes.js"
    "pages/token_drawer.js"
    "pages/token_export.js"
    "pages/token_history.js"
    "pages/token_strip.js"
    "pages/users.js"
    "parts/bits.js"
    "parts/chart.js"
    "parts/deed.js"
    "parts/float.js"
    "parts/frame.js"
    "parts/icons.js"
    "parts/markdown.js"
    "parts/quota.js"
    "parts/ring.js"
    "parts/rows.js"
    "parts/spark.js"
    "parts/table.js"
    "router.js"
    "store.js"
    "strings/en.js"
    "strings/zh.js"
    "strings/zh_config.js"
    "vendor/hooks.js"
    "vendor/htm.js"
    "vendor/mod.js"
    "vendor/preact.js"
    "vendor/signals-core.js"
    "vendor/signals.js"
    "vendor/uplot.css"
    "vendor/uplot.js"
};

/// One page for every view: the script reads the path.
pub fn page() -> impl Endpoint<Output = Response> {
    make_sync(|request| serve(&request, "index.html", false))
}

/// The API's documentation.
pub fn docs() -> impl Endpoint<Output = Response> {
    make_sync(|request| serve(&request, "docs.html", false))
}

/// `/admin/ui/{file}` and `/admin/ui/v-{hash}/{file}`.
pub fn file() -> impl Endpoint<Output = Response> {
    make_sync(|request| {
        let path = request.raw_path_param("file").unwrap_or_default().to_owned();
        let (asked, name) = without_version(&path);
        serve(&request, name, asked.is_some() && asked == version())
    })
}

/// Sends on to the first view.
pub fn to_panel() -> impl Endpoint<Output = Response> {
    make_sync(|_| {
        Response::builder()
            .status(StatusCode::TEMPORARY_REDIRECT)
            .header(LOCATION, "/admin/token")
            .finish()
    })
}

/// What the page's links go through: this version's files may be kept for good, so that the next load asks for the page
/// alone. Debug builds read from the tree and have none.
fn version() -> Option<&'static str> {
    static VERSION: LazyLock<Option<String>> = LazyLock::new(|| (!cfg!(debug_assertions)).then(|| version_of(FILES)));
    VERSION.as_deref()
}

/// A name that changes with any of the files.
fn version_of(files: &[(&str, &[u8])]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in files {
        hasher.update(blake3::hash(name.as_bytes()).as_bytes());
        hasher.update(blake3::hash(bytes).as_bytes());
    }
    format!("v-{}", &hasher.finalize().to_hex()[..16])
}

/// A path's version, and the rest. Another node's version is served as well: nodes are not upgraded at one instant.
fn without_version(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((version, name)) if version.starts_with("v-") => (Some(version), name),
        _ => (None, path),
    }
}

/// The page with its links going through a version.
fn linked(page: &str, version: &str) -> String {
    page.replace("\"/admin/ui/", &format!("\"/admin/ui/{version}/"))
}

fn serve(request: &Request, path: &str, is_kept: bool) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Response::builder()
            .status(StatusCode::METHOD_NOT_ALLOWED)
            .header(ALLOW, "GET, HEAD")
            .finish();
    }
    let Some(bytes) = content(path) else {
        return Response::builder()
            .status(StatusCode::NOT_FOUND)
            .content_type("text/plain")
            .body("The panel has no such file.");
    };
    let tag = format!("\"{}\"", &blake3::hash(&bytes).to_hex()[..32]);
    let is_known = request
        .headers()
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if is_known {
        Response::builder().status(StatusCode::NOT_MODIFIED).finish()
    } else {
        Response::builder().content_type(kind_of(path)).body(bytes.into_owned())
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    // Under a name that does not change with the content a file is asked for at every load, and answered with 304.
    let kept = if is_kept {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn content(path: &str) -> Option<Cow<'static, [u8]>> {
    let (name, bytes) = FILES.iter().find(|(name, _)| *name == path)?;
    #[cfg(debug_assertions)]
    if let Ok(bytes) = std::fs::read(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/admin/ui")
            .join(name),
    ) {
        return Some(bytes.into());
    }
    match (*name, version(), std::str::from_utf8(bytes)) {
        ("index.html" | "docs.html", Some(version), Ok(page)) => Some(linked(page, version).into_bytes().into()),
        _ => Some((*bytes).into()),
    }
}

fn kind_of(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
