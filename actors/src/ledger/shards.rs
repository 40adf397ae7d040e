//! Which shards this node decides for, and who decides for the others. In a cluster a keeper takes over what the
//! membership names this node for: at once what nobody decides for, one by one what a living node hands over.

mod compare;
mod planner;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use grok2api_schemas::cluster::{NodeRequest, ShardClaim};
use grok2api_schemas::ids::SessionId;
use grok2api_schemas::meter::{Meter, MeterKind};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::planner::Planner;
use super::actor::{self, Finish, Inspect, OpenShard, OwnerStanding, ShardContext};
use super::remote;
use crate::clock::Mono;
use crate::cluster::{Membership, Snapshot};

/// How long a shard that was lost is left alone before it is taken over again (no duels).
const REOPEN_AFTER_MS: u64 = 5_000;
/// How long a shard whose actor died by a fault waits for its next life.
const REBUILD_AFTER_MS: u64 = 100;
/// How long a shard that could not be opened waits for the next try.
const TRY_AGAIN_MS: u64 = 500;
/// The keeper looks at least this often.
const LOOK: Duration = Duration::from_millis(250);
/// How long the present owner of a shard gets to end what is under way, before it is taken over without its help.
const YIELD_WITHIN: Duration = Duration::from_millis(2_000);
/// How long it waits for paced shares that are on their way from one holder to another: the next owner would release them ε
/// later, and who waits for one would not get it in time.
const SHARES_MOVE_WITHIN: Duration = Duration::from_millis(1_500);
/// How often it looks whether they are there.
const SHARES_LOOK: Duration = Duration::from_millis(50);

/// Where a shard's owner lives, if here.
pub(super) struct ShardLink {
    pub(super) context: ShardContext,
    pub(super) arbiter: actix_rt::ArbiterHandle,
    pub(super) open: ArcSwapOption<OpenShard>,
    opening: AtomicBool,
    /// Not opened before; microseconds on our clock.
    rests_until: AtomicU64,
    /// The epoch of another node's turn in which the journal was last compared with what is remembered.
    checked: AtomicU64,
}

/// Where a request for a shard goes.
pub(super) enum Route {
    /// To an actor of this node.
    Local(Arc<OpenShard>),
    /// To another node.
    Remote(SessionId),
    /// Nobody is known to decide for it.
    Nobody,
}

/// All shards, as this node sees them.
pub(super) struct Shards {
    links: Vec<ShardLink>,
    pub(super) membership: Membership,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// A shard's actor ended, or the node begins to close.
    wake: Arc<Notify>,
    /// Another node asked this one to hand over and end.
    pub(super) asked_to_drain: CancellationToken,
}

impl ShardLink {
    pub(super) fn new(context: ShardContext, arbiter: actix_rt::ArbiterHandle, open: Option<OpenShard>) -> ShardLink {
        ShardLink {
            context,
            arbiter,
            open: ArcSwapOption::from(open.map(Arc::new)),
            opening: AtomicBool::new(false),
            rests_until: AtomicU64::new(0),
            checked: AtomicU64::new(0),
        }
    }

    fn now(&self) -> Mono {
        self.context.clock.now()
    }

    fn rest(&self, ms: u64) {
        self.rests_until.store(self.now().plus_ms(ms).0, Ordering::Release);
    }
}

