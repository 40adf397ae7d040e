//! Looking at the configuration, and changing it while the node runs.

use grok2api_schemas::admin::audit::AuditChange;
use grok2api_schemas::admin::config::{
    ConfigChange, ConfigFieldView, ConfigKeyView, ConfigSaved, ConfigSectionView, ConfigSource, ConfigView,
};
use grok2api_schemas::config::spec::{KeySpec, Kind};
use grok2api_schemas::config::{self, dropped::dropped_key};
use serde_json::{Map, Value, json};

use super::accounts::Accounts;
use super::audit::{Actor, in_words};
use super::unavailable;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::settings::live::{EditError, LiveConfig, State};
use crate::settings::{Place, SettingsError};

/// Operations on the configuration.
#[derive(Clone)]
pub struct ConfigOps {
    live: LiveConfig,
    accounts: Accounts,
}

impl ConfigOps {
    /// Operations on this configuration; `accounts` follow `app.admin_username` and `app.app_key`.
    pub fn new(live: LiveConfig, accounts: Accounts) -> ConfigOps {
        ConfigOps { live, accounts }
    }

    /// Every key with its value, default and source; secrets masked.
    pub fn get(&self) -> ConfigView {
        let state = self.live.state();
        let values = values_of(&state);
        let pending = self.live.pending();
        ConfigView {
            revision: state.revision.clone(),
            shared: self.live.is_shared(),
            sections: config::SECTIONS
                .iter()
                .map(|section| ConfigSectionView {
                    name: section.name.to_owned(),
                    doc: section.doc.trim().to_owned(),
                })
                .collect(),
            keys: config::keys()
                .map(|spec| key_view(spec, &state, &values, &pending))
                .collect(),
            problem: state.problem.clone(),
            warnings: state.warnings.clone(),
        }
    }

    /// The values alone, section → key → value, as the older project answered them; secrets masked.
    pub fn sections(&self) -> (Map<String, Value>, String) {
        let state = self.live.state();
        (values_of(&state), state.revision.clone())
    }

    /// Changes keys: all of them, or none.
    ///
    /// # Errors
    /// `InvalidField` with every fault, `Conflict` with the revision that stands now, the store's.
    pub async fn set(&self, actor: &Actor, change: ConfigChange) -> Result<ConfigSaved, GatewayError> {
        let mut not_taken = Vec::new();
        let mut changes: Vec<(&str, Value)> = Vec::new();
        for (path, value) in &change.values {
            match dropped_key(path) {
                Some(dropped) if config::key(path).is_none() => {
                    not_taken.push(format!("{path}: not taken over: {}", dropped.reason));
                }
                _ => changes.push((path, value.clone())),
            }
        }
        let named: Vec<&str> = changes.iter().map(|(path, _)| *path).collect();
        let before = values_of(&self.live.state());
        let edited = self
            .live
            .edit(&actor.username, change.revision.as_deref(), &changes)
            .await
            .map_err(|error| refused(&error))?;
        let state = self.live.state();
        let after = values_of(&state);
        let changes = named.iter().map(|path| AuditChange {
            field: (*path).to_owned(),
            before: shown(&before, path),
            after: shown(&after, path),
        });
        actor.changed("config.set", &named, "", changes.collect());
        // Here and not on every node that follows: one account record is enough for all.
        if edited
            .iter()
            .any(|path| path == "app.app_key" || path == "app.admin_username")
        {
            let app = &state.config.app;
            self.accounts
                .set_administrator(&app.admin_username, app.app_key.expose())
                .await?;
        }
        let overruled = named
            .iter()
            .filter(|path| {
                matches!(
                    state.places.get(**path),
                    Some(Place::Environment { .. } | Place::Flag(_))
                )
            })
            .map(|path| (*path).to_owned())
            .collect();
        let pending = self.live.pending();
        not_taken.extend(state.warnings.iter().cloned());
        Ok(ConfigSaved {
            status: "success".to_owned(),
            message: if pending.is_empty() {
                "The configuration is saved and in force.".to_owned()
            } else {
                format!(
                    "The configuration is saved. A restart is needed for {}.",
                    pending.join(", ")
                )
            },
            revision: state.revision.clone(),
            changed: edited,
            pending,
            overruled,
            warnings: not_taken,
        })
    }
}

