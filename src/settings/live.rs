//! The configuration of a running node. Alone its truth is the file; in a cluster it is a record on the bus that all nodes
//! follow, seeded by the first node's file. An edit is checked as a whole before anything is written, and a state that is
//! wrong is never put into force.

mod shared;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use grok2api_actors::bus::BusError;
use grok2api_schemas::config::spec::KeySpec;
use grok2api_schemas::config::{self, Config, Secret};
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::compose::{Composed, Values, compose};
use super::error::{Place, Problem, SettingsError};
use super::{LoadArgs, cannot_write, edit, read_file, write};
use shared::Shared;
pub use shared::SharedOptions;

/// What a change of the configuration sets off: called with the values before and after.
pub type OnChange = Box<dyn Fn(&Config, &Config) + Send + Sync>;

/// Laid over all sources.
pub type Patch = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// Why an edit was not made.
#[derive(Debug)]
pub enum EditError {
    /// A value, or the whole, is wrong: nothing was written.
    Refused(SettingsError),
    /// Somebody else edited in between.
    Conflict {
        /// The revision that stands now.
        current: String,
    },
    /// The bus did not confirm it.
    Bus(BusError),
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EditError::Refused(error) => error.fmt(f),
            EditError::Conflict { current } => write!(f, "edited in between; the revision is now {current}"),
            EditError::Bus(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EditError {}

/// How a node's configuration is put together, and what it was before any edit.
pub struct LiveOptions {
    /// The node's own sources.
    pub args: LoadArgs,
    /// The node's file.
    pub file: PathBuf,
    /// Laid over everything else, such as the address of the built-in upstream.
    pub patch: Option<Patch>,
}

/// What counts now.
#[derive(Clone)]
pub struct State {
    /// The values.
    pub config: Arc<Config>,
    /// Where each that is set comes from, by dotted path.
    pub places: Arc<HashMap<String, Place>>,
    /// What stands for each secret that is set, by dotted path.
    secrets: Arc<HashMap<String, [u8; 32]>>,
    /// Names this state.
    pub revision: String,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Why what is stored is not in force here.
    pub problem: Option<String>,
}

/// The configuration of this node; clones share it.
#[derive(Clone)]
pub struct LiveConfig {
    inner: Arc<Inner>,
}

struct Inner {
    options: LiveOptions,
    shared: Option<Shared>,
    state: ArcSwap<State>,
    current: Arc<ArcSwap<Config>>,
    /// As this process began: what needs a restart is compared with it.
    at_start: State,
    /// Held while a state is put into force, so that those who follow see changes in order.
    followers: Mutex<Vec<OnChange>>,
    /// Held by whoever edits or follows, across reading and writing.
    writer: tokio::sync::Mutex<()>,
}

impl LiveConfig {
    /// The configuration of a node that is alone.
    ///
    /// # Errors
    /// The file is not there any more, or not right any more.
    pub fn alone(options: LiveOptions) -> Result<LiveConfig, SettingsError> {
        let text = read_file(&options.file)?;
        let composed = compose(&options.args, &options.file, text.as_deref(), None)?;
        let revision = revision_of(text.as_deref().unwrap_or_default());
        Ok(LiveConfig::of(options, None, composed, revision))
    }

    fn of(options: LiveOptions, shared: Option<Shared>, composed: Composed, revision: String) -> LiveConfig {
        let state = state(&options, composed, revision);
        LiveConfig {
            inner: Arc::new(Inner {
                current: Arc::new(ArcSwap::new(state.config.clone())),
                at_start: state.clone(),
                state: ArcSwap::from_pointee(state),
                options,
                shared,
                followers: Mutex::default(),
                writer: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// The values in force, for those who read them often.
    pub fn current(&self) -> Arc<ArcSwap<Config>> {
        self.inner.current.clone()
    }

    /// What counts now.
    pub fn state(&self) -> Arc<State> {
        self.inner.state.load_full()
    }

    /// Whether nodes share it.
    pub fn is_shared(&self) -> bool {
        self.inner.shared.is_some()
    }

    /// Calls `follower` with every change from now on. It must be quick.
    pub fn on_change(&self, follower: OnChange) {
        self.inner.followers.lock().push(follower);
    }

    /// Keys that need a restart and have another value than at the start.
    pub fn pending(&self) -> Vec<String> {
        differing(&self.inner.at_start, &self.state())
            .filter(|spec| spec.restart)
            .map(KeySpec::path)
            .collect()
    }

    /// Sets keys (`section.key` → value, null for the default; [`Secret::MASK`] leaves a secret as it is). With
    /// `expected`, the revision that the editor saw, any edit in between refuses this one; without it only one that
    /// changed the same keys at the same moment does. Answers the keys whose value in force changed.
    ///
    /// # Errors
    /// See [`EditError`]: nothing was changed, or with `Bus` perhaps.
    pub async fn edit(
        &self,
        by: &str,
        expected: Option<&str>,
        changes: &[(&str, Json)],
    ) -> Result<Vec<String>, EditError> {
        let _writer = self.inner.writer.lock().await;
        match &self.inner.shared {
            None => self.edit_file(expected, changes),
            Some(shared) => self.edit_shared(shared, by, expected, changes).await,
        }
    }

    fn edit_file(&self, expected: Option<&str>, changes: &[(&str, Json)]) -> Result<Vec<String>, EditError> {
        let options = &self.inner.options;
        let file = &options.file;
        let text = read_file(file).map_err(EditError::Refused)?.unwrap_or_default();
        let current = revision_of(&text);
        if expected.is_some_and(|expected| expected != current) {
            return Err(EditError::Conflict { current });
        }
        let text = if text.is_empty() {
            config::example::example_file()
        } else {
            text
        };
        let (text, _) = edit::edited(file, text, changes).map_err(EditError::Refused)?;
        // Right alone, and right under what the environment lays over it.
        let composed = compose(&options.args, file, Some(&text), None).map_err(EditError::Refused)?;
        write::replace(file, &text).map_err(|error| EditError::Refused(cannot_write(file, &error)))?;
        Ok(self.put_in_force(state(options, composed, revision_of(&text))))
    }

    /// Puts a state into force and tells those who follow; answers the keys whose values changed.
    fn put_in_force(&self, next: State) -> Vec<String> {
        let followers = self.inner.followers.lock();
        let before = self.inner.state.swap(Arc::new(next.clone()));
        let changed: Vec<String> = differing(&before, &next).map(KeySpec::path).collect();
        if !changed.is_empty() {
            self.inner.current.store(next.config.clone());
            for follower in followers.iter() {
                follower(&before.config, &next.config);
            }
            tracing::info!(keys = %changed.join(" "), revision = next.revision, "the configuration changed");
        }
        changed
    }
}

fn state(options: &LiveOptions, composed: Composed, revision: String) -> State {
    let mut config = composed.config;
    if let Some(patch) = &options.patch {
        patch(&mut config);
    }
    State {
        config: Arc::new(config),
        places: Arc::new(composed.places),
        secrets: Arc::new(composed.secrets),
        revision,
        warnings: composed.warnings,
        problem: None,
    }
}

/// Keys that differ between two states.
fn differing(old: &State, new: &State) -> impl Iterator<Item = &'static KeySpec> + use<> {
    let values = |state: &State| serde_json::to_value(&*state.config).unwrap_or_default();
    let (old_values, new_values) = (values(old), values(new));
    let (old_secrets, new_secrets) = (old.secrets.clone(), new.secrets.clone());
    config::keys().filter(move |spec| {
        if spec.secret {
            // As values they are all the same mask.
            let path = spec.path();
            old_secrets.get(&path) != new_secrets.get(&path)
        } else {
            old_values[spec.section][spec.key] != new_values[spec.section][spec.key]
        }
    })
}

/// Names the state of a file.
fn revision_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// Changes laid over what is set; only keys that nodes share.
fn changed(values: &Values, changes: &[(&str, Json)]) -> Result<Values, SettingsError> {
    let mut next = values.clone();
    let mut problems = Vec::new();
    for (path, value) in changes {
        let mut refuse = |what: &str, mend: &str| {
            problems.push(Problem {
                place: Place::Cluster,
                key: (*path).to_owned(),
                what: what.to_owned(),
                mend: mend.to_owned(),
            });
        };
        let Some(spec) = config::key(path) else {
            refuse("unknown key", "Leave it out.");
            continue;
        };
        if spec.secret && value.as_str() == Some(Secret::MASK) {
            continue;
        }
        if spec.local {
            refuse(
                "each node has its own",
                "Set it in the node's file or environment, and restart the node.",
            );
            continue;
        }
        let section = next.entry(spec.section).or_insert_with(|| Json::Object(Values::new()));
        if let Json::Object(section) = section {
            if value.is_null() {
                section.remove(spec.key);
            } else {
                section.insert(spec.key.to_owned(), value.clone());
            }
        }
    }
    if problems.is_empty() {
        Ok(next)
    } else {
        Err(SettingsError { problems })
    }
}
