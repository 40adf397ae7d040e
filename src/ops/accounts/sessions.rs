//! Sessions: opened, found, ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grok2api_actors::bus::{BusErrorKind, Expect};
use grok2api_actors::clients::bound;
use grok2api_actors::vault::random_secret;
use grok2api_schemas::admin::accounts::{AccountRecord, Role, SessionRecord};
use grok2api_schemas::ids::KeyId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{Accounts, SESSIONS};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::unavailable;

/// What tokens of sessions begin with.
const PREFIX: &str = "adm_";
/// Random bytes of a token: 43 characters.
const TOKEN_BYTES: usize = 32;
/// Most sessions of one account; the oldest ends when there is one more. Scripts that log in for every call need many.
const MOST: usize = 1_000;
/// How often sessions that are over are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// A session that was just opened.
pub struct Opened {
    /// What proves it; answered this once.
    pub token: Zeroizing<String>,
    /// The session.
    pub session: Arc<SessionRecord>,
}

impl Accounts {
    pub(super) async fn open_session(&self, account: &AccountRecord, ip: IpAddr) -> Result<Opened, GatewayError> {
        let token = Zeroizing::new(random_secret(PREFIX, TOKEN_BYTES));
        let now = self.inner.clock.wall().0;
        let session = SessionRecord {
            username: account.username.clone(),
            role: account.role,
            csrf_token: random_secret("", 18),
            password_mark: password_mark(account),
            created_ms: now,
            expires_ms: now.saturating_add(self.inner.session_ms.load(Ordering::Relaxed)),
            client_ip: ip.to_string(),
            opened_on: self.inner.node.clone().into(),
        };
        let session = self
            .inner
            .sessions
            .put(session_key(&token), session, Expect::Absent)
            .await
            .map_err(|error| unavailable(&error))?;
        self.end_surplus(&account.username).await;
        Ok(Opened { token, session })
    }

    /// The session that a token proves.
    ///
    /// # Errors
    /// 401 that says why.
    pub async fn session(&self, token: &str) -> Result<Arc<SessionRecord>, GatewayError> {
        if !token.starts_with(PREFIX) {
            return Err(no_session());
        }
        let row = self
            .inner
            .sessions
            .get_or_read(&session_key(token))
            .await
            .map_err(|error| unavailable(&error))?
            .ok_or_else(no_session)?;
        if row.value.expires_ms <= self.inner.clock.wall().0 {
            return Err(GatewayError::new(
                ErrorKind::Unauthenticated,
                "This session has expired: log in again at POST /api/v1/admin/login.",
            )
            .with_code("session_expired"));
        }
        let account = self.account(&row.value.username);
        let account = account.filter(|account| password_mark(account) == row.value.password_mark);
        let Some(account) = account else {
            return Err(GatewayError::new(
                ErrorKind::Unauthenticated,
                "The password was changed: log in again at POST /api/v1/admin/login.",
            )
            .with_code("session_expired"));
        };
        if account.role == row.value.role {
            return Ok(row.value);
        }
        // What the account may do now counts, not what it could when it logged in.
        let mut session = SessionRecord::clone(&row.value);
        session.role = account.role;
        Ok(Arc::new(session))
    }

    /// Ends the session that a token proves; nothing happens if there is none.
    ///
    /// # Errors
    /// The bus cannot be written: the session is still open.
    pub async fn logout(&self, token: &str) -> Result<(), GatewayError> {
        let key = session_key(token);
        // Another node may have opened it a moment ago.
        let found = self.inner.sessions.get_or_read(&key).await;
        let Some(row) = found.map_err(|error| unavailable(&error))? else {
            return Ok(());
        };
        match self.inner.sessions.delete(key, row.revision).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == BusErrorKind::Conflict => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Whether the session of a bound key is open, and its account may still call with it.
    pub fn lets_call(&self, key: KeyId) -> bool {
        let now = self.inner.clock.wall().0;
        let rows = self.inner.sessions.all();
        let open = rows.iter().find(|(name, row)| key_of(name, &row.value) == Some(key));
        open.is_some_and(|(_, row)| {
            let account = self.account(&row.value.username);
            row.value.expires_ms > now
                && account.is_some_and(|account| {
                    account.role == Role::Admin && password_mark(&account) == row.value.password_mark
                })
        })
    }

    pub(super) fn sweep_until(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let accounts = self.clone();
        tracker.spawn(async move {
            let sweep = async {
                loop {
                    accounts.sweep().await;
                    tokio::time::sleep(SWEEP_EVERY).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = sweep => {}
            }
        });
    }

    /// Deletes sessions that are over.
    async fn sweep(&self) {
        let now = self.inner.clock.wall().0;
        for (key, row) in self.inner.sessions.all() {
            if row.value.expires_ms <= now {
                // Another node may have been faster.
                let _ = self.inner.sessions.delete(key, row.revision).await;
            }
        }
    }

    async fn end_surplus(&self, username: &str) {
        if self.inner.sessions.len() <= MOST {
            return;
        }
        let mut own: Vec<_> = self
            .inner
            .sessions
            .all()
            .into_iter()
            .filter(|(_, row)| row.value.username == username)
            .collect();
        own.sort_by_key(|(_, row)| row.value.created_ms);
        let surplus = own.len().saturating_sub(MOST);
        for (key, row) in own.into_iter().take(surplus) {
            let _ = self.inner.sessions.delete(key, row.revision).await;
        }
    }
}

/// The client key of a session: its id, and its secret.
pub fn bound_key(token: &str, session: &SessionRecord) -> (KeyId, Zeroizing<String>) {
    let hash = *blake3::hash(token.as_bytes()).as_bytes();
    (bound::id_of(&hash, session.created_ms), bound::secret_of(token))
}

fn key_of(name: &[u8], session: &SessionRecord) -> Option<KeyId> {
    let hash: &[u8; 32] = name.strip_prefix(SESSIONS)?.try_into().ok()?;
    Some(bound::id_of(hash, session.created_ms))
}

fn no_session() -> GatewayError {
    GatewayError::new(
        ErrorKind::Unauthenticated,
        "This is not the token of an open session: log in at POST /api/v1/admin/login.",
    )
    .with_code("invalid_session")
}

/// Found by the hash of the token, so that the store holds nothing that opens a door. A token has 256 random bits: a
/// plain hash is enough.
fn session_key(token: &str) -> Bytes {
    [SESSIONS, blake3::hash(token.as_bytes()).as_bytes()].concat().into()
}

/// Changes with the password.
fn password_mark(account: &AccountRecord) -> [u8; 32] {
    *blake3::hash(account.password_hash.as_bytes()).as_bytes()
}
