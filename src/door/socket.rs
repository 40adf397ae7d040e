//! A client's socket as hyper sees it. It
//! - notes when bytes come, for the timeouts of [`super::activity`];
//! - gives hyper's own bare error answers the API's error shape;
//! - closes with a linger: it says FIN and reads on until the client has closed too, because closing a socket with unread
//!   bytes makes the kernel send RST, which destroys an answer still under way (a 413 while the body is still coming).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use super::handle::SocketGuard;
use super::refusal::Refusal;

/// A client that has got our FIN and sends nothing is waited for this long…
const LINGER_SILENCE: Duration = Duration::from_secs(1);
/// …and one that goes on sending, this long.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// The beginning of an HTTP/2 connection (RFC 9113 §3.4), as much of it as tells it from HTTP/1.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// hyper's own error answers are shorter than this.
const BARE_ANSWER_MAX: usize = 512;

pub(super) struct ClientSocket<S> {
    stream: S,
    activity: Arc<Activity>,
    has_read: bool,
    has_seen_end: bool,
    substitute: Option<Substitute>,
    linger: Option<Linger>,
    _guard: SocketGuard,
}

/// An answer of ours on its way in place of hyper's.
struct Substitute {
    ours: Bytes,
    written: usize,
    replaced: usize,
}

struct Linger {
    silence: Pin<Box<Sleep>>,
    end: Instant,
}

impl<S> ClientSocket<S> {
    pub fn new(stream: S, activity: Arc<Activity>, guard: SocketGuard) -> ClientSocket<S> {
        ClientSocket {
            stream,
            activity,
            has_read: false,
            has_seen_end: false,
            substitute: None,
            linger: None,
            _guard: guard,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientSocket<S> {
    /// The refusal that hyper means with this write, if the write is a whole answer that hyper made itself: nobody is being
    /// answered, and the request id that every answer of ours carries is missing.
    fn bare_answer(&self, buf: &[u8]) -> Option<Refusal> {
        if !buf.starts_with(b"HTTP/1.1 4") || buf.len() > BARE_ANSWER_MAX || !self.activity.is_idle() {
            return None;
        }
        let head = std::str::from_utf8(buf).ok()?;
        if !head.ends_with("\r\n\r\n") || head.contains("x-request-id") {
            return None;
        }
        Refusal::of_status(head.get(9..12)?.parse().ok()?)
    }

    fn poll_substitute(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(substitute) = &mut self.substitute else {
            return Poll::Ready(Ok(0));
        };
        while substitute.written < substitute.ours.len() {
            let rest = &substitute.ours[substitute.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => substitute.written += written,
            }
        }
        let replaced = substitute.replaced;
        self.substitute = None;
        Poll::Ready(Ok(replaced))
    }

    /// Tells a client whose head is overdue, and then reports the end of the stream to hyper.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_seen_end {
            if self.substitute.is_none() {
                self.substitute = Some(Substitute {
                    ours: Refusal::HeadOverdue.raw(),
                    written: 0,
                    replaced: 0,
                });
            }
            ready!(self.poll_substitute(cx))?;
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.has_seen_end = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.is_overdue() {
            return this.poll_overdue(cx);
        }
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        let read = &buf.filled()[before..];
        if outcome.is_err() || read.is_empty() {
            this.has_seen_end = true;
        } else {
            if !this.has_read {
                this.has_read = true;
                if read.starts_with(HTTP2_PREFACE) {
                    this.activity.set_http2();
                }
            }
            this.activity.bytes_came();
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.substitute.is_none() {
            match this.bare_answer(buf) {
                None => return Pin::new(&mut this.stream).poll_write(cx, buf),
                Some(refusal) => {
                    this.substitute = Some(Substitute {
                        ours: refusal.raw(),
                        written: 0,
                        replaced: buf.len(),
                    });
                }
            }
        }
        this.poll_substitute(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first: &[u8] = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf);
        if this.substitute.is_some() || this.bare_answer(first).is_some() {
            return Pin::new(this).poll_write(cx, first);
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if this.has_seen_end {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Linger {
            silence: Box::pin(tokio::time::sleep(LINGER_SILENCE)),
            end: Instant::now() + LINGER_MAX,
        });
        poll_linger(&mut this.stream, linger, cx).map(Ok)
    }
}

/// Reads and forgets until the client closes, falls silent or has had its time. Never an error: the answer is out.
fn poll_linger<S: AsyncRead + Unpin>(stream: &mut S, linger: &mut Linger, cx: &mut Context<'_>) -> Poll<()> {
    let mut scratch = [0u8; 8192];
    loop {
        if linger.silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut buf = ReadBuf::new(&mut scratch);
        match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf)) {
            Err(_) => return Poll::Ready(()),
            Ok(()) if buf.filled().is_empty() => return Poll::Ready(()),
            Ok(()) => {
                let until = (Instant::now() + LINGER_SILENCE).min(linger.end);
                linger.silence.as_mut().reset(until);
            }
        }
    }
}

/// Writes a refusal to a socket that no hyper ever saw, and closes it with the same linger.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, refusal: Refusal) {
    use tokio::io::AsyncWriteExt;

    let written = async {
        stream.write_all(&refusal.raw()).await?;
        stream.shutdown().await
    };
    if matches!(tokio::time::timeout(LINGER_SILENCE, written).await, Ok(Ok(()))) {
        let mut linger = Linger {
            silence: Box::pin(tokio::time::sleep(LINGER_SILENCE)),
            end: Instant::now() + LINGER_SILENCE,
        };
        std::future::poll_fn(|cx| poll_linger(&mut stream, &mut linger, cx)).await;
    }
}
