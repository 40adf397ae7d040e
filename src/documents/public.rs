//! The public API, route by route, as the OpenAPI document shows it. A test holds it against the router.

mod media;

use grok2api_schemas::public as types;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a route takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// Nothing.
    Nothing,
    /// JSON of this type.
    Json(SchemaOf),
    /// Any JSON object.
    Object,
    /// A form with a file in this part.
    Form(&'static str),
    /// JSON of this type, or a form with its members and a file in this part.
    JsonOrForm(SchemaOf, &'static str),
}

/// What a route answers.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// JSON of this type.
    Json(SchemaOf),
    /// Any JSON object.
    Object,
    /// Any JSON object, or events if they are asked for.
    Events,
    /// Bytes of these types.
    Bytes(&'static [&'static str]),
    /// The connection becomes a WebSocket.
    Socket,
}

/// One route.
pub(super) struct Public {
    pub method: &'static str,
    pub path: &'static str,
    pub about: &'static str,
    pub group: &'static str,
    pub takes: Takes,
    pub gives: Gives,
    /// Parameters of the query.
    pub query: &'static [&'static str],
    /// Whether it answers without a key.
    pub is_open: bool,
}

const PAGE: &[&str] = &["limit", "order", "after"];

const fn route(
    method: &'static str,
    path: &'static str,
    group: &'static str,
    about: &'static str,
    takes: Takes,
    gives: Gives,
) -> Public {
    Public {
        method,
        path,
        about,
        group,
        takes,
        gives,
        query: &[],
        is_open: false,
    }
}

const fn get(path: &'static str, group: &'static str, about: &'static str) -> Public {
    route("get", path, group, about, Takes::Nothing, Gives::Object)
}

const fn open(path: &'static str, about: &'static str, gives: Gives) -> Public {
    Public {
        is_open: true,
        ..route("get", path, "The process", about, Takes::Nothing, gives)
    }
}

const fn paged(public: Public) -> Public {
    Public { query: PAGE, ..public }
}

