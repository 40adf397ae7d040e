//! Models that make pictures and films, asked over the chat front: the answer is what an assistant would say with them.

mod request;
mod speech;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grok2api_schemas::config::ModelKind;
use grok2api_schemas::ids::RequestId;
use http::HeaderMap;
use poem::{Body, Response};
use serde_json::{Map, Value};

use self::speech::Speech;
use super::images::{self, Handing, ImageRequest, Making as Drawn};
use super::request::ChatHead;
use super::videos::{self, Found, Making as Filmed, Standing, VideoRequest};
use crate::app::App;
use crate::engine::answer::Answer;
use crate::engine::ask::Caller;
use crate::engine::error::{ErrorKind, GatewayError, RefusalReason};
use crate::fronts::answering::respond;
use crate::fronts::media::links::Links;
use crate::fronts::openai::error::error_event;
use crate::http::arrival::Arrival;

const ROUTE: &str = "/v1/chat/completions";
/// How often a film that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest that a chat waits for a film.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Who asks what.
pub struct Chat<'a> {
    /// Of this request.
    pub arrival: &'a Arrival,
    /// Who asks.
    pub caller: &'a Caller,
    /// What the chat front read of it.
    pub head: &'a ChatHead,
    /// The whole of it.
    pub body: &'a Bytes,
    /// Headers of the request.
    pub headers: &'a HeaderMap,
    /// Makes links for the client.
    pub links: Links,
}

/// What the model makes, if it is nothing to read.
pub fn makes(app: &App, model: &str) -> Option<ModelKind> {
    let catalogue = app.catalogue.load();
    let kind = catalogue.resolve(model).entry.map(|entry| entry.kind);
    kind.filter(|kind| matches!(kind, ModelKind::Image | ModelKind::Video))
}

/// Answers it.
///
/// # Errors
/// What the client is told.
pub async fn answer(app: &Arc<App>, chat: Chat<'_>, kind: ModelKind) -> Result<Response, GatewayError> {
    let body: Map<String, Value> = serde_json::from_slice(chat.body).map_err(|error| {
        GatewayError::new(
            ErrorKind::InvalidBody,
            format!("The request body is not JSON: {error}."),
        )
    })?;
    let speech = Speech {
        id: format!("chatcmpl-{}", chat.arrival.id),
        created: chat.arrival.time_ms / 1000,
        model: chat.head.model.clone(),
    };
    match kind {
        ModelKind::Image => draw(app, &chat, &body, &speech).await,
        _ => film(app, chat, &body, speech).await,
    }
}

fn stream(app: &App, head: &ChatHead) -> bool {
    head.stream.unwrap_or(app.config().grok.stream)
}

async fn draw(
    app: &Arc<App>,
    chat: &Chat<'_>,
    body: &Map<String, Value>,
    speech: &Speech,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(chat.arrival, ROUTE, error);
    let prepared = async {
        let wish = request::wish(body)?;
        let members = request::drawing(body, &wish);
        let image = ImageRequest::read(&members)?;
        let making = match wish.pictures.is_empty() {
            true => Drawn::Generations,
            false => Drawn::Edits,
        };
        let sent = images::Sent {
            members,
            files: Vec::new(),
            bytes_in: chat.body.len() as u64,
        };
        let ask = images::prepare(
            app,
            chat.caller,
            chat.arrival,
            (making, ROUTE),
            &chat.links,
            &sent,
            &image,
            chat.headers,
        )
        .await?;
        Ok((ask, image))
    };
    let (ask, image) = prepared.await.inspect_err(refused)?;
    let answer = app.engine.run(ask).await?;
    let Answer::Whole { body: made, .. } = &answer else {
        return Ok(respond(answer, chat.arrival));
    };
    let made = images::Made::read(made)?;
    let cost = made.cost_ticks();
    let handing = Handing {
        app: app.clone(),
        links: chat.links.clone(),
        format: images::format(&app.config(), &image),
        created: speech.created,
    };
    let said: String = handing.pictures(made).await.iter().map(speech::picture).collect();
    let usage = speech::usage(cost);
    let mut response = respond(answer, chat.arrival);
    if stream(app, chat.head) {
        let wants_usage = chat.head.include_usage == Some(true);
        let events = [
            speech.begins(),
            speech.says(&said),
            speech.ends(wants_usage.then_some(&usage)),
        ]
        .concat();
        images::as_events(&mut response, Body::from(events));
    } else {
        response.set_body(speech.whole(&said, &usage));
    }
    Ok(response)
}

