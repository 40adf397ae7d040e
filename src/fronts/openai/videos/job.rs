//! A video that is being made, or was: what is known of it lies with its binding, so that every node can say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grok2api_actors::bus::BusError;
use grok2api_schemas::ids::RequestId;
use grok2api_schemas::media::{KeptFile, MediaKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::ask::Caller;
use crate::engine::direct::Direct;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::{members, pins};

/// What ids of OpenAI's dialect begin with; behind it stands the upstream's own.
const OPENAI: &str = "video_";
/// How long a video can be asked for.
pub const LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// How long a look waits for a video that is on its way here; then it is told that it is almost there.
const DOWNLOAD_WAIT: Duration = Duration::from_secs(20);

/// What was asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// As the client named it.
    pub model: String,
    /// What is to be seen.
    pub prompt: String,
    /// How long it is to be.
    pub seconds: u32,
    /// Width and height.
    pub size: String,
    /// Unix seconds.
    pub created: u64,
    /// The OpenAI id of the video that it was made of.
    pub remixed_from: Option<String>,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// The end of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Unix seconds.
    pub at: u64,
    /// What the upstream said.
    pub answer: Value,
    /// The film, where there is one.
    pub file: Option<KeptFile>,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// So many hundredths are done.
    Pending(u64),
    /// It is over.
    Ended(Ended),
}

/// A job that a caller may ask about.
#[derive(Clone)]
pub struct Found {
    /// The upstream's id.
    pub id: String,
    /// Who made it.
    pub binding: Binding,
    /// What is known.
    pub job: Job,
}

/// The id in OpenAI's dialect.
pub fn openai_id(id: &str) -> String {
    format!("{OPENAI}{id}")
}

/// The upstream's id, and whether the client speaks OpenAI's dialect.
pub fn of_client(id: &str) -> (&str, bool) {
    match id.strip_prefix(OPENAI) {
        Some(id) => (id, true),
        None => (id, false),
    }
}

/// There is no such video, or it is somebody else's.
pub fn not_found(id: &str) -> GatewayError {
    GatewayError::new(
        ErrorKind::NotFound,
        format!("Video with id '{}' not found.", members::clip(id)),
    )
    .with_code("video_not_found")
}

fn internal(error: &BusError) -> GatewayError {
    GatewayError::internal(error.to_string())
}

/// The caller's video of that id, in either dialect.
///
/// # Errors
/// 404 when there is none, or it is somebody else's.
pub async fn find(app: &App, caller: &Caller, client_id: &str) -> Result<Found, GatewayError> {
    let (id, _) = of_client(client_id);
    let binding = pins::of_caller(app, caller, ObjectKind::Video, id, || not_found(client_id)).await?;
    let job = read(&binding).ok_or_else(|| not_found(client_id))?;
    Ok(Found {
        id: id.to_owned(),
        binding,
        job,
    })
}

/// What a binding says of its video.
pub fn read(binding: &Binding) -> Option<Job> {
    serde_json::from_slice(binding.answer.as_deref()?).ok()
}

/// Writes down what is known.
///
/// # Errors
/// When the bus cannot be written.
pub async fn write(app: &App, id: &str, binding: &Binding, job: &Job) -> Result<(), GatewayError> {
    let answer = serde_json::to_vec(job).map_err(|error| GatewayError::internal(error.to_string()))?;
    let binding = Binding {
        answer: Some(answer),
        ..binding.clone()
    };
    let written = app.bindings.put(ObjectKind::Video, id, binding).await;
    written.map_err(|error| internal(&error))
}

