//! What an operator can do with client keys.

use std::sync::Arc;

use futures::future::BoxFuture;
use grok2api_actors::bus::BusErrorKind;
use grok2api_actors::clients::bound;
use grok2api_actors::clients::secret::is_masked;
use grok2api_actors::clients::{ClientKeys, KeyDraft, KeyError, KeyWithSecret, is_expired};
use grok2api_actors::clock::{Clock, WallMs};
use grok2api_schemas::admin::keys::{KeyBody, KeyRemainingView, KeyUsageView, KeyView, OnDisconnect};
use grok2api_schemas::admin::limit::{Limit, UsdLimit, usd_of_ticks};
use grok2api_schemas::admin::page::Page;
use grok2api_schemas::client_key::{KeyLimits, KeyRecord};
use grok2api_schemas::ids::KeyId;
use zeroize::Zeroizing;

use super::audit::{Actor, differences};
use super::{ROWS, rows};
use crate::engine::error::{ErrorKind, GatewayError};

/// Calls at a time with the key of a session.
const BOUND_CONCURRENCY: u64 = 8;
/// The key of a session is not swept before it is so old.
const YOUNG_MS: u64 = 60_000;
/// Longest name, characters.
const LONGEST_NAME: usize = 200;
/// Most allowed models, and the longest one, characters.
const MOST_MODELS: usize = 500;
const LONGEST_MODEL: usize = 200;
/// The last second of the year 9999: a later expiry is a mistake, such as milliseconds.
const LATEST_EXPIRY_SECS: u64 = 253_402_300_799;

/// What a key used on the day that is counted now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyDayUsage {
    /// Chat calls.
    pub chat: u64,
    /// Heavy calls.
    pub heavy: u64,
    /// Images.
    pub image: u64,
    /// Videos.
    pub video: u64,
    /// Spent and reserved, ticks of 1e-10 USD.
    pub spent_ticks: u64,
}

/// Where usage comes from: the ledger.
pub trait KeyUsage: Send + Sync + 'static {
    /// The day that is counted now, `YYYY-MM-DD` in the reset time zone.
    fn today(&self) -> String;

    /// What these keys used today, in order.
    fn used_today<'a>(&'a self, keys: &'a [KeyId]) -> BoxFuture<'a, Vec<KeyDayUsage>>;
}

/// Operations on client keys.
#[derive(Clone)]
pub struct KeyOps {
    keys: ClientKeys,
    usage: Arc<dyn KeyUsage>,
    clock: Clock,
}

impl KeyOps {
    /// Operations on this registry.
    pub fn new(keys: ClientKeys, usage: Arc<dyn KeyUsage>, clock: Clock) -> KeyOps {
        KeyOps { keys, usage, clock }
    }

    /// The registry itself.
    pub fn registry(&self) -> &ClientKeys {
        &self.keys
    }

    /// All keys with what they used today, oldest first.
    pub async fn list(&self) -> Vec<KeyView> {
        let records = self.keys.list();
        self.views(&records).await
    }

    async fn views(&self, records: &[Arc<KeyRecord>]) -> Vec<KeyView> {
        let ids: Vec<KeyId> = records.iter().map(|record| record.id).collect();
        let used = self.usage.used_today(&ids).await;
        let day = self.usage.today();
        let now = self.clock.wall();
        records
            .iter()
            .enumerate()
            .map(|(at, record)| {
                let used = used.get(at).copied().unwrap_or_default();
                with_usage(view(record, now), record, used, &day)
            })
            .collect()
    }

    /// A page of keys with what they used today, oldest first.
    ///
    /// # Errors
    /// `InvalidField` for a number of rows that is none.
    pub async fn page(&self, cursor: Option<KeyId>, limit: Option<u64>) -> Result<Page<KeyView>, GatewayError> {
        let rows = rows(limit, ROWS)?;
        let mut records = self.keys.list();
        let total = records.len() as u64;
        // Ids order keys by the time they were made.
        records.sort_unstable_by_key(|record| record.id);
        let mut rest = records
            .into_iter()
            .filter(|record| cursor.is_none_or(|cursor| record.id > cursor));
        let shown: Vec<_> = rest.by_ref().take(rows).collect();
        let next_cursor = match (rest.next(), shown.last()) {
            (Some(_), Some(last)) => Some(last.id.to_string()),
            _ => None,
        };
        Ok(Page {
            items: self.views(&shown).await,
            next_cursor,
            total,
        })
    }

