//! Who did what: a log line for every change, with target `audit`, and none with a secret in it.

use std::fmt::Display;
use std::net::IpAddr;

use grok2api_schemas::admin::accounts::Role;

/// Ids that one line names; the count says how many there were.
const NAMED: usize = 20;

/// Who acts, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account.
    pub username: String,
    /// What it may do.
    pub role: Role,
    /// The address it came from; `None` for the bus and the command line.
    pub ip: Option<IpAddr>,
}

impl Actor {
    /// Somebody whom NATS lets call the admin service: its permissions are the only ones asked.
    pub fn over_nats() -> Actor {
        Actor {
            username: "nats".to_owned(),
            role: Role::Admin,
            ip: None,
        }
    }

    /// Writes the line.
    pub fn did<I: Display>(&self, action: &'static str, ids: &[I], details: &str) {
        let named: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
        tracing::info!(
            target: "audit",
            action,
            who = %self.username,
            from = %self.ip.map_or_else(|| "here".to_owned(), |ip| ip.to_string()),
            count = ids.len(),
            ids = %named.join(" "),
            details,
            "admin action"
        );
    }
}
