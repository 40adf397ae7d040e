//! Reading.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Bytes, BytesMut};

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

    /// Every key of a tree that starts with `prefix`, in key order. Rows share buffers of 64 KiB: copy what is kept.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn scan_prefix(&self, tree: &str, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut rows = Rows::default();
        self.visit(tree, prefix, |key, value| rows.push(key, value))?;
        Ok(rows.finish())
    }

    /// Keys of a tree from `from` (inclusive) to `to` (exclusive; `None`: to the end), in key order, at most `limit`. Rows
    /// share buffers of 64 KiB: copy what is kept.
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
        let copy = |found: sled::Iter| {
            let mut rows = Rows::default();
            for row in found.take(limit) {
                let (key, value) = row?;
                rows.push(&key, &value);
            }
            Ok(rows.finish())
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

/// Bytes that rows share. Two allocations a row are what a list of many small rows would mostly cost.
const SHARED_BYTES: usize = 64 * 1024;

/// Rows on their way out, copied side by side into shared buffers.
#[derive(Default)]
struct Rows {
    done: Vec<(Bytes, Bytes)>,
    buffer: BytesMut,
    /// Lengths of the keys and values in the buffer.
    lengths: Vec<(usize, usize)>,
}

impl Rows {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        let length = key.len() + value.len();
        if self.buffer.len() + length > self.buffer.capacity() {
            self.hand_over();
            // One row alone gets a buffer of its size: reading a single one must not take 64 KiB.
            let first = self.done.is_empty();
            self.buffer = BytesMut::with_capacity(if first {
                length.max(4096)
            } else {
                length.max(SHARED_BYTES)
            });
        }
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.lengths.push((key.len(), value.len()));
    }

    fn hand_over(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer).freeze();
        for (key, value) in self.lengths.drain(..) {
            let key = buffer.split_to(key);
            self.done.push((key, buffer.split_to(value)));
        }
    }

    fn finish(mut self) -> Vec<(Bytes, Bytes)> {
        self.hand_over();
        self.done
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
