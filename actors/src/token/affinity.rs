//! Which token a conversation went to last: prompt caches and stored state live with a team, so the next turn goes there
//! again while the token is healthy.
//!
//! In a cluster every node holds the bindings of all (see [`super::conversations`]). The one that was made last counts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;
use grok2api_schemas::bus::changes::{ConversationsCleared, WhichConversations};
use grok2api_schemas::ids::TokenId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::Token;
use crate::clock::{Mono, WallMs};

/// A conversation, as a hash of whatever identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(pub u64);

/// New bindings that wait to be told at most; other nodes do not hear of what comes on top.
const UNTOLD: usize = 10_000;
/// Orders of an operator to clear that are remembered, against bindings told late.
const CLEARINGS: usize = 64;

/// How often bindings held, were passed by, or moved.
#[derive(Debug, Default)]
pub struct AffinityCounters {
    /// The bound token served.
    pub hits: AtomicU64,
    /// The bound token was resting or full; another one served, the binding stays.
    pub borrows: AtomicU64,
    /// The bound token is gone; the conversation moved.
    pub rebinds: AtomicU64,
}

/// One conversation's token.
pub(super) struct Binding {
    pub(super) token: Arc<Token>,
    /// Calls of this conversation in flight on it: sub-agents of one parent share a conversation.
    pub(super) in_flight: Arc<AtomicU32>,
    pub(super) expires: Mono,
    /// When it was made, or told again, on whichever node.
    pub(super) bound_ms: u64,
}

/// A binding as nodes tell it: conversation, token, when it was made.
pub(super) type Bound = (u64, TokenId, u64);

/// Bindings, bounded in number and age.
pub(super) struct Affinity {
    pub(super) bindings: DashMap<ConversationId, Binding>,
    capacity: usize,
    life_ms: u64,
    /// Whether other nodes are to hear of new bindings.
    pub(super) is_told: AtomicBool,
    untold: Mutex<VecDeque<Bound>>,
    pub(super) more: Notify,
    clearings: Mutex<VecDeque<ConversationsCleared>>,
    pub(super) counters: AffinityCounters,
}

impl Affinity {
    pub(super) fn new(capacity: usize, life_ms: u64) -> Affinity {
        Affinity {
            bindings: DashMap::new(),
            capacity,
            life_ms,
            is_told: AtomicBool::new(false),
            untold: Mutex::default(),
            more: Notify::new(),
            clearings: Mutex::default(),
            counters: AffinityCounters::default(),
        }
    }

    /// The token bound to a conversation, if the binding is young enough and the token exists.
    pub(super) fn find(&self, conversation: ConversationId, now: Mono) -> Option<(Arc<Token>, Arc<AtomicU32>)> {
        let binding = self.bindings.get(&conversation)?;
        (binding.expires > now).then(|| (binding.token.clone(), binding.in_flight.clone()))
    }

    /// Binds a conversation, or makes its binding young again; answers the conversation's count of calls in flight.
    pub(super) fn bind(
        &self,
        conversation: ConversationId,
        token: &Arc<Token>,
        now: Mono,
        wall: WallMs,
    ) -> Arc<AtomicU32> {
        let expires = now.plus_ms(self.life_ms);
        if let Some(mut binding) = self.bindings.get_mut(&conversation) {
            binding.expires = expires;
            let is_same = Arc::ptr_eq(&binding.token, token);
            if !is_same {
                binding.token = token.clone();
                binding.in_flight = Arc::new(AtomicU32::new(0));
            }
            // On other nodes it must not expire before it does here.
            if !is_same || wall.0.saturating_sub(binding.bound_ms) > self.life_ms / 2 {
                binding.bound_ms = wall.0.max(binding.bound_ms + 1);
                self.to_tell((conversation.0, token.id, binding.bound_ms));
            }
            return binding.in_flight.clone();
        }
        let in_flight = Arc::new(AtomicU32::new(0));
        if self.bindings.len() < self.capacity {
            self.bindings.insert(
                conversation,
                Binding {
                    token: token.clone(),
                    in_flight: in_flight.clone(),
                    expires,
                    bound_ms: wall.0,
                },
            );
            self.to_tell((conversation.0, token.id, wall.0));
        }
        in_flight
    }

