//! The configuration file: text to values, with the older project's habits seen through.

use std::ops::Range;
use std::path::Path;

use grok2api_schemas::config::dropped::{DROPPED, DroppedKey, dropped_key};
use grok2api_schemas::config::{self, CONFIG_VERSION};
use toml_edit::{Document, Item, TableLike};

use super::error::Place;
use super::gathered::{Gathered, key_span};

/// Reads `text` into `gathered`. A file that is no TOML is one problem.
pub(super) fn read(path: &Path, text: &str, gathered: &mut Gathered) {
    let place_of = |span: Range<usize>| Place::in_text(path, text, span.start);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            gathered.not_toml(Place::of_span(path, text, error.span()), &error);
            return;
        }
    };
    let root = document.as_table();
    let older = is_older(root);
    for (name, item) in root.iter() {
        let place = place_of(key_span(root, name, item));
        if name == "config_version" {
            version(item, place, gathered);
            continue;
        }
        let section = config::section(name);
        if section.is_none() && !DROPPED.iter().any(|key| in_section(key, name)) {
            gathered.unknown_section(place, name);
            continue;
        }
        let Some(table) = item.as_table_like() else {
            let what = format!("expected a section, found {}", item.type_name());
            gathered.problem(
                place,
                name,
                what,
                format!("Write [{name}] on a line of its own, its keys below."),
            );
            continue;
        };
        for (key, item) in table.iter() {
            let place = place_of(key_span(table, key, item));
            let key_path = format!("{name}.{key}");
            if let Some(dropped) = dropped_key(&key_path) {
                gathered.warn(&place, &key_path, &format!("not taken over: {}", dropped.reason));
            } else if older && is_older_default(&key_path, item) {
                gathered.warn(&place, &key_path, older_default_note(&key_path));
            } else if let Some(spec) = config::key(&key_path) {
                gathered.take_item(spec, item, place, &place_of);
            } else if let Some(section) = section {
                gathered.unknown_key(place, section, key);
            } else {
                gathered.unknown_section(place, &key_path);
            }
        }
    }
}

fn in_section(key: &DroppedKey, section: &str) -> bool {
    key.path.split_once('.').is_some_and(|(name, _)| name == section)
}

fn version(item: &Item, place: Place, gathered: &mut Gathered) {
    match item.as_integer() {
        Some(CONFIG_VERSION) => {}
        Some(newer) if newer > CONFIG_VERSION => gathered.problem(
            place,
            "config_version",
            format!("{newer} is of a newer grok2api than this one, which knows {CONFIG_VERSION}"),
            "Run that version, or start from `grok2api example-config`.",
        ),
        _ => gathered.problem(
            place,
            "config_version",
            format!("expected the number {CONFIG_VERSION}"),
            format!("Write config_version = {CONFIG_VERSION}."),
        ),
    }
}

/// Whether a file was written by the older project. That one writes every default into its file, those of features that
/// do not exist here among them; this one marks its files with `config_version`. So: no mark, and a key of such a feature.
pub(super) fn is_older(root: &dyn TableLike) -> bool {
    !root.contains_key("config_version")
        && DROPPED.iter().any(|dropped| {
            dropped.path.split_once('.').is_some_and(|(section, key)| {
                root.get(section)
                    .and_then(Item::as_table_like)
                    .is_some_and(|table| table.contains_key(key))
            })
        })
}

/// Defaults that the older project wrote into its files and that are no decision of the operator: `stream` breaks
/// OpenAI's SDKs, and these passwords were the same everywhere.
pub(super) fn is_older_default(path: &str, item: &Item) -> bool {
    match path {
        "grok.stream" => item.as_bool() == Some(true),
        "app.app_key" => matches!(item.as_str(), Some("admin" | "grok2api")),
        _ => false,
    }
}

/// The paths that [`is_older_default`] knows.
pub(super) const OLDER_DEFAULTS: &[&str] = &["grok.stream", "app.app_key"];

fn older_default_note(path: &str) -> &'static str {
    match path {
        "grok.stream" => {
            "true was the older project's default and is not taken over, for OpenAI's SDKs leave \"stream\" out and expect \
             no stream. If you want it, put config_version = 1 at the top of the file"
        }
        _ => "the older project's default password is not taken over. Set one of your own, or use the generated one",
    }
}
