//! A future that is polled again at once where it woke itself.
//!
//! What talks to itself through channels inside one task (hyper's server: the handler asks its own connection for the
//! request's body) wakes its task while that runs. To the runtime this is a task that yields: it goes to the end of the
//! queue, another worker is woken to look for it, and takes it to another core. A poll on the spot costs a twentieth of that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls in a row: a future that always has more to do lets others have their turn.
const MOST: usize = 4;

/// Nobody polls: a wake goes to the task.
const AT_REST: u8 = 0;
/// It is being polled.
const POLLED: u8 = 1;
/// It was woken meanwhile.
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
        let seen = self
            .state
            .compare_exchange(POLLED, WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if seen == Err(AT_REST) {
            self.task.wake();
        }
    }
}

impl<F: Future> Repolled<F> {
    /// Polls this future.
    pub fn new(future: F) -> Repolled<F> {
        let wakes = Arc::new(Wakes {
            state: AtomicU8::new(AT_REST),
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
            state.store(POLLED, Ordering::Release);
            let outcome = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
            if outcome.is_ready() {
                state.store(AT_REST, Ordering::Release);
                return outcome;
            }
            if state
                .compare_exchange(POLLED, AT_REST, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Poll::Pending;
            }
        }
        state.store(AT_REST, Ordering::Release);
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
}
