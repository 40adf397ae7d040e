//! OpenAI's dialect: what a request says, the few bytes of it that we change, what an answer says, and its errors.

pub mod edit;
pub mod error;
pub mod request;
pub mod usage;
pub mod usage_strip;
pub mod dialect;
pub mod chat;
pub mod deferred;
pub mod responses;
pub mod models;
pub mod images;
pub mod videos;
pub mod chat_media;
