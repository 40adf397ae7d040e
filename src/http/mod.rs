//! The URL map of the public surface, on one screen, and what every answer has in common.

pub mod arrival;
pub mod auth;
mod passed;
pub mod starting;

use std::sync::Arc;

use grok2api_schemas::ids::RequestId;
use grok2api_schemas::media::MediaKind;
use http::{HeaderValue, StatusCode, Version, header};
use poem::endpoint::{BoxEndpoint, make};
use poem::{Endpoint, EndpointExt, Request, Response, Route, RouteMethod};

use crate::admin::{self, Admin, assets};
use crate::app::App;
use crate::door::health;
use crate::door::origin::{ClientOrigin, ClientScheme};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::anthropic;
use crate::fronts::anthropic::{count_tokens, messages};
use crate::fronts::media::{files, uploads};
use crate::fronts::openai::error::error_response;
use crate::fronts::openai::images::request::Making;
use crate::fronts::openai::responses::{Making as Answering, Stored};
use crate::fronts::openai::videos::{Called, Wanted};
use crate::fronts::openai::{chat, deferred, images, models, responses, videos};
use crate::telemetry::metrics;

/// Every route there is.
pub fn routes(app: &Arc<App>) -> BoxEndpoint<'static, Response> {
    let chat_app = app.clone();
    let chat = make(move |request: Request| {
        let app = chat_app.clone();
        async move { chat::chat(&app, request).await }
    });
    let deferred_app = app.clone();
    let deferred = make(move |request: Request| {
        let app = deferred_app.clone();
        async move {
            let id = request.raw_path_param("id").unwrap_or_default().to_owned();
            deferred::completion(&app, request, &id).await
        }
    });
    let list_app = app.clone();
    let list = make(move |request: Request| {
        let app = list_app.clone();
        async move { models::list(&app, &request) }
    });
    let model_app = app.clone();
    let model = make(move |request: Request| {
        let app = model_app.clone();
        async move {
            let id = request.raw_path_param("id").map(decode).unwrap_or_default();
            models::one(&app, &request, &id)
        }
    });
    let respond_app = app.clone();
    let respond = make(move |request: Request| {
        let app = respond_app.clone();
        async move { responses::create(&app, request, Answering::Response).await }
    });
    let socket_app = app.clone();
    let respond_over_socket = make(move |request: Request| {
        let app = socket_app.clone();
        async move { responses::responses_socket(&app, request).await }
    });
    let compact_app = app.clone();
    let compact = make(move |request: Request| {
        let app = compact_app.clone();
        async move { responses::create(&app, request, Answering::Compaction).await }
    });
    let messages_app = app.clone();
    let messages = make(move |request: Request| {
        let app = messages_app.clone();
        async move { messages::messages(&app, request).await }
    });
    let count_app = app.clone();
    let count = make(move |request: Request| {
        let app = count_app.clone();
        async move { count_tokens::count_tokens(&app, request).await }
    });
    let stored = |wanted: Stored| {
        let app = app.clone();
        make(move |request: Request| {
            let app = app.clone();
            async move {
                let id = request.raw_path_param("id").map(decode).unwrap_or_default();
                responses::stored(&app, request, &id, wanted).await
            }
        })
    };
    let draw = |making: Making| {
        let app = app.clone();
        make(move |request: Request| {
            let app = app.clone();
            async move { images::create(&app, request, making).await }
        })
    };
    let later_app = app.clone();
    let later = make(move |request: Request| {
        let app = later_app.clone();
        async move {
            let id = request.raw_path_param("id").map(decode).unwrap_or_default();
            images::pictures(&app, request, &id).await
        }
    });
    let method_app = app.clone();
    let method = make(move |request: Request| {
        let app = method_app.clone();
        async move { images::method(&app, &request) }
    });
    let film = |called: Called<'static>| {
        let app = app.clone();
        make(move |request: Request| {
            let app = app.clone();
            async move { videos::create(&app, request, called).await }
        })
    };
    let remix_app = app.clone();
    let remix = make(move |request: Request| {
        let app = remix_app.clone();
        async move {
            let id = request.raw_path_param("id").map(decode).unwrap_or_default();
            videos::create(&app, request, Called::Remix(&id)).await
        }
    });
    let video = |wanted: Wanted| {
        let app = app.clone();
        make(move |request: Request| {
            let app = app.clone();
            async move {
                let id = request.raw_path_param("id").map(decode).unwrap_or_default();
                videos::one(&app, request, &id, wanted).await
            }
        })
    };
    let videos_app = app.clone();
    let list_videos = make(move |request: Request| {
        let app = videos_app.clone();
        async move { videos::list(&app, request).await }
    });
    let upscale = || {
        let app = app.clone();
        make(move |request: Request| {
            let app = app.clone();
            async move { videos::upscale(&app, &request) }
        })
    };
    let characters = || {
        let app = app.clone();
        make(move |request: Request| {
            let app = app.clone();
            async move { videos::characters(&app, &request) }
        })
    };
    let upload_app = app.clone();
    let upload = make(move |request: Request| {
        let app = upload_app.clone();
        async move { uploads::image(&app, request).await }
    });
    let kept = |kind: MediaKind| {
        let app = app.clone();
        let file = Arc::new(make(move |request: Request| {
            let app = app.clone();
            async move {
                let name = request.raw_path_param("name").map(decode).unwrap_or_default();
                files::file(&app, request, kind, &name).await
            }
        }));
        RouteMethod::new().get(file.clone()).head(file)
    };
    passed::add(Route::new(), app)
        .at(
            "/v1/images/generations",
            RouteMethod::new().post(draw(Making::Generations)),
        )
        .at("/v1/images/edits", RouteMethod::new().post(draw(Making::Edits)))
        .at(
            "/v1/videos",
            RouteMethod::new().post(film(Called::Videos)).get(list_videos),
        )
        .at(
            "/v1/videos/generations",
            RouteMethod::new().post(film(Called::Generations)),
        )
        .at("/v1/videos/edits", RouteMethod::new().post(film(Called::Edits)))
        .at(
            "/v1/videos/extensions",
            RouteMethod::new().post(film(Called::Extensions)),
        )
        .at("/v1/videos/upscale", RouteMethod::new().post(upscale()))
        .at("/v1/videos/characters", RouteMethod::new().post(characters()))
        .at("/v1/videos/characters/:id", RouteMethod::new().get(characters()))
        .at(
            "/v1/videos/:id",
            RouteMethod::new()
                .get(video(Wanted::State))
                .delete(video(Wanted::Deletion)),
        )
        .at("/v1/videos/:id/content", RouteMethod::new().get(video(Wanted::Content)))
        .at("/v1/videos/:id/remix", RouteMethod::new().post(remix))
        .at("/v1/videos/:id/upscale", RouteMethod::new().post(upscale()))
        .at("/v1/images/method", RouteMethod::new().get(method))
        .at("/v1/images/:id", RouteMethod::new().get(later))
        .at("/v1/uploads/image", RouteMethod::new().post(upload))
        .at("/v1/files/image/*name", kept(MediaKind::Image))
        .at("/v1/files/video/*name", kept(MediaKind::Video))
        .at("/v1/messages", RouteMethod::new().post(messages))
        .at("/v1/messages/count_tokens", RouteMethod::new().post(count))
        .at(
            "/v1/responses",
            RouteMethod::new().post(respond).get(respond_over_socket),
        )
        .at("/v1/responses/compact", RouteMethod::new().post(compact))
        .at(
            "/v1/responses/:id",
            RouteMethod::new()
                .get(stored(Stored::Read))
                .delete(stored(Stored::Delete)),
        )
        .at(
            "/v1/responses/:id/input_items",
            RouteMethod::new().get(stored(Stored::InputItems)),
        )
        .at("/v1/chat/completions", RouteMethod::new().post(chat))
        .at("/v1/chat/deferred-completion/:id", RouteMethod::new().get(deferred))
        .at("/v1/models", RouteMethod::new().get(list))
        .at("/v1/models/*id", RouteMethod::new().get(model))
        .at("/openapi.json", poem::get(make(|_| async { document() })))
        .at("/docs", assets::docs())
        .at("/", assets::to_panel())
        .at("/login", assets::page())
        .at("/chat", assets::page())
        .at("/admin", assets::to_panel())
        .at("/admin/ui/*file", assets::file())
        .at("/admin/*page", assets::page())
        .nest("/api/v1/admin", admin::routes(admin_parts(app)))
        .at("/livez", health::livez())
        .at("/readyz", health::readyz(app.readiness.clone()))
        .at("/health", health::health())
        .at("/metrics", metrics::endpoint(app.metrics.clone()))
        .around(|endpoint, request| async move {
            let id = request.extensions().get::<RequestId>().copied();
            let uri = request.uri().clone();
            let is_http1 = request.version() < Version::HTTP_2;
            let has_body = request.headers().contains_key(header::TRANSFER_ENCODING)
                || request
                    .headers()
                    .get(header::CONTENT_LENGTH)
                    .is_some_and(|length| length != "0");
            let mut response = match endpoint.call(request).await {
                Ok(response) => response,
                Err(error) => misdirected(&error, uri.path(), id.unwrap_or_else(RequestId::generate)),
            };
            if is_http1 && has_body && leaves_body_unread(response.status()) {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
        .map_to_response()
        .boxed()
}

/// The API's document, for programs of any origin.
fn document() -> Response {
    Response::builder()
        .content_type("application/json")
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")
        .body(crate::documents::openapi::served())
}

/// What the admin routes need.
fn admin_parts(app: &Arc<App>) -> Admin {
    let ops = app.ops();
    Admin {
        tokens: ops.tokens.clone(),
        keys: ops.keys.clone(),
        requests: ops.requests.clone(),
        cluster: ops.cluster.clone(),
        accounts: ops.accounts.clone(),
        ops,
        streams: admin::Streams::new(app.bus.clone(), app.leaving.clone()),
        clock: app.clock.clone(),
        storage: if app.nats.is_some() { "nats" } else { "local" },
        limits: admin::BodyLimits::default(),
        origin: Arc::new(|request| match request.extensions().get::<ClientOrigin>() {
            Some(origin) => admin::Origin {
                ip: origin.ip,
                https: origin.scheme == ClientScheme::Https,
            },
            None => admin::Origin {
                ip: std::net::Ipv4Addr::LOCALHOST.into(),
                https: false,
            },
        }),
    }
}

/// Whether an answer of this status may come before the request's body was read. The connection cannot serve another
/// request then, and the client has to be told, or it meets a closed connection at its next one.
fn leaves_body_unread(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        401 | 403 | 404 | 405 | 408 | 411 | 413 | 415 | 501 | 503
    )
}

/// The answer to a path or method that there is not.
fn misdirected(error: &poem::Error, path: &str, id: RequestId) -> Response {
    let error = match error.status() {
        StatusCode::NOT_FOUND => GatewayError::new(ErrorKind::NotFound, format!("There is no {path} here.")),
        StatusCode::METHOD_NOT_ALLOWED => GatewayError::new(
            ErrorKind::MethodNotAllowed,
            format!("{path} does not take this method."),
        ),
        status => GatewayError::internal(format!("{path}: {status}: {error}")),
    };
    error_of_path(&error, path, id)
}

/// An error in the dialect of whoever asks for this path.
fn error_of_path(error: &GatewayError, path: &str, id: RequestId) -> Response {
    if path.starts_with("/v1/messages") {
        return anthropic::error::error_response(error, &id.to_string());
    }
    error_response(error, &id.to_string())
}

/// A path segment without its percent-encoding; what does not decode stays as it came.
pub fn decode(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| raw.to_owned())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn a_model_id_may_come_encoded() {
        assert_eq!(decode("org%2Fmodel-1"), "org/model-1");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%ff"), "%ff");
    }
}
