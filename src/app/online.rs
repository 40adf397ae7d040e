//! Files that the official API keeps for the teams whose tokens are here.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use grok2api_actors::egress::ProxySpec;
use grok2api_actors::token::{Pool, Token};
use grok2api_schemas::admin::cache::{OnlineFile, OnlineTeam};

use crate::bindings::{Bindings, ObjectKind};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::cache::online::{OnlineFiles, TeamFilePage};
use crate::providers::xai::files::{FilesError, KeyInUse, TeamFile, TeamFiles};

/// The Files API, team by team.
pub(super) struct XaiOnline {
    pub(super) pool: Pool,
    pub(super) files: TeamFiles,
    /// How calls go out whose token has no proxy of its own.
    pub(super) proxy: ProxySpec,
    pub(super) bindings: Bindings,
}

impl XaiOnline {
    fn token_of(&self, team: &str) -> Result<(Arc<Token>, ProxySpec), GatewayError> {
        let token = self.pool.any_of_team(team).ok_or_else(|| {
            GatewayError::new(
                ErrorKind::NotFound,
                "No token of that team is here and switched on: nobody can ask about its files.",
            )
            .with_code("team_not_found")
            .with_param("team")
        })?;
        let own = token.record().proxy.as_deref().map(ProxySpec::parse).transpose();
        let proxy = own.map_err(GatewayError::internal)?;
        Ok((token, proxy.unwrap_or_else(|| self.proxy.clone())))
    }

    async fn shown(&self, file: TeamFile) -> OnlineFile {
        // A binding that cannot be read leaves the file without an owner.
        let binding = self.bindings.get(ObjectKind::File, &file.id).await.ok().flatten();
        OnlineFile {
            id: file.id,
            name: file.filename,
            size_bytes: file.bytes,
            created_ms: file.created_at.saturating_mul(1_000),
            expires_ms: file.expires_at.map(|at| at.saturating_mul(1_000)),
            owner: binding.map(|binding| binding.owner),
        }
    }
}

fn failed(error: FilesError) -> GatewayError {
    match error {
        FilesError::Away(words) => GatewayError::new(
            ErrorKind::UpstreamFailed,
            format!("The upstream cannot be asked about files: {words}."),
        ),
        FilesError::Refused(status, words) => GatewayError::new(
            ErrorKind::UpstreamFailed,
            format!("The upstream refuses to be asked about files ({status}): {words}"),
        ),
    }
    .with_code("upstream_files")
}

impl OnlineFiles for XaiOnline {
    fn teams(&self) -> BoxFuture<'_, Result<(Vec<OnlineTeam>, u64), GatewayError>> {
        Box::pin(async move {
            let pool = self.pool.clone();
            let (teams, without): (BTreeMap<String, u64>, u64) = tokio::task::spawn_blocking(move || pool.team_sizes())
                .await
                .map_err(|error| GatewayError::internal(format!("teams: {error}")))?;
            let shown = teams.into_iter().map(|(team, tokens)| OnlineTeam {
                team,
                provider: "xai".to_owned(),
                tokens,
            });
            Ok((shown.collect(), without))
        })
    }

    fn files<'a>(&'a self, team: &'a str, after: &'a str) -> BoxFuture<'a, Result<TeamFilePage, GatewayError>> {
        Box::pin(async move {
            let (token, proxy) = self.token_of(team)?;
            let with = KeyInUse {
                secret: token.secret(),
                proxy: &proxy,
            };
            let page = self.files.list(with, after).await.map_err(failed)?;
            let files = page.data.into_iter().map(|file| self.shown(file));
            Ok(TeamFilePage {
                files: join_all(files).await,
                next: page.pagination_token,
            })
        })
    }

    fn delete<'a>(&'a self, team: &'a str, id: &'a str) -> BoxFuture<'a, Result<bool, GatewayError>> {
        Box::pin(async move {
            let (token, proxy) = self.token_of(team)?;
            let with = KeyInUse {
                secret: token.secret(),
                proxy: &proxy,
            };
            let deleted = self.files.delete(with, id).await.map_err(failed)?;
            if let Err(error) = self.bindings.forget(ObjectKind::File, id).await {
                tracing::warn!(%error, "whose a deleted file was is not forgotten yet");
            }
            Ok(deleted)
        })
    }
}
