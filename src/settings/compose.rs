//! The sources laid over each other, to a configuration or to every fault in it.

use std::collections::HashMap;
use std::path::Path;

use grok2api_schemas::config::{self, Config};
use serde_json::{Map, Value as Json};

use super::edit::to_item;
use super::error::{Place, SettingsError};
use super::gathered::Gathered;
use super::{LoadArgs, apply_flags, file, finish, warn_if_open};

/// What is set by one source, section → key → value, secrets in clear.
pub type Values = Map<String, Json>;

/// A configuration with where its values come from.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The values.
    pub config: Config,
    /// Where each that is set comes from, by dotted path.
    pub places: HashMap<String, Place>,
    /// What stands for each secret that is set, by dotted path: enough to see that it changed.
    pub secrets: HashMap<String, [u8; 32]>,
    /// What an operator should know, a line each.
    pub warnings: Vec<String>,
}

/// Flags over environment over (`shared` with the file's per-node keys, or the whole file) over defaults.
pub fn compose(
    args: &LoadArgs,
    path: &Path,
    text: Option<&str>,
    shared: Option<&Values>,
) -> Result<Composed, SettingsError> {
    let mut gathered = Gathered::default();
    if let Some(text) = text {
        file::read(path, text, &mut gathered);
        warn_if_open(path, &mut gathered);
    }
    if let Some(shared) = shared {
        forget_shared_keys(&mut gathered);
        lay_over(shared, &mut gathered);
    }
    args.environment.apply(&mut gathered);
    apply_flags(args, &mut gathered);
    let places = gathered.places.clone();
    let secrets = config::keys()
        .filter(|spec| spec.secret)
        .filter_map(|spec| {
            let text = gathered.values.get(spec.section)?.get(spec.key)?.as_str()?;
            Some((spec.path(), *blake3::hash(text.as_bytes()).as_bytes()))
        })
        .collect();
    let (config, warnings) = finish(gathered, path)?;
    Ok(Composed {
        config,
        places,
        secrets,
        warnings,
    })
}

/// What a file sets of the keys that nodes share: what the first node of a cluster brings along.
pub fn seed(path: &Path, text: &str) -> Values {
    let mut gathered = Gathered::default();
    file::read(path, text, &mut gathered);
    let mut values = gathered.values;
    retain(&mut values, |section, key| {
        config::key(&format!("{section}.{key}")).is_some_and(|spec| !spec.local)
    });
    values
}

/// In a cluster the file counts for what each node has for itself, whatever else stands in it.
fn forget_shared_keys(gathered: &mut Gathered) {
    let is_local = |path: &str| config::key(path).is_some_and(|spec| spec.local);
    retain(&mut gathered.values, |section, key| {
        is_local(&format!("{section}.{key}"))
    });
    let own = |path: &str| {
        let path = path.split('[').next().unwrap_or(path);
        is_local(path)
    };
    gathered.places.retain(|path, _| own(path));
    gathered
        .problems
        .retain(|problem| own(&problem.key) || problem.key.is_empty());
}

fn retain(values: &mut Values, keep: impl Fn(&str, &str) -> bool) {
    for (section, keys) in values.iter_mut() {
        if let Json::Object(keys) = keys {
            keys.retain(|key, _| keep(section, key));
        }
    }
    values.retain(|_, keys| keys.as_object().is_some_and(|keys| !keys.is_empty()));
}

fn lay_over(shared: &Values, gathered: &mut Gathered) {
    for (section, keys) in shared {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let path = format!("{section}.{key}");
            match (config::key(&path), to_item(value)) {
                (Some(spec), Some(item)) if !spec.local => {
                    gathered.take_item(spec, &item, Place::Cluster, &|_| Place::Cluster);
                }
                (Some(spec), _) if spec.local => {}
                (Some(_), _) => gathered.problem(Place::Cluster, path, "null inside a list or table", "Leave it out."),
                // A newer node of the cluster may know more than we do.
                (None, _) => gathered.warn(&Place::Cluster, &path, "unknown to this version, left out"),
            }
        }
    }
}