fn schema<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Every route but those of administration.
pub(super) fn routes() -> Vec<Public> {
    use Gives::{Bytes, Events, Object};
    use Takes::{Form, Json, Nothing};
    const ANY: &[&str] = &[
        "application/octet-stream",
        "text/plain",
        "application/json",
        "application/zip",
    ];
    const SOUND: &[&str] = &[
        "audio/mpeg",
        "audio/wav",
        "application/octet-stream",
        "application/json",
    ];
    let listed = || Gives::Json(schema::<types::Listed>);
    let mut all = media::routes();
    all.extend([
        route(
            "post",
            "/v1/chat/completions",
            "Chat",
            "Answers a conversation.",
            Json(schema::<types::ChatAsk>),
            Events,
        ),
        get(
            "/v1/chat/deferred-completion/{id}",
            "Chat",
            "Answers a conversation that was deferred.",
        ),
        route(
            "post",
            "/v1/responses",
            "Responses",
            "Makes a response.",
            Json(schema::<types::ResponseAsk>),
            Events,
        ),
        route(
            "get",
            "/v1/responses",
            "Responses",
            "Makes responses over a WebSocket.",
            Nothing,
            Gives::Socket,
        ),
        route(
            "post",
            "/v1/responses/compact",
            "Responses",
            "Makes one item of a conversation.",
            Json(schema::<types::ResponseAsk>),
            Object,
        ),
        get("/v1/responses/{id}", "Responses", "Shows a response that is kept."),
        route(
            "delete",
            "/v1/responses/{id}",
            "Responses",
            "Forgets a response.",
            Nothing,
            Object,
        ),
        paged(get(
            "/v1/responses/{id}/input_items",
            "Responses",
            "Lists what a response was asked.",
        )),
        route(
            "post",
            "/v1/messages",
            "Messages",
            "Answers a conversation, in Anthropic's form.",
            Json(schema::<types::MessageAsk>),
            Events,
        ),
        route(
            "post",
            "/v1/messages/count_tokens",
            "Messages",
            "Counts what a message would cost to read.",
            Json(schema::<types::CountAsk>),
            Gives::Json(schema::<types::Counted>),
        ),
        route(
            "post",
            "/v1/completions",
            "Legacy",
            "Continues a text, in OpenAI's older form.",
            Json(schema::<types::CompletionAsk>),
            Events,
        ),
        route(
            "post",
            "/v1/complete",
            "Legacy",
            "Continues a text, in Anthropic's older form.",
            Json(schema::<types::CompletionAsk>),
            Events,
        ),
        route(
            "post",
            "/v1/embeddings",
            "Embeddings",
            "Makes vectors that stand for texts.",
            Json(schema::<types::EmbeddingAsk>),
            Object,
        ),
        route(
            "post",
            "/v1/tokenize-text",
            "Embeddings",
            "Cuts a text into tokens.",
            Json(schema::<types::TokenizeAsk>),
            Object,
        ),
        route(
            "get",
            "/v1/models",
            "Models",
            "Lists the models that the key may use.",
            Nothing,
            listed(),
        ),
        get("/v1/models/{id}", "Models", "Shows a model."),
        get("/v1/api-key", "Models", "Shows the key that asks."),
        get("/v1/me", "Models", "Shows whose key asks."),
    ]);
    for (list, one, about) in [
        (
            "/v1/language-models",
            "/v1/language-models/{id}",
            "Lists models that write, as the upstream shows them.",
        ),
        (
            "/v1/image-generation-models",
            "/v1/image-generation-models/{id}",
            "Lists models that make images.",
        ),
        (
            "/v1/video-generation-models",
            "/v1/video-generation-models/{id}",
            "Lists models that make videos.",
        ),
        (
            "/v1/embedding-models",
            "/v1/embedding-models/{id}",
            "Lists models that make vectors.",
        ),
    ] {
        all.push(get(list, "Models", about));
        all.push(get(one, "Models", "Shows one of them."));
    }
    for (root, one, part, group) in [
        ("/v1/files", "/v1/files/{id}", "file", "Files"),
        ("/v1/skills", "/v1/skills/{id}", "files", "Skills"),
        ("/v1/custom-voices", "/v1/custom-voices/{id}", "file", "Voice"),
    ] {
        all.push(route("post", root, group, "Uploads one.", Form(part), Object));
        all.push(paged(route(
            "get",
            root,
            group,
            "Lists what the key made.",
            Nothing,
            listed(),
        )));
        all.push(get(one, group, "Shows one."));
        all.push(route("delete", one, group, "Deletes one.", Nothing, Object));
    }
    all.extend([
        route(
            "get",
            "/v1/files/{id}/content",
            "Files",
            "Gives out a file.",
            Nothing,
            Bytes(ANY),
        ),
        route(
            "post",
            "/v1/files/{id}/public-url",
            "Files",
            "Makes a URL for everybody.",
            Takes::Object,
            Object,
        ),
        route(
            "post",
            "/v1/files/{id}/public-url/revoke",
            "Files",
            "Takes it back.",
            Takes::Object,
            Object,
        ),
        route(
            "get",
            "/v1/skills/{id}/content",
            "Skills",
            "Gives out a skill.",
            Nothing,
            Bytes(ANY),
        ),
        route(
            "patch",
            "/v1/custom-voices/{id}",
            "Voice",
            "Changes what is said about a voice.",
            Takes::Object,
            Object,
        ),
        route(
            "get",
            "/v1/custom-voices/{id}/audio",
            "Voice",
            "Gives out its recording.",
            Nothing,
            Bytes(SOUND),
        ),
        route(
            "post",
            "/v1/batches",
            "Batches",
            "Makes a batch: xAI's, or OpenAI's of a file of calls.",
            Json(schema::<types::BatchAsk>),
            Object,
        ),
        paged(route(
            "get",
            "/v1/batches",
            "Batches",
            "Lists the key's batches.",
            Nothing,
            listed(),
        )),
        get("/v1/batches/{id}", "Batches", "Shows a batch."),
        paged(get("/v1/batches/{id}/requests", "Batches", "Lists its calls.")),
        route(
            "post",
            "/v1/batches/{id}/requests",
            "Batches",
            "Adds calls.",
            Json(schema::<types::BatchCallsAsk>),
            Object,
        ),
        paged(get("/v1/batches/{id}/results", "Batches", "Lists what came of them.")),
        route(
            "post",
            "/v1/batches/{id}/cancel",
            "Batches",
            "Makes no more of its calls.",
            Nothing,
            Object,
        ),
        route(
            "post",
            "/v1/documents/search",
            "Documents",
            "Searches collections.",
            Json(schema::<types::SearchAsk>),
            Object,
        ),
        route(
            "post",
            "/v1/tts",
            "Voice",
            "Speaks a text.",
            Json(schema::<types::TtsAsk>),
            Bytes(SOUND),
        ),
        get("/v1/tts/voices", "Voice", "Lists built-in voices."),
        route(
            "post",
            "/v1/stt",
            "Voice",
            "Writes down what is said.",
            Form("file"),
            Object,
        ),
        route(
            "post",
            "/v1/audio/speech",
            "Voice",
            "Speaks a text, in OpenAI's form.",
            Json(schema::<types::SpeechAsk>),
            Bytes(SOUND),
        ),
        route(
            "post",
            "/v1/audio/transcriptions",
            "Voice",
            "Writes down what is said, in OpenAI's form.",
            Form("file"),
            Bytes(&["application/json", "text/plain"]),
        ),
        route(
            "get",
            "/v1/realtime",
            "Voice",
            "Talks over a WebSocket.",
            Nothing,
            Gives::Socket,
        ),
        route(
            "post",
            "/v1/realtime/client_secrets",
            "Voice",
            "Makes a short-lived key that opens such a WebSocket.",
            Takes::Object,
            Object,
        ),
        open(
            "/livez",
            "Whether the process lives.",
            Bytes(&["text/plain", "application/json"]),
        ),
        open(
            "/readyz",
            "Whether it takes calls.",
            Bytes(&["text/plain", "application/json"]),
        ),
        open(
            "/health",
            "The same, for older checks.",
            Bytes(&["text/plain", "application/json"]),
        ),
        open(
            "/metrics",
            "Figures for Prometheus.",
            Bytes(&["text/plain", "application/openmetrics-text"]),
        ),
        open("/openapi.json", "This document.", Object),
        open("/docs", "This document for people.", Bytes(&["text/html"])),
    ]);
    all
}

/// The schema of a form with a file.
pub(super) fn form(part: &str) -> Value {
    json!({
        "type": "object",
        "required": [part],
        "properties": {
            part: {"type": "string", "format": "binary", "description": "The file."},
            "purpose": {"type": "string"},
            "model": {"type": "string"},
            "prompt": {"type": "string"},
            "language": {"type": "string"},
        },
    })
}
