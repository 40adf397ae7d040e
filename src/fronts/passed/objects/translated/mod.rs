//! Batches as OpenAI's clients ask for them (`input_file_id`, `endpoint`, `completion_window`) over the upstream's own, which
//! are other calls with other names. The file is read here, line by line, and its calls are added inline: so the key's
//! models, limits and budget hold on every one of them. What came of them is given out as two files of lines, which the
//! upstream does not have: they are made of its results when they are read.

mod lines;
mod results;
mod shown;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::meter::DayBucket;
use http::Method;
use poem::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::super::{ServiceDialect, json_response};
use super::{Family, batches, kept};
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::ask::{Ask, Caller};
use crate::engine::direct::Direct;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::members::{Members, clip};
use crate::fronts::pins;
use crate::http::arrival::Arrival;

pub(super) use lines::Endpoint;
pub(super) use results::{answer as results, named as file_named};
pub(super) use shown::{batch as as_openai, merged};

/// Calls that are added at once, as the upstream takes them.
const CALLS_AT_ONCE: usize = 1_000;
/// Bytes of them; the upstream takes 25 MB.
const BYTES_AT_ONCE: usize = 20_000_000;
/// Lines that are read before others get their turn.
const LINES_AT_ONCE: usize = 32;

/// What was asked for, as it is remembered with the batch.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Remembered {
    input_file_id: String,
    endpoint: Endpoint,
    completion_window: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<BTreeMap<String, String>>,
    /// When it was made, Unix seconds.
    created_at: u64,
}

impl Remembered {
    /// What is remembered of a batch that was asked for in this form.
    pub(super) fn of(binding: &Binding) -> Option<Remembered> {
        serde_json::from_value(kept(binding)?.get_mut("openai")?.take()).ok()
    }

    fn read(members: &Members<'_>, arrival: &Arrival) -> Result<Remembered, GatewayError> {
        let required = |name: &'static str, hint: &str| {
            let text = members.string(name)?.filter(|text| !text.is_empty());
            text.ok_or_else(|| GatewayError::field(name, format!("`{name}` is required{hint}.")).with_code("missing"))
        };
        let input_file_id = required(
            "input_file_id",
            ": upload a file of calls, one a line, at POST /v1/files. Or send `name` for a batch as xAI has it",
        )?;
        let named = required("endpoint", "")?;
        let endpoint = Endpoint::of(&named).ok_or_else(|| {
            GatewayError::field(
                "endpoint",
                format!(
                    "`endpoint` is {}, which no batch takes: it takes {}.",
                    clip(&named),
                    Endpoint::ALL.map(Endpoint::path).join(", ")
                ),
            )
        })?;
        let completion_window = required("completion_window", ": it is 24h")?;
        if completion_window != "24h" {
            return Err(GatewayError::field(
                "completion_window",
                "`completion_window` must be 24h.",
            ));
        }
        if members.raw("output_expires_after").is_some_and(|raw| raw != "null") {
            return Err(GatewayError::field(
                "output_expires_after",
                "`output_expires_after` cannot be set: results live as long as the upstream keeps the batch.",
            ));
        }
        Ok(Remembered {
            input_file_id,
            endpoint,
            completion_window,
            metadata: metadata(members)?,
            created_at: arrival.time_ms / 1000,
        })
    }
}

/// Up to 16 pairs, as OpenAI has it.
fn metadata(members: &Members<'_>) -> Result<Option<BTreeMap<String, String>>, GatewayError> {
    let Some(raw) = members.raw("metadata").filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let wrong = || {
        GatewayError::field(
            "metadata",
            "`metadata` must be an object of at most 16 texts: names up to 64 characters, values up to 512.",
        )
    };
    let pairs: BTreeMap<String, String> = serde_json::from_str(raw).map_err(|_| wrong())?;
    let fits = |(name, value): (&String, &String)| name.chars().count() <= 64 && value.chars().count() <= 512;
    if pairs.len() > 16 || !pairs.iter().all(fits) {
        return Err(wrong());
    }
    Ok(Some(pairs))
}

