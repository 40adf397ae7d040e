//! The invariants of the code map, read off the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source below, with its path from the root.
fn sources(below: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root().join(below)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {below}");
    found
}

/// The code of a source, without its comments.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Who names something that is not theirs to name.
fn offenders(below: &str, needle: &str, may: impl Fn(&str) -> bool) -> Vec<String> {
    sources(below)
        .into_iter()
        .filter(|(name, text)| !may(name) && code(text).contains(needle))
        .map(|(name, _)| name)
        .collect()
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("tests.rs")
}

/// The crates that a manifest depends on, tests aside.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(manifest)).unwrap();
    let document: toml_edit::DocumentMut = text.parse().unwrap();
    let table = document["dependencies"].as_table().unwrap();
    table.iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn schemas_know_nothing_but_serde() {
    let named = dependencies("schemas/Cargo.toml");
    for banned in [
        "tokio",
        "actix",
        "poem",
        "hyper",
        "reqwest",
        "sled",
        "futures",
        "tracing",
        "grok2api-actors",
    ] {
        assert!(!named.iter().any(|name| name == banned), "schemas depends on {banned}");
    }
    for banned in ["tokio::", "async fn", "std::fs", "std::net::Tcp"] {
        assert_eq!(offenders("schemas/src", banned, is_test), [""; 0], "{banned}");
    }
}

#[test]
fn actors_know_no_poem_and_no_dialect() {
    let named = dependencies("actors/Cargo.toml");
    for banned in ["poem", "grok2api"] {
        assert!(!named.iter().any(|name| name == banned), "actors depends on {banned}");
    }
    for banned in ["poem::", "chat.completion", "grok2api_schemas::openai", "finish_reason"] {
        assert_eq!(offenders("actors/src", banned, is_test), [""; 0], "{banned}");
    }
}

#[test]
fn fronts_and_providers_never_name_each_other() {
    assert_eq!(offenders("src/fronts", "crate::providers", |_| false), [""; 0]);
    assert_eq!(
        offenders("src/providers", "crate::fronts::openai::chat", |_| false),
        [""; 0]
    );
    // Providers may use the fronts' parsers of a shared wire format, never a route.
    let shared = |name: &str| !name.starts_with("src/providers");
    let named = offenders("src/providers", "crate::fronts", shared);
    let text: Vec<String> = named
        .iter()
        .flat_map(|name| {
            let text = std::fs::read_to_string(root().join(name)).unwrap();
            let lines = text.lines().filter(|line| line.contains("crate::fronts"));
            lines.map(|line| format!("{name}: {}", line.trim())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(text, [""; 0], "a provider names a front");
}

#[test]
fn one_module_builds_http_clients() {
    let egress = |name: &str| name.starts_with("actors/src/egress") || is_test(name);
    for needle in [
        "reqwest::Client::builder",
        "reqwest::ClientBuilder",
        "Client::builder(",
        "hyper_util::client::legacy",
    ] {
        for crate_ in ["src", "actors/src"] {
            assert_eq!(offenders(crate_, needle, egress), [""; 0], "{needle}");
        }
    }
}

#[test]
fn one_file_names_the_binary_codec() {
    for crate_ in ["src", "actors/src", "schemas/src"] {
        let named = offenders(crate_, "bincode", |name| name == "actors/src/bus/codec.rs");
        assert_eq!(named, [""; 0]);
    }
}

#[test]
fn subjects_stand_once() {
    let subjects = std::fs::read_to_string(root().join("schemas/src/bus/subjects.rs")).unwrap();
    let names: Vec<&str> = code_strings(&subjects);
    assert!(!names.is_empty());
    for crate_ in ["src", "actors/src"] {
        for (name, text) in sources(crate_) {
            if is_test(&name) {
                continue;
            }
            for subject in names.iter().filter(|subject| subject.contains('.')) {
                assert!(
                    !code(&text).contains(&format!("\"{subject}\"")),
                    "{name} spells {subject} out"
                );
            }
        }
    }
}

/// String literals of at least six characters outside comments.
fn code_strings(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|literal| literal.len() >= 6)
        .collect()
}

#[test]
fn only_the_loop_around_signals_ends_the_process() {
    for needle in ["process::exit", "process::abort"] {
        for crate_ in ["src", "actors/src", "schemas/src"] {
            assert_eq!(offenders(crate_, needle, is_test), [""; 0], "{needle}");
        }
    }
}

#[test]
fn nothing_is_left_half_done() {
    for crate_ in ["src", "actors/src", "schemas/src"] {
        for (name, text) in sources(crate_) {
            for word in ["TODO", "FIXME", "XXX:", "HACK:"] {
                assert!(
                    !text.contains(word),
                    "{word} in {name}: unfinished work is an issue, not a comment"
                );
            }
        }
    }
}

#[test]
fn the_readme_begins_with_the_two_commands_and_says_what_it_must() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let screen: String = readme.lines().take(24).collect::<Vec<_>>().join("\n");
    for needle in ["cargo run --release -- --demo", "tests/run", "curl "] {
        assert!(screen.contains(needle), "the first screen lacks {needle}");
    }
    assert!(root().join("tests/run").exists() && root().join(".ci/run").exists());
    let flat = readme.replace("\n> ", " ");
    for needle in [
        "For every interval of length T by the upstream's clock",
        "GROK2API__XAI__BASE_URL",
        "GROK2API__APP__API_KEY",
        "/api/v1/admin/login",
        "first_byte_timeout_secs",
        "does **not** create consumer accounts",
        "[[xai.teams]]",
        "benches/README.md",
    ] {
        assert!(flat.contains(needle), "the README lacks {needle}");
    }
    // Every path that it names in `ticks` is there.
    for word in readme.split('`').skip(1).step_by(2) {
        let is_path = [
            "src/",
            "actors/",
            "schemas/",
            "tests/",
            "benches/",
            "data/models",
            ".ci/",
        ]
        .iter()
        .any(|start| word.starts_with(start));
        if is_path && !word.contains([' ', '*', '{']) {
            assert!(
                root().join(word).exists(),
                "the README names {word}, which is not there"
            );
        }
    }
}

#[test]
fn the_top_level_is_as_designed() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "actors",
        "benches",
        "compose.nats.yml",
        "data",
        "deploy",
        "fuzz",
        "grafana",
        "schemas",
        "src",
        "target",
        "tests",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || known.contains(&name.as_str()),
            "{name} at the top level"
        );
    }
}
