//! Operations on registration jobs.

use grok2api_schemas::admin::jobs::{JobAsk, JobGetAsk, JobListAsk, JobResumeAsk, JobStopAsk};
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};

const LIST: About = About::look(
    subjects::JOBS_LIST,
    "Lists registration jobs, newest first.",
    ("GET", "/jobs"),
);
const GET: About = About::look(
    subjects::JOBS_GET,
    "Shows a registration job with its items: how each stands, and why.",
    ("GET", "/jobs/{id}"),
);
const START: About = About::change(
    subjects::JOBS_START,
    "Starts a registration job: a list, keys minted, rotated or revoked through the Management API, a provisioner's, or something done to many tokens.",
    ("POST", "/jobs"),
)
.within(60);
const PAUSE: About = About::change(
    subjects::JOBS_PAUSE,
    "Lets a registration job rest.",
    ("POST", "/jobs/{id}/pause"),
);
const RESUME: About = About::change(
    subjects::JOBS_RESUME,
    "Lets a registration job go on, with `failed` also with items that had failed.",
    ("POST", "/jobs/{id}/resume"),
);
const STOP: About = About::change(
    subjects::JOBS_STOP,
    "Ends a registration job, with `revoke` taking back the keys that it minted.",
    ("POST", "/jobs/{id}/stop"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(LIST, |ops, _, ask: JobListAsk| async move { ops.jobs.list(&ask) }),
        row(GET, |ops, _, ask: JobGetAsk| async move { ops.jobs.get(&ask).await }),
        row(
            START,
            |ops, actor, ask| async move { ops.jobs.start(&actor, ask).await },
        ),
        row(PAUSE, |ops, actor, ask: JobAsk| async move {
            ops.jobs.pause(&actor, &ask).await
        }),
        row(RESUME, |ops, actor, ask: JobResumeAsk| async move {
            ops.jobs.resume(&actor, &ask).await
        }),
        row(STOP, |ops, actor, ask: JobStopAsk| async move {
            ops.jobs.stop(&actor, &ask).await
        }),
    ]
}
