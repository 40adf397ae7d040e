//! The URL map of the public surface.

pub mod arrival;
pub mod auth;
