//! The few bytes of a chat request that differ upstream. Everything else goes on byte for byte, in its order.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::fronts::json::Span;

use super::request::ChatHead;

/// What to change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits<'a> {
    /// The upstream's name of the model.
    pub model: Option<&'a str>,
    /// Set `stream` where the client left it out or `null`; what the client says itself stands.
    pub default_stream: Option<bool>,
    /// Ask for usage at the end of the stream, whatever the client asked.
    pub force_include_usage: bool,
    /// Allow no more output tokens than this per answer: lower limits of the client stand, higher and missing ones do not.
    pub max_tokens_cap: Option<u64>,
    /// Send `developer` messages as `system`, for upstreams that do not know the role.
    pub developer_as_system: bool,
}

/// A replacement of `at` by `with`; an insertion if `at` is empty.
struct Patch<'a> {
    at: Span,
    with: Cow<'a, str>,
}

/// The body with `edits` made; the same buffer, uncopied, if they change nothing. `head` must have been read from this
/// body.
pub fn edit_chat(body: &Bytes, head: &ChatHead, edits: &Edits<'_>) -> Bytes {
    let mut patches: Vec<Patch<'_>> = Vec::new();
    let spans = &head.spans;
    // What is inserted stands at the front, where the comma behind it is always right: an object with a model is not
    // empty.
    let mut front = String::new();
    if let (Some(model), Some(at)) = (edits.model, spans.model)
        && model != head.model
    {
        let quoted = serde_json::Value::from(model).to_string();
        patches.push(Patch {
            at,
            with: Cow::Owned(quoted),
        });
    }
    if let (Some(stream), None) = (edits.default_stream, head.stream) {
        let word = if stream { "true" } else { "false" };
        match spans.stream {
            Some(at) => patches.push(replace(at, word)),
            None => front.push_str(&format!("\"stream\":{word},")),
        }
    }
    if edits.force_include_usage && head.include_usage != Some(true) {
        match spans.stream_options {
            None => front.push_str("\"stream_options\":{\"include_usage\":true},"),
            Some(options) => patches.push(match (options.include_usage, options.is_object, options.has_members) {
                (Some(at), _, _) => replace(at, "true"),
                (None, true, true) => insert(options.value.start + 1, "\"include_usage\":true,"),
                (None, _, _) => replace(options.value, "{\"include_usage\":true}"),
            }),
        }
    }
    if let Some(cap) = edits.max_tokens_cap {
        let limits = [spans.max_completion_tokens, spans.max_tokens];
        for limit in limits.into_iter().flatten() {
            if limit.tokens.is_some_and(|tokens| tokens > cap) {
                patches.push(Patch {
                    at: limit.value,
                    with: Cow::Owned(cap.to_string()),
                });
            }
        }
        if head.max_output.is_none() {
            match limits.into_iter().flatten().next() {
                Some(null) => patches.push(Patch {
                    at: null.value,
                    with: Cow::Owned(cap.to_string()),
                }),
                None => front.push_str(&format!("\"max_completion_tokens\":{cap},")),
            }
        }
    }
    if edits.developer_as_system {
        patches.extend(spans.developer_roles.iter().map(|&at| replace(at, "\"system\"")));
    }
    if !front.is_empty() {
        patches.push(Patch {
            at: Span {
                start: spans.open,
                end: spans.open,
            },
            with: Cow::Owned(front),
        });
    }
    apply(body, patches)
}

fn replace(at: Span, with: &'static str) -> Patch<'static> {
    Patch {
        at,
        with: Cow::Borrowed(with),
    }
}

fn insert(at: usize, with: &'static str) -> Patch<'static> {
    replace(Span { start: at, end: at }, with)
}

fn apply(body: &Bytes, mut patches: Vec<Patch<'_>>) -> Bytes {
    if patches.is_empty() {
        return body.clone();
    }
    patches.sort_by_key(|patch| patch.at.start);
    let added: usize = patches.iter().map(|patch| patch.with.len()).sum();
    let mut edited = BytesMut::with_capacity(body.len() + added);
    let mut kept = 0;
    for patch in &patches {
        edited.extend_from_slice(body.get(kept..patch.at.start).unwrap_or_default());
        edited.extend_from_slice(patch.with.as_bytes());
        kept = patch.at.end;
    }
    edited.extend_from_slice(body.get(kept..).unwrap_or_default());
    edited.freeze()
}

#[cfg(test)]
mod tests;
