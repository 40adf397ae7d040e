//! What an operator can do with registration jobs.

mod order;
mod plan;

use std::sync::Arc;

use futures::future::BoxFuture;
use grok2api_actors::bus::{BusError, BusErrorKind};
use grok2api_actors::clock::Clock;
use grok2api_actors::jobs::Jobs;
use grok2api_schemas::admin::jobs::{
    JobAsk, JobDetail, JobGetAsk, JobItemView, JobListAsk, JobPage, JobResumeAsk, JobStartAsk, JobStopAsk, JobView,
};
use grok2api_schemas::config::RegisterConfig;
use grok2api_schemas::ids::{JobId, TokenId};
use grok2api_schemas::job::{JobCounts, JobItem, JobKind, JobRecord, JobSpec, JobStatus};

use order::{LONGEST_TITLE, title_of, too_long};

use super::audit::Actor;
use super::{MOST_ROWS, ROWS, rows, unavailable};
use crate::engine::error::{ErrorKind, GatewayError};

/// Failures that a job may have at least where nobody says how many.
const LEAST_ERRORS: u32 = 30;

/// A key of a team: its id, and its name where it is known.
pub type NamedKey = (String, String);

/// What starting a job asks of the rest of the node.
pub trait JobDesk: Send + Sync {
    /// `register.*`, as configured now.
    fn defaults(&self) -> RegisterConfig;
    /// The team of the management key.
    fn own_team(&self) -> BoxFuture<'_, Result<String, String>>;
    /// Active keys of a team whose name begins so.
    fn keys_named<'a>(&'a self, team: &'a str, begins: &'a str) -> BoxFuture<'a, Result<Vec<NamedKey>, String>>;
    /// Whether there is a Management API to ask.
    ///
    /// # Errors
    /// What must be set.
    fn check_management(&self) -> Result<(), String>;
    /// Whether there is a provisioner to ask.
    ///
    /// # Errors
    /// What must be set.
    fn check_provisioner(&self) -> Result<(), String>;
    /// The masked form of a token of the pool.
    fn masked(&self, token: TokenId) -> Option<String>;
}

/// Operations on registration jobs.
#[derive(Clone)]
pub struct JobOps {
    jobs: Jobs,
    desk: Arc<dyn JobDesk>,
    clock: Clock,
}

impl JobOps {
    /// Operations on these jobs.
    pub fn new(jobs: Jobs, desk: Arc<dyn JobDesk>, clock: Clock) -> JobOps {
        JobOps { jobs, desk, clock }
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// `InvalidField`.
    pub fn list(&self, ask: &JobListAsk) -> Result<JobPage, GatewayError> {
        let limit = rows(ask.limit, ROWS)?;
        let matching: Vec<Arc<JobRecord>> = self
            .jobs
            .all()
            .into_iter()
            .filter(|job| ask.statuses.is_empty() || ask.statuses.contains(&job.status))
            .collect();
        let total = matching.len() as u64;
        let mut rest = matching
            .into_iter()
            .filter(|job| ask.cursor.is_none_or(|cursor| job.id < cursor));
        let items: Vec<JobView> = rest.by_ref().take(limit).map(|job| self.view(&job)).collect();
        let has_more = rest.next().is_some();
        Ok(JobPage {
            next_cursor: items.last().filter(|_| has_more).map(|job| job.id),
            items,
            total,
        })
    }

    /// The newest job, whatever its status.
    pub fn newest(&self) -> Option<JobView> {
        self.jobs.all().first().map(|job| self.view(job))
    }

    /// One job with some of its items.
    ///
    /// # Errors
    /// `InvalidField`, `NotFound`, the store's.
    pub async fn get(&self, ask: &JobGetAsk) -> Result<JobDetail, GatewayError> {
        let limit = match ask.limit {
            None => ROWS,
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| *limit <= MOST_ROWS)
                .ok_or_else(|| GatewayError::field("limit", format!("`limit` must be 0 to {MOST_ROWS}.")))?,
        };
        let job = self.found(ask.id).await?;
        let found = self.jobs.items(&job, &ask.states, ask.cursor.unwrap_or(0), limit);
        let (items, next_cursor) = found.await.map_err(|error| unavailable(&error))?;
        Ok(JobDetail {
            job: self.view(&job),
            items: items.into_iter().map(|(index, item)| item_view(index, item)).collect(),
            next_cursor,
        })
    }

