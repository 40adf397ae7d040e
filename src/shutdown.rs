//! The end of the process, as a sequence that a load balancer can follow:
//!
//! 1. `/readyz` turns red, answers carry `Connection: close` (HTTP/2: GOAWAY); connections are still accepted for the
//!    drain delay.
//! 2. No more connections; what is being answered may finish within the grace period, and so may answers that are read to
//!    their end after their client left. Every 5 s it is said what is waited
//!    for.
//! 3. What is left is cut off, so that its leases settle.
//! 4. Hooks, in the order they were registered: settle, hand over, flush.
//!
//! A second signal ends the sequence at once.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::door::DoorHandle;
use crate::door::health::Readiness;

/// How often it is said what is waited for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Signals this close together are one request to end: `timeout` and some process managers signal the process and its
/// group, which reaches us twice.
const ONE_REQUEST: Duration = Duration::from_millis(250);
/// What was cut off gets this long to let go of its leases.
const CUT_OFF_LIMIT: Duration = Duration::from_secs(2);
/// How often is looked whether what goes on without a connection has ended.
const LINGERING_LOOK: Duration = Duration::from_millis(20);
/// A hook that takes longer is left behind: an orchestrator would kill us anyway, with less warning.
const HOOK_LIMIT: Duration = Duration::from_secs(30);
/// The name of the blocker that turns `/readyz` red.
const BLOCKER: &str = "shutdown";

/// How long each part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownPlan {
    /// From turning red to the end of accepting (`server.drain_delay_secs`).
    pub drain_delay: Duration,
    /// From then until what is still running is cut off (`server.grace_secs`).
    pub grace: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything finished and every hook ran.
    Clean,
    /// Some streams were cut off when the grace period ended; every hook ran.
    CutOff,
    /// A second signal came.
    Forced,
}

impl Outcome {
    /// For the operating system: 0, unless it was forced.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Outcome::Clean | Outcome::CutOff => ExitCode::SUCCESS,
            Outcome::Forced => ExitCode::FAILURE,
        }
    }
}

/// SIGTERM and SIGINT, and the process's own wish to end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    asked: mpsc::Receiver<String>,
    ask: ShutdownTrigger,
}

/// Asks for the end from inside, as a signal would. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ShutdownTrigger(mpsc::Sender<String>);

impl ShutdownTrigger {
    /// Asks. `cause` goes to the log. The second time forces.
    pub fn ask(&self, cause: impl Into<String>) {
        // Full means that more than enough have asked already.
        let _ = self.0.try_send(cause.into());
    }
}

impl Signals {
    /// Takes both signals over from the system; needs a tokio runtime.
    pub fn listen() -> io::Result<Signals> {
        let (ask, asked) = mpsc::channel(2);
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            asked,
            ask: ShutdownTrigger(ask),
        })
    }

    /// The way to ask from inside.
    pub fn trigger(&self) -> ShutdownTrigger {
        self.ask.clone()
    }

    /// Waits for the next one, and says which.
    pub async fn next(&mut self) -> String {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM".to_owned(),
            _ = self.interrupt.recv() => "SIGINT".to_owned(),
            // Never closed: we hold a sender.
            Some(cause) = self.asked.recv() => cause,
        }
    }
}

/// The sequence, before it begins.
pub struct Shutdown {
    plan: ShutdownPlan,
    readiness: Readiness,
    door: DoorHandle,
    at_once: Vec<Box<dyn FnOnce() + Send>>,
    lingering: Option<Lingering>,
    hooks: Vec<Hook>,
}

/// Work that goes on after its connection closed.
struct Lingering {
    held: Box<dyn Fn() -> usize + Send + Sync>,
    unread: Box<dyn Fn() -> usize + Send + Sync>,
    cut_off: Box<dyn Fn() + Send + Sync>,
}

struct Hook {
    name: &'static str,
    run: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

impl Shutdown {
    /// The end of this door.
    pub fn new(plan: ShutdownPlan, readiness: Readiness, door: DoorHandle) -> Shutdown {
        Shutdown {
            plan,
            readiness,
            door,
            at_once: Vec::new(),
            lingering: None,
            hooks: Vec::new(),
        }
    }

    /// Work that goes on after its connection closed (answers read to their end for their exact cost) gets the grace
    /// period too. `held`: how much of it there is; `unread`: how much of that has no client any more; `cut_off` ends it.
    pub fn wait_for(
        &mut self,
        held: impl Fn() -> usize + Send + Sync + 'static,
        unread: impl Fn() -> usize + Send + Sync + 'static,
        cut_off: impl Fn() + Send + Sync + 'static,
    ) {
        self.lingering = Some(Lingering {
            held: Box::new(held),
            unread: Box::new(unread),
            cut_off: Box::new(cut_off),
        });
    }

