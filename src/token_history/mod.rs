//! What happened to credentials: every change that is told on the bus, remembered by every node, the last ones of each
//! credential and team, over restarts too.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::clock::Clock;
use grok2api_actors::store::{Store, StoreError, StoreWrite};
use grok2api_schemas::admin::history::TokenChange;
use grok2api_schemas::bus::subjects::events;
use grok2api_schemas::ids::{SessionId, TokenId};
use grok2api_schemas::token_event::{EventScope, TokenEvent};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The store's tree: when, and which of that millisecond → [`Stored`].
const TREE: &str = "token_history#";
/// Changes of one credential, or of one team.
pub const OF_ONE: usize = 64;
/// Changes of all of them; the oldest go first.
const OF_ALL: usize = 10_000;
/// How often changes are written.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Longest detail, characters.
const LONGEST_DETAIL: usize = 200;

/// The name of a node's session.
pub type NameOf = Box<dyn Fn(SessionId) -> String + Send + Sync>;

/// Whom a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Whom {
    Token(TokenId),
    Team(String),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    whom: Whom,
    change: TokenChange,
}

/// What was told of all credentials. Cheap to clone.
#[derive(Clone)]
pub struct TokenHistory(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    known: Mutex<Known>,
}

/// The last changes of one, and how many of its places in the order are left.
#[derive(Default)]
struct Own {
    changes: VecDeque<Arc<TokenChange>>,
    places: usize,
}

#[derive(Default)]
struct Known {
    of: HashMap<Whom, Own>,
    /// In the order they came: their keys in the store, and whom they concern.
    order: VecDeque<(Bytes, Whom)>,
    unwritten: Vec<StoreWrite>,
    /// Tells apart what came in one millisecond.
    number: u32,
}

impl Known {
    /// Takes a change in; forgets what there is no more room for.
    fn push(&mut self, key: Bytes, whom: Whom, change: TokenChange) {
        self.order.push_back((key, whom.clone()));
        let own = self.of.entry(whom).or_default();
        own.places += 1;
        own.changes.push_back(Arc::new(change));
        if own.changes.len() > OF_ONE {
            // Its place in the order stays until it is the oldest of all.
            own.changes.pop_front();
        }
        if self.order.len() > OF_ALL {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((key, whom)) = self.order.pop_front() else {
            return;
        };
        self.unwritten.push(StoreWrite {
            tree: TREE,
            key,
            value: None,
        });
        let Some(own) = self.of.get_mut(&whom) else { return };
        own.places = own.places.saturating_sub(1);
        if own.changes.len() > own.places {
            own.changes.pop_front();
        }
        if own.places == 0 {
            self.of.remove(&whom);
        }
    }
}

impl TokenHistory {
    /// Reads what was remembered.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(store: Store, clock: Clock) -> Result<TokenHistory, StoreError> {
        let mut known = Known::default();
        for (key, value) in store.scan_prefix(TREE, b"")? {
            match serde_json::from_slice::<Stored>(&value) {
                Ok(Stored { whom, change }) => known.push(key, whom, change),
                // A newer build's; it goes when it is the oldest.
                Err(error) => tracing::debug!(%error, "a change of a credential does not decode"),
            }
        }
        Ok(TokenHistory(Arc::new(Inner {
            store,
            clock,
            known: Mutex::new(known),
        })))
    }

    /// Listens until `stop`, and writes what it heard.
    pub fn start(&self, bus: &BusHandle, name_of: NameOf, tracker: &TaskTracker, stop: CancellationToken) {
        let mut heard = bus.subscribe(events::TOKEN);
        let history = self.clone();
        tracker.spawn(async move {
            let mut turn = tokio::time::interval(WRITE_EVERY);
            turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    message = heard.next() => match message {
                        Some(message) => history.hear(&message, &name_of),
                        None => break,
                    },
                    _ = turn.tick() => history.write().await,
                }
            }
            history.write().await;
        });
    }

    /// Takes an event in. What is not of this form is another build's.
    fn hear(&self, message: &[u8], name_of: &NameOf) {
        let Ok(event) = serde_json::from_slice::<TokenEvent>(message) else {
            return;
        };
        let whom = match (event.scope, event.team) {
            (Some(EventScope::Team | EventScope::TeamModel), Some(team)) => Whom::Team(team),
            _ => Whom::Token(event.id),
        };
        let change = TokenChange {
            time_ms: self.0.clock.wall().0,
            event: event.event,
            state: event.state,
            scope: event.scope,
            model: event.model,
            cause: event.cause,
            detail: event
                .detail
                .filter(|words| !words.is_empty())
                .map(|words| words.chars().take(LONGEST_DETAIL).collect()),
            until_ms: event.until_ms,
            node: name_of(event.node),
            version: event.version,
            epoch: event.epoch,
        };
        let mut known = self.0.known.lock();
        let is_told_twice = known
            .of
            .get(&whom)
            .and_then(|own| own.changes.back())
            .is_some_and(|last| last.mark() == change.mark());
        if is_told_twice {
            return;
        }
        known.number = known.number.wrapping_add(1);
        let key = Bytes::from([&change.time_ms.to_be_bytes()[..], &known.number.to_be_bytes()[..]].concat());
        let stored = Stored {
            whom: whom.clone(),
            change: change.clone(),
        };
        match serde_json::to_vec(&stored) {
            Ok(value) => known.unwritten.push(StoreWrite {
                tree: TREE,
                key: key.clone(),
                value: Some(value.into()),
            }),
            Err(error) => tracing::error!(%error, "a change of a credential could not be written"),
        }
        known.push(key, whom, change);
    }

    async fn write(&self) {
        let writes = std::mem::take(&mut self.0.known.lock().unwritten);
        if !writes.is_empty()
            && let Err(error) = self.0.store.write(writes).await
        {
            // It is remembered until the node ends.
            tracing::warn!(%error, "changes of credentials could not be written");
        }
    }

    /// What this node remembers of a credential and of its team, the newest first.
    pub fn of(&self, id: TokenId, team: Option<&str>) -> Vec<TokenChange> {
        let known = self.0.known.lock();
        let own = known.of.get(&Whom::Token(id));
        let of_team = team.and_then(|team| known.of.get(&Whom::Team(team.to_owned())));
        let both = own.into_iter().chain(of_team).flat_map(|own| &own.changes);
        let mut changes: Vec<TokenChange> = both.map(|change| TokenChange::clone(change)).collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.time_ms));
        changes
    }
}
