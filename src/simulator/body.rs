//! Answer bodies: at once, or a plan of steps that are written one by one with pauses, stalls and cuts between them.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::call::Call;

/// One step of a written answer.
#[derive(Debug)]
pub enum Step {
    /// Wait, then go on.
    Wait(Duration),
    /// Write these bytes; they carry so many output tokens.
    Write(Bytes, u32),
    /// Never write again, and keep the connection.
    Stall,
    /// Cut the connection without an end.
    Cut,
}

/// The body of every answer.
pub struct SimBody {
    now: Option<Bytes>,
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// The call that this body answers; dropped with it, so a body dropped early is a client that hung up.
    call: Option<Box<Call>>,
    stalled: bool,
}

impl SimBody {
    /// No bytes.
    pub fn empty() -> SimBody {
        SimBody::full(Bytes::new())
    }

    /// These bytes at once.
    pub fn full(bytes: Bytes) -> SimBody {
        SimBody {
            now: Some(bytes).filter(|bytes| !bytes.is_empty()),
            steps: VecDeque::new(),
            sleep: None,
            waiting: false,
            call: None,
            stalled: false,
        }
    }

    /// Step by step.
    pub fn paced(steps: VecDeque<Step>) -> SimBody {
        SimBody {
            steps,
            ..SimBody::empty()
        }
    }

    /// Ties the accounting of a call to this body.
    pub fn with_call(mut self, call: Box<Call>) -> SimBody {
        self.call = Some(call);
        self
    }

    /// What stands ready, for answers made at once.
    pub fn into_bytes(mut self) -> Bytes {
        self.now.take().unwrap_or_default()
    }

    fn write(&mut self, bytes: Bytes, tokens: u32) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let done = self.steps.is_empty();
        if let Some(call) = &mut self.call {
            call.wrote(tokens);
            if done {
                call.finish();
            }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(bytes) = this.now.take() {
            return this.write(bytes, 0);
        }
        loop {
            if this.stalled {
                return Poll::Pending;
            }
            if this.waiting
                && let Some(sleep) = &mut this.sleep
            {
                ready!(sleep.as_mut().poll(cx));
                this.waiting = false;
            }
            match this.steps.pop_front() {
                None => {
                    if let Some(call) = &mut this.call {
                        call.finish();
                    }
                    return Poll::Ready(None);
                }
                Some(Step::Wait(pause)) => {
                    this.waiting = true;
                    match &mut this.sleep {
                        // From the last deadline, so that a slow poll does not add up.
                        Some(sleep) => {
                            let next = sleep.deadline() + pause;
                            sleep.as_mut().reset(next);
                        }
                        None => this.sleep = Some(Box::pin(tokio::time::sleep(pause))),
                    }
                }
                Some(Step::Write(bytes, tokens)) => return this.write(bytes, tokens),
                Some(Step::Stall) => this.stalled = true,
                Some(Step::Cut) => {
                    if let Some(call) = &mut this.call {
                        call.cut();
                    }
                    return Poll::Ready(Some(Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "cut as scripted",
                    ))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.now.is_none() && self.steps.is_empty() && !self.stalled
    }

    fn size_hint(&self) -> SizeHint {
        if self.steps.is_empty() && !self.stalled {
            SizeHint::with_exact(self.now.as_ref().map_or(0, |bytes| bytes.len() as u64))
        } else {
            SizeHint::default()
        }
    }
}