    /// One key with what it used today.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: KeyId) -> Result<KeyView, GatewayError> {
        let record = self.keys.get(id).ok_or_else(no_such_key)?;
        let used = self.usage.used_today(&[id]).await.first().copied().unwrap_or_default();
        let day = self.usage.today();
        Ok(with_usage(view(&record, self.clock.wall()), &record, used, &day))
    }

    /// The key that a text names: an id, or a full secret.
    ///
    /// # Errors
    /// `InvalidField` for a masked form; `NotFound`.
    pub fn named(&self, text: &str, param: &str) -> Result<KeyId, GatewayError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(GatewayError::field(param, "Missing key").with_code("missing"));
        }
        if is_masked(text) {
            return Err(masked(param));
        }
        let found = match text.parse::<KeyId>() {
            Ok(id) => self.keys.get(id),
            Err(_) => self.keys.find(text),
        };
        found.map(|record| record.id).ok_or_else(no_such_key)
    }

    /// Makes a key; the answer is the only one that holds its secret.
    ///
    /// # Errors
    /// `InvalidField` for a body that makes no sense or a secret that is taken; the store's.
    pub async fn create(
        &self,
        actor: &Actor,
        secret: Option<Zeroizing<String>>,
        body: &KeyBody,
    ) -> Result<KeyView, GatewayError> {
        check(body)?;
        let secret = secret.filter(|secret| !secret.trim().is_empty());
        let mut limits = KeyLimits::default();
        apply_limits(&mut limits, body);
        let made = self
            .keys
            .create(KeyDraft {
                name: body.name.clone().unwrap_or_default(),
                secret: secret.map(|secret| Zeroizing::new(secret.trim().to_owned())),
                inactive: body.is_active == Some(false),
                allowed_models: body.allowed_models.clone().unwrap_or_default(),
                limits,
                on_disconnect: body.on_disconnect.unwrap_or_default().0,
                expires_ms: body.expires_at.flatten().map(|seconds| seconds * 1000),
            })
            .await
            .map_err(|error| key_error(&error))?;
        actor.did("keys.create", &[made.record.id], "");
        Ok(self.with_secret(&made))
    }

    /// Sees to it that the key of a session exists; it dies with the session, and is not told of twice.
    ///
    /// # Errors
    /// The store's.
    pub async fn of_session(
        &self,
        actor: &Actor,
        id: KeyId,
        secret: Zeroizing<String>,
        expires_ms: u64,
    ) -> Result<(), GatewayError> {
        if self.keys.get(id).is_some() {
            return Ok(());
        }
        let draft = KeyDraft {
            name: format!("playground · {}", actor.username),
            secret: Some(secret),
            limits: KeyLimits {
                concurrency: Some(BOUND_CONCURRENCY),
                ..KeyLimits::default()
            },
            expires_ms: Some(expires_ms),
            ..KeyDraft::default()
        };
        match self.keys.create_as(id, draft).await {
            Ok(_) => actor.did("keys.create", &[id], "of the session"),
            // Another tab, or another node, was faster: it is the same key.
            Err(KeyError::Exists) => {}
            Err(KeyError::Bus(error)) if error.kind == BusErrorKind::Conflict => {}
            Err(error) => return Err(key_error(&error)),
        }
        Ok(())
    }

    /// Deletes the key of a session that is over, if there is one.
    pub async fn forget_bound(&self, id: KeyId) {
        if self.keys.get(id).is_some()
            && let Err(error) = self.keys.delete(id).await
        {
            tracing::debug!(%error, key = %id, "the key of a session that is over stays until it is swept");
        }
    }

    /// Deletes keys of sessions that are over. Nobody can call with one any more; a young one may be of a session that this
    /// node has not heard of yet.
    pub async fn sweep_bound(&self, lives: impl Fn(KeyId) -> bool) {
        let before = self.clock.wall().0.saturating_sub(YOUNG_MS);
        let records = self.keys.list();
        let bound = records
            .iter()
            .filter(|record| bound::is_bound(record.id) && record.created_ms < before);
        for record in bound {
            if !lives(record.id) {
                self.forget_bound(record.id).await;
            }
        }
    }

    /// Changes a key; what the body does not name stays as it is.
    ///
    /// # Errors
    /// `InvalidField`, `NotFound`, the store's.
    pub async fn update(&self, actor: &Actor, id: KeyId, body: &KeyBody) -> Result<KeyView, GatewayError> {
        check(body)?;
        let before = self.get(id).await?;
        self.keys
            .update(id, |record| apply(record, body))
            .await
            .map_err(|error| key_error(&error))?;
        let after = self.get(id).await?;
        let changed = changed_fields(body);
        let fields: Vec<&str> = changed.split(' ').flat_map(shown_as).copied().collect();
        actor.changed("keys.update", &[id], &changed, differences(&before, &after, &fields));
        Ok(after)
    }

    /// Gives a key a new secret; the answer is the only one that holds it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidField` for a chosen secret that cannot be one, the store's.
    pub async fn rotate(
        &self,
        actor: &Actor,
        id: KeyId,
        secret: Option<Zeroizing<String>>,
    ) -> Result<KeyView, GatewayError> {
        let secret = secret.filter(|secret| !secret.trim().is_empty());
        let made = self.keys.rotate(id, secret).await.map_err(|error| key_error(&error))?;
        actor.did("keys.rotate", &[id], "");
        Ok(self.with_secret(&made))
    }

    /// Deletes a key. Its usage of the day stays counted.
    ///
    /// # Errors
    /// `NotFound`, the store's.
    pub async fn delete(&self, actor: &Actor, id: KeyId) -> Result<(), GatewayError> {
        self.keys.delete(id).await.map_err(|error| key_error(&error))?;
        actor.did("keys.delete", &[id], "");
        Ok(())
    }

    fn with_secret(&self, made: &KeyWithSecret) -> KeyView {
        let mut shown = view(&made.record, self.clock.wall());
        shown.key = made.secret.to_string();
        shown
    }
}

