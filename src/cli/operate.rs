//! `grok2api token list` and its like: every operation of the table, done by a running node over its HTTP admin API.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Method;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::node::{Node, Said};
use super::{FAILURE, USAGE, complain, say};
use crate::ops::table::{Operation, operations};
use crate::settings::LoadArgs;

/// Longer than any operation takes on the node.
const SLACK: Duration = Duration::from_secs(5);
/// Where the password may stand, so that it is in no process list.
pub const PASSWORD: &str = "GROK2API_ADMIN_PASSWORD";

/// What to do with the things that the command names.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Operate {
    /// What to do; without it what can be done is listed.
    verb: Option<String>,
    /// Fields as NAME=VALUE, such as limit=10, text=mine, set.note=x, ids=tok_1,tok_2; @FILE (or @-) reads a value.
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Address of a node [default: as configured].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Administrator [default: the configured one]. The password is read from GROK2API_ADMIN_PASSWORD, else from the
    /// configuration (app.app_key).
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
}

/// A group of operations, as the command line names it.
pub fn command_of(group: &str) -> &str {
    match group {
        "tokens" => "token",
        "keys" => "key",
        "jobs" => "job",
        other => other,
    }
}

/// Does it; the answer goes to stdout as JSON.
pub fn operate(group: &str, asked: &Operate, load: &LoadArgs) -> ExitCode {
    let offered = || operations().iter().filter(|operation| operation.about.group() == group);
    let verb = asked.verb.as_deref().unwrap_or_default();
    let Some(operation) = offered().find(|operation| operation.about.verb() == verb) else {
        let known: Vec<String> = offered()
            .map(|operation| {
                let about = &operation.about;
                format!("  grok2api {} {:<14} {}", command_of(group), about.verb(), about.doc)
            })
            .collect();
        complain(&known.join("\n"));
        return ExitCode::from(USAGE);
    };
    let prepared = fields(operation, &asked.fields).and_then(|body| Ok((body, desk(asked, load)?)));
    let (body, desk) = match prepared {
        Ok(prepared) => prepared,
        Err(fault) => {
            complain(&fault);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("No runtime for the call: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    match runtime.block_on(desk.run(operation, body)) {
        Ok(answer) => {
            say(&answer);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            complain(&format!("{}: {fault}", desk.node.url));
            ExitCode::from(FAILURE)
        }
    }
}

/// Where to go and who one is there.
struct Desk {
    node: Node,
    username: String,
    password: Zeroizing<String>,
}

fn desk(asked: &Operate, load: &LoadArgs) -> Result<Desk, String> {
    let (node, config) = Node::find(asked.url.as_deref(), load)?;
    let username = asked
        .username
        .clone()
        .or_else(|| config.as_ref().map(|config| config.app.admin_username.clone()))
        .unwrap_or_else(|| "admin".to_owned());
    let password = std::env::var(PASSWORD)
        .ok()
        .or_else(|| config.map(|config| config.app.app_key.expose().to_owned()))
        .filter(|password| !password.is_empty())
        .ok_or_else(|| format!("Whose password? Set {PASSWORD} to that of {username}."))?;
    Ok(Desk {
        node,
        username,
        password: Zeroizing::new(password),
    })
}

impl Desk {
    async fn run(&self, operation: &Operation, body: Value) -> Result<String, String> {
        let login = json!({"username": self.username, "password": self.password.as_str()});
        let opened = self.post("login", None, &login, SLACK * 2).await?;
        let token = opened["token"].as_str().unwrap_or_default().to_owned();
        let about = &operation.about;
        let path = format!("operations/{}", about.name());
        let answer = self.post(&path, Some(&token), &body, about.deadline + SLACK).await;
        // A session that is left open ends by itself.
        let _ = self.post("logout", Some(&token), &json!({}), SLACK).await;
        serde_json::to_string_pretty(&answer?).map_err(|error| error.to_string())
    }

    async fn post(&self, path: &str, bearer: Option<&str>, body: &Value, deadline: Duration) -> Result<Value, String> {
        let path = format!("/api/v1/admin/{path}");
        let body = Bytes::from(body.to_string());
        let Said { status, body } = self.node.call(Method::POST, &path, bearer, body, deadline).await?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| format!("{status}: this is no grok2api"))?;
        if status.is_success() {
            return Ok(answer);
        }
        let words = answer.pointer("/error/message").and_then(Value::as_str);
        Err(format!("{} ({})", words.unwrap_or("no reason given"), status.as_u16()))
    }
}

/// The body of a call from `NAME=VALUE`s. Values are JSON where they can be, unless the field is a text; lists may be
/// written with commas.
fn fields(operation: &Operation, given: &[String]) -> Result<Value, String> {
    let mut generator = SchemaSettings::draft07()
        .for_deserialize()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let schema = (operation.input)(&mut generator).to_value();
    let mut body = Value::Object(Map::new());
    for field in given {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| format!("{field}: expected NAME=VALUE"))?;
        let value = match value.strip_prefix('@') {
            Some("-") => read_all(std::io::stdin()).map_err(|error| format!("stdin: {error}"))?,
            Some(path) => std::fs::File::open(path)
                .and_then(read_all)
                .map_err(|error| format!("{path}: {error}"))?,
            None => value.to_owned(),
        };
        let (mut place, mut shape) = (&mut body, Some(&schema));
        for part in name.split('.') {
            shape = shape.and_then(|shape| shape.get("properties")?.get(part));
            if !(place.is_null() || place.is_object()) {
                return Err(format!("{name}: a part of it is set already"));
            }
            // What is not there yet becomes an object.
            place = &mut place[part];
        }
        *place = typed(shape, value);
    }
    Ok(body)
}

