//! The catalogue of models: what a client's name for a model means, what the model costs, and what must be known to
//! serve it. Immutable: a change makes a new one.

mod cost;
mod table;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use cost::{TICKS_PER_USD, usd_to_ticks};
use grok2api_schemas::config::limits::{exactness, glob_matches};
use grok2api_schemas::config::{ModelEntry, XaiConfig};

use crate::settings::{SettingsError, nearest};

/// Name of the operator's file in the data directory.
pub const FILE_NAME: &str = "models.toml";

/// Models by every name they have.
#[derive(Clone, Debug)]
pub struct Catalogue {
    models: Vec<Arc<ModelEntry>>,
    names: HashMap<Box<str>, Target>,
    /// Names of clients with a `*`, the most exact first.
    patterns: Vec<(String, Target)>,
    /// Names of clients, for lists; patterns left out.
    aliases: Vec<(String, String)>,
}

/// What a name means.
#[derive(Clone, Debug)]
struct Target {
    canonical: Arc<str>,
    /// What to send instead of the name that was asked for.
    sent: Option<Arc<str>>,
    entry: Option<Arc<ModelEntry>>,
    retired: bool,
    /// The operator's own alias: nothing overrules it.
    decided: bool,
}

/// What a client's name for a model means.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// As the client wrote it.
    pub requested: &'a str,
    /// The model that counts: limits, cooling and prices are kept under this name.
    pub canonical: &'a str,
    /// What to send as `model`: an upstream's own alias is sent as it came, for only the upstream knows what it means.
    pub upstream_name: &'a str,
    /// What the table knows about it; `None` for a model that is not in it.
    pub entry: Option<&'a Arc<ModelEntry>>,
    /// The upstream retired the name and answers with another model.
    pub retired: bool,
}

/// A model as the upstream lists it.
#[derive(Clone, Debug)]
pub struct ListedModel {
    /// Its id.
    pub id: String,
    /// Its other names.
    pub aliases: Vec<String>,
}

/// How long to wait for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Streamed: silence before the first event.
    pub first_byte: Duration,
    /// Not streamed: silence before the answer.
    pub answer: Duration,
    /// Silence between two pieces.
    pub idle: Duration,
    /// The whole call.
    pub request: Duration,
}

impl Catalogue {
    /// The built-in table with `<data_dir>/models.toml` laid over it. The error names file, line and mend.
    pub fn load(data_dir: &Path) -> Result<Catalogue, SettingsError> {
        table::read(&data_dir.join(FILE_NAME)).map(Catalogue::of)
    }

    /// The built-in table.
    pub fn built_in() -> Result<Catalogue, SettingsError> {
        table::built_in().map(Catalogue::of)
    }

    /// Where names collide: an alias that the operator wrote beats a model's id, that beats another model's alias, that
    /// beats a retired name, that beats a built-in alias of clients.
    fn of(table: table::Table) -> Catalogue {
        let models: Vec<Arc<ModelEntry>> = table.models.into_iter().map(Arc::new).collect();
        let mut catalogue = Catalogue {
            names: HashMap::new(),
            patterns: Vec::new(),
            aliases: Vec::new(),
            models,
        };
        for entry in catalogue.models.clone() {
            catalogue.name(&entry.id, Target::of(&entry));
        }
        for entry in catalogue.models.clone() {
            for alias in &entry.aliases {
                catalogue.name(alias, Target::of(&entry));
            }
        }
        for row in table.retired {
            let target = catalogue.target(&row.successor).retired();
            catalogue.name(&row.id, target);
        }
        // Aliases mean models, never each other, so that their order does not matter.
        let aliases = table.aliases.into_iter().filter(|alias| !alias.model.is_empty());
        let aliases: Vec<_> = aliases
            .map(|alias| (catalogue.target(&alias.model).of_alias(&alias), alias))
            .collect();
        for (target, alias) in aliases {
            if alias.name.contains('*') {
                catalogue.patterns.push((alias.name, target));
            } else if alias.decided {
                catalogue.names.insert(alias.name.as_str().into(), target);
                catalogue.aliases.push((alias.name, alias.model));
            } else if catalogue.name(&alias.name, target) {
                catalogue.aliases.push((alias.name, alias.model));
            }
        }
        let key = |(name, _): &(String, Target)| std::cmp::Reverse((exactness(name), name.len()));
        catalogue.patterns.sort_by_key(key);
        catalogue
    }

