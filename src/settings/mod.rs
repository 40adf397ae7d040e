//! Settings: flags beat the environment, the environment beats the file, the file beats the defaults. Faults are
//! answered all at once, each with file, line, key and the mend; a broken file is never touched.

mod check;
mod combinations;
pub mod compose;
mod dotenv;
mod edit;
mod environment;
mod error;
mod file;
pub(crate) mod gathered;
pub mod live;
mod nearest;
mod write;

use std::path::{Path, PathBuf};

use grok2api_schemas::config::{self, Config, Secret, example::example_file};
use toml_edit::Value;

pub use edit::edit;
pub use environment::Environment;
pub use error::{Place, Problem, SettingsError};
use gathered::Gathered;
pub use nearest::nearest;

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "config.toml";

/// What to load from.
#[derive(Clone, Debug, Default)]
pub struct LoadArgs {
    /// Where the file is looked for, and written at the first start.
    pub data_dir: PathBuf,
    /// Another file, which must be there.
    pub config_file: Option<PathBuf>,
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<u16>,
    /// Variables, `.env` included.
    pub environment: Environment,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What an operator should know, a line each; never a secret.
    pub warnings: Vec<String>,
    /// The file that was read, or written.
    pub file: PathBuf,
    /// The file was not there.
    pub first_start: bool,
    /// Credentials of `XAI_API_KEY`, to enrol at the start.
    pub enrol: Vec<Secret>,
}

/// Loads the configuration, and writes the commented file where there is none.
pub fn load(args: &LoadArgs) -> Result<Loaded, SettingsError> {
    let loaded = check(args)?;
    if loaded.first_start {
        write::make_dir(&args.data_dir).map_err(|error| {
            let what = format!("the data directory cannot be made ({error})");
            SettingsError::of_file(
                &args.data_dir,
                what,
                "Give this user the right to, or name another with --data-dir.",
            )
        })?;
        write::replace(&loaded.file, &example_file()).map_err(|error| cannot_write(&loaded.file, &error))?;
    }
    Ok(loaded)
}

/// Like [`load`], without writing anything.
pub fn check(args: &LoadArgs) -> Result<Loaded, SettingsError> {
    let file = match &args.config_file {
        Some(file) => file.clone(),
        None => args.data_dir.join(FILE_NAME),
    };
    let text = read_file(&file)?;
    if text.is_none() && args.config_file.is_some() {
        return Err(SettingsError::of_file(
            &file,
            "there is no such file",
            "`grok2api example-config` prints one to start from.",
        ));
    }
    let composed = compose::compose(args, &file, text.as_deref(), None)?;
    Ok(Loaded {
        config: composed.config,
        warnings: composed.warnings,
        file,
        first_start: text.is_none(),
        enrol: args.environment.enrol(),
    })
}

/// The file's text; `None` where there is no file.
pub(crate) fn read_file(file: &Path) -> Result<Option<String>, SettingsError> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let what = format!("cannot be read ({error})");
            return Err(SettingsError::of_file(
                file,
                what,
                "Give this user the right to read it.",
            ));
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            Err(SettingsError {
                problems: vec![Problem {
                    place: Place::in_text(file, &valid, valid.len()),
                    key: String::new(),
                    what: "this is not UTF-8".to_owned(),
                    mend: "Save the file as UTF-8; it was left as it is.".to_owned(),
                }],
            })
        }
    }
}

fn apply_flags(args: &LoadArgs, gathered: &mut Gathered) {
    let host = args
        .host
        .as_deref()
        .map(|host| ("server.host", "--host", Value::from(host)));
    let port = args
        .port
        .map(|port| ("server.port", "--port", Value::from(i64::from(port))));
    for (path, flag, value) in [host, port].into_iter().flatten() {
        if let Some(spec) = config::key(path) {
            gathered.take(spec, &value, Place::Flag(flag));
        }
    }
}

/// Typed values and warnings, or every problem.
fn finish(mut gathered: Gathered, file: &Path) -> Result<(Config, Vec<String>), SettingsError> {
    if gathered.problems.is_empty() {
        let values = serde_json::Value::Object(std::mem::take(&mut gathered.values));
        match serde_json::from_value::<Config>(values) {
            Ok(mut config) => {
                combinations::check(&mut config, &mut gathered, file);
                if gathered.problems.is_empty() {
                    return Ok((config, gathered.warnings));
                }
            }
            // Every value was checked against the table that the types come from.
            Err(error) => gathered.problem(
                Place::WholeFile(file.to_owned()),
                "",
                format!("a value does not fit its type ({error})"),
                "This is a fault of grok2api: please report it with the file.",
            ),
        }
    }
    Err(SettingsError {
        problems: gathered.problems,
    })
}

fn warn_if_open(file: &Path, gathered: &mut Gathered) {
    let secret = config::keys().find(|spec| spec.secret && gathered.places.contains_key(&spec.path()));
    if let Some(spec) = secret
        && write::is_readable_by_others(file)
    {
        gathered.warnings.push(format!(
            "{}: other users of this machine can read {}; `chmod 600` it",
            file.display(),
            spec.path()
        ));
    }
}

fn cannot_write(file: &Path, error: &std::io::Error) -> SettingsError {
    let what = format!("cannot be written ({error})");
    SettingsError::of_file(file, what, "Make room, or give this user the right to write here.")
}

#[cfg(test)]
mod tests;
