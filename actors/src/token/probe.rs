//! Asking the upstream about a credential with calls that cost nothing. How is the provider's business; this is the seam.

use futures::future::BoxFuture;
use grok2api_schemas::token::LearnedLimits;
use secrecy::SecretString;

use super::cooling::Penalty;
use crate::egress::ProxySpec;

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeReport {
    /// The upstream knows the credential.
    Usable(Facts),
    /// The upstream refuses it, or its team.
    Refused {
        /// Whose fault, and for how long.
        penalty: Penalty,
        /// What it told nevertheless.
        facts: Facts,
    },
    /// Nothing was learnt: no connection, a timeout, a server error.
    Unreachable(String),
}

/// What a probe learnt; `None` = the upstream did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The team.
    pub team: Option<String>,
    /// The upstream has no way to tell the team (no such route): the key is its own domain.
    pub cannot_tell_team: bool,
    /// Models it may use.
    pub models: Option<Vec<String>>,
    /// Zero data retention.
    pub zdr: Option<bool>,
    /// Limits by model, where the Management API tells them.
    pub limits: Vec<(String, LearnedLimits)>,
}

/// Asks the upstream about a credential, with free calls only.
pub trait Prober: Send + Sync + 'static {
    /// One probe.
    fn probe<'a>(&'a self, secret: &'a SecretString, proxy: &'a ProxySpec) -> BoxFuture<'a, ProbeReport>;
}
