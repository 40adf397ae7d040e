//! Changing single keys of the file. Whatever else stands in it, comments first of all, stays byte for byte.

use std::ops::Range;
use std::path::Path;

use grok2api_schemas::config::spec::KeySpec;
use grok2api_schemas::config::{self, CONFIG_VERSION, Secret, dropped::dropped_key};
use serde_json::Value as Json;
use toml_edit::{ArrayOfTables, Document, DocumentMut, Item, Table, TableLike, Value};

use super::error::{Place, SettingsError};
use super::gathered::Gathered;
use super::{cannot_write, file, finish, read_file, write};

/// Sets keys of `file` (`section.key` → value, null for the default; [`Secret::MASK`] leaves a secret as it is) and
/// answers the warnings of the new file. Where a value or the result is wrong, nothing is written. Keys that the
/// environment or a flag sets go on being overruled by it.
pub fn edit(path: &Path, changes: &[(&str, Json)]) -> Result<Vec<String>, SettingsError> {
    let text = read_file(path)?.unwrap_or_else(config::example::example_file);
    let (text, warnings) = edited(path, text, changes)?;
    write::replace(path, &text).map_err(|error| cannot_write(path, &error))?;
    Ok(warnings)
}

/// The text of [`edit`], which nobody wrote yet, and its warnings.
pub(super) fn edited(
    path: &Path,
    mut text: String,
    changes: &[(&str, Json)],
) -> Result<(String, Vec<String>), SettingsError> {
    // A broken file is not to be edited by a guess.
    verify(path, &text)?;
    if parse(path, &text, |root| file::is_older(root))? {
        text = adopt(path, text)?;
    }
    let mut refused = Gathered::default();
    for (key, value) in changes {
        let place = || Place::WholeFile(path.to_owned());
        match config::key(key) {
            Some(spec) if spec.secret && value.as_str() == Some(Secret::MASK) => {}
            Some(spec) => match to_item(value) {
                Some(item) => text = set(path, &text, spec, item)?,
                None if value.is_null() => text = unset(path, &text, spec)?,
                None => refused.problem(place(), *key, "null inside a list or table", "Leave it out."),
            },
            None => {
                let reason = dropped_key(key).map_or("unknown key", |dropped| dropped.reason);
                refused.problem(place(), *key, reason, "Leave it out.");
            }
        }
    }
    if !refused.problems.is_empty() {
        return Err(SettingsError {
            problems: refused.problems,
        });
    }
    let warnings = verify(path, &text)?;
    Ok((text, warnings))
}

/// The warnings of a text that is a sound configuration by itself.
fn verify(path: &Path, text: &str) -> Result<Vec<String>, SettingsError> {
    let mut gathered = Gathered::default();
    file::read(path, text, &mut gathered);
    finish(gathered, path).map(|(_, warnings)| warnings)
}

/// Makes an older project's file one of ours: defaults that were not taken over become comments, and the mark is set, so
/// that what is written from now on counts as decided.
fn adopt(path: &Path, mut text: String) -> Result<String, SettingsError> {
    for older in file::OLDER_DEFAULTS {
        let Some(spec) = config::key(older) else { continue };
        let is_default = parse(path, &text, |root| {
            lookup(root, spec).is_some_and(|(_, item)| file::is_older_default(older, item))
        })?;
        if is_default {
            text = unset(path, &text, spec)?;
        }
    }
    Ok(format!("config_version = {CONFIG_VERSION}\n{text}"))
}

fn set(path: &Path, text: &str, spec: &KeySpec, item: Item) -> Result<String, SettingsError> {
    if let Item::Value(value) = &item {
        let written = value.to_string();
        let live = parse(path, text, |root| lookup(root, spec).map(|(_, item)| item.span()))?;
        let edited = match live {
            Some(Some(span)) => Some(splice(text, span, written.trim())),
            Some(None) => None,
            None => insert_line(text, spec, written.trim()),
        };
        if let Some(edited) = edited
            && holds(&edited, spec, written.trim())
        {
            return Ok(edited);
        }
    }
    with_document(path, text, |document| {
        let section = document
            .entry(spec.section)
            .or_insert_with(|| Item::Table(Table::new()));
        if let Some(table) = section.as_table_like_mut() {
            table.insert(spec.key, item);
        }
    })
}

fn unset(path: &Path, text: &str, spec: &KeySpec) -> Result<String, SettingsError> {
    let live = parse(path, text, |root| {
        lookup(root, spec).map(|(key, item)| (key, item.span(), matches!(item, Item::Value(_))))
    })?;
    let Some((key, value, is_value)) = live else {
        return Ok(text.to_owned());
    };
    if let (Some(key), Some(value), true, Some(default)) = (key, value, is_value, spec.default) {
        let line_start = text[..key.start].rfind('\n').map_or(0, |newline| newline + 1);
        if text[line_start..key.start].trim().is_empty() && !text[key.start..value.end].contains('\n') {
            return Ok(splice(
                text,
                key.start..value.end,
                &format!("# {} = {default}", spec.key),
            ));
        }
    }
    with_document(path, text, |document| {
        if let Some(table) = document.get_mut(spec.section).and_then(Item::as_table_like_mut) {
            table.remove(spec.key);
        }
    })
}

