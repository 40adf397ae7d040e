//! One page out of many rows in any order, in one pass: a bounded heap of the best rows behind the cursor.
//! O(n log limit), and only the rows of the page are kept.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use grok2api_schemas::admin::page::{Cursor, Page, SortKey};

/// Collects a page while all rows that match the filters are offered to it once.
pub struct Pager<R> {
    after: Option<(SortKey, String)>,
    descending: bool,
    limit: usize,
    total: u64,
    heap: BinaryHeap<Candidate<R>>,
    /// A row behind the page was seen: there is a next page.
    more: bool,
}

struct Candidate<R> {
    key: SortKey,
    id: String,
    descending: bool,
    row: R,
}

impl<R> Candidate<R> {
    fn rank(&self, key: &SortKey, id: &str) -> Ordering {
        ordered(self.descending, (&self.key, &self.id), (key, id))
    }
}

fn ordered(descending: bool, a: (&SortKey, &str), b: (&SortKey, &str)) -> Ordering {
    if descending { b.cmp(&a) } else { a.cmp(&b) }
}

impl<R> Ord for Candidate<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank(&other.key, &other.id)
    }
}

impl<R> PartialOrd for Candidate<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> PartialEq for Candidate<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R> Eq for Candidate<R> {}

impl<R> Pager<R> {
    /// A page of at most `limit` rows (at least one) behind `after`.
    pub fn new(after: Option<Cursor>, descending: bool, limit: usize) -> Pager<R> {
        Pager {
            after: after.map(|cursor| (cursor.key, cursor.id)),
            descending,
            limit: limit.max(1),
            total: 0,
            heap: BinaryHeap::new(),
            more: false,
        }
    }

    /// A row that matches the filters. `row` is only made if it is on the page as far as is known.
    pub fn offer(&mut self, key: SortKey, id: impl Into<String>, row: impl FnOnce() -> R) {
        self.total += 1;
        let id = id.into();
        if let Some((after_key, after_id)) = &self.after
            && ordered(self.descending, (&key, &id), (after_key, after_id)) != Ordering::Greater
        {
            return;
        }
        if self.heap.len() == self.limit {
            self.more = true;
            if self
                .heap
                .peek()
                .is_some_and(|worst| worst.rank(&key, &id) != Ordering::Greater)
            {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Candidate {
            key,
            id,
            descending: self.descending,
            row: row(),
        });
    }

    /// The page.
    pub fn finish(self) -> Page<R> {
        let more = self.more;
        let rows = self.heap.into_sorted_vec();
        let next_cursor = rows.last().filter(|_| more).map(|last| {
            Cursor {
                key: last.key.clone(),
                id: last.id.clone(),
            }
            .to_string()
        });
        Page {
            items: rows.into_iter().map(|candidate| candidate.row).collect(),
            next_cursor,
            total: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn paging_shows_every_row_once_and_in_order(
            keys in proptest::collection::vec(0u64..8, 0..60),
            limit in 1usize..9,
            descending in any::<bool>(),
        ) {
            let mut seen = Vec::new();
            let mut cursor: Option<Cursor> = None;
            loop {
                let mut pager = Pager::new(cursor, descending, limit);
                for (at, &key) in keys.iter().enumerate() {
                    pager.offer(SortKey::Number(key), format!("{at:04}"), || (key, at));
                }
                let page = pager.finish();
                prop_assert_eq!(page.total, keys.len() as u64);
                prop_assert!(page.items.len() <= limit);
                seen.extend(page.items);
                match page.next_cursor {
                    Some(next) => cursor = Some(next.parse().unwrap()),
                    None => break,
                }
            }
            let mut expected: Vec<(u64, usize)> = keys.iter().copied().enumerate().map(|(at, key)| (key, at)).collect();
            expected.sort_unstable();
            if descending {
                expected.reverse();
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn rows_that_come_and_go_between_pages_shift_nothing(
            rows in proptest::collection::btree_set(0u64..200, 1..60),
            gone in proptest::collection::vec(0u64..200, 0..20),
            limit in 1usize..9,
        ) {
            let mut live = rows.clone();
            let mut gone = gone.into_iter();
            let mut seen = Vec::new();
            let mut cursor: Option<Cursor> = None;
            loop {
                let mut pager = Pager::new(cursor, false, limit);
                for &row in &live {
                    pager.offer(SortKey::Number(row), row.to_string(), || row);
                }
                let page = pager.finish();
                seen.extend(page.items);
                let Some(next) = page.next_cursor else { break };
                cursor = Some(next.parse().unwrap());
                if let Some(row) = gone.next() {
                    live.remove(&row);
                }
            }
            let mut once = seen.clone();
            once.dedup();
            prop_assert_eq!(&once, &seen);
            for row in &live {
                prop_assert!(seen.contains(row));
            }
        }
    }
}
