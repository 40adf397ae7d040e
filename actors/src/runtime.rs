//! The threads that actors live on: a fixed set of arbiters, apart from the runtime that serves requests, so that neither
//! starves the other.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use actix_rt::{Arbiter, ArbiterHandle, System};
use parking_lot::Mutex;

thread_local! {
    static ON_AN_ARBITER: Cell<bool> = const { Cell::new(false) };
}

/// Runs `main` on this thread with an actix system on the given multi-thread runtime: tasks that `main` spawns run on its
/// workers, and [`ArbiterPool::start`] inside `main` joins this system.
pub fn block_on<F: Future>(runtime: tokio::runtime::Runtime, main: F) -> F::Output {
    System::with_tokio_rt(move || runtime).block_on(main)
}

/// The arbiters of this process. Clones share them.
#[derive(Clone)]
pub struct ArbiterPool {
    inner: Arc<Inner>,
}

struct Inner {
    handles: Vec<ArbiterHandle>,
    next: AtomicUsize,
    threads: Mutex<Threads>,
}

struct Threads {
    arbiters: Vec<Arbiter>,
    /// The system's own thread, where none was running before.
    system: Option<(System, JoinHandle<()>)>,
}

impl ArbiterPool {
    /// Starts so many arbiter threads (at least one), named `arbiter-0` and so on. They join the actix system that runs on
    /// the calling thread; where there is none (a worker thread, a test), the pool brings one on a thread of its own.
    ///
    /// # Errors
    /// What the system says when a thread or its runtime cannot be made.
    pub fn start(threads: usize) -> io::Result<ArbiterPool> {
        let threads = threads.max(1);
        let (arbiters, system) = if System::is_registered() {
            (start_arbiters(threads)?, None)
        } else {
            let (arbiters, system) = start_system(threads)?;
            (arbiters, Some(system))
        };
        let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
        for (n, handle) in handles.iter().enumerate() {
            handle.spawn_fn(move || {
                ON_AN_ARBITER.set(true);
                name_this_thread(n);
            });
        }
        Ok(ArbiterPool {
            inner: Arc::new(Inner {
                handles,
                next: AtomicUsize::new(0),
                threads: Mutex::new(Threads { arbiters, system }),
            }),
        })
    }

    /// A pool of one: the arbiter of the system that runs on the calling thread. For tests, where actors and test share a
    /// thread and its paused time. `None` where no system runs.
    pub fn of_this_thread() -> Option<ArbiterPool> {
        let system = System::try_current()?;
        Some(ArbiterPool {
            inner: Arc::new(Inner {
                handles: vec![system.arbiter().clone()],
                next: AtomicUsize::new(0),
                threads: Mutex::new(Threads {
                    arbiters: Vec::new(),
                    system: None,
                }),
            }),
        })
    }

    /// The next arbiter, in turn.
    pub fn pick(&self) -> ArbiterHandle {
        let turn = self.inner.next.fetch_add(1, Ordering::Relaxed);
        self.inner.handles[turn % self.inner.handles.len()].clone()
    }

    /// The same arbiter for the same key.
    pub fn pick_for(&self, key: u64) -> ArbiterHandle {
        let place = key % self.inner.handles.len() as u64;
        self.inner.handles[place as usize].clone()
    }

    /// How many arbiters there are.
    pub fn len(&self) -> usize {
        self.inner.handles.len()
    }

    /// Never: a pool has at least one arbiter.
    pub fn is_empty(&self) -> bool {
        self.inner.handles.is_empty()
    }

