//! Accounts of administrators as the admin doors take and show them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::accounts::Role;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserView {
    /// Its name.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// Whether it is the configured one (app.admin_username): it is always there, and an administrator.
    pub is_first: bool,
    /// Sessions that are open.
    pub sessions: u64,
}

/// Every account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserList {
    /// By name.
    pub items: Vec<UserView>,
}

/// An account to make. Holds a password: it is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserAddAsk {
    /// Its name, 1 to 64 printable bytes.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// Its password, at least 8 bytes; not sent = one is made and told once.
    #[serde(default)]
    pub password: Option<String>,
}

impl fmt::Debug for UserAddAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserAddAsk")
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// An account that was made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserSaved {
    /// It.
    pub user: UserView,
    /// The password that was made for it; this is the only time that it is told.
    pub password: Option<String>,
}

/// A change to an account; what is absent stays. Holds a password: it is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatchAsk {
    /// Which.
    pub username: String,
    /// What it may do; its open sessions follow at once.
    #[serde(default)]
    pub role: Option<Role>,
    /// Its new password, at least 8 bytes; its open sessions end.
    #[serde(default)]
    pub password: Option<String>,
    /// Make a new password and tell it once; its open sessions end.
    #[serde(default)]
    pub new_password: bool,
}

impl fmt::Debug for UserPatchAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserPatchAsk")
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserAsk {
    /// Which.
    pub username: String,
}
