//! Looking through the log, newest first: a bounded number of records at a time, so that no search holds a thread for
//! long however large the log is.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::store::{Store, StoreError};
use grok2api_schemas::admin::requests::{RequestPage, RequestQuery, RequestRecord};
use grok2api_schemas::ids::RequestId;

use super::{RECORDS, decode, ring};

/// Most records that one page looks at.
const LOOK_AT: usize = 20_000;
/// Blocks read from the store at a time.
const CHUNK: usize = 8;

/// A page; `waiting` are the records that the store does not have yet, in any order.
pub(super) fn page(
    store: &Store,
    waiting: Vec<Arc<RequestRecord>>,
    query: &RequestQuery,
    total: u64,
) -> Result<RequestPage, StoreError> {
    let before = query.until_ms.map(ring::first_id).into_iter().chain(query.cursor).min();
    let mut records = NewestFirst::new(store, before, query.since_ms);
    for record in waiting {
        records.take(RequestRecord::clone(&record));
    }
    let mut found = Found::new(query);
    while let Some(record) = records.next()? {
        if found.is_full_after(record) {
            return Ok(found.finish(total, true));
        }
    }
    Ok(found.finish(total, false))
}

/// The stored record of an id.
pub(super) fn find(store: &Store, id: RequestId) -> Result<Option<Arc<RequestRecord>>, StoreError> {
    let mut blocks = Blocks::new(
        store,
        ring::from(id).to_vec(),
        Some(ring::after(&ring::key_of(id)).to_vec()),
    );
    while let Some((_, block)) = blocks.next()? {
        if let Some(record) = decode(&block)?.into_iter().find(|record| record.id == id) {
            return Ok(Some(Arc::new(record)));
        }
    }
    Ok(None)
}

/// Blocks of a stretch of the store, newest first.
struct Blocks<'a> {
    store: &'a Store,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    rows: VecDeque<(RequestId, Bytes)>,
    is_end: bool,
}

impl<'a> Blocks<'a> {
    fn new(store: &'a Store, from: Vec<u8>, to: Option<Vec<u8>>) -> Blocks<'a> {
        Blocks {
            store,
            from,
            to,
            rows: VecDeque::new(),
            is_end: false,
        }
    }

    /// The newest id of the next block.
    fn peek(&mut self) -> Result<Option<RequestId>, StoreError> {
        if self.rows.is_empty() && !self.is_end {
            let rows = self.store.scan_range(RECORDS, &self.from, self.to.as_deref(), CHUNK)?;
            self.is_end = rows.len() < CHUNK;
            if let Some((last, _)) = rows.last() {
                self.from.clear();
                self.from.extend_from_slice(last);
                self.from.push(0);
            }
            let known = rows
                .into_iter()
                .filter_map(|(key, value)| Some((ring::id_of(&key)?, value)));
            self.rows.extend(known);
        }
        Ok(self.rows.front().map(|(newest, _)| *newest))
    }

    fn next(&mut self) -> Result<Option<(RequestId, Bytes)>, StoreError> {
        self.peek()?;
        Ok(self.rows.pop_front())
    }
}

/// Records of a stretch of time, newest first, out of blocks that overlap.
struct NewestFirst<'a> {
    blocks: Blocks<'a>,
    before: Option<RequestId>,
    since: Option<RequestId>,
    /// Out of the blocks that were opened.
    ready: BinaryHeap<ById>,
    last: Option<RequestId>,
}

struct ById(RequestRecord);

impl PartialEq for ById {
    fn eq(&self, other: &ById) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &ById) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &ById) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl<'a> NewestFirst<'a> {
    fn new(store: &'a Store, before: Option<RequestId>, since_ms: Option<u64>) -> NewestFirst<'a> {
        let from = before.map(|id| ring::from(id).to_vec()).unwrap_or_default();
        let to = since_ms.map(|since| ring::after(&ring::bound(since)).to_vec());
        NewestFirst {
            blocks: Blocks::new(store, from, to),
            before,
            since: since_ms.map(ring::first_id),
            ready: BinaryHeap::new(),
            last: None,
        }
    }

    /// Takes a record in, if it is of that time.
    fn take(&mut self, record: RequestRecord) {
        let is_wanted =
            self.before.is_none_or(|before| record.id < before) && self.since.is_none_or(|since| record.id >= since);
        if is_wanted {
            self.ready.push(ById(record));
        }
    }

    fn next(&mut self) -> Result<Option<RequestRecord>, StoreError> {
        loop {
            // What is newer than all blocks that are still closed comes next.
            let closed = self.blocks.peek()?;
            if let Some(ById(newest)) = self.ready.peek()
                && closed.is_none_or(|closed| newest.id > closed)
            {
                let Some(ById(record)) = self.ready.pop() else {
                    return Ok(None);
                };
                // One that was written between the looks at memory and store is there twice.
                if self.last != Some(record.id) {
                    self.last = Some(record.id);
                    return Ok(Some(record));
                }
                continue;
            }
            let Some((newest, block)) = self.blocks.next()? else {
                return Ok(None);
            };
            match decode(&block) {
                Ok(records) => records.into_iter().for_each(|record| self.take(record)),
                Err(error) => tracing::warn!(id = %newest, %error, "a block of request records is left out"),
            }
        }
    }
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
