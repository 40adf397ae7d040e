//! One request, no dialect.

pub mod reserve;
pub mod waiting;
pub mod error;