async fn film(
    app: &Arc<App>,
    chat: Chat<'_>,
    body: &Map<String, Value>,
    speech: Speech,
) -> Result<Response, GatewayError> {
    let refused = |error: &GatewayError| app.refused(chat.arrival, ROUTE, error);
    let prepared = async {
        let wish = request::wish(body)?;
        let mut video = VideoRequest::native(&request::filming(body, &wish)?, Filmed::Generations)?;
        let pin = videos::native(app, chat.caller, &chat.links, &mut video).await?;
        let bytes_in = chat.body.len() as u64;
        let ask = videos::prepare(
            app,
            chat.caller,
            chat.arrival,
            ROUTE,
            pin,
            bytes_in,
            chat.headers,
            &video,
        )
        .await?;
        Ok((ask, video))
    };
    let (ask, video) = prepared.await.inspect_err(refused)?;
    let answer = app.engine.run(ask).await?;
    let (found, answer) = videos::begun(app, chat.arrival, chat.caller, answer, video, None).await?;
    let config = app.config();
    let thinks = match body.get("thinking").and_then(Value::as_str) {
        Some("enabled") => true,
        Some("disabled") => false,
        _ => config.grok.thinking,
    };
    let showing = Showing {
        app: app.clone(),
        found,
        links: chat.links,
        preview: config.grok.video_poster_preview,
        keep_alive: Duration::from_secs(config.server.keep_alive_secs.max(1)),
        speech,
        wants_usage: chat.head.include_usage == Some(true),
        thinks,
    };
    let is_streamed = chat.head.stream.unwrap_or(config.grok.stream);
    drop(config);
    let mut response = respond(answer, chat.arrival);
    if is_streamed {
        images::as_events(&mut response, showing.stream());
    } else {
        let (said, usage) = showing.wait().await?;
        response.set_body(showing.speech.whole(&said, &usage));
    }
    Ok(response)
}

/// A film that a chat waits for.
struct Showing {
    app: Arc<App>,
    found: Found,
    links: Links,
    preview: bool,
    keep_alive: Duration,
    speech: Speech,
    wants_usage: bool,
    thinks: bool,
}

/// What a look found.
enum Seen {
    Going(u64),
    Done(String, Value),
}

impl Showing {
    async fn look(&self) -> Result<Seen, GatewayError> {
        let standing = match videos::look(&self.app, &self.found, RequestId::generate()).await {
            Ok(standing) => standing,
            // It is being made all the same.
            Err(error) if error.kind.is_retryable() => Standing::Pending(0),
            Err(error) => return Err(error),
        };
        let ended = match standing {
            Standing::Pending(progress) => return Ok(Seen::Going(progress)),
            Standing::Ended(ended) => ended,
        };
        let failed = |message: String, code: &'static str| {
            GatewayError::new(ErrorKind::RejectedByUpstream, message)
                .with_code(code)
                .because(RefusalReason::Upstream)
        };
        if let Some((code, message)) = videos::failure(&ended) {
            return Err(match code {
                "content_policy_violation" => failed(message, "content_policy_violation"),
                _ => failed(message, "video_failed"),
            });
        }
        let url = match &ended.file {
            Some(file) => self.links.to(file),
            None => {
                let url = ended.answer.pointer("/video/url").and_then(Value::as_str);
                url.unwrap_or_default().to_owned()
            }
        };
        let cost = ended.answer.pointer("/usage/cost_in_usd_ticks").and_then(Value::as_u64);
        Ok(Seen::Done(speech::film(&url, self.preview), speech::usage(cost)))
    }

    /// Waits for all of it.
    async fn wait(&self) -> Result<(String, Value), GatewayError> {
        let waiting = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if let Seen::Done(said, usage) = self.look().await? {
                    return Ok((said, usage));
                }
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(too_long(&self.found)),
        }
    }

    /// Tells how far it is, and then shows it.
    fn stream(self) -> Body {
        let began = tokio::time::Instant::now();
        let state = Some(Telling {
            told: None,
            opened: false,
            is_first: true,
            spoke: began,
        });
        let events = futures::stream::unfold((self, state), move |(showing, state)| async move {
            let mut state = state?;
            if state.is_first {
                state.is_first = false;
                let first = showing.speech.begins();
                return Some((Ok::<_, std::io::Error>(first), (showing, Some(state))));
            }
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let seen = match began.elapsed() > PATIENCE {
                    true => Err(too_long(&showing.found)),
                    false => showing.look().await,
                };
                match seen {
                    Ok(Seen::Going(progress)) => {
                        let news = showing.thinks && state.told != Some(progress);
                        if news {
                            state.told = Some(progress);
                            state.spoke = tokio::time::Instant::now();
                            let open = if std::mem::replace(&mut state.opened, true) {
                                ""
                            } else {
                                "<think>\n"
                            };
                            let said = showing.speech.says(&format!("{open}{}", speech::progress(progress)));
                            return Some((Ok(said), (showing, Some(state))));
                        }
                        if state.spoke.elapsed() >= showing.keep_alive {
                            state.spoke = tokio::time::Instant::now();
                            let comment = Bytes::from_static(b": keep-alive\n\n");
                            return Some((Ok(comment), (showing, Some(state))));
                        }
                    }
                    Ok(Seen::Done(said, usage)) => {
                        let close = if state.opened { "</think>\n" } else { "" };
                        let usage = showing.wants_usage.then_some(&usage);
                        let last = [
                            showing.speech.says(&format!("{close}{said}")),
                            showing.speech.ends(usage),
                        ]
                        .concat();
                        return Some((Ok(Bytes::from(last)), (showing, None)));
                    }
                    Err(error) => return Some((Ok(error_event(&error)), (showing, None))),
                }
            }
        });
        Body::from_bytes_stream(events)
    }
}

/// How far a stream has come.
struct Telling {
    told: Option<u64>,
    opened: bool,
    is_first: bool,
    spoke: tokio::time::Instant,
}

fn too_long(found: &Found) -> GatewayError {
    GatewayError::new(
        ErrorKind::UpstreamTimeout,
        format!(
            "The video is not done yet. It is being made all the same: poll GET /v1/videos/{}.",
            found.id
        ),
    )
    .because(RefusalReason::Upstream)
}
