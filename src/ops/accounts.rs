//! Accounts of administrators and their sessions. Both live on the bus, so a session opened on one node counts on all
//! of them and survives a restart; tokens and passwords are stored hashed.

mod logins;
mod sessions;
mod users;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use grok2api_actors::bus::{BusErrorKind, BusHandle, Expect};
use grok2api_actors::clock::Clock;
use grok2api_actors::mirror::Mirror;
use grok2api_actors::vault::random_secret;
use grok2api_schemas::admin::accounts::{AccountRecord, Role, SessionRecord};
use grok2api_schemas::bus::subjects::{buckets, events};
use grok2api_schemas::ids::SessionId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::audit::Actor;
use super::password::Hasher;
use super::throttle::{Throttle, ThrottleLimits, Tried};
use super::unavailable;
use crate::engine::error::{ErrorKind, GatewayError};

pub use sessions::{Opened, bound_key};

/// Keys of accounts in the bucket.
const ACCOUNTS: &[u8] = b"user/";
/// Keys of sessions in the bucket: this and the hash of the token.
const SESSIONS: &[u8] = b"session/";
/// Longest username, bytes: it is part of a key on the bus.
const LONGEST_USERNAME: usize = 64;
/// Longest password, bytes.
const LONGEST_PASSWORD: usize = 1_024;
/// Shortest password of an account that is made here, bytes. A configured one is the operator's own affair.
const SHORTEST_PASSWORD: usize = 8;
/// Random bytes of a generated password: 24 characters.
const PASSWORD_BYTES: usize = 18;

/// How often the first administrator is written where another node writes it too, and the pauses between.
const FIRST_ATTEMPTS: u32 = 50;
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
const HOUR_MS: u64 = 3_600_000;

/// How administrators log in.
#[derive(Clone)]
pub struct AccountOptions {
    /// The first administrator (`app.admin_username`).
    pub username: String,
    /// Its password (`app.app_key`); `None` = one is made at the first start.
    pub password: Option<Zeroizing<String>>,
    /// How long a session lasts (`security.session_hours`).
    pub session_hours: u64,
    /// How guessing of passwords is slowed down.
    pub throttle: ThrottleLimits,
    /// This node's name; empty alone.
    pub node: String,
}

/// Accounts and sessions; clones share them.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    accounts: Arc<Mirror<AccountRecord>>,
    sessions: Arc<Mirror<SessionRecord>>,
    /// The configured administrator's name.
    first: String,
    clock: Clock,
    session_ms: AtomicU64,
    node: String,
    hasher: Hasher,
    throttle: Throttle,
    bus: BusHandle,
    /// Stands for this node where it tells others of logins.
    teller: SessionId,
}

impl Accounts {
    /// Reads accounts and sessions and follows them until `stop`. Answers the generated password as well, if this was
    /// the first start without a configured one: it is to be printed once and is nowhere else.
    ///
    /// # Errors
    /// The bus cannot be read or written; a username or password that cannot be one.
    pub async fn load(
        bus: BusHandle,
        clock: Clock,
        tracker: &TaskTracker,
        stop: CancellationToken,
        options: AccountOptions,
    ) -> Result<(Accounts, Option<Zeroizing<String>>), GatewayError> {
        let accounts = Mirror::start(
            bus.clone(),
            buckets::ADMIN,
            ACCOUNTS,
            tracker,
            stop.clone(),
            Box::new(|_, _| {}),
        )
        .await
        .map_err(|error| unavailable(&error))?;
        let sessions = Mirror::start_announced(
            bus.clone(),
            buckets::ADMIN,
            SESSIONS,
            Some(events::SESSION),
            tracker,
            stop.clone(),
            Box::new(|_, _| {}),
        )
        .await
        .map_err(|error| unavailable(&error))?;
        let accounts = Accounts {
            inner: Arc::new(Inner {
                accounts,
                sessions,
                first: first_name(&options.username).to_owned(),
                clock,
                session_ms: AtomicU64::new(options.session_hours.saturating_mul(HOUR_MS)),
                node: options.node.clone(),
                hasher: Hasher::default(),
                throttle: Throttle::new(options.throttle),
                bus,
                teller: SessionId::generate(),
            }),
        };
        accounts.hear_of_logins(tracker, stop.clone());
        let generated = accounts
            .first_administrator(&options.username, options.password)
            .await?;
        accounts.sweep_until(tracker, stop);
        Ok((accounts, generated))
    }

