//! Reading a request's body: never more than the limit, never longer than a sender may take.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::BodyExt;
use poem::Request;

use crate::engine::error::{ErrorKind, GatewayError};

/// What a request's body may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes (`server.max_body_mb`).
    pub max_bytes: usize,
    /// How long the sender may stay silent between two pieces.
    pub max_silence: Duration,
    /// How long the whole may take.
    pub max_duration: Duration,
}

impl BodyLimits {
    /// Limits for bodies of that many mebibytes: 30 s of silence, and 5 minutes for the whole, which lets 32 MiB pass at
    /// 1 Mbit/s.
    pub fn of_mebibytes(mebibytes: u64) -> BodyLimits {
        BodyLimits {
            max_bytes: usize::try_from(mebibytes.saturating_mul(1024 * 1024)).unwrap_or(usize::MAX),
            max_silence: Duration::from_secs(30),
            max_duration: Duration::from_secs(300),
        }
    }
}

/// Reads the body of a request to its end. A body that came in one piece is not copied.
///
/// Errors: 413 when it is (or says it is) over the limit, 408 when the sender is too slow, 400 when it breaks off.
pub async fn read_body(request: &mut Request, limits: &BodyLimits) -> Result<Bytes, GatewayError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limits.max_bytes)) {
        return Err(too_large(limits.max_bytes));
    }
    let body = request.take_body();
    match tokio::time::timeout(limits.max_duration, collect(body, limits)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(too_slow("The request's body took too long to arrive.")),
    }
}

async fn collect(body: poem::Body, limits: &BodyLimits) -> Result<Bytes, GatewayError> {
    let mut body: http_body_util::combinators::BoxBody<Bytes, std::io::Error> = body.into();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(limits.max_silence, body.frame())
            .await
            .map_err(|_| too_slow("The sender of the request's body fell silent."))?;
        let piece = match frame {
            None => break,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => piece,
                Err(_trailers) => continue,
            },
            Some(Err(error)) => {
                return Err(
                    GatewayError::new(ErrorKind::InvalidBody, "The request's body broke off before its end.")
                        .with_code("incomplete_body")
                        .with_detail(error.to_string()),
                );
            }
        };
        if first.len() + rest.len() + piece.len() > limits.max_bytes {
            return Err(too_large(limits.max_bytes));
        }
        if first.is_empty() && rest.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                // Room for what is announced, so that a large body is copied once.
                let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                rest.reserve((first.len() + piece.len() + expected).min(limits.max_bytes));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&piece);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn too_large(limit: usize) -> GatewayError {
    GatewayError::new(
        ErrorKind::TooLarge,
        format!("The request's body is over the limit of {limit} bytes (server.max_body_mb)."),
    )
}

fn too_slow(message: &'static str) -> GatewayError {
    GatewayError::new(ErrorKind::InvalidBody, message)
        .with_status(408)
        .with_code("request_timeout")
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 10,
        max_silence: Duration::from_millis(200),
        max_duration: Duration::from_millis(500),
    };

    fn request(body: poem::Body) -> Request {
        Request::builder().body(body)
    }

    #[tokio::test]
    async fn pieces_are_joined_and_one_piece_is_not_copied() {
        let whole = Bytes::from_static(b"0123456789");
        let read = read_body(&mut request(whole.clone().into()), &LIMITS).await.unwrap();
        assert_eq!(read.as_ptr(), whole.as_ptr());
        let pieces = stream::iter(["012", "", "345", "6789"].map(Ok::<_, std::io::Error>));
        let read = read_body(&mut request(poem::Body::from_bytes_stream(pieces)), &LIMITS)
            .await
            .unwrap();
        assert_eq!(read, whole);
        assert!(read_body(&mut request(().into()), &LIMITS).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn over_the_limit_is_refused_announced_or_not() {
        let mut announced = Request::builder().header("content-length", "11").body("0");
        assert_eq!(read_body(&mut announced, &LIMITS).await.unwrap_err().http_status(), 413);
        let mut absurd = Request::builder()
            .header("content-length", "18446744073709551615")
            .body("0");
        assert_eq!(read_body(&mut absurd, &LIMITS).await.unwrap_err().http_status(), 413);
        let endless = stream::repeat("0123").map(Ok::<_, std::io::Error>);
        let mut endless = request(poem::Body::from_bytes_stream(endless));
        assert_eq!(read_body(&mut endless, &LIMITS).await.unwrap_err().http_status(), 413);
    }

    #[tokio::test]
    async fn a_slow_sender_is_cut_off() {
        let silent = stream::pending::<Result<Bytes, std::io::Error>>();
        let error = read_body(&mut request(poem::Body::from_bytes_stream(silent)), &LIMITS)
            .await
            .unwrap_err();
        assert_eq!((error.http_status(), error.public_code()), (408, "request_timeout"));
        let dripping = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(70)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        let error = read_body(&mut request(poem::Body::from_bytes_stream(dripping)), &LIMITS)
            .await
            .unwrap_err();
        assert_eq!(error.http_status(), 408);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_the_clients_fault() {
        let broken = stream::iter([Ok("{"), Err(std::io::Error::other("reset"))]);
        let error = read_body(&mut request(poem::Body::from_bytes_stream(broken)), &LIMITS)
            .await
            .unwrap_err();
        assert_eq!((error.http_status(), error.public_code()), (400, "incomplete_body"));
    }
}
