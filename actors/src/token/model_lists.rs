//! Lists of models, each once: thousands of teams are offered the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// So many different lists are known; teams whose list is another keep it to themselves.
const LISTS: usize = 1_024;

/// The lists that teams share.
#[derive(Default)]
pub(super) struct ModelLists(Mutex<BTreeSet<Arc<[String]>>>);

impl ModelLists {
    /// The list of this content that all share.
    pub(super) fn shared(&self, list: Arc<[String]>) -> Arc<[String]> {
        let mut known = self.0.lock();
        if let Some(same) = known.get(&list) {
            return same.clone();
        }
        if known.len() >= LISTS {
            // Those that no team has any more.
            known.retain(|list| Arc::strong_count(list) > 1);
        }
        if known.len() < LISTS {
            known.insert(list.clone());
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, LISTS, ModelLists};

    fn list(name: usize) -> Arc<[String]> {
        Arc::from([format!("m{name}")])
    }

    #[test]
    fn equal_lists_become_one_and_those_that_nobody_has_make_room() {
        let lists = ModelLists::default();
        let first = lists.shared(list(0));
        assert!(Arc::ptr_eq(&first, &lists.shared(list(0))));
        let held: Vec<_> = (1..LISTS).map(|n| lists.shared(list(n))).collect();
        assert!(
            !Arc::ptr_eq(&lists.shared(list(LISTS)), &lists.shared(list(LISTS))),
            "all are in use"
        );
        drop(held);
        let next = lists.shared(list(LISTS));
        assert!(Arc::ptr_eq(&next, &lists.shared(list(LISTS))));
        assert_eq!(lists.0.lock().len(), 2);
    }
}
