//! What the parts of a running process say about themselves: named states that tests wait for and the panel shows.
//!
//! A part keeps an [`Observed`] and sets it whenever something changed; that costs an allocation and no lock. Nothing is
//! serialised until somebody looks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// All observable states, by name (`ledger/shard/3`, `bus`). Clones share them.
#[derive(Clone, Default)]
pub struct Observatory {
    parts: Arc<DashMap<Arc<str>, Part>>,
    registrations: Arc<AtomicU64>,
}

struct Part {
    /// Tells a part from its successor of the same name.
    registration: u64,
    look: Arc<dyn Fn() -> Value + Send + Sync>,
}

/// A part's own end: sets its state, and takes the name back when dropped.
pub struct Observed<T> {
    state: Arc<ArcSwap<T>>,
    _place: Place,
}

/// Keeps a name in the observatory until it is dropped.
pub struct Place {
    parts: Arc<DashMap<Arc<str>, Part>>,
    name: Arc<str>,
    registration: u64,
}

impl Observatory {
    /// A state under this name, which replaces an earlier one of that name.
    pub fn observe<T: Serialize + Send + Sync + 'static>(&self, name: impl Into<Arc<str>>, state: T) -> Observed<T> {
        let state = Arc::new(ArcSwap::from_pointee(state));
        let look = state.clone();
        Observed {
            state,
            _place: self.observe_with(name, move || json(&**look.load())),
        }
    }

    /// A state that is asked for whenever somebody looks. `look` must be quick and must not wait.
    pub fn observe_with(&self, name: impl Into<Arc<str>>, look: impl Fn() -> Value + Send + Sync + 'static) -> Place {
        let name = name.into();
        let registration = self.registrations.fetch_add(1, Ordering::Relaxed);
        let part = Part {
            registration,
            look: Arc::new(look),
        };
        self.parts.insert(name.clone(), part);
        Place {
            parts: self.parts.clone(),
            name,
            registration,
        }
    }

    /// What the part of this name says now.
    pub fn look(&self, name: &str) -> Option<Value> {
        // Asked outside the map's lock: a part may look at others.
        let look = self.parts.get(name)?.look.clone();
        Some(look())
    }

    /// What every part whose name starts so says now.
    pub fn look_around(&self, prefix: &str) -> BTreeMap<Arc<str>, Value> {
        let parts: Vec<_> = self
            .parts
            .iter()
            .filter(|part| part.key().starts_with(prefix))
            .map(|part| (part.key().clone(), part.look.clone()))
            .collect();
        parts.into_iter().map(|(name, look)| (name, look())).collect()
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether nothing can be seen.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Waits until the part of this name says something that `holds`; answers what. `None` when `patience` is over.
    pub async fn wait_for(&self, name: &str, patience: Duration, holds: impl Fn(&Value) -> bool) -> Option<Value> {
        let end = Instant::now() + patience;
        loop {
            match self.look(name) {
                Some(state) if holds(&state) => return Some(state),
                _ if Instant::now() >= end => return None,
                _ => sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

impl<T> Observed<T> {
    /// This is how things are now.
    pub fn set(&self, state: T) {
        self.state.store(Arc::new(state));
    }

    /// How things were last said to be.
    pub fn get(&self) -> Arc<T> {
        self.state.load_full()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.parts
            .remove_if(&*self.name, |_, part| part.registration == self.registration);
    }
}

impl fmt::Debug for Observatory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observatory({})", self.parts.len())
    }
}

/// A state as JSON; one that has no JSON form says why instead.
fn json(state: &impl Serialize) -> Value {
    serde_json::to_value(state).unwrap_or_else(|error| Value::String(format!("cannot be shown: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct State {
        open: u32,
    }

    #[tokio::test(start_paused = true)]
    async fn states_are_seen_while_their_parts_live() {
        let observatory = Observatory::default();
        let shard = observatory.observe("shard/1", State { open: 1 });
        let other = observatory.observe_with("shard/2", || json!("asked"));
        let node = observatory.observe("node", State { open: 9 });
        shard.set(State { open: 2 });
        assert_eq!(shard.get().open, 2);
        assert_eq!(observatory.look("shard/1"), Some(json!({"open": 2})));
        let around = observatory.look_around("shard/");
        assert_eq!(
            around
                .into_iter()
                .map(|(name, state)| (name.to_string(), state))
                .collect::<Vec<_>>(),
            [
                ("shard/1".to_owned(), json!({"open": 2})),
                ("shard/2".to_owned(), json!("asked"))
            ]
        );
        drop(other);
        assert_eq!(observatory.look("shard/2"), None);
        assert_eq!(observatory.len(), 2);
        drop((shard, node));
        assert!(observatory.is_empty());
    }

    #[test]
    fn a_successor_keeps_its_name_when_the_predecessor_goes() {
        let observatory = Observatory::default();
        let before = observatory.observe("actor", State { open: 1 });
        let _after = observatory.observe("actor", State { open: 2 });
        drop(before);
        assert_eq!(observatory.look("actor"), Some(json!({"open": 2})));
    }

    #[test]
    fn a_part_may_look_at_others_and_one_without_a_json_form_says_so() {
        let observatory = Observatory::default();
        let _odd = observatory.observe("odd", std::collections::BTreeMap::from([(vec![1u8], 2)]));
        let inner = observatory.clone();
        let _all = observatory.observe_with("all", move || json!(inner.look("odd")));
        let said = observatory.look("all").unwrap();
        assert!(said.as_str().unwrap().starts_with("cannot be shown"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn tests_wait_for_what_they_want_to_see() {
        let observatory = Observatory::default();
        let state = observatory.observe("node", 0);
        let patience = Duration::from_secs(1);
        let (seen, ()) = tokio::join!(observatory.wait_for("node", patience, |n| n == 3), async {
            for n in 1..=3 {
                sleep(Duration::from_millis(50)).await;
                state.set(n);
            }
        });
        assert_eq!(seen, Some(json!(3)));
        assert_eq!(observatory.wait_for("node", patience, |n| n == 4).await, None);
        assert_eq!(observatory.wait_for("nobody", patience, |_| true).await, None);
    }
}
