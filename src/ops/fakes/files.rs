//! Files that nobody keeps, and a provider's that are kept in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use grok2api_actors::media::MediaError;
use grok2api_schemas::admin::cache::{OnlineFile, OnlineTeam};
use grok2api_schemas::media::MediaKind;
use parking_lot::Mutex;

use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::cache::online::{OnlineFiles, TeamFilePage};

/// Kept files that are none.
pub struct FakeFiles;

impl FakeFiles {
    /// Operations on them.
    pub fn ops() -> crate::ops::cache::CacheOps {
        let path_of = |kind: MediaKind, name: &str| format!("/v1/files/{}/{name}", kind.as_str());
        crate::ops::cache::CacheOps::new(
            Arc::new(FakeFiles),
            Arc::new(path_of),
            crate::ops::nodes::Nodes::alone(),
            Arc::new(FakeOnline::default()),
        )
    }
}

impl crate::ops::cache::Files for FakeFiles {
    fn totals(&self, _: MediaKind) -> (u64, u64) {
        (0, 0)
    }

    fn downloads(&self) -> usize {
        0
    }

    fn keep_bytes(&self) -> u64 {
        1 << 30
    }

    fn list(&self, _: MediaKind) -> Vec<(String, grok2api_actors::media::Entry)> {
        Vec::new()
    }

    fn delete<'a>(&'a self, _: MediaKind, _: &'a str) -> BoxFuture<'a, Result<bool, MediaError>> {
        Box::pin(async { Ok(false) })
    }

    fn clear(&self, _: MediaKind) -> BoxFuture<'_, Result<(u64, u64), MediaError>> {
        Box::pin(async { Ok((0, 0)) })
    }
}

/// Files of teams; a page holds two.
#[derive(Default)]
pub struct FakeOnline(pub Mutex<BTreeMap<String, Vec<OnlineFile>>>);

const PAGE: usize = 2;

impl FakeOnline {
    /// Puts files of these names there.
    pub fn keep(&self, team: &str, names: &[&str]) {
        let file = |name: &&str| OnlineFile {
            id: format!("file_{name}"),
            name: (*name).to_owned(),
            size_bytes: 3,
            created_ms: 1_000,
            expires_ms: None,
            owner: None,
        };
        self.0.lock().insert(team.to_owned(), names.iter().map(file).collect());
    }
}

fn no_team() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "No token of that team.")
}

impl OnlineFiles for FakeOnline {
    fn teams(&self) -> BoxFuture<'_, Result<(Vec<OnlineTeam>, u64), GatewayError>> {
        let team = |team: &String| OnlineTeam {
            team: team.clone(),
            provider: "xai".into(),
            tokens: 1,
        };
        let teams = self.0.lock().keys().map(team).collect();
        Box::pin(async move { Ok((teams, 1)) })
    }

    fn files<'a>(&'a self, team: &'a str, after: &'a str) -> BoxFuture<'a, Result<TeamFilePage, GatewayError>> {
        Box::pin(async move {
            let from: usize = after.parse().unwrap_or(0);
            let all = self.0.lock().get(team).cloned().ok_or_else(no_team)?;
            Ok(TeamFilePage {
                next: (from + PAGE < all.len()).then(|| (from + PAGE).to_string()),
                files: all.into_iter().skip(from).take(PAGE).collect(),
            })
        })
    }

    fn delete<'a>(&'a self, team: &'a str, id: &'a str) -> BoxFuture<'a, Result<bool, GatewayError>> {
        Box::pin(async move {
            if id == "file_stuck" {
                return Err(GatewayError::new(ErrorKind::UpstreamFailed, "The upstream says no."));
            }
            let mut all = self.0.lock();
            let files = all.get_mut(team).ok_or_else(no_team)?;
            let before = files.len();
            files.retain(|file| file.id != id);
            Ok(files.len() < before)
        })
    }
}
