use std::fs;

use grok2api_schemas::config::ModelKind;
use grok2api_schemas::meter::DayBucket;

use super::*;

fn load(text: &str) -> Result<Catalogue, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), text).unwrap();
    Catalogue::load(dir.path())
}

fn means(catalogue: &Catalogue, name: &str) -> (String, String, bool) {
    let resolved = catalogue.resolve(name);
    assert_eq!(resolved.requested, name);
    (
        resolved.canonical.to_owned(),
        resolved.upstream_name.to_owned(),
        resolved.entry.is_some(),
    )
}

fn three(canonical: &str, sent: &str, known: bool) -> (String, String, bool) {
    (canonical.to_owned(), sent.to_owned(), known)
}

#[test]
fn a_name_means_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::load(dir.path()).unwrap();
    for (name, canonical, sent, known) in [
        ("grok-4.7", "grok-4.7", "grok-4.7", true),
        ("grok-latest", "grok-4.7", "grok-latest", true),
        ("grok-4", "grok-4.3", "grok-4", true),
        ("gpt-4o", "grok-4.7", "grok-4.7", true),
        ("gpt-4o-mini-2024-07-18", "grok-4.3", "grok-4.3", true),
        ("claude-sonnet-5", "grok-4.7", "grok-4.7", true),
        ("claude-haiku-5", "grok-4.3", "grok-4.3", true),
        ("claude-3-5-haiku-latest", "grok-4.3", "grok-4.3", true),
        ("dall-e-3", "grok-imagine-image", "grok-imagine-image", true),
        ("grok-9", "grok-9", "grok-9", false),
        ("", "", "", false),
    ] {
        assert_eq!(means(&catalogue, name), three(canonical, sent, known), "{name}");
    }
    assert!(catalogue.resolve("grok-4").retired && !catalogue.resolve("grok-4.3").retired);
}

#[test]
fn the_built_in_table_is_sound() {
    let table = table::built_in().unwrap();
    let catalogue = Catalogue::built_in().unwrap();
    let mut names = std::collections::HashSet::new();
    for entry in catalogue.models() {
        assert!(
            !entry.display_name.is_empty() && !entry.description.is_empty(),
            "{}",
            entry.id
        );
        for name in std::iter::once(&entry.id).chain(&entry.aliases) {
            assert!(names.insert(name.clone()), "{name} twice");
        }
        if entry.kind == ModelKind::Chat && !entry.only_responses {
            assert!(
                catalogue.estimate_cost_ticks(&entry.id, 1, 1, 0).is_some(),
                "{}",
                entry.id
            );
        }
    }
    for row in &table.retired {
        assert!(names.insert(row.id.clone()), "{} twice", row.id);
        assert!(catalogue.resolve(&row.successor).entry.is_some(), "{}", row.id);
    }
    for alias in &table.aliases {
        assert!(!names.contains(&alias.name), "{} is a model", alias.name);
        assert!(
            catalogue.models().iter().any(|entry| entry.id == alias.model),
            "{}",
            alias.name
        );
    }
}

#[test]
fn a_file_of_the_operator_changes_what_it_sets() {
    let catalogue = load(
        r#"
        [aliases]
        "fast" = "grok-4.3"
        "next" = "grok-5"
        "claude-*" = ""
        "gpt-*" = "grok-4.5"
        "grok-3" = "grok-4.7"

        [[models]]
        id = "grok-4.7"
        first_byte_timeout_secs = 5
        price_output = 7

        [[models]]
        id = "house-model"
        kind = "image"
        aliases = ["grok-latest-image"]

        [[models]]
        id = "gpt-4o"

        [[retired]]
        id = "house-old"
        successor = "house-model"
        "#,
    )
    .unwrap();
    let entry = catalogue.resolve("grok-4.7").entry.unwrap();
    assert_eq!((entry.first_byte_timeout_secs, entry.context), (Some(5), Some(500_000)));
    assert_eq!((entry.price_input, entry.price_output), (Some(2.0), Some(7.0)));
    for (name, canonical, sent, known) in [
        ("fast", "grok-4.3", "grok-4.3", true),
        ("next", "grok-5", "grok-5", false),
        ("claude-sonnet-5", "claude-sonnet-5", "claude-sonnet-5", false),
        ("claude-haiku-5", "grok-4.3", "grok-4.3", true),
        ("gpt-5", "grok-4.5", "grok-4.5", true),
        ("gpt-4o", "gpt-4o", "gpt-4o", true),
        ("grok-latest-image", "house-model", "grok-latest-image", true),
        ("house-old", "house-model", "house-old", true),
        ("grok-3", "grok-4.7", "grok-4.7", true),
    ] {
        assert_eq!(means(&catalogue, name), three(canonical, sent, known), "{name}");
    }
    assert!(
        catalogue
            .aliases()
            .contains(&("fast".to_owned(), "grok-4.3".to_owned()))
    );

    let listed = catalogue.with_listed(&[ListedModel {
        id: "grok-3".to_owned(),
        aliases: vec!["fast".to_owned()],
    }]);
    assert_eq!(
        means(&listed, "grok-3"),
        three("grok-4.7", "grok-4.7", true),
        "the operator decided"
    );
    assert_eq!(
        means(&listed, "fast"),
        three("grok-4.3", "grok-4.3", true),
        "the operator decided"
    );

    let config = XaiConfig::default();
    let own = Timeouts::of(&config, catalogue.resolve("grok-4.7").entry.map(AsRef::as_ref));
    assert_eq!((own.first_byte.as_secs(), own.answer.as_secs()), (5, 600));
    assert_eq!(Timeouts::of(&config, None).first_byte.as_secs(), 60);
}

