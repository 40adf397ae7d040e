//! What every front does before it asks the engine: may this key use the model, which conversation is it, which headers
//! go on, what does it count as.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use grok2api_actors::clients::Identity;
use grok2api_actors::token::affinity::ConversationId;
use grok2api_schemas::config::models::ModelKind;
use grok2api_schemas::config::{Config, glob_matches};
use grok2api_schemas::meter::DayBucket;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::app::App;
use crate::catalogue::Resolved;
use crate::engine::ask::{Ask, Caller};
use crate::engine::error::{ErrorKind, GatewayError};

/// How often a request that waits for a strict budget looks again.
const BUDGET_LOOK: Duration = Duration::from_millis(50);

/// Headers by which clients name a conversation, most telling first: xAI's own, then those of Codex and Claude Code.
const CONVERSATION_HEADERS: [&str; 5] = [
    "x-grok-conv-id",
    "session_id",
    "conversation_id",
    "x-claude-code-session-id",
    "x-session-id",
];

/// What a request offers to recognise its conversation by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AffinityHints {
    /// `prompt_cache_key`, if it is not empty.
    pub prompt_cache_key: Option<String>,
    /// `user`, if it is not empty.
    pub user: Option<String>,
    /// A hash of the first system (or developer) text and the first user text; made only where the other two are
    /// missing. The same on every node and in every release.
    pub first_message_hash: Option<u64>,
}

/// Refuses a model that the caller's key may not use, by the client's name for it or the upstream's.
///
/// # Errors
/// 403 with the code `model_not_allowed`.
pub fn may_use(caller: &Caller, model: &str, upstream_name: &str) -> Result<(), GatewayError> {
    let Caller::Key(Identity::Key(key)) = caller else {
        return Ok(());
    };
    let may = |pattern: &String| glob_matches(pattern, model) || glob_matches(pattern, upstream_name);
    if key.allowed_models.is_empty() || key.allowed_models.iter().any(may) {
        return Ok(());
    }
    Err(
        GatewayError::new(ErrorKind::Forbidden, format!("This key may not use the model {model}."))
            .with_code("model_not_allowed")
            .with_param("model"),
    )
}

/// What a model is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Chat completions.
    Chat,
    /// Responses.
    Responses,
    /// Messages.
    Messages,
    /// Legacy completions.
    Completion,
    /// Vectors.
    Embedding,
    /// Tokens of a text.
    Tokens,
    /// A conversation in sound.
    Realtime,
}

impl Use {
    const fn kind(self) -> ModelKind {
        match self {
            Use::Embedding => ModelKind::Embedding,
            Use::Realtime => ModelKind::Voice,
            Use::Chat | Use::Responses | Use::Messages | Use::Completion | Use::Tokens => ModelKind::Chat,
        }
    }
}

/// Refuses a model that makes something else than it is asked for, and says where it serves. Of a model that the table does
/// not know, the upstream knows more.
///
/// # Errors
/// 400 with the code `model_not_supported`.
pub fn must_make(resolved: &Resolved<'_>, what: Use) -> Result<(), GatewayError> {
    let Some(entry) = resolved.entry else { return Ok(()) };
    let model = resolved.requested;
    let message = match entry.kind {
        ModelKind::Chat
            if entry.only_responses
                // Chat and messages are converted.
                && !matches!(what, Use::Responses | Use::Chat | Use::Messages | Use::Tokens)
                && what.kind() == ModelKind::Chat =>
        {
            format!("The model {model} is served over POST /v1/responses only.")
        }
        kind if kind == what.kind() => return Ok(()),
        ModelKind::Chat => {
            format!("The model {model} writes text: ask it at POST /v1/chat/completions or POST /v1/responses.")
        }
        ModelKind::Image => {
            format!("The model {model} makes images: ask it at POST /v1/images/generations or POST /v1/images/edits.")
        }
        ModelKind::Video => {
            format!("The model {model} makes videos: ask it at POST /v1/videos/generations or POST /v1/videos.")
        }
        ModelKind::Voice => format!("The model {model} speaks: open the WebSocket /v1/realtime."),
        ModelKind::Embedding => format!("The model {model} makes vectors: ask it at POST /v1/embeddings."),
    };
    Err(GatewayError::field("model", message).with_code("model_not_supported"))
}

/// Refuses pictures for a model that reads none.
///
/// # Errors
/// 400 with the code `images_not_supported`, naming the field.
pub fn must_see(resolved: &Resolved<'_>, pictures: u64, field: &'static str) -> Result<(), GatewayError> {
    match resolved.entry {
        Some(entry) if pictures > 0 && !entry.reads_images => Err(GatewayError::field(
            field,
            format!(
                "The model {} reads no images. Leave them out, or ask a model that does, such as grok-4.7.",
                resolved.requested
            ),
        )
        .with_code("images_not_supported")),
        _ => Ok(()),
    }
}

/// The conversation a request belongs to: what the client says, else who asks and how the conversation begins.
pub fn conversation(caller: &Caller, headers: &HeaderMap, hints: &AffinityHints) -> Option<ConversationId> {
    let mut hasher = std::hash::DefaultHasher::new();
    match caller {
        Caller::Key(Identity::Key(key)) => key.id.hash(&mut hasher),
        Caller::Key(Identity::Config) => 1_u8.hash(&mut hasher),
        Caller::Anonymous => 0_u8.hash(&mut hasher),
    }
    let header = || {
        CONVERSATION_HEADERS
            .iter()
            .find_map(|name| headers.get(*name))
            .map(HeaderValue::as_bytes)
    };
    if let Some(key) = &hints.prompt_cache_key {
        (1_u8, key).hash(&mut hasher);
    } else if let Some(value) = header() {
        (2_u8, value).hash(&mut hasher);
    } else if let Some(user) = &hints.user {
        (3_u8, user).hash(&mut hasher);
    } else {
        (4_u8, hints.first_message_hash?).hash(&mut hasher);
    }
    Some(ConversationId(hasher.finish()))
}

/// Headers of the client that go on upstream: only those the operator lists.
pub fn forwarded(headers: &HeaderMap, config: &Config) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in &config.xai.forward_headers {
        if let Ok(name) = HeaderName::try_from(name.as_str()) {
            for value in headers.get_all(&name) {
                passed.append(name.clone(), value.clone());
            }
        }
    }
    passed
}

/// The buckets of a client key that a text call counts in.
pub fn chat_buckets(resolved: &Resolved<'_>) -> Vec<(DayBucket, u64)> {
    match resolved.entry.is_some_and(|entry| entry.heavy) {
        true => vec![(DayBucket::Chat, 1), (DayBucket::Heavy, 1)],
        false => vec![(DayBucket::Chat, 1)],
    }
}

/// Makes the ask, again and again while calls under way hold what is missing of a strict budget: most give some of it
/// back.
///
/// # Errors
/// Those of `make`.
pub async fn within_budget(app: &App, make: impl Fn() -> Result<Ask, GatewayError>) -> Result<Ask, GatewayError> {
    let max_wait_ms = app.config().clients.max_wait_ms;
    let began = app.clock.now();
    loop {
        match make() {
            Err(error)
                if error.kind == ErrorKind::ClientBudget
                    && error.retry_after_ms.is_some_and(|ms| ms <= max_wait_ms)
                    && app.clock.now().ms_since(began) < max_wait_ms =>
            {
                tokio::time::sleep(BUDGET_LOOK).await;
            }
            made => return made,
        }
    }
}
