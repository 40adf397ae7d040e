//! Pages of the pool: which tokens a query names, in which order.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use grok2api_schemas::admin::page::{Cursor, Page, SortKey};
use grok2api_schemas::admin::tokens::{TokenQuery, TokenSort, TokenView};
use grok2api_schemas::ids::TokenId;
use grok2api_schemas::token::{TokenRecord, TokenState};

use super::cooling;
use super::entry::{Brief, Token};
use super::pool::Pool;
use super::search::Needle;
use crate::clock::WallMs;

impl Pool {
    /// One page of the tokens that a query names.
    pub fn list(&self, query: &TokenQuery) -> Page<TokenView> {
        let sought = Sought::of(query, self.0.clock.wall());
        let tokens = self.0.tokens.read();
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_SEARCHERS);
        let found = if sought.text.is_some() && tokens.len() > FEW_TO_SEARCH && workers > 1 {
            let edge = |n: usize| TokenId::from_bytes((u128::MAX / workers as u128 * n as u128).to_be_bytes());
            std::thread::scope(|scope| {
                let parts: Vec<_> = (0..workers)
                    .map(|n| {
                        let end = if n + 1 < workers {
                            Bound::Excluded(edge(n + 1))
                        } else {
                            Bound::Unbounded
                        };
                        let part = tokens.range((Bound::Included(edge(n)), end));
                        let sought = &sought;
                        scope.spawn(move || sought.among(part))
                    })
                    .collect();
                parts.into_iter().fold(Found::default(), |found, part| {
                    found.with(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                })
            })
        } else {
            sought.among(tokens.iter())
        };
        drop(tokens);
        let Found { total, mut rows, .. } = found;
        rows.sort_unstable_by(|a, b| sought.order(a, b));
        let more = rows.len() > sought.limit;
        rows.truncate(sought.limit);
        let next_cursor = rows.last().filter(|_| more).map(|(key, id)| {
            Cursor {
                key: key.clone(),
                id: id.to_string(),
            }
            .to_string()
        });
        let items = rows.iter().filter_map(|(_, id)| self.view(*id)).collect();
        Page {
            items,
            next_cursor,
            total,
        }
    }
}

/// From so many tokens on a text is sought by several threads: each look is into three places that no cache holds.
const FEW_TO_SEARCH: usize = if cfg!(test) { 100 } else { 10_000 };
const MOST_SEARCHERS: usize = 4;

/// Records that are looked into at a time.
const AT_ONCE: usize = 16;

type Row = (SortKey, TokenId);

/// What a query asks for.
struct Sought<'a> {
    query: &'a TokenQuery,
    text: Option<Needle>,
    cursor: Option<Row>,
    limit: usize,
    now: WallMs,
}

/// Rows that may be on the page, and how many there are in all.
#[derive(Default)]
struct Found {
    total: u64,
    rows: Vec<Row>,
    /// Once there are enough rows: what comes after it is only counted.
    last: Option<Row>,
}

impl Found {
    fn with(mut self, other: Found) -> Found {
        self.total += other.total;
        self.rows.extend(other.rows);
        self
    }
}

impl<'a> Sought<'a> {
    fn of(query: &'a TokenQuery, now: WallMs) -> Sought<'a> {
        let cursor = query
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.id.parse::<TokenId>().ok().map(|id| (cursor.key.clone(), id)));
        Sought {
            query,
            text: query.text.as_deref().and_then(Needle::of),
            cursor,
            limit: query.limit.clamp(1, usize::MAX / 4),
            now,
        }
    }

    fn order(&self, a: &Row, b: &Row) -> std::cmp::Ordering {
        if self.query.descending { b.cmp(a) } else { a.cmp(b) }
    }

