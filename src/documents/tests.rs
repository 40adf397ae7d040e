use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

#[test]
fn documents_are_what_the_code_says() {
    let all = documents();
    for document in &all {
        let found = fs::read_to_string(directory().join(&document.path)).unwrap_or_default();
        assert!(
            found == document.text,
            "schemas/{} is not what the code says: run `cargo run -- schemas`",
            document.path
        );
    }
    let known: BTreeSet<PathBuf> = all.iter().map(|document| directory().join(&document.path)).collect();
    for entry in fs::read_dir(directory().join(SCHEMAS)).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            known.contains(&path),
            "{} is of nothing: run `cargo run -- schemas`",
            path.display()
        );
    }
}

#[test]
fn the_readme_lists_every_door() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table = operations_table();
    assert!(
        readme.contains(&table),
        "the README's table of operations must be:\n{table}"
    );
}

/// Every reference in a document leads somewhere in it.
fn assert_refs(name: &str, value: &Value, whole: &Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if let (true, Some(target)) = (key == "$ref", value.as_str()) {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(whole.pointer(pointer).is_some(), "{name}: {target} leads nowhere");
                }
                assert_refs(name, value, whole);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| assert_refs(name, item, whole)),
        _ => {}
    }
}

#[test]
fn references_lead_somewhere_and_a_build_writes_what_another_does() {
    for document in documents() {
        let value: Value = serde_json::from_str(&document.text).unwrap();
        assert_refs(&document.path, &value, &value);
    }
    assert_eq!(documents(), documents());
}

#[test]
fn writing_takes_away_what_is_no_more() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(SCHEMAS)).unwrap();
    let (old, other) = (
        root.path().join("json/tokens.gone.json"),
        root.path().join("json/README.md"),
    );
    fs::write(&old, "{}").unwrap();
    fs::write(&other, "").unwrap();
    assert_eq!(write(root.path()).unwrap(), documents().len());
    assert!(!old.exists() && other.exists());
    assert!(root.path().join("asyncapi.json").exists());
}

#[test]
fn an_unknown_field_is_refused_by_the_schema_too() {
    for operation in operations() {
        let schema = root(operation.input, SchemaSettings::for_deserialize);
        let own = match schema.get("$ref").and_then(Value::as_str) {
            Some(target) => schema.pointer(&target[1..]).unwrap().clone(),
            None => schema,
        };
        assert_eq!(own["additionalProperties"], false, "{}", operation.about.name());
    }
}
