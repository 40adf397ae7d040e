//! Values that are right alone and wrong together.

use std::collections::HashMap;
use std::path::Path;

use grok2api_actors::bus::codec;
use grok2api_actors::bus::nats;
use grok2api_schemas::config::service::OLDER_DEFAULT_APP_URL;
use grok2api_schemas::config::{Config, Cool, Join, NatsConfig, OnDisconnect, TeamConfig};

use super::error::Place;
use super::gathered::Gathered;

/// Shortest text that may stand for a master key.
const MASTER_KEY_CHARS: usize = 16;

/// Shortest admin password that is not remarked upon.
const PASSWORD_CHARS: usize = 8;

/// Adds the problems and warnings of the whole, and settles what counts as not set.
pub(super) fn check(config: &mut Config, gathered: &mut Gathered, file: &Path) {
    if config.app.app_url == OLDER_DEFAULT_APP_URL {
        config.app.app_url.clear();
    }
    let mut checker = Checker { gathered, file };
    checker.tls(config);
    checker.nats(&config.nats);
    checker.secrets(config);
    checker.teams(&config.xai.teams);
    checker.rules(config);
    if config.clients.on_disconnect == OnDisconnect::Cancel && config.clients.drain_max_secs > 0 {
        checker.warn(
            "clients.drain_max_secs",
            "has no effect while clients.on_disconnect is cancel",
        );
    }
    if config.security.allow_anonymous {
        checker.warn(
            "security.allow_anonymous",
            "everybody who reaches this address can use /v1",
        );
    }
}

struct Checker<'a> {
    gathered: &'a mut Gathered,
    file: &'a Path,
}

