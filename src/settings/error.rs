//! What is wrong with a configuration: every fault at once, each with its place, its key and how to mend it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A position in a file; line and column count from 1, the column in characters.
    File {
        /// The file.
        path: PathBuf,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// A file as a whole.
    WholeFile(PathBuf),
    /// An environment variable, with the `.env` line it stands in, if it does.
    Environment {
        /// Its name.
        name: String,
        /// File and line.
        dotenv: Option<(PathBuf, usize)>,
    },
    /// A flag of the command line.
    Flag(&'static str),
    /// The configuration that the nodes of a cluster share.
    Cluster,
}

impl Place {
    /// The position of byte `at` of `text`.
    pub(crate) fn in_text(path: &Path, text: &str, at: usize) -> Place {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The position where a span begins; the whole file without one.
    pub(crate) fn of_span(path: &Path, text: &str, span: Option<Range<usize>>) -> Place {
        match span {
            Some(span) => Place::in_text(path, text, span.start),
            None => Place::WholeFile(path.to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Place::WholeFile(path) => write!(f, "{}", path.display()),
            Place::Environment { name, dotenv: None } => write!(f, "environment variable {name}"),
            Place::Environment {
                name,
                dotenv: Some((path, line)),
            } => write!(f, "{}:{line}: variable {name}", path.display()),
            Place::Flag(flag) => write!(f, "flag {flag}"),
            Place::Cluster => f.write_str("the cluster's configuration"),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, dotted; empty where the file as such is at fault.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}. {}", self.what, self.mend)
    }
}

/// A configuration that cannot be used. The file it came from is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// Every fault found, in the order of the sources.
    pub problems: Vec<Problem>,
}

impl SettingsError {
    /// One fault of a file as a whole.
    pub(crate) fn of_file(path: &Path, what: impl Into<String>, mend: impl Into<String>) -> SettingsError {
        SettingsError {
            problems: vec![Problem {
                place: Place::WholeFile(path.to_owned()),
                key: String::new(),
                what: what.into(),
                mend: mend.into(),
            }],
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
