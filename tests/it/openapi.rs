//! The OpenAPI document: valid, complete, and true.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::support::gateway::PASSWORD;
use crate::support::scripts::{python, run_python};
use crate::support::{Plan, Sim};

/// Every path in the sources that make the routes, in the document's notation.
fn routed() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = BTreeSet::new();
    let mut files = vec![root.join("src/admin/mod.rs")];
    for file in std::fs::read_dir(root.join("src/http")).unwrap() {
        files.push(file.unwrap().path());
    }
    files.push(root.join("src/fronts/passed/listings.rs"));
    files.push(root.join("src/fronts/passed/objects/mod.rs"));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let prefix = if file.ends_with("admin/mod.rs") {
            "/api/v1/admin"
        } else {
            ""
        };
        for literal in text.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')) {
            let segments: Vec<String> = literal
                .split('/')
                .map(|segment| match segment.strip_prefix([':', '*']) {
                    Some(name) => format!("{{{name}}}"),
                    None => segment.to_owned(),
                })
                .collect();
            paths.insert(format!("{prefix}{}", segments.join("/")));
        }
    }
    paths
}

/// Paths that are no part of the API: the panel, catch-alls, prefixes, and what stands for several in the document.
fn is_no_route(path: &str) -> bool {
    let panel = [
        "/",
        "/login",
        "/chat",
        "/admin",
        "/api/v1/admin",
        "/api/v1/admin/api/v1/admin",
    ];
    panel.contains(&path)
        || path.starts_with("/admin/")
        || path == "/v1"
        || path.ends_with("{path}")
        || path.ends_with("{rest}")
        || path.ends_with("{action}")
        || path == "/api/v1/admin/operations/{id}"
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_in_the_document_and_all_that_is_in_it_is_there() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let http = gateway.http().anonymous();
    let got = http.get("/openapi.json").await.ok();
    assert_eq!(got.header("content-type"), "application/json");
    let document = got.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let missing: Vec<String> = routed()
        .into_iter()
        .filter(|path| !is_no_route(path) && !paths.contains_key(path))
        .collect();
    assert_eq!(missing, [""; 0], "routes that the document leaves out");

    // Nobody gets by without a key, and nothing that is described is missing.
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            let real = path.replace("{id}", "some-id").replace("{name}", "some-name");
            let method: Method = method.to_uppercase().parse().unwrap();
            let got = http
                .send(method.clone(), &real, &[("content-type", "application/json")], "{}")
                .await;
            let is_open = operation["security"] == json!([]);
            let expected: &[u16] = match is_open {
                // What is open is either there, or of a name that nothing has.
                true if path.contains('{') => &[404],
                true => &[200],
                false => &[401, 400],
            };
            assert!(
                expected.contains(&got.status.as_u16()),
                "{method} {real}: {} {}",
                got.status,
                got.text()
            );
        }
    }
    // And a method that is not described is not served.
    for (path, methods) in paths {
        let real = path.replace("{id}", "some-id").replace("{name}", "some-name");
        if path.starts_with("/api/v1/admin") {
            continue;
        }
        for method in [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
            if methods.get(method.as_str().to_lowercase()).is_some() {
                continue;
            }
            let got = gateway
                .http()
                .send(method.clone(), &real, &[("content-type", "application/json")], "{}")
                .await;
            assert!(
                [404, 405].contains(&got.status.as_u16()),
                "{method} {real} is served and not described: {} {}",
                got.status,
                got.text()
            );
        }
    }
    let ids: Vec<&Value> = paths
        .values()
        .flat_map(|methods| methods.as_object().unwrap().values())
        .map(|operation| &operation["operationId"])
        .collect();
    let distinct: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), ids.len(), "operation ids are distinct");

    let page = http.get("/docs").await.ok();
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    for asked in ["/admin/ui/docs.js", "/admin/ui/css/docs.css"] {
        assert!(page.text().contains(asked), "{}", page.text());
        http.get(asked).await.ok();
    }
    assert!(
        !page.text().contains("http://") && !page.text().contains("https://"),
        "nothing foreign"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_schemathesis_sends_meets_no_fault_and_no_answer_that_is_not_described() {
    if python().is_none() {
        return;
    }
    let sim = Sim::play(json!({
        "teams": (0..2).map(Sim::team).collect::<Vec<_>>(),
        "models": [{"id": "v1", "embedding": true}],
    }))
    .await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    let session = gateway
        .http()
        .anonymous()
        .post(
            "/api/v1/admin/login",
            &json!({"username": "admin", "password": PASSWORD}),
        )
        .await
        .ok()
        .json();
    let arguments = [
        ("GATEWAY", gateway.url()),
        ("API_KEY", crate::support::gateway::API_KEY),
        ("ADMIN_TOKEN", session["token"].as_str().unwrap()),
    ];
    run_python("openapi.py", &arguments).await;
    gateway.assert_alive().await;
}
