//! When a request head left the process: the moment that the delivery slack of the ledger is measured from.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Mono};

/// Nothing is waited for.
const AT_REST: u64 = u64::MAX;
/// The next write is the one.
const ARMED: u64 = 0;

/// Remembers when something was first written to a connection since it was armed. One request at a time uses a
/// connection, so one number is enough.
#[derive(Debug)]
pub struct WriteStamp {
    clock: Clock,
    at: AtomicU64,
}

impl WriteStamp {
    pub(super) fn new(clock: Clock) -> WriteStamp {
        WriteStamp {
            clock,
            at: AtomicU64::new(AT_REST),
        }
    }

    /// A request is about to be handed over.
    pub(super) fn arm(&self) {
        self.at.store(ARMED, Ordering::Release);
    }

    fn wrote(&self) {
        if self.at.load(Ordering::Relaxed) == ARMED {
            self.at.store(self.clock.now().0.max(1), Ordering::Release);
        }
    }

    /// When the first bytes of the request were given to the socket; `None` while they were not.
    pub fn at(&self) -> Option<Mono> {
        match self.at.load(Ordering::Acquire) {
            ARMED | AT_REST => None,
            us => Some(Mono(us)),
        }
    }
}

/// A socket whose first write after arming is remembered.
pub(super) struct Stamped<S> {
    socket: S,
    stamp: Arc<WriteStamp>,
}

impl<S> Stamped<S> {
    pub(super) fn new(socket: S, stamp: Arc<WriteStamp>) -> Stamped<S> {
        Stamped { socket, stamp }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.stamp.wrote();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stamped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stamped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::clock::WallMs;

    #[tokio::test]
    async fn the_first_write_since_it_was_armed_is_remembered() {
        let (clock, hand) = Clock::manual(WallMs(0));
        let stamp = Arc::new(WriteStamp::new(clock.clone()));
        let (near, _far) = tokio::io::duplex(64);
        let mut socket = Stamped::new(near, stamp.clone());
        socket.write_all(b"not asked about").await.unwrap();
        assert_eq!(stamp.at(), None);
        stamp.arm();
        assert_eq!(stamp.at(), None, "nothing is written yet");
        hand.advance_ms(400);
        socket.write_all(b"head").await.unwrap();
        let written = clock.now();
        hand.advance_ms(100);
        socket.write_all(b"body").await.unwrap();
        assert_eq!(stamp.at(), Some(written));
    }
}
