//! Files that the upstream keeps for a team (`xai-api.md` §10), as an operator looks through them. Clients' own calls go
//! another way.

use std::time::Duration;

use grok2api_actors::egress::{Egress, ProxySpec};
use http::Method;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::team_keys::{escaped, words_of};

/// Longest time for one call.
const WITHIN: Duration = Duration::from_secs(10);
/// Files of one page: as many as the upstream gives.
pub const PAGE: usize = 100;

/// The Files API with any key.
#[derive(Clone)]
pub struct TeamFiles {
    base_url: String,
    egress: Egress,
}

/// One file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct TeamFile {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub filename: String,
    /// Its size.
    #[serde(default)]
    pub bytes: u64,
    /// When it came, Unix seconds.
    #[serde(default)]
    pub created_at: u64,
    /// When the upstream deletes it, Unix seconds.
    #[serde(default)]
    pub expires_at: Option<u64>,
}

/// Some files.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct FilePage {
    /// The newest first.
    #[serde(default)]
    pub data: Vec<TeamFile>,
    /// Where older ones begin.
    #[serde(default)]
    pub pagination_token: Option<String>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesError {
    /// The upstream cannot be reached.
    Away(String),
    /// It refuses this key, or this call.
    Refused(u16, String),
}

/// With whose key, and which way.
pub struct KeyInUse<'a> {
    /// The key.
    pub secret: &'a SecretString,
    /// Its proxy.
    pub proxy: &'a ProxySpec,
}

impl TeamFiles {
    /// At this address, such as `https://api.x.ai/v1`.
    pub fn new(base_url: &str, egress: Egress) -> TeamFiles {
        TeamFiles {
            base_url: base_url.trim_end_matches('/').to_owned(),
            egress,
        }
    }

    /// A page of the team's files; `after` is the page's mark from the one before, or empty.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub async fn list(&self, with: KeyInUse<'_>, after: &str) -> Result<FilePage, FilesError> {
        let mut path = format!("/files?limit={PAGE}&order=desc");
        if !after.is_empty() {
            path.push_str("&pagination_token=");
            path.push_str(&escaped(after));
        }
        let said = self.call(Method::GET, &path, with).await?;
        let mut page: FilePage = serde_json::from_slice(&said)
            .map_err(|_| FilesError::Refused(200, "it answered something else than a list of files".to_owned()))?;
        page.pagination_token.take_if(|mark| mark.is_empty());
        Ok(page)
    }

    /// Deletes a file; answers whether there was one.
    ///
    /// # Errors
    /// See [`FilesError`].
    pub async fn delete(&self, with: KeyInUse<'_>, id: &str) -> Result<bool, FilesError> {
        match self
            .call(Method::DELETE, &format!("/files/{}", escaped(id)), with)
            .await
        {
            Ok(_) => Ok(true),
            Err(FilesError::Refused(404, _)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn call(&self, method: Method, path: &str, with: KeyInUse<'_>) -> Result<Vec<u8>, FilesError> {
        let client = self
            .egress
            .client(with.proxy, WITHIN)
            .map_err(|error| FilesError::Away(error.to_string()))?;
        let away = |error: reqwest::Error| FilesError::Away(error.without_url().to_string());
        let response = client
            .request(method, format!("{}{path}", self.base_url))
            .bearer_auth(with.secret.expose_secret())
            .send()
            .await
            .map_err(away)?;
        let status: StatusCode = response.status();
        let said = response.bytes().await.map_err(away)?;
        match status.is_success() {
            true => Ok(said.to_vec()),
            false => Err(FilesError::Refused(status.as_u16(), words_of(&said))),
        }
    }
}
