//! Batches: the calls in them obey the key's models, limits and budget when they are added; what a batch did cost beyond
//! that is charged when a look at it shows it.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::clients::Identity;
use grok2api_schemas::meter::DayBucket;
use serde_json::{Value, json};

use super::super::ServiceDialect;
use super::{Family, kept};
use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::catalogue::usd_to_ticks;
use crate::engine::ask::{Ask, Caller};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::engine::expectations::input_tokens;
use crate::fronts::members::Members;
use crate::fronts::{asking, pins};

/// Calls that may be added at once.
const MAX_CALLS: usize = 1_000;
/// Objects that the calls added at once may name.
const MAX_NAMED: usize = 64;

/// The kinds of calls, as the upstream names them, and what they count as.
const CALLS: [(&str, DayBucket); 6] = [
    ("responses", DayBucket::Chat),
    ("chat_get_completion", DayBucket::Chat),
    ("image_generation", DayBucket::Image),
    ("image_edit", DayBucket::Image),
    ("video_generation", DayBucket::Video),
    ("video_extension", DayBucket::Video),
];

/// The call that makes a batch.
pub(super) async fn begin(app: &Arc<App>, caller: &Caller, ask: Ask, body: Bytes) -> Result<Ask, GatewayError> {
    let members = Members::read(&body)?;
    let mut pin = None;
    if let Some(file) = members.hint("input_file_id")? {
        // What is in the file cannot be seen from here.
        if let Caller::Key(Identity::Key(key)) = caller
            && (!key.allowed_models.is_empty() || key.limits.strict)
        {
            return Err(GatewayError::new(
                ErrorKind::Forbidden,
                "This key is limited to some models or to a strict budget: add the calls at POST \
                 /v1/batches/{id}/requests, where they can be seen, instead of in a file.",
            )
            .with_code("input_file_not_allowed")
            .with_param("input_file_id"));
        }
        let not_found = || {
            GatewayError::new(
                ErrorKind::NotFound,
                format!("File '{}' not found.", crate::fronts::members::clip(&file)),
            )
            .with_code("file_not_found")
            .with_param("input_file_id")
        };
        pin = Some(
            pins::of_caller(app, caller, ObjectKind::File, &file, not_found)
                .await?
                .token,
        );
    }
    Ok(Ask {
        bytes_in: body.len() as u64,
        body: body.clone(),
        pin,
        ..ask
    })
}

/// Calls that are added to a batch, and what they are expected to cost.
pub(super) async fn add(
    app: &Arc<App>,
    caller: &Caller,
    ask: Ask,
    id: &str,
    binding: &Binding,
) -> Result<Ask, GatewayError> {
    let members = Members::read(&ask.body)?;
    own_what_is_named(app, caller, &members, binding).await?;
    let mut body: Value =
        serde_json::from_slice(&ask.body).map_err(|error| GatewayError::internal(error.to_string()))?;
    let calls = body
        .get_mut("batch_requests")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| {
            GatewayError::field("batch_requests", "`batch_requests` must be a list of calls.").with_code("missing")
        })?;
    if calls.len() > MAX_CALLS {
        return Err(GatewayError::field(
            "batch_requests",
            format!(
                "`batch_requests` has {} calls; add at most {MAX_CALLS} at once.",
                calls.len()
            ),
        ));
    }
    let mut ticks = 0_u64;
    let mut buckets: Vec<(DayBucket, u64)> = Vec::new();
    for (at, call) in calls.iter_mut().enumerate() {
        let field = format!("batch_requests.{at}.batch_request");
        let (bucket, inner) = call_of(call, &field)?;
        let cost = admit(app, caller, bucket, inner, &field)?;
        ticks = ticks.saturating_add(cost);
        match buckets.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, units)) => *units += 1,
            None => buckets.push((bucket, 1)),
        }
    }
    note_charged(app, id, |charged| charged.saturating_add(ticks)).await?;
    Ok(Ask {
        body: Bytes::from(body.to_string()),
        buckets,
        expected_ticks: Some(ticks),
        dialect: Arc::new(ServiceDialect { id_member: None, ticks }),
        ..ask
    })
}

/// What a call of a batch counts as, and what it asks.
fn call_of<'a>(call: &'a mut Value, field: &str) -> Result<(DayBucket, &'a mut Value), GatewayError> {
    let wrong = |text: String| GatewayError::field(field.to_owned(), text);
    let request = call
        .get_mut("batch_request")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| wrong(format!("`{field}` must be an object.")))?;
    let mut found = None;
    for (name, inner) in request.iter_mut() {
        let Some((_, bucket)) = CALLS.iter().find(|(known, _)| known == name) else {
            return Err(wrong(format!(
                "`{field}` names {name}, which no batch takes: it takes {}.",
                CALLS.map(|(name, _)| name).join(", ")
            )));
        };
        if found.replace((*bucket, inner)).is_some() {
            return Err(wrong(format!("`{field}` holds more than one call.")));
        }
    }
    found.ok_or_else(|| wrong(format!("`{field}` holds no call.")))
}

