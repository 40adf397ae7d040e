//! What happened to a credential: what this node remembers of it, and what the others do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use grok2api_schemas::admin::history::{TokenChange, TokenHistoryAsk, TokenHistoryView};
use grok2api_schemas::bus::subjects::nodes as subjects;
use grok2api_schemas::ids::TokenId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::nodes::{EVERY, Nodes};
use super::tokens::{TokenPool, no_such_token};
use crate::engine::error::GatewayError;
use crate::token_history::TokenHistory;

/// How long another node has to answer.
const WITHIN: Duration = Duration::from_secs(3);
/// Changes that are shown.
const SHOWN: usize = 2 * crate::token_history::OF_ONE;

/// What one node asks of another.
#[derive(Serialize, Deserialize)]
struct Asked {
    id: TokenId,
    team: Option<String>,
}

/// Operations on what happened.
#[derive(Clone)]
pub struct HistoryOps {
    here: TokenHistory,
    pool: Arc<dyn TokenPool>,
    nodes: Nodes,
}

/// Lets other nodes ask for what this one remembers, until `stop`.
pub fn answer_others(nodes: &Nodes, here: TokenHistory, tracker: &TaskTracker, stop: CancellationToken) {
    let told = move |payload: Bytes| {
        let here = here.clone();
        async move {
            let asked: Asked = serde_json::from_slice(&payload).ok()?;
            let changes = here.of(asked.id, asked.team.as_deref());
            serde_json::to_vec(&changes).ok().map(Bytes::from)
        }
        .boxed()
    };
    nodes.answer(subjects::HISTORY_ASK, told, tracker, stop);
}

impl HistoryOps {
    /// Of what this node and the others remember.
    pub fn new(here: TokenHistory, pool: Arc<dyn TokenPool>, nodes: Nodes) -> HistoryOps {
        HistoryOps { here, pool, nodes }
    }

    /// What happened to a credential, the newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn of(&self, ask: &TokenHistoryAsk) -> Result<TokenHistoryView, GatewayError> {
        let token = self.pool.get(ask.id).ok_or_else(no_such_token)?;
        let asked = Asked {
            id: ask.id,
            team: token.team,
        };
        let nodes = self.nodes.named(Some(EVERY))?;
        let each = nodes.iter().map(|node| {
            let asked = &asked;
            async move {
                match node.session {
                    None => Some(self.here.of(asked.id, asked.team.as_deref())),
                    Some(session) => self.nodes.ask(subjects::HISTORY_ASK, session, asked, WITHIN).await,
                }
            }
        });
        let mut view = TokenHistoryView::default();
        let mut all: Vec<TokenChange> = Vec::new();
        for (node, told) in nodes.iter().zip(join_all(each).await) {
            match told {
                Some(changes) => all.extend(changes),
                None => view.unanswered.push(node.name.clone()),
            }
        }
        // Each node dates what it hears by its own clock: the first date counts.
        all.sort_by_key(|change| change.time_ms);
        let mut seen = HashSet::new();
        let firsts: Vec<bool> = all.iter().map(|change| seen.insert(change.mark())).collect();
        drop(seen);
        let once = all.into_iter().zip(firsts).filter(|(_, is_first)| *is_first);
        view.changes = once.map(|(change, _)| change).collect();
        view.changes.reverse();
        view.changes.truncate(SHOWN);
        Ok(view)
    }
}
