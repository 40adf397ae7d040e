//! Bulk enrolment: lines come in as they arrive, go to the pool in batches, and each is accounted for.

pub mod formats;
mod lines;

use grok2api_schemas::admin::tokens::{EnrolResult, NewToken};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{PoolName, TokenSwitch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::Actor;
use super::normalise;
use super::tokens::{TokenOps, checked};
use crate::engine::error::GatewayError;

pub use lines::{Line, Lines};

/// Credentials that go to the pool at a time.
const BATCH: usize = 2_000;
/// Longest line, bytes: a cookie header with every cookie of a browser.
pub const LONGEST_LINE: usize = 16 * 1024;
/// Most lines that a report names.
const REPORTED: usize = 200_000;

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportReport {
    /// Lines that were not blank.
    pub total: u64,
    /// New credentials.
    pub added: u64,
    /// Here already, unchanged.
    pub existing: u64,
    /// Not a credential.
    pub invalid: u64,
    /// What became of each line, in order: those that were not added, or all of them if so asked.
    pub lines: Vec<ImportedLine>,
    /// Lines that the report leaves out because it names no more than 200,000.
    pub lines_left_out: u64,
}

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedLine {
    /// Its number, from 1.
    pub line: u64,
    /// `added`, `existing` or `invalid`.
    pub result: LineResult,
    /// Who it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TokenId>,
    /// Its masked form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why it is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`ImportedLine::result`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineResult {
    /// It is new.
    Added,
    /// It was here already.
    Existing,
    /// It is not a credential.
    Invalid,
}

/// A line in JSON.
#[derive(Deserialize)]
struct JsonLine {
    #[serde(alias = "secret", alias = "key")]
    token: String,
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    proxy: Option<String>,
    #[serde(default)]
    switch: Option<TokenSwitch>,
    #[serde(default)]
    status: Option<String>,
}

/// An import under way.
pub struct Import<'a> {
    ops: &'a TokenOps,
    actor: &'a Actor,
    pool: Option<PoolName>,
    report_all: bool,
    waiting: Vec<(u64, NewToken)>,
    report: ImportReport,
    at: u64,
}

impl<'a> Import<'a> {
    /// An import into `pool`, or where each credential belongs by its form.
    pub fn new(ops: &'a TokenOps, actor: &'a Actor, pool: Option<PoolName>, report_all: bool) -> Import<'a> {
        Import {
            ops,
            actor,
            pool,
            report_all,
            waiting: Vec::new(),
            report: ImportReport::default(),
            at: 0,
        }
    }

    /// Takes the next line; blank ones and comments (`#`) only count for the numbering.
    ///
    /// # Errors
    /// The pool refused a batch: what was reported so far stays enrolled.
    pub async fn line(&mut self, line: &[u8]) -> Result<(), GatewayError> {
        self.at += 1;
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        self.report.total += 1;
        match read(line, self.pool) {
            Ok(token) => {
                self.waiting.push((self.at, token));
                if self.waiting.len() >= BATCH {
                    self.enrol().await?;
                }
            }
            Err(reason) => self.invalid(self.at, None, reason),
        }
        Ok(())
    }

    /// Takes a line that was too long to be read.
    pub fn too_long(&mut self) {
        self.at += 1;
        self.report.total += 1;
        self.invalid(self.at, None, format!("the line is longer than {LONGEST_LINE} bytes"));
    }

    /// Takes a line of a text that was cut by [`Lines`].
    ///
    /// # Errors
    /// As [`Import::line`].
    pub async fn take(&mut self, line: Line) -> Result<(), GatewayError> {
        match line {
            Line::Whole(line) => self.line(&line).await,
            Line::TooLong => {
                self.too_long();
                Ok(())
            }
        }
    }

    /// Enrols what still waits.
    ///
    /// # Errors
    /// As [`Import::line`].
    pub async fn finish(mut self) -> Result<ImportReport, GatewayError> {
        self.enrol().await?;
        self.report.lines.sort_by_key(|line| line.line);
        Ok(self.report)
    }

    async fn enrol(&mut self) -> Result<(), GatewayError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (lines, tokens): (Vec<u64>, Vec<NewToken>) = self.waiting.drain(..).unzip();
        let outcomes = self.ops.enrol(self.actor, tokens).await?;
        for (line, outcome) in lines.into_iter().zip(outcomes) {
            let result = match outcome.result {
                EnrolResult::Added => LineResult::Added,
                EnrolResult::Existing => LineResult::Existing,
                EnrolResult::Invalid(reason) => {
                    self.invalid(line, Some(outcome.masked), reason);
                    continue;
                }
            };
            if result == LineResult::Added {
                self.report.added += 1;
            } else {
                self.report.existing += 1;
            }
            if self.report_all || result == LineResult::Existing {
                self.tell(ImportedLine {
                    line,
                    result,
                    id: outcome.id,
                    token: Some(outcome.masked),
                    reason: None,
                });
            }
        }
        Ok(())
    }

    fn invalid(&mut self, line: u64, token: Option<String>, reason: String) {
        self.report.invalid += 1;
        self.tell(ImportedLine {
            line,
            result: LineResult::Invalid,
            id: None,
            token,
            reason: Some(reason),
        });
    }

    fn tell(&mut self, line: ImportedLine) {
        if self.report.lines.len() < REPORTED {
            self.report.lines.push(line);
        } else {
            self.report.lines_left_out += 1;
        }
    }
}

