use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use http::header::HeaderName;
use poem::{EndpointExt, Route};

use super::*;

mod config_docs;

fn ui() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/ui"))
}

/// Every file below `ui/`, by its path from there.
fn on_disk() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![ui().to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(ui()).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn ours() -> BTreeMap<String, String> {
    let mut files = on_disk();
    files.retain(|name, _| !name.starts_with("vendor/") || name == "vendor/mod.js");
    files
}

#[test]
fn what_is_served_is_what_is_there() {
    let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there: BTreeSet<String> = on_disk()
        .into_keys()
        .filter(|name| !["vendor/README.md", "vendor/LICENSES", "vendor/SHA256SUMS"].contains(&name.as_str()))
        .collect();
    assert_eq!(listed, there);
    for name in &listed {
        assert_ne!(kind_of(name), "application/octet-stream", "{name}");
    }
}

#[test]
fn the_page_asks_for_every_module_at_once() {
    let files = on_disk();
    // The scripts of the pages themselves, and the library that only pages with a chart load.
    for name in files
        .keys()
        .filter(|name| name.ends_with(".js") && !["app.js", "docs.js", "vendor/uplot.js"].contains(&name.as_str()))
    {
        let link = format!("<link rel=\"modulepreload\" href=\"/admin/ui/{name}\">");
        assert!(files["index.html"].contains(&link), "{name}");
    }
}

#[test]
fn vendored_files_are_those_that_were_vendored() {
    let check = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(ui().join("vendor"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let sums = std::fs::read_to_string(ui().join("vendor/SHA256SUMS")).unwrap();
    let readme = std::fs::read_to_string(ui().join("vendor/README.md")).unwrap();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let row = readme.lines().find(|row| row.contains(&format!("`{name}`"))).unwrap();
        assert!(row.contains(sum), "{name}");
    }
    for name in on_disk().keys().filter(|name| name.starts_with("vendor/")) {
        let name = name.trim_start_matches("vendor/");
        let is_ours = ["mod.js", "README.md", "LICENSES", "SHA256SUMS"].contains(&name);
        assert!(is_ours || sums.contains(name), "{name} has no hash");
    }
}

#[test]
fn one_module_imports_vendored_files_and_one_calls_out() {
    for (name, text) in ours() {
        if name != "vendor/mod.js" && name.ends_with(".js") {
            for line in text.lines().filter(|line| line.contains("vendor/")) {
                assert!(line.contains("vendor/mod.js'"), "{name}: {line}");
            }
        }
        assert!(name == "api.js" || !text.contains("fetch("), "{name} calls out");
        assert!(!text.contains("innerHTML"), "{name} makes markup of text");
        let lines = text.lines().count();
        assert!(lines <= 200, "{name} has {lines} lines");
    }
}

#[test]
fn what_changes_something_is_a_deed_that_is_not_begun_twice() {
    let sends =
        regex::Regex::new(r"(?:^|[^.\w])(?:post|patch|remove|admin|login|logout|asClientForm)\(|asClient\('POST'")
            .unwrap();
    for (name, text) in ours() {
        let is_page = name.starts_with("pages/") || name == "parts/frame.js";
        // These two are called by the chat page's deeds; two calls for a key share one answer.
        let is_called = ["pages/chat_key.js", "pages/chat_stream.js"].contains(&name.as_str());
        if is_page && !is_called && sends.is_match(&text) {
            assert!(text.contains("= useDeed();"), "{name} sends without a deed");
        }
        let keeps_own = name != "parts/deed.js" && text.contains("setBusy(");
        assert!(!keeps_own, "{name} says by itself whether it is busy");
    }
}

/// Keys of a file of strings, with their placeholders.
fn strings(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let entry = regex::Regex::new(r"'([\w.]+)': '((?:[^'\\]|\\.)*)'").unwrap();
    let place = regex::Regex::new(r"\{(\w+)\}").unwrap();
    let mut found = BTreeMap::new();
    for entry in entry.captures_iter(text) {
        let places = place
            .captures_iter(&entry[2])
            .map(|place| place[1].to_owned())
            .collect();
        assert!(!entry[2].trim().is_empty(), "{} is empty", &entry[1]);
        let twice = found.insert(entry[1].to_owned(), places);
        assert!(twice.is_none(), "{} stands twice", &entry[1]);
    }
    assert!(found.len() > 100);
    found
}

#[test]
fn every_string_is_there_in_both_languages() {
    let files = ours();
    let (english, chinese) = (strings(&files["strings/en.js"]), strings(&files["strings/zh.js"]));
    assert_eq!(english, chinese, "keys or placeholders differ");
    let called = regex::Regex::new(r"\bt\('([\w.]+)'").unwrap();
    let built = regex::Regex::new(r"\bt\(`([\w.]*)\$\{").unwrap();
    let words = regex::Regex::new(r#"(?:\bword\('|group=")([\w.]+)"#).unwrap();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".js")) {
        for key in called.captures_iter(text) {
            assert!(english.contains_key(&key[1]), "{name}: no string {}", &key[1]);
        }
        for prefix in built.captures_iter(text).chain(words.captures_iter(text)) {
            let known = english.keys().any(|key| key.starts_with(&prefix[1]));
            assert!(known, "{name}: no string begins with {}", &prefix[1]);
        }
    }
    // Closed sets of the backend: each of their words has a string.
    use grok2api_schemas::admin::requests::Outcome;
    use grok2api_schemas::token::{PoolName, TokenState};
    let outcomes = Outcome::ALL.iter().map(|one| format!("outcome.{}", one.as_str()));
    let states = TokenState::ALL.iter().map(|one| format!("state.{}", one.as_str()));
    let pools = PoolName::ALL.iter().map(|one| format!("pool.{}", one.as_str()));
    for key in outcomes.chain(states).chain(pools) {
        assert!(english.contains_key(&key), "no string {key}");
    }
}

#[test]
fn a_version_names_all_files_and_every_link_goes_through_it() {
    let version = version_of(FILES);
    assert_eq!(version.len(), 18);
    let mut other = FILES.to_vec();
    other[0].1 = b"changed";
    assert_ne!(version_of(&other), version);
    let page = linked(&on_disk()["index.html"], &version);
    assert_eq!(
        page.matches("/admin/ui/").count(),
        page.matches(&format!("/admin/ui/{version}/")).count()
    );
    assert!(page.contains(&format!("src=\"/admin/ui/{version}/app.js\"")));
    assert_eq!(
        without_version(&format!("{version}/css/base.css")),
        (Some(&*version), "css/base.css")
    );
    assert_eq!(without_version("css/base.css"), (None, "css/base.css"));
    assert_eq!(without_version("v-/../x"), (Some("v-"), "../x"));
}

async fn send(method: Method, path: &str, known: &str) -> Response {
    let routes = Route::new()
        .at("/login", page())
        .at("/admin/ui/*file", file())
        .at("/admin/*page", page())
        .map_to_response();
    let mut request = Request::builder().method(method).uri_str(path);
    if !known.is_empty() {
        request = request.header(IF_NONE_MATCH, known);
    }
    match routes.call(request.finish()).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

fn header(response: &Response, name: HeaderName) -> String {
    let value = response.headers().get(&name);
    value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn files_are_served_with_a_strict_policy_and_a_tag() {
    for path in [
        "/login",
        "/admin/token",
        "/admin/ui/app.js",
        "/admin/ui/css/base.css",
        "/admin/ui/icon.svg",
        "/admin/ui/v-0123/app.js",
    ] {
        let response = send(Method::GET, path, "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(
            header(&response, CONTENT_SECURITY_POLICY).starts_with("default-src 'self';"),
            "{path}"
        );
        assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(header(&response, CACHE_CONTROL), "no-cache", "{path}");
        let tag = header(&response, ETAG);
        let again = send(Method::GET, path, &format!("\"other\", W/{tag}")).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(header(&again, ETAG), tag, "{path}");
        assert_eq!(send(Method::HEAD, path, "").await.status(), StatusCode::OK, "{path}");
    }
    let refused = send(Method::POST, "/login", "").await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_is_not_in_the_list_is_not_served() {
    for path in [
        "nothing.js",
        "../mod.rs",
        "..%2fmod.rs",
        "vendor/README.md",
        "pages/",
        "/etc/passwd",
    ] {
        let response = send(Method::GET, &format!("/admin/ui/{path}"), "").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
