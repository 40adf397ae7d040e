//! The log files of this node.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use grok2api_schemas::admin::logs::{LogFile, LogTail, LogTailAsk};

use super::line::{Line, is_shown, least};
use crate::engine::error::{ErrorKind, GatewayError};

/// Only so much of a file's end is read.
const READ: u64 = 1024 * 1024;
/// Lines that are shown at most, and where nobody says.
pub(super) const MOST_LINES: u64 = 5_000;
pub(super) const LINES: u64 = 500;

/// Log files of this node.
#[derive(Clone, Debug)]
pub struct LogFilesHere {
    directory: PathBuf,
}

impl LogFilesHere {
    /// The files of this directory.
    pub fn new(directory: PathBuf) -> LogFilesHere {
        LogFilesHere { directory }
    }

    /// Every file, newest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn files(&self) -> Result<Vec<LogFile>, GatewayError> {
        let here = self.clone();
        off_thread(move || here.list()).await
    }

    /// The end of one.
    ///
    /// # Errors
    /// `InvalidField` for a name that is none, `NotFound`; it cannot be read.
    pub async fn tail(&self, ask: LogTailAsk) -> Result<LogTail, GatewayError> {
        let here = self.clone();
        off_thread(move || here.read(&ask)).await
    }

    fn list(&self) -> Result<Vec<LogFile>, GatewayError> {
        let mut files = Vec::new();
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            // Nothing is written to files.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
            Err(error) => return Err(unreadable(&error)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(about) = entry.metadata() else { continue };
            if about.is_file() && name.ends_with(".log") {
                let written = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                files.push(LogFile {
                    node: String::new(),
                    name,
                    size_bytes: about.len(),
                    mtime_ms: written.unwrap_or_default().as_millis() as u64,
                });
            }
        }
        files.sort_by(|a, b| (b.mtime_ms, &b.name).cmp(&(a.mtime_ms, &a.name)));
        Ok(files)
    }

    fn read(&self, ask: &LogTailAsk) -> Result<LogTail, GatewayError> {
        let least = checked(ask)?;
        let lines = ask.lines.unwrap_or(LINES).clamp(1, MOST_LINES) as usize;
        let files = self.list()?;
        let name = match &ask.file {
            Some(name) => name.clone(),
            None => match files.first() {
                Some(file) => file.name.clone(),
                None => {
                    return Ok(LogTail::default());
                }
            },
        };
        if !files.iter().any(|file| file.name == name) {
            return Err(no_such_file());
        }
        let end = self.end_of(&name).map_err(|error| unreadable(&error))?;
        let text = ask
            .text
            .as_deref()
            .map(str::to_lowercase)
            .filter(|text| !text.is_empty());
        let mut shown: Vec<String> = Vec::new();
        for raw in end.lines().rev() {
            if shown.len() >= lines {
                break;
            }
            let line = Line::parse(raw);
            if let (Some(least), Some(line)) = (least, &line)
                && !is_shown(&line.level(), least)
            {
                continue;
            }
            let said = line.map_or_else(|| raw.to_owned(), |line| line.for_people());
            if text.as_ref().is_none_or(|text| said.to_lowercase().contains(text)) {
                shown.push(said);
            }
        }
        shown.reverse();
        Ok(LogTail {
            file: Some(name),
            lines: shown,
            ..LogTail::default()
        })
    }

    /// The last MiB, from the first whole line on.
    fn end_of(&self, name: &str) -> std::io::Result<String> {
        let mut file = std::fs::File::open(self.directory.join(name))?;
        let size = file.metadata()?.len();
        let from = size.saturating_sub(READ);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(READ).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(match from {
            0 => text,
            _ => text
                .split_once('\n')
                .map(|(_, rest)| rest.to_owned())
                .unwrap_or_default(),
        })
    }
}

/// What a tail asks for makes sense: answers its level.
///
/// # Errors
/// `InvalidField`.
pub(super) fn checked(ask: &LogTailAsk) -> Result<Option<usize>, GatewayError> {
    if let Some(name) = &ask.file
        && (name.contains(['/', '\\', '\0']) || name.contains(".."))
    {
        return Err(GatewayError::field(
            "file",
            "`file` must be a name that GET /logs/files lists.",
        ));
    }
    match ask.level.as_deref() {
        None => Ok(None),
        Some(level) => Ok(Some(least(level).ok_or_else(|| wrong_level("level"))?)),
    }
}

pub(super) fn no_such_file() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "No such log file.").with_code("log_not_found")
}

/// What is said of a level that is none.
pub(super) fn wrong_level(param: &str) -> GatewayError {
    GatewayError::field(
        param,
        format!("`{param}` must be one of error, warn, info, debug, trace."),
    )
}

fn unreadable(error: &std::io::Error) -> GatewayError {
    GatewayError::internal(format!("the log files cannot be read: {error}"))
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GatewayError> + Send + 'static,
) -> Result<T, GatewayError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| GatewayError::internal(format!("reading log files: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_file_is_read_and_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let ops = LogFilesHere::new(root.path().join("logs"));
        assert!(ops.files().await.unwrap().is_empty());
        assert_eq!(ops.tail(LogTailAsk::default()).await.unwrap().file, None);
        std::fs::create_dir(root.path().join("logs")).unwrap();
        std::fs::write(root.path().join("secret.log"), "no").unwrap();
        let line = |level: &str, n: usize| {
            format!(r#"{{"ts":"2026-11-26T18:00:00Z","level":"{level}","message":"number {n}","target":"t"}}"#) + "\n"
        };
        let mut text: String = (0..12_000).map(|n| line("INFO", n)).collect();
        text.push_str(&line("ERROR", 99_999));
        text.push_str("not json\n");
        std::fs::write(root.path().join("logs/app.log"), &text).unwrap();
        let tail = |ask: LogTailAsk| ops.tail(ask);
        let all = tail(LogTailAsk::default()).await.unwrap();
        assert_eq!((all.file.as_deref(), all.lines.len()), (Some("app.log"), 500));
        assert_eq!(all.lines[499], "not json");
        let most = tail(LogTailAsk {
            lines: Some(9_000),
            text: Some("NUMBER".into()),
            ..LogTailAsk::default()
        });
        assert_eq!(most.await.unwrap().lines.len(), 5_000);
        let errors = tail(LogTailAsk {
            level: Some("error".into()),
            text: Some("99".into()),
            ..LogTailAsk::default()
        });
        assert_eq!(errors.await.unwrap().lines.len(), 1);
        for file in ["../secret.log", "a/b.log", "..", "x\\y"] {
            let error = tail(LogTailAsk {
                file: Some(file.into()),
                ..LogTailAsk::default()
            })
            .await
            .unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidField, "{file}");
        }
        let gone = tail(LogTailAsk {
            file: Some("gone.log".into()),
            ..LogTailAsk::default()
        })
        .await
        .unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        assert!(
            tail(LogTailAsk {
                level: Some("loud".into()),
                ..LogTailAsk::default()
            })
            .await
            .is_err()
        );
    }
}