fn view(record: &KeyRecord, now: WallMs) -> KeyView {
    let limits = &record.limits;
    KeyView {
        id: record.id,
        key: record.id.to_string(),
        name: record.name.clone(),
        display_key: record.display_key.clone(),
        created_at: record.created_ms / 1000,
        is_active: record.is_active,
        expired: is_expired(record, now),
        expires_at: record.expires_ms.map(|ms| ms / 1000),
        last_used_at: record.last_used_ms.map(|ms| ms / 1000),
        chat_limit: Limit(limits.daily.chat),
        heavy_limit: Limit(limits.daily.heavy),
        image_limit: Limit(limits.daily.image),
        video_limit: Limit(limits.daily.video),
        rpm: Limit(limits.rpm),
        tpm: Limit(limits.tpm),
        concurrency: Limit(limits.concurrency),
        budget_usd: UsdLimit(limits.budget_ticks),
        strict: limits.strict,
        allowed_models: record.allowed_models.clone(),
        on_disconnect: OnDisconnect(record.on_disconnect),
        usage_today: None,
        remaining_today: None,
        day: None,
    }
}

fn with_usage(mut view: KeyView, record: &KeyRecord, used: KeyDayUsage, day: &str) -> KeyView {
    let left = |limit: Option<u64>, used: u64| limit.map(|limit| limit.saturating_sub(used));
    let daily = &record.limits.daily;
    view.usage_today = Some(KeyUsageView {
        chat_used: used.chat,
        heavy_used: used.heavy,
        image_used: used.image,
        video_used: used.video,
        spent_usd: usd_of_ticks(used.spent_ticks),
    });
    view.remaining_today = Some(KeyRemainingView {
        chat: left(daily.chat, used.chat),
        heavy: left(daily.heavy, used.heavy),
        image: left(daily.image, used.image),
        video: left(daily.video, used.video),
        budget_usd: left(record.limits.budget_ticks, used.spent_ticks).map(usd_of_ticks),
    });
    view.day = Some(day.to_owned());
    view
}

fn apply(record: &mut KeyRecord, body: &KeyBody) {
    if let Some(name) = body.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        name.clone_into(&mut record.name);
    }
    if let Some(is_active) = body.is_active {
        record.is_active = is_active;
    }
    if let Some(models) = &body.allowed_models {
        record.allowed_models.clone_from(models);
    }
    if let Some(expires_at) = body.expires_at {
        record.expires_ms = expires_at.map(|seconds| seconds * 1000);
    }
    if let Some(policy) = body.on_disconnect {
        record.on_disconnect = policy.0;
    }
    apply_limits(&mut record.limits, body);
}