    /// Every match is compared by a cheap key; only the rows of the page are made into views. What a glance tells comes
    /// first: of most tokens the record is never looked into.
    fn among<'t>(&self, tokens: impl Iterator<Item = (&'t TokenId, &'t Arc<Token>)>) -> Found {
        let query = self.query;
        let mut found = Found::default();
        let glanced = tokens.filter_map(|(id, token)| {
            let brief = token.brief();
            let is_of_pool = query.pools.is_empty() || query.pools.contains(&brief.pool());
            let is_match = is_of_pool && (query.states.is_empty() || stands_so(token, brief, &query.states, self.now));
            is_match.then_some((*id, &**token, brief))
        });
        if query.team.is_none() && self.text.is_none() {
            for (id, token, brief) in glanced {
                self.take(&mut found, id, token, brief, None);
            }
            return found;
        }
        let mut some: Vec<(TokenId, &Token, Brief)> = Vec::with_capacity(AT_ONCE);
        for one in glanced {
            some.push(one);
            if some.len() == AT_ONCE {
                self.read(&mut found, &some);
                some.clear();
            }
        }
        self.read(&mut found, &some);
        found
    }

    /// Looks into the records of some. Each step is taken for all of them before the next one: none of what they need is
    /// in a cache, and so it is waited for together.
    fn read(&self, found: &mut Found, some: &[(TokenId, &Token, Brief)]) {
        let records: Vec<_> = some.iter().map(|(_, token, _)| token.peek()).collect();
        std::hint::black_box(records.iter().map(|record| record.masked.len()).sum::<usize>());
        std::hint::black_box(records.iter().filter(|record| record.masked.starts_with('\0')).count());
        for ((id, token, brief), record) in some.iter().zip(&records) {
            let is_of_team = |team: &str| record.team.as_deref() == Some(team);
            if self.query.team.as_deref().is_none_or(is_of_team)
                && self.text.as_ref().is_none_or(|text| text.is_of(record))
            {
                self.take(found, *id, token, *brief, Some(record));
            }
        }
    }

    /// Counts a match, and keeps it if it may be on the page. `record`: its lock is held, and must not be taken again.
    fn take(&self, found: &mut Found, id: TokenId, token: &Token, brief: Brief, record: Option<&TokenRecord>) {
        found.total += 1;
        // Most come after the last one that is wanted, which two numbers tell.
        if let (TokenSort::Created, Some((SortKey::Number(last), _))) = (self.query.sort, &found.last) {
            let created = brief.created_ms();
            if (self.query.descending && created < *last) || (!self.query.descending && created > *last) {
                return;
            }
        }
        let sort = self.query.sort;
        let row = match record {
            Some(record) => (sort_key(token, record, sort), id),
            None if sort == TokenSort::Created => (SortKey::Number(brief.created_ms()), id),
            None => (sort_key(token, &token.peek(), sort), id),
        };
        let is_before = |other: &Row| self.order(&row, other) != std::cmp::Ordering::Greater;
        if self.cursor.as_ref().is_some_and(is_before) || found.last.as_ref().is_some_and(|last| !is_before(last)) {
            return;
        }
        found.rows.push(row);
        if found.rows.len() >= self.limit.saturating_mul(2).max(1024) {
            found.rows.select_nth_unstable_by(self.limit, |a, b| self.order(a, b));
            found.rows.truncate(self.limit + 1);
            found.last = found.rows.last().cloned();
        }
    }
}

/// Whether a token is in one of these states. Its record and its team are looked up only where they matter.
fn stands_so(token: &Token, brief: Brief, states: &[TokenState], now: WallMs) -> bool {
    if brief.is_off() {
        return states.contains(&TokenState::Disabled);
    }
    if states.iter().all(|state| *state == TokenState::Disabled) {
        return false;
    }
    let team = token.team.load();
    if team.is_none() && !brief.has_own_rest() {
        return states.contains(&TokenState::Active);
    }
    let team = team.as_ref().map(|team| team.record());
    states.contains(&cooling::state(&token.peek(), team.as_deref(), now).0)
}

fn sort_key(token: &Token, record: &TokenRecord, sort: TokenSort) -> SortKey {
    match sort {
        TokenSort::Created => SortKey::Number(record.created_ms),
        TokenSort::LastUsed => {
            let last_used = token.last_used_ms.load(Ordering::Relaxed);
            SortKey::Number(last_used.max(record.last_used_ms.unwrap_or(0)))
        }
        TokenSort::UseCount => {
            SortKey::Number(record.use_count + u64::from(token.unsaved_uses.load(Ordering::Relaxed)))
        }
        TokenSort::FailCount => SortKey::Number(u64::from(record.fail_count)),
        TokenSort::Label => SortKey::Text((*record.label).clone()),
    }
}
