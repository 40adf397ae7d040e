//! Reading.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::open::panic_words;
use super::{Shared, StoreError};

/// What is stored, as a decision on the committer thread or a reader sees it.
pub struct StoreView<'a> {
    shared: &'a Shared,
}

impl<'a> StoreView<'a> {
    pub(super) fn new(shared: &'a Shared) -> StoreView<'a> {
        StoreView { shared }
    }

    /// Reads one key.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(tree) = self.shared.tree(tree) else {
            return Ok(None);
        };
        let value = guarded(|| tree.get(key))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Every key of a tree that starts with `prefix`, in key order.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn scan_prefix(&self, tree: &str, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut rows = Vec::new();
        self.visit(tree, prefix, |key, value| {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        })?;
        Ok(rows)
    }

    /// Keys of a tree from `from` (inclusive) to `to` (exclusive; `None`: to the end), in key order, at most `limit`.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn scan_range(
        &self,
        tree: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let Some(tree) = self.shared.tree(tree) else {
            return Ok(Vec::new());
        };
        let copy = |rows: sled::Iter| {
            rows.take(limit)
                .map(|row| row.map(|(key, value)| (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value))))
                .collect()
        };
        guarded(|| match to {
            Some(to) if to <= from => Ok(Vec::new()),
            Some(to) => copy(tree.range(from..to)),
            None => copy(tree.range(from..)),
        })
    }

    /// Calls `visit` with every key and value of a tree that starts with `prefix`, in key order, without copying them.
    ///
    /// # Errors
    /// `Corrupt`, after the rows before the damage were visited.
    pub fn visit(&self, tree: &str, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let Some(tree) = self.shared.tree(tree) else {
            return Ok(());
        };
        guarded(|| {
            for row in tree.scan_prefix(prefix) {
                let (key, value) = row?;
                visit(&key, &value);
            }
            Ok(())
        })
    }
}

/// sled answers some damage with a panic: an error like the others here.
fn guarded<T>(read: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let reason = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic_words(panic.as_ref()),
    };
    Err(StoreError::Corrupt { reason })
}