impl Checker<'_> {
    fn place(&self, path: &str) -> Place {
        let given = self.gathered.places.get(path).cloned();
        given.unwrap_or_else(|| Place::WholeFile(self.file.to_owned()))
    }

    fn problem(&mut self, path: &str, what: impl Into<String>, mend: impl Into<String>) {
        let place = self.place(path);
        self.gathered.problem(place, path, what, mend);
    }

    fn warn(&mut self, path: &str, text: &str) {
        let place = self.place(path);
        self.gathered.warn(&place, path, text);
    }

    fn tls(&mut self, config: &Config) {
        let server = &config.server;
        let keys = [
            ("server.tls_cert", &server.tls_cert),
            ("server.tls_key", &server.tls_key),
        ];
        self.pair_of_files(keys, "neither to speak plain HTTP");
    }

    fn nats(&mut self, nats: &NatsConfig) {
        let keys = [("nats.tls_cert", &nats.tls_cert), ("nats.tls_key", &nats.tls_key)];
        self.pair_of_files(keys, "neither to show no certificate");
        if !nats::is_prefix(&nats.prefix) {
            self.problem(
                "nats.prefix",
                format!("{:?} cannot begin a stream's name", nats.prefix),
                "Use 1 to 32 letters, digits, - or _.",
            );
        }
        for (path, file) in [
            ("nats.tls_ca", &nats.tls_ca),
            ("nats.creds", &nats.creds),
            ("nats.nkey", &nats.nkey),
        ] {
            if !file.is_empty() && !Path::new(file).is_file() {
                self.problem(
                    path,
                    format!("there is no file {file:?}"),
                    "Name a file that this user can read.",
                );
            }
        }
        if nats.user.is_empty() != nats.password.expose().is_empty() {
            let (set, unset) = if nats.user.is_empty() {
                ("nats.password", "nats.user")
            } else {
                ("nats.user", "nats.password")
            };
            self.problem(
                set,
                format!("is set and {unset} is not"),
                format!("Set {unset} too, or neither."),
            );
        }
        let logins: Vec<&str> = [
            ("nats.user", nats.user.as_str()),
            ("nats.token", nats.token.expose()),
            ("nats.creds", nats.creds.as_str()),
            ("nats.nkey", nats.nkey.as_str()),
        ]
        .into_iter()
        .filter_map(|(path, value)| (!value.is_empty()).then_some(path))
        .collect();
        if let [first, second, ..] = logins[..] {
            self.problem(
                second,
                format!("is set and {first} is too"),
                "Keep one way to log in to NATS.",
            );
        }
    }

    /// Two files that need each other.
    fn pair_of_files(&mut self, keys: [(&str, &String); 2], without: &str) {
        for (at, (path, value)) in keys.into_iter().enumerate() {
            let (other, other_value) = keys[1 - at];
            if value.is_empty() {
                continue;
            }
            if other_value.is_empty() {
                self.problem(
                    path,
                    format!("is set and {other} is not"),
                    format!("Set {other} too, or {without}."),
                );
            } else if !Path::new(value).is_file() {
                self.problem(
                    path,
                    format!("there is no file {value:?}"),
                    "Name a PEM file that this user can read.",
                );
            }
        }
    }

    fn secrets(&mut self, config: &Config) {
        let master = config.security.master_key.expose();
        if !master.is_empty() && master.chars().count() < MASTER_KEY_CHARS {
            self.problem(
                "security.master_key",
                format!("has fewer than {MASTER_KEY_CHARS} characters"),
                "Use 64 hexadecimal digits, as `openssl rand -hex 32` prints them.",
            );
        }
        if config.nats.join == Join::Key && master.is_empty() {
            self.problem(
                "nats.join",
                "is key, and security.master_key is not set",
                "Set security.master_key to the cluster's key, or nats.join to open.",
            );
        }
        if config.cluster.codec_version > codec::VERSION {
            self.problem(
                "cluster.codec_version",
                format!(
                    "{} is not known to this version, which writes and reads {} at most",
                    config.cluster.codec_version,
                    codec::VERSION
                ),
                "Run the version of the other nodes.",
            );
        }
        let (password, client) = (config.app.app_key.expose(), config.app.api_key.expose());
        if !password.is_empty() && password == client {
            self.problem(
                "app.api_key",
                "is the admin password (app.app_key) too",
                "Give clients a key of their own: one that is handed out must not open the admin routes.",
            );
        }
        if !password.is_empty() && password.chars().count() < PASSWORD_CHARS {
            self.warn("app.app_key", "is easy to guess; use eight characters or more");
        }
    }

    fn teams(&mut self, teams: &[TeamConfig]) {
        let mut ids: HashMap<&str, usize> = HashMap::new();
        let mut keys: HashMap<&str, usize> = HashMap::new();
        for (at, team) in teams.iter().enumerate() {
            let path = format!("xai.teams[{at}]");
            if team.id.is_empty() && team.keys.is_empty() {
                self.problem(
                    &path,
                    "the team has neither id nor keys",
                    "Write id = \"…\" as the API's /v1/api-key reports it, or keys = [\"label or masked key\"].",
                );
            }
            if team.limits.is_empty() {
                self.warn(&path, "the team has no limits, so it changes nothing");
            }
            if !team.id.is_empty()
                && let Some(first) = ids.insert(&team.id, at)
            {
                self.problem(
                    &format!("{path}.id"),
                    format!("{:?} is the id of xai.teams[{first}] too", team.id),
                    "Put the limits of one team into one table.",
                );
            }
            for key in &team.keys {
                if let Some(first) = keys.insert(key, at) {
                    let what = if first == at {
                        format!("{key:?} stands there twice")
                    } else {
                        format!("{key:?} is a key of xai.teams[{first}] too")
                    };
                    self.problem(
                        &format!("{path}.keys"),
                        what,
                        "A key belongs to one team; name it once.",
                    );
                }
            }
        }
    }

    fn rules(&mut self, config: &Config) {
        for (at, rule) in config.xai.rules.iter().enumerate() {
            let path = format!("xai.rules[{at}]");
            if rule.status.is_none() && rule.text.is_empty() && rule.model.is_empty() {
                self.problem(
                    &path,
                    "the rule has no condition and would match every answer",
                    "Set status, text or model.",
                );
            }
            if rule.for_secs.is_some() && rule.cool == Cool::Nobody {
                self.problem(
                    &format!("{path}.for_secs"),
                    "is set, and cool is none",
                    "Say whom to cool: token, token_model, team_model or team.",
                );
            }
        }
    }
}
