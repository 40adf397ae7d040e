//! The model table (`models.toml`): what the gateway must know about a model that the upstream's list does not tell.

use super::spec::*;
use crate::meter::DayBucket;

choice! {
    /// What a model makes.
    pub enum ModelKind {
        /// Text.
        Chat = "chat",
        /// Images.
        Image = "image",
        /// Videos.
        Video = "video",
        /// Speech, over a socket.
        Voice = "voice",
        /// Vectors that stand for texts.
        Embedding = "embedding",
    }
}

section! {
    /// A model. Prices are in USD; what is not set is not known.
    pub struct ModelEntry in "models" {
        /// The upstream's name for it.
        id: (text Any) = "";
        /// Who serves it.
        provider: (text Any) = "xai";
        /// What it makes: chat, image, video or voice.
        kind: (choice ModelKind) = "chat";
        /// Name for people.
        display_name: (text Any) = "";
        /// One sentence for people.
        description: (text Any) = "";
        /// Other names that the upstream knows it by; they share its limits.
        aliases: (texts Any) = [];
        /// Tokens of prompt and answer together.
        context: (maybe int u64 1..=100000000) = unset;
        /// Tokens of an answer, at most.
        max_output: (maybe int u64 1..=100000000) = unset;
        /// Whether it thinks before it answers.
        reasoning: (flag) = false;
        /// Whether a call counts as heavy where client keys are limited.
        heavy: (flag) = false;
        /// Whether it is served over the Responses API only.
        only_responses: (flag) = false;
        /// Whether it reads pictures.
        reads_images: (flag) = true;
        /// Whether it takes messages of the role developer; otherwise they are sent as system.
        knows_developer_role: (flag) = false;
        /// Arguments that it refuses.
        unsupported: (texts Any) = [];
        /// Price of a million tokens read.
        price_input: (maybe number 0.0..=1000000.0) = unset;
        /// Price of a million tokens read from the cache. Not set: as price_input.
        price_cached: (maybe number 0.0..=1000000.0) = unset;
        /// Price of a million tokens written, thinking included.
        price_output: (maybe number 0.0..=1000000.0) = unset;
        /// Prompts of so many tokens and more have the long prices. Not set: there are none.
        long_context_from: (maybe int u64 1..=100000000) = unset;
        /// As price_input, for long prompts.
        long_price_input: (maybe number 0.0..=1000000.0) = unset;
        /// As price_cached, for long prompts.
        long_price_cached: (maybe number 0.0..=1000000.0) = unset;
        /// As price_output, for long prompts.
        long_price_output: (maybe number 0.0..=1000000.0) = unset;
        /// Price of an image.
        price_image: (maybe number 0.0..=1000.0) = unset;
        /// Price of a second of video.
        price_second: (maybe number 0.0..=1000.0) = unset;
        /// Instead of xai.first_byte_timeout_secs.
        first_byte_timeout_secs: (maybe int u64 1..=86400) = unset;
        /// Instead of xai.answer_timeout_secs.
        answer_timeout_secs: (maybe int u64 1..=86400) = unset;
        /// Instead of xai.idle_timeout_secs.
        idle_timeout_secs: (maybe int u64 1..=86400) = unset;
        /// Instead of xai.request_timeout_secs.
        request_timeout_secs: (maybe int u64 1..=86400) = unset;
    }
}

section! {
    /// A name that the upstream retired and answers under another model.
    pub struct RetiredModel in "retired" {
        /// The old name.
        id: (text Any) = "";
        /// The model that answers.
        successor: (text Any) = "";
        /// Since when, as a date.
        since: (text Any) = "";
    }
}

section! {
    /// The tables of `models.toml`.
    pub struct ModelTable in "" {
        /// Models.
        models: (tables ModelEntry) = unset;
        /// Retired names.
        retired: (tables RetiredModel) = unset;
    }
}

impl ModelEntry {
    /// The daily bucket that a call counts in where client keys are limited; none for speech.
    pub fn bucket(&self) -> Option<DayBucket> {
        match self.kind {
            ModelKind::Chat if self.heavy => Some(DayBucket::Heavy),
            ModelKind::Chat => Some(DayBucket::Chat),
            ModelKind::Image => Some(DayBucket::Image),
            ModelKind::Video => Some(DayBucket::Video),
            ModelKind::Voice | ModelKind::Embedding => None,
        }
    }
}
