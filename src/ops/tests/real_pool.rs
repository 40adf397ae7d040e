//! The operations over the pool that ships, its ledger and its store; only the upstream is missing.

use std::collections::HashSet;

use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_actors::egress::ProxySpec;
use grok2api_actors::ledger::{Ledger, LedgerOptions};
use grok2api_actors::runtime::ArbiterPool;
use grok2api_actors::token::cooling::CoolingPolicy;
use grok2api_actors::token::limits::LimitBook;
use grok2api_actors::token::probe::{ProbeReport, Prober};
use grok2api_actors::token::{Pool, PoolOptions, PoolParts};
use grok2api_actors::vault::Vault;
use grok2api_schemas::admin::tokens::{TokenPatch, TokenQuery, TokenSort};
use grok2api_schemas::ids::{SessionId, TokenId};
use grok2api_schemas::token::TokenState;
use secrecy::SecretString;

use super::*;
use crate::ops::replace::replace;

struct NobodyThere;

impl Prober for NobodyThere {
    fn probe<'a>(&'a self, _: &'a SecretString, _: &'a ProxySpec) -> BoxFuture<'a, ProbeReport> {
        std::future::ready(ProbeReport::Unreachable("no upstream in this test".to_owned())).boxed()
    }
}

struct Stand {
    ops: TokenOps,
    bus: BusHandle,
    arbiters: ArbiterPool,
    stop: CancellationToken,
    directory: tempfile::TempDir,
}

impl Stand {
    async fn new() -> Stand {
        let bus = LocalBus::new(Store::temporary().unwrap(), Clock::system());
        Stand::over(bus, tempfile::tempdir().unwrap()).await
    }

    async fn over(bus: BusHandle, directory: tempfile::TempDir) -> Stand {
        let (clock, tracker, stop) = (Clock::system(), TaskTracker::new(), CancellationToken::new());
        let arbiters = ArbiterPool::start(1).unwrap();
        let options = LedgerOptions::alone(SessionId::generate());
        let ledger = Ledger::start(bus.clone(), clock.clone(), tracker.clone(), &[arbiters.pick()], options)
            .await
            .unwrap();
        let parts = PoolParts {
            bus: bus.clone(),
            vault: Arc::new(Vault::open(None, &directory.path().join("master.key")).unwrap()),
            clock,
            ledger,
            prober: Arc::new(NobodyThere),
            arbiters: arbiters.clone(),
            tracker,
            stop: stop.clone(),
        };
        let options = PoolOptions {
            session: SessionId::generate(),
            provider: "xai",
            cooling: CoolingPolicy::default(),
            limits: LimitBook::new(Vec::new()),
            canonical: Arc::new(str::to_owned),
            swarm_share: 0.5,
            binding_life_ms: 60_000,
            proxy: ProxySpec::DIRECT,
            parked_probe_ms: 60_000,
            probes: 1,
            uses_every: std::time::Duration::from_secs(60),
            refresh_every_ms: 0,
        };
        let pool = Pool::start(parts, options).await.unwrap();
        Stand {
            ops: TokenOps::new(Arc::new(pool)),
            bus,
            arbiters,
            stop,
            directory,
        }
    }

    async fn again(self) -> Stand {
        self.stop.cancel();
        self.arbiters.stop();
        Stand::over(self.bus, self.directory).await
    }

