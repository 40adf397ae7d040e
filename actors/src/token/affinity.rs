//! Which token a conversation went to last: prompt caches and stored state live with a team, so the next turn goes there
//! again while the token is healthy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use dashmap::DashMap;

use super::entry::Token;
use crate::clock::Mono;

/// A conversation, as a hash of whatever identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationId(pub u64);

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
    expires: Mono,
}

/// Bindings of this node, bounded in number and age.
pub(super) struct Affinity {
    bindings: DashMap<ConversationId, Binding>,
    capacity: usize,
    life_ms: u64,
    pub(super) counters: AffinityCounters,
}

impl Affinity {
    pub(super) fn new(capacity: usize, life_ms: u64) -> Affinity {
        Affinity {
            bindings: DashMap::new(),
            capacity,
            life_ms,
            counters: AffinityCounters::default(),
        }
    }

    /// The token bound to a conversation, if the binding is young enough and the token exists.
    pub(super) fn find(&self, conversation: ConversationId, now: Mono) -> Option<(Arc<Token>, Arc<AtomicU32>)> {
        let binding = self.bindings.get(&conversation)?;
        (binding.expires > now).then(|| (binding.token.clone(), binding.in_flight.clone()))
    }

    /// Binds a conversation, or makes its binding young again; answers the conversation's count of calls in flight.
    pub(super) fn bind(&self, conversation: ConversationId, token: &Arc<Token>, now: Mono) -> Arc<AtomicU32> {
        let expires = now.plus_ms(self.life_ms);
        if let Some(mut binding) = self.bindings.get_mut(&conversation) {
            binding.expires = expires;
            if !Arc::ptr_eq(&binding.token, token) {
                binding.token = token.clone();
                binding.in_flight = Arc::new(AtomicU32::new(0));
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
                },
            );
        }
        in_flight
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
