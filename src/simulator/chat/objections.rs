//! Arguments that a model or the API does not take.

use http::Response;

use super::request::{ChatRequest, Content, ResponseFormat, Role};
use crate::simulator::body::SimBody;
use crate::simulator::errors::{Mention, respond};
use crate::simulator::models::Model;

/// Most tools of a request.
const MOST_TOOLS: usize = 350;
/// Most choices of a request.
const MOST_CHOICES: i32 = 128;

/// What the model or the API does not take, in the order the upstream looks.
pub fn objection(request: &ChatRequest, model: &Model, path: &str, mention: &Mention<'_>) -> Option<Response<SimBody>> {
    let unsupported = |name: &str| {
        Some(respond(
            "arg-unsupported",
            &Mention {
                detail: name,
                ..*mention
            },
        ))
    };
    let invalid = |text: &str| {
        Some(respond(
            "arg-invalid",
            &Mention {
                detail: text,
                ..*mention
            },
        ))
    };
    if request.search_parameters.is_some() || request.web_search_options.is_some() {
        return Some(respond("live-search-gone", mention));
    }
    if model.media || model.embedding || (!model.chat && path != "/v1/responses") {
        return invalid(&format!("This model is not available on {path}."));
    }
    if !model.penalties && request.presence_penalty.is_some() {
        return unsupported("presencePenalty");
    }
    if !model.penalties && request.frequency_penalty.is_some() {
        return unsupported("frequencyPenalty");
    }
    if !model.stop && request.stop.as_ref().is_some_and(|stop| !stop.is_empty()) {
        return unsupported("stop");
    }
    if let Some(effort) = request.reasoning_effort.as_deref()
        && !model.efforts.contains(&effort)
    {
        return unsupported("reasoningEffort");
    }
    if request.messages.is_empty() {
        return Some(respond("empty-message", mention));
    }
    for message in &request.messages {
        let says_nothing = message.content.as_ref().is_none_or(Content::is_empty);
        let calls = message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        if let Some(Content::Parts(parts)) = &message.content
            && parts.iter().any(|part| !part.is_sound())
        {
            return invalid("Each image must have an http(s) or data URL.");
        }
        if says_nothing && !calls && message.role != Role::Tool {
            return Some(respond("empty-message", mention));
        }
    }
    if request.n.is_some_and(|n| n < 1) {
        return invalid("n must be at least 1.");
    }
    if request.n.is_some_and(|n| n > MOST_CHOICES) {
        return invalid("n must be at most 128.");
    }
    if request.max_output().is_some_and(|most| most < 1) {
        return invalid("max_completion_tokens must be at least 1.");
    }
    if request.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return invalid("temperature must be between 0 and 2.");
    }
    if request.top_p.is_some_and(|value| !(value > 0.0 && value <= 1.0)) {
        return invalid("top_p must be greater than 0 and at most 1.");
    }
    for penalty in [request.presence_penalty, request.frequency_penalty]
        .into_iter()
        .flatten()
    {
        if !(-2.0..=2.0).contains(&penalty) {
            return invalid("penalties must be between -2 and 2.");
        }
    }
    if request.top_logprobs.is_some_and(|top| !(0..=8).contains(&top)) {
        return invalid("top_logprobs must be between 0 and 8.");
    }
    if request.tools.as_ref().is_some_and(|tools| tools.len() > MOST_TOOLS) {
        return invalid("at most 350 tools are allowed.");
    }
    if let Some(tier) = request.service_tier.as_deref()
        && !matches!(tier, "auto" | "default" | "priority" | "fast")
    {
        return invalid("unknown service tier.");
    }
    if let Some(ResponseFormat::JsonSchema { json_schema }) = &request.response_format
        && !json_schema
            .schema
            .as_ref()
            .is_some_and(|schema| schema.is_object() || schema.is_boolean())
    {
        return invalid("response_format.json_schema.schema must be a JSON schema.");
    }
    None
}
