//! What an operator can do with upstream credentials.

use std::sync::Arc;

use futures::future::BoxFuture;
use grok2api_schemas::admin::page::Page;
use grok2api_schemas::admin::tokens::{
    EnrolOutcome, EnrolResult, NewToken, RefreshOutcome, TokenCounts, TokenPatch, TokenQuery, TokenQuotas, TokenView,
};
use grok2api_schemas::bus::admin::{TokenAddAsk, TokenAdded};
use grok2api_schemas::ids::TokenId;
use zeroize::Zeroizing;

use super::audit::{Actor, differences};
use super::import::pool_of;
use super::normalise::{self, NotASecret};
use crate::engine::error::{ErrorKind, GatewayError};

/// Longest label and note, characters.
const LONGEST_TEXT: usize = 500;
/// Most tags, and the longest one, characters.
const MOST_TAGS: usize = 32;
const LONGEST_TAG: usize = 64;
/// Most credentials that one call names.
pub const MOST_NAMED: usize = 10_000;
/// Longest proxy address, bytes.
const LONGEST_PROXY: usize = 512;

/// A credential with everything that an export needs. Never printed.
pub struct RevealedToken {
    /// Who.
    pub id: TokenId,
    /// The secret.
    pub secret: Zeroizing<String>,
    /// Its proxy, with user and password.
    pub proxy: Option<Zeroizing<String>>,
}

