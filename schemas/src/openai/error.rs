//! Errors in OpenAI's shape. `type`, `message`, `param` and `code` are always there, the last two perhaps `null`: the
//! official SDKs read exactly these.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every error answer, and of an error inside a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody<'a> {
    /// What happened.
    #[serde(borrow)]
    pub error: ErrorObject<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorObject<'a> {
    /// For people.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// The family, such as `invalid_request_error`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// The field at fault, dotted.
    #[serde(borrow, default)]
    pub param: Option<Cow<'a, str>>,
    /// For programs.
    #[serde(borrow, default)]
    pub code: Option<Cow<'a, str>>,
    /// When it makes sense to try again, RFC 3339; only where `Retry-After` cannot say it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Cow<'a, str>>,
    /// The same as seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}
