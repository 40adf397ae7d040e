//! One value against the kind of its key.

use grok2api_schemas::config::spec::{Form, KeySpec, Kind};
use serde_json::{Value as Json, json};
use toml_edit::Value;

/// How much memory the automaton of one rule's text may take.
const RULE_BYTES: usize = 1 << 20;

/// What is wrong with a value, and the mend.
#[derive(Debug)]
pub(super) struct Fault {
    pub what: String,
    pub mend: String,
}

fn fault(what: impl Into<String>, mend: impl Into<String>) -> Fault {
    Fault {
        what: what.into(),
        mend: mend.into(),
    }
}

/// The value as the typed configuration reads it. `None`: not set (an empty text), the default stands.
pub(super) fn plain(spec: &KeySpec, value: &Value) -> Result<Option<Json>, Fault> {
    match spec.kind {
        Kind::Flag => value
            .as_bool()
            .map(|flag| Some(json!(flag)))
            .ok_or_else(|| wrong_type(spec, value, "true or false", "Write true or false, without quotes.")),
        Kind::Int { min, max } => int(spec, value, min, max).map(|number| Some(json!(number))),
        Kind::Number { min, max } => number(spec, value, min, max).map(Some),
        Kind::Text(form) => match text(spec, value)? {
            "" => Ok(None),
            given => form_of(form, given)
                .map(|kept| Some(json!(kept)))
                .map_err(|fault| masked(spec, fault)),
        },
        Kind::Choice(names) => match text(spec, value)? {
            "" => Ok(None),
            given if names.contains(&given) => Ok(Some(json!(given))),
            given => Err(fault(
                format!("{given:?} is not one of its values"),
                format!("Write one of {}.", names.join(", ")),
            )),
        },
        Kind::Texts(form) => list(spec, value, |item| {
            let given = text(spec, item)?;
            form_of(form, given).map(|kept| json!(kept))
        }),
        Kind::Ints { min, max } => list(spec, value, |item| {
            int(spec, item, min, max).map(|number| json!(number))
        }),
        Kind::Tables(_) | Kind::TableMap(_) => Err(wrong_type(spec, value, "tables", "See `grok2api example-config`.")),
    }
}

fn list(spec: &KeySpec, value: &Value, item: impl Fn(&Value) -> Result<Json, Fault>) -> Result<Option<Json>, Fault> {
    let Some(array) = value.as_array() else {
        let mend = format!("Write it in brackets, such as {} = {}.", spec.key, sample(spec));
        return Err(wrong_type(spec, value, "a list", &mend));
    };
    array
        .iter()
        .map(item)
        .collect::<Result<Vec<_>, _>>()
        .map(|items| Some(Json::Array(items)))
}

fn sample(spec: &KeySpec) -> &'static str {
    match (spec.default, spec.kind) {
        (Some(default), _) if default != "[]" => default,
        (_, Kind::Ints { .. }) => "[1, 2]",
        _ => "[\"a\", \"b\"]",
    }
}

fn int(spec: &KeySpec, value: &Value, min: i64, max: i64) -> Result<i64, Fault> {
    let Some(number) = value.as_integer() else {
        let mend = format!("Write a whole number between {min} and {max}, without quotes.");
        return Err(wrong_type(spec, value, "a whole number", &mend));
    };
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(fault(
            format!("{number} is out of range"),
            format!("Write a whole number between {min} and {max}."),
        ))
    }
}

fn number(spec: &KeySpec, value: &Value, min: f64, max: f64) -> Result<Json, Fault> {
    let number = value
        .as_float()
        .or_else(|| value.as_integer().map(|whole| whole as f64));
    match number {
        Some(number) if (min..=max).contains(&number) => Ok(json!(number)),
        Some(number) => Err(fault(
            format!("{number} is out of range"),
            format!("Write a number between {min} and {max}."),
        )),
        None => {
            let mend = format!("Write a number between {min} and {max}, without quotes.");
            Err(wrong_type(spec, value, "a number", &mend))
        }
    }
}

fn text<'a>(spec: &KeySpec, value: &'a Value) -> Result<&'a str, Fault> {
    value
        .as_str()
        .ok_or_else(|| wrong_type(spec, value, "a text", "Put it in double quotes."))
}

fn wrong_type(spec: &KeySpec, value: &Value, expected: &str, mend: &str) -> Fault {
    let found = match value {
        _ if spec.secret => value.type_name().to_owned(),
        Value::String(text) => format!("the text {:?}", text.value()),
        Value::Integer(number) => format!("the number {}", number.value()),
        Value::Float(number) => format!("the number {}", number.value()),
        Value::Boolean(flag) => format!("{}", flag.value()),
        Value::Datetime(_) => "a date".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::InlineTable(_) => "a table".to_owned(),
    };
    fault(format!("expected {expected}, found {found}"), mend)
}

/// A fault that may be shown: what was given for a secret is not.
fn masked(spec: &KeySpec, mut fault: Fault) -> Fault {
    if spec.secret {
        fault.what = "the value does not have the right form".to_owned();
    }
    fault
}

