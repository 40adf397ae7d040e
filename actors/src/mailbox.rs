//! The way to an actor: bounded, with deadlines, counted.
//!
//! actix alone bounds neither way in: `do_send` ignores the capacity, and every `send` to a full mailbox clones a sender
//! that has a guaranteed place. So asks take one of as many places as the mailbox has, and keep it until the actor has
//! answered, also when the asker no longer waits; offers go through the one sender that actix does bound. At most about
//! twice the capacity waits in front of an actor.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::{Actor, Addr, Handler, Message, SendError};
use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Why an actor did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxError {
    /// No place came free (for an ask: until its deadline). The actor never saw the message.
    Full,
    /// The actor is gone; it may have seen the message.
    Closed,
    /// The message was delivered, the answer did not come in time. The actor may still carry it out.
    Deadline,
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MailboxError::Full => "the mailbox is full",
            MailboxError::Closed => "the actor is gone",
            MailboxError::Deadline => "the actor did not answer in time",
        })
    }
}

impl std::error::Error for MailboxError {}

/// An offer that was not taken, with the message, so that it can be merged into a later one.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<M> {
    /// The mailbox is full.
    Full(M),
    /// The actor is gone.
    Closed(M),
}

impl<M> Refused<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            Refused::Full(message) | Refused::Closed(message) => message,
        }
    }
}

/// What happened at a mailbox so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MailboxStats {
    /// Places for asks.
    pub capacity: usize,
    /// Asks that the actor has not answered yet.
    pub unanswered: usize,
    /// Messages that were delivered, asks and offers.
    pub delivered: u64,
    /// Asks that had to wait for a place.
    pub waited: u64,
    /// Asks and offers that found no place.
    pub full: u64,
    /// Asks and offers that found no actor, or lost it.
    pub closed: u64,
    /// Asks that were not answered in time.
    pub deadline: u64,
}

/// A handle on an actor. Clones share it, and all follow when the actor is rebuilt.
pub struct Mailbox<A: Actor> {
    shared: Arc<Shared<A>>,
}

struct Shared<A: Actor> {
    addr: ArcSwap<Addr<A>>,
    /// Where the actor lives: what an asker leaves behind waits there.
    arbiter: ArbiterHandle,
    places: Arc<Semaphore>,
    capacity: usize,
    delivered: AtomicU64,
    waited: AtomicU64,
    full: AtomicU64,
    closed: AtomicU64,
    deadline: AtomicU64,
}

impl<A: Actor> Mailbox<A> {
    /// A mailbox for the actor at `addr`, which lives on `arbiter` and set its capacity to `capacity` (at least 1).
    pub fn new(addr: Addr<A>, arbiter: ArbiterHandle, capacity: usize) -> Mailbox<A> {
        let capacity = capacity.max(1);
        Mailbox {
            shared: Arc::new(Shared {
                addr: ArcSwap::from_pointee(addr),
                arbiter,
                places: Arc::new(Semaphore::new(capacity)),
                capacity,
                delivered: AtomicU64::new(0),
                waited: AtomicU64::new(0),
                full: AtomicU64::new(0),
                closed: AtomicU64::new(0),
                deadline: AtomicU64::new(0),
            }),
        }
    }

    /// Sends a message and waits for the answer, for both together at most `deadline`.
    ///
    /// # Errors
    /// `Full`, `Closed`, `Deadline`.
    pub async fn ask<M>(&self, message: M, deadline: Duration) -> Result<M::Result, MailboxError>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let shared = &*self.shared;
        let deadline = Instant::now() + deadline;
        let place = match shared.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                shared.waited.fetch_add(1, Ordering::Relaxed);
                match timeout_at(deadline, shared.places.clone().acquire_owned()).await {
                    Ok(Ok(place)) => place,
                    // The places are never closed: a rebuilt actor needs them.
                    Ok(Err(_)) | Err(_) => return Err(shared.failed(MailboxError::Full)),
                }
            }
        };
        let request = shared.addr.load().send(message);
        let asked = Asked {
            request: Some(Box::pin(request)),
            place: Some(place),
            arbiter: &shared.arbiter,
        };
        match timeout_at(deadline, asked).await {
            Ok(Ok(answer)) => {
                shared.delivered.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(_)) => Err(shared.failed(MailboxError::Closed)),
            Err(_) => {
                shared.delivered.fetch_add(1, Ordering::Relaxed);
                Err(shared.failed(MailboxError::Deadline))
            }
        }
    }

    /// Sends a message without waiting for anything.
    ///
    /// # Errors
    /// The message comes back if there is no place or no actor.
    pub fn offer<M>(&self, message: M) -> Result<(), Refused<M>>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let shared = &*self.shared;
        match shared.addr.load().try_send(message) {
            Ok(()) => {
                shared.delivered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(SendError::Full(message)) => {
                shared.failed(MailboxError::Full);
                Err(Refused::Full(message))
            }
            Err(SendError::Closed(message)) => {
                shared.failed(MailboxError::Closed);
                Err(Refused::Closed(message))
            }
        }
    }

    /// Whether the actor is there.
    pub fn connected(&self) -> bool {
        self.shared.addr.load().connected()
    }

    /// What happened so far.
    pub fn stats(&self) -> MailboxStats {
        let shared = &*self.shared;
        MailboxStats {
            capacity: shared.capacity,
            unanswered: shared.capacity - shared.places.available_permits(),
            delivered: shared.delivered.load(Ordering::Relaxed),
            waited: shared.waited.load(Ordering::Relaxed),
            full: shared.full.load(Ordering::Relaxed),
            closed: shared.closed.load(Ordering::Relaxed),
            deadline: shared.deadline.load(Ordering::Relaxed),
        }
    }

    /// Leads to another actor from now on.
    pub(crate) fn redirect(&self, addr: Addr<A>) {
        self.shared.addr.store(Arc::new(addr));
    }
}

impl<A: Actor> Shared<A> {
    fn failed(&self, error: MailboxError) -> MailboxError {
        let counter = match error {
            MailboxError::Full => &self.full,
            MailboxError::Closed => &self.closed,
            MailboxError::Deadline => &self.deadline,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        error
    }
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Mailbox<A> {
        Mailbox {
            shared: self.shared.clone(),
        }
    }
}

impl<A: Actor> fmt::Debug for Mailbox<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox<{}>", std::any::type_name::<A>())
    }
}

type Answer<R> = Pin<Box<dyn Future<Output = Result<R, actix::MailboxError>> + Send>>;

/// A delivered ask and its place. Left by its asker, it keeps the place until the actor is through with the message.
struct Asked<'a, R: Send + 'static> {
    request: Option<Answer<R>>,
    place: Option<OwnedSemaphorePermit>,
    arbiter: &'a ArbiterHandle,
}

impl<R: Send + 'static> Future for Asked<'_, R> {
    type Output = Result<R, actix::MailboxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(request) = &mut self.request else {
            return Poll::Ready(Err(actix::MailboxError::Closed));
        };
        let answer = std::task::ready!(request.as_mut().poll(cx));
        self.request = None;
        self.place = None;
        Poll::Ready(answer)
    }
}

impl<R: Send + 'static> Drop for Asked<'_, R> {
    fn drop(&mut self) {
        if let (Some(request), Some(place)) = (self.request.take(), self.place.take()) {
            // A stopped arbiter takes nothing: then the actor is gone and the place is free.
            self.arbiter.spawn(async move {
                let _ = request.await;
                drop(place);
            });
        }
    }
}
