//! One request, no dialect.

pub mod error;