/// `key = value` in place of the key's commented default, else right below the section's head, else in a new section.
/// Nothing where the section is not written with a head of its own.
fn insert_line(text: &str, spec: &KeySpec, value: &str) -> Option<String> {
    let line = format!("{} = {value}", spec.key);
    let head = format!("[{}]", spec.section);
    let mut at = 0;
    let mut below_head = None;
    for row in text.split_inclusive('\n') {
        let bare = row.trim();
        let start = at;
        at += row.len();
        if bare == head
            || bare
                .strip_prefix(&head)
                .is_some_and(|rest| rest.trim_start().starts_with('#'))
        {
            below_head = Some(at);
        } else if below_head.is_some() && bare.starts_with('[') {
            break;
        } else if below_head.is_some() && is_commented(bare, spec.key) {
            let end = start + row.trim_end_matches(['\r', '\n']).len();
            return Some(splice(text, start..end, &line));
        }
    }
    let has_section = text.parse::<DocumentMut>().ok()?.contains_key(spec.section);
    match below_head {
        Some(below) => {
            let newline = if text[..below].ends_with('\n') { "" } else { "\n" };
            Some(splice(text, below..below, &format!("{newline}{line}\n")))
        }
        None if has_section => None,
        None => {
            let newline = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            Some(format!("{text}{newline}\n{head}\n{line}\n"))
        }
    }
}

/// Whether a line is `# key = …`.
fn is_commented(line: &str, key: &str) -> bool {
    line.strip_prefix('#')
        .and_then(|rest| rest.trim_start().strip_prefix(key))
        .is_some_and(|rest| rest.trim_start().starts_with('='))
}

fn splice(text: &str, span: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..span.start], &text[span.end..])
}

/// Whether `text` is TOML in which the key has this value.
fn holds(text: &str, spec: &KeySpec, value: &str) -> bool {
    let Ok(document) = text.parse::<DocumentMut>() else {
        return false;
    };
    let item = lookup(document.as_table(), spec).and_then(|(_, item)| item.as_value().cloned());
    item.is_some_and(|mut given| {
        given.decor_mut().clear();
        given.to_string() == value
    })
}

/// Span of the key and the item of a key that the file sets.
fn lookup<'a>(root: &'a dyn TableLike, spec: &KeySpec) -> Option<(Option<Range<usize>>, &'a Item)> {
    let table = root.get(spec.section)?.as_table_like()?;
    let (key, item) = table.get_key_value(spec.key)?;
    Some((key.span(), item))
}

fn parse<R>(path: &Path, text: &str, read: impl FnOnce(&dyn TableLike) -> R) -> Result<R, SettingsError> {
    match Document::parse(text) {
        Ok(document) => Ok(read(document.as_table())),
        Err(error) => Err(SettingsError::of_file(
            path,
            error.message(),
            "Mend the file; it was left as it is.",
        )),
    }
}

fn with_document(path: &Path, text: &str, change: impl FnOnce(&mut DocumentMut)) -> Result<String, SettingsError> {
    let mut document = match text.parse::<DocumentMut>() {
        Ok(document) => document,
        Err(error) => {
            return Err(SettingsError::of_file(
                path,
                error.message(),
                "Mend the file; it was left as it is.",
            ));
        }
    };
    change(&mut document);
    Ok(document.to_string())
}

/// JSON as TOML: objects inside arrays become arrays of tables. `None` where there is a null.
pub(super) fn to_item(value: &Json) -> Option<Item> {
    if let Json::Array(rows) = value
        && !rows.is_empty()
        && rows.iter().all(Json::is_object)
    {
        let tables = rows.iter().map(to_table).collect::<Option<Vec<_>>>()?;
        let mut array = ArrayOfTables::new();
        tables.into_iter().for_each(|table| array.push(table));
        return Some(Item::ArrayOfTables(array));
    }
    to_value(value).map(Item::Value)
}

fn to_table(value: &Json) -> Option<Table> {
    let mut table = Table::new();
    for (key, value) in value.as_object()? {
        // What a view shows as null is simply not set.
        let item = match value {
            Json::Null => continue,
            Json::Object(_) => {
                let mut inner = to_table(value)?;
                inner.set_implicit(inner.iter().all(|(_, item)| item.is_table()) && !inner.is_empty());
                Item::Table(inner)
            }
            other => Item::Value(to_value(other)?),
        };
        table.insert(key, item);
    }
    Some(table)
}

fn to_value(value: &Json) -> Option<Value> {
    Some(match value {
        Json::Null | Json::Object(_) => return None,
        Json::Bool(flag) => Value::from(*flag),
        Json::String(text) => Value::from(text.as_str()),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::from(whole),
            None => Value::from(number.as_f64()?),
        },
        Json::Array(items) => Value::Array(items.iter().map(to_value).collect::<Option<_>>()?),
    })
}