/// A text that is not empty against its form; answers the text as it is kept.
fn form_of(form: Form, given: &str) -> Result<String, Fault> {
    match form {
        Form::Any => Ok(given.to_owned()),
        Form::HttpUrl => url(given, &["http", "https"], "https://api.example.org"),
        Form::ProxyUrl => url(
            given,
            &["http", "https", "socks5", "socks5h"],
            "http://127.0.0.1:3128 or socks5://127.0.0.1:1080",
        ),
        Form::NatsUrl => given
            .split(',')
            .map(|one| url(one.trim(), &["nats", "tls", "ws", "wss"], "nats://127.0.0.1:4222"))
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.join(",")),
        Form::Network => match (given.parse::<ipnet::IpNet>(), given.parse::<std::net::IpAddr>()) {
            (Err(_), Err(_)) => Err(fault(
                format!("{given:?} is neither an IP address nor a network"),
                "Write addresses such as \"10.1.2.3\" or networks such as \"10.0.0.0/8\".",
            )),
            _ => Ok(given.to_owned()),
        },
        Form::HeaderName => header_name(given),
        Form::Regex => match rule_text(given) {
            Ok(_) => Ok(given.to_owned()),
            Err(error) => Err(fault(
                format!(
                    "{given:?} is not a regular expression ({})",
                    one_line(&error.to_string())
                ),
                "A backslash before ( ) [ ] . * + ? takes their meaning away; in 'single quotes' TOML leaves it alone.",
            )),
        },
        Form::LogLevel => log_level(given),
        Form::Host => host(given),
    }
}

/// As the rules compile it: what passes here is accepted there.
fn rule_text(given: &str) -> Result<regex::Regex, regex::Error> {
    let mut builder = regex::RegexBuilder::new(given);
    builder.case_insensitive(true).size_limit(RULE_BYTES).build()
}

fn one_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

fn url(given: &str, schemes: &[&str], example: &str) -> Result<String, Fault> {
    let sound = given.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    }) && !given.contains('#');
    if sound {
        return Ok(given.trim_end_matches('/').to_owned());
    }
    Err(fault(
        format!("{:?} is not an address that can be used here", without_password(given)),
        format!("It begins with {}://, such as {example}.", schemes.join(":// or ")),
    ))
}

/// A URL for a message: what stands between `//` and `@` may be a password.
fn without_password(given: &str) -> String {
    match (given.find("//"), given.rfind('@')) {
        (Some(start), Some(end)) if start + 2 < end => format!("{}…{}", &given[..start + 2], &given[end..]),
        _ => given.to_owned(),
    }
}

/// Headers that are never passed on: they are the client's credential, belong to one connection, or are ours to set.
const NEVER_FORWARDED: &[&str] = &[
    "authorization",
    "x-api-key",
    "cookie",
    "host",
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "expect",
];

fn header_name(given: &str) -> Result<String, Fault> {
    let Ok(name) = http::HeaderName::from_bytes(given.as_bytes()) else {
        return Err(fault(
            format!("{given:?} is not the name of a header"),
            "Write names such as \"x-grok-conv-id\".",
        ));
    };
    let name = name.as_str();
    if NEVER_FORWARDED.contains(&name) || name.starts_with("openai-") || name.starts_with("x-stainless-") {
        return Err(fault(
            format!("the header {name} is never passed on"),
            "Leave it out: it is the client's credential, belongs to one connection, or is ours to set.",
        ));
    }
    Ok(name.to_owned())
}

/// Levels, with the names that Python gives them.
fn level(given: &str) -> Option<&'static str> {
    Some(match given.to_ascii_lowercase().as_str() {
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        "off" => "off",
        _ => return None,
    })
}

fn log_level(given: &str) -> Result<String, Fault> {
    let mut kept = Vec::new();
    for directive in given.split(',').map(str::trim) {
        let (target, name) = match directive.rsplit_once('=') {
            Some((target, name)) => (Some(target.trim()), name.trim()),
            None => (None, directive),
        };
        match (target, level(name)) {
            (None, Some(level)) => kept.push(level.to_owned()),
            (Some(target), Some(level)) if !target.is_empty() => kept.push(format!("{target}={level}")),
            _ => {
                return Err(fault(
                    format!("{directive:?} is not a log level"),
                    "Write error, warn, info, debug or trace; or directives such as \"info,grok2api=debug\".",
                ));
            }
        }
    }
    Ok(kept.join(","))
}

fn host(given: &str) -> Result<String, Fault> {
    let bare = given
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(given);
    let is_name = !bare.contains(':')
        && bare.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
        // Digits and dots alone are an address, and a wrong one.
        && !bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if bare.parse::<std::net::IpAddr>().is_ok() || is_name {
        Ok(bare.to_owned())
    } else {
        Err(fault(
            format!("{given:?} is not an address to listen on"),
            "Write an IP address such as 127.0.0.1 or ::, or a host name; the port has its own key.",
        ))
    }
}
