//! Making an object: uploads are read whole, within bounds for each and for all at once, and checked before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use poem::{Request, Response};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::super::multipart::Parts;
use super::super::{json_response, must_be_open};
use super::{Family, batches, translated};
use crate::app::App;
use crate::bindings::Binding;
use crate::door::body::{BodyLimits, read_body};
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Notes};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::answering::respond;
use crate::fronts::members::Members;
use crate::fronts::pins::Maker;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

const MIB: u64 = 1 << 20;
/// How long an upload waits for room in memory.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Room in memory for an upload, and its body.
pub(in crate::fronts) struct Upload {
    pub body: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Reads the body of an upload of at most `mib` MiB, when there is room for it in memory.
///
/// # Errors
/// 413 when it is larger, 503 when too many uploads are under way, and those of reading.
pub(in crate::fronts) async fn read_upload(app: &App, request: &mut Request, mib: u64) -> Result<Upload, GatewayError> {
    let announced = request
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    // What is around the file takes a little.
    let largest = mib * MIB + MIB;
    let too_large = || {
        GatewayError::new(
            ErrorKind::TooLarge,
            format!("The upload is over the limit of {mib} MiB (xai.max_upload_mb)."),
        )
    };
    if announced.is_some_and(|bytes| bytes > largest) {
        return Err(too_large());
    }
    let room = room(app, announced.unwrap_or(largest).div_ceil(MIB)).await?;
    let limits = BodyLimits {
        max_bytes: usize::try_from(largest).unwrap_or(usize::MAX),
        ..app.body_limits()
    };
    let body = read_body(request, &limits).await.map_err(|error| {
        if error.kind == ErrorKind::TooLarge {
            too_large()
        } else {
            error
        }
    })?;
    Ok(Upload { body, _room: room })
}

/// Room in memory for so many MiB, or for as much as there is in all.
pub(super) async fn room(app: &App, mib: u64) -> Result<OwnedSemaphorePermit, GatewayError> {
    let mib = mib.clamp(1, app.uploads_mib());
    let waiting = app
        .uploads
        .clone()
        .acquire_many_owned(u32::try_from(mib).unwrap_or(u32::MAX));
    match tokio::time::timeout(ROOM_WAIT, waiting).await {
        Ok(Ok(room)) => Ok(room),
        _ => Err(
            GatewayError::new(ErrorKind::Overloaded, "Too many uploads are under way at the moment.")
                .retry_after(Some(1_000)),
        ),
    }
}

/// What is about to be made.
enum Made {
    /// A call of the upstream, with what was uploaded for it.
    Call(Box<Ask>, Option<Upload>),
    /// A batch in OpenAI's form.
    Translated(translated::Plan),
}

/// Answers `POST` of a family's root.
pub(super) async fn make(
    app: &Arc<App>,
    mut request: Request,
    arrival: &Arrival,
    family: &'static Family,
) -> Result<Response, GatewayError> {
    let config = app.config();
    let refused = |error: &GatewayError| app.refused(arrival, family.root, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        must_be_open(&config, family.root)?;
        let ask = family.ask(family.root, Method::POST, family.path().to_owned(), arrival, &caller);
        let Some((part, most)) = family.upload else {
            let body = read_body(&mut request, &app.body_limits()).await?;
            if translated::is_openai(&Members::read(&body)?) {
                return Ok(Made::Translated(translated::plan(app, &caller, arrival, &body).await?));
            }
            return Ok(Made::Call(
                Box::new(batches::begin(app, &caller, ask, body).await?),
                None,
            ));
        };
        let mib = config.xai.max_upload_mb;
        let upload = read_upload(app, &mut request, mib).await?;
        let parts = Parts::read(request.headers(), upload.body.clone()).await?;
        let files = parts.files(part, most)?;
        if files.iter().any(|file| file.content.len() as u64 > mib * MIB) {
            return Err(GatewayError::new(
                ErrorKind::TooLarge,
                format!("The file is over the limit of {mib} MiB (xai.max_upload_mb)."),
            ));
        }
        let ask = Ask {
            bytes_in: upload.body.len() as u64,
            body: upload.body.clone(),
            content_type: Some(parts.content_type.clone()),
            ..ask
        };
        Ok(Made::Call(Box::new(ask), Some(upload)))
    };
    let (ask, room) = match made.await.inspect_err(refused)? {
        Made::Call(ask, room) => (*ask, room),
        Made::Translated(plan) => {
            let making = plan.make(app.clone(), caller, arrival.clone(), family);
            return app
                .tracker
                .spawn(making)
                .await
                .map_err(|error| GatewayError::internal(error.to_string()))?;
        }
    };
    let maker = Maker::new(app, &caller, Some(family.kind), family.life_ms);
    let notes: Arc<dyn Notes> = maker.clone();
    let ask = Ask {
        is_repeatable: false,
        notes: Some(notes),
        ..ask
    };
    let answer = app.engine.run(ask).await?;
    drop(room);
    maker.written().await;
    let Answer::Whole { body, served_by, .. } = &answer else {
        return Ok(respond(answer, arrival));
    };
    if let (Some(token), Ok(shown)) = (served_by, serde_json::from_slice::<Shown>(body))
        && let Some(id) = shown.id(family)
    {
        let ends = shown.expires_at.map(|seconds| seconds.saturating_mul(1000));
        let binding = Binding {
            token: *token,
            owner: caller.owner(),
            expires_ms: ends.unwrap_or(arrival.time_ms + family.life_ms),
            answer: (!family.is_changing).then(|| body.to_vec()),
        };
        app.bindings
            .put(family.kind, &id, binding)
            .await
            .map_err(|error| GatewayError::internal(error.to_string()))?;
    }
    Ok(json_response(family.shown(body.clone()), arrival))
}

/// What an object says about itself.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    batch_id: Option<String>,
    #[serde(default)]
    voice_id: Option<String>,
    #[serde(default)]
    expires_at: Option<u64>,
}

impl Shown {
    fn id(&self, family: &Family) -> Option<String> {
        match family.id {
            "batch_id" => self.batch_id.clone(),
            "voice_id" => self.voice_id.clone(),
            _ => self.id.clone(),
        }
    }
}
