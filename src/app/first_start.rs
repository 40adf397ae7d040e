//! What happens once: the first client key, the administrator's password, the enrolment of what the environment brings.

use grok2api_schemas::admin::tokens::{EnrolResult, NewToken};
use grok2api_schemas::config::Secret;
use grok2api_schemas::token::{PoolName, TokenSwitch};
use zeroize::Zeroizing;

use super::App;
use super::build::BuildError;

/// What is printed once and never again.
#[derive(Default)]
pub struct FirstStart {
    /// The first client key, if it was made now.
    pub client_key: Option<Zeroizing<String>>,
    /// The administrator's password, if it was made now.
    pub admin_password: Option<Zeroizing<String>>,
}

impl App {
    /// Makes what a first start makes, and enrols what the environment brings.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn first_start(&self, enrol: &[Secret]) -> Result<FirstStart, BuildError> {
        let made = self
            .keys
            .first_key()
            .await
            .map_err(|error| BuildError(format!("the first client key: {error}")))?;
        self.enrol_from_environment(enrol, PoolName::ApiKey).await?;
        Ok(FirstStart {
            client_key: made.map(|made| made.secret),
            admin_password: self.generated_password.lock().take(),
        })
    }

    async fn enrol_from_environment(&self, secrets: &[Secret], pool: PoolName) -> Result<(), BuildError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let new = secrets
            .iter()
            .map(|secret| NewToken {
                secret: secret.expose().to_owned(),
                pool,
                label: String::new(),
                note: "from XAI_API_KEY".to_owned(),
                tags: Vec::new(),
                proxy: None,
                switch: TokenSwitch::On,
            })
            .collect();
        let outcomes = self
            .pool
            .enrol(new)
            .await
            .map_err(|error| BuildError(format!("enrolling XAI_API_KEY: {error}")))?;
        for (n, outcome) in outcomes.iter().enumerate() {
            if let EnrolResult::Invalid(reason) = &outcome.result {
                tracing::error!(credential = n + 1, masked = %outcome.masked, %reason, "XAI_API_KEY holds something that is not a credential");
            }
        }
        let added = outcomes
            .iter()
            .filter(|outcome| outcome.result == EnrolResult::Added)
            .count();
        tracing::info!(named = outcomes.len(), added, "credentials of XAI_API_KEY are enrolled");
        Ok(())
    }
}
