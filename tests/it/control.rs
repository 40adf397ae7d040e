//! The cluster's administration over NATS, and what is written about it.

use serde_json::Value;

use crate::support::scripts::{node_prefix, run_node};

/// A file of `schemas/`.
fn schemas(name: &str) -> String {
    format!("{}/schemas/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn the_asyncapi_document_passes_its_own_parser() {
    if node_prefix().is_none() {
        return;
    }
    let path = schemas("asyncapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let operations = document["operations"].as_object().unwrap().len().to_string();
    run_node("asyncapi.mjs", &[("DOCUMENT", &path), ("OPERATIONS", &operations)]).await;
}
