//! Logging in, in every way there is, and what the shipped permissions let each role do.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::old_binary;
use super::*;

/// Files that go with the tests.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/bus/nats/tests")
        .join(name)
}

fn secret(text: &str) -> secrecy::SecretString {
    text.to_owned().into()
}

async fn refused(servers: &NatsServers, set: impl FnOnce(&mut NatsOptions)) -> String {
    let mut options = NatsOptions {
        start_deadline: Duration::from_secs(3),
        ..NatsOptions::new(servers.url())
    };
    set(&mut options);
    match NatsBus::start(options).await {
        Ok(_) => panic!("it must not start"),
        Err(refusal) => refusal.0,
    }
}

async fn works(bus: &NatsBus) {
    let key = Bytes::from_static(b"k");
    bus.kv_put("tokens", key.clone(), key.clone(), Expect::Absent)
        .await
        .unwrap();
    assert_eq!(bus.kv_list("tokens").await.unwrap().len(), 1);
    let talk = bus.request("nobody.serves", key, Duration::from_secs(5)).await;
    assert_eq!(talk.unwrap_err().kind, BusErrorKind::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_a_password() {
    let more = "authorization { user: me, password: right }";
    let Some(servers) = NatsServers::start(1, more).await else {
        return;
    };
    let login = |password: &str| Login::User("me".to_owned(), secret(password));
    works(&*on_with(&servers, |options| options.login = login("right")).await).await;
    for wrong in [login("wrong"), Login::None, Login::Token(secret("right"))] {
        let refusal = refused(&servers, |options| options.login = wrong).await;
        assert!(refusal.contains("refuses this login"), "{refusal}");
        assert!(!refusal.contains("right") && !refusal.contains("wrong"), "{refusal}");
    }
    let url = format!("nats://me:right@{}", servers.address(0));
    works_again(&*on_with(&servers, |options| options.url = url).await).await;
}

async fn works_again(bus: &NatsBus) {
    assert_eq!(bus.kv_list("tokens").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token() {
    let Some(servers) = NatsServers::start(1, "authorization { token: right }").await else {
        return;
    };
    works(&*on_with(&servers, |options| options.login = Login::Token(secret("right"))).await).await;
    let refusal = refused(&servers, |options| options.login = Login::Token(secret("wrong"))).await;
    assert!(refusal.contains("refuses this login"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nkey() {
    let public = std::fs::read_to_string(file("node.pub")).unwrap();
    let more = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", public.trim());
    let Some(servers) = NatsServers::start(1, &more).await else {
        return;
    };
    works(&*on_with(&servers, |options| options.login = Login::NKey(file("node.nk"))).await).await;
    let absent = refused(&servers, |options| options.login = Login::NKey(file("none"))).await;
    assert!(absent.starts_with("nats.nkey: "), "{absent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file() {
    let operator = std::fs::read_to_string(file("operator.conf")).unwrap();
    let Some(servers) = NatsServers::start(1, &operator).await else {
        return;
    };
    works(
        &*on_with(&servers, |options| {
            options.login = Login::Credentials(file("user.creds"))
        })
        .await,
    )
    .await;
    let refusal = refused(&servers, |_| {}).await;
    assert!(refusal.contains("refuses this login"), "{refusal}");
    let absent = refused(&servers, |options| options.login = Login::Credentials(file("none"))).await;
    assert!(absent.starts_with("nats.creds: "), "{absent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        eprintln!("LEFT OUT: openssl makes no certificate here");
        return;
    }
    let more = format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {cert:?}, verify: true }}");
    let Some(servers) = NatsServers::start(1, &more).await else {
        return;
    };
    let bus = on_with(&servers, |options| {
        options.tls_ca = Some(cert.clone());
        options.tls_client = Some((cert.clone(), key.clone()));
    });
    works(&*bus.await).await;
    let stranger = refused(&servers, |options| {
        options.tls_client = Some((cert.clone(), key.clone()))
    })
    .await;
    assert!(stranger.contains("nats.tls_ca"), "{stranger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_the_shipped_permissions_say() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats/permissions.conf");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let permissions = ["NODE", "OPERATOR", "WATCHER"].into_iter().fold(shipped, |text, role| {
        text.replace(&format!("${role}_PASSWORD"), &role.to_lowercase())
    });
    let Some(servers) = NatsServers::start(1, &permissions).await else {
        return;
    };
    let node = on_with(&servers, |options| {
        options.login = Login::User("node".to_owned(), secret("node"))
    })
    .await;
    contract::all(&*node).await;
    let log = std::fs::read_to_string(servers.dir().join("n0/log")).unwrap();
    assert!(!log.contains("Violation"), "a node lacks a permission:\n{log}");

    let role = |name: &'static str| {
        async_nats::ConnectOptions::with_user_and_password(name.to_owned(), name.to_owned()).connect(servers.url())
    };
    let (operator, watcher) = (role("operator").await.unwrap(), role("watcher").await.unwrap());
    let mut asked = node.serve("admin.tokens.list");
    let mut told = [
        operator.subscribe("grok2api.event.>").await.unwrap(),
        watcher.subscribe("grok2api.event.>").await.unwrap(),
    ];
    let ask = |client: &async_nats::Client| {
        let client = client.clone();
        async move { client.request("grok2api.admin.tokens.list", Bytes::new()).await }
    };
    let serve = async {
        let request = asked.next().await.unwrap();
        request.reply.send(Bytes::from_static(b"answer")).unwrap();
    };
    let (answer, ()) = tokio::join!(
        async {
            loop {
                match ask(&operator).await {
                    Ok(answer) => return answer.payload,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        },
        serve
    );
    assert_eq!(answer, "answer");
    for client in [&operator, &watcher] {
        client.flush().await.unwrap();
    }
    node.publish("event.token", Bytes::from_static(b"cooled"));
    for listener in &mut told {
        let heard = tokio::time::timeout(Duration::from_secs(5), listener.next()).await;
        assert_eq!(heard.unwrap().unwrap().payload, "cooled");
    }
    // A watcher says nothing, an operator touches no stream, and neither reads what the buckets hold.
    watcher
        .publish("grok2api.admin.tokens.list", Bytes::new())
        .await
        .unwrap();
    operator
        .publish("$KV.grok2api.tokens.k", Bytes::from_static(b"forged"))
        .await
        .unwrap();
    let mut overheard = [
        operator.subscribe("$KV.grok2api.>").await.unwrap(),
        watcher.subscribe("grok2api.journal.>").await.unwrap(),
    ];
    for client in [&operator, &watcher] {
        client.flush().await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let key = Bytes::from_static(b"k");
    assert!(
        node.kv_get("tokens", b"k").await.unwrap().is_none(),
        "an operator wrote into a bucket"
    );
    node.kv_put("tokens", key.clone(), key, Expect::Any).await.unwrap();
    node.journal_append(9, 0, [9; 16], Bytes::new()).await.unwrap();
    for listener in &mut overheard {
        let heard = tokio::time::timeout(Duration::from_millis(300), listener.next()).await;
        assert!(!matches!(heard, Ok(Some(_))), "it hears what it may not");
    }
    let silent = tokio::time::timeout(Duration::from_millis(300), asked.next()).await;
    assert!(silent.is_err(), "a watcher asked an operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused() {
    let Some(old) = old_binary() else { return };
    let servers = NatsServers::start_binary(old, 1, "").await;
    let refusal = refused(&servers, |_| {}).await;
    assert!(refusal.contains("is version 2.9"), "{refusal}");
    assert!(refusal.contains("2.11 or newer is needed"), "{refusal}");
}
