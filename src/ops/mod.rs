//! What an operator can do. HTTP, the bus and the command line are thin doors to these functions; none of them is in
//! here.

pub mod accounts;
pub mod audit;
pub mod export;
pub mod import;
pub mod keys;
pub mod normalise;
pub mod password;
pub mod pool;
pub mod replace;
pub mod requests;
pub mod throttle;
pub mod tokens;
pub mod usage;

#[cfg(test)]
pub mod fakes;
#[cfg(test)]
mod tests;

use grok2api_actors::bus::{BusError, BusErrorKind};

use crate::engine::error::{ErrorKind, GatewayError};

/// The bus failed under an operation.
pub(crate) fn unavailable(error: &BusError) -> GatewayError {
    match error.kind {
        BusErrorKind::Conflict => GatewayError::new(
            ErrorKind::Conflict,
            "Somebody else changed this at the same moment. Look again, then repeat what is still needed.",
        ),
        BusErrorKind::Timeout | BusErrorKind::Unreachable | BusErrorKind::Storage | BusErrorKind::Closed => {
            GatewayError::new(
                ErrorKind::Overloaded,
                "The store did not confirm this change. Look whether it was made before you repeat it.",
            )
            .with_code("store_unavailable")
            .with_detail(error.to_string())
        }
        BusErrorKind::Corrupt => GatewayError::internal(error.to_string()),
    }
}