/// The pool, as operations need it. Reads are answered from memory; writes are durable when they answer.
pub trait TokenPool: Send + Sync + 'static {
    /// Adds credentials; one outcome each, in order. One that is here already is left as it is.
    fn enrol(&self, tokens: Vec<NewToken>) -> BoxFuture<'_, Result<Vec<EnrolOutcome>, GatewayError>>;

    /// The credential of an id.
    fn get(&self, id: TokenId) -> Option<TokenView>;

    /// The credential of a full secret, by its keyed hash.
    fn find(&self, secret: &str) -> Option<TokenId>;

    /// A page of credentials. May take milliseconds: called where blocking is allowed.
    fn list(&self, query: &TokenQuery) -> Page<TokenView>;

    /// How many there are.
    fn counts(&self) -> TokenCounts;

    /// How much of a credential's meters is used, over all nodes; `None` without such a credential.
    fn quotas(&self, id: TokenId) -> BoxFuture<'_, Option<TokenQuotas>>;

    /// Changes credentials; unknown ids are left out.
    fn patch(&self, changes: Vec<(TokenId, TokenPatch)>) -> BoxFuture<'_, Result<(), GatewayError>>;

    /// Deletes credentials; answers how many there were. Open charges in the ledger stay.
    fn delete(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<usize, GatewayError>>;

    /// Ends rests that an operator may end, of the credentials and of their teams; answers how many had one.
    fn clear_cooling(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<usize, GatewayError>>;

    /// Asks the upstream about credentials with free calls; one outcome for each known id. A disabled one stays so.
    fn refresh(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<Vec<RefreshOutcome>, GatewayError>>;

    /// The secrets, for an export and nothing else; unknown ids are left out.
    fn reveal(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<Vec<RevealedToken>, GatewayError>>;
}

/// Operations on upstream credentials.
#[derive(Clone)]
pub struct TokenOps {
    pool: Arc<dyn TokenPool>,
}

impl TokenOps {
    /// Operations on this pool.
    pub fn new(pool: Arc<dyn TokenPool>) -> TokenOps {
        TokenOps { pool }
    }

    /// The pool itself.
    pub fn pool(&self) -> &Arc<dyn TokenPool> {
        &self.pool
    }

    /// A page of credentials.
    ///
    /// # Errors
    /// `Internal` if the node is stopping.
    pub async fn list(&self, query: TokenQuery) -> Result<Page<TokenView>, GatewayError> {
        let pool = self.pool.clone();
        tokio::task::spawn_blocking(move || pool.list(&query))
            .await
            .map_err(|error| GatewayError::internal(format!("listing tokens: {error}")))
    }

    /// Every credential, oldest first.
    ///
    /// # Errors
    /// `Internal` if the node is stopping.
    pub async fn all(&self) -> Result<Vec<TokenView>, GatewayError> {
        let query = TokenQuery {
            limit: usize::MAX,
            ..TokenQuery::default()
        };
        Ok(self.list(query).await?.items)
    }

    /// The credential that a text names: an id, or a full secret in any pasted form.
    ///
    /// # Errors
    /// `InvalidField` for a masked form or what can be neither; `NotFound`.
    pub fn named(&self, text: &str, param: &str) -> Result<TokenId, GatewayError> {
        let text = text.trim();
        if let Ok(id) = text.parse::<TokenId>() {
            return self.pool.get(id).map(|token| token.id).ok_or_else(no_such_token);
        }
        let secret = normalise::secret(text).map_err(|reason| not_a_secret(reason, param))?;
        self.pool.find(secret).ok_or_else(no_such_token)
    }

    /// The credential of an id.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, id: TokenId) -> Result<TokenView, GatewayError> {
        self.pool.get(id).ok_or_else(no_such_token)
    }

    /// How much of its meters is used.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn quotas(&self, id: TokenId) -> Result<TokenQuotas, GatewayError> {
        self.pool.quotas(id).await.ok_or_else(no_such_token)
    }

    /// Adds credentials that were checked by [`checked`].
    ///
    /// # Errors
    /// What the pool answers; nothing was added then.
    pub async fn enrol(&self, actor: &Actor, tokens: Vec<NewToken>) -> Result<Vec<EnrolOutcome>, GatewayError> {
        let outcomes = self.pool.enrol(tokens).await?;
        let added: Vec<TokenId> = outcomes
            .iter()
            .filter(|outcome| outcome.result == EnrolResult::Added)
            .filter_map(|outcome| outcome.id)
            .collect();
        if !added.is_empty() {
            actor.did("tokens.enrol", &added, "");
        }
        Ok(outcomes)
    }

    /// Adds one credential.
    ///
    /// # Errors
    /// `InvalidField` for what cannot be one; what the pool answers.
    pub async fn add(&self, actor: &Actor, ask: TokenAddAsk) -> Result<TokenAdded, GatewayError> {
        let token = NewToken {
            pool: ask.pool.unwrap_or_else(|| pool_of(&ask.secret)),
            secret: ask.secret,
            label: ask.label,
            note: ask.note,
            tags: ask.tags,
            proxy: ask.proxy,
            switch: ask.switch,
        };
        // The field is `secret` here; `checked` names it as import lines do.
        let token = checked(token, "").map_err(|error| match error.param.as_deref() {
            Some("token") => GatewayError::field("secret", error.message.replace("`token`", "`secret`"))
                .with_code(error.public_code()),
            _ => error,
        })?;
        let outcome = self
            .enrol(actor, vec![token])
            .await?
            .pop()
            .ok_or_else(|| GatewayError::internal("the pool answered nothing about a credential"))?;
        match (outcome.result, outcome.id) {
            (EnrolResult::Invalid(reason), _) => Err(GatewayError::field("secret", format!("`secret` {reason}."))),
            (result, Some(id)) => Ok(TokenAdded {
                added: result == EnrolResult::Added,
                token: self.get(id)?,
            }),
            (_, None) => Err(GatewayError::internal("a credential was enrolled without an id")),
        }
    }

    /// Credentials by their ids, each once.
    ///
    /// # Errors
    /// `InvalidField` for none or too many; `NotFound` if one of them is not there.
    pub fn each(&self, mut ids: Vec<TokenId>) -> Result<Vec<TokenId>, GatewayError> {
        if ids.is_empty() || ids.len() > MOST_NAMED {
            return Err(GatewayError::field(
                "ids",
                format!("`ids` must name 1 to {MOST_NAMED} tokens."),
            ));
        }
        ids.sort_unstable();
        ids.dedup();
        match ids.iter().find(|id| self.pool.get(**id).is_none()) {
            Some(id) => Err(GatewayError::new(ErrorKind::NotFound, format!("No such token: {id}."))
                .with_code("token_not_found")
                .with_param("ids")),
            None => Ok(ids),
        }
    }

    /// Changes one credential.
    ///
    /// # Errors
    /// `InvalidField`, `NotFound`, what the pool answers.
    pub async fn patch(&self, actor: &Actor, id: TokenId, patch: TokenPatch) -> Result<TokenView, GatewayError> {
        check_patch(&patch, "")?;
        let before = self.get(id)?;
        let changed = changed_fields(&patch);
        self.pool.patch(vec![(id, patch)]).await?;
        let after = self.get(id)?;
        let changes = differences(&before, &after, &["label", "note", "tags", "state", "proxy", "pool"]);
        actor.changed("tokens.patch", &[id], &changed, changes);
        Ok(after)
    }

    /// Deletes credentials.
    ///
    /// # Errors
    /// What the pool answers.
    pub async fn delete(&self, actor: &Actor, ids: Vec<TokenId>) -> Result<usize, GatewayError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let deleted = self.pool.delete(ids.clone()).await?;
        actor.did("tokens.delete", &ids, "");
        Ok(deleted)
    }

    /// Ends the rests of credentials.
    ///
    /// # Errors
    /// What the pool answers.
    pub async fn clear_cooling(&self, actor: &Actor, ids: Vec<TokenId>) -> Result<usize, GatewayError> {
        let cleared = self.pool.clear_cooling(ids.clone()).await?;
        actor.did("tokens.clear_cooling", &ids, "");
        Ok(cleared)
    }

    /// Asks the upstream about credentials.
    ///
    /// # Errors
    /// What the pool answers.
    pub async fn refresh(&self, actor: &Actor, ids: Vec<TokenId>) -> Result<Vec<RefreshOutcome>, GatewayError> {
        actor.did("tokens.refresh", &ids, "");
        self.pool.refresh(ids).await
    }
}

