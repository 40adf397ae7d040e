//! A field that most records leave empty.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that is empty in most of a hundred thousand records, and takes eight bytes while it is. It reads, travels and is
/// stored as the value itself.
pub struct Rare<T>(Option<Box<T>>);

/// What can be empty.
pub trait Empty: Default + 'static {
    /// The empty value, for those who look at one that is not there.
    fn empty() -> &'static Self;

    /// Whether it need not be kept.
    fn is_empty(&self) -> bool;
}

impl Empty for String {
    fn empty() -> &'static String {
        static EMPTY: String = String::new();
        &EMPTY
    }

    fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl Empty for Vec<String> {
    fn empty() -> &'static Vec<String> {
        static EMPTY: Vec<String> = Vec::new();
        &EMPTY
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl Empty for Vec<(String, crate::token::Cooling)> {
    fn empty() -> &'static Self {
        static EMPTY: Vec<(String, crate::token::Cooling)> = Vec::new();
        &EMPTY
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl<T: 'static> Empty for Option<T> {
    fn empty() -> &'static Option<T> {
        &None
    }

    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

impl<T: Empty> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::empty())
    }
}

impl<T: Empty> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Empty> From<T> for Rare<T> {
    fn from(value: T) -> Rare<T> {
        Rare((!value.is_empty()).then(|| Box::new(value)))
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Rare<T> {
        Rare(None)
    }
}

impl<T: Empty + Clone> Clone for Rare<T> {
    /// One that has become empty is given up by its copies.
    fn clone(&self) -> Rare<T> {
        Rare(self.0.as_ref().filter(|value| !value.is_empty()).cloned())
    }
}

impl<T: Empty + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Rare<T>) -> bool {
        **self == **other
    }
}

impl<T: Empty + Eq> Eq for Rare<T> {}

impl<T: Empty + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Empty + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Empty + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rare<T>, D::Error> {
        T::deserialize(deserializer).map(Rare::from)
    }
}

#[cfg(test)]
mod tests {
    use super::Rare;

    #[test]
    fn an_empty_value_takes_no_box_and_is_equal_to_one_that_became_empty() {
        let mut label: Rare<String> = String::new().into();
        assert!(label.0.is_none() && label.is_empty());
        label.push('x');
        assert_eq!((label.as_str(), label.clone().as_str()), ("x", "x"));
        label.clear();
        assert_eq!(label, Rare::default());
        assert!(label.0.is_some() && label.clone().0.is_none());
        assert_eq!(size_of::<Rare<String>>(), 8);
    }

    #[test]
    fn it_is_written_and_read_as_the_value_itself() {
        for tags in [vec![], vec!["a".to_owned()]] {
            let rare: Rare<Vec<String>> = tags.clone().into();
            let written = serde_json::to_string(&rare).unwrap();
            assert_eq!(written, serde_json::to_string(&tags).unwrap());
            assert_eq!(*serde_json::from_str::<Rare<Vec<String>>>(&written).unwrap(), tags);
        }
        assert_eq!(
            serde_json::from_str::<Rare<Option<String>>>("null").unwrap(),
            None.into()
        );
    }
}
