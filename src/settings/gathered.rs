//! What the sources say, laid over each other: later ones win, faults add up.

use std::collections::HashMap;
use std::ops::Range;

use grok2api_schemas::config::spec::{KeySpec, Kind};
use grok2api_schemas::config::{SECTIONS, SectionSpec};
use serde_json::{Map, Value as Json};
use toml_edit::{Item, TableLike, TomlError, Value};

use super::check::{self, Fault};
use super::error::{Place, Problem};
use super::nearest::nearest;

/// Values by section and key, where each came from, and what was found wrong.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub values: Map<String, Json>,
    /// By dotted path; rows of tables have their index, as in `xai.teams[0].id`.
    pub places: HashMap<String, Place>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

impl Gathered {
    pub fn problem(&mut self, place: Place, key: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) {
        self.problems.push(Problem {
            place,
            key: key.into(),
            what: what.into(),
            mend: mend.into(),
        });
    }

    /// A text that the parser gave up on.
    pub fn not_toml(&mut self, place: Place, error: &TomlError) {
        let what = format!("this is not TOML ({})", error.message().trim_end().replace('\n', ", "));
        self.problem(place, "", what, "Mend this line; the file was left as it is.");
    }

    pub fn warn(&mut self, place: &Place, key: &str, text: &str) {
        self.warnings.push(format!("{place}: {key}: {text}"));
    }

    /// Takes a plain value that a source gives for a key.
    pub fn take(&mut self, spec: &KeySpec, value: &Value, place: Place) {
        match check::plain(spec, value) {
            Ok(kept) => self.set(spec, kept, place),
            Err(Fault { what, mend }) => self.problem(place, spec.path(), what, mend),
        }
    }

    /// Takes whatever a source gives for a key, tables included. `place_of` turns the span of a part into its place.
    pub fn take_item(&mut self, spec: &KeySpec, item: &Item, place: Place, place_of: &dyn Fn(Range<usize>) -> Place) {
        match (spec.kind, item) {
            (Kind::Tables(keys), item) => match rows_of(item) {
                Some(rows) => {
                    let path = spec.path();
                    let rows = rows
                        .into_iter()
                        .enumerate()
                        .map(|(at, (span, row))| {
                            let path = format!("{path}[{at}]");
                            self.places
                                .insert(path.clone(), span.map_or_else(|| place.clone(), place_of));
                            self.row(&path, keys, row, place_of)
                        })
                        .collect();
                    self.set(spec, Some(Json::Array(rows)), place);
                }
                None => {
                    let what = format!("expected tables, found {}", item.type_name());
                    self.problem(place, spec.path(), what, format!("Write [[{}]].", spec.path()));
                }
            },
            (_, Item::Value(value)) => self.take(spec, value, place),
            (_, item) => {
                let what = format!("expected a value, found {}", item.type_name());
                self.problem(
                    place,
                    spec.path(),
                    what,
                    format!("Write {} = … under [{}].", spec.key, spec.section),
                );
            }
        }
    }

    fn set(&mut self, spec: &KeySpec, value: Option<Json>, place: Place) {
        let section = self
            .values
            .entry(spec.section)
            .or_insert_with(|| Json::Object(Map::new()));
        if let Json::Object(section) = section {
            match value {
                Some(value) => section.insert(spec.key.to_owned(), value),
                None => section.remove(spec.key),
            };
        }
        self.places.insert(spec.path(), place);
    }

    /// One table of an array, or of a map.
    fn row(
        &mut self,
        path: &str,
        keys: &'static [KeySpec],
        table: &dyn TableLike,
        place_of: &dyn Fn(Range<usize>) -> Place,
    ) -> Json {
        let mut row = Map::new();
        for (name, item) in table.iter() {
            let key_path = format!("{path}.{name}");
            let place = place_of(key_span(table, name, item));
            let Some(spec) = keys.iter().find(|spec| spec.key == name) else {
                let names = keys.iter().map(|spec| spec.key);
                let mend = match nearest(name, names.clone()) {
                    Some(meant) => format!("Did you mean {meant}?"),
                    None => format!("Its keys are {}.", names.collect::<Vec<_>>().join(", ")),
                };
                self.problem(place, key_path, "unknown key", mend);
                continue;
            };
            match (spec.kind, item) {
                (Kind::TableMap(keys), item) => match item.as_table_like() {
                    Some(tables) => {
                        let tables = self.table_map(&key_path, keys, tables, place_of);
                        row.insert(name.to_owned(), tables);
                    }
                    None => {
                        let what = format!("expected tables, found {}", item.type_name());
                        self.problem(
                            place.clone(),
                            key_path.clone(),
                            what,
                            format!("Write [{}.\"grok-4*\"].", spec.path()),
                        );
                    }
                },
                (_, Item::Value(value)) => match check::plain(spec, value) {
                    Ok(Some(value)) => {
                        row.insert(name.to_owned(), value);
                    }
                    Ok(None) => {}
                    Err(Fault { what, mend }) => self.problem(place.clone(), key_path.clone(), what, mend),
                },
                (_, item) => {
                    let what = format!("expected a value, found {}", item.type_name());
                    self.problem(place.clone(), key_path.clone(), what, format!("Write {name} = ….",));
                }
            }
            self.places.insert(key_path, place);
        }
        Json::Object(row)
    }

