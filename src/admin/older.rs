//! Routes of the older project that stand for what is not done here, and its small ones.

use serde_json::json;

use super::call::{Answer, Guarded, json as answer};
use crate::engine::error::{ErrorKind, GatewayError};

/// `GET /storage`.
pub async fn storage(guarded: Guarded) -> Answer {
    answer(&json!({"type": guarded.call.admin.storage}))
}

/// Sign-up of accounts and changes to their settings: no.
pub async fn not_offered(_: Guarded) -> Answer {
    Err(GatewayError::new(
        ErrorKind::NotOffered,
        "This gateway does not sign up accounts and does not change settings of theirs. It takes credentials that their \
         owner brings: POST /api/v1/admin/tokens/import.",
    ))
}

/// Every other path.
pub async fn unknown(_: Guarded) -> Answer {
    Err(no_such_route())
}

/// There is no such route.
pub fn no_such_route() -> GatewayError {
    GatewayError::new(ErrorKind::NotFound, "No such admin route.")
}
