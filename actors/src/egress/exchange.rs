//! One answer of an upstream: its head, its body, and the connection's way back into the pool.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::body::Incoming;

use super::pool::{ConnectionPool, Line};

/// A request that got no answer.
#[derive(Debug)]
pub enum SendFailure {
    /// Nothing of it left the process: it may be sent again under the same lease.
    NotSent(Box<Request<Full<Bytes>>>),
    /// It was written, at least in part: the upstream may have taken it.
    Broken(String),
    /// It was written, and the upstream says that it did not act on it: it may be sent again, as a new call.
    Unprocessed(String),
}

/// The head of an answer, and its body to come.
pub struct Exchange {
    /// Status and headers.
    pub head: http::response::Parts,
    /// What follows.
    pub body: UpstreamBody,
    /// Whether the connection had served a request before.
    pub reused: bool,
}

/// The body of an answer. Read to its end, it returns its connection to the pool; dropped before, it closes it (HTTP/2:
/// resets its stream), which is how the upstream learns that nobody listens any more.
pub struct UpstreamBody {
    incoming: Incoming,
    connection: Option<(Line, Arc<ConnectionPool>)>,
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, line: Line, pool: Arc<ConnectionPool>) -> UpstreamBody {
        let mut body = UpstreamBody {
            incoming,
            connection: Some((line, pool)),
        };
        if body.incoming.is_end_stream() {
            body.release();
        }
        body
    }

    /// The next piece of the body; `None` at its end. Trailers are passed over.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            let polled: Poll<Option<Result<Frame<Bytes>, hyper::Error>>> = Pin::new(&mut self.incoming).poll_frame(cx);
            return match polled {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        if self.incoming.is_end_stream() {
                            self.release();
                        }
                        Poll::Ready(Some(Ok(data)))
                    }
                    Err(_trailers) => continue,
                },
                Poll::Ready(Some(Err(error))) => {
                    self.connection = None;
                    Poll::Ready(Some(Err(error)))
                }
                Poll::Ready(None) => {
                    self.release();
                    Poll::Ready(None)
                }
            };
        }
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection broke before the end.
    pub async fn data(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }

    fn release(&mut self) {
        if let Some((line, pool)) = self.connection.take() {
            pool.keep(line);
        }
    }
}
