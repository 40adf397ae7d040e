//! Log files of every node: the one that is asked looks into its own, and asks the others over the bus.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use grok2api_schemas::admin::logs::{LogFile, LogFiles, LogFilesAsk, LogTail, LogTailAsk, LogsAsked, LogsTold};
use grok2api_schemas::bus::subjects::nodes as subjects;
use grok2api_schemas::ids::SessionId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::{LINES, LogFilesHere, MOST_LINES, checked, no_such_file};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::nodes::{EVERY, Nodes, unanswered};

/// How long another node has to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// Bytes of the lines of an answer: it has to fit into a message.
const BYTES_TOLD: usize = 600 * 1024;
/// Length of the time that a line begins with.
const TIME: usize = "2026-11-26 18:00:00".len();

/// Operations on log files.
#[derive(Clone)]
pub struct LogOps {
    here: LogFilesHere,
    nodes: Nodes,
}

impl LogOps {
    /// On the files of this directory.
    pub fn new(directory: PathBuf) -> LogOps {
        LogOps {
            here: LogFilesHere::new(directory),
            nodes: Nodes::alone(),
        }
    }

    /// And on those of the other nodes, which can ask for these from now on, until `stop`.
    pub fn join(self, nodes: Nodes, tracker: &TaskTracker, stop: CancellationToken) -> LogOps {
        let here = self.here.clone();
        let told = move |payload: Bytes| {
            let here = here.clone();
            async move { answer(&here, &payload).await }.boxed()
        };
        nodes.answer(subjects::LOGS_ASK, told, tracker, stop);
        LogOps { nodes, ..self }
    }

    /// Every file, newest first.
    ///
    /// # Errors
    /// `NotFound` for a node that is none; the directory cannot be read.
    pub async fn files(&self, ask: LogFilesAsk) -> Result<LogFiles, GatewayError> {
        let asked = self.nodes.named(Some(ask.node.as_deref().unwrap_or(EVERY)))?;
        let each = asked.iter().map(|node| async move {
            match node.session {
                None => self.here.files().await.map(Some),
                Some(session) => Ok(match self.ask(session, &LogsAsked::Files).await {
                    Some(LogsTold::Files(files)) => Some(files),
                    _ => None,
                }),
            }
        });
        let mut all = LogFiles::default();
        for (node, files) in asked.iter().zip(join_all(each).await) {
            match files? {
                Some(files) => all.files.extend(files.into_iter().map(|file| LogFile {
                    node: node.name.clone(),
                    ..file
                })),
                None => all.unanswered.push(node.name.clone()),
            }
        }
        all.files
            .sort_by(|a, b| (b.mtime_ms, &a.node, &b.name).cmp(&(a.mtime_ms, &b.node, &a.name)));
        Ok(all)
    }

