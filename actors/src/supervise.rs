//! Actors that are rebuilt after a panic. actix's own supervisor does not do that: a panic ends the actor's task, and with
//! it the mailbox.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::ActorFutureExt;
use actix::dev::channel::{AddressReceiver, channel};
use actix::prelude::{Actor, ActorContext, Addr, AsyncContext, Context, WrapFuture};
use actix_rt::ArbiterHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{Clock, Mono};
use crate::mailbox::Mailbox;

/// Wait before the first rebuilding; doubles with every further one.
const FIRST_BACKOFF_MS: u64 = 100;
/// The longest wait, and the life after which the next panic counts as the first again.
const LONGEST_BACKOFF_MS: u64 = 10_000;

/// How often an actor was built and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SupervisedStats {
    /// Times that it was built, or tried to be.
    pub built: u64,
    /// Times that it panicked, in a handler or while it was built.
    pub panics: u64,
    /// Times that it stopped, by itself or because it was told to: then it stays stopped.
    pub stops: u64,
}

/// An actor with its factory. The actor is told to stop when the last clone of this is dropped; its [`Mailbox`] alone
/// does not keep it.
pub struct Supervised<A: Actor<Context = Context<A>>> {
    supervision: Arc<Supervision<A>>,
    _stop: Arc<DropGuard>,
}

struct Supervision<A: Actor<Context = Context<A>>> {
    name: Arc<str>,
    mailbox: Mailbox<A>,
    capacity: usize,
    arbiter: ArbiterHandle,
    clock: Clock,
    factory: Box<dyn Fn() -> A + Send + Sync>,
    stop: CancellationToken,
    ended: CancellationToken,
    next_backoff_ms: AtomicU64,
    built: AtomicU64,
    panics: AtomicU64,
    stops: AtomicU64,
}

impl<A: Actor<Context = Context<A>>> Supervised<A> {
    /// Builds the actor on `arbiter`, and again whenever it has panicked, after 100 ms at first and 10 s at most. Its
    /// mailbox holds `capacity` messages (see [`Mailbox`]); `name` is for the log.
    pub fn start(
        name: impl Into<Arc<str>>,
        arbiter: ArbiterHandle,
        capacity: usize,
        clock: Clock,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> Supervised<A> {
        let capacity = capacity.max(1);
        let (sender, receiver) = channel(capacity);
        let stop = CancellationToken::new();
        let supervision = Arc::new(Supervision {
            name: name.into(),
            mailbox: Mailbox::new(Addr::new(sender), arbiter.clone(), capacity),
            capacity,
            arbiter,
            clock,
            factory: Box::new(factory),
            stop: stop.clone(),
            ended: CancellationToken::new(),
            next_backoff_ms: AtomicU64::new(FIRST_BACKOFF_MS),
            built: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            stops: AtomicU64::new(0),
        });
        supervision.clone().build(receiver);
        Supervised {
            supervision,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// The way to the actor, whichever it is at the moment. While it is being rebuilt, messages are `Closed`.
    pub fn mailbox(&self) -> &Mailbox<A> {
        &self.supervision.mailbox
    }

    /// How often it was built and ended.
    pub fn stats(&self) -> SupervisedStats {
        let supervision = &*self.supervision;
        SupervisedStats {
            built: supervision.built.load(Ordering::Relaxed),
            panics: supervision.panics.load(Ordering::Relaxed),
            stops: supervision.stops.load(Ordering::Relaxed),
        }
    }

    /// Stops the actor and waits until it is gone: its `stopping` and `stopped` have run, what it held is dropped.
    pub async fn stop(&self) {
        self.supervision.stop.cancel();
        self.supervision.ended.cancelled().await;
    }
}

impl<A: Actor<Context = Context<A>>> Clone for Supervised<A> {
    fn clone(&self) -> Supervised<A> {
        Supervised {
            supervision: self.supervision.clone(),
            _stop: self._stop.clone(),
        }
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Supervised<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supervised({}, {:?})", self.supervision.name, self.stats())
    }
}

impl<A: Actor<Context = Context<A>>> Supervision<A> {
    fn build(self: Arc<Self>, receiver: AddressReceiver<A>) {
        let arbiter = self.arbiter.clone();
        self.built.fetch_add(1, Ordering::Relaxed);
        let lifeline = Lifeline {
            built_at: self.clock.now(),
            supervision: self,
        };
        // On a stopped arbiter the closure is dropped, the lifeline with it.
        arbiter.spawn_fn(move || {
            let supervision = lifeline.supervision.clone();
            let actor = (supervision.factory)();
            let mut ctx = Context::with_receiver(receiver);
            // Held by the context, so it goes when the actor's task does, however that ends.
            ctx.spawn(
                async move {
                    let _held = lifeline;
                    pending::<()>().await;
                }
                .into_actor(&actor),
            );
            let told_to_stop = supervision.stop.clone().cancelled_owned();
            ctx.spawn(
                told_to_stop
                    .into_actor(&actor)
                    .map(|(), _, ctx: &mut Context<A>| ctx.stop()),
            );
            actix_rt::spawn(ctx.into_future(actor));
        });
    }

    fn ended_by_panic(self: Arc<Self>, built_at: Mono) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        let lived_ms = self.clock.now().ms_since(built_at);
        let backoff_ms = if lived_ms >= LONGEST_BACKOFF_MS {
            FIRST_BACKOFF_MS
        } else {
            self.next_backoff_ms.load(Ordering::Relaxed)
        };
        self.next_backoff_ms
            .store((backoff_ms * 2).min(LONGEST_BACKOFF_MS), Ordering::Relaxed);
        tracing::error!(
            actor = &*self.name,
            lived_ms,
            backoff_ms,
            "an actor panicked and will be rebuilt"
        );
        let ended = self.ended.clone();
        let arbiter = self.arbiter.clone();
        let rebuilding = arbiter.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(backoff_ms)) => {
                    let (sender, receiver) = channel(self.capacity);
                    self.mailbox.redirect(Addr::new(sender));
                    self.build(receiver);
                }
                () = self.stop.cancelled() => self.ended.cancel(),
            }
        });
        if !rebuilding {
            ended.cancel();
        }
    }

    fn ended_by_stopping(&self) {
        self.stops.fetch_add(1, Ordering::Relaxed);
        self.ended.cancel();
    }
}

/// Goes when the actor goes.
struct Lifeline<A: Actor<Context = Context<A>>> {
    supervision: Arc<Supervision<A>>,
    built_at: Mono,
}

impl<A: Actor<Context = Context<A>>> Drop for Lifeline<A> {
    fn drop(&mut self) {
        // A panicking task is dropped while it unwinds.
        if std::thread::panicking() {
            self.supervision.clone().ended_by_panic(self.built_at);
        } else {
            self.supervision.ended_by_stopping();
        }
    }
}

#[cfg(test)]
mod tests;