/// A call of a batch: its model is the key's to use, and is named as the upstream knows it. Answers what it is expected to
/// cost.
pub(super) fn admit(
    app: &App,
    caller: &Caller,
    bucket: DayBucket,
    inner: &mut Value,
    field: &str,
) -> Result<u64, GatewayError> {
    let bytes = inner.to_string().len();
    let model = inner
        .get("model")
        .and_then(Value::as_str)
        .filter(|model| !model.is_empty())
        .ok_or_else(|| {
            GatewayError::field(field.to_owned(), format!("Name a model: `{field}` has none.")).with_code("missing")
        })?
        .to_owned();
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&model);
    asking::may_use(caller, &model, resolved.upstream_name)?;
    let settings = app.engine.settings();
    let number = |name: &str| inner.get(name).and_then(Value::as_u64);
    let count = number("n").unwrap_or(1).clamp(1, 128);
    let entry = resolved.entry;
    let cost = match bucket {
        DayBucket::Image => entry
            .and_then(|entry| entry.price_image)
            .map(|price| usd_to_ticks(price).saturating_mul(count)),
        DayBucket::Video => entry
            .and_then(|entry| entry.price_second)
            .map(|price| usd_to_ticks(price).saturating_mul(number("duration").unwrap_or(8).clamp(1, 60))),
        DayBucket::Chat | DayBucket::Heavy => {
            let stated = ["max_completion_tokens", "max_tokens", "max_output_tokens"]
                .iter()
                .find_map(|name| number(name));
            let cap = entry.and_then(|entry| entry.max_output);
            let is_strict = matches!(caller, Caller::Key(Identity::Key(key)) if key.limits.strict);
            let output = stated
                .or(cap.filter(|_| is_strict))
                .unwrap_or(settings.default_reservation_tokens)
                .saturating_mul(count);
            catalogue.estimate_cost_ticks(resolved.canonical, input_tokens(bytes), output, 0)
        }
    };
    let name = resolved.upstream_name.to_owned();
    if let Some(inner) = inner.as_object_mut() {
        inner.insert("model".to_owned(), name.into());
    }
    Ok(cost.unwrap_or(settings.default_reservation_ticks))
}

/// Files and responses that the calls name are the caller's, and lie with the batch's team.
pub(super) async fn own_what_is_named(
    app: &Arc<App>,
    caller: &Caller,
    members: &Members<'_>,
    binding: &Binding,
) -> Result<(), GatewayError> {
    let mut named: Vec<(ObjectKind, String)> = Vec::new();
    members.strings("batch_requests", |name, text| match name {
        "file_id" => named.push((ObjectKind::File, text.to_owned())),
        "previous_response_id" => named.push((ObjectKind::Response, text.to_owned())),
        _ => {}
    });
    if named.len() > MAX_NAMED {
        return Err(GatewayError::field(
            "batch_requests",
            format!("The calls name more than {MAX_NAMED} files and responses; add them in several goes."),
        ));
    }
    for (kind, id) in named {
        let shown = crate::fronts::members::clip(&id).to_owned();
        let not_found = || {
            GatewayError::new(ErrorKind::NotFound, format!("'{shown}' not found."))
                .with_code("object_not_found")
                .with_param("batch_requests")
        };
        let found = pins::of_caller(app, caller, kind, &id, not_found).await?;
        if !pins::same_team(app, found.token, binding.token) {
            return Err(GatewayError::field(
                "batch_requests",
                format!(
                    "'{shown}' lies with another upstream team than the batch. Upload it again, or make a new batch."
                ),
            )
            .with_code("objects_of_different_teams"));
        }
    }
    Ok(())
}

/// USD ticks that were charged for a batch.
fn charged(binding: &Binding) -> u64 {
    kept(binding).and_then(|kept| kept["charged"].as_u64()).unwrap_or(0)
}

/// Changes what was charged for a batch, whatever other nodes do at the time; answers what was added.
async fn note_charged(app: &App, id: &str, change: impl Fn(u64) -> u64) -> Result<u64, GatewayError> {
    let internal = |error: grok2api_actors::bus::BusError| GatewayError::internal(error.to_string());
    // Each round that is lost was won by another: this ends.
    loop {
        let found = app
            .bindings
            .get_for_change(ObjectKind::Batch, id)
            .await
            .map_err(internal)?;
        let Some((mut binding, revision)) = found else {
            return Ok(0);
        };
        let (before, after) = (charged(&binding), change(charged(&binding)));
        if before == after {
            return Ok(0);
        }
        let mut remembered = kept(&binding).unwrap_or_else(|| json!({}));
        remembered["charged"] = after.into();
        binding.answer = Some(remembered.to_string().into_bytes());
        let is_written = app
            .bindings
            .change(ObjectKind::Batch, id, binding, revision)
            .await
            .map_err(internal)?;
        if is_written {
            return Ok(after.saturating_sub(before));
        }
    }
}

/// Takes back what was noted for calls that were refused: it was not charged, and must not stand for what others cost.
/// Where the upstream's answer was lost, the calls may be there and are charged a second time when a look shows them.
pub(super) async fn not_added(app: &Arc<App>, id: &str, ticks: u64) {
    if let Err(error) = note_charged(app, id, |charged| charged.saturating_sub(ticks)).await {
        tracing::warn!(%error, id, "what refused calls of a batch would have cost is still noted as charged");
    }
}

/// Charges what a look at a batch shows beyond what was charged.
pub(super) async fn settle(app: &Arc<App>, caller: &Caller, id: &str, shown: &[u8]) {
    let Ok(shown) = serde_json::from_slice::<Value>(shown) else {
        return;
    };
    let Some(total) = shown["cost_breakdown"]["total_cost_usd_ticks"].as_u64() else {
        return;
    };
    match note_charged(app, id, |charged| charged.max(total)).await {
        Ok(0) => {}
        Ok(more) => app.engine.charge(caller, more).await,
        Err(error) => tracing::warn!(%error, id, "what a batch did cost could not be charged"),
    }
}

impl Family {
    /// Whether what it costs is known only by looking at it.
    pub(super) fn is_settled_by_looking(&self) -> bool {
        self.kind == ObjectKind::Batch
    }
}