impl Shards {
    pub(super) fn new(
        links: Vec<ShardLink>,
        membership: Membership,
        wake: Arc<Notify>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> Shards {
        Shards {
            links,
            membership,
            tracker,
            stop,
            wake,
            asked_to_drain: CancellationToken::new(),
        }
    }

    /// Every link.
    pub(super) fn links(&self) -> &[ShardLink] {
        &self.links
    }

    /// The actor of a shard that this node decides for.
    pub(super) fn local(&self, shard: usize) -> Option<Arc<OpenShard>> {
        let open = self.links.get(shard)?.open.load_full()?;
        open.addr.connected().then_some(open)
    }

    /// Where a request for this shard goes. Alone, a shard whose actor is gone is opened again on the way.
    pub(super) fn route(self: &Arc<Self>, shard: usize) -> Route {
        if let Some(open) = self.local(shard) {
            return Route::Local(open);
        }
        if !self.membership.is_clustered() {
            self.rebuild(shard);
            return Route::Nobody;
        }
        let snapshot = self.membership.snapshot();
        let number = u16::try_from(shard).unwrap_or(u16::MAX);
        let owner = match snapshot.claim(number) {
            Some((session, _)) if session != snapshot.me => Some(session),
            _ => snapshot.named(number).filter(|session| *session != snapshot.me),
        };
        owner.map_or(Route::Nobody, Route::Remote)
    }

    /// Whether an answer of this session in this epoch is of an owner that has been replaced.
    pub(super) fn is_stale(&self, shard: usize, from: SessionId, epoch: u64) -> bool {
        let number = u16::try_from(shard).unwrap_or(u16::MAX);
        let claim = self.membership.snapshot().claim(number);
        claim.is_some_and(|(session, claim)| session != from && claim.epoch > epoch)
    }

    /// What this node decides for.
    pub(super) fn claims(&self) -> Vec<ShardClaim> {
        let open = self.links.iter().filter_map(|link| {
            let open = link.open.load_full()?;
            open.addr.connected().then(|| ShardClaim {
                shard: link.context.shard,
                epoch: open.epoch,
                grants: open.gauge.grants.load(Ordering::Relaxed),
                outstanding: open.gauge.outstanding.load(Ordering::Relaxed),
                meters: open.gauge.meters.load(Ordering::Relaxed),
            })
        });
        open.collect()
    }

    /// Another node wants to decide for a shard: it may, when no paced share is on its way.
    pub(super) async fn make_way(&self, shard: usize) {
        let end = tokio::time::Instant::now() + SHARES_MOVE_WITHIN;
        while self.moves_shares(shard).await && tokio::time::Instant::now() < end {
            tokio::time::sleep(SHARES_LOOK).await;
        }
        self.let_go(shard).await;
    }

    async fn moves_shares(&self, shard: usize) -> bool {
        let Some(open) = self.local(shard) else {
            return false;
        };
        let (reply, answer) = oneshot::channel();
        if open.addr.try_send(Inspect(reply)).is_err() {
            return false;
        }
        let standing = answer.await.unwrap_or_default();
        let is_paced = |at: &OwnerStanding| matches!(at.meter.kind, MeterKind::Paced { .. });
        standing.iter().any(|at| is_paced(at) && at.charged > 0)
    }

    /// Writes what is pending of a shard and lets go of it, for its next owner.
    pub(super) async fn let_go(&self, shard: usize) {
        let Some(link) = self.links.get(shard) else {
            return;
        };
        if let Some(open) = link.open.load_full() {
            let (done, written) = oneshot::channel();
            if open.addr.try_send(Finish(done)).is_ok() {
                let _ = written.await;
            }
            link.open.compare_and_swap(&open, None);
            self.membership.claim(self.claims(), true);
        }
    }

    /// Wakes the keeper.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }

    /// Follows the membership until the node ends.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut changes = self.membership.changes();
        let mut planner = Planner::default();
        let mut shown = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = changes.changed() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.membership.clock().until_next(LOOK)) => {}
            }
            let claims = self.claims();
            let epochs: Vec<_> = claims.iter().map(|claim| (claim.shard, claim.epoch)).collect();
            let is_news = epochs != shown;
            shown = epochs;
            self.membership.claim(claims, is_news);
            let snapshot = self.membership.snapshot();
            if snapshot.settled && snapshot.connected {
                self.follow(&snapshot, &mut planner);
            }
        }
    }

    fn follow(self: &Arc<Self>, snapshot: &Snapshot, planner: &mut Planner) {
        let mut planned = Vec::new();
        for (shard, link) in self.links.iter().enumerate() {
            let claim = snapshot.claim(link.context.shard);
            if let Some(open) = self.local(shard) {
                let is_replaced =
                    claim.is_some_and(|(session, claim)| session != snapshot.me && claim.epoch > open.epoch);
                if is_replaced || snapshot.objection.is_some() {
                    let shards = self.clone();
                    self.tracker.spawn(async move { shards.let_go(shard).await });
                }
                continue;
            }
            if link.open.swap(None).is_some() {
                // Its actor ended by itself: another took the shard over, or a fault.
                let is_lost = link.context.stepped_down.swap(false, Ordering::AcqRel);
                link.rest(if is_lost { REOPEN_AFTER_MS } else { REBUILD_AFTER_MS });
            }
            if let Some((owner, claim)) = claim.filter(|(owner, _)| *owner != snapshot.me) {
                self.check(shard, owner, claim.epoch);
            }
            let rests = link.now().0 < link.rests_until.load(Ordering::Acquire);
            if snapshot.named(link.context.shard) != Some(snapshot.me) || rests {
                continue;
            }
            match claim {
                Some((owner, _)) if owner != snapshot.me => planned.push((shard, owner)),
                _ => self.open(shard, None),
            }
        }
        let now = self.links.first().map_or(Mono(0), ShardLink::now);
        if let Some((shard, owner)) = planner.next(now, &planned) {
            self.open(shard, Some(owner));
        }
    }

    /// Another node starves of these meters.
    pub(super) fn recall(&self, meters: &[Meter]) {
        if let Some(ShardLink { context, .. }) = self.links.first() {
            context.node.recall(context.clock.now(), meters);
        }
    }

    /// Takes a shard over in the background; `from` its present owner, if it lives.
    fn open(self: &Arc<Self>, shard: usize, from: Option<SessionId>) {
        let Some(link) = self.links.get(shard) else {
            return;
        };
        if self.stop.is_cancelled() || link.opening.swap(true, Ordering::AcqRel) {
            return;
        }
        let shards = self.clone();
        self.tracker.spawn(async move {
            let stop = shards.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = shards.take_over(shard, from) => {}
            }
            if let Some(link) = shards.links.get(shard) {
                link.opening.store(false, Ordering::Release);
            }
            shards.look();
        });
    }

    async fn take_over(&self, shard: usize, from: Option<SessionId>) {
        let Some(link) = self.links.get(shard) else {
            return;
        };
        if let Some(owner) = from {
            let request = NodeRequest::Yield {
                shard: link.context.shard,
            };
            // Whether it helps or not: the append decides.
            let _ = remote::ask(&link.context.bus, owner, &request, YIELD_WITHIN).await;
        }
        match actor::open(link.context.clone(), &link.arbiter).await {
            Ok(open) => {
                tracing::info!(shard, epoch = open.epoch, "this node decides for this shard now");
                link.open.store(Some(Arc::new(open)));
                self.membership.claim(self.claims(), true);
            }
            Err(error) => {
                tracing::warn!(shard, %error, "shard not taken over; it is tried again");
                link.rest(TRY_AGAIN_MS);
            }
        }
    }

    /// Alone: takes a shard over again whose actor is gone, in the background.
    fn rebuild(self: &Arc<Self>, shard: usize) {
        let Some(link) = self.links.get(shard) else {
            return;
        };
        if self.stop.is_cancelled() || link.opening.swap(true, Ordering::AcqRel) {
            return;
        }
        let pause_ms = if link.context.stepped_down.swap(false, Ordering::AcqRel) {
            REOPEN_AFTER_MS
        } else {
            tracing::error!(
                shard,
                "the owner of this shard died of a fault: building it anew from its journal"
            );
            REBUILD_AFTER_MS
        };
        let shards = self.clone();
        self.tracker.spawn(async move {
            let again = async {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                shards.take_over(shard, None).await;
            };
            tokio::select! {
                () = shards.stop.cancelled() => {}
                () = again => {}
            }
            if let Some(link) = shards.links.get(shard) {
                link.opening.store(false, Ordering::Release);
            }
        });
    }

    /// Ends every actor of this node, once what is pending is written.
    pub(super) async fn finish(&self) {
        for link in &self.links {
            let (done, written) = oneshot::channel();
            let asked = link
                .open
                .load()
                .as_ref()
                .is_some_and(|open| open.addr.try_send(Finish(done)).is_ok());
            if asked {
                let _ = written.await;
            }
        }
    }
}

/// Where a shard's requests go, for tests.
#[cfg(test)]
impl Shards {
    pub(super) fn forget_all(&self) {
        for link in &self.links {
            link.open.store(None);
        }
    }
}
