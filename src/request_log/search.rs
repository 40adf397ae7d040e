//! Looking through the log, newest first: a bounded number of records at a time, so that no search holds a thread for
//! long however large the log is.

use std::sync::Arc;

use grok2api_actors::store::{Store, StoreError};
use grok2api_schemas::admin::requests::{RequestPage, RequestQuery, RequestRecord};
use grok2api_schemas::ids::RequestId;

use super::{RECORDS, decode, ring};

/// Most records that one page looks at.
const LOOK_AT: usize = 20_000;
/// Records read from the store at a time.
const CHUNK: usize = 256;

/// A page; `waiting` are the records that the store does not have yet, in any order.
pub(super) fn page(
    store: &Store,
    waiting: Vec<Arc<RequestRecord>>,
    query: &RequestQuery,
    total: u64,
) -> Result<RequestPage, StoreError> {
    let mut from = Vec::new();
    if let Some(until) = query.until_ms {
        from = ring::after(&ring::bound(until)).to_vec();
    }
    if let Some(cursor) = query.cursor {
        let mut behind = ring::key(cursor).to_vec();
        behind.push(0);
        from = from.max(behind);
    }
    let to = query.since_ms.map(|since| ring::after(&ring::bound(since)));

    let mut waiting: Vec<Arc<RequestRecord>> = waiting
        .into_iter()
        .filter(|record| {
            let key = ring::key(record.id);
            key[..] >= from[..] && to.as_ref().is_none_or(|to| key[..] < to[..])
        })
        .collect();
    // Newest last: they are taken from the end.
    waiting.sort_by_key(|record| record.id);

    let mut found = Found::new(query);
    loop {
        let rows = store.scan_range(RECORDS, &from, to.as_ref().map(|to| &to[..]), CHUNK)?;
        let end = rows.len() < CHUNK;
        for (key, value) in &rows {
            let Some(id) = ring::id_of(key) else { continue };
            while waiting.last().is_some_and(|record| record.id > id) {
                if let Some(record) = waiting.pop()
                    && found.is_full_after(RequestRecord::clone(&record))
                {
                    return Ok(found.finish(total, true));
                }
            }
            if waiting.last().is_some_and(|record| record.id == id) {
                // Written between our two looks.
                waiting.pop();
            }
            match decode(value) {
                Ok(record) => {
                    if found.is_full_after(record) {
                        return Ok(found.finish(total, true));
                    }
                }
                Err(error) => tracing::warn!(%id, %error, "request record is left out"),
            }
        }
        match rows.last() {
            Some((last, _)) if !end => {
                from = last.to_vec();
                from.push(0);
            }
            _ => break,
        }
    }
    while let Some(record) = waiting.pop() {
        if found.is_full_after(RequestRecord::clone(&record)) {
            return Ok(found.finish(total, true));
        }
    }
    Ok(found.finish(total, false))
}

struct Found<'a> {
    query: &'a RequestQuery,
    text: Option<String>,
    items: Vec<RequestRecord>,
    looked_at: usize,
    last: Option<RequestId>,
}

impl<'a> Found<'a> {
    fn new(query: &'a RequestQuery) -> Found<'a> {
        Found {
            query,
            text: query.text.as_deref().map(str::to_lowercase),
            items: Vec::new(),
            looked_at: 0,
            last: None,
        }
    }

    /// Looks at a record; true when the page is full, or when it was enough for one page.
    fn is_full_after(&mut self, record: RequestRecord) -> bool {
        self.looked_at += 1;
        self.last = Some(record.id);
        if matches(self.query, self.text.as_deref(), &record) {
            self.items.push(record);
        }
        self.items.len() >= self.query.limit.max(1) || self.looked_at >= LOOK_AT
    }

    fn finish(self, total: u64, more: bool) -> RequestPage {
        RequestPage {
            items: self.items,
            next_cursor: self.last.filter(|_| more).map(|id| id.to_string()),
            total,
        }
    }
}

fn matches(query: &RequestQuery, text: Option<&str>, record: &RequestRecord) -> bool {
    query.key.is_none_or(|key| record.key_id == Some(key))
        && query
            .model
            .as_deref()
            .is_none_or(|model| record.model == model || record.upstream_model == model)
        && query.token.is_none_or(|token| {
            record.attempts.iter().any(|attempt| attempt.token_id == token)
                || record.candidates.iter().any(|candidate| candidate.token_id == token)
        })
        && (query.outcomes.is_empty() || query.outcomes.contains(&record.outcome))
        && text.is_none_or(|text| contains(record, text))
}

fn contains(record: &RequestRecord, text: &str) -> bool {
    let has = |field: &str| field.to_lowercase().contains(text);
    has(&record.key_name)
        || has(&record.model)
        || has(&record.upstream_model)
        || has(&record.route)
        || has(&record.client_ip)
        || record.error_code.as_deref().is_some_and(has)
        || record.error_message.as_deref().is_some_and(has)
        || record.id.to_string().contains(text)
}