/// Whether a request for a batch is in OpenAI's form.
pub(super) fn is_openai(members: &Members<'_>) -> bool {
    members.kind("name").is_none()
        && (members.kind("completion_window").is_some() || members.kind("endpoint").is_some())
}

/// A batch that may be made: every line was read, and is the key's to ask for.
pub(super) struct Plan {
    wanted: Remembered,
    token: TokenId,
    pieces: Vec<Bytes>,
    buckets: Vec<(DayBucket, u64)>,
    ticks: u64,
    /// Of what the client sent.
    bytes_in: u64,
    _room: OwnedSemaphorePermit,
}

/// Reads what is asked for, and the file that it names.
pub(super) async fn plan(
    app: &Arc<App>,
    caller: &Caller,
    arrival: &Arrival,
    body: &Bytes,
) -> Result<Plan, GatewayError> {
    let wanted = Remembered::read(&Members::read(body)?, arrival)?;
    let id = wanted.input_file_id.clone();
    let not_found = || {
        GatewayError::new(ErrorKind::NotFound, format!("File '{}' not found.", clip(&id)))
            .with_code("file_not_found")
            .with_param("input_file_id")
    };
    let file = pins::of_caller(app, caller, ObjectKind::File, &id, not_found).await?;
    // The file, and its calls made of it.
    let most = app.config().xai.max_upload_mb;
    let mib = kept(&file)
        .and_then(|shown| shown["bytes"].as_u64())
        .map_or(most, |bytes| bytes >> 20);
    let room = super::make::room(app, mib.saturating_mul(2)).await?;
    let path = format!("/files/{id}/content");
    let read = Direct {
        largest: usize::try_from((most + 1) << 20).unwrap_or(usize::MAX),
        ..Direct::get(&path)
    };
    let content = app.engine.direct(file.token, &read, arrival.id).await?.body;
    let mut plan = Plan {
        wanted,
        token: file.token,
        pieces: Vec::new(),
        buckets: Vec::new(),
        ticks: 0,
        bytes_in: body.len() as u64,
        _room: room,
    };
    plan.read_lines(app, caller, &content).await?;
    for piece in &plan.pieces {
        batches::own_what_is_named(app, caller, &Members::read(piece)?, &file).await?;
    }
    Ok(plan)
}

impl Plan {
    async fn read_lines(&mut self, app: &App, caller: &Caller, content: &[u8]) -> Result<(), GatewayError> {
        let endpoint = self.wanted.endpoint;
        let (kind, bucket) = endpoint.call();
        let lines = lines::Lines::of(content, endpoint);
        let mut piece: Vec<String> = Vec::new();
        let mut bytes = 0;
        let mut count = 0_u64;
        for line in lines {
            let mut line = line?;
            let field = format!("input_file_id: line {}", line.number);
            let cost = batches::admit(app, caller, bucket, &mut line.body, &field)?;
            self.ticks = self.ticks.saturating_add(cost);
            let call = json!({"batch_request_id": line.custom_id, "batch_request": {kind: line.body}}).to_string();
            if bytes + call.len() > BYTES_AT_ONCE || piece.len() >= CALLS_AT_ONCE {
                self.pieces.push(whole(&std::mem::take(&mut piece)));
                bytes = 0;
            }
            bytes += call.len() + 1;
            piece.push(call);
            count += 1;
            if count.is_multiple_of(LINES_AT_ONCE as u64) {
                tokio::task::yield_now().await;
            }
        }
        if count == 0 {
            return Err(lines::empty());
        }
        self.pieces.push(whole(&piece));
        self.buckets = vec![(bucket, count)];
        Ok(())
    }