    /// The end of one, or of one of every node.
    ///
    /// # Errors
    /// `InvalidField` for a name or level that is none, `NotFound` for a file or node; it cannot be read; the node does not
    /// answer.
    pub async fn tail(&self, ask: LogTailAsk) -> Result<LogTail, GatewayError> {
        checked(&ask)?;
        let asked = self.nodes.named(ask.node.as_deref())?;
        let each = asked.iter().map(|node| {
            let ask = LogTailAsk {
                node: None,
                ..ask.clone()
            };
            async move {
                let Some(session) = node.session else {
                    return self.here.tail(ask).await.map(Some);
                };
                match self.ask(session, &LogsAsked::Tail(ask)).await {
                    Some(LogsTold::Tail(tail)) => Ok(Some(tail)),
                    Some(LogsTold::NoSuchFile) => Err(no_such_file()),
                    _ => Ok(None),
                }
            }
        });
        let mut answers: Vec<_> = asked.iter().zip(join_all(each).await).collect();
        if ask.node.as_deref() != Some(EVERY) {
            let Some((node, tail)) = answers.pop() else {
                return Err(GatewayError::internal("no node was asked"));
            };
            let tail = tail?.ok_or_else(|| unanswered(&node.name))?;
            return Ok(LogTail {
                node: node.name.clone(),
                ..tail
            });
        }
        let most = ask.lines.unwrap_or(LINES).clamp(1, MOST_LINES) as usize;
        let mut silent = Vec::new();
        let mut tails = Vec::new();
        let mut missing = None;
        for (node, tail) in answers {
            match tail {
                Ok(Some(tail)) => tails.push((node.name.clone(), tail)),
                Ok(None) => silent.push(node.name.clone()),
                // Some nodes have a file of that name, others have not.
                Err(error) if error.kind == ErrorKind::NotFound => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if tails.is_empty() => Err(error),
            _ => Ok(LogTail {
                node: EVERY.to_owned(),
                file: ask.file,
                lines: merged(tails, most),
                unanswered: silent,
            }),
        }
    }

    async fn ask(&self, session: SessionId, asked: &LogsAsked) -> Option<LogsTold> {
        self.nodes.ask(subjects::LOGS_ASK, session, asked, WITHIN).await
    }
}

/// Lines of several nodes in the order of time; what has no time stays behind the line before it.
fn merged(tails: Vec<(String, LogTail)>, most: usize) -> Vec<String> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for (node, tail) in tails {
        let mut time = String::new();
        for line in tail.lines {
            let said = match line.split_at_checked(TIME) {
                Some((at, rest)) if rest.starts_with(" | ") && !node.is_empty() => {
                    at.clone_into(&mut time);
                    format!("{at} | {node}{rest}")
                }
                _ if node.is_empty() => line,
                _ => format!("{node} | {line}"),
            };
            lines.push((time.clone(), said));
        }
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let surplus = lines.len().saturating_sub(most);
    lines.drain(..surplus);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// What another node is told.
async fn answer(here: &LogFilesHere, payload: &[u8]) -> Option<Bytes> {
    let asked: LogsAsked = serde_json::from_slice(payload).ok()?;
    let told = match asked {
        LogsAsked::Files => LogsTold::Files(here.files().await.ok()?),
        LogsAsked::Tail(ask) => match here.tail(ask).await {
            Ok(mut tail) => {
                let mut bytes: usize = tail.lines.iter().map(|line| line.len() + 8).sum();
                let over = tail.lines.iter().take_while(|line| {
                    let goes = bytes > BYTES_TOLD;
                    bytes = bytes.saturating_sub(line.len() + 8);
                    goes
                });
                let over = over.count();
                tail.lines.drain(..over);
                LogsTold::Tail(tail)
            }
            Err(error) if error.kind == ErrorKind::NotFound => LogsTold::NoSuchFile,
            Err(error) => {
                tracing::warn!(%error, "a log file is not told to another node");
                return None;
            }
        },
    };
    serde_json::to_vec(&told).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nodes_are_merged_by_time_and_bounded() {
        let tail = |lines: &[&str]| LogTail {
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..LogTail::default()
        };
        let one = tail(&[
            "2026-11-26 18:00:00 | INFO | t - a",
            "no time",
            "2026-11-26 18:00:02 | INFO | t - c",
        ]);
        let two = tail(&["2026-11-26 18:00:01 | WARN | t - b"]);
        let all = merged(vec![("n1".to_owned(), one), ("n2".to_owned(), two)], 10);
        assert_eq!(
            all,
            [
                "2026-11-26 18:00:00 | n1 | INFO | t - a",
                "n1 | no time",
                "2026-11-26 18:00:01 | n2 | WARN | t - b",
                "2026-11-26 18:00:02 | n1 | INFO | t - c",
            ]
        );
        let tails = vec![("n1".to_owned(), tail(&["ü", "x".repeat(30).as_str()]))];
        assert_eq!(merged(tails, 1), [format!("n1 | {}", "x".repeat(30))]);
    }

    #[tokio::test]
    async fn alone_there_is_one_node_without_a_name() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.log"), "hello\n").unwrap();
        let ops = LogOps::new(root.path().to_owned());
        assert_eq!(ops.files(LogFilesAsk::default()).await.unwrap().files.len(), 1);
        let tail = |node: Option<&str>| {
            ops.tail(LogTailAsk {
                node: node.map(str::to_owned),
                ..LogTailAsk::default()
            })
        };
        assert_eq!(tail(None).await.unwrap().lines, ["hello"]);
        assert_eq!(tail(Some("*")).await.unwrap().lines, ["hello"]);
        assert_eq!(
            tail(Some("elsewhere")).await.unwrap_err().public_code(),
            "node_not_found"
        );
    }
}