/// No credential has that id or secret.
pub fn no_such_token() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "No such token.").with_code("token_not_found")
}

/// A text that should have been a credential.
pub fn not_a_secret(reason: NotASecret, param: &str) -> GatewayError {
    let code = if reason == NotASecret::Masked {
        "masked_secret"
    } else {
        "invalid_value"
    };
    GatewayError::field(param, format!("`{param}` {}.", reason.words())).with_code(code)
}

/// A credential to enrol, from what somebody pasted.
///
/// # Errors
/// `InvalidField` that names the field behind `at`, such as `ssoBasic.3.`.
pub fn checked(mut token: NewToken, at: &str) -> Result<NewToken, GatewayError> {
    let secret = normalise::secret(&token.secret)
        .map(str::to_owned)
        .map_err(|reason| not_a_secret(reason, &format!("{at}token")));
    wipe(&mut token.secret);
    token.secret = secret?;
    check_texts(Some(&token.label), Some(&token.note), Some(&token.tags), at)?;
    token.proxy = token.proxy.filter(|proxy| !proxy.trim().is_empty());
    if let Some(proxy) = &token.proxy {
        check_proxy(proxy, at)?;
    }
    Ok(token)
}

/// Overwrites a text that was a secret.
fn wipe(text: &mut String) {
    zeroize::Zeroize::zeroize(text);
}

/// Whether a change makes sense.
///
/// # Errors
/// `InvalidField` that names the field behind `at`.
pub fn check_patch(patch: &TokenPatch, at: &str) -> Result<(), GatewayError> {
    check_texts(patch.label.as_deref(), patch.note.as_deref(), patch.tags.as_deref(), at)?;
    match &patch.proxy {
        Some(proxy) if !proxy.is_empty() => check_proxy(proxy, at),
        _ => Ok(()),
    }
}

fn check_texts(label: Option<&str>, note: Option<&str>, tags: Option<&[String]>, at: &str) -> Result<(), GatewayError> {
    for (name, text) in [("label", label), ("note", note)] {
        if text.is_some_and(|text| text.chars().count() > LONGEST_TEXT) {
            return Err(too_long(&format!("{at}{name}"), LONGEST_TEXT));
        }
    }
    let Some(tags) = tags else { return Ok(()) };
    if tags.len() > MOST_TAGS {
        let param = format!("{at}tags");
        return Err(GatewayError::field(
            &param,
            format!("`{param}` holds more than {MOST_TAGS} tags."),
        ));
    }
    if tags
        .iter()
        .any(|tag| tag.trim().is_empty() || tag.chars().count() > LONGEST_TAG)
    {
        let param = format!("{at}tags");
        return Err(GatewayError::field(
            &param,
            format!("`{param}`: a tag has 1 to {LONGEST_TAG} characters."),
        ));
    }
    Ok(())
}

fn too_long(param: &str, most: usize) -> GatewayError {
    GatewayError::field(param, format!("`{param}` has more than {most} characters."))
}

fn check_proxy(proxy: &str, at: &str) -> Result<(), GatewayError> {
    let param = format!("{at}proxy");
    if normalise::is_masked(proxy) {
        return Err(GatewayError::field(
            &param,
            format!("`{param}` is a masked form: send the full address, or leave it out to keep it."),
        )
        .with_code("masked_secret"));
    }
    let known = ["http://", "https://", "socks5://", "socks5h://"]
        .iter()
        .any(|scheme| proxy.starts_with(scheme));
    if !known
        || proxy.len() > LONGEST_PROXY
        || proxy
            .parse::<http::Uri>()
            .ok()
            .and_then(|uri| uri.host().map(str::len))
            .is_none()
    {
        return Err(GatewayError::field(
            &param,
            format!("`{param}` must be an address such as http://host:8080 or socks5://user:password@host:1080."),
        ));
    }
    Ok(())
}

/// The names of the fields that a patch changes, for the audit line.
fn changed_fields(patch: &TokenPatch) -> String {
    let fields = [
        ("label", patch.label.is_some()),
        ("note", patch.note.is_some()),
        ("tags", patch.tags.is_some()),
        ("switch", patch.switch.is_some()),
        ("proxy", patch.proxy.is_some()),
        ("pool", patch.pool.is_some()),
    ];
    let changed: Vec<&str> = fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    changed.join(" ")
}
