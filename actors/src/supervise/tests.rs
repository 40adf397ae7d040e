//! Of the mailbox too: both need an actor to be of any use.

use std::sync::atomic::AtomicBool;

use actix::prelude::{Handler, Message, ResponseFuture, Running};
use futures::FutureExt;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::*;
use crate::mailbox::{MailboxError, Refused};
use crate::runtime::ArbiterPool;

const SOON: Duration = Duration::from_secs(5);

/// Counts, sleeps and panics on request.
#[derive(Default)]
struct Counter {
    count: u64,
    stopped: Option<Arc<AtomicBool>>,
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        if let Some(stopped) = &self.stopped {
            stopped.store(true, Ordering::SeqCst);
        }
        Running::Stop
    }
}

#[derive(Debug, PartialEq, Message)]
#[rtype(u64)]
struct Add(u64);

#[derive(Message)]
#[rtype("()")]
struct Panic;

#[derive(Message)]
#[rtype("()")]
struct Leave;

/// Blocks the whole arbiter, as no handler should.
#[derive(Debug, PartialEq, Message)]
#[rtype("()")]
struct Block(Duration);

#[derive(Message)]
#[rtype("()")]
struct Sleep(Duration);

impl Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u64 {
        self.count += n;
        self.count
    }
}

impl Handler<Panic> for Counter {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

impl Handler<Leave> for Counter {
    type Result = ();
    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Block> for Counter {
    type Result = ();
    fn handle(&mut self, Block(time): Block, _: &mut Self::Context) {
        std::thread::sleep(time);
    }
}

impl Handler<Sleep> for Counter {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, Sleep(time): Sleep, _: &mut Self::Context) -> ResponseFuture<()> {
        sleep(time).boxed()
    }
}

fn counter(arbiter: &ArbiterHandle, capacity: usize) -> Supervised<Counter> {
    Supervised::start("counter", arbiter.clone(), capacity, Clock::system(), Counter::default)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_panic_ends_one_actor_which_is_rebuilt_and_its_siblings_live() {
    let pool = ArbiterPool::start(1).unwrap();
    let arbiter = pool.pick();
    let (one, sibling) = (counter(&arbiter, 16), counter(&arbiter, 16));
    let mailbox = one.mailbox().clone();
    assert_eq!(mailbox.ask(Add(2), SOON).await, Ok(2));
    assert_eq!(sibling.mailbox().ask(Add(5), SOON).await, Ok(5));

    let start = Instant::now();
    assert_eq!(mailbox.ask(Panic, SOON).await, Err(MailboxError::Closed));
    assert_eq!(
        mailbox.ask(Add(2), SOON).await,
        Err(MailboxError::Closed),
        "at once, not at the deadline"
    );
    assert_eq!(mailbox.offer(Add(7)), Err(Refused::Closed(Add(7))));
    assert_eq!(sibling.mailbox().ask(Add(1), SOON).await, Ok(6));

    until("the rebuilding", || mailbox.connected()).await;
    assert!(start.elapsed() >= Duration::from_millis(FIRST_BACKOFF_MS));
    assert_eq!(
        mailbox.ask(Add(3), SOON).await,
        Ok(3),
        "built anew, behind the same handle"
    );
    let stats = |built, panics, stops| SupervisedStats { built, panics, stops };
    assert_eq!(one.stats(), stats(2, 1, 0));
    assert_eq!(sibling.stats(), stats(1, 0, 0));
    assert_eq!(mailbox.stats().closed, 3);
    assert_eq!(mailbox.stats().unanswered, 0);
}

#[tokio::test]
async fn a_factory_that_panics_is_tried_again_ever_later() {
    let pool = ArbiterPool::start(1).unwrap();
    let tries = Arc::new(AtomicU64::new(0));
    let counting = tries.clone();
    let start = Instant::now();
    let actor = Supervised::start("stubborn", pool.pick(), 4, Clock::system(), move || {
        assert!(counting.fetch_add(1, Ordering::SeqCst) >= 3, "on purpose");
        Counter::default()
    });
    until("the fourth try", || tries.load(Ordering::SeqCst) == 4).await;
    assert!(start.elapsed() >= Duration::from_millis(100 + 200 + 400));
    assert_eq!(actor.mailbox().ask(Add(1), SOON).await, Ok(1));
    assert_eq!((actor.stats().built, actor.stats().panics), (4, 3));
}

#[tokio::test]
async fn the_backoff_starts_over_after_a_long_life() {
    let pool = ArbiterPool::start(1).unwrap();
    let (clock, hand) = Clock::manual(crate::clock::WallMs(0));
    let actor = Supervised::start("counter", pool.pick(), 4, clock, Counter::default);
    let panic = async || {
        let panics = actor.stats().panics;
        actor.mailbox().ask(Panic, SOON).await.unwrap_err();
        // The asker hears of it while the actor's task still unwinds.
        until("the end", || actor.stats().panics == panics + 1).await;
        actor.supervision.next_backoff_ms.load(Ordering::Relaxed)
    };
    for next in [200, 400, 800] {
        assert_eq!(panic().await, next);
        until("the actor", || actor.mailbox().connected()).await;
    }
    hand.advance_ms(LONGEST_BACKOFF_MS);
    assert_eq!(panic().await, 200);
}

#[tokio::test]
async fn an_actor_that_stops_stays_stopped() {
    let pool = ArbiterPool::start(1).unwrap();
    let actor = counter(&pool.pick(), 4);
    actor.mailbox().ask(Leave, SOON).await.ok();
    until("the end", || actor.stats().stops == 1).await;
    sleep(Duration::from_millis(2 * FIRST_BACKOFF_MS)).await;
    assert!(!actor.mailbox().connected());
    assert_eq!(
        actor.stats(),
        SupervisedStats {
            built: 1,
            panics: 0,
            stops: 1
        }
    );
    actor.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_the_actor_and_dropping_the_handle_stops_it_too() {
    let pool = ArbiterPool::start(1).unwrap();
    for drops in [false, true] {
        let stopped = Arc::new(AtomicBool::new(false));
        let tell = stopped.clone();
        let actor = Supervised::start("counter", pool.pick(), 4, Clock::system(), move || Counter {
            count: 0,
            stopped: Some(tell.clone()),
        });
        let mailbox = actor.mailbox().clone();
        mailbox.ask(Add(1), SOON).await.unwrap();
        if drops {
            drop(actor);
            until("the end", || stopped.load(Ordering::SeqCst)).await;
        } else {
            actor.stop().await;
            assert!(stopped.load(Ordering::SeqCst));
        }
        until("the closed mailbox", || !mailbox.connected()).await;
    }
    // While it waits to be rebuilt, too.
    let actor = counter(&pool.pick(), 4);
    actor.mailbox().ask(Panic, SOON).await.ok();
    tokio::time::timeout(SOON, actor.stop()).await.unwrap();
    pool.stop();
    let never = counter(&pool.pick(), 4);
    tokio::time::timeout(SOON, never.stop()).await.unwrap();
    assert_eq!(never.mailbox().ask(Add(1), SOON).await, Err(MailboxError::Closed));
}

#[tokio::test]
async fn an_ask_ends_at_its_deadline() {
    let pool = ArbiterPool::start(1).unwrap();
    let actor = counter(&pool.pick(), 4);
    let start = Instant::now();
    let deadline = Duration::from_millis(50);
    let late = actor.mailbox().ask(Sleep(Duration::from_secs(60)), deadline).await;
    assert_eq!(late, Err(MailboxError::Deadline));
    assert!(start.elapsed() >= deadline && start.elapsed() < SOON);
    assert_eq!(actor.mailbox().stats().deadline, 1);
    assert_eq!(
        actor.mailbox().ask(Add(1), SOON).await,
        Ok(1),
        "others are answered meanwhile"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_for_asks_also_when_their_askers_leave() {
    let pool = ArbiterPool::start(1).unwrap();
    let actor = counter(&pool.pick(), 4);
    let mailbox = actor.mailbox();
    let blocked = Duration::from_millis(400);
    assert_eq!(
        mailbox.ask(Block(blocked), Duration::from_millis(20)).await,
        Err(MailboxError::Deadline)
    );
    assert_eq!(
        mailbox.stats().unanswered,
        1,
        "the place is kept while the actor is at it"
    );
    let asks = (0..50).map(|_| mailbox.ask(Add(1), Duration::from_millis(20)));
    let outcomes = join_all(asks).await;
    let count = |error| outcomes.iter().filter(|outcome| **outcome == Err(error)).count();
    assert_eq!((count(MailboxError::Deadline), count(MailboxError::Full)), (3, 47));
    let stats = mailbox.stats();
    assert_eq!((stats.unanswered, stats.waited, stats.full), (4, 47, 47));

    until("the free places", || mailbox.stats().unanswered == 0).await;
    assert_eq!(
        mailbox.ask(Add(0), SOON).await,
        Ok(3),
        "what had no place was never delivered"
    );
    // Waiting is served when there is time.
    let asks = (0..50).map(|_| mailbox.ask(Add(1), SOON));
    assert!(join_all(asks).await.iter().all(Result::is_ok));
    assert_eq!(mailbox.ask(Add(0), SOON).await, Ok(53));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_for_offers_which_come_back() {
    let pool = ArbiterPool::start(1).unwrap();
    let actor = counter(&pool.pick(), 4);
    let mailbox = actor.mailbox();
    mailbox.ask(Add(0), SOON).await.unwrap();
    mailbox.offer(Block(Duration::from_millis(300))).unwrap();
    sleep(Duration::from_millis(50)).await;
    let outcomes: Vec<_> = (0..100).map(|_| mailbox.offer(Add(1))).collect();
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((1..=5).contains(&taken), "{taken} were taken");
    for refused in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(refused.into_message(), Add(1));
    }
    assert_eq!(mailbox.stats().full, 100 - taken as u64);
    until("room", || mailbox.offer(Add(0)).is_ok()).await;
    assert_eq!(mailbox.ask(Add(0), SOON).await, Ok(taken as u64));
}

#[test]
fn actors_can_live_on_the_thread_of_a_test_with_paused_time() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    actix_rt::System::with_tokio_rt(runtime).block_on(async {
        let pool = ArbiterPool::of_this_thread().unwrap();
        let actor = counter(&pool.pick(), 4);
        let hour = Duration::from_secs(3600);
        let start = Instant::now();
        assert_eq!(actor.mailbox().ask(Sleep(hour), 2 * hour).await, Ok(()));
        assert!(start.elapsed() >= hour);
        assert!(actor.mailbox().ask(Panic, hour).await.is_err());
        until("the rebuilding", || actor.mailbox().connected()).await;
        assert_eq!(actor.mailbox().ask(Add(1), hour).await, Ok(1));
    });
}
