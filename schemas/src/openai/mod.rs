//! OpenAI's wire types, as far as the gateway makes or reads them itself. Requests and answers pass through as bytes.

pub mod chat;
pub mod error;
pub mod models;
