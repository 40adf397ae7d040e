//! Why there is no file.

use std::fmt;
use std::io;

use crate::egress::guard::{FetchError, FetchErrorKind};
use crate::store::StoreError;

/// Why there is no file.
#[derive(Clone, Debug)]
pub enum MediaError {
    /// It could not be fetched.
    Fetch(FetchError),
    /// It is not what it was said to be: no picture, or no film.
    NotMedia,
    /// It was here and is no more.
    Gone,
    /// The disk.
    Disk(String),
    /// The bus, or the store.
    Bus(String),
}

impl MediaError {
    pub(super) fn fetch(kind: FetchErrorKind, message: &str) -> MediaError {
        MediaError::Fetch(FetchError {
            kind,
            message: message.to_owned(),
        })
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MediaError::Fetch(error) => write!(f, "fetching: {error}"),
            MediaError::NotMedia => f.write_str("its content is neither a picture nor a film"),
            MediaError::Gone => f.write_str("it is not here"),
            MediaError::Disk(what) => write!(f, "disk: {what}"),
            MediaError::Bus(what) => write!(f, "sharing: {what}"),
        }
    }
}

impl std::error::Error for MediaError {}

impl From<io::Error> for MediaError {
    fn from(error: io::Error) -> MediaError {
        MediaError::Disk(error.to_string())
    }
}

impl From<StoreError> for MediaError {
    fn from(error: StoreError) -> MediaError {
        MediaError::Bus(error.to_string())
    }
}
