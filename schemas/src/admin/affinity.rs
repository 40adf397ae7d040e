//! What is bound to which upstream credential.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::TokenId;

/// What is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AffinityKind {
    /// A conversation: its next turn goes where the last one went, while that serves.
    #[default]
    Conversation,
    /// A response that the upstream keeps.
    Response,
    /// A sealed item (encrypted reasoning, a compaction), by a mark of its content.
    Sealed,
    /// A deferred chat completion.
    DeferredCompletion,
    /// An uploaded file.
    File,
    /// A video.
    Video,
}

impl AffinityKind {
    /// Every kind.
    pub const ALL: [AffinityKind; 6] = [
        AffinityKind::Conversation,
        AffinityKind::Response,
        AffinityKind::Sealed,
        AffinityKind::DeferredCompletion,
        AffinityKind::File,
        AffinityKind::Video,
    ];

    /// As JSON and query strings have it.
    pub fn as_str(self) -> &'static str {
        match self {
            AffinityKind::Conversation => "conversation",
            AffinityKind::Response => "response",
            AffinityKind::Sealed => "sealed",
            AffinityKind::DeferredCompletion => "deferred_completion",
            AffinityKind::File => "file",
            AffinityKind::Video => "video",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<AffinityKind> {
        AffinityKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Which bindings to list, in the order of their ids, as the answering node knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AffinityListAsk {
    /// Of this kind.
    pub kind: AffinityKind,
    /// To this credential.
    pub token: Option<TokenId>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Rows of a page, 1 to 1,000; not sent = 50.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u64>,
}

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AffinityView {
    /// The upstream's id of the object; of a conversation 16 hexadecimal digits of ours.
    pub id: String,
    /// The credential.
    pub token: TokenId,
    /// Its quota domain, once known; of conversations only.
    pub team: Option<String>,
    /// The client key that made the object (or `config`, `anonymous`); `null` for conversations.
    pub owner: Option<String>,
    /// Calls of the conversation in flight on the answering node; `null` for objects.
    pub in_flight: Option<u32>,
    /// Until it is forgotten, milliseconds; a conversation's next turn puts it off.
    pub expires_in_ms: u64,
}

/// A page of bindings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AffinityPage {
    /// The rows.
    pub items: Vec<AffinityView>,
    /// How many there are on all pages.
    pub total: u64,
    /// For the next page; `null` on the last one.
    pub next_cursor: Option<String>,
    /// Turns of conversations that went where they were bound, on the answering node since its start.
    pub hits: u64,
    /// Turns that went elsewhere while their credential was resting or full; the binding stayed.
    pub borrows: u64,
    /// Conversations that moved because their credential was gone.
    pub rebinds: u64,
}

/// Which conversations to unbind, on every node: say one of the three. Objects stay bound: only the credential that made
/// one can reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AffinityClearAsk {
    /// These, as they are listed; at most 10,000.
    #[schemars(length(max = 10_000))]
    pub ids: Vec<String>,
    /// All that are bound to this credential.
    pub token: Option<TokenId>,
    /// All.
    pub all: bool,
}

/// What was unbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AffinityCleared {
    /// How many conversations were bound on the answering node.
    pub cleared: u64,
}