    /// Stops the arbiters and waits for their threads. Actors that are still there are dropped where they are, without
    /// `stopping`: stop them first if they have something to say.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn stop(&self) {
        let (arbiters, system) = {
            let mut threads = self.threads.lock();
            (std::mem::take(&mut threads.arbiters), threads.system.take())
        };
        for arbiter in &arbiters {
            arbiter.stop();
        }
        // An actor that holds the last handle on the pool cannot wait for its own thread.
        let wait = !ON_AN_ARBITER.get();
        for arbiter in arbiters {
            if wait && arbiter.join().is_err() {
                tracing::error!("an arbiter thread panicked");
            }
        }
        if let Some((system, thread)) = system {
            system.stop();
            if wait && thread.join().is_err() {
                tracing::error!("the thread of the actor system panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ArbiterPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArbiterPool({})", self.inner.handles.len())
    }
}

fn start_arbiters(threads: usize) -> io::Result<Vec<Arbiter>> {
    let mut arbiters = Vec::with_capacity(threads);
    for _ in 0..threads {
        match Arbiter::try_new() {
            Ok(arbiter) => arbiters.push(arbiter),
            Err(error) => {
                for arbiter in &arbiters {
                    arbiter.stop();
                }
                return Err(error);
            }
        }
    }
    Ok(arbiters)
}

type SystemThread = (System, JoinHandle<()>);

fn start_system(threads: usize) -> io::Result<(Vec<Arbiter>, SystemThread)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, outcome) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("actor-system".to_owned())
        .spawn(move || {
            let runner = System::with_tokio_rt(move || runtime);
            let arbiters = start_arbiters(threads);
            let failed = arbiters.is_err();
            // The starter waits; if it is gone, so is everybody who could use the arbiters.
            let unheard = started
                .send(arbiters.map(|arbiters| (arbiters, System::current())))
                .is_err();
            if !failed && !unheard && runner.run().is_err() {
                tracing::error!("the actor system ended with an error");
            }
        })?;
    let (arbiters, system) = outcome
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the actor system did not start")))?;
    Ok((arbiters, (system, thread)))
}

/// The name that `top -H` and debuggers show.
#[cfg(target_os = "linux")]
fn name_this_thread(n: usize) {
    if let Ok(name) = std::ffi::CString::new(format!("arbiter-{n}")) {
        // Without a name the thread works as well.
        let _ = rustix::thread::set_name(&name);
    }
}

#[cfg(not(target_os = "linux"))]
fn name_this_thread(_: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread_of(handle: &ArbiterHandle) -> (std::thread::ThreadId, String) {
        let (tell, told) = std::sync::mpsc::channel();
        handle.spawn_fn(move || {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            tell.send((std::thread::current().id(), name.trim().to_owned()))
                .unwrap();
        });
        told.recv().unwrap()
    }

    fn takes_turns_over_named_threads(pool: &ArbiterPool) {
        let threads: Vec<_> = (0..6).map(|_| thread_of(&pool.pick())).collect();
        assert_eq!(threads[..3], threads[3..]);
        let names: Vec<&str> = threads[..3].iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["arbiter-0", "arbiter-1", "arbiter-2"]);
        assert_eq!(thread_of(&pool.pick_for(7)), thread_of(&pool.pick_for(7)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pool_on_a_worker_thread_brings_its_own_system() {
        let pool = ArbiterPool::start(3).unwrap();
        assert!(ArbiterPool::of_this_thread().is_none());
        takes_turns_over_named_threads(&pool);
        let handle = pool.pick();
        pool.stop();
        assert!(!handle.spawn(async {}), "a stopped arbiter takes nothing");
        pool.stop();
    }

    #[test]
    fn a_pool_joins_the_system_of_the_main_thread() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        block_on(runtime, async {
            let system = System::current();
            let pool = ArbiterPool::start(3).unwrap();
            takes_turns_over_named_threads(&pool);
            let (tell, told) = tokio::sync::oneshot::channel();
            pool.pick().spawn_fn(move || tell.send(System::current().id()).unwrap());
            assert_eq!(told.await.unwrap(), system.id());
            let own = ArbiterPool::of_this_thread().unwrap();
            assert_eq!(own.len(), 1);
        });
    }

    #[test]
    fn an_actor_may_drop_the_last_handle() {
        let pool = ArbiterPool::start(1).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let handle = pool.pick();
        handle.spawn_fn(move || {
            drop(pool);
            tell.send(()).unwrap();
        });
        told.recv().unwrap();
    }
}