/// Imports the lines of a text that is here as a whole.
///
/// # Errors
/// As [`Import::line`].
pub async fn import_text(
    ops: &TokenOps,
    actor: &Actor,
    text: String,
    pool: Option<PoolName>,
    report_all: bool,
) -> Result<ImportReport, GatewayError> {
    let mut import = Import::new(ops, actor, pool, report_all);
    let mut lines = Lines::default();
    lines.push(text.into());
    while let Some(line) = lines.whole() {
        import.take(line).await?;
    }
    if let Some(line) = lines.last() {
        import.take(line).await?;
    }
    import.finish().await
}

/// One line: a credential as it is pasted, or a JSON object.
fn read(line: &[u8], pool: Option<PoolName>) -> Result<NewToken, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    if text.starts_with('{') {
        return of_json(text, pool);
    }
    let token = NewToken {
        pool: pool.unwrap_or_else(|| pool_of(text)),
        secret: text.to_owned(),
        label: String::new(),
        note: String::new(),
        tags: Vec::new(),
        proxy: None,
        switch: TokenSwitch::On,
    };
    checked(token, "").map_err(|error| error.message.into_owned())
}

/// A credential in a JSON object.
fn of_json(text: &str, pool: Option<PoolName>) -> Result<NewToken, String> {
    let json: JsonLine = serde_json::from_str(text).map_err(|error| json_words(&error))?;
    let named = match json.pool.as_deref() {
        None => None,
        Some(name) => Some(PoolName::parse(name).ok_or_else(|| unknown_pool(name))?),
    };
    let off = json.status.as_deref() == Some("disabled");
    let token = NewToken {
        pool: named.or(pool).unwrap_or_else(|| pool_of(&json.token)),
        secret: json.token,
        label: json.label.unwrap_or_default(),
        note: json.note.unwrap_or_default(),
        tags: json.tags.unwrap_or_default(),
        proxy: json.proxy,
        switch: json
            .switch
            .unwrap_or(if off { TokenSwitch::Off } else { TokenSwitch::On }),
    };
    checked(token, "").map_err(|error| error.message.into_owned())
}

/// What is wrong with a line of JSON, without repeating its text: that may be a secret.
fn json_words(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            format!("a field is missing or of the wrong type (column {})", error.column())
        }
        _ => format!("the line is not valid JSON (column {})", error.column()),
    }
}

/// The pool of what somebody pasted.
pub fn pool_of(pasted: &str) -> PoolName {
    normalise::secret(pasted).map_or(PoolName::SsoBasic, normalise::likely_pool)
}

/// What to say of a pool that there is not.
pub fn unknown_pool(name: &str) -> String {
    let known: Vec<&str> = PoolName::ALL.into_iter().map(PoolName::as_str).collect();
    let name: String = name.chars().take(40).collect();
    format!("unknown pool {name:?}: expected one of {}", known.join(", "))
}
