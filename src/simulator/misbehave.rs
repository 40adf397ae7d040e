//! Misbehaviour on command: rules that a test posts (or a scenario holds), and magic prompts, so that a client can
//! provoke it through whatever stands in between.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;
use grok2api_actors::clock::{Clock, Mono};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scenario::glob_matches;

/// What an answer does wrong. Empty: nothing. Several may be combined.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Effects {
    /// Answer with this case of the error table.
    pub error: Option<String>,
    /// What that case's text mentions (limits reached, argument).
    pub detail: Option<String>,
    /// Answer with this status…
    pub status: Option<u16>,
    /// …and this body: a string as it is, anything else as JSON.
    pub body: Option<Value>,
    /// Content type of the answer, whatever it is.
    pub content_type: Option<String>,
    /// More response headers.
    pub headers: BTreeMap<String, String>,
    /// Wait this long before the head.
    pub delay_ms: Option<u64>,
    /// Wait this long before the first chunk.
    pub first_token_ms: Option<u64>,
    /// Milliseconds between chunks; also makes an answer that is not streamed come in pieces.
    pub pace_ms: Option<u64>,
    /// After this many chunks, write nothing…
    pub stall_after: Option<usize>,
    /// …for this long; absent: never again.
    pub stall_ms: Option<u64>,
    /// Close the connection instead of answering.
    pub cut_before_head: bool,
    /// Cut the connection after this many chunks.
    pub cut_after: Option<usize>,
    /// Send this error as an event in the stream and end it…
    pub event_error: Option<String>,
    /// …after this many chunks (0: it is the first event).
    pub event_at: Option<usize>,
    /// Close the listener for this long and cut every other connection.
    pub refuse_ms: Option<u64>,
    /// What is wrong with the usage.
    pub usage: Option<UsageFault>,
    /// Send an event that is no JSON after this many chunks (not streamed: break the body there).
    pub garbage_at: Option<usize>,
    /// Make one chunk of this many bytes.
    pub huge_chunk: Option<usize>,
    /// End the stream without `[DONE]`.
    pub drop_done: bool,
    /// Answer with this text.
    pub answer: Option<String>,
    /// Call this tool if it is on offer and has not answered yet: `name{…}`, the arguments as JSON.
    pub call: Option<String>,
}

/// What may be wrong with usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageFault {
    /// It is not sent.
    Missing,
    /// It is `null`.
    Null,
    /// All zero.
    Zero,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Effects::default()
    }

    /// Whether the body is written step by step even when nothing else asks for it.
    pub fn needs_steps(&self) -> bool {
        self.stall_after.is_some() || self.cut_after.is_some() || self.pace_ms.is_some() || self.garbage_at.is_some()
    }

    /// Says what is impossible about it.
    pub fn check(&self) -> Result<(), String> {
        if let Some(id) = &self.error
            && !super::errors::known(id)
        {
            let known: Vec<_> = super::errors::ids().collect();
            return Err(format!("no error `{id}`; there are {}", known.join(", ")));
        }
        if let Some(id) = &self.event_error
            && !super::errors::known_event(id)
        {
            return Err(format!("no stream error `{id}`"));
        }
        if let Some(status) = self.status
            && !(200..=999).contains(&status)
        {
            return Err(format!("no status {status}"));
        }
        Ok(())
    }

    /// One `name=value` of a magic prompt; false if it is none of ours.
    fn set(&mut self, name: &str, value: &str) -> bool {
        let number = value.parse::<u64>().ok();
        let index = number.map(|number| number as usize);
        match name {
            "error" if super::errors::known(value) => self.error = Some(value.to_owned()),
            "detail" => self.detail = Some(value.to_owned()),
            "status" => {
                self.status = number
                    .and_then(|n| u16::try_from(n).ok())
                    .filter(|n| (200..=999).contains(n))
            }
            "body" => self.body = Some(Value::String(value.to_owned())),
            "content_type" => self.content_type = Some(value.to_owned()),
            "retry_after" => drop(self.headers.insert("retry-after".to_owned(), value.to_owned())),
            "delay" => self.delay_ms = number,
            "first_token" => self.first_token_ms = number,
            "pace" => self.pace_ms = number,
            "stall" => self.stall_after = index,
            "stall_ms" => self.stall_ms = number,
            "cut" => self.cut_after = index,
            "cut_before_head" => self.cut_before_head = true,
            "event_error" if super::errors::known_event(value) => self.event_error = Some(value.to_owned()),
            "event_at" => self.event_at = index,
            "refuse" => self.refuse_ms = number,
            "usage" => {
                self.usage = match value {
                    "missing" => Some(UsageFault::Missing),
                    "null" => Some(UsageFault::Null),
                    "zero" => Some(UsageFault::Zero),
                    _ => return false,
                }
            }
            "garbage" => self.garbage_at = index,
            "huge" => self.huge_chunk = index,
            "drop_done" => self.drop_done = true,
            "answer" => self.answer = Some(value.to_owned()),
            "call" => self.call = Some(value.to_owned()),
            _ => return false,
        }
        true
    }
}

/// Which requests a rule is for. Absent: any.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Team id.
    pub team: Option<String>,
    /// Secret of the key.
    pub key: Option<String>,
    /// Model id or glob (resolved id).
    pub model: Option<String>,
    /// Path or glob.
    pub path: Option<String>,
    /// Only streamed, or only not streamed, calls.
    pub stream: Option<bool>,
}

