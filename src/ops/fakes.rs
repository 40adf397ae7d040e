//! A pool and a ledger in memory, for tests of operations and routes.

mod files;
mod jobs;

pub use files::{FakeFiles, FakeOnline};
pub use jobs::own_jobs;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::clock::Clock;
use grok2api_actors::token::affinity::ConversationId;
use grok2api_actors::token::conversations::BoundConversation;
use grok2api_schemas::admin::page::{Cursor, Page, SortKey};
use grok2api_schemas::admin::tokens::{
    EnrolOutcome, EnrolResult, NewToken, OlderStatus, PoolCount, RefreshOutcome, TokenCounts, TokenPatch, TokenQuery,
    TokenQuotas, TokenType, TokenView,
};
use grok2api_schemas::bus::changes::WhichConversations;
use grok2api_schemas::ids::{KeyId, SessionId, TokenId};
use grok2api_schemas::token::{CoolingCause, PoolName, TokenState, TokenSwitch};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::affinity::{AffinityOps, Conversations};
use super::keys::{KeyDayUsage, KeyUsage};
use super::tokens::{RevealedToken, TokenPool};
use crate::bindings::Bindings;
use crate::engine::error::GatewayError;

#[derive(Clone)]
struct Stored {
    view: TokenView,
    secret: String,
    proxy: Option<String>,
}

/// Tokens in memory. Secrets that begin with `bad` are refused, those with `dead` fail their refresh.
#[derive(Default)]
pub struct FakePool {
    tokens: Mutex<BTreeMap<TokenId, Stored>>,
    by_secret: Mutex<HashMap<String, TokenId>>,
    clock: AtomicU64,
}

impl FakePool {
    /// Puts a token to rest.
    pub fn cool(&self, id: TokenId) {
        if let Some(stored) = self.tokens.lock().get_mut(&id) {
            stored.view.state = TokenState::Cooling;
            stored.view.status = OlderStatus::Cooling;
            stored.view.cause = Some(CoolingCause::RateLimited);
            stored.view.clearable = true;
        }
    }

    fn add(&self, token: NewToken) -> EnrolOutcome {
        let masked = format!("{}…", token.secret.get(..6).unwrap_or("xx"));
        if token.secret.starts_with("bad") {
            return EnrolOutcome {
                id: None,
                masked,
                result: EnrolResult::Invalid("cannot be a key of the official API".to_owned()),
            };
        }
        let mut by_secret = self.by_secret.lock();
        if let Some(&id) = by_secret.get(&token.secret) {
            return EnrolOutcome {
                id: Some(id),
                masked,
                result: EnrolResult::Existing,
            };
        }
        let id = TokenId::generate();
        by_secret.insert(token.secret.clone(), id);
        let state = match token.switch {
            TokenSwitch::On => TokenState::Active,
            TokenSwitch::Off => TokenState::Disabled,
        };
        let view = TokenView {
            id,
            token: masked.clone(),
            pool: token.pool,
            token_type: TokenType::from(token.pool),
            state,
            cause: None,
            detail: None,
            since_ms: None,
            until_ms: None,
            clearable: false,
            team: None,
            models: 0,
            model_cooling: Vec::new(),
            label: token.label,
            note: token.note,
            tags: token.tags,
            proxy: token.proxy.as_ref().map(|_| "http://***@proxy".to_owned()),
            created_ms: self.clock.fetch_add(1, Ordering::Relaxed) / 3,
            probed_ms: None,
            last_used_ms: None,
            use_count: 0,
            fail_count: 0,
            in_flight: 0,
            status: OlderStatus::from(state),
            quota: 0,
            tightest: None,
            quota_known: false,
            heavy_quota: -1,
            heavy_quota_known: false,
        };
        let stored = Stored {
            view,
            secret: token.secret,
            proxy: token.proxy,
        };
        self.tokens.lock().insert(id, stored);
        EnrolOutcome {
            id: Some(id),
            masked,
            result: EnrolResult::Added,
        }
    }

    fn change(&self, id: TokenId, patch: TokenPatch) {
        let mut tokens = self.tokens.lock();
        let Some(stored) = tokens.get_mut(&id) else { return };
        let view = &mut stored.view;
        view.label = patch.label.unwrap_or(std::mem::take(&mut view.label));
        view.note = patch.note.unwrap_or(std::mem::take(&mut view.note));
        view.tags = patch.tags.unwrap_or(std::mem::take(&mut view.tags));
        view.pool = patch.pool.unwrap_or(view.pool);
        view.token_type = TokenType::from(view.pool);
        match patch.switch {
            Some(TokenSwitch::Off) => view.state = TokenState::Disabled,
            Some(TokenSwitch::On) => view.state = TokenState::Active,
            None => {}
        }
        view.status = OlderStatus::from(view.state);
    }
}

fn done<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, GatewayError>> {
    futures::future::ready(Ok(value)).boxed()
}