    /// Takes a name that is still free; answers whether it was.
    fn name(&mut self, name: &str, target: Target) -> bool {
        let free = !self.names.contains_key(name);
        if free {
            self.names.insert(name.into(), target);
        }
        free
    }

    /// What `name` means, aliases of clients left out of the chain.
    fn target(&self, name: &str) -> Target {
        self.names.get(name).cloned().unwrap_or_else(|| Target {
            canonical: name.into(),
            sent: None,
            entry: None,
            retired: false,
            decided: false,
        })
    }

    fn is_decided(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|target| target.decided)
    }

    /// What the upstream lists counts more than any table: a listed id is a model of its own even where the table calls
    /// it an alias or retired, and a listed alias is the model that lists it. Only the operator's own aliases stay.
    pub fn with_listed(&self, listed: &[ListedModel]) -> Catalogue {
        let mut catalogue = self.clone();
        for model in listed {
            let target = Target {
                canonical: model.id.as_str().into(),
                sent: None,
                entry: self.target(&model.id).entry,
                retired: false,
                decided: false,
            };
            let is_free = |name: &str| !self.is_decided(name) && !listed.iter().any(|other| other.id == name);
            for alias in model.aliases.iter().filter(|alias| is_free(alias)) {
                catalogue.names.insert(alias.as_str().into(), target.clone());
            }
            if !self.is_decided(&model.id) {
                catalogue.names.insert(model.id.as_str().into(), target);
            }
        }
        catalogue
    }

    /// What a client's name means; a name that is not known means itself.
    pub fn resolve<'a>(&'a self, name: &'a str) -> Resolved<'a> {
        let target = self.names.get(name).or_else(|| {
            let pattern = self.patterns.iter().find(|(pattern, _)| glob_matches(pattern, name));
            pattern.map(|(_, target)| target)
        });
        match target {
            Some(target) => Resolved {
                requested: name,
                canonical: &target.canonical,
                upstream_name: target.sent.as_deref().unwrap_or(name),
                entry: target.entry.as_ref(),
                retired: target.retired,
            },
            None => Resolved {
                requested: name,
                canonical: name,
                upstream_name: name,
                entry: None,
                retired: false,
            },
        }
    }

    /// The known name that a mistyped one was meant to be.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names.keys().map(AsRef::as_ref))
    }

    /// Every model of the table, in its order.
    pub fn models(&self) -> &[Arc<ModelEntry>] {
        &self.models
    }

    /// Exact names of clients, each with the model that answers it.
    pub fn aliases(&self) -> &[(String, String)] {
        &self.aliases
    }

    /// Ticks (10⁻¹⁰ USD) that a call is expected to cost; `cached` of `input_tokens` come from the cache, and
    /// `output_tokens` includes thinking. `None` where no price is known.
    pub fn estimate_cost_ticks(&self, model: &str, input_tokens: u64, output_tokens: u64, cached: u64) -> Option<u64> {
        cost::of_tokens(self.resolve(model).entry?, input_tokens, output_tokens, cached)
    }
}

impl Target {
    fn of(entry: &Arc<ModelEntry>) -> Target {
        Target {
            canonical: entry.id.as_str().into(),
            sent: None,
            entry: Some(entry.clone()),
            retired: false,
            decided: false,
        }
    }

    /// The target of an alias of clients: the upstream does not know that name, so the model's is sent.
    fn of_alias(self, alias: &table::Alias) -> Target {
        Target {
            sent: Some(alias.model.as_str().into()),
            decided: alias.decided,
            ..self
        }
    }

    fn retired(self) -> Target {
        Target { retired: true, ..self }
    }
}

impl Timeouts {
    /// The model's own, else the configured ones.
    pub fn of(config: &XaiConfig, entry: Option<&ModelEntry>) -> Timeouts {
        let pick = |own: fn(&ModelEntry) -> Option<u64>, configured: u64| {
            Duration::from_secs(entry.and_then(own).unwrap_or(configured))
        };
        Timeouts {
            first_byte: pick(|entry| entry.first_byte_timeout_secs, config.first_byte_timeout_secs),
            answer: pick(|entry| entry.answer_timeout_secs, config.answer_timeout_secs),
            idle: pick(|entry| entry.idle_timeout_secs, config.idle_timeout_secs),
            request: pick(|entry| entry.request_timeout_secs, config.request_timeout_secs),
        }
    }
}

#[cfg(test)]
mod tests;
