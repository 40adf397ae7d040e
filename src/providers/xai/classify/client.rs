//! What a client learns of a refusal. The upstream's own words reach it only where the request is at fault, and cleaned.
//!
//! A status is kept where it says something that ours would not and clients' SDKs have a class for it: 404, 410, 413, 415,
//! 422 (wrong types: OpenAI itself says 400, but its SDKs know 422, and whoever moves here from xAI expects it). What is not
//! the client's doing never looks like it: bad keys, empty accounts and unknown refusals are 502 or 503.

use std::sync::LazyLock;

use regex::Regex;

use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};

use super::super::sanitise::{clean, pattern};
use super::Context;
use super::said::Said;

/// Characters of the upstream's words that a client gets.
const MESSAGE_CHARS: usize = 1000;

pub(in super::super) fn credential_refused() -> GatewayError {
    GatewayError::new(
        ErrorKind::UpstreamFailed,
        "The upstream refused the gateway's credential for this call. That is not a fault of the request; the gateway's \
         operator can see which credential it was.",
    )
    .because(RefusalReason::Upstream)
}

pub(super) fn out_of_credit() -> GatewayError {
    GatewayError::new(
        ErrorKind::PoolUnusable,
        "The upstream account behind the gateway has no credit left or reached its spending limit. The gateway's operator \
         must add credit.",
    )
    .because(RefusalReason::Pool)
}

pub(super) fn busy(retry_after_ms: Option<u64>) -> GatewayError {
    GatewayError::new(
        ErrorKind::UpstreamBusy,
        "The model is at capacity upstream. Try again shortly, or use another model.",
    )
    .retry_after(retry_after_ms)
    .because(RefusalReason::Upstream)
}

pub(super) fn rate_limited(retry_after_ms: u64) -> GatewayError {
    GatewayError::new(
        ErrorKind::PoolLimit,
        "The upstream's rate limit for this model is reached. Try again shortly.",
    )
    .retry_after(Some(retry_after_ms))
    .because(RefusalReason::Upstream)
}

pub(super) fn no_such_model(shown: &str) -> GatewayError {
    GatewayError::new(
        ErrorKind::UnknownModel,
        format!("The model `{shown}` does not exist or you do not have access to it."),
    )
    .with_param("model")
}

/// A failure of the upstream with this status.
pub(in super::super) fn failed(status: u16, retry_after_ms: Option<u64>) -> GatewayError {
    let (kind, message) = match status {
        408 | 504 | 522 | 524 => (
            ErrorKind::UpstreamTimeout,
            format!("The upstream did not answer in time (status {status})."),
        ),
        503 | 529 => (
            ErrorKind::UpstreamBusy,
            format!("The upstream is not available at the moment (status {status})."),
        ),
        200..=399 => (
            ErrorKind::UpstreamFailed,
            format!("The upstream's answer could not be used (status {status})."),
        ),
        _ => (
            ErrorKind::UpstreamFailed,
            format!("The upstream failed (status {status})."),
        ),
    };
    GatewayError::new(kind, message)
        .retry_after(retry_after_ms)
        .because(RefusalReason::Upstream)
}

/// A request that the upstream refuses as such; `about_content`: for what it asks of the model.
pub(super) fn rejected(status: u16, about_content: bool, said: &Said, ctx: &Context<'_>) -> GatewayError {
    let lower = said.message.to_lowercase();
    let has = |word: &str| lower.contains(word);
    let words = clean(&said.message, ctx.model, ctx.shown_model, MESSAGE_CHARS);
    let words = match words.is_empty() {
        true => format!("The upstream refused the request (status {status})."),
        false => words,
    };
    let error = |kind| GatewayError::new(kind, words.clone());
    if about_content {
        // 400 and this code are what OpenAI's clients look for; upstream it is a 403, which to them is a missing right.
        return error(ErrorKind::RejectedByUpstream).with_code("content_policy_violation");
    }
    match status {
        400 if has("maximum prompt length") || has("maximum context length") || has("context window") => {
            error(ErrorKind::ContextTooLong).with_param("messages")
        }
        400 if said.is_plain && has("parse the request body as json") => error(ErrorKind::InvalidBody),
        400 => match unsupported_argument(&said.message) {
            Some(argument) => error(ErrorKind::RejectedByUpstream)
                .with_code("unsupported_parameter")
                .with_param(argument),
            None => error(ErrorKind::RejectedByUpstream),
        },
        404 if has("no handler found") || has("requested resource was not found") => GatewayError::new(
            ErrorKind::NotFound,
            "The upstream has no such route. If it should, the gateway's operator may look at `xai.base_url`.",
        ),
        404 => error(ErrorKind::NotFound),
        405 => error(ErrorKind::MethodNotAllowed),
        410 => error(ErrorKind::RejectedByUpstream).with_status(410).with_code("gone"),
        413 => error(ErrorKind::TooLarge),
        415 => error(ErrorKind::UnsupportedMediaType),
        422 => {
            let error = error(ErrorKind::RejectedByUpstream).with_status(422);
            match path_at_fault(&said.message) {
                Some(path) => error.with_param(path),
                None => error,
            }
        }
        other => error(ErrorKind::RejectedByUpstream).with_status(other),
    }
}

/// The argument of "Argument not supported on this model: presencePenalty", as requests write it.
fn unsupported_argument(message: &str) -> Option<String> {
    static ARGUMENT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)^argument not supported on this model:\s*([A-Za-z][A-Za-z0-9_]{0,63})"));
    let argument = ARGUMENT.captures(message)?.get(1)?.as_str();
    let mut snake = String::with_capacity(argument.len() + 4);
    for c in argument.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    Some(snake)
}

/// `messages.0` of "Failed to deserialize the JSON body into the target type: `messages[0]`: missing field …".
fn path_at_fault(message: &str) -> Option<String> {
    static PATH: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^Failed to deserialize [^:]{1,80}: ([a-z_][A-Za-z0-9_.\[\]]{0,127}):"));
    let path = PATH.captures(message)?.get(1)?.as_str();
    Some(path.replace('[', ".").replace(']', ""))
}