    async fn import(&self, text: &str) -> Vec<TokenId> {
        let actor = actor();
        let mut import = Import::new(&self.ops, &actor, None, true);
        for line in text.lines() {
            import.line(line.as_bytes()).await.unwrap();
        }
        let report = import.finish().await.unwrap();
        report.lines.into_iter().filter_map(|line| line.id).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_every_token_once_in_every_order_while_others_go() {
    let stand = Stand::new().await;
    let text: String = (0..2_500)
        .map(|at| {
            format!(
                "{{\"token\":\"xai-secret-{at:06}\",\"label\":\"label {}\",\"tags\":[\"t{}\"]}}\n",
                at % 7,
                at % 3
            )
        })
        .collect();
    let ids = stand.import(&text).await;
    assert_eq!(ids.len(), 2_500);
    for (sort, descending) in [
        (TokenSort::Created, false),
        (TokenSort::Created, true),
        (TokenSort::Label, false),
        (TokenSort::Label, true),
        (TokenSort::UseCount, true),
    ] {
        let mut query = TokenQuery {
            sort,
            descending,
            limit: 333,
            ..TokenQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = stand.ops.list(query.clone()).await.unwrap();
            assert_eq!(page.total, 2_500);
            seen.extend(page.items);
            let Some(next) = page.next_cursor else { break };
            query.cursor = Some(next.parse().unwrap());
        }
        let once: HashSet<TokenId> = seen.iter().map(|token| token.id).collect();
        assert_eq!((seen.len(), once.len()), (2_500, 2_500), "{sort:?}");
        let mut keys: Vec<_> = seen.iter().map(|token| (token.sort_key(sort), token.id)).collect();
        if descending {
            keys.reverse();
        }
        assert!(keys.is_sorted(), "{sort:?} {descending}");
    }
    let query = TokenQuery {
        text: Some("T2".into()),
        limit: 10,
        ..TokenQuery::default()
    };
    assert_eq!(stand.ops.list(query).await.unwrap().total, 833);

    let first = TokenQuery {
        limit: 1_000,
        ..TokenQuery::default()
    };
    let page = stand.ops.list(first.clone()).await.unwrap();
    // The last row shown goes, and with it what the cursor names.
    let gone: Vec<TokenId> = page.items.iter().rev().take(5).map(|token| token.id).collect();
    stand.ops.delete(&actor(), gone).await.unwrap();
    let rest = TokenQuery {
        cursor: page.next_cursor.map(|cursor| cursor.parse().unwrap()),
        limit: 10_000,
        ..first
    };
    assert_eq!(stand.ops.list(rest).await.unwrap().items.len(), 1_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_did_survives_a_restart_and_an_export_knows_every_secret() {
    let stand = Stand::new().await;
    let ids = stand
        .import("xai-secret-of-one\n{\"token\":\"xai-secret-of-two\",\"proxy\":\"http://me:pw@proxy:8080\"}\nweb-session-three\n")
        .await;
    let off = TokenPatch {
        switch: Some(TokenSwitch::Off),
        note: Some("resting".into()),
        ..TokenPatch::default()
    };
    stand.ops.patch(&actor(), ids[0], off).await.unwrap();
    assert_eq!(
        stand.ops.refresh(&actor(), vec![ids[0]]).await.unwrap()[0].state,
        TokenState::Disabled
    );
    let list =
        serde_json::to_vec(&serde_json::json!({"apiKey": [{"id": ids[0]}, {"id": ids[1], "note": "two"}]})).unwrap();
    let report = replace(&stand.ops, &actor(), &list, true).await.unwrap();
    assert_eq!((report.added, report.changed, report.deleted), (0, 1, 1));

    let stand = stand.again().await;
    let rows = stand.ops.all().await.unwrap();
    let shown: Vec<(TokenId, TokenState, &str)> =
        rows.iter().map(|row| (row.id, row.state, row.note.as_str())).collect();
    assert_eq!(shown[0], (ids[0], TokenState::Disabled, "resting"));
    assert_eq!((shown.len(), shown[1].0, shown[1].2), (2, ids[1], "two"));
    assert!(rows[1].proxy.as_ref().is_some_and(|proxy| !proxy.contains("pw")));
    let json = serde_json::to_string(&rows).unwrap();
    assert!(!json.contains("xai-secret-of"));
    assert_eq!(stand.ops.named("sso=xai-secret-of-two", "token").unwrap(), ids[1]);
    assert!(stand.ops.named("web-session-three", "token").is_err());

    let (accounts, _) = accounts(&stand.bus, &Clock::system(), Some("a password")).await;
    let exported = export(
        &stand.ops,
        &accounts,
        &actor(),
        secret("a password"),
        None,
        Seal::Plain,
        WallMs(0),
    )
    .await;
    let Exported::Plain(lines) = exported.ok().unwrap() else {
        panic!("sealed")
    };
    let text = String::from_utf8(lines.to_vec()).unwrap();
    assert!(text.contains("xai-secret-of-one") && text.contains("http://me:pw@proxy:8080"));
    let other = Stand::new().await;
    assert_eq!(other.import(&text).await.len(), 2);
    assert_eq!(other.ops.all().await.unwrap()[0].state, TokenState::Disabled);
}