#[test]
fn what_the_upstream_lists_beats_the_table() {
    let listed = |id: &str, aliases: &[&str]| ListedModel {
        id: id.to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    };
    let catalogue = Catalogue::built_in().unwrap().with_listed(&[
        listed("grok-4", &[]),
        listed("grok-5", &["grok-latest", "grok-4"]),
        listed("grok-4.7", &[]),
    ]);
    assert_eq!(means(&catalogue, "grok-4"), three("grok-4", "grok-4", true));
    assert!(!catalogue.resolve("grok-4").retired);
    assert_eq!(means(&catalogue, "grok-latest"), three("grok-5", "grok-latest", false));
    assert_eq!(means(&catalogue, "grok-4.7"), three("grok-4.7", "grok-4.7", true));
    assert_eq!(means(&catalogue, "grok-3"), three("grok-4.3", "grok-3", true));
}

#[test]
fn costs_follow_the_table() {
    let catalogue = Catalogue::built_in().unwrap();
    let cost = |model, input, output, cached| catalogue.estimate_cost_ticks(model, input, output, cached);
    // The recorded call of the specification: 1 uncached + 11 cached tokens in, 291 out = 1,466,250 ticks.
    assert_eq!(cost("grok-3-mini", 12, 291, 11), Some(1_466_250));
    assert_eq!(
        cost("grok-4.7", 1_000_000, 0, 0),
        Some(4 * 10_000_000_000),
        "the long price"
    );
    assert_eq!(cost("grok-4.7", 199_999, 0, 0), Some(199_999 * 20_000));
    assert_eq!(
        cost("gpt-4o", 200_000, 10, 200_000),
        Some(200_000 * 10_000 + 10 * 120_000)
    );
    assert_eq!(
        cost("grok-build-0.1", 10, 0, 10),
        Some(100_000),
        "no cached price: the full one"
    );
    assert_eq!(cost("grok-3-mini", 1, 0, 99), Some(750), "more cached than read");
    assert_eq!(cost("grok-4.7", u64::MAX, u64::MAX, 0), Some(u64::MAX));
    assert_eq!(cost("grok-9", 1, 1, 0), None);
    assert_eq!(cost("grok-imagine-image", 1, 1, 0), None);
    assert_eq!(usd_to_ticks(0.05), 500_000_000);
}

#[test]
fn buckets_and_suggestions() {
    let catalogue = Catalogue::built_in().unwrap();
    for (name, bucket) in [
        ("grok-4.7", Some(DayBucket::Chat)),
        ("grok-4.20-multi-agent", Some(DayBucket::Heavy)),
        ("grok-imagine-image", Some(DayBucket::Image)),
        ("grok-imagine-video", Some(DayBucket::Video)),
        ("grok-voice-latest", None),
    ] {
        assert_eq!(catalogue.resolve(name).entry.unwrap().bucket(), bucket, "{name}");
    }
    assert_eq!(catalogue.nearest("grok4.7"), Some("grok-4.7"));
    assert_eq!(catalogue.nearest("llama"), None);
    assert_eq!(catalogue.nearest(&"x".repeat(1 << 20)), None);
}

#[test]
fn a_bad_file_is_told_with_its_line() {
    for (text, expected) in [
        (
            "[[models]]\nid = \"a\"\nprize_input = 1",
            "models.toml:3:1: models[0].prize_input: unknown key. Did you mean price_input?",
        ),
        ("[[models]]\nprice_input = 1", "models.toml:1:1: models[0]: has no id."),
        (
            "[[models]]\nid = \"a\"\n[[models]]\nid = \"a\"",
            "models.toml:4:1: models[1].id: \"a\" stands there twice.",
        ),
        (
            "[[models]]\nid = \"a\"\ncontext = -1",
            "models.toml:3:1: models[0].context: -1 is out of range.",
        ),
        (
            "[[models]]\nid = \"a\"\nkind = \"music\"",
            "models.toml:3:1: models[0].kind: \"music\" is not one of its values. Write one of chat, image, video, voice, embedding.",
        ),
        (
            "[aliases]\n\"a\" = 1",
            "models.toml:2:1: aliases.\"a\": expected the name of a model, found integer.",
        ),
        (
            "[model]\nid = 1",
            "models.toml:1:2: model: unknown table. Did you mean models?",
        ),
        (
            "[models]\nid = 1",
            "models.toml:1:2: models: expected tables, found table. Write [[models]].",
        ),
        ("[[models]", "models.toml:1:"),
    ] {
        let error = load(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}
