//! The closed set of route labels: metrics, the in-flight registry and logs speak of these, never of paths.

/// A family of paths of the public surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Route {
    /// `POST /v1/chat/completions`
    Chat,
    /// `GET /v1/chat/deferred-completion/{id}`
    Deferred,
    /// `/v1/responses…`
    Responses,
    /// `/v1/messages…`
    Messages,
    /// `/v1/models…`
    Models,
    /// `/v1/images…` and uploads of reference images
    Images,
    /// `/v1/videos…`
    Videos,
    /// `/v1/audio…`, `/v1/tts`, `/v1/stt`
    Audio,
    /// `/v1/realtime…`
    Realtime,
    /// `/v1/files…`
    Files,
    /// Every other path under `/v1`
    OtherApi,
    /// `/api/v1/admin…`
    Admin,
    /// `/livez`, `/readyz`, `/health`
    Probe,
    /// `/metrics`
    Metrics,
    /// The panel and whatever else is not an API
    Panel,
}

impl Route {
    /// Every route, in the order of the numbers behind them.
    pub const ALL: [Route; 15] = [
        Route::Chat,
        Route::Deferred,
        Route::Responses,
        Route::Messages,
        Route::Models,
        Route::Images,
        Route::Videos,
        Route::Audio,
        Route::Realtime,
        Route::Files,
        Route::OtherApi,
        Route::Admin,
        Route::Probe,
        Route::Metrics,
        Route::Panel,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Route::Chat => "chat",
            Route::Deferred => "deferred",
            Route::Responses => "responses",
            Route::Messages => "messages",
            Route::Models => "models",
            Route::Images => "images",
            Route::Videos => "videos",
            Route::Audio => "audio",
            Route::Realtime => "realtime",
            Route::Files => "files",
            Route::OtherApi => "other_api",
            Route::Admin => "admin",
            Route::Probe => "probe",
            Route::Metrics => "metrics",
            Route::Panel => "panel",
        }
    }

    /// The family of a path.
    pub fn of_path(path: &str) -> Route {
        if let Some(rest) = path.strip_prefix("/v1/") {
            let family = rest.split('/').next().unwrap_or_default();
            return match family {
                "chat" if rest.starts_with("chat/deferred-completion") => Route::Deferred,
                "chat" => Route::Chat,
                "responses" => Route::Responses,
                "messages" => Route::Messages,
                "models" => Route::Models,
                "images" | "uploads" => Route::Images,
                "videos" => Route::Videos,
                "audio" | "tts" | "stt" => Route::Audio,
                "realtime" => Route::Realtime,
                "files" => Route::Files,
                _ => Route::OtherApi,
            };
        }
        match path {
            "/livez" | "/readyz" | "/health" => Route::Probe,
            "/metrics" => Route::Metrics,
            _ if path.starts_with("/api/") => Route::Admin,
            _ => Route::Panel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_order_agree() {
        for (position, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, position);
        }
    }

    #[test]
    fn paths_fall_into_their_family() {
        for (path, route) in [
            ("/v1/chat/completions", Route::Chat),
            ("/v1/chat/deferred-completion/abc", Route::Deferred),
            ("/v1/models", Route::Models),
            ("/v1/models/grok-4", Route::Models),
            ("/v1/modelsish", Route::OtherApi),
            ("/v1/uploads/image", Route::Images),
            ("/api/v1/admin/tokens", Route::Admin),
            ("/readyz", Route::Probe),
            ("/metrics", Route::Metrics),
            ("/", Route::Panel),
            ("", Route::Panel),
        ] {
            assert_eq!(Route::of_path(path), route, "{path}");
        }
    }
}
