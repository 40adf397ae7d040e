//! The media download actor: one for each object that is on its way, gone when it has come. Whoever asks for the same
//! object meanwhile waits for the same actor.

use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use futures::StreamExt;
use grok2api_schemas::media::{KeptFile, MediaKind};
use http::StatusCode;
use tokio::sync::watch;

use super::disk::Incoming;
use super::index::FileKey;
use super::share::Turn;
use super::sniff::sniff;
use super::{Media, MediaError};
use crate::bus::BusError;
use crate::egress::guard::{FetchError, FetchErrorKind, Fetched, NamedBy, too_large};

/// Attempts at one object.
const ATTEMPTS: u32 = 5;
/// Wait before the second attempt; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// One object, attempts and all.
const WITHIN: Duration = Duration::from_secs(10 * 60);

/// What an actor brings.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// What an upstream made, from where it put it. `object` names it in the cluster, where other nodes may come upon it.
    Upstream {
        object: Option<String>,
        kind: MediaKind,
        url: String,
    },
    /// What another node has.
    Shared(FileKey),
}

impl Wanted {
    /// What tells it from others.
    pub(super) fn id(&self) -> String {
        match self {
            Wanted::Upstream {
                object: Some(object), ..
            } => object.clone(),
            Wanted::Upstream { url, .. } => url.clone(),
            Wanted::Shared((kind, name)) => format!("shared {}/{name}", kind.as_str()),
        }
    }
}

type Outcome = Result<KeptFile, MediaError>;

/// The actor.
pub(super) struct Download {
    media: Media,
    wanted: Wanted,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Download {
    pub(super) fn new(media: Media, wanted: Wanted) -> Download {
        Download {
            media,
            wanted,
            outcome: watch::Sender::new(None),
        }
    }
}

impl Actor for Download {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (media, wanted) = (self.media.clone(), self.wanted.clone());
        let work = async move {
            match tokio::time::timeout(WITHIN, bring(&media, &wanted)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(MediaError::fetch(FetchErrorKind::TooSlow, "it took too long")),
            }
        };
        ctx.spawn(work.into_actor(self).map(|outcome, actor, ctx| {
            if let Err(error) = &outcome {
                tracing::warn!(%error, "media could not be fetched");
            }
            actor.outcome.send_replace(Some(outcome));
            actor.media.forget_download(&actor.wanted.id());
            // Those who wait hold receivers of their own.
            ctx.stop();
        }));
    }
}

/// Asks for what comes of it.
#[derive(Message)]
#[rtype(result = "Outcome")]
pub(super) struct Await;

impl Handler<Await> for Download {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, _: Await, _: &mut Context<Self>) -> Self::Result {
        let mut outcome = self.outcome.subscribe();
        Box::pin(async move {
            match outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Err(MediaError::Gone)),
                Err(_) => Err(MediaError::Gone),
            }
        })
    }
}

async fn bring(media: &Media, wanted: &Wanted) -> Outcome {
    match wanted {
        Wanted::Shared(key) => pull(media, key).await,
        Wanted::Upstream {
            object: None,
            kind,
            url,
        } => fetch(media, *kind, url).await,
        Wanted::Upstream {
            object: Some(object),
            kind,
            url,
        } => {
            let share = media.share();
            match share.turn(object).await {
                Ok(Turn::Ours(key, revision)) => share.under((key, revision), fetch(media, *kind, url)).await,
                Ok(Turn::Done(file)) => {
                    if media.has(&(file.kind, file.name.clone())).await {
                        return Ok(file);
                    }
                    // It was evicted everywhere: as if nobody had come before us.
                    share.forget(object).await;
                    fetch(media, *kind, url).await
                }
                Err(error) => {
                    // Fetched twice is better than not at all.
                    tracing::warn!(%error, "a download of media is not coordinated with other nodes");
                    fetch(media, *kind, url).await
                }
            }
        }
    }
}

async fn pull(media: &Media, key: &FileKey) -> Outcome {
    let _place = media.place().await?;
    let bus = |error: BusError| MediaError::Bus(error.to_string());
    let Some((size, mut bytes)) = media.share().get(key).await.map_err(bus)? else {
        // Only what is known to lie with a node is asked for: names come from clients.
        if !media.share().is_with_nodes(key).await.map_err(bus)? {
            return Err(MediaError::Gone);
        }
        let incoming = media.fetch_from_peers(key).await?;
        let mime = sniff(incoming.head()).map_or("application/octet-stream", |file| file.mime);
        return media.take_in(incoming, key.clone(), mime).await;
    };
    if size > media.limits().max_object_bytes {
        return Err(too_large(media.limits().max_object_bytes).into());
    }
    let mut incoming = media.disk().begin().await?;
    while let Some(piece) = bytes.next().await {
        let piece = piece.map_err(|error| MediaError::Bus(error.to_string()))?;
        incoming.write(&piece).await?;
    }
    if incoming.size() != size {
        return Err(MediaError::Bus("a shared file ended early".to_owned()));
    }
    let mime = sniff(incoming.head()).map_or("application/octet-stream", |file| file.mime);
    media.take_in(incoming, key.clone(), mime).await
}

async fn fetch(media: &Media, kind: MediaKind, url: &str) -> Outcome {
    let _place = media.place().await?;
    let most = media.limits().max_object_bytes;
    let mut incoming = media.disk().begin().await?;
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        match some(media, url, most, &mut incoming).await {
            Ok(()) => break,
            Err(MediaError::Fetch(error)) if attempt < ATTEMPTS && error.is_passing() => {
                tracing::debug!(%error, attempt, "media did not come; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => return Err(error),
        }
    }
    media.settle(incoming, Some(kind)).await
}

/// Fetches what is missing.
async fn some(media: &Media, url: &str, most: u64, incoming: &mut Incoming) -> Result<(), MediaError> {
    let from = incoming.size();
    let fetched = media.fetcher().get(url, NamedBy::Upstream, from).await?;
    if !continues(&fetched, from) {
        incoming.restart().await?;
    }
    let mut body = fetched.body;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if incoming.size() + piece.len() as u64 > most {
            return Err(too_large(most).into());
        }
        incoming.write(&piece).await?;
    }
    Ok(())
}

/// Whether an answer goes on where we stopped.
fn continues(fetched: &Fetched, from: u64) -> bool {
    let range = fetched.headers.get(http::header::CONTENT_RANGE);
    fetched.status == StatusCode::PARTIAL_CONTENT
        && range
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

impl From<FetchError> for MediaError {
    fn from(error: FetchError) -> MediaError {
        MediaError::Fetch(error)
    }
}
