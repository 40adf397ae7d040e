//! Accounts as administrators manage them.

use grok2api_actors::bus::{BusErrorKind, Expect};
use grok2api_actors::vault::random_secret;
use grok2api_schemas::admin::accounts::{AccountRecord, Role};
use grok2api_schemas::admin::users::{UserAddAsk, UserAsk, UserList, UserPatchAsk, UserSaved, UserView};
use grok2api_schemas::bus::admin::Done;
use zeroize::Zeroizing;

use super::{Accounts, LONGEST_PASSWORD, PASSWORD_BYTES, SHORTEST_PASSWORD, account_key};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::audit::{Actor, differences};
use crate::ops::unavailable;

impl Accounts {
    /// Every account, by name.
    pub fn users(&self) -> UserList {
        let rows = self.inner.accounts.all();
        UserList {
            items: rows.iter().map(|(_, row)| self.user_view(&row.value)).collect(),
        }
    }

    /// Makes an account.
    ///
    /// # Errors
    /// As [`Accounts::create`].
    pub async fn add_user(&self, actor: &Actor, ask: UserAddAsk) -> Result<UserSaved, GatewayError> {
        let (password, told) = match ask.password {
            Some(password) => (Zeroizing::new(password), None),
            None => {
                let made = random_secret("", PASSWORD_BYTES);
                (Zeroizing::new(made.clone()), Some(made))
            }
        };
        let username = ask.username.trim().to_owned();
        if self.account(&username).is_some() {
            return Err(
                GatewayError::new(ErrorKind::Conflict, "There is an account of that name.")
                    .with_code("user_exists")
                    .with_param("username"),
            );
        }
        self.create(&username, ask.role, password).await?;
        actor.did("users.add", &[&username], role_word(ask.role));
        Ok(UserSaved {
            user: self.user(&username)?,
            password: told,
        })
    }

    /// Changes an account.
    ///
    /// # Errors
    /// `NotFound`, `InvalidField`; `Conflict` for the configured administrator, or if somebody else changed it.
    pub async fn patch_user(&self, actor: &Actor, ask: UserPatchAsk) -> Result<UserSaved, GatewayError> {
        let row = self
            .inner
            .accounts
            .get(&account_key(&ask.username))
            .ok_or_else(no_such_user)?;
        let before = AccountRecord::clone(&row.value);
        let is_first = before.username == self.inner.first;
        let (password, told) = match (ask.password, ask.new_password) {
            (Some(_), true) => {
                return Err(GatewayError::field(
                    "new_password",
                    "`new_password` makes one: leave `password` out.",
                ));
            }
            (Some(password), false) => (Some(Zeroizing::new(password)), None),
            (None, true) => {
                let made = random_secret("", PASSWORD_BYTES);
                (Some(Zeroizing::new(made.clone())), Some(made))
            }
            (None, false) => (None, None),
        };
        if is_first && password.is_some() {
            return Err(configured("its password is app.app_key: set it there"));
        }
        if is_first && ask.role.is_some_and(|role| role != Role::Admin) {
            return Err(configured("it stays an administrator"));
        }
        let mut after = before.clone();
        after.role = ask.role.unwrap_or(before.role);
        let has_password = password.is_some();
        if let Some(password) = password {
            if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&password.len()) {
                return Err(GatewayError::field(
                    "password",
                    format!("`password` must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} bytes."),
                ));
            }
            after.password_hash = self.inner.hasher.hash(password).await?;
        }
        let put = self.inner.accounts.put(
            account_key(&before.username),
            after.clone(),
            Expect::Revision(row.revision),
        );
        put.await.map_err(|error| unavailable(&error))?;
        let words = if has_password { "a new password" } else { "" };
        actor.changed(
            "users.patch",
            &[&before.username],
            words,
            differences(&before, &after, &["role"]),
        );
        Ok(UserSaved {
            user: self.user(&before.username)?,
            password: told,
        })
    }

    /// Deletes an account; its sessions are over.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for the configured administrator and for one's own.
    pub async fn delete_user(&self, actor: &Actor, ask: &UserAsk) -> Result<Done, GatewayError> {
        let key = account_key(&ask.username);
        let row = self.inner.accounts.get(&key).ok_or_else(no_such_user)?;
        if row.value.username == self.inner.first {
            return Err(configured("it cannot be deleted"));
        }
        if actor.ip.is_some() && actor.username == row.value.username {
            return Err(GatewayError::new(
                ErrorKind::Conflict,
                "This is your own account: another administrator can delete it.",
            )
            .with_code("own_user"));
        }
        match self.inner.accounts.delete(key, row.revision).await {
            Ok(()) => {}
            Err(error) if error.kind == BusErrorKind::Conflict => return Err(unavailable(&error)),
            Err(error) => return Err(unavailable(&error)),
        }
        for (key, session) in self.inner.sessions.all() {
            if session.value.username == ask.username {
                // It opens nothing any more; this only tidies up.
                let _ = self.inner.sessions.delete(key, session.revision).await;
            }
        }
        actor.did("users.delete", &[&ask.username], role_word(row.value.role));
        Ok(Done { done: true })
    }

    fn user(&self, username: &str) -> Result<UserView, GatewayError> {
        let account = self.account(username).ok_or_else(no_such_user)?;
        Ok(self.user_view(&account))
    }

    fn user_view(&self, account: &AccountRecord) -> UserView {
        let now = self.inner.clock.wall().0;
        let sessions = self
            .inner
            .sessions
            .all()
            .iter()
            .filter(|(_, row)| row.value.username == account.username && row.value.expires_ms > now)
            .count();
        UserView {
            username: account.username.clone(),
            role: account.role,
            created_ms: account.created_ms,
            is_first: account.username == self.inner.first,
            sessions: sessions as u64,
        }
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Admin => "admin",
    }
}

fn no_such_user() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "No such account.").with_code("user_not_found")
}

fn configured(words: &str) -> GatewayError {
    GatewayError::new(
        ErrorKind::Conflict,
        format!("This is the configured administrator (app.admin_username): {words}."),
    )
    .with_code("configured_user")
}