/// A rhythm: within each `every_ms`, from `from_ms` on for `for_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rhythm {
    /// Length of one round.
    pub every_ms: u64,
    /// When in the round it begins.
    pub from_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
}

/// One piece of misbehaviour. The first rule that fits a request counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Which requests.
    pub when: When,
    /// How many of them; absent: all.
    pub times: Option<u64>,
    /// Let this many fitting requests pass first.
    pub skip: u64,
    /// For how long from now; absent: until it is removed.
    pub for_ms: Option<u64>,
    /// Only in this rhythm, counted from the simulator's start.
    pub rhythm: Option<Rhythm>,
    /// Share of the fitting requests, 0 to 1; absent: all.
    pub share: Option<f64>,
    /// What happens.
    #[serde(rename = "do")]
    pub act: Effects,
}

/// The request as rules see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// Team id, if the key is known.
    pub team: &'a str,
    /// Secret.
    pub key: &'a str,
    /// Resolved model id, if there is one.
    pub model: &'a str,
    /// Path.
    pub path: &'a str,
    /// Streamed.
    pub stream: bool,
}

impl When {
    fn fits(&self, seen: &Seen<'_>) -> bool {
        let glob = |pattern: &Option<String>, name: &str| pattern.as_deref().is_none_or(|p| glob_matches(p, name));
        self.team.as_deref().is_none_or(|team| team == seen.team)
            && self.key.as_deref().is_none_or(|key| key == seen.key)
            && glob(&self.model, seen.model)
            && glob(&self.path, seen.path)
            && self.stream.is_none_or(|stream| stream == seen.stream)
    }
}

#[derive(Debug)]
struct Active {
    id: u64,
    rule: Rule,
    since: Mono,
    fitted: u64,
    hits: u64,
}

/// The rules in force and the memory of magic prompts.
#[derive(Debug)]
pub struct Script {
    active: Mutex<Vec<Active>>,
    any: AtomicBool,
    next_id: AtomicU64,
    started: Mono,
    /// How often a magic prompt with `times` was answered, by hash of the prompt.
    magic: DashMap<u64, u64>,
}

impl Script {
    /// No rules yet.
    pub fn new(started: Mono) -> Script {
        Script {
            active: Mutex::new(Vec::new()),
            any: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            started,
            magic: DashMap::new(),
        }
    }

    /// Adds a rule behind those that stand; its id.
    pub fn add(&self, rule: Rule, clock: &Clock) -> Result<u64, String> {
        rule.act.check()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.active.lock().push(Active {
            id,
            rule,
            since: clock.now(),
            fitted: 0,
            hits: 0,
        });
        self.any.store(true, Ordering::Release);
        Ok(id)
    }

    /// Removes one rule, or all.
    pub fn remove(&self, id: Option<u64>) -> usize {
        let mut active = self.active.lock();
        let before = active.len();
        match id {
            Some(id) => active.retain(|one| one.id != id),
            None => active.clear(),
        }
        self.any.store(!active.is_empty(), Ordering::Release);
        if id.is_none() {
            self.magic.clear();
        }
        before - active.len()
    }

    /// The rules with how often each was applied.
    pub fn report(&self) -> Value {
        let active = self.active.lock();
        Value::Array(
            active
                .iter()
                .map(|one| json!({"id": one.id, "hits": one.hits, "rule": one.rule}))
                .collect(),
        )
    }

    /// What the first fitting rule asks for.
    pub fn pick(&self, seen: &Seen<'_>, clock: &Clock) -> Option<Effects> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let now = clock.now();
        for one in self.active.lock().iter_mut() {
            let rule = &one.rule;
            let in_time = rule.for_ms.is_none_or(|ms| now.ms_since(one.since) < ms)
                && rule.rhythm.is_none_or(|rhythm| {
                    let at = now.ms_since(self.started) % rhythm.every_ms.max(1);
                    at >= rhythm.from_ms && at < rhythm.from_ms + rhythm.for_ms
                })
                && rule.times.is_none_or(|times| one.hits < times);
            if !in_time || !rule.when.fits(seen) || rule.share.is_some_and(|share| fastrand::f64() >= share) {
                continue;
            }
            one.fitted += 1;
            if one.fitted > rule.skip {
                one.hits += 1;
                return Some(rule.act.clone());
            }
        }
        None
    }

    /// What a prompt asks for: every `[[sim:name=value;…]]` in it. With `times=N`, only the first N times that this very
    /// prompt arrives, so that a second attempt succeeds.
    pub fn magic(&self, prompt: &str) -> Option<Effects> {
        let mut rest = prompt;
        let mut effects = Effects::default();
        let mut times = None;
        let mut found = false;
        while let Some(at) = rest.find("[[sim:") {
            rest = &rest[at + "[[sim:".len()..];
            let Some(end) = rest.find("]]") else { break };
            for word in rest[..end].split(';') {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                let (name, value) = (name.trim(), value.trim());
                if name == "times" {
                    times = value.parse::<u64>().ok();
                } else {
                    found |= effects.set(name, value);
                }
            }
            rest = &rest[end + 2..];
        }
        if !found {
            return None;
        }
        if let Some(times) = times {
            let hash = blake3::hash(prompt.as_bytes());
            let mut short = [0u8; 8];
            short.copy_from_slice(&hash.as_bytes()[..8]);
            let mut answered = self.magic.entry(u64::from_le_bytes(short)).or_insert(0);
            if *answered >= times {
                return None;
            }
            *answered += 1;
        }
        Some(effects)
    }
}
