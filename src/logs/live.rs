//! Lines of every node while somebody watches: who watches says so every two seconds, and nodes that heard it tell what
//! they write. Nobody watches: no message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use grok2api_actors::bus::BusHandle;
use grok2api_schemas::admin::logs::ToldLines;
use grok2api_schemas::bus::subjects::nodes;
use serde_json::Value;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::wrong_level;
use super::line::{Line, is_shown, least};
use crate::engine::error::GatewayError;
use crate::telemetry::LogTap;

/// How often a watcher says that it watches.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// For how long that counts.
const COUNTS_FOR: Duration = Duration::from_secs(7);
/// How often lines are told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Lines of one message, and its bytes.
const LINES: usize = 400;
const BYTES: usize = 256 * 1024;

/// Tells the lines of this node while somebody watches, until `stop`.
pub fn share(tap: LogTap, bus: BusHandle, node: String, tracker: &TaskTracker, stop: CancellationToken) {
    tracker.spawn(async move {
        loop {
            let mut wanted = bus.subscribe(nodes::LOGS_WANTED);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    heard = wanted.next() => if heard.is_none() { break },
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tell(&tap, &bus, &node, &mut wanted) => {}
                }
            }
            // The bus let go of the subscription.
            tokio::time::sleep(SAY_EVERY).await;
        }
    });
}

async fn tell(tap: &LogTap, bus: &BusHandle, node: &str, wanted: &mut BoxStream<'static, Bytes>) {
    let mut lines = tap.watch();
    let mut until = Instant::now() + COUNTS_FOR;
    loop {
        tokio::select! {
            heard = wanted.next() => match heard {
                Some(_) => until = Instant::now() + COUNTS_FOR,
                None => return,
            },
            () = tokio::time::sleep_until(until) => return,
            first = lines.recv() => {
                let mut told = ToldLines { node: node.to_owned(), lines: Vec::new(), left_out: 0 };
                match first {
                    Ok(line) => told.lines.push(line.to_string()),
                    Err(RecvError::Lagged(missed)) => told.left_out += missed,
                    Err(RecvError::Closed) => return,
                }
                tokio::time::sleep(TELL_EVERY).await;
                gather(&mut lines, &mut told);
                if let Ok(payload) = serde_json::to_vec(&told) {
                    bus.publish(nodes::LOGS, Bytes::from(payload));
                }
            }
        }
    }
}

fn gather(lines: &mut tokio::sync::broadcast::Receiver<Arc<str>>, told: &mut ToldLines) {
    let mut bytes = 0;
    loop {
        match lines.try_recv() {
            Ok(line) if told.lines.len() < LINES && bytes + line.len() < BYTES => {
                bytes += line.len();
                told.lines.push(line.to_string());
            }
            Ok(_) => told.left_out += 1,
            Err(TryRecvError::Lagged(missed)) => told.left_out += missed,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

/// Which lines a watcher wants.
#[derive(Clone, Debug)]
pub struct Watch {
    least: usize,
    text: Option<String>,
    node: Option<String>,
}

impl Watch {
    /// Lines of this level or worse, that contain this, of this node.
    ///
    /// # Errors
    /// `InvalidField` for a level that is none.
    pub fn new(level: Option<&str>, text: Option<&str>, node: Option<&str>) -> Result<Watch, GatewayError> {
        Ok(Watch {
            least: least(level.unwrap_or("trace")).ok_or_else(|| wrong_level("level"))?,
            text: text.map(str::to_lowercase),
            node: node.map(str::to_owned),
        })
    }

    /// The line with its node, if it is wanted.
    fn wants(&self, node: &str, raw: &str) -> Option<Value> {
        if self.node.as_deref().is_some_and(|wanted| wanted != node) {
            return None;
        }
        if self
            .text
            .as_ref()
            .is_some_and(|text| !raw.to_lowercase().contains(text))
        {
            return None;
        }
        let line = Line::parse(raw)?;
        is_shown(&line.level(), self.least).then(|| line.of_node(node))
    }
}

/// Lines of every node from now on: some at a time, and how many were left out.
pub fn watch(bus: BusHandle, watch: Watch) -> BoxStream<'static, (Vec<Value>, u64)> {
    let told = bus.subscribe(nodes::LOGS);
    let mut say = tokio::time::interval(SAY_EVERY);
    say.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let state = (told, say, bus, watch);
    futures::stream::unfold(state, |(mut told, mut say, bus, watch)| async move {
        loop {
            tokio::select! {
                _ = say.tick() => bus.publish(nodes::LOGS_WANTED, Bytes::from_static(b"{}")),
                some = told.next() => {
                    let told_lines: ToldLines = match serde_json::from_slice(&some?) {
                        Ok(lines) => lines,
                        // Of a newer build.
                        Err(_) => continue,
                    };
                    let wanted: Vec<Value> = told_lines
                        .lines
                        .iter()
                        .filter_map(|raw| watch.wants(&told_lines.node, raw))
                        .collect();
                    if !wanted.is_empty() || told_lines.left_out > 0 {
                        return Some(((wanted, told_lines.left_out), (told, say, bus, watch)));
                    }
                }
            }
        }
    })
    .boxed()
}