    fn to_tell(&self, bound: Bound) {
        if !self.is_told.load(Ordering::Relaxed) {
            return;
        }
        let mut untold = self.untold.lock();
        if untold.len() < UNTOLD {
            untold.push_back(bound);
        }
        drop(untold);
        self.more.notify_one();
    }

    /// Takes what other nodes are to hear, oldest first, at most so many.
    pub(super) fn take_untold(&self, most: usize) -> Vec<Bound> {
        let mut untold = self.untold.lock();
        let count = untold.len().min(most);
        let taken = untold.drain(..count).collect();
        if !untold.is_empty() {
            self.more.notify_one();
        }
        taken
    }

    /// Another node bound a conversation; counts unless ours is newer. Of two of the same instant the larger id counts, so
    /// that all nodes agree.
    pub(super) fn heard(
        &self,
        conversation: ConversationId,
        token: &Arc<Token>,
        bound_ms: u64,
        now: Mono,
        wall: WallMs,
    ) {
        let age_ms = wall.0.saturating_sub(bound_ms);
        if age_ms >= self.life_ms || self.was_cleared(conversation, token.id, bound_ms) {
            return;
        }
        let expires = now.plus_ms(self.life_ms - age_ms);
        if let Some(mut binding) = self.bindings.get_mut(&conversation) {
            if Arc::ptr_eq(&binding.token, token) {
                binding.expires = binding.expires.max(expires);
                binding.bound_ms = binding.bound_ms.max(bound_ms);
            } else if (bound_ms, token.id) > (binding.bound_ms, binding.token.id) {
                *binding = Binding {
                    token: token.clone(),
                    in_flight: Arc::new(AtomicU32::new(0)),
                    expires,
                    bound_ms,
                };
            }
        } else if self.bindings.len() < self.capacity {
            let binding = Binding {
                token: token.clone(),
                in_flight: Arc::new(AtomicU32::new(0)),
                expires,
                bound_ms,
            };
            self.bindings.insert(conversation, binding);
        }
    }

    fn was_cleared(&self, conversation: ConversationId, token: TokenId, bound_ms: u64) -> bool {
        self.clearings
            .lock()
            .iter()
            .any(|cleared| concerns(cleared, conversation, token, bound_ms))
    }

    /// Unbinds conversations; answers how many were bound.
    pub(super) fn clear(&self, cleared: ConversationsCleared) -> u64 {
        let mut count = 0;
        self.bindings.retain(|conversation, binding| {
            let stays = !concerns(&cleared, *conversation, binding.token.id, binding.bound_ms);
            count += u64::from(!stays);
            stays
        });
        self.untold.lock().retain(|(conversation, token, bound_ms)| {
            !concerns(&cleared, ConversationId(*conversation), *token, *bound_ms)
        });
        let mut clearings = self.clearings.lock();
        if clearings.len() == CLEARINGS {
            clearings.pop_front();
        }
        clearings.push_back(cleared);
        count
    }

    /// Forgets what has expired or names deleted tokens. Runs off the request path.
    pub(super) fn sweep(&self, now: Mono) {
        self.bindings
            .retain(|_, binding| binding.expires > now && !binding.token.is_gone());
    }

    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    pub(super) fn count(&self, counter: impl Fn(&AffinityCounters) -> &AtomicU64) {
        counter(&self.counters).fetch_add(1, Ordering::Relaxed);
    }
}

fn concerns(cleared: &ConversationsCleared, conversation: ConversationId, token: TokenId, bound_ms: u64) -> bool {
    let is_meant = match &cleared.which {
        WhichConversations::All => true,
        WhichConversations::Of(of) => *of == token,
        WhichConversations::These(these) => these.contains(&conversation.0),
    };
    is_meant && bound_ms <= cleared.at_ms
}
