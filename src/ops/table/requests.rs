//! Operations on the request log.

use grok2api_schemas::admin::requests::{RequestQuery, RequestRecord};
use grok2api_schemas::bus::admin::{RequestAsk, RequestListAsk};
use grok2api_schemas::bus::subjects::admin as subjects;

use super::{About, Operation, row};
use crate::engine::error::GatewayError;
use crate::ops::{ROWS, rows};

const LIST: About = About::look(
    subjects::REQUESTS_LIST,
    "Lists requests of clients, newest first, page by page.",
    ("GET", "/requests"),
);
const GET: About = About::look(
    subjects::REQUESTS_GET,
    "Shows one request: which tokens were looked at, why each was passed over, attempts, timings, usage, cost.",
    ("GET", "/requests/{id}"),
);

const ROLLUPS: About = About::look(
    subjects::REQUESTS_ROLLUPS,
    "Sums requests of up to 31 days by hour or day, and by model, key, provider, node or cause, over all nodes.",
    ("GET", "/rollups"),
);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        row(LIST, |ops, _, ask| async move { ops.requests.list(query(ask)?).await }),
        row(GET, |ops, _, ask: RequestAsk| async move {
            let record = ops.requests.get(ask.id).await?;
            Ok(RequestRecord::clone(&record))
        }),
        row(ROLLUPS, |ops, _, ask| async move { ops.requests.rollups(ask).await }),
    ]
}

fn query(ask: RequestListAsk) -> Result<RequestQuery, GatewayError> {
    Ok(RequestQuery {
        key: ask.key,
        model: ask.model,
        token: ask.token,
        outcomes: ask.outcomes,
        since_ms: ask.since_ms,
        until_ms: ask.until_ms,
        text: ask.text,
        cursor: ask.cursor,
        limit: rows(ask.limit, ROWS)?,
    })
}
