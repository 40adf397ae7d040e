use std::sync::Arc;

use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clients::ClientKeys;
use grok2api_actors::clock::{ManualClock, WallMs};
use grok2api_actors::store::Store;
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::ids::TokenId;
use http::{Method, StatusCode};
use poem::endpoint::BoxEndpoint;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::*;
use crate::ops::accounts::AccountOptions;
use crate::ops::config::ConfigOps;
use crate::ops::fakes::{FakeClusterLedger, FakeConversations, FakePool, FakeUsage, own_config};
use crate::ops::keys::KeyDayUsage;
use crate::request_log::{RequestLog, RequestLogOptions};
use crate::settings::live::LiveConfig;

mod affinity;
mod config;
mod keys;
mod operations;
mod requests;
mod sessions;
mod tokens;
mod users;

/// The routes over fakes, and somebody who is logged in.
struct Desk {
    routes: BoxEndpoint<'static, Response>,
    pool: Arc<FakePool>,
    usage: FakeUsage,
    keys: ClientKeys,
    log: RequestLog,
    accounts: Accounts,
    clock: Arc<ManualClock>,
    live: LiveConfig,
    directory: tempfile::TempDir,
    conversations: FakeConversations,
    token: String,
}

const PASSWORD: &str = "a good password";

async fn desk() -> Desk {
    let store = Store::temporary().unwrap();
    let (clock, manual) = Clock::manual(WallMs(1_700_000_000_000));
    let bus: grok2api_actors::bus::BusHandle = LocalBus::new(store.clone(), clock.clone());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let hash = |secret: &str| *blake3::keyed_hash(&[9; 32], secret.as_bytes()).as_bytes();
    let keys = ClientKeys::load(bus.clone(), Arc::new(hash), clock.clone(), &tracker, stop.clone())
        .await
        .unwrap();
    let options = AccountOptions {
        username: "admin".into(),
        password: Some(Zeroizing::new(PASSWORD.into())),
        session_hours: 8,
        throttle: crate::ops::fakes::THROTTLE,
        node: String::new(),
    };
    let (accounts, _) = Accounts::load(bus.clone(), clock.clone(), &tracker, stop, options)
        .await
        .unwrap();
    let sessions = accounts.clone();
    keys.set_sessions(Arc::new(move |key| sessions.lets_call(key)));
    let (pool, usage) = (Arc::new(FakePool::default()), FakeUsage::default());
    let log = RequestLog::open(store, clock.clone(), RequestLogOptions::default()).unwrap();
    let (live, directory) = own_config();
    let conversations = FakeConversations::default();
    let ops = Ops {
        config: ConfigOps::new(live.clone(), accounts.clone()),
        history: crate::ops::fakes::no_history(&clock, pool.clone()),
        tokens: TokenOps::new(pool.clone()),
        keys: KeyOps::new(keys.clone(), Arc::new(usage.clone()), clock.clone()),
        requests: RequestOps::new(log.clone()),
        cache: crate::ops::fakes::FakeFiles::ops(),
        jobs: crate::ops::fakes::own_jobs(bus.clone(), clock.clone()).await,
        affinity: conversations.ops(bus.clone(), clock.clone()),
        cluster: FakeClusterLedger::ops(),
        accounts: accounts.clone(),
        audit: crate::ops::fakes::audit(&bus, &clock),
        logs: crate::logs::LogOps::new(directory.path().join("logs")),
    };
    let admin = Admin {
        tokens: ops.tokens.clone(),
        keys: ops.keys.clone(),
        requests: ops.requests.clone(),
        cluster: ops.cluster.clone(),
        accounts: accounts.clone(),
        ops,
        streams: Streams::new(bus, CancellationToken::new()),
        clock,
        storage: "local",
        limits: BodyLimits {
            ordinary: 64 * 1024,
            ..BodyLimits::default()
        },
        origin: Arc::new(|request| Origin {
            ip: [192, 0, 2, 1].into(),
            https: request.header("x-test-https").is_some(),
        }),
    };
    let mut desk = Desk {
        routes: routes(admin).boxed(),
        pool,
        usage,
        keys,
        log,
        accounts,
        clock: manual,
        live,
        directory,
        conversations,
        token: String::new(),
    };
    let (status, answer) = desk
        .post("/login", json!({"username": "admin", "password": PASSWORD}))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    desk.token = answer["token"].as_str().unwrap().to_owned();
    desk
}

impl Desk {
    async fn send(&self, request: Request) -> Response {
        self.routes.get_response(request).await
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<poem::Body>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri_str(path);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let response = self.send(request.body(body)).await;
        parts(response).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, ()).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// Another account, with the same password.
    async fn make_account(&self, username: &str, role: Role) {
        self.accounts
            .create(username, role, Zeroizing::new(PASSWORD.into()))
            .await
            .unwrap();
    }

    /// Enrols tokens and answers their ids.
    async fn enrol(&self, secrets: &[&str]) -> Vec<TokenId> {
        let (status, answer) = self.post("/tokens", json!({"apiKey": secrets})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let (_, rows) = self.get("/tokens").await;
        rows["apiKey"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap().parse().unwrap())
            .collect()
    }
}

async fn parts(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    assert_eq!(
        response.header("cache-control"),
        Some("no-store").filter(|_| status != StatusCode::METHOD_NOT_ALLOWED)
    );
    assert!(response.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
    let body = response.into_body().into_vec().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The code and field of an error.
fn error_of(answer: &Value) -> (&str, &str) {
    let error = &answer["error"];
    assert!(error["message"].is_string(), "{answer}");
    (
        error["code"].as_str().unwrap_or_default(),
        error["param"].as_str().unwrap_or_default(),
    )
}
