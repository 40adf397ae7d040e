//! What an operator can see and do of bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use grok2api_actors::clock::Clock;
use grok2api_actors::token::Pool;
use grok2api_actors::token::conversations::BoundConversation;
use grok2api_schemas::admin::affinity::{
    AffinityClearAsk, AffinityCleared, AffinityKind, AffinityListAsk, AffinityPage, AffinityView,
};
use grok2api_schemas::bus::changes::WhichConversations;

use super::audit::Actor;
use super::{ROWS, rows, unavailable};
use crate::bindings::{Bindings, ObjectKind};
use crate::engine::error::GatewayError;

/// Most conversations named in one call.
const MOST_IDS: usize = 10_000;

/// Bindings of conversations, as the operations see them.
pub trait Conversations: Send + Sync {
    /// Every one, in no order.
    fn all(&self) -> Vec<BoundConversation>;
    /// Unbinds some; answers how many were bound.
    fn clear(&self, which: WhichConversations) -> u64;
    /// Hits, borrows and rebinds since the start.
    fn counts(&self) -> (u64, u64, u64);
}

impl Conversations for Pool {
    fn all(&self) -> Vec<BoundConversation> {
        self.conversations()
    }

    fn clear(&self, which: WhichConversations) -> u64 {
        self.clear_conversations(which)
    }

    fn counts(&self) -> (u64, u64, u64) {
        let (hits, borrows, rebinds, _) = self.affinity_counts();
        (hits, borrows, rebinds)
    }
}

/// Operations on bindings.
#[derive(Clone)]
pub struct AffinityOps {
    conversations: Arc<dyn Conversations>,
    bindings: Bindings,
    clock: Clock,
}

impl AffinityOps {
    /// Operations on these.
    pub fn new(conversations: Arc<dyn Conversations>, bindings: Bindings, clock: Clock) -> AffinityOps {
        AffinityOps {
            conversations,
            bindings,
            clock,
        }
    }

    /// A page of bindings.
    ///
    /// # Errors
    /// `InvalidField`; the bus cannot be read.
    pub async fn list(&self, ask: AffinityListAsk) -> Result<AffinityPage, GatewayError> {
        let most = rows(ask.limit, ROWS)?;
        let all = match object_kind(ask.kind) {
            None => {
                let conversations = self.conversations.clone();
                tokio::task::spawn_blocking(move || of_conversations(conversations.all()))
                    .await
                    .map_err(|error| GatewayError::internal(format!("listing conversations: {error}")))?
            }
            Some(kind) => {
                let now_ms = self.clock.wall().0;
                let objects = self.bindings.list(kind).await.map_err(|error| unavailable(&error))?;
                let young = objects.into_iter().filter(|(_, binding)| binding.expires_ms > now_ms);
                young
                    .map(|(id, binding)| AffinityView {
                        id,
                        token: binding.token,
                        team: None,
                        owner: Some(binding.owner),
                        in_flight: None,
                        expires_in_ms: binding.expires_ms - now_ms,
                    })
                    .collect()
            }
        };
        let (hits, borrows, rebinds) = self.conversations.counts();
        let (items, total, next_cursor) = page(all, &ask, most);
        Ok(AffinityPage {
            items,
            total,
            next_cursor,
            hits,
            borrows,
            rebinds,
        })
    }

    /// Unbinds conversations.
    ///
    /// # Errors
    /// `InvalidField` unless exactly one of the three is said.
    pub async fn clear(&self, actor: &Actor, ask: AffinityClearAsk) -> Result<AffinityCleared, GatewayError> {
        let which = match (ask.ids.is_empty(), ask.token, ask.all) {
            (false, None, false) => WhichConversations::These(ids(&ask.ids)?),
            (true, Some(token), false) => WhichConversations::Of(token),
            (true, None, true) => WhichConversations::All,
            _ => {
                return Err(GatewayError::field(
                    "ids",
                    "Say which conversations to unbind: `ids`, or `token`, or `all`: true.",
                ));
            }
        };
        let said = match &which {
            WhichConversations::All => "all".to_owned(),
            WhichConversations::Of(token) => token.to_string(),
            WhichConversations::These(these) => format!("{} conversations", these.len()),
        };
        let conversations = self.conversations.clone();
        let cleared = tokio::task::spawn_blocking(move || conversations.clear(which))
            .await
            .map_err(|error| GatewayError::internal(format!("clearing conversations: {error}")))?;
        actor.did::<&str>("affinity.clear", &[], &said);
        Ok(AffinityCleared { cleared })
    }
}

fn object_kind(kind: AffinityKind) -> Option<ObjectKind> {
    match kind {
        AffinityKind::Conversation => None,
        AffinityKind::Response => Some(ObjectKind::Response),
        AffinityKind::Sealed => Some(ObjectKind::Sealed),
        AffinityKind::DeferredCompletion => Some(ObjectKind::DeferredCompletion),
        AffinityKind::File => Some(ObjectKind::File),
        AffinityKind::Video => Some(ObjectKind::Video),
    }
}

fn of_conversations(all: Vec<BoundConversation>) -> Vec<AffinityView> {
    all.into_iter()
        .map(|bound| AffinityView {
            id: format!("{:016x}", bound.conversation.0),
            token: bound.token,
            team: bound.team,
            owner: None,
            in_flight: Some(bound.in_flight),
            expires_in_ms: bound.expires_in_ms,
        })
        .collect()
}

/// The rows after the cursor, how many there are in all, and where the next page begins.
fn page(all: Vec<AffinityView>, ask: &AffinityListAsk, most: usize) -> (Vec<AffinityView>, u64, Option<String>) {
    let mut total = 0;
    let mut first: BTreeMap<String, AffinityView> = BTreeMap::new();
    for row in all {
        if ask.token.is_some_and(|token| token != row.token) {
            continue;
        }
        total += 1;
        if ask.cursor.as_ref().is_some_and(|cursor| row.id <= *cursor) {
            continue;
        }
        first.insert(row.id.clone(), row);
        // One more than a page shows that there is a next one.
        if first.len() > most + 1 {
            first.pop_last();
        }
    }
    let is_more = first.len() > most;
    let items: Vec<AffinityView> = first.into_values().take(most).collect();
    let next = items.last().filter(|_| is_more).map(|row| row.id.clone());
    (items, total, next)
}

fn ids(texts: &[String]) -> Result<Vec<u64>, GatewayError> {
    if texts.len() > MOST_IDS {
        return Err(GatewayError::field(
            "ids",
            format!("`ids` may name {MOST_IDS} conversations at a time."),
        ));
    }
    texts
        .iter()
        .map(|text| {
            u64::from_str_radix(text, 16)
                .ok()
                .filter(|_| text.len() == 16)
                .ok_or_else(|| {
                    GatewayError::field(
                        "ids",
                        "`ids` must hold 16 hexadecimal digits each, as affinity.list shows them.",
                    )
                })
        })
        .collect()
}