    /// Makes it. To be run to its end, whatever the client does: a batch with half of its calls is nobody's wish.
    pub(super) async fn make(
        self,
        app: Arc<App>,
        caller: Caller,
        arrival: Arrival,
        family: &'static Family,
    ) -> Result<Response, GatewayError> {
        let begin = Direct {
            method: Method::POST,
            body: Bytes::from(json!({"name": self.wanted.input_file_id}).to_string()),
            ..Direct::get(family.path())
        };
        let begun = app.engine.direct(self.token, &begin, arrival.id).await?.body;
        let id = serde_json::from_slice::<Value>(&begun)
            .ok()
            .and_then(|shown| shown["batch_id"].as_str().map(str::to_owned))
            .ok_or_else(|| GatewayError::new(ErrorKind::UpstreamFailed, "The upstream made a batch without an id."))?;
        let binding = Binding {
            token: self.token,
            owner: caller.owner(),
            expires_ms: arrival.time_ms + family.life_ms,
            answer: Some(
                json!({"charged": self.ticks, "openai": self.wanted})
                    .to_string()
                    .into_bytes(),
            ),
        };
        app.bindings
            .put(family.kind, &id, binding)
            .await
            .map_err(|error| GatewayError::internal(error.to_string()))?;
        if let Err(error) = self.add(&app, &caller, &arrival, family, &id).await {
            let path = format!("{}/{id}:cancel", family.path());
            let cancel = Direct {
                method: Method::POST,
                ..Direct::get(&path)
            };
            if let Err(failed) = app.engine.direct(self.token, &cancel, arrival.id).await {
                tracing::warn!(id, error = %failed, "a batch that was refused in part is not cancelled");
            }
            if let Err(failed) = app.bindings.forget(family.kind, &id).await {
                tracing::warn!(id, error = %failed, "a batch that was refused is still remembered");
            }
            return Err(error);
        }
        let path = format!("{}/{id}", family.path());
        let shown = match app.engine.direct(self.token, &Direct::get(&path), arrival.id).await {
            Ok(fetched) => fetched.body,
            // It is there; what becomes of it is seen later.
            Err(_) => begun,
        };
        let shown: Value = serde_json::from_slice(&shown).unwrap_or_default();
        let batch = as_openai(&id, &shown, Some(&self.wanted), arrival.time_ms);
        Ok(json_response(batch.to_string(), &arrival))
    }

    /// Adds the calls: the first ones as a call that the key pays for, all of them with it.
    async fn add(
        &self,
        app: &Arc<App>,
        caller: &Caller,
        arrival: &Arrival,
        family: &'static Family,
        id: &str,
    ) -> Result<(), GatewayError> {
        let path = format!("{}/{id}/requests", family.path());
        let ask = family.ask(family.root, Method::POST, path.clone(), arrival, caller);
        let mut pieces = self.pieces.iter();
        let ask = Ask {
            pin: Some(self.token),
            is_repeatable: false,
            body: pieces.next().cloned().unwrap_or_default(),
            bytes_in: self.bytes_in,
            buckets: self.buckets.clone(),
            expected_ticks: Some(self.ticks),
            dialect: Arc::new(ServiceDialect {
                id_member: None,
                ticks: self.ticks,
            }),
            ..ask
        };
        app.engine.run(ask).await?;
        for piece in pieces {
            let more = Direct {
                method: Method::POST,
                body: piece.clone(),
                ..Direct::get(&path)
            };
            // Teams may add a thousand times in half a minute.
            if let Err(error) = app.engine.direct(self.token, &more, arrival.id).await {
                if !matches!(error.kind, ErrorKind::UpstreamBusy | ErrorKind::PoolLimit) {
                    return Err(error);
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
                app.engine.direct(self.token, &more, arrival.id).await?;
            }
        }
        Ok(())
    }
}

fn whole(calls: &[String]) -> Bytes {
    Bytes::from(format!("{{\"batch_requests\":[{}]}}", calls.join(",")))
}
