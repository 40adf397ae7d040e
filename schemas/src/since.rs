//! Fields that a later version of the codec added. Records between nodes have no field names, so a reader must know which
//! fields a version has: a field of type [`Since`] is there from its version on, and its default in what older versions
//! wrote. In JSON it is always there.

use std::cell::Cell;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

thread_local! {
    /// The version that is being written or read by this thread.
    static VERSION: Cell<u8> = const { Cell::new(u8::MAX) };
}

/// Writes or reads with the fields of a version.
pub fn with_version<R>(version: u8, work: impl FnOnce() -> R) -> R {
    struct Restore(u8);
    impl Drop for Restore {
        fn drop(&mut self) {
            VERSION.set(self.0);
        }
    }
    let _restore = Restore(VERSION.replace(version));
    work()
}

/// A field that version `V` added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Since<const V: u8, T>(pub T);

impl<const V: u8, T> From<T> for Since<V, T> {
    fn from(value: T) -> Since<V, T> {
        Since(value)
    }
}

impl<const V: u8, T> Deref for Since<V, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<const V: u8, T: Serialize> Serialize for Since<V, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() && VERSION.get() < V {
            // Nothing at all in a format without field names.
            return serializer.serialize_unit();
        }
        self.0.serialize(serializer)
    }
}

impl<'de, const V: u8, T: Deserialize<'de> + Default> Deserialize<'de> for Since<V, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Since<V, T>, D::Error> {
        if !deserializer.is_human_readable() && VERSION.get() < V {
            <()>::deserialize(deserializer)?;
            return Ok(Since(T::default()));
        }
        T::deserialize(deserializer).map(Since)
    }
}
