//! Which path is what.

use http::Method;

/// What stands behind a path.
#[derive(Debug)]
pub enum Route {
    Chat,
    Deferred(String),
    Responses,
    Compact,
    Response(String),
    InputItems(String),
    Messages,
    Completions,
    ImageGenerations,
    ImageEdits,
    Image(String),
    /// With its path.
    Videos(&'static str),
    Video(String),
    Files,
    File(String),
    FileContent(String),
    Models,
    Model(String),
    LanguageModels,
    LanguageModel(String),
    EmbeddingModels,
    ApiKey,
    Me,
    Tokenize,
    Embeddings,
    /// Models that make `image` or `video`.
    MediaModels(&'static str),
    /// Skills, batches, documents and voices, by their path.
    Kept(Vec<String>),
    WrongMethod,
    Unknown,
}

impl Route {
    /// The route of a path below `/v1/`.
    pub fn of(method: &Method, rest: &str) -> Route {
        let found = Route::of_path(rest);
        let takes = match found {
            Route::Unknown => return Route::Unknown,
            Route::Chat
            | Route::Responses
            | Route::Compact
            | Route::Messages
            | Route::Completions
            | Route::ImageGenerations
            | Route::ImageEdits
            | Route::Videos(_)
            | Route::Tokenize
            | Route::Embeddings => *method == Method::POST,
            // Told apart where they are answered.
            Route::Kept(_) => true,
            Route::Files => matches!(*method, Method::GET | Method::POST),
            Route::File(_) | Route::Response(_) => matches!(*method, Method::GET | Method::DELETE),
            _ => *method == Method::GET,
        };
        if takes { found } else { Route::WrongMethod }
    }

    fn of_path(rest: &str) -> Route {
        let segments: Vec<&str> = rest.split('/').collect();
        match segments.as_slice() {
            ["chat", "completions"] => Route::Chat,
            ["chat", "deferred-completion", id] => Route::Deferred(decoded(id)),
            ["responses"] => Route::Responses,
            ["responses", "compact"] => Route::Compact,
            ["responses", id] => Route::Response(decoded(id)),
            ["responses", id, "input_items"] => Route::InputItems(decoded(id)),
            ["messages"] => Route::Messages,
            ["completions"] => Route::Completions,
            ["images", "generations"] => Route::ImageGenerations,
            ["images", "edits"] => Route::ImageEdits,
            ["images", id] => Route::Image(decoded(id)),
            ["videos", "generations"] => Route::Videos("/v1/videos/generations"),
            ["videos", "edits"] => Route::Videos("/v1/videos/edits"),
            ["videos", "extensions"] => Route::Videos("/v1/videos/extensions"),
            ["videos", id] => Route::Video(decoded(id)),
            ["files"] => Route::Files,
            ["files", id] => Route::File(decoded(id)),
            ["files", id, "content"] => Route::FileContent(decoded(id)),
            ["models"] => Route::Models,
            ["models", ..] => Route::Model(decoded(&rest["models/".len()..])),
            ["language-models"] => Route::LanguageModels,
            ["language-models", ..] => Route::LanguageModel(decoded(&rest["language-models/".len()..])),
            ["embedding-models"] => Route::EmbeddingModels,
            ["image-generation-models"] => Route::MediaModels("image"),
            ["video-generation-models"] => Route::MediaModels("video"),
            ["skills" | "batches" | "documents" | "tts" | "stt", ..] => {
                Route::Kept(segments.iter().map(|segment| decoded(segment)).collect())
            }
            ["api-key"] => Route::ApiKey,
            ["me"] => Route::Me,
            ["tokenize-text"] => Route::Tokenize,
            ["embeddings"] => Route::Embeddings,
            _ => Route::Unknown,
        }
    }

    /// Whether a model makes something there.
    pub fn asks_a_model(&self) -> bool {
        matches!(
            self,
            Route::Chat
                | Route::Responses
                | Route::Compact
                | Route::Messages
                | Route::Completions
                | Route::ImageGenerations
                | Route::ImageEdits
                | Route::Videos(_)
                | Route::Embeddings
        )
    }

    /// What tallies call it.
    pub fn name(&self) -> &'static str {
        match self {
            Route::Chat => "chat",
            Route::Deferred(_) => "deferred",
            Route::Responses => "responses",
            Route::Compact => "compact",
            Route::Response(_) | Route::InputItems(_) => "stored-responses",
            Route::Messages => "messages",
            Route::Completions => "completions",
            Route::ImageGenerations | Route::ImageEdits => "images",
            Route::Videos(_) => "videos",
            Route::Video(_) => "video-polls",
            Route::Image(_) => "image-polls",
            Route::Files | Route::File(_) | Route::FileContent(_) => "files",
            Route::Models | Route::Model(_) => "models",
            Route::LanguageModels | Route::LanguageModel(_) => "language-models",
            Route::EmbeddingModels => "embedding-models",
            Route::MediaModels(_) => "media-models",
            Route::Kept(_) => "kept",
            Route::ApiKey => "api-key",
            Route::Me => "me",
            Route::Tokenize => "tokenize-text",
            Route::Embeddings => "embeddings",
            Route::WrongMethod | Route::Unknown => "unknown",
        }
    }
}

/// Percent-decoding of a path segment.
fn decoded(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
