//! The protocols that clients speak to us. A front never names a provider.

pub mod asking;
pub mod converted;
pub mod answering;
pub mod members;
pub mod event_relay;
pub mod pins;
pub mod plain;
pub mod pieces;
pub mod media;
pub mod passed;
pub mod voice;
pub mod json;
pub mod openai;
pub mod anthropic;
pub mod sse;
