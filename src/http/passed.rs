//! Where the upstream's own API passes through.

use std::sync::Arc;

use poem::endpoint::make;
use poem::{Request, Response, Route, RouteMethod};

use super::decode;
use crate::app::App;
use crate::fronts::passed::about_key::{AboutKey, about_key};
use crate::fronts::passed::anything::anything;
use crate::fronts::passed::listings::{self, LISTINGS};
use crate::fronts::passed::modelled::{Modelled, modelled};
use crate::fronts::passed::objects::{FAMILIES, objects};
use crate::fronts::passed::search::search;
use crate::fronts::voice::realtime::realtime;
use crate::fronts::voice::secrets::client_secrets;
use crate::fronts::voice::speech::{Form, speech};
use crate::fronts::voice::transcription::transcription;

/// An endpoint of a function that takes the app and the request.
fn endpoint<F, Fut>(app: &Arc<App>, answer: F) -> impl poem::Endpoint<Output = Response> + use<F, Fut>
where
    F: Fn(Arc<App>, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let app = app.clone();
    make(move |request: Request| answer(app.clone(), request))
}

/// The routes, added to those that there are.
pub(super) fn add(mut routes: Route, app: &Arc<App>) -> Route {
    for (path, what) in [
        ("/v1/completions", Modelled::Completion),
        ("/v1/complete", Modelled::Complete),
        ("/v1/embeddings", Modelled::Embedding),
        ("/v1/tokenize-text", Modelled::Tokens),
    ] {
        let answer = endpoint(
            app,
            move |app, request| async move { modelled(&app, request, what).await },
        );
        routes = routes.at(path, RouteMethod::new().post(answer));
    }
    for (list, one) in LISTINGS {
        let all = endpoint(app, move |app, request| async move {
            listings::list(&app, request, list).await
        });
        let of_id = endpoint(app, move |app, request| async move {
            let id = request.raw_path_param("id").map(decode).unwrap_or_default();
            listings::one(&app, request, one, &id).await
        });
        routes = routes
            .at(list, RouteMethod::new().get(all))
            .at(format!("{list}/:id"), RouteMethod::new().get(of_id));
    }
    for (path, what) in [("/v1/api-key", AboutKey::Key), ("/v1/me", AboutKey::Me)] {
        let answer = endpoint(
            app,
            move |app, request| async move { about_key(&app, request, what).await },
        );
        routes = routes.at(path, RouteMethod::new().get(answer));
    }
    for family in &FAMILIES {
        let of = |rest: fn(&Request) -> String| {
            endpoint(app, move |app, request| async move {
                let rest = rest(&request);
                objects(&app, request, family, rest).await
            })
        };
        routes = routes
            .at(family.root, of(|_| String::new()))
            .at(
                format!("{}/:id", family.root),
                of(|request| request.raw_path_param("id").unwrap_or_default().to_owned()),
            )
            .at(
                format!("{}/:id/*action", family.root),
                of(|request| {
                    let part = |name| request.raw_path_param(name).unwrap_or_default();
                    format!("{}/{}", part("id"), part("action"))
                }),
            );
    }
    for (own, openai, is_speech) in [
        ("/v1/tts", "/v1/audio/speech", true),
        ("/v1/stt", "/v1/audio/transcriptions", false),
    ] {
        for (path, form) in [(own, Form::Own), (openai, Form::OpenAi)] {
            let answer = endpoint(app, move |app, request| async move {
                match is_speech {
                    true => speech(&app, request, form).await,
                    false => transcription(&app, request, form).await,
                }
            });
            routes = routes.at(path, RouteMethod::new().post(answer));
        }
    }
    let talk = endpoint(app, |app, request| async move { realtime(&app, request).await });
    let secrets = endpoint(app, |app, request| async move { client_secrets(&app, request).await });
    routes = routes
        .at("/v1/realtime", RouteMethod::new().get(talk))
        .at("/v1/realtime/client_secrets", RouteMethod::new().post(secrets));
    let search = endpoint(app, |app, request| async move { search(&app, request).await });
    let anything = endpoint(app, |app, request| async move { anything(&app, request).await });
    routes
        .at("/v1/documents/search", RouteMethod::new().post(search))
        .at("/v1/*path", anything)
}
