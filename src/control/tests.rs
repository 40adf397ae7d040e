use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::{Message, RequestErrorKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clients::ClientKeys;
use grok2api_actors::clock::{Clock, WallMs};
use grok2api_actors::store::Store;
use grok2api_schemas::ids::{KeyId, RequestId, TokenId};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::ops::accounts::{AccountOptions, Accounts};
use crate::ops::fakes::{FakeClusterLedger, FakeConversations, FakePool, FakeUsage};
use crate::ops::keys::KeyOps;
use crate::ops::requests::RequestOps;
use crate::ops::tokens::TokenOps;
use crate::request_log::{RequestLog, RequestLogOptions};

const PASSWORD: &str = "a good password";
const PREFIX: &str = "test";

/// A nats-server of its own; gone with the test.
struct Nats {
    child: Child,
    url: String,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nats {
    async fn start() -> Option<Nats> {
        let program = match std::env::var_os("GROK2API_TEST_NATS_SERVER") {
            Some(path) => PathBuf::from(path),
            None => {
                let path = std::env::var_os("PATH")?;
                let found = std::env::split_paths(&path)
                    .map(|directory| directory.join("nats-server"))
                    .find(|path| path.exists());
                if found.is_none() {
                    println!("left out: there is no nats-server (.ci/sdks installs it)");
                }
                found?
            }
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nats = Nats {
            child,
            url: format!("127.0.0.1:{port}"),
        };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(&nats.url).await.is_ok() {
                return Some(nats);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("nats-server does not listen");
    }
}

/// A node's admin service, and a caller.
struct Stand {
    caller: Client,
    pool: Arc<FakePool>,
    stop: CancellationToken,
    _nats: Nats,
}

async fn ops(pool: Arc<FakePool>) -> Ops {
    let store = Store::temporary().unwrap();
    let (clock, _) = Clock::manual(WallMs(1_700_000_000_000));
    let bus: grok2api_actors::bus::BusHandle = LocalBus::new(store.clone(), clock.clone());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let hash = |secret: &str| *blake3::keyed_hash(&[9; 32], secret.as_bytes()).as_bytes();
    let keys = ClientKeys::load(bus.clone(), Arc::new(hash), clock.clone(), &tracker, stop.clone())
        .await
        .unwrap();
    let options = AccountOptions {
        username: "root".into(),
        password: Some(Zeroizing::new(PASSWORD.into())),
        session_hours: 8,
        throttle: crate::ops::fakes::THROTTLE,
        node: String::new(),
    };
    let (accounts, _) = Accounts::load(bus.clone(), clock.clone(), &tracker, stop, options)
        .await
        .unwrap();
    let log = RequestLog::open(store, clock.clone(), RequestLogOptions::default()).unwrap();
    let audit = crate::ops::fakes::audit(&bus, &clock);
    Ops {
        history: crate::ops::fakes::no_history(&clock, pool.clone()),
        tokens: TokenOps::new(pool),
        keys: KeyOps::new(keys, Arc::new(FakeUsage::default()), clock.clone()),
        requests: RequestOps::new(log),
        config: crate::ops::config::ConfigOps::new(crate::ops::fakes::own_config().0, accounts.clone()),
        jobs: crate::ops::fakes::own_jobs(bus.clone(), clock.clone()).await,
        affinity: FakeConversations::default().ops(bus, clock),
        cache: crate::ops::fakes::FakeFiles::ops(),
        cluster: FakeClusterLedger::ops(),
        accounts,
        audit,
        logs: crate::logs::LogOps::new("/nowhere".into()),
    }
}

async fn stand() -> Option<Stand> {
    let nats = Nats::start().await?;
    let pool = Arc::new(FakePool::default());
    let stop = CancellationToken::new();
    let node = async_nats::connect(&nats.url).await.unwrap();
    let place = Place {
        prefix: PREFIX.into(),
        node: "one".into(),
    };
    start(node, &place, ops(pool.clone()).await, &TaskTracker::new(), stop.clone())
        .await
        .unwrap();
    Some(Stand {
        caller: async_nats::connect(&nats.url).await.unwrap(),
        pool,
        stop,
        _nats: nats,
    })
}

impl Stand {
    async fn send(&self, name: &str, body: impl Into<Bytes>) -> Message {
        let subject = format!("{PREFIX}.admin.{name}");
        self.caller.request(subject, body.into()).await.unwrap()
    }

    /// What an operation answers; it must be done.
    async fn done(&self, name: &str, ask: Value) -> Value {
        let message = self.send(name, ask.to_string()).await;
        let said = String::from_utf8_lossy(&message.payload).into_owned();
        assert_eq!(header(&message, "Nats-Service-Error-Code"), None, "{name}: {said}");
        assert!(header(&message, "x-request-id").unwrap().parse::<RequestId>().is_ok());
        serde_json::from_str(&said).unwrap()
    }

    /// Status, code, field at fault and words of an error.
    async fn refused(&self, name: &str, body: impl Into<Bytes>) -> (u16, String, Value, String) {
        let message = self.send(name, body).await;
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let status = header(&message, "Nats-Service-Error-Code").unwrap_or_else(|| panic!("{name} did {body}"));
        let words = body["error"]["message"].as_str().unwrap().to_owned();
        assert!(!header(&message, "Nats-Service-Error").unwrap().is_empty());
        let code = body["error"]["code"].as_str().unwrap().to_owned();
        (status.parse().unwrap(), code, body["error"]["param"].clone(), words)
    }

    /// What the service says about itself.
    async fn micro(&self, verb: &str) -> Value {
        let subject = format!("$SRV.{verb}.{SERVICE}");
        let message = self.caller.request(subject, Bytes::new()).await.unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    }
}

fn header(message: &Message, name: &str) -> Option<String> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(value.as_str().to_owned())
}

#[tokio::test]
async fn a_token_and_a_key_live_and_die_over_nats() {
    let Some(stand) = stand().await else { return };
    let added = stand
        .done(
            "tokens.add",
            json!({"secret": "xai-one-two-three-four", "label": "mine", "tags": ["a"]}),
        )
        .await;
    assert_eq!(
        (&added["added"], &added["token"]["pool"]),
        (&json!(true), &json!("apiKey"))
    );
    let id = added["token"]["id"].clone();
    let again = stand
        .done("tokens.add", json!({"secret": "xai-one-two-three-four"}))
        .await;
    assert_eq!(
        (&again["added"], &again["token"]["label"]),
        (&json!(false), &json!("mine"))
    );

    let changed = stand
        .done("tokens.patch", json!({"id": id, "set": {"note": "n", "switch": "off"}}))
        .await;
    assert_eq!((&changed["note"], &changed["state"]), (&json!("n"), &json!("disabled")));
    assert_eq!(stand.done("tokens.get", json!({"id": id})).await, changed);

    let lines = "xai-aaaaaaaaaaaa\nnonsense \u{7f}\n{\"token\":\"xai-bbbbbbbbbbbb\",\"label\":\"b\"}";
    let report = stand
        .done("tokens.import", json!({"lines": lines, "pool": "apiKey"}))
        .await;
    assert_eq!((&report["total"], &report["added"]), (&json!(3), &json!(2)), "{report}");
    assert_eq!(report["lines"][0]["line"], 2);

    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = stand.done("tokens.list", json!({"limit": 2, "cursor": cursor})).await;
        assert_eq!(page["total"], 3);
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|token| token["id"].clone()),
        );
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), 3);
    stand.pool.cool(serde_json::from_value(seen[1].clone()).unwrap());
    let resting = stand.done("tokens.list", json!({"states": ["cooling"]})).await;
    assert_eq!(resting["items"][0]["id"], seen[1]);
    assert_eq!(
        stand.done("tokens.clear-cooling", json!({"ids": [seen[1]]})).await["cleared"],
        1
    );
    let refreshed = stand.done("tokens.refresh", json!({"ids": seen})).await;
    assert_eq!(refreshed["results"].as_array().unwrap().len(), 3);
    assert_eq!(stand.done("tokens.delete", json!({"ids": seen})).await["deleted"], 3);
    let everything = stand.send("tokens.list", Bytes::new()).await;
    let everything: Value = serde_json::from_slice(&everything.payload).unwrap();
    assert_eq!(everything["total"], 0);

    let mut names = Vec::new();
    for name in ["a", "b", "c"] {
        let key = stand
            .done("keys.create", json!({"set": {"name": name, "rpm": 3}}))
            .await;
        assert!(key["key"].as_str().unwrap().starts_with("sk-"));
        names.push(key["id"].clone());
    }
    let page = stand.done("keys.list", json!({"limit": 2})).await;
    assert_eq!(page["total"], 3);
    let rest = stand.done("keys.list", json!({"cursor": page["next_cursor"]})).await;
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next_cursor"]),
        (1, &Value::Null)
    );
    let changed = stand
        .done("keys.update", json!({"id": names[0], "set": {"rpm": null}}))
        .await;
    assert_eq!((&changed["rpm"], &changed["name"]), (&json!(-1), &json!("a")));
    let rotated = stand
        .done("keys.rotate", json!({"id": names[0], "key": "sk-of-my-own-choice"}))
        .await;
    assert_eq!(rotated["key"], "sk-of-my-own-choice");
    assert_eq!(stand.done("keys.delete", json!({"id": names[0]})).await["done"], true);
    assert_eq!(
        stand.refused("keys.get", json!({"id": names[0]}).to_string()).await.0,
        404
    );
    assert_eq!(stand.done("requests.list", json!({})).await["total"], 0);
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let Some(stand) = stand().await else { return };
    let token = TokenId::generate();
    let key = KeyId::generate();
    for (name, body, status, code, param) in [
        ("tokens.list", "nonsense".to_owned(), 400, "invalid_json", Value::Null),
        ("tokens.list", "[]".to_owned(), 400, "invalid_json", Value::Null),
        (
            "tokens.list",
            r#"{"pols":[]}"#.to_owned(),
            400,
            "invalid_value",
            json!("pols"),
        ),
        (
            "tokens.list",
            r#"{"pools":["x"]}"#.to_owned(),
            400,
            "invalid_value",
            json!("pools.0"),
        ),
        (
            "tokens.list",
            r#"{"limit":1001}"#.to_owned(),
            400,
            "invalid_value",
            json!("limit"),
        ),
        (
            "tokens.list",
            r#"{"limit":"9"}"#.to_owned(),
            400,
            "invalid_value",
            json!("limit"),
        ),
        (
            "tokens.list",
            r#"{"cursor":"zzz"}"#.to_owned(),
            400,
            "invalid_value",
            json!("cursor"),
        ),
        ("tokens.get", String::new(), 400, "missing", json!("id")),
        (
            "tokens.get",
            format!(r#"{{"id":"{key}"}}"#),
            400,
            "invalid_value",
            json!("id"),
        ),
        (
            "tokens.get",
            format!(r#"{{"id":"{token}"}}"#),
            404,
            "token_not_found",
            Value::Null,
        ),
        (
            "tokens.add",
            r#"{"secret":"a b\u0000"}"#.to_owned(),
            400,
            "invalid_value",
            json!("secret"),
        ),
        (
            "tokens.add",
            r#"{"secret":"xai-…abcd"}"#.to_owned(),
            400,
            "masked_secret",
            json!("secret"),
        ),
        (
            "tokens.add",
            r#"{"secret":"xai-abcdefgh","proxy":"ftp://x"}"#.to_owned(),
            400,
            "invalid_value",
            json!("proxy"),
        ),
        (
            "tokens.patch",
            format!(r#"{{"id":"{token}","set":{{"labl":"x"}}}}"#),
            400,
            "invalid_value",
            json!("set.labl"),
        ),
        (
            "tokens.delete",
            r#"{"ids":[]}"#.to_owned(),
            400,
            "invalid_value",
            json!("ids"),
        ),
        (
            "tokens.delete",
            format!(r#"{{"ids":["{token}"]}}"#),
            404,
            "token_not_found",
            json!("ids"),
        ),
        (
            "keys.create",
            r#"{"set":{"rpm":"many"}}"#.to_owned(),
            400,
            "invalid_value",
            json!("set.rpm"),
        ),
        (
            "keys.update",
            format!(r#"{{"id":"{key}","set":{{}}}}"#),
            404,
            "key_not_found",
            Value::Null,
        ),
        (
            "requests.get",
            format!(r#"{{"id":"{}"}}"#, RequestId::generate()),
            404,
            "request_not_found",
            Value::Null,
        ),
        (
            "requests.list",
            r#"{"outcomes":["fine"]}"#.to_owned(),
            400,
            "invalid_value",
            json!("outcomes.0"),
        ),
    ] {
        let (got_status, got_code, got_param, words) = stand.refused(name, body.clone()).await;
        assert_eq!(
            (got_status, got_code.as_str(), got_param),
            (status, code, param),
            "{name} {body}: {words}"
        );
    }
    // A name of the caller's that would be a header of its own.
    let evil = json!({"a\r\nX-Evil: 1": 1}).to_string();
    let message = stand.send("tokens.list", evil).await;
    assert_eq!(header(&message, "X-Evil"), None);
    let stats = stand.micro("STATS").await;
    let list = of(&stats, "tokens-list");
    assert_eq!(
        (&list["num_requests"], &list["num_errors"]),
        (&json!(8), &json!(8)),
        "{list}"
    );
    assert!(list["last_error"].as_str().unwrap().starts_with("400:"), "{list}");
}

fn of<'a>(service: &'a Value, name: &str) -> &'a Value {
    let endpoints = service["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["name"] == name).unwrap()
}

#[tokio::test]
async fn the_service_says_what_it_offers() {
    let Some(stand) = stand().await else { return };
    let ping = stand.micro("PING").await;
    assert_eq!(
        (&ping["name"], &ping["metadata"]["node"]),
        (&json!(SERVICE), &json!("one"))
    );
    let info = stand.micro("INFO").await;
    let offered = info["endpoints"].as_array().unwrap();
    assert_eq!(offered.len(), operations().len());
    for operation in operations() {
        let endpoint = of(&info, &operation.about.name().replace('.', "-"));
        assert_eq!(endpoint["subject"], format!("{PREFIX}.{}", operation.about.subject));
        assert_eq!(endpoint["queue_group"], QUEUE);
    }
    stand.done("tokens.list", json!({})).await;
    let list = of(&stand.micro("STATS").await, "tokens-list").clone();
    assert_eq!(
        (&list["num_requests"], &list["num_errors"]),
        (&json!(1), &json!(0)),
        "{list}"
    );

    // Afterwards nobody is there to ask, and callers learn that at once.
    stand.stop.cancel();
    let gone = async {
        loop {
            let subject = format!("{PREFIX}.admin.tokens.list");
            let asked = stand.caller.request(subject, Bytes::new());
            // What was under way to the node when it went is answered by nobody.
            match tokio::time::timeout(Duration::from_millis(200), asked).await {
                Ok(Err(error)) => break assert_eq!(error.kind(), RequestErrorKind::NoResponders),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn secrets_leave_only_sealed_and_after_the_password() {
    let Some(stand) = stand().await else { return };
    let secrets: Vec<String> = (0..5).map(|n| format!("xai-secret-number-{n}")).collect();
    stand
        .done("tokens.import", json!({"lines": secrets.join("\n"), "pool": "apiKey"}))
        .await;
    let reader = SecretKey::generate(&mut OsRng);
    let public = STANDARD.encode(reader.public_key().as_bytes());
    let ask = |change: Value| {
        let mut ask = json!({"public_key": public, "password": PASSWORD, "limit": 2});
        for (name, value) in change.as_object().unwrap() {
            ask[name] = value.clone();
        }
        ask
    };
    for (change, status, param) in [
        (json!({"public_key": "AAAA"}), 400, "public_key"),
        (json!({"public_key": STANDARD.encode([0u8; 32])}), 400, "public_key"),
        (json!({"password": "wrong"}), 403, "password"),
        (json!({"username": "nobody"}), 403, "password"),
        (json!({"passphrase": "a long passphrase"}), 400, "passphrase"),
        (json!({"ids": []}), 400, "ids"),
    ] {
        let (got, _, got_param, words) = stand.refused("tokens.export", ask(change.clone()).to_string()).await;
        assert_eq!((got, got_param), (status, json!(param)), "{change}: {words}");
    }
    let mut opened = String::new();
    let mut cursor = Value::Null;
    loop {
        let message = stand
            .send("tokens.export", ask(json!({"cursor": cursor})).to_string())
            .await;
        for secret in &secrets {
            let bytes = secret.as_bytes();
            assert!(!message.payload.windows(bytes.len()).any(|window| window == bytes));
        }
        let page: Value = serde_json::from_slice(&message.payload).unwrap();
        let sealed = STANDARD.decode(page["sealed"].as_str().unwrap()).unwrap();
        opened.push_str(std::str::from_utf8(&reader.unseal(&sealed).unwrap()).unwrap());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let mut found: Vec<String> = opened
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["token"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    found.sort();
    assert_eq!(found, secrets);
}
