//! Anthropic's Messages, which the upstream speaks itself for the most part: bytes pass through, the model's name and the
//! credential are replaced; errors, token counts and the list of models are ours.

pub mod messages;
pub mod count_tokens;
pub mod models;
pub mod error;
mod request;
mod dialect;

pub use dialect::MessagesDialect;
