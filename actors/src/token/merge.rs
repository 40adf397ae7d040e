//! One state out of two: what two nodes wrote about the same token or team at the same time. Pure, and the same whatever
//! the order: merging is commutative, associative and idempotent, so a message that comes late, twice or out of order
//! changes nothing that is newer.
//!
//! - **Rests** carry the *epoch* they began in. Clearing (an operator, or a probe that found the cause gone) begins a new
//!   epoch, and a rest of an older one does not count: no clock decides whether a clearing came after a rest. Within an
//!   epoch all rests count, and of two for the same thing the longer stands.
//! - **What an operator wrote** and **what a probe found** are each taken whole from whoever wrote last, by a stamp that
//!   grows with every change that its writer knew of (the record's version, then a tag of the writer).
//! - Counts and times only grow.

use std::collections::BTreeMap;

use grok2api_schemas::token::{Cooling, LearnedLimits, TeamRecord, TokenRecord};

use super::cooling::is_over;
use crate::clock::WallMs;

/// Bits of a stamp that tell its writer.
const TAG_BITS: u32 = 16;

/// The stamp of a change: above every stamp that the record carries, and different on every node.
pub fn stamp(version: u64, carried: u64, tag: u16) -> u64 {
    let counted = version.max(carried >> TAG_BITS) + 1;
    (counted << TAG_BITS) | u64::from(tag)
}

/// Of two rests for the same thing in one epoch, the one that counts: the longer.
fn longer(a: Option<&Cooling>, b: Option<&Cooling>, now: WallMs) -> Option<Cooling> {
    let running = |cooling: &&Cooling| !is_over(cooling, now);
    let ends = |cooling: &Cooling| cooling.until_ms.unwrap_or(u64::MAX);
    // All that tells two rests apart takes part, so that every node picks the same one.
    let rank = |c: &Cooling| {
        (
            ends(c),
            std::cmp::Reverse(c.since_ms),
            c.cause.as_str(),
            c.detail.clone(),
        )
    };
    match (a.filter(running), b.filter(running)) {
        (Some(a), Some(b)) => Some(if rank(b) > rank(a) { b } else { a }.clone()),
        (one, None) | (None, one) => one.cloned(),
    }
}

/// The rests for single models of one epoch, both nodes' together, in order of the models' names.
fn longer_each(a: &[(String, Cooling)], b: &[(String, Cooling)], now: WallMs) -> Vec<(String, Cooling)> {
    let mut stand: BTreeMap<&str, Cooling> = BTreeMap::new();
    for (model, rest) in a.iter().chain(b) {
        if let Some(rest) = longer(stand.get(model.as_str()), Some(rest), now) {
            stand.insert(model, rest);
        }
    }
    let named = stand.into_iter().map(|(model, rest)| (model.to_owned(), rest));
    named.collect()
}

/// The rests of one side, or of both: those of the newer epoch.
fn rests(a: (u32, Option<&Cooling>), b: (u32, Option<&Cooling>), now: WallMs) -> (u32, Option<Cooling>) {
    match a.0.cmp(&b.0) {
        std::cmp::Ordering::Greater => (a.0, longer(a.1, None, now)),
        std::cmp::Ordering::Less => (b.0, longer(b.1, None, now)),
        std::cmp::Ordering::Equal => (a.0, longer(a.1, b.1, now)),
    }
}

fn model_rests(
    a: (u32, &[(String, Cooling)]),
    b: (u32, &[(String, Cooling)]),
    now: WallMs,
) -> (u32, Vec<(String, Cooling)>) {
    match a.0.cmp(&b.0) {
        std::cmp::Ordering::Greater => (a.0, longer_each(a.1, &[], now)),
        std::cmp::Ordering::Less => (b.0, longer_each(b.1, &[], now)),
        std::cmp::Ordering::Equal => (a.0, longer_each(a.1, b.1, now)),
    }
}

/// What is known of a token when one node knows `a` and another `b`. The version is the higher of both.
pub fn tokens(a: &TokenRecord, b: &TokenRecord, now: WallMs) -> TokenRecord {
    let edited = if b.edited > a.edited { b } else { a };
    let found = if b.found > a.found { b } else { a };
    let (epoch, cooling) = rests((a.epoch, a.cooling.as_ref()), (b.epoch, b.cooling.as_ref()), now);
    let (model_epoch, model_cooling) = model_rests(
        (a.model_epoch, &a.model_cooling),
        (b.model_epoch, &b.model_cooling),
        now,
    );
    TokenRecord {
        id: a.id,
        pool: edited.pool,
        fingerprint: a.fingerprint,
        masked: a.masked.clone(),
        label: edited.label.clone(),
        note: edited.note.clone(),
        tags: edited.tags.clone(),
        switch: edited.switch,
        team: found.team.clone(),
        models: found.models.clone(),
        cooling: cooling.into(),
        model_cooling: model_cooling.into(),
        proxy: edited.proxy.clone(),
        created_ms: a.created_ms.min(b.created_ms),
        probed_ms: a.probed_ms.max(b.probed_ms),
        last_used_ms: a.last_used_ms.max(b.last_used_ms),
        use_count: a.use_count.max(b.use_count),
        fail_count: match a.epoch.cmp(&b.epoch) {
            std::cmp::Ordering::Greater => a.fail_count,
            std::cmp::Ordering::Less => b.fail_count,
            std::cmp::Ordering::Equal => a.fail_count.max(b.fail_count),
        },
        version: a.version.max(b.version),
        edited: edited.edited,
        found: found.found,
        epoch,
        model_epoch,
    }
}

/// What is known of a team when one node knows `a` and another `b`.
pub fn teams(a: &TeamRecord, b: &TeamRecord, now: WallMs) -> TeamRecord {
    let found = if b.found > a.found { b } else { a };
    let (epoch, cooling) = rests((a.epoch, a.cooling.as_ref()), (b.epoch, b.cooling.as_ref()), now);
    let (model_epoch, model_cooling) = model_rests(
        (a.model_epoch, &a.model_cooling),
        (b.model_epoch, &b.model_cooling),
        now,
    );
    // Each model's limits from whoever learnt them last: two nodes learn of different models at the same time.
    let mut learned: Vec<(String, LearnedLimits, u64)> = a.learned.clone();
    for (model, limits, at) in &b.learned {
        match learned.iter_mut().find(|(name, ..)| name == model) {
            Some(known) if known.2 < *at => *known = (model.clone(), *limits, *at),
            Some(_) => {}
            None => learned.push((model.clone(), *limits, *at)),
        }
    }
    learned.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    TeamRecord {
        team: a.team.clone(),
        models: found.models.clone(),
        zdr: found.zdr,
        cooling,
        model_cooling,
        learned,
        version: a.version.max(b.version),
        found: found.found,
        epoch,
        model_epoch,
    }
}

/// Whether two records of a token say the same, whoever counted their versions how.
pub fn same_token(a: &TokenRecord, b: &TokenRecord) -> bool {
    TokenRecord {
        version: 0,
        ..a.clone()
    } == TokenRecord {
        version: 0,
        ..b.clone()
    }
}

/// Whether two records of a team say the same.
pub fn same_team(a: &TeamRecord, b: &TeamRecord) -> bool {
    TeamRecord {
        version: 0,
        ..a.clone()
    } == TeamRecord {
        version: 0,
        ..b.clone()
    }
}