/// How a video stands now: asked upstream until it is over, and brought here then.
///
/// # Errors
/// What the upstream says against it.
pub async fn look(app: &Arc<App>, found: &Found, request: RequestId) -> Result<Standing, GatewayError> {
    if let Some(ended) = &found.job.ended {
        return Ok(Standing::Ended(ended.clone()));
    }
    let path = format!("/videos/{}", found.id);
    let fetched = app
        .engine
        .direct(found.binding.token, &Direct::get(&path), request)
        .await?;
    // While it is made, every other answer is empty.
    let answer: Value = serde_json::from_slice(&fetched.body).unwrap_or(Value::Null);
    let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
    let is_over = fetched.status == 200 && !matches!(status, "pending" | "in_progress" | "queued");
    if !is_over || answer.is_null() {
        let progress = answer.get("progress").and_then(Value::as_u64).unwrap_or(0);
        return Ok(Standing::Pending(progress.min(99)));
    }
    let url = answer.pointer("/video/url").and_then(Value::as_str).unwrap_or_default();
    let has_film = !url.is_empty();
    let file = if !has_film {
        None
    } else {
        match bring(app, &found.id, url).await {
            Some(brought) => brought,
            None => return Ok(Standing::Pending(99)),
        }
    };
    let ended = Ended {
        at: app.clock.wall().0 / 1000,
        answer,
        file,
    };
    // What could not be brought here may be had next time: that is not written down as its end.
    if ended.file.is_some() || !has_film {
        let job = Job {
            ended: Some(ended.clone()),
            ..found.job.clone()
        };
        write(app, &found.id, &found.binding, &job).await?;
    }
    Ok(Standing::Ended(ended))
}

/// Fetches a film; nothing while it is on its way, `Some(None)` where it cannot be had.
async fn bring(app: &Arc<App>, id: &str, url: &str) -> Option<Option<KeptFile>> {
    let object = Some(format!("video {id}"));
    let coming = app.media.download(object, MediaKind::Video, url);
    match tokio::time::timeout(DOWNLOAD_WAIT, coming).await {
        // The actor goes on without us.
        Err(_) => None,
        Ok(brought) => Some(brought.ok()),
    }
}

/// The bytes of a video that is done; brought anew where they had to make room.
///
/// # Errors
/// 409 while it is being made, 400 when nothing came of it, 404 when it cannot be had any more.
pub async fn film(
    app: &Arc<App>,
    found: &Found,
    client_id: &str,
    request: RequestId,
) -> Result<grok2api_actors::media::Opened, GatewayError> {
    let gone = || {
        GatewayError::new(
            ErrorKind::NotFound,
            "This video is kept neither here nor by the upstream any more.",
        )
        .with_code("video_expired")
    };
    for look_again in [false, true] {
        let mut asked = found.clone();
        if look_again {
            asked.job.ended = None;
        }
        let ended = match look(app, &asked, request).await {
            Ok(Standing::Ended(ended)) => ended,
            Ok(Standing::Pending(_)) => {
                return Err(GatewayError::new(
                    ErrorKind::Conflict,
                    format!(
                        "Video '{}' is not ready yet: poll it until it is.",
                        members::clip(client_id)
                    ),
                )
                .with_code("video_not_ready"));
            }
            Err(_) if look_again => return Err(gone()),
            Err(error) => return Err(error),
        };
        let Some(file) = ended.file else {
            if ended.answer.get("status").and_then(Value::as_str) == Some("done") && is_shown(&ended.answer) {
                return Err(gone());
            }
            return Err(GatewayError::new(
                ErrorKind::RejectedByUpstream,
                format!("Nothing came of video '{}'.", members::clip(client_id)),
            )
            .with_code("video_failed"));
        };
        let read = app.media.read(file.kind, &file.name).await;
        match read.map_err(|error| GatewayError::internal(error.to_string()))? {
            Some(opened) => return Ok(opened),
            None => continue,
        }
    }
    Err(gone())
}

/// Whether moderation let a video pass.
pub fn is_shown(answer: &Value) -> bool {
    answer
        .pointer("/video/respect_moderation")
        .and_then(Value::as_bool)
        .unwrap_or(true)
}

/// Forgets a video and its film.
///
/// # Errors
/// When the bus cannot be written.
pub async fn forget(app: &App, found: &Found) -> Result<(), GatewayError> {
    let forgotten = app.bindings.forget(ObjectKind::Video, &found.id).await;
    forgotten.map_err(|error| internal(&error))?;
    if let Some(file) = found.job.ended.as_ref().and_then(|ended| ended.file.as_ref())
        && let Err(error) = app.media.delete(file.kind, &file.name).await
    {
        tracing::warn!(%error, "the film of a deleted video stays until it has to make room");
    }
    Ok(())
}

/// An answer in JSON.
pub fn json(status: u16, value: &Value) -> poem::Response {
    poem::Response::builder()
        .status(http::StatusCode::from_u16(status).unwrap_or_default())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(value.to_string()))
}
