//! Commands about the configuration.

use std::process::ExitCode;

use grok2api_schemas::config::example::example_file;

use super::{USAGE, complain, say};
use crate::catalogue::Catalogue;
use crate::settings::{self, LoadArgs, Loaded};

/// Says whether the configuration and the model table are right: warnings and `ok` on stdout, or every fault on stderr
/// with exit code 2. Writes nothing.
pub fn check_config(load: &LoadArgs) -> ExitCode {
    let checked = settings::check(load);
    let models = Catalogue::load(&load.data_dir);
    let faults: Vec<String> = [
        checked.as_ref().err().map(ToString::to_string),
        models.err().map(|error| error.to_string()),
    ]
    .into_iter()
    .flatten()
    .collect();
    match checked {
        Ok(loaded) if faults.is_empty() => {
            for warning in &loaded.warnings {
                say(&format!("warning: {warning}"));
            }
            let absent = if loaded.first_start {
                " (not there yet: the defaults count)"
            } else {
                ""
            };
            say(&format!("{}: ok{absent}", loaded.file.display()));
            ExitCode::SUCCESS
        }
        _ => {
            complain(&faults.join("\n"));
            ExitCode::from(USAGE)
        }
    }
}

/// Prints the commented file.
pub fn example_config() -> ExitCode {
    say(example_file().trim_end());
    ExitCode::SUCCESS
}

/// The settings to serve with; faults go to stderr, and the exit code is for `main`.
pub fn settings_or_exit(load: &LoadArgs) -> Result<Loaded, ExitCode> {
    settings::load(load).map_err(|error| {
        complain(&error.to_string());
        ExitCode::from(USAGE)
    })
}