    /// The configured administrator's name.
    pub fn first_username(&self) -> &str {
        &self.inner.first
    }

    /// How long sessions last that are opened from now on.
    pub fn set_session_hours(&self, hours: u64) {
        self.inner
            .session_ms
            .store(hours.saturating_mul(HOUR_MS), Ordering::Relaxed);
    }

    /// How guessing of passwords is slowed down from now on.
    pub fn set_throttle(&self, limits: ThrottleLimits) {
        self.inner.throttle.set_limits(limits);
    }

    /// Sees to it that the configured administrator has the configured password; nothing happens where none is
    /// configured. Sessions that another password opened are over.
    ///
    /// # Errors
    /// The bus cannot be written; a username or password that cannot be one.
    pub async fn set_administrator(&self, username: &str, password: &str) -> Result<(), GatewayError> {
        if password.trim().is_empty() {
            return Ok(());
        }
        let password = Some(Zeroizing::new(password.to_owned()));
        self.first_administrator(username, password).await.map(drop)
    }

    /// Hashes for others that need argon2.
    pub fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    /// Opens a session.
    ///
    /// # Errors
    /// 400 for a missing name or password, 401 for wrong ones, 429 with the time to wait after too many attempts.
    pub async fn login(&self, ip: IpAddr, username: &str, password: Zeroizing<String>) -> Result<Opened, GatewayError> {
        let username = username.trim();
        if username.is_empty() || password.trim().is_empty() {
            return Err(GatewayError::field("password", "Missing username or password").with_code("missing"));
        }
        let account = self.verified(ip, username, password).await?;
        let opened = self.open_session(&account, ip).await?;
        Ok(opened)
    }

    /// Asks for an administrator's password again, before something that a stolen session must not do.
    ///
    /// # Errors
    /// As [`Accounts::login`]; `Forbidden` for a wrong password and for a viewer.
    pub async fn confirm(&self, actor: &Actor, password: Zeroizing<String>) -> Result<(), GatewayError> {
        // What comes over the bus has no address. It is slowed down together, and apart from whoever sits at this machine.
        let ip = actor.ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let account = self.verified(ip, &actor.username, password).await.map_err(|error| {
            if error.kind == ErrorKind::Unauthenticated {
                // The session is good: 401 would make a client log in again.
                GatewayError::new(ErrorKind::Forbidden, "The password is wrong.")
                    .with_code("wrong_password")
                    .with_param("password")
            } else {
                error
            }
        })?;
        if account.role != Role::Admin {
            return Err(GatewayError::new(ErrorKind::Forbidden, "This account may only look."));
        }
        Ok(())
    }

    async fn verified(
        &self,
        ip: IpAddr,
        username: &str,
        password: Zeroizing<String>,
    ) -> Result<Arc<AccountRecord>, GatewayError> {
        let wrong = || {
            GatewayError::new(ErrorKind::Unauthenticated, "Invalid username or password")
                .with_code("invalid_credentials")
        };
        if username.len() > LONGEST_USERNAME || password.len() > LONGEST_PASSWORD {
            return Err(wrong());
        }
        let attempt = self.begin_attempt(ip, username)?;
        let account = self.account(username);
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let right = self.inner.hasher.verify(password, hash).await?;
        if let Some(wait_ms) = attempt.is_too_many(self.inner.clock.now()) {
            return Err(too_many(wait_ms));
        }
        match account {
            Some(account) if right => {
                attempt.succeeded();
                self.tell(Tried::of(ip, username), true);
                Ok(account)
            }
            _ => {
                tracing::warn!(target: "audit", action = "session.refused", from = %ip, "wrong username or password");
                Err(wrong())
            }
        }
    }