    /// Starts a job.
    ///
    /// # Errors
    /// `InvalidField` for what cannot be one or is not configured; the store's.
    pub async fn start(&self, actor: &Actor, ask: JobStartAsk) -> Result<JobView, GatewayError> {
        let defaults = self.desk.defaults();
        let id = JobId::generate();
        let (spec, items) = self.plan(id, &ask, &defaults).await?;
        let total = items.len() as u32;
        let title = match ask.title.as_deref().map(str::trim).filter(|title| !title.is_empty()) {
            Some(title) if title.chars().count() > LONGEST_TITLE => return Err(too_long("title")),
            Some(title) => title.to_owned(),
            None => title_of(&spec, total),
        };
        let concurrency = ask.concurrency.unwrap_or(defaults.register_threads);
        if !(1..=1_000).contains(&concurrency) {
            return Err(GatewayError::field("concurrency", "`concurrency` must be 1 to 1000."));
        }
        let now = self.clock.wall().0;
        let record = JobRecord {
            id,
            title,
            pool: ask.pool,
            status: JobStatus::Running,
            reason: String::new(),
            total,
            concurrency,
            max_errors: match ask.max_errors.unwrap_or(defaults.max_errors) {
                0 => LEAST_ERRORS.max(total.saturating_mul(5)),
                most => most,
            },
            max_runtime_ms: u64::from(ask.max_runtime_minutes.unwrap_or(defaults.max_runtime_minutes)) * 60_000,
            verify: ask.verify.unwrap_or(true),
            take_back: false,
            redo: 0,
            created_ms: now,
            created_by: actor.username.clone(),
            running_since_ms: now,
            ran_ms: 0,
            finished_ms: None,
            owner: None,
            owner_node: String::new(),
            epoch: 0,
            counts: JobCounts::default(),
            spec,
        };
        let made = self.jobs.create(record, items).await;
        let job = made.map_err(|error| unavailable(&error))?;
        actor.did("jobs.start", &[id], &job.title);
        Ok(self.view(&job))
    }

    /// Lets a job rest: what is under way comes to its end.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it does not run; the store's.
    pub async fn pause(&self, actor: &Actor, ask: &JobAsk) -> Result<JobView, GatewayError> {
        let now = self.clock.wall().0;
        let job = self
            .changed(ask.id, "It does not run", |job| {
                let runs = job.status == JobStatus::Running;
                if runs {
                    rest(job, now);
                    job.status = JobStatus::Paused;
                }
                runs
            })
            .await?;
        actor.did("jobs.pause", &[ask.id], "");
        Ok(job)
    }

    /// Lets a job go on that rests or has ended before its time.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if there is nothing to go on with; the store's.
    pub async fn resume(&self, actor: &Actor, ask: &JobResumeAsk) -> Result<JobView, GatewayError> {
        let now = self.clock.wall().0;
        let job = self
            .changed(ask.id, "There is nothing to go on with", |job| {
                let may = match job.status {
                    JobStatus::Paused | JobStatus::Failed | JobStatus::Stopped => true,
                    JobStatus::Completed => ask.failed && job.counts.failed > 0,
                    JobStatus::Running => ask.failed && job.counts.failed > 0,
                    JobStatus::Stopping | JobStatus::Revoking => false,
                };
                if may {
                    if job.status.is_over() {
                        // What it was given up for begins anew.
                        job.counts.errors = 0;
                        job.ran_ms = 0;
                    }
                    if ask.failed {
                        job.redo += 1;
                        job.counts.errors = 0;
                    }
                    job.status = JobStatus::Running;
                    job.take_back = false;
                    job.reason = String::new();
                    job.finished_ms = None;
                    if job.running_since_ms == 0 {
                        job.running_since_ms = now;
                    }
                }
                may
            })
            .await?;
        actor.did(
            "jobs.resume",
            &[ask.id],
            if ask.failed { "failed items as well" } else { "" },
        );
        Ok(job)
    }