impl TokenPool for FakePool {
    fn enrol(&self, tokens: Vec<NewToken>) -> BoxFuture<'_, Result<Vec<EnrolOutcome>, GatewayError>> {
        done(tokens.into_iter().map(|token| self.add(token)).collect())
    }

    fn get(&self, id: TokenId) -> Option<TokenView> {
        self.tokens.lock().get(&id).map(|stored| stored.view.clone())
    }

    fn find(&self, secret: &str) -> Option<TokenId> {
        self.by_secret.lock().get(secret).copied()
    }

    fn list(&self, query: &TokenQuery) -> Page<TokenView> {
        let tokens = self.tokens.lock();
        let mut rows: Vec<(SortKey, String, &TokenView)> = tokens
            .values()
            .map(|stored| &stored.view)
            .filter(|view| {
                (query.pools.is_empty() || query.pools.contains(&view.pool))
                    && (query.states.is_empty() || query.states.contains(&view.state))
            })
            .map(|view| (view.sort_key(query.sort), view.id.to_string(), view))
            .collect();
        rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        if query.descending {
            rows.reverse();
        }
        let total = rows.len() as u64;
        let shown = query.cursor.as_ref().map_or(0, |cursor| {
            let last = rows
                .iter()
                .position(|(key, id, _)| (key, id) == (&cursor.key, &cursor.id));
            last.map_or(rows.len(), |last| last + 1)
        });
        let rest = rows.split_off(shown);
        let more = rest.len() > query.limit;
        let page: Vec<_> = rest.into_iter().take(query.limit).collect();
        let next_cursor = page.last().filter(|_| more).map(|(key, id, _)| {
            Cursor {
                key: key.clone(),
                id: id.clone(),
            }
            .to_string()
        });
        Page {
            items: page.into_iter().map(|(_, _, view)| view.clone()).collect(),
            next_cursor,
            total,
        }
    }

    fn quotas(&self, id: TokenId) -> BoxFuture<'_, Option<TokenQuotas>> {
        let team = self.tokens.lock().get(&id).map(|stored| stored.view.team.clone());
        Box::pin(std::future::ready(team.map(|team| TokenQuotas {
            team,
            meters: Vec::new(),
            left_out: 0,
        })))
    }

    fn counts(&self) -> TokenCounts {
        let tokens = self.tokens.lock();
        let total = tokens.len() as u64;
        TokenCounts {
            total,
            pools: vec![PoolCount {
                pool: PoolName::ApiKey,
                total,
                active: 0,
            }],
            ..TokenCounts::default()
        }
    }

    fn patch(&self, changes: Vec<(TokenId, TokenPatch)>) -> BoxFuture<'_, Result<(), GatewayError>> {
        for (id, patch) in changes {
            self.change(id, patch);
        }
        done(())
    }

    fn delete(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<usize, GatewayError>> {
        let mut tokens = self.tokens.lock();
        let mut by_secret = self.by_secret.lock();
        let gone = ids.iter().filter_map(|id| tokens.remove(id)).collect::<Vec<_>>();
        for stored in &gone {
            by_secret.remove(&stored.secret);
        }
        done(gone.len())
    }

    fn clear_cooling(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<usize, GatewayError>> {
        let mut cleared = 0;
        for id in ids {
            if let Some(stored) = self.tokens.lock().get_mut(&id)
                && stored.view.state == TokenState::Cooling
            {
                stored.view.state = TokenState::Active;
                stored.view.status = OlderStatus::Active;
                cleared += 1;
            }
        }
        done(cleared)
    }

    fn refresh(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<Vec<RefreshOutcome>, GatewayError>> {
        let tokens = self.tokens.lock();
        let outcomes = ids
            .into_iter()
            .filter_map(|id| {
                let stored = tokens.get(&id)?;
                Some(RefreshOutcome {
                    id,
                    ok: !stored.secret.starts_with("dead"),
                    state: stored.view.state,
                    detail: None,
                })
            })
            .collect();
        done(outcomes)
    }

    fn reveal(&self, ids: Vec<TokenId>) -> BoxFuture<'_, Result<Vec<RevealedToken>, GatewayError>> {
        let tokens = self.tokens.lock();
        let revealed = ids
            .into_iter()
            .filter_map(|id| {
                let stored = tokens.get(&id)?;
                Some(RevealedToken {
                    id,
                    secret: Zeroizing::new(stored.secret.clone()),
                    proxy: stored.proxy.clone().map(Zeroizing::new),
                })
            })
            .collect();
        done(revealed)
    }
}

/// Usage that a test sets.
#[derive(Clone, Default)]
pub struct FakeUsage {
    used: Arc<Mutex<HashMap<KeyId, KeyDayUsage>>>,
}

impl FakeUsage {
    /// Sets what a key used today.
    pub fn set(&self, key: KeyId, used: KeyDayUsage) {
        self.used.lock().insert(key, used);
    }
}

impl KeyUsage for FakeUsage {
    fn today(&self) -> String {
        "2026-11-23".to_owned()
    }

    fn used_today<'a>(&'a self, keys: &'a [KeyId]) -> BoxFuture<'a, Vec<KeyDayUsage>> {
        let used = self.used.lock();
        let all = keys
            .iter()
            .map(|key| used.get(key).copied().unwrap_or_default())
            .collect();
        futures::future::ready(all).boxed()
    }
}

/// A configuration of its own; the directory holds its file.
pub fn own_config() -> (crate::settings::live::LiveConfig, tempfile::TempDir) {
    use crate::settings::live::{LiveConfig, LiveOptions};
    let directory = tempfile::tempdir().unwrap();
    let args = crate::settings::LoadArgs {
        data_dir: directory.path().to_owned(),
        ..crate::settings::LoadArgs::default()
    };
    let file = crate::settings::load(&args).unwrap().file;
    let options = LiveOptions {
        args,
        file,
        patch: None,
    };
    (LiveConfig::alone(options).unwrap(), directory)
}

/// Owns shard 3 and notes whether it was drained.
#[derive(Default)]
pub struct FakeClusterLedger(std::sync::atomic::AtomicBool);

impl FakeClusterLedger {
    /// Whether this node was told to hand over and end.
    pub fn is_drained(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Operations on a cluster of one.
    pub fn ops() -> super::cluster::ClusterOps {
        let session = grok2api_schemas::ids::SessionId::generate();
        let clock = grok2api_actors::clock::Clock::system();
        let membership = grok2api_actors::cluster::Membership::alone(session, clock);
        super::cluster::ClusterOps::new(membership, Arc::new(FakeClusterLedger::default()))
    }
}

impl super::cluster::ClusterLedger for FakeClusterLedger {
    fn owned(&self) -> Vec<grok2api_schemas::cluster::ShardClaim> {
        vec![grok2api_schemas::cluster::ShardClaim {
            shard: 3,
            epoch: 7,
            grants: 1,
            outstanding: 2,
            meters: 3,
        }]
    }

    fn asked(&self) -> (u64, u64) {
        (0, 0)
    }

    fn spooled(&self) -> u64 {
        0
    }

    fn drain_here(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn drain_there(
        &self,
        _: grok2api_schemas::ids::SessionId,
    ) -> BoxFuture<'_, Result<(), grok2api_actors::bus::BusError>> {
        async { Ok(()) }.boxed()
    }
}

/// Bindings of conversations that a test hands out.
#[derive(Clone, Default)]
pub struct FakeConversations {
    bound: Arc<Mutex<Vec<BoundConversation>>>,
}

impl FakeConversations {
    /// Binds one.
    pub fn bind(&self, conversation: u64, token: TokenId) {
        self.bound.lock().push(BoundConversation {
            conversation: ConversationId(conversation),
            token,
            team: Some("team-1".to_owned()),
            in_flight: 1,
            expires_in_ms: 60_000,
        });
    }

    /// Operations on them and on these bindings.
    pub fn ops(&self, bus: BusHandle, clock: Clock) -> AffinityOps {
        let bindings = Bindings::new(bus, SessionId::generate(), false);
        AffinityOps::new(Arc::new(self.clone()), bindings, clock)
    }
}

impl Conversations for FakeConversations {
    fn all(&self) -> Vec<BoundConversation> {
        self.bound.lock().clone()
    }

    fn clear(&self, which: WhichConversations) -> u64 {
        let mut bound = self.bound.lock();
        let before = bound.len();
        bound.retain(|row| match &which {
            WhichConversations::All => false,
            WhichConversations::Of(token) => row.token != *token,
            WhichConversations::These(these) => !these.contains(&row.conversation.0),
        });
        (before - bound.len()) as u64
    }

    fn counts(&self) -> (u64, u64, u64) {
        (3, 2, 1)
    }
}

/// How guessing is slowed down where nobody tests it.
pub const THROTTLE: super::throttle::ThrottleLimits = super::throttle::ThrottleLimits {
    failures: 10,
    window_ms: 300_000,
};

/// A record of admin actions on this bus.
pub fn audit(bus: &BusHandle, clock: &Clock) -> super::audit::AuditTrail {
    let (tracker, stop) = (
        tokio_util::task::TaskTracker::new(),
        tokio_util::sync::CancellationToken::new(),
    );
    super::audit::AuditTrail::start(bus.clone(), clock.clone(), String::new(), &tracker, stop)
}

/// What happened to credentials: nothing.
pub fn no_history(clock: &Clock, pool: Arc<dyn TokenPool>) -> super::history::HistoryOps {
    let store = grok2api_actors::store::Store::temporary().unwrap();
    let here = crate::token_history::TokenHistory::open(store, clock.clone()).unwrap();
    super::history::HistoryOps::new(here, pool, super::nodes::Nodes::alone())
}