    /// Makes an account.
    ///
    /// # Errors
    /// `InvalidField` for a name or password that cannot be one, `Conflict` if the name is taken; the bus cannot be
    /// written.
    pub async fn create(&self, username: &str, role: Role, password: Zeroizing<String>) -> Result<(), GatewayError> {
        let username = username.trim();
        if username.is_empty() || username.len() > LONGEST_USERNAME || username.chars().any(is_hidden) {
            return Err(GatewayError::field(
                "username",
                format!("`username` must have 1 to {LONGEST_USERNAME} printable bytes."),
            ));
        }
        if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&password.len()) {
            return Err(GatewayError::field(
                "password",
                format!("`password` must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} bytes."),
            ));
        }
        let record = AccountRecord {
            username: username.to_owned(),
            role,
            password_hash: self.inner.hasher.hash(password).await?,
            created_ms: self.inner.clock.wall().0,
        };
        let put = self.inner.accounts.put(account_key(username), record, Expect::Absent);
        put.await.map(drop).map_err(|error| unavailable(&error))
    }

    fn account(&self, username: &str) -> Option<Arc<AccountRecord>> {
        self.inner.accounts.get(&account_key(username)).map(|row| row.value)
    }

    /// Sees to it that the configured administrator exists; answers its password if it was made up.
    async fn first_administrator(
        &self,
        username: &str,
        password: Option<Zeroizing<String>>,
    ) -> Result<Option<Zeroizing<String>>, GatewayError> {
        let username = match first_name(username) {
            name if name.len() > LONGEST_USERNAME => {
                return Err(GatewayError::field(
                    "app.admin_username",
                    format!("`app.admin_username` is longer than {LONGEST_USERNAME} bytes."),
                ));
            }
            name => name.to_owned(),
        };
        let row = self.inner.accounts.get(&account_key(&username));
        let configured = password.filter(|password| !password.trim().is_empty());
        if configured
            .as_ref()
            .is_some_and(|password| password.len() > LONGEST_PASSWORD)
        {
            return Err(GatewayError::field(
                "app.app_key",
                format!("`app.app_key` is longer than {LONGEST_PASSWORD} bytes."),
            ));
        }
        let (password, generated) = match (configured, &row) {
            (Some(password), Some(row)) => {
                let stored = Some(row.value.password_hash.clone());
                if self.inner.hasher.verify(password.clone(), stored).await? {
                    return Ok(None);
                }
                (password, false)
            }
            (Some(password), None) => (password, false),
            (None, Some(_)) => return Ok(None),
            (None, None) => (Zeroizing::new(random_secret("", PASSWORD_BYTES)), true),
        };
        let record = AccountRecord {
            username: username.clone(),
            role: Role::Admin,
            password_hash: self.inner.hasher.hash(password.clone()).await?,
            created_ms: self.inner.clock.wall().0,
        };
        let hash = record.password_hash.clone();
        // Of several nodes that start at the same moment one makes the account. A configured password is written over
        // what is there, and over nothing else than that.
        let expect = row.map_or(Expect::Absent, |row| Expect::Revision(row.revision));
        for attempt in 1.. {
            let put = self.inner.accounts.put(account_key(&username), record.clone(), expect);
            let error = match put.await {
                Ok(_) => return Ok(generated.then_some(password)),
                Err(error) if matches!(error.kind, BusErrorKind::Conflict | BusErrorKind::Timeout) => error,
                Err(error) => return Err(unavailable(&error)),
            };
            let refreshed = self.inner.accounts.refresh(&account_key(&username)).await;
            refreshed.map_err(|error| unavailable(&error))?;
            match self.account(&username) {
                // Ours after all: the answer was lost.
                Some(account) if account.password_hash == hash => return Ok(generated.then_some(password)),
                Some(account) => {
                    let stored = Some(account.password_hash.clone());
                    if generated || self.inner.hasher.verify(password, stored).await? {
                        return Ok(None);
                    }
                    return Err(unavailable(&error));
                }
                // JetStream refuses as soon as another's write is proposed, which may be before it can be read.
                None if attempt < FIRST_ATTEMPTS => tokio::time::sleep(FIRST_PAUSE).await,
                None => return Err(unavailable(&error)),
            }
        }
        Ok(None)
    }
}

fn too_many(wait_ms: u64) -> GatewayError {
    GatewayError::new(
        ErrorKind::ClientLimit,
        "Too many failed logins. Wait before you try again.",
    )
    .with_code("too_many_attempts")
    .retry_after(Some(wait_ms))
}

/// The configured name, or what stands for none.
fn first_name(configured: &str) -> &str {
    match configured.trim() {
        "" => "admin",
        name => name,
    }
}

fn account_key(username: &str) -> Bytes {
    [ACCOUNTS, username.as_bytes()].concat().into()
}

/// Letters that are not seen, or that turn those beside them round: two names must not look alike.
fn is_hidden(letter: char) -> bool {
    let turns_or_hides =
        matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    letter.is_control() || turns_or_hides
}
