//! Who calls, and what they may not do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Response;
use http::header::{AUTHORIZATION, HeaderMap};

use super::body::SimBody;
use super::errors::{Mention, respond};
use super::world::{Key, World};

/// Who calls, as far as the credential tells.
#[derive(Debug)]
pub struct Caller {
    /// What was sent as bearer; empty: nothing.
    pub secret: String,
    /// The key, if there is such a one.
    pub key: Option<Arc<Key>>,
}

impl Caller {
    /// Reads the credential: a bearer, or `x-api-key`.
    pub fn of(world: &World, headers: &HeaderMap) -> Caller {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                let (scheme, secret) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
            });
        let secret = bearer
            .or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
            .unwrap_or("");
        let key = world.keys.get(secret).map(|key| key.clone());
        Caller {
            secret: secret.to_owned(),
            key,
        }
    }

    /// What refusals may mention of the caller.
    pub fn mention(&self) -> Mention<'_> {
        Mention {
            team: self.key.as_ref().map_or("", |key| &key.team.id),
            key: &self.secret,
            ..Mention::default()
        }
    }

    /// The key, or the refusal for none or a wrong one. xAI answers 400 to a wrong key.
    pub fn require(&self) -> Result<&Arc<Key>, Box<Response<SimBody>>> {
        match &self.key {
            Some(key) => Ok(key),
            None if self.secret.is_empty() => Err(Box::new(respond("no-credentials-new", &self.mention()))),
            None => Err(Box::new(respond("bad-key-new", &self.mention()))),
        }
    }

    /// Why the key may not do this, if it may not: blocked, expired, unfunded, out of credit, no ACL, no such model.
    pub fn barred(&self, endpoint: &str, model: Option<&str>) -> Option<Box<Response<SimBody>>> {
        let key = self.key.as_ref()?;
        let team = &key.team;
        let mention = Mention {
            model: model.unwrap_or(""),
            detail: endpoint,
            ..self.mention()
        };
        let id = if key.blocked.load(Ordering::Relaxed) {
            "key-blocked-leak"
        } else if key.disabled.load(Ordering::Relaxed) {
            "key-disabled"
        } else if key.expired.load(Ordering::Relaxed) {
            "key-expired"
        } else if team.blocked.load(Ordering::Relaxed) {
            "team-blocked"
        } else if !team.funded.load(Ordering::Relaxed) {
            "team-no-credit-new"
        } else if endpoint != "models" && team.exhausted() {
            "credits-exhausted-403"
        } else if !key.allows("endpoint", endpoint) {
            "acl-denied"
        } else if model.is_some_and(|model| !team.may_use(model) || !key.allows("model", model)) {
            "model-missing-404"
        } else {
            return None;
        };
        Some(Box::new(respond(id, &mention)))
    }
}