    /// Adds something that begins with the end: what it starts goes on while answers finish.
    pub fn at_once(&mut self, begin: impl FnOnce() + Send + 'static) {
        self.at_once.push(Box::new(begin));
    }

    /// Adds something to do after the last answer. Hooks run one after the other, in this order.
    pub fn then<F, Fut>(&mut self, name: &'static str, hook: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push(Hook {
            name,
            run: Box::new(move || Box::pin(hook())),
        });
    }

    /// Waits for a signal and goes through the sequence.
    pub async fn run(self, signals: &mut Signals) -> Outcome {
        let cause = signals.next().await;
        tracing::info!(cause, "shutting down; a second signal forces");
        tokio::select! {
            biased;
            cause = second_signal(signals) => {
                tracing::warn!(cause, "forced: what is not settled counts as spent");
                Outcome::Forced
            }
            outcome = self.sequence() => outcome,
        }
    }

    async fn sequence(self) -> Outcome {
        let Shutdown {
            plan,
            readiness,
            door,
            at_once,
            lingering,
            hooks,
        } = self;
        readiness.block(BLOCKER, "this node is shutting down");
        door.drain();
        for begin in at_once {
            begin();
        }
        tracing::info!(
            drain_delay_secs = plan.drain_delay.as_secs_f64(),
            "shutdown 1/4: not ready; answers close their connections, new connections are still accepted"
        );
        tokio::time::sleep(plan.drain_delay).await;

        door.stop();
        tracing::info!(
            grace_secs = plan.grace.as_secs(),
            in_flight = %door.in_flight(),
            "shutdown 2/4: no new connections; letting answers finish"
        );
        let finished = wait_for_answers(&door, lingering.as_ref(), plan.grace).await;

        if finished {
            tracing::info!("shutdown 3/4: all connections are closed");
        } else {
            tracing::warn!(in_flight = %door.in_flight(), unread = unread(lingering.as_ref()), "shutdown 3/4: the grace period is over; cutting off what is left");
            door.cut_off();
            // What holds on still (an upgraded socket) ends with the process.
            let _ = tokio::time::timeout(CUT_OFF_LIMIT, async {
                door.closed().await;
                if let Some(lingering) = &lingering {
                    (lingering.cut_off)();
                    lingering.gone().await;
                }
            })
            .await;
        }

        tracing::info!(hooks = hooks.len(), "shutdown 4/4: settling and flushing");
        for hook in hooks {
            if tokio::time::timeout(HOOK_LIMIT, (hook.run)()).await.is_err() {
                tracing::error!(
                    hook = hook.name,
                    limit_secs = HOOK_LIMIT.as_secs(),
                    "a shutdown hook takes too long; going on without it"
                );
            }
        }
        if finished { Outcome::Clean } else { Outcome::CutOff }
    }
}

/// Waits for a signal that is not an echo of the first.
async fn second_signal(signals: &mut Signals) -> String {
    let first = Instant::now();
    loop {
        let cause = signals.next().await;
        if first.elapsed() >= ONE_REQUEST {
            return cause;
        }
    }
}

impl Lingering {
    /// Ends when nothing of it is left.
    async fn gone(&self) {
        while (self.held)() > 0 {
            tokio::time::sleep(LINGERING_LOOK).await;
        }
    }
}

/// Answers that are read to their end for nobody.
fn unread(lingering: Option<&Lingering>) -> usize {
    lingering.map_or(0, |lingering| (lingering.unread)())
}

/// Whether every connection closed, and what goes on without one ended, within the grace period.
async fn wait_for_answers(door: &DoorHandle, lingering: Option<&Lingering>, grace: Duration) -> bool {
    let deadline = tokio::time::sleep(grace);
    let mut say = tokio::time::interval_at(Instant::now() + SAY_EVERY, SAY_EVERY);
    say.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(deadline);
    let finished = async {
        door.closed().await;
        if let Some(lingering) = lingering {
            lingering.gone().await;
        }
    };
    tokio::pin!(finished);
    loop {
        tokio::select! {
            biased;
            () = &mut finished => return true,
            () = &mut deadline => return false,
            _ = say.tick() => {
                let connections = door.stats().open.load(std::sync::atomic::Ordering::Relaxed);
                let unread = unread(lingering);
                tracing::info!(in_flight = %door.in_flight(), connections, unread, "shutdown: still waiting");
            }
        }
    }
}
