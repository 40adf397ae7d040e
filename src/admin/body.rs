//! Bodies: read up to a limit; what they say is read as by every door (`ops::input`).

use bytes::Bytes;
use poem::Body;
use poem::error::ReadBodyError;

use crate::engine::error::{ErrorKind, GatewayError};
pub use crate::ops::input::{json, object, of_object};

/// The whole body.
///
/// # Errors
/// `TooLarge`; `InvalidBody` if it broke off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, GatewayError> {
    body.into_bytes_limit(limit).await.map_err(|error| match error {
        ReadBodyError::PayloadTooLarge => too_large(limit as u64),
        _ => GatewayError::new(ErrorKind::InvalidBody, "The body broke off before its end."),
    })
}

/// The body is over the limit.
pub fn too_large(limit: u64) -> GatewayError {
    GatewayError::new(
        ErrorKind::TooLarge,
        format!("The body is larger than {} KiB.", limit / 1024),
    )
}
