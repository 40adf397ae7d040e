use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use grok2api_actors::bus::BusHandle;
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clock::{Clock, ManualClock, WallMs};
use grok2api_actors::store::Store;
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::admin::export::{ADDITIONAL_DATA, ExportEnvelope};
use grok2api_schemas::admin::tokens::NewToken;
use grok2api_schemas::token::{PoolName, TokenSwitch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::accounts::{AccountOptions, Accounts};
use super::audit::Actor;
use super::export::{Exported, Seal, export};
use super::fakes::FakePool;
use super::import::{Import, LineResult};
use super::tokens::TokenOps;
use crate::engine::error::ErrorKind;

mod real_pool;

const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn actor() -> Actor {
    Actor {
        username: "admin".into(),
        role: Role::Admin,
        ip: Some(HERE),
        trail: None,
    }
}

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn bus() -> (BusHandle, Clock, Arc<ManualClock>) {
    let (clock, manual) = Clock::manual(WallMs(1_700_000_000_000));
    (LocalBus::new(Store::temporary().unwrap(), clock.clone()), clock, manual)
}

async fn accounts(bus: &BusHandle, clock: &Clock, password: Option<&str>) -> (Accounts, Option<Zeroizing<String>>) {
    let options = AccountOptions {
        username: "admin".into(),
        password: password.map(secret),
        session_hours: 8,
        throttle: crate::ops::fakes::THROTTLE,
        node: String::new(),
    };
    Accounts::load(
        bus.clone(),
        clock.clone(),
        &TaskTracker::new(),
        CancellationToken::new(),
        options,
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_password_is_generated_once_and_sessions_survive_a_restart() {
    let (bus, clock, manual) = bus();
    let (first, generated) = accounts(&bus, &clock, None).await;
    let generated = generated.unwrap();
    let opened = first.login(HERE, "admin", generated.clone()).await.unwrap();
    let (second, again) = accounts(&bus, &clock, None).await;
    assert!(again.is_none());
    assert_eq!(second.session(&opened.token).await.unwrap().username, "admin");
    assert!(second.login(HERE, "admin", generated).await.is_ok());
    manual.advance_ms(8 * 3_600_000 - 1);
    assert!(second.session(&opened.token).await.is_ok());
    manual.advance_ms(1);
    let error = second.session(&opened.token).await.unwrap_err();
    assert_eq!(
        (error.kind, error.public_code()),
        (ErrorKind::Unauthenticated, "session_expired")
    );
}

#[tokio::test]
async fn a_configured_password_counts_at_once_and_ends_the_sessions_of_the_one_before() {
    let (bus, clock, _) = bus();
    let (first, generated) = accounts(&bus, &clock, Some("first password")).await;
    assert!(generated.is_none());
    let opened = first.login(HERE, "admin", secret("first password")).await.unwrap();
    let (same, _) = accounts(&bus, &clock, Some("first password")).await;
    assert!(same.session(&opened.token).await.is_ok());
    let (changed, _) = accounts(&bus, &clock, Some("second password")).await;
    assert!(changed.session(&opened.token).await.is_err());
    assert!(changed.login(HERE, "admin", secret("first password")).await.is_err());
    assert!(changed.login(HERE, "admin", secret("second password")).await.is_ok());
}

#[tokio::test]
async fn logging_out_ends_a_session_on_every_node_and_the_store_holds_no_token() {
    let (bus, clock, _) = bus();
    let (one, _) = accounts(&bus, &clock, Some("a password")).await;
    let (two, _) = accounts(&bus, &clock, Some("a password")).await;
    let opened = one.login(HERE, "admin", secret("a password")).await.unwrap();
    assert!(two.session(&opened.token).await.is_ok());
    for entry in bus.kv_list("admin").await.unwrap() {
        let all = [entry.key.as_ref(), entry.value.as_ref()].concat();
        assert!(
            !all.windows(20)
                .any(|window| opened.token.as_bytes().starts_with(window))
        );
        assert!(!all.windows(10).any(|window| window == b"a password"));
    }
    one.logout(&opened.token).await.unwrap();
    assert!(one.session(&opened.token).await.is_err());
    for _ in 0..100 {
        if two.session(&opened.token).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the other node still lets it in");
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_right_password_waits_too() {
    let (bus, clock, manual) = bus();
    let (accounts, _) = accounts(&bus, &clock, Some("right")).await;
    accounts.set_throttle(super::throttle::ThrottleLimits {
        failures: 3,
        window_ms: 300_000,
    });
    for _ in 0..3 {
        let error = accounts.login(HERE, "admin", secret("wrong")).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
    }
    let error = accounts.login(HERE, "admin", secret("right")).await.err().unwrap();
    assert_eq!((error.http_status(), error.retry_after_ms), (429, Some(1_000)));
    manual.advance_ms(1_000);
    assert!(accounts.login(HERE, "admin", secret("right")).await.is_ok());
    assert!(accounts.login(HERE, "admin", secret("right")).await.is_ok());
}

fn token(secret: &str) -> NewToken {
    NewToken {
        secret: secret.into(),
        pool: PoolName::ApiKey,
        label: "l".into(),
        note: String::new(),
        tags: vec!["t".into()],
        proxy: Some("http://user:pw@proxy:8080".into()),
        switch: TokenSwitch::Off,
    }
}

/// Opens an export the way its documentation says.
fn open(envelope: &ExportEnvelope, passphrase: &str) -> Option<Vec<u8>> {
    let kdf = &envelope.kdf;
    let params = argon2::Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)).unwrap();
    let mut key = [0u8; 32];
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &STANDARD.decode(&kdf.salt).unwrap(), &mut key)
        .unwrap();
    let payload = Payload {
        msg: &STANDARD.decode(&envelope.ciphertext).unwrap(),
        aad: ADDITIONAL_DATA,
    };
    let nonce = STANDARD.decode(&envelope.nonce).unwrap();
    XChaCha20Poly1305::new((&key).into())
        .decrypt(XNonce::from_slice(&nonce), payload)
        .ok()
}

#[tokio::test]
async fn an_export_opens_with_its_passphrase_alone_and_imports_again() {
    let (bus, clock, _) = bus();
    let (accounts, _) = accounts(&bus, &clock, Some("a password")).await;
    let ops = TokenOps::new(Arc::new(FakePool::default()));
    let secrets = ["xai-one-secret", "xai-two-secret"];
    ops.enrol(&actor(), secrets.map(token).to_vec()).await.unwrap();
    let passphrase = "twelve chars and more";
    let run =
        |password: &'static str, seal| export(&ops, &accounts, actor_ref(), secret(password), None, seal, clock.wall());

    let Exported::Sealed(envelope) = run("a password", Seal::Passphrase(secret(passphrase)))
        .await
        .ok()
        .unwrap()
    else {
        panic!("not sealed");
    };
    let json = serde_json::to_string(&envelope).unwrap();
    assert!(secrets.iter().all(|secret| !json.contains(secret)));
    assert_eq!(open(&envelope, "another passphrase"), None);
    let lines = open(&envelope, passphrase).unwrap();

    let (other, actor) = (TokenOps::new(Arc::new(FakePool::default())), actor());
    let mut import = Import::new(&other, &actor, None, false);
    for line in lines.split(|&byte| byte == b'\n') {
        import.line(line).await.unwrap();
    }
    let report = import.finish().await.unwrap();
    assert_eq!((report.total, report.added), (2, 2), "{report:?}");
    let view = other.all().await.unwrap().remove(0);
    assert_eq!((view.label.as_str(), view.state.as_str()), ("l", "disabled"));

    let weak = run("a password", Seal::Passphrase(secret("short")))
        .await
        .err()
        .unwrap();
    assert_eq!(weak.param.as_deref(), Some("passphrase"));
    let wrong = run("not it", Seal::Plain).await.err().unwrap();
    assert_eq!(
        (wrong.kind, wrong.public_code()),
        (ErrorKind::Forbidden, "wrong_password")
    );
    let viewer = Actor {
        role: Role::Viewer,
        ..actor.clone()
    };
    let refused = export(
        &ops,
        &accounts,
        &viewer,
        secret("a password"),
        None,
        Seal::Plain,
        clock.wall(),
    )
    .await;
    assert_eq!(refused.err().unwrap().kind, ErrorKind::Forbidden);
}

fn actor_ref() -> &'static Actor {
    static ACTOR: std::sync::OnceLock<Actor> = std::sync::OnceLock::new();
    ACTOR.get_or_init(actor)
}

#[tokio::test]
async fn every_line_of_an_import_is_accounted_for_without_its_secret() {
    let ops = TokenOps::new(Arc::new(FakePool::default()));
    let actor = actor();
    let mut import = Import::new(&ops, &actor, None, false);
    let lines = [
        "xai-first-secret-1",
        "",
        "# a comment",
        "sso=web-session-secret; sso-rw=x",
        "xai-first-secret-1",
        "two words secret",
        r#"{"token":"xai-second-secret","note":"n","pool":"apiKey"}"#,
        r#"{"token":"xai-third-secret","pool":"nowhere"}"#,
        r#"{"token":7}"#,
        r#"{"token":"xai-broken"#,
        "bad-secret-of-somebody",
        "xai-ab…wxyz",
    ];
    for line in lines {
        import.line(line.as_bytes()).await.unwrap();
    }
    import.line(b"\xff\xfe").await.unwrap();
    let report = import.finish().await.unwrap();
    assert_eq!(
        (report.total, report.added, report.existing, report.invalid),
        (11, 3, 1, 7)
    );
    let numbers: Vec<(u64, LineResult)> = report.lines.iter().map(|line| (line.line, line.result)).collect();
    use LineResult::{Existing, Invalid};
    assert_eq!(
        numbers,
        [
            (5, Existing),
            (6, Invalid),
            (8, Invalid),
            (9, Invalid),
            (10, Invalid),
            (11, Invalid),
            (12, Invalid),
            (13, Invalid)
        ]
    );
    let json = serde_json::to_string(&report).unwrap();
    for leak in ["words", "first-secret", "third", "broken", "somebody"] {
        assert!(!json.contains(leak), "{leak} in {json}");
    }
    let pools: Vec<PoolName> = ops.all().await.unwrap().iter().map(|token| token.pool).collect();
    assert_eq!(pools, [PoolName::ApiKey, PoolName::SsoBasic, PoolName::ApiKey]);
}