fn read_all(mut from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.read_to_string(&mut text)?;
    Ok(text)
}

/// A value of the type that the field has; what does not fit goes as it is, and the node says what is wrong with it.
fn typed(shape: Option<&Value>, text: String) -> Value {
    let is = |kind: &str| {
        let types = shape.and_then(|shape| shape.get("type"));
        types
            .is_some_and(|types| types == kind || types.as_array().is_some_and(|types| types.iter().any(|t| t == kind)))
    };
    if is("array") && !text.trim_start().starts_with('[') {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        return items.map(|item| Value::String(item.to_owned())).collect();
    }
    if is("string") && !is("integer") && !is("number") && text != "null" {
        return Value::String(text);
    }
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::table::operation;

    fn body(name: &str, given: &[&str]) -> Value {
        let given: Vec<String> = given.iter().map(|field| (*field).to_owned()).collect();
        fields(operation(name).unwrap(), &given).unwrap()
    }

    #[test]
    fn fields_become_what_the_operation_takes() {
        assert_eq!(
            body(
                "tokens.list",
                &["limit=5", "text=123", "pools=apiKey,ssoBasic", "descending=true"]
            ),
            json!({"limit": 5, "text": "123", "pools": ["apiKey", "ssoBasic"], "descending": true})
        );
        assert_eq!(
            body("tokens.patch", &["id=tok_1", "set.note=a=b", "set.tags=[\"x\"]"]),
            json!({"id": "tok_1", "set": {"note": "a=b", "tags": ["x"]}})
        );
        assert_eq!(
            body("keys.create", &["set.rpm=3", "set.budget_usd=null", "set.name=7"]),
            json!({"set": {"rpm": 3, "budget_usd": null, "name": "7"}})
        );
        assert_eq!(
            body("tokens.list", &["limt=x"]),
            json!({"limt": "x"}),
            "the node names what it does not know"
        );
        assert!(fields(operation("tokens.list").unwrap(), &["limit".to_owned()]).is_err());
        assert!(
            fields(
                operation("tokens.patch").unwrap(),
                &["set=1".to_owned(), "set.note=x".to_owned()]
            )
            .is_err()
        );
    }
}
