//! A future that is polled again at once where it woke itself.
//!
//! What talks to itself through channels inside one task (hyper's server: the handler asks its own connection for the
//! request's body) wakes its task while that runs. To the runtime this is a task that yields: it goes to the end of the
//! queue, another worker is woken to look for it, and takes it to another core. A poll on the spot saves that (`benches/README.md`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls in a row: a future that always has more to do lets others have their turn.
const MOST: usize = 4;

/// It is being polled: a wake is answered by another poll.
const POLLED: u8 = 1;
/// It was woken since its last poll began.
const WOKEN: u8 = 2;

/// See the module.
pub struct Repolled<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
    waker: Waker,
}

struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Always a write, also where it is known to be woken: what was done before this wake is then seen by the poll that
        // takes the mark away. Who marked it first while it was at rest wakes the task.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.task.wake();
        }
    }
}

impl<F: Future> Repolled<F> {
    /// Polls this future.
    pub fn new(future: F) -> Repolled<F> {
        let wakes = Arc::new(Wakes {
            state: AtomicU8::new(0),
            task: AtomicWaker::new(),
        });
        Repolled {
            future: Box::pin(future),
            waker: Waker::from(wakes.clone()),
            wakes,
        }
    }

    /// The future, between two polls.
    pub fn inner(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }
}

impl<F: Future> Future for Repolled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let state = &this.wakes.state;
        this.wakes.task.register(cx.waker());
        for _ in 0..MOST {
            state.swap(POLLED, Ordering::AcqRel);
            let outcome = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
            if outcome.is_ready() {
                state.store(0, Ordering::Release);
                return outcome;
            }
            if state
                .compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Poll::Pending;
            }
        }
        // Still woken, at rest: the wake is this one.
        state.fetch_and(!POLLED, Ordering::AcqRel);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use futures::FutureExt;
    use futures::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl ArcWake for Counted {
        fn wake_by_ref(counted: &Arc<Counted>) {
            counted.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A future that wakes itself so many times before it is done, and counts its polls.
    fn restless(times: usize, polls: Arc<AtomicUsize>) -> impl Future<Output = ()> {
        poll_fn(move |cx| {
            if polls.fetch_add(1, Ordering::SeqCst) == times {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    #[test]
    fn who_wakes_itself_is_polled_again_without_its_task_being_woken() {
        let (task, polls) = (Arc::new(Counted::default()), Arc::default());
        let mut future = Repolled::new(restless(3, Arc::clone(&polls)));
        let done = future.poll_unpin(&mut Context::from_waker(&waker(task.clone())));
        assert!(done.is_ready());
        assert_eq!((polls.load(Ordering::SeqCst), task.0.load(Ordering::SeqCst)), (4, 0));
    }

    #[test]
    fn who_never_rests_lets_others_have_their_turn_and_is_woken() {
        let (task, polls) = (Arc::new(Counted::default()), Arc::default());
        let mut future = Repolled::new(restless(usize::MAX, Arc::clone(&polls)));
        let done = future.poll_unpin(&mut Context::from_waker(&waker(task.clone())));
        assert!(done.is_pending());
        assert_eq!((polls.load(Ordering::SeqCst), task.0.load(Ordering::SeqCst)), (MOST, 1));
    }

    #[test]
    fn a_wake_from_elsewhere_reaches_the_task_that_polled_last() {
        let (first, second) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let (send, receive) = tokio::sync::oneshot::channel::<()>();
        let mut future = Repolled::new(receive);
        for task in [&first, &second] {
            assert!(
                future
                    .poll_unpin(&mut Context::from_waker(&waker(task.clone())))
                    .is_pending()
            );
        }
        assert!(send.send(()).is_ok());
        assert_eq!(
            (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)),
            (0, 1)
        );
        assert!(future.poll_unpin(&mut Context::from_waker(&waker(second))).is_ready());
    }

    /// Wakes from another thread at any moment of a poll: none is lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_of_another_thread_is_lost() {
        let (send, mut receive) = tokio::sync::mpsc::channel::<usize>(1);
        let sender = std::thread::spawn(move || {
            for number in 0..20_000 {
                if send.blocking_send(number).is_err() {
                    return;
                }
            }
        });
        let all = Repolled::new(async move {
            let mut next = 0;
            while let Some(number) = receive.recv().await {
                assert_eq!(number, next);
                next += 1;
            }
            next
        });
        assert_eq!(all.await, 20_000);
        assert!(sender.join().is_ok());
    }

    /// A future that looks at a plain number, which another thread sets before it wakes: each is seen.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_done_before_a_wake_is_seen() {
        const ROUNDS: usize = 100_000;
        let (set, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let kept = Arc::new(parking_lot::Mutex::new(None::<Waker>));
        let (its_set, its_seen, its_kept) = (set.clone(), seen.clone(), kept.clone());
        let setter = std::thread::spawn(move || {
            while its_kept.lock().is_none() {
                std::thread::yield_now();
            }
            let Some(waker) = its_kept.lock().clone() else { return };
            for round in 1..=ROUNDS {
                its_set.store(round, Ordering::Relaxed);
                waker.wake_by_ref();
                // Twice: the second finds it marked, or being polled.
                waker.wake_by_ref();
                while round % 2 == 0 && its_seen.load(Ordering::Acquire) < round {
                    std::hint::spin_loop();
                }
            }
        });
        let all = Repolled::new(poll_fn(|cx| {
            kept.lock().get_or_insert_with(|| cx.waker().clone());
            let now = set.load(Ordering::Relaxed);
            seen.store(now, Ordering::Release);
            if now == ROUNDS { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert!(
            tokio::time::timeout(std::time::Duration::from_secs(120), all)
                .await
                .is_ok(),
            "a wake was lost"
        );
        assert!(setter.join().is_ok());
    }
}