fn refused(error: &EditError) -> GatewayError {
    match error {
        EditError::Refused(error) => invalid(error),
        EditError::Conflict { current } => GatewayError::new(
            ErrorKind::Conflict,
            format!(
                "Somebody else changed the configuration in between; its revision is now {current}. Look at it again, then \
                 repeat what is still needed."
            ),
        )
        .with_code("config_conflict"),
        EditError::Bus(error) => unavailable(error),
    }
}

fn invalid(error: &SettingsError) -> GatewayError {
    let key = error
        .problems
        .first()
        .map(|problem| problem.key.clone())
        .unwrap_or_default();
    GatewayError::field(key, error.to_string()).with_code("invalid_config")
}

/// A key's value in words; secrets are masked in what is given.
fn shown(values: &Map<String, Value>, path: &str) -> String {
    let found = path
        .split_once('.')
        .and_then(|(section, key)| values.get(section)?.get(key));
    found.map(in_words).unwrap_or_default()
}

fn values_of(state: &State) -> Map<String, Value> {
    match serde_json::to_value(&*state.config) {
        Ok(Value::Object(sections)) => sections,
        _ => Map::new(),
    }
}

fn key_view(spec: &KeySpec, state: &State, values: &Map<String, Value>, pending: &[String]) -> ConfigKeyView {
    let path = spec.path();
    let place = state.places.get(&path);
    let choices = match spec.kind {
        Kind::Choice(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        _ => Vec::new(),
    };
    let (min, max) = ends(spec.kind);
    ConfigKeyView {
        value: values
            .get(spec.section)
            .and_then(|keys| keys.get(spec.key))
            .cloned()
            .unwrap_or_default(),
        // Defaults are written so that TOML and JSON read them alike.
        default: spec
            .default
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(json!(null)),
        source: match place {
            None => ConfigSource::Default,
            Some(Place::File { .. } | Place::WholeFile(_)) => ConfigSource::File,
            Some(Place::Cluster) => ConfigSource::Cluster,
            Some(Place::Environment { .. }) => ConfigSource::Environment,
            Some(Place::Flag(_)) => ConfigSource::Flag,
        },
        place: place.map(ToString::to_string).unwrap_or_default(),
        doc: spec.doc.trim().to_owned(),
        kind: name_of(spec.kind).to_owned(),
        fields: fields(spec.kind),
        choices,
        min,
        max,
        restart: spec.restart,
        per_node: spec.local,
        secret: spec.secret,
        pending: pending.contains(&path),
        key: path,
    }
}

/// The keys of the rows, and of the rows in those.
fn fields(kind: Kind) -> Vec<ConfigFieldView> {
    let (Kind::Tables(rows) | Kind::TableMap(rows)) = kind else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for spec in rows {
        let (min, max) = ends(spec.kind);
        found.push(ConfigFieldView {
            key: spec.path(),
            doc: spec.doc.trim().to_owned(),
            kind: name_of(spec.kind).to_owned(),
            min,
            max,
        });
        found.extend(fields(spec.kind));
    }
    found
}

/// Smallest and largest, of numbers.
fn ends(kind: Kind) -> (Option<f64>, Option<f64>) {
    match kind {
        Kind::Int { min, max } | Kind::Ints { min, max } => (Some(min as f64), Some(max as f64)),
        Kind::Number { min, max } => (Some(min), Some(max)),
        _ => (None, None),
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "flag",
        Kind::Text(_) => "text",
        Kind::Choice(_) => "choice",
        Kind::Int { .. } => "int",
        Kind::Number { .. } => "number",
        Kind::Texts(_) => "texts",
        Kind::Ints { .. } => "ints",
        Kind::Tables(_) => "tables",
        Kind::TableMap(_) => "table_map",
    }
}
