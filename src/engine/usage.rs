//! What a call used, as the upstream counted it.

pub use crate::fronts::openai::usage::Usage;
