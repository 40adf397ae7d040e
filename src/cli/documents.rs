//! Commands that print or write what is generated from the code.

use std::path::Path;
use std::process::ExitCode;

use super::{FAILURE, complain, say};
use crate::documents;

/// Prints the AsyncAPI document.
pub fn asyncapi() -> ExitCode {
    say(documents::text(documents::asyncapi()).trim_end());
    ExitCode::SUCCESS
}

/// Prints the OpenAPI document.
pub fn openapi() -> ExitCode {
    say(documents::text(documents::openapi::openapi()).trim_end());
    ExitCode::SUCCESS
}

/// Writes every document below a directory.
pub fn schemas(directory: &Path) -> ExitCode {
    match documents::write(directory) {
        Ok(count) => {
            say(&format!("{}: {count} documents", directory.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("{}: {error}", directory.display()));
            ExitCode::from(FAILURE)
        }
    }
}