fn apply_limits(limits: &mut KeyLimits, body: &KeyBody) {
    let group = body.limits.unwrap_or_default();
    let set = |place: &mut Option<u64>, values: [Option<Limit>; 2]| {
        for value in values.into_iter().flatten() {
            *place = value.0;
        }
    };
    let daily = &mut limits.daily;
    set(&mut daily.chat, [group.chat_per_day, body.chat_limit]);
    set(&mut daily.heavy, [group.heavy_per_day, body.heavy_limit]);
    set(&mut daily.image, [group.image_per_day, body.image_limit]);
    set(&mut daily.video, [group.video_per_day, body.video_limit]);
    set(&mut limits.rpm, [group.rpm, body.rpm]);
    set(&mut limits.tpm, [group.tpm, body.tpm]);
    set(&mut limits.concurrency, [group.concurrency, body.concurrency]);
    if let Some(budget) = body.budget_usd.or(group.budget_usd) {
        limits.budget_ticks = budget.0;
    }
    if let Some(strict) = body.strict {
        limits.strict = strict;
    }
}

fn check(body: &KeyBody) -> Result<(), GatewayError> {
    if body
        .name
        .as_ref()
        .is_some_and(|name| name.chars().count() > LONGEST_NAME)
    {
        return Err(GatewayError::field(
            "name",
            format!("`name` has more than {LONGEST_NAME} characters."),
        ));
    }
    if let Some(models) = &body.allowed_models {
        if models.len() > MOST_MODELS {
            return Err(GatewayError::field(
                "allowed_models",
                format!("`allowed_models` has more than {MOST_MODELS} entries."),
            ));
        }
        if let Some(at) = models
            .iter()
            .position(|model| model.trim().is_empty() || model.chars().count() > LONGEST_MODEL)
        {
            let param = format!("allowed_models.{at}");
            return Err(GatewayError::field(
                &param,
                format!("`{param}` must be a model name of 1 to {LONGEST_MODEL} characters."),
            ));
        }
    }
    if body
        .expires_at
        .flatten()
        .is_some_and(|seconds| seconds > LATEST_EXPIRY_SECS)
    {
        return Err(GatewayError::field(
            "expires_at",
            "`expires_at` is a time in Unix seconds, not milliseconds.",
        ));
    }
    Ok(())
}

/// The names of the fields that a body changes, for the audit line.
fn changed_fields(body: &KeyBody) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(body) else {
        return String::new();
    };
    let changed: Vec<&str> = fields
        .iter()
        .filter(|(name, value)| !value.is_null() || name.as_str() == "expires_at")
        .map(|(name, _)| name.as_str())
        .collect();
    changed.join(" ")
}

/// The fields of a view that a field of the body changes.
fn shown_as(field: &str) -> &'static [&'static str] {
    match field {
        "name" => &["name"],
        "is_active" => &["is_active"],
        "limits" => &["chat_limit", "heavy_limit", "image_limit", "video_limit"],
        "rpm" => &["rpm"],
        "tpm" => &["tpm"],
        "concurrency" => &["concurrency"],
        "budget_usd" => &["budget_usd"],
        "strict" => &["strict"],
        "allowed_models" => &["allowed_models"],
        "on_disconnect" => &["on_disconnect"],
        "expires_at" => &["expires_at"],
        _ => &[],
    }
}

fn no_such_key() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "Key not found").with_code("key_not_found")
}

fn masked(param: &str) -> GatewayError {
    GatewayError::field(
        param,
        format!("`{param}` is a masked form, as lists show it: send the id or the full secret."),
    )
    .with_code("masked_secret")
}

fn key_error(error: &KeyError) -> GatewayError {
    match error {
        KeyError::NotFound => no_such_key(),
        KeyError::Exists => GatewayError::field("key", "Key already exists").with_code("key_exists"),
        KeyError::BadSecret(reason) => {
            let error = GatewayError::field("key", format!("`key` {reason}."));
            if reason.contains("masked") {
                error.with_code("masked_secret")
            } else {
                error
            }
        }
        KeyError::Bus(error) => super::unavailable(error),
        KeyError::NoRandomness => GatewayError::internal("the system has no randomness"),
    }
}