    fn table_map(
        &mut self,
        path: &str,
        keys: &'static [KeySpec],
        tables: &dyn TableLike,
        place_of: &dyn Fn(Range<usize>) -> Place,
    ) -> Json {
        let mut map = Map::new();
        for (name, item) in tables.iter() {
            let table_path = format!("{path}.{name:?}");
            let place = place_of(key_span(tables, name, item));
            match item.as_table_like() {
                Some(table) if !name.is_empty() => {
                    let row = self.row(&table_path, keys, table, place_of);
                    map.insert(name.to_owned(), row);
                }
                Some(_) => self.problem(
                    place,
                    table_path,
                    "the name of a model is empty",
                    "Write a model or a pattern such as \"grok-4*\"; \"*\" is every other model.",
                ),
                None => self.problem(
                    place,
                    table_path,
                    format!("expected a table, found {}", item.type_name()),
                    format!(
                        "Put keys such as {} under it.",
                        keys.iter().map(|spec| spec.key).take(3).collect::<Vec<_>>().join(", ")
                    ),
                ),
            }
        }
        Json::Object(map)
    }

    /// An unknown `section.key`, with the name that was meant.
    pub fn unknown_key(&mut self, place: Place, section: &SectionSpec, name: &str) {
        let mend = match nearest(name, section.keys.iter().map(|spec| spec.key)) {
            Some(meant) => format!("Did you mean {meant}?"),
            None => match elsewhere(name) {
                Some(spec) => format!("It belongs under [{}].", spec.section),
                None => "Take it out; `grok2api example-config` shows every key.".to_owned(),
            },
        };
        self.problem(place, format!("{}.{name}", section.name), "unknown key", mend);
    }

    /// An unknown section, or a key that stands in none.
    pub fn unknown_section(&mut self, place: Place, name: &str) {
        let mend = match (
            nearest(name, SECTIONS.iter().map(|section| section.name)),
            elsewhere(name),
        ) {
            (Some(meant), _) => format!("Did you mean [{meant}]?"),
            (None, Some(spec)) => format!("It belongs under [{}].", spec.section),
            (None, None) => {
                let names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
                format!("The sections are {}.", names.join(", "))
            }
        };
        self.problem(place, name, "unknown section", mend);
    }
}

/// The only key of that name, in whatever section.
fn elsewhere(name: &str) -> Option<&'static KeySpec> {
    let mut found = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .filter(|spec| spec.key == name);
    found.next().filter(|_| found.next().is_none())
}

/// Where a key stands; where its value stands if the parser did not say.
pub(crate) fn key_span(table: &dyn TableLike, name: &str, item: &Item) -> Range<usize> {
    table
        .get_key_value(name)
        .and_then(|(key, _)| key.span())
        .or_else(|| item.span())
        .unwrap_or(0..0)
}

/// A table of an array, with the place of its head.
type Row<'a> = (Option<Range<usize>>, &'a dyn TableLike);

/// The tables of `[[a.b]]` or of `b = [{ … }]`.
fn rows_of(item: &Item) -> Option<Vec<Row<'_>>> {
    match item {
        Item::ArrayOfTables(tables) => {
            let rows = tables.iter().map(|table| (table.span(), table as &dyn TableLike));
            Some(rows.collect())
        }
        Item::Value(Value::Array(array)) => array
            .iter()
            .map(|value| {
                let table = value.as_inline_table()?;
                Some((table.span(), table as &dyn TableLike))
            })
            .collect(),
        _ => None,
    }
}
