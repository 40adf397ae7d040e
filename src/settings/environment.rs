//! Environment variables, and the `.env` file that fills in what they do not say.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use grok2api_schemas::config::spec::{KeySpec, Kind, env_name};
use grok2api_schemas::config::{self, Secret, dropped::dropped_key};
use toml_edit::{Item, Value};

use super::dotenv;
use super::error::Place;
use super::gathered::Gathered;
use super::nearest::nearest;

/// What every variable of a key begins with.
const PREFIX: &str = "GROK2API__";

/// Credentials to enrol at the start, with commas.
const ENROL: &str = "XAI_API_KEY";

/// The older project clamped this one instead of refusing it.
const CLAMPED: &str = "CACHE_RESET_TZ_OFFSET_MINUTES";

/// Variables of the older project that mean nothing here, with the reason.
const IGNORED: &[(&str, &str)] = &[
    ("SERVER_WORKERS", "one process uses every core"),
    ("SERVER_STORAGE_TYPE", "the store is embedded, or NATS (NATS_URL)"),
    ("SERVER_STORAGE_URL", "the store is embedded, or NATS (NATS_URL)"),
];

/// Variables by name. The process's own beat those of `.env`; empty ones count as not set.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    warnings: Vec<String>,
}

#[derive(Clone)]
struct Variable {
    value: String,
    dotenv: Option<(PathBuf, usize)>,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An environment is full of secrets that are not ours.
        write!(f, "{} bytes", self.value.len())
    }
}

impl Environment {
    /// The process's variables, filled in from `.env` in the working directory.
    pub fn of_process() -> Environment {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Environment::of(variables).filled_from(Path::new(".env"))
    }

    /// These variables and no others.
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Environment {
        let variables = pairs
            .into_iter()
            .map(|(name, value)| {
                let value = value.into();
                (name.into(), Variable { value, dotenv: None })
            })
            .collect();
        Environment {
            variables,
            warnings: Vec::new(),
        }
    }

    /// With the variables of a `.env` file that are not set yet. A file that is not there changes nothing.
    pub fn filled_from(mut self, file: &Path) -> Environment {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return self,
            Err(error) => {
                self.warnings.push(format!("{}: not read: {error}", file.display()));
                return self;
            }
        };
        let (pairs, bad_lines) = dotenv::parse(&text);
        for (name, value, line) in pairs {
            self.variables.entry(name).or_insert_with(|| Variable {
                value,
                dotenv: Some((file.to_owned(), line)),
            });
        }
        for line in bad_lines {
            self.warnings
                .push(format!("{}:{line}: not NAME=value, left out", file.display()));
        }
        self
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(|variable| variable.value.trim())
            .filter(|value| !value.is_empty())
    }

    /// `XAI_API_KEY`, split.
    pub(super) fn enrol(&self) -> Vec<Secret> {
        let list = self.get(ENROL).unwrap_or_default();
        list.split([',', '\n'])
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .map(Secret::from)
            .collect()
    }

    fn place(&self, name: &str) -> Place {
        Place::Environment {
            name: name.to_owned(),
            dotenv: self.variables.get(name).and_then(|variable| variable.dotenv.clone()),
        }
    }

    /// Lays the variables over what was gathered.
    pub(super) fn apply(&self, gathered: &mut Gathered) {
        gathered.warnings.extend(self.warnings.iter().cloned());
        for spec in config::keys() {
            let exact = spec.env_name();
            let names = [Some(exact.as_str()), spec.env];
            let mut set = names
                .into_iter()
                .flatten()
                .filter_map(|name| Some((name, self.get(name)?)));
            let Some((name, text)) = set.next() else { continue };
            if let Some((other, other_text)) = set.next()
                && other_text != text
            {
                let place = self.place(other);
                gathered.warn(&place, &spec.path(), &format!("{name} says otherwise and counts"));
            }
            self.take(spec, name, text, gathered);
        }
        for name in self.variables.keys().filter(|name| name.starts_with(PREFIX)) {
            self.check_name(name, gathered);
        }
        for (name, reason) in IGNORED {
            if self.get(name).is_some() {
                gathered
                    .warnings
                    .push(format!("{}: ignored: {reason}", self.place(name)));
            }
        }
    }

    fn take(&self, spec: &'static KeySpec, name: &str, text: &str, gathered: &mut Gathered) {
        let place = self.place(name);
        let text = match (spec.kind, text.parse::<i64>()) {
            (Kind::Int { min, max }, Ok(number)) if name == CLAMPED && !(min..=max).contains(&number) => {
                let kept = number.clamp(min, max);
                gathered.warn(
                    &place,
                    &spec.path(),
                    &format!("{number} is out of range, {kept} is used"),
                );
                kept.to_string()
            }
            _ => text.to_owned(),
        };
        match as_toml(spec.kind, &text) {
            Some(item) => {
                let whole = place.clone();
                gathered.take_item(spec, &item, place, &|_| whole.clone());
            }
            None => {
                let mend = match spec.kind {
                    Kind::Tables(_) => "Write TOML, such as [{ id = \"…\" }].",
                    _ => "Write values with commas between them, or a list in brackets.",
                };
                gathered.problem(place, spec.path(), "the list cannot be read", mend);
            }
        }
    }

    fn check_name(&self, name: &str, gathered: &mut Gathered) {
        let lower = name[PREFIX.len()..].to_lowercase();
        let path = lower.replacen("__", ".", 1);
        let exact = path.split_once('.').map(|(section, key)| env_name(section, key));
        if config::key(&path).is_some() && exact.as_deref() == Some(name) {
            return;
        }
        let place = self.place(name);
        if let Some(dropped) = dropped_key(&path) {
            gathered.warn(&place, &path, &format!("not taken over: {}", dropped.reason));
            return;
        }
        let known: Vec<String> = config::keys().map(KeySpec::env_name).collect();
        let mend = match nearest(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("Did you mean {meant}?"),
            None => "Names are GROK2API__SECTION__KEY; `grok2api example-config` shows every key.".to_owned(),
        };
        gathered.problem(place, path, "unknown key", mend);
    }
}

/// A variable's text as the file would have written it; `None` for a list or table that is no TOML.
fn as_toml(kind: Kind, text: &str) -> Option<Item> {
    let value = match kind {
        Kind::Flag => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Value::from(true),
            "false" | "0" | "no" | "off" => Value::from(false),
            _ => Value::from(text),
        },
        Kind::Int { .. } => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Number { .. } => text.parse::<f64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Text(_) | Kind::Choice(_) => Value::from(text),
        Kind::Texts(_) | Kind::Ints { .. } if !text.starts_with('[') => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let of_ints = matches!(kind, Kind::Ints { .. });
            let array = parts.map(|part| match part.parse::<i64>() {
                Ok(number) if of_ints => Value::from(number),
                _ => Value::from(part),
            });
            Value::Array(array.collect())
        }
        Kind::Texts(_) | Kind::Ints { .. } | Kind::Tables(_) | Kind::TableMap(_) => text.parse().ok()?,
    };
    Some(Item::Value(value))
}
