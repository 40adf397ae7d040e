//! `models.toml`: the compiled-in table, and the operator's laid over it.

use std::ops::Range;
use std::path::Path;

use grok2api_schemas::config::models::{ModelEntry, ModelTable, RetiredModel};
use serde_json::{Map, Value as Json};
use toml_edit::{Document, Item};

use crate::settings::gathered::{Gathered, key_span};
use crate::settings::{Place, SettingsError, nearest};

/// What is compiled in.
const BUILT_IN: &str = include_str!("../../data/models.toml");

/// Where the compiled-in table is said to be wrong, which a test rules out.
const BUILT_IN_PATH: &str = "data/models.toml (built in)";

/// A table as read.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub models: Vec<ModelEntry>,
    pub retired: Vec<RetiredModel>,
    /// Names of clients and what answers them.
    pub aliases: Vec<Alias>,
}

/// A name of clients.
#[derive(Debug)]
pub(super) struct Alias {
    pub name: String,
    /// The model that answers; empty for an alias that is taken away.
    pub model: String,
    /// The operator wrote it.
    pub decided: bool,
}

/// The rows as they stand in a file, keys that are not set left out.
#[derive(Default)]
struct Rows {
    models: Vec<Map<String, Json>>,
    retired: Vec<Map<String, Json>>,
    aliases: Vec<Alias>,
}

/// The built-in table, with the file's laid over it.
pub(super) fn read(file: &Path) -> Result<Table, SettingsError> {
    let mut rows = rows(Path::new(BUILT_IN_PATH), BUILT_IN)?;
    if let Some(text) = crate::settings::read_file(file)? {
        lay_over(&mut rows, self::rows(file, &text)?);
    }
    typed(file, rows)
}

/// The built-in table alone.
pub(super) fn built_in() -> Result<Table, SettingsError> {
    let path = Path::new(BUILT_IN_PATH);
    typed(path, rows(path, BUILT_IN)?)
}

fn typed(file: &Path, rows: Rows) -> Result<Table, SettingsError> {
    // Every value was checked against the table that the types come from.
    let fault = |error: serde_json::Error| {
        let what = format!("a value does not fit its type ({error})");
        SettingsError::of_file(
            file,
            what,
            "This is a fault of grok2api: please report it with the file.",
        )
    };
    let of = |rows: Vec<Map<String, Json>>| rows.into_iter().map(Json::Object).collect();
    Ok(Table {
        models: serde_json::from_value(Json::Array(of(rows.models))).map_err(fault)?,
        retired: serde_json::from_value(Json::Array(of(rows.retired))).map_err(fault)?,
        aliases: rows.aliases,
    })
}

fn rows(path: &Path, text: &str) -> Result<Rows, SettingsError> {
    let place_of = |span: Range<usize>| Place::in_text(path, text, span.start);
    let mut gathered = Gathered::default();
    let mut aliases = Vec::new();
    match Document::parse(text) {
        Err(error) => gathered.not_toml(Place::of_span(path, text, error.span()), &error),
        Ok(document) => {
            let root = document.as_table();
            for (name, item) in root.iter() {
                let place = place_of(key_span(root, name, item));
                if name == "aliases" {
                    aliases = read_aliases(item, place, &place_of, &mut gathered);
                } else if let Some(spec) = ModelTable::KEYS.iter().find(|spec| spec.key == name) {
                    gathered.take_item(spec, item, place, &place_of);
                } else {
                    let known = ["aliases", "models", "retired"];
                    let mend = match nearest(name, known) {
                        Some(meant) => format!("Did you mean {meant}?"),
                        None => "Write [aliases], [[models]] or [[retired]].".to_owned(),
                    };
                    gathered.problem(place, name, "unknown table", mend);
                }
            }
        }
    }
    let [models, retired] = ["models", "retired"].map(|name| named_rows(path, name, &mut gathered));
    if gathered.problems.is_empty() {
        Ok(Rows {
            models,
            retired,
            aliases,
        })
    } else {
        Err(SettingsError {
            problems: gathered.problems,
        })
    }
}

fn read_aliases(
    item: &Item,
    place: Place,
    place_of: &dyn Fn(Range<usize>) -> Place,
    gathered: &mut Gathered,
) -> Vec<Alias> {
    let Some(table) = item.as_table_like() else {
        let what = format!("expected a table, found {}", item.type_name());
        gathered.problem(
            place,
            "aliases",
            what,
            "Write [aliases], below it \"name\" = \"model\".",
        );
        return Vec::new();
    };
    let mut aliases = Vec::new();
    for (name, item) in table.iter() {
        match item.as_str() {
            Some(model) if !name.is_empty() => aliases.push(Alias {
                name: name.to_owned(),
                model: model.to_owned(),
                decided: false,
            }),
            _ => gathered.problem(
                place_of(key_span(table, name, item)),
                format!("aliases.{name:?}"),
                format!("expected the name of a model, found {}", item.type_name()),
                "Write \"name\" = \"model\"; an empty model takes a built-in alias away.",
            ),
        }
    }
    aliases
}

/// The rows of an array of tables, each with an id of its own.
fn named_rows(file: &Path, name: &str, gathered: &mut Gathered) -> Vec<Map<String, Json>> {
    let given = gathered
        .values
        .get_mut("")
        .and_then(|top| top.get_mut(name))
        .map(Json::take);
    let Some(Json::Array(rows)) = given else {
        return Vec::new();
    };
    let mut named: Vec<Map<String, Json>> = Vec::new();
    let place_of = |gathered: &Gathered, path: &str| {
        let given = gathered.places.get(path).cloned();
        given.unwrap_or_else(|| Place::WholeFile(file.to_owned()))
    };
    for (at, row) in rows.into_iter().enumerate() {
        let Json::Object(row) = row else { continue };
        let path = format!("{name}[{at}]");
        let Some(id) = row.get("id").and_then(Json::as_str) else {
            let place = place_of(gathered, &path);
            gathered.problem(
                place,
                path,
                "has no id",
                "Write id = \"…\", the upstream's name for the model.",
            );
            continue;
        };
        if named.iter().any(|other| other["id"] == id) {
            let place = place_of(gathered, &format!("{path}.id"));
            let what = format!("{id:?} stands there twice");
            gathered.problem(
                place,
                format!("{path}.id"),
                what,
                "Put everything about it into one table.",
            );
        }
        named.push(row);
    }
    named
}

/// Keys that `over` sets replace those of `base`; rows and aliases that `base` does not have are added.
fn lay_over(base: &mut Rows, over: Rows) {
    for (base, over) in [(&mut base.models, over.models), (&mut base.retired, over.retired)] {
        for row in over {
            match base.iter_mut().find(|known| known["id"] == row["id"]) {
                Some(known) => known.extend(row),
                None => base.push(row),
            }
        }
    }
    for alias in over.aliases {
        // In a checkout the file laid over is the built-in one: what it repeats is no decision.
        let is_known = |known: &Alias| known.name == alias.name && known.model == alias.model;
        if base.aliases.iter().any(is_known) {
            continue;
        }
        base.aliases.retain(|known| known.name != alias.name);
        base.aliases.push(Alias { decided: true, ..alias });
    }
}
