//! Registration jobs, and the older project's routes that stand for them.

use grok2api_schemas::admin::jobs::{JobAsk, JobGetAsk, JobListAsk, JobStopAsk, JobView};
use grok2api_schemas::ids::JobId;
use grok2api_schemas::job::{ItemState, JobStatus};
use serde_json::{Value, json};

use super::body;
use super::call::{Answer, Call, Guarded, json as answer};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::ops::input;

/// `GET /jobs`, newest first.
pub async fn list(guarded: Guarded) -> Answer {
    let query = &guarded.call.query;
    let ask = JobListAsk {
        statuses: query.words(
            "status",
            &format!("of {}", words(JobStatus::ALL.map(JobStatus::as_str))),
            JobStatus::parse,
        )?,
        cursor: query.parsed::<JobId>("cursor", "`next_cursor` of the page before")?,
        limit: Some(query.rows()? as u64),
    };
    answer(&guarded.call.admin.ops.jobs.list(&ask)?)
}

/// `GET /jobs/{id}` with some of its items.
pub async fn get(guarded: Guarded) -> Answer {
    let call = &guarded.call;
    let query = &call.query;
    let state = |word: &str| serde_json::from_value::<ItemState>(Value::String(word.to_owned())).ok();
    let expected = "of pending, obtaining, obtained, done, failed, skipped, revoked";
    let ask = JobGetAsk {
        id: id_of(call)?,
        states: query.words("state", expected, state)?,
        cursor: query.parsed::<u32>("cursor", "`next_cursor` of the page before")?,
        limit: query.parsed::<u64>("limit", "a whole number from 0 to 1000")?,
    };
    answer(&call.admin.ops.jobs.get(&ask).await?)
}

/// `POST /jobs`.
pub async fn start(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.list).await?;
    answer(&call.admin.ops.jobs.start(&actor, body::json(&bytes)?).await?)
}

/// `POST /jobs/{id}/pause`.
pub async fn pause(guarded: Guarded) -> Answer {
    let ask = JobAsk {
        id: id_of(&guarded.call)?,
    };
    answer(&guarded.call.admin.ops.jobs.pause(&guarded.actor, &ask).await?)
}

/// `POST /jobs/{id}/resume`.
pub async fn resume(guarded: Guarded) -> Answer {
    let (ask, guarded) = with_id(guarded).await?;
    answer(&guarded.ops.jobs.resume(&guarded.actor, &input::of_object(ask)?).await?)
}

/// `POST /jobs/{id}/stop`.
pub async fn stop(guarded: Guarded) -> Answer {
    let (ask, guarded) = with_id(guarded).await?;
    answer(&guarded.ops.jobs.stop(&guarded.actor, &input::of_object(ask)?).await?)
}

/// Who acts, on what.
struct Acting {
    ops: crate::ops::Ops,
    actor: crate::ops::audit::Actor,
}

/// The body with the id of the path in it.
async fn with_id(guarded: Guarded) -> Result<(serde_json::Map<String, Value>, Acting), GatewayError> {
    let id = id_of(&guarded.call)?;
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let mut object = body::object(&bytes)?;
    object.insert("id".to_owned(), id.to_string().into());
    let ops = call.admin.ops.clone();
    Ok((object, Acting { ops, actor }))
}

fn id_of(call: &Call) -> Result<JobId, GatewayError> {
    call.path_id
        .parse()
        .map_err(|_| GatewayError::field("id", "The path must name a job, such as job_0190…."))
}

fn words<const N: usize>(words: [&str; N]) -> String {
    words.join(", ")
}

