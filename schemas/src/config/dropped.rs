//! Keys of the older project that are recognised and not taken over. Most belong to what this project does not do:
//! creating accounts, solving captchas, driving mailboxes, forging anti-bot values, changing settings of accounts.

/// A key that is known, dropped, and warned about.
#[derive(Clone, Copy, Debug)]
pub struct DroppedKey {
    /// `section.key`.
    pub path: &'static str,
    /// Why nothing comes of it.
    pub reason: &'static str,
}

const NO_ACCOUNTS: &str = "accounts are not created here";
const NO_CAPTCHA: &str = "captchas are not solved here";
const NO_ACCOUNT_SETTINGS: &str = "settings of accounts are not changed here";

const fn dropped(path: &'static str, reason: &'static str) -> DroppedKey {
    DroppedKey { path, reason }
}

/// Every such key.
pub const DROPPED: &[DroppedKey] = &[
    dropped("grok.dynamic_statsig", "anti-bot values are not forged here"),
    dropped("token.nsfw_refresh_concurrency", NO_ACCOUNT_SETTINGS),
    dropped("token.nsfw_refresh_retries", NO_ACCOUNT_SETTINGS),
    dropped("register.worker_domain", NO_ACCOUNTS),
    dropped("register.email_domain", NO_ACCOUNTS),
    dropped("register.admin_password", NO_ACCOUNTS),
    dropped("register.yescaptcha_key", NO_CAPTCHA),
    dropped("register.solver_url", NO_CAPTCHA),
    dropped("register.solver_browser_type", NO_CAPTCHA),
    dropped("register.solver_threads", NO_CAPTCHA),
    dropped("register.auto_start_solver", NO_CAPTCHA),
    dropped("register.solver_debug", NO_CAPTCHA),
    dropped(
        "storage.type",
        "the store is embedded, or NATS: there is nothing to choose",
    ),
];

/// The dropped key of that path, or nothing.
pub fn dropped_key(path: &str) -> Option<&'static DroppedKey> {
    DROPPED.iter().find(|key| key.path == path)
}