    /// Ends a job. With `revoke` what it minted is deleted at the upstream and in the pool, also after its end.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it has ended and there is nothing to take back; the store's.
    pub async fn stop(&self, actor: &Actor, ask: &JobStopAsk) -> Result<JobView, GatewayError> {
        let now = self.clock.wall().0;
        let job = self
            .changed(ask.id, "It has ended", |job| {
                let mints = job.spec.kind() == JobKind::Mint;
                let takes_back = ask.revoke && mints;
                let may = !job.status.is_over() || takes_back;
                if may {
                    if job.status != JobStatus::Revoking {
                        rest(job, now);
                        job.status = JobStatus::Stopping;
                    }
                    job.take_back |= takes_back;
                    job.finished_ms = None;
                }
                may
            })
            .await?;
        actor.did("jobs.stop", &[ask.id], if ask.revoke { "and take back" } else { "" });
        Ok(job)
    }

    async fn found(&self, id: JobId) -> Result<Arc<JobRecord>, GatewayError> {
        let job = self.jobs.get(id).await.map_err(|error| unread(&error))?;
        job.ok_or_else(|| {
            GatewayError::new(
                ErrorKind::NotFound,
                "No such job. The last ones that have ended are kept (jobs.keep).",
            )
            .with_code("job_not_found")
        })
    }

    async fn changed(
        &self,
        id: JobId,
        unless: &str,
        change: impl FnMut(&mut JobRecord) -> bool,
    ) -> Result<JobView, GatewayError> {
        let changed = self.jobs.change(id, change).await.map_err(|error| unread(&error))?;
        match changed {
            Some(job) => Ok(self.view(&job)),
            None => {
                let job = self.found(id).await?;
                Err(GatewayError::new(
                    ErrorKind::Conflict,
                    format!("{unless}: the job is {}.", job.status.as_str()),
                )
                .with_code("job_status"))
            }
        }
    }

    fn view(&self, job: &JobRecord) -> JobView {
        let now = self.clock.wall().0;
        let runs_ms = match job.running_since_ms {
            0 => 0,
            since => now.saturating_sub(since),
        };
        JobView {
            id: job.id,
            title: job.title.clone(),
            kind: job.spec.kind(),
            action: match job.spec {
                JobSpec::Batch(action) => Some(action),
                _ => None,
            },
            pool: job.pool,
            status: job.status,
            reason: job.reason.clone(),
            total: job.total,
            counts: job.counts.clone(),
            concurrency: job.concurrency,
            max_errors: job.max_errors,
            max_runtime_ms: job.max_runtime_ms,
            created_ms: job.created_ms,
            created_by: job.created_by.clone(),
            ran_ms: job.ran_ms + runs_ms,
            finished_ms: job.finished_ms,
            node: job.owner_node.clone(),
            epoch: job.epoch,
            can_revoke: job.spec.kind() == JobKind::Mint && job.status != JobStatus::Revoking,
        }
    }
}

/// Why a job could not be read or changed. One of a kind that only a newer build knows stays as it is.
fn unread(error: &BusError) -> GatewayError {
    match error.kind {
        BusErrorKind::Corrupt => GatewayError::new(
            ErrorKind::Conflict,
            "This node's build does not know this kind of job. Ask a node of the newer build; nothing was changed.",
        )
        .with_code("job_of_newer_build")
        .with_detail(error.to_string()),
        _ => unavailable(error),
    }
}

/// The clock of a job's run stands still from here.
fn rest(job: &mut JobRecord, now: u64) {
    job.ran_ms += match job.running_since_ms {
        0 => 0,
        since => now.saturating_sub(since),
    };
    job.running_since_ms = 0;
}

fn item_view(index: u32, item: JobItem) -> JobItemView {
    JobItemView {
        index,
        line: item.line,
        state: item.state,
        name: item.name,
        token: item.masked,
        token_id: item.token,
        is_new: item.is_new,
        step: item.step,
        reason: item.reason,
        tries: item.tries,
    }
}
