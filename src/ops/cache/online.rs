//! What a provider keeps for its teams (xAI: uploaded files), looked through team by team, only when somebody asks.

use futures::future::{BoxFuture, join_all};
use grok2api_schemas::admin::cache::{
    OnlineAsk, OnlineDeleteAsk, OnlineDeleted, OnlineFile, OnlinePage, OnlineResult, OnlineTeam,
};

use super::CacheOps;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::audit::Actor;
use crate::ops::{ROWS, rows};

/// Files that one call deletes.
const MOST_DELETED: usize = 100;
/// Of them at a time.
const AT_A_TIME: usize = 8;

/// A page of a team's files.
pub struct TeamFilePage {
    /// The newest first.
    pub files: Vec<OnlineFile>,
    /// Where older ones begin.
    pub next: Option<String>,
}

/// What a provider keeps for teams whose tokens are here.
pub trait OnlineFiles: Send + Sync + 'static {
    /// The teams that can be asked about, in order, and how many tokens have no known team.
    fn teams(&self) -> BoxFuture<'_, Result<(Vec<OnlineTeam>, u64), GatewayError>>;

    /// A page of a team's files; `after` is the mark of the page before.
    fn files<'a>(&'a self, team: &'a str, after: &'a str) -> BoxFuture<'a, Result<TeamFilePage, GatewayError>>;

    /// Deletes a file there; answers whether it was there.
    fn delete<'a>(&'a self, team: &'a str, id: &'a str) -> BoxFuture<'a, Result<bool, GatewayError>>;
}

impl CacheOps {
    /// Teams that can be asked about, or the files of one.
    ///
    /// # Errors
    /// `InvalidField`; `NotFound` for a team without a token here; the provider's.
    pub async fn online(&self, ask: OnlineAsk) -> Result<OnlinePage, GatewayError> {
        let limit = rows(ask.limit, ROWS)?;
        let cursor = ask.cursor.unwrap_or_default();
        if let Some(team) = ask.team.filter(|team| !team.trim().is_empty()) {
            let page = self.online.files(team.trim(), &cursor).await?;
            return Ok(OnlinePage {
                files: page.files,
                next_cursor: page.next,
                team: Some(team),
                ..OnlinePage::default()
            });
        }
        let (teams, without_team) = self.online.teams().await?;
        let total = teams.len() as u64;
        let mut rest = teams.into_iter().filter(|team| team.team > cursor);
        let teams: Vec<OnlineTeam> = rest.by_ref().take(limit).collect();
        let has_more = rest.next().is_some();
        Ok(OnlinePage {
            next_cursor: teams.last().filter(|_| has_more).map(|team| team.team.clone()),
            teams,
            total,
            without_team,
            ..OnlinePage::default()
        })
    }

    /// Deletes files of a team at its provider.
    ///
    /// # Errors
    /// `InvalidField`; `NotFound` for a team without a token here. What becomes of each file stands in the answer.
    pub async fn delete_online(&self, actor: &Actor, ask: OnlineDeleteAsk) -> Result<OnlineDeleted, GatewayError> {
        if ask.ids.is_empty() || ask.ids.len() > MOST_DELETED || ask.ids.iter().any(|id| id.trim().is_empty()) {
            return Err(GatewayError::field(
                "ids",
                format!("`ids` must name 1 to {MOST_DELETED} files."),
            ));
        }
        let mut results = Vec::with_capacity(ask.ids.len());
        for some in ask.ids.chunks(AT_A_TIME) {
            let each = some.iter().map(|id| async {
                let (deleted, reason) = match self.online.delete(&ask.team, id).await {
                    Ok(deleted) => (deleted, None),
                    // Without a token no file can be deleted at all.
                    Err(error) if error.kind == ErrorKind::NotFound => return Err(error),
                    Err(error) => (false, Some(error.message.into_owned())),
                };
                Ok(OnlineResult {
                    id: id.clone(),
                    deleted,
                    reason,
                })
            });
            for result in join_all(each).await {
                results.push(result?);
            }
        }
        actor.did("cache.online-delete", &ask.ids, &ask.team);
        let deleted = results.iter().filter(|result| result.deleted).count() as u64;
        Ok(OnlineDeleted { deleted, results })
    }
}
