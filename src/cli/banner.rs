//! What the first start says, once, and a demo every time: where it is, what opens it, what is on and off, and a call to
//! try.

use std::fmt::Write;

/// Model that the call to try asks for where nothing better is known.
const MODEL: &str = "grok-4.7";

/// What there is to say.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Address that clients on this machine can use, such as `http://127.0.0.1:8000`.
    pub address: String,
    /// Name of the administrator.
    pub admin_username: String,
    /// A password that was generated just now; `None` where one is configured or was generated before.
    pub admin_password: Option<String>,
    /// A client key that was generated just now.
    pub client_key: Option<String>,
    /// Whether this node joins others: what they made at their first start exists already.
    pub joins: bool,
    /// The configuration file.
    pub config_file: String,
    /// Credentials in the pool.
    pub tokens: usize,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// The NATS server; `None` alone.
    pub nats: Option<String>,
    /// Where calls go.
    pub upstream: String,
    /// Whether the upstream is the built-in one.
    pub demo: bool,
    /// Whether /v1 is open to everybody.
    pub anonymous: bool,
    /// Limits that stand, a line each, such as `2 teams with limits of their own`; empty where none is configured.
    pub limits: Vec<String>,
    /// A model to try; the newest known one where empty.
    pub model: String,
}

/// The text. It holds secrets: it goes to the terminal once, and never to the log.
pub fn banner(facts: &Facts) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {name:<15} {value}");
    };
    line("address", &facts.address);
    line("panel", &format!("{}/admin", facts.address));
    line("admin", &facts.admin_username);
    if let Some(password) = &facts.admin_password {
        line("password", &format!("{password}   (shown only now; stored hashed)"));
    } else if facts.joins {
        line(
            "password",
            "exists already: configured, or printed by the node that started first",
        );
    }
    if let Some(key) = &facts.client_key {
        let kept = if facts.demo { "" } else { "; stored hashed" };
        line("client key", &format!("{key}   (shown only now{kept})"));
    } else if facts.joins {
        line(
            "client key",
            "exists already: configured, or printed by the node that started first",
        );
    }
    line("configuration", &facts.config_file);
    line("tokens", &tokens(facts));
    line(
        "upstream",
        if facts.demo {
            "demo: built in, answers are made up"
        } else {
            &facts.upstream
        },
    );
    line("TLS", if facts.tls { "on" } else { "off" });
    line("NATS", facts.nats.as_deref().unwrap_or("off: this node works alone"));
    line(
        "anonymous use",
        if facts.anonymous {
            "ON: everybody who reaches this address can use /v1"
        } else {
            "off"
        },
    );
    if facts.limits.is_empty() {
        line("limits", "none configured: learnt from the upstream");
    }
    for (at, limit) in facts.limits.iter().enumerate() {
        line(if at == 0 { "limits" } else { "" }, limit);
    }
    let title = if facts.demo { "demo" } else { "first start" };
    format!("\ngrok2api: {title}\n\n{out}\nTry it:\n\n{}\n", call(facts))
}

fn tokens(facts: &Facts) -> String {
    match facts.tokens {
        0 => "none yet: set XAI_API_KEY, or add them as administrator".to_owned(),
        1 => "1".to_owned(),
        many => many.to_string(),
    }
}

/// A call to paste.
fn call(facts: &Facts) -> String {
    let key = match (&facts.client_key, facts.anonymous) {
        (Some(key), _) => key,
        (None, true) => "",
        (None, false) => "$YOUR_CLIENT_KEY",
    };
    let authorization = match key {
        "" => String::new(),
        key => format!(" \\\n    -H \"Authorization: Bearer {key}\""),
    };
    let model = if facts.model.is_empty() { MODEL } else { &facts.model };
    format!(
        "  curl -N {}/v1/chat/completions{authorization} \\\n    -H \"Content-Type: application/json\" \\\n    \
         -d '{{\"model\": \"{model}\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n",
        facts.address
    )
}
