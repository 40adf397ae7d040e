//! Sound: speech from text and text from speech, in the upstream's form and in OpenAI's.

mod form;
pub mod realtime;
pub mod secrets;
pub mod speech;
mod talk;
pub mod transcription;

use std::sync::Arc;

use grok2api_schemas::ids::TokenId;

use crate::app::App;
use crate::bindings::ObjectKind;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError};

/// USD ticks for a character of text that is spoken: $15 a million (`xai-api.md` §13).
const TICKS_A_CHARACTER: u64 = 150_000;
/// USD ticks for a second of sound that is written down: $0.10 an hour.
const TICKS_A_SECOND: u64 = 277_778;
/// Bytes of sound in a second at least: 16 kbit/s, below what speech is sent in.
const BYTES_A_SECOND: u64 = 2_000;
/// Characters that are spoken at once, at most.
const LONGEST: usize = 15_000;

/// What calls of either kind count as, where there is no model; a key that is limited to some models needs it among them.
const SPEECH: &str = "tts";
const TRANSCRIPTION: &str = "stt";

/// The token that made a voice, if the voice was made through this gateway; built-in ones are everybody's.
async fn team_of_voice(app: &App, caller: &Caller, voice: &str) -> Result<Option<TokenId>, GatewayError> {
    let found = app
        .bindings
        .get(ObjectKind::Voice, voice)
        .await
        .map_err(|error| GatewayError::internal(error.to_string()))?;
    match found {
        None => Ok(None),
        Some(binding) if binding.owner == caller.owner() => Ok(Some(binding.token)),
        Some(_) => {
            let shown = crate::fronts::members::clip(voice);
            Err(
                GatewayError::new(ErrorKind::NotFound, format!("Voice '{shown}' not found."))
                    .with_code("object_not_found")
                    .with_param("voice_id"),
            )
        }
    }
}

/// The voice for a name of OpenAI's; others mean themselves.
fn voice_for(name: &str) -> &str {
    match name {
        "alloy" | "nova" | "shimmer" | "coral" | "marin" => "eve",
        "fable" | "sage" | "verse" => "ara",
        "echo" | "onyx" | "cedar" => "rex",
        "ash" | "ballad" => "leo",
        other => other,
    }
}

/// The app, as handlers share it.
type Shared = Arc<App>;