/// `POST /tokens/auto-register`: the older project signed accounts up here. What can stand for it is a provisioner of the
/// operator's own; without one, nothing does.
pub async fn older_start(guarded: Guarded) -> Answer {
    let Guarded { call, actor, .. } = guarded;
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let sent = body::object(&bytes)?;
    let jobs = &call.admin.ops.jobs;
    let is_running = |job: &JobView| !job.status.is_over() && job.status != JobStatus::Paused;
    if let Some(job) = jobs.newest().filter(is_running) {
        return Err(GatewayError::new(
            ErrorKind::Conflict,
            format!("Auto registration already running ({}).", job.id),
        ));
    }
    // As there: what is no number counts as not sent.
    let count = |name: &str| sent.get(name).and_then(Value::as_u64).filter(|count| *count > 0);
    let mut ask = json!({"title": "auto-register", "provision": {"count": count("count")}});
    ask["concurrency"] = count("concurrency").into();
    ask["pool"] = sent.get("pool").cloned().unwrap_or(Value::Null);
    let ask = body::json(ask.to_string().as_bytes())?;
    match jobs.start(&actor, ask).await {
        Ok(job) => answer(&json!({"status": "started", "job": older_job(&job)})),
        Err(error) if error.public_code() == "not_configured" => Err(GatewayError::new(
            ErrorKind::NotOffered,
            "This gateway does not sign up accounts. It takes credentials that their owner brings: \
             POST /api/v1/admin/jobs with a list, keys of your own team through the Management API, or a provisioner of \
             yours (jobs.provisioner_url).",
        )),
        Err(error) => Err(error),
    }
}

/// `GET /tokens/auto-register/status`.
pub async fn older_status(guarded: Guarded) -> Answer {
    match older_found(&guarded).await? {
        Some(job) => answer(&older_job(&job)),
        None => answer(&json!({"status": "idle"})),
    }
}

/// `POST /tokens/auto-register/stop`.
pub async fn older_stop(guarded: Guarded) -> Answer {
    if let Some(job) = older_found(&guarded).await?.filter(|job| !job.status.is_over()) {
        let ask = JobStopAsk {
            id: job.id,
            revoke: false,
        };
        guarded.call.admin.ops.jobs.stop(&guarded.actor, &ask).await?;
    }
    answer(&json!({"status": "stopping"}))
}

/// The job that is named, or the newest.
async fn older_found(guarded: &Guarded) -> Result<Option<JobView>, GatewayError> {
    let jobs = &guarded.call.admin.ops.jobs;
    match guarded.call.query.text("job_id") {
        None => Ok(jobs.newest()),
        Some(text) => {
            let none = || GatewayError::new(ErrorKind::NotFound, "Job not found").with_code("job_not_found");
            let id: JobId = text.parse().map_err(|_| none())?;
            let ask = JobGetAsk {
                id,
                states: Vec::new(),
                cursor: None,
                limit: Some(0),
            };
            Ok(Some(jobs.get(&ask).await?.job))
        }
    }
}

/// A job as scripts of the older project read it (`seed-surface.md` §4.9).
fn older_job(job: &JobView) -> Value {
    let counts = &job.counts;
    let early = job.status == JobStatus::Completed && counts.done < job.total;
    let status = match job.status {
        JobStatus::Running if job.epoch == 0 => "starting",
        JobStatus::Running | JobStatus::Paused => "running",
        JobStatus::Stopping | JobStatus::Revoking => "stopping",
        JobStatus::Stopped => "stopped",
        JobStatus::Completed if early => "error",
        JobStatus::Completed => "completed",
        JobStatus::Failed => "error",
    };
    let last = counts.reasons.first().map(|reason| reason.reason.clone());
    let error = match job.status {
        JobStatus::Failed => Some(job.reason.clone()),
        _ if early => Some(format!("Registration ended early ({}/{}).", counts.done, job.total)),
        _ => None,
    };
    json!({
        "job_id": job.id, "status": status, "pool": job.pool.map_or("ssoBasic", |pool| pool.as_str()), "total": job.total,
        "concurrency": job.concurrency, "completed": counts.done, "added": counts.added, "errors": counts.errors,
        "error": error, "last_error": last, "started_at": job.created_ms, "finished_at": job.finished_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_words_are_every_state() {
        let known = [
            "pending",
            "obtaining",
            "obtained",
            "done",
            "failed",
            "skipped",
            "revoked",
        ];
        for word in known {
            assert!(
                serde_json::from_value::<ItemState>(Value::String(word.to_owned())).is_ok(),
                "{word}"
            );
        }
    }
}
