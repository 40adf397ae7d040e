//! Log files of every node: the one that is asked looks into its own, and asks the others over the bus.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::cluster::Membership;
use grok2api_schemas::admin::logs::{LogFile, LogFiles, LogFilesAsk, LogTail, LogTailAsk, LogsAsked, LogsTold};
use grok2api_schemas::bus::subjects::nodes;
use grok2api_schemas::ids::SessionId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::{LINES, LogFilesHere, MOST_LINES, checked, no_such_file};
use crate::engine::error::{ErrorKind, GatewayError};

/// How long another node has to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// Askings of others that are answered at a time; more run into their deadlines.
const AT_A_TIME: usize = 4;
/// Bytes of the lines of an answer: it has to fit into a message.
const BYTES_TOLD: usize = 600 * 1024;
/// What stands for all nodes.
const EVERY: &str = "*";
/// Length of the time that a line begins with.
const TIME: usize = "2026-11-26 18:00:00".len();

/// Operations on log files.
#[derive(Clone)]
pub struct LogOps {
    here: LogFilesHere,
    cluster: Option<Arc<(BusHandle, Membership)>>,
}

/// One node of those that are asked.
struct Node {
    name: String,
    session: Option<SessionId>,
}

fn subject(session: SessionId) -> String {
    format!("{}.{session}", nodes::LOGS_ASK)
}

impl LogOps {
    /// On the files of this directory.
    pub fn new(directory: PathBuf) -> LogOps {
        LogOps {
            here: LogFilesHere::new(directory),
            cluster: None,
        }
    }

    /// And on those of the other nodes, which can ask for these from now on, until `stop`.
    pub fn join(
        self,
        bus: BusHandle,
        membership: Membership,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> LogOps {
        let (here, served, me) = (self.here.clone(), bus.clone(), membership.me());
        let answering = tracker.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(here, served, me, answering) => {}
            }
        });
        LogOps {
            here: self.here,
            cluster: Some(Arc::new((bus, membership))),
        }
    }

    /// Every file, newest first.
    ///
    /// # Errors
    /// `NotFound` for a node that is none; the directory cannot be read.
    pub async fn files(&self, ask: LogFilesAsk) -> Result<LogFiles, GatewayError> {
        let asked = self.nodes(Some(ask.node.as_deref().unwrap_or(EVERY)))?;
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
        let asked = self.nodes(ask.node.as_deref())?;
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
                return Err(no_such_node());
            };
            let tail = tail?.ok_or_else(|| {
                GatewayError::new(ErrorKind::Overloaded, format!("Node {} does not answer.", node.name))
                    .with_code("node_unanswered")
            })?;
            return Ok(LogTail {
                node: node.name.clone(),
                ..tail
            });
        }
        let most = ask.lines.unwrap_or(LINES).clamp(1, MOST_LINES) as usize;
        let mut unanswered = Vec::new();
        let mut tails = Vec::new();
        let mut missing = None;
        for (node, tail) in answers {
            match tail {
                Ok(Some(tail)) => tails.push((node.name.clone(), tail)),
                Ok(None) => unanswered.push(node.name.clone()),
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
                unanswered,
            }),
        }
    }

    /// Nodes of a name; nothing = this one.
    fn nodes(&self, name: Option<&str>) -> Result<Vec<Node>, GatewayError> {
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        let Some(cluster) = &self.cluster else {
            return match name {
                None | Some(EVERY) => Ok(vec![Node {
                    name: String::new(),
                    session: None,
                }]),
                Some(_) => Err(no_such_node()),
            };
        };
        let membership = &cluster.1;
        let me = Node {
            name: membership.identity().node.clone(),
            session: None,
        };
        let snapshot = membership.snapshot();
        let others = snapshot
            .nodes
            .iter()
            .filter(|node| node.live && node.beat.session != membership.me())
            .map(|node| Node {
                name: node.beat.node.clone(),
                session: Some(node.beat.session),
            });
        let Some(name) = name else { return Ok(vec![me]) };
        let mut all: Vec<Node> = std::iter::once(me).chain(others).collect();
        if name != EVERY {
            all.retain(|node| node.name == name);
            // Two lives of one node: the later one.
            all.sort_by_key(|node| node.session.is_some());
            all.truncate(1);
        }
        match all.is_empty() {
            true => Err(no_such_node()),
            false => Ok(all),
        }
    }

    async fn ask(&self, session: SessionId, asked: &LogsAsked) -> Option<LogsTold> {
        let (bus, _) = &**self.cluster.as_ref()?;
        let payload = Bytes::from(serde_json::to_vec(asked).ok()?);
        match bus.request(&subject(session), payload, WITHIN).await {
            Ok(answer) => serde_json::from_slice(&answer).ok(),
            Err(error) => {
                tracing::debug!(%session, %error, "a node does not tell of its log files");
                None
            }
        }
    }
}

fn no_such_node() -> GatewayError {
    GatewayError::new(
        ErrorKind::NotFound,
        "No node of that name is heard. GET /api/v1/admin/cluster lists them.",
    )
    .with_code("node_not_found")
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

/// Answers other nodes.
async fn serve(here: LogFilesHere, bus: BusHandle, me: SessionId, tracker: TaskTracker) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        let mut requests = bus.serve(&subject(me));
        while let Some(request) = requests.next().await {
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let here = here.clone();
            tracker.spawn(async move {
                if let Some(told) = answer(&here, &request.payload).await {
                    // Whoever asked may have given up.
                    let _ = request.reply.send(told);
                }
                drop(place);
            });
        }
        // The bus let go of the subject.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

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
