//! What became of it: the upstream's count of arrivals, what clients saw, and the decision records.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::faults::Fault;
use super::{Limits, MODEL, RATE, SLACK_MS, TEAMS};
use crate::support::Sim;
use crate::support::http::Got;

/// The least share of all limits that must have been used.
const LEAST_USED: f64 = 0.7;
/// The life of a grant: what an owner last said counts for so long, and a bus that was away for longer is a reason.
const LIFE: Duration = Duration::from_secs(30);
/// How long a record may wait on its node before other nodes have it.
pub const BATCH: Duration = Duration::from_secs(5);
/// How long a record may wait on its node before it is on its disk, where a kill does not reach it.
const UNWRITTEN: Duration = Duration::from_millis(1_500);

/// One client's call.
#[derive(Debug)]
pub struct Call {
    node: usize,
    from: Duration,
    until: Duration,
    /// 200 and nothing more, or what was said instead.
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    status: u16,
    said: String,
    request: String,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// The node was killed under it.
    NodeKilled,
    /// No team had a free unit: the decision record says so, of each.
    NoUnits,
    /// The bus had been away for longer than grants live.
    BusAway,
    /// Refused for want of units, and its node was killed before the record was written.
    NodeKilledBeforeItsRecord,
    /// None of the reasons that there may be.
    Wrong,
}

impl Call {
    pub fn new(node: usize, from: Duration, until: Duration, outcome: Result<Got, String>) -> Call {
        let failed = match outcome {
            Ok(got) if got.status == 200 => None,
            Ok(got) => Some(Failed {
                status: got.status.as_u16(),
                said: got.text(),
                request: got.header("x-request-id").to_owned(),
            }),
            Err(said) => Some(Failed {
                status: 0,
                said,
                request: String::new(),
            }),
        };
        Call {
            node,
            from,
            until,
            failed,
        }
    }
}

/// Everything that is judged.
pub struct Judge {
    pub limits: Vec<Limits>,
    pub calls: Vec<Call>,
    pub faults: Vec<Fault>,
    pub took: Duration,
    pub arrivals: Value,
    pub records: Vec<Value>,
    /// Units presumed spent, as the owners counted them.
    pub lapsed: f64,
    /// Calls whose head was written later than D, as the nodes counted them.
    pub late: f64,
    /// How long the upstream took to answer each call, from the moment its token was chosen, milliseconds: a call reaches
    /// the upstream's counter sooner than that.
    pub answered_after: Vec<u64>,
}

impl Judge {
    fn why(&self, call: &Call, failed: &Failed, records: &HashMap<&str, &Value>) -> Why {
        let killed = |fault: &Fault, within: Duration| {
            fault.killed == Some(call.node) && fault.from <= call.until + within && fault.until >= call.from
        };
        if failed.status == 0 {
            let is_excused = self.faults.iter().any(|fault| killed(fault, Duration::ZERO));
            return if is_excused { Why::NodeKilled } else { Why::Wrong };
        }
        let outlives_grants = |fault: &Fault| fault.bus && fault.from + LIFE <= call.until && fault.until >= call.from;
        if failed.said.contains("bus_away") && self.faults.iter().any(outlives_grants) {
            return Why::BusAway;
        }
        let Some(record) = records.get(failed.request.as_str()) else {
            let is_lost = self.faults.iter().any(|fault| killed(fault, UNWRITTEN));
            return if failed.status == 429 && is_lost {
                Why::NodeKilledBeforeItsRecord
            } else {
                Why::Wrong
            };
        };
        match failed.status {
            429 | 503 if is_excused(record) => Why::NoUnits,
            _ => Why::Wrong,
        }
    }

    fn reasons(&self) -> BTreeMap<Why, Vec<(&Call, &Failed)>> {
        let by_id: HashMap<&str, &Value> = self
            .records
            .iter()
            .filter_map(|record| Some((record["id"].as_str()?, record)))
            .collect();
        let mut reasons: BTreeMap<Why, Vec<(&Call, &Failed)>> = BTreeMap::new();
        for call in &self.calls {
            if let Some(failed) = &call.failed {
                let why = self.why(call, failed, &by_id);
                reasons.entry(why).or_default().push((call, failed));
            }
        }
        reasons
    }

    fn rows(&self) -> Vec<(usize, &Value)> {
        let rows = self.arrivals["arrivals"].as_array().unwrap();
        let chat = rows.iter().filter(|row| row["model"] == MODEL);
        chat.map(|row| {
            let team = (0..self.limits.len()).find(|team| row["team"] == Sim::team_id(*team).as_str());
            (team.unwrap(), row)
        })
        .collect()
    }

    /// Arrivals of the whole run, as a share of what the limits allow in so many minutes, begun ones too.
    fn used(&self) -> f64 {
        let minutes = (self.took.as_secs_f64() / 60.0).ceil();
        let allowed: u64 = self.limits.iter().map(|limits| limits.rpm).sum();
        let arrived: u64 = self.rows().iter().map(|(_, row)| row["total"].as_u64().unwrap()).sum();
        arrived as f64 / (allowed as f64 * minutes)
    }

    /// How long answers took to begin: p50, p99.9 and the longest, milliseconds.
    fn delays(&self) -> (u64, u64, u64) {
        let mut delays = self.answered_after.clone();
        delays.sort_unstable();
        let at = |q: f64| {
            delays
                .get((delays.len().saturating_sub(1) as f64 * q) as usize)
                .copied()
                .unwrap_or(0)
        };
        (at(0.5), at(0.999), at(1.0))
    }

    /// For a person.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let served = self.calls.iter().filter(|call| call.failed.is_none()).count();
        let _ = writeln!(
            text,
            "{} faults; {} calls in {:.0} s ({RATE}/s), {served} answered",
            self.faults.len(),
            self.calls.len(),
            self.took.as_secs_f64()
        );
        for (why, calls) in self.reasons() {
            let _ = writeln!(text, "  {why:?}: {}", calls.len());
            let show = if why == Why::Wrong { 6 } else { 1 };
            for (call, failed) in calls.iter().take(show) {
                let said: String = failed.said.chars().take(300).collect();
                let _ = writeln!(
                    text,
                    "    node {} {:.1}–{:.1} s: {} {said} {}",
                    call.node,
                    call.from.as_secs_f64(),
                    call.until.as_secs_f64(),
                    failed.status,
                    failed.request
                );
                if let Some(record) = self.records.iter().find(|one| one["id"] == failed.request.as_str())
                    && why == Why::Wrong
                {
                    let candidates: String = record["candidates"].to_string().chars().take(1_500).collect();
                    let _ = writeln!(text, "      its record: {} {candidates}", record["timing"]);
                }
            }
        }
        for (team, row) in self.rows() {
            let windows: Vec<String> = row["windows"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|window| !window["limit"].is_null())
                .map(|window| format!("{} ms: {} of {}", window["window_ms"], window["max"], window["limit"]))
                .collect();
            let _ = writeln!(
                text,
                "  team {team} {:?}: {} arrivals, {} refused; fullest windows {}",
                self.limits[team],
                row["total"],
                row["refused"],
                windows.join(", ")
            );
        }
        let (middle, most, longest) = self.delays();
        let _ = writeln!(
            text,
            "limits used {:.1} %, {} units presumed spent by lapses and silence; overspend {}",
            100.0 * self.used(),
            self.lapsed,
            self.arrivals["over"]
        );
        let _ = writeln!(
            text,
            "D is {SLACK_MS} ms; {} heads were written later than that; {} answers began {middle} ms (p50), {most} ms (p99.9), \
             {longest} ms (most) after their token was chosen, so no call was on its way for longer",
            self.late,
            self.answered_after.len(),
        );
        text
    }

    #[track_caller]
    pub fn assert_kept(&self, seed: u64) {
        assert_eq!(self.arrivals["over"], 0, "seed {seed}: over a limit");
        let wrong = self.reasons().get(&Why::Wrong).map_or(0, Vec::len);
        assert_eq!(wrong, 0, "seed {seed}: calls failed without a reason that there may be");
        assert!(
            self.used() >= LEAST_USED,
            "seed {seed}: {:.3} of the limits used",
            self.used()
        );
    }
}

/// Whether the record says of every team that it had no free unit, or could not serve at all: of the look that led to the
/// refusal, for whoever was chosen before did not come to anything.
fn is_excused(record: &Value) -> bool {
    let candidates = record["candidates"].as_array().unwrap();
    let chosen = candidates.iter().rposition(|one| one["reason"] == "chosen");
    let last_look = &candidates[chosen.map_or(0, |at| at + 1)..];
    let names_all = chosen.is_some() || last_look.len() >= TEAMS;
    names_all && !last_look.is_empty() && last_look.iter().all(had_nothing)
}

/// Whether a token that was passed over could not have served: it rests, or its team's owner said that nothing is free. The
/// word of an owner that does not answer any more counts for as long as what it granted.
fn had_nothing(candidate: &Value) -> bool {
    let detail = candidate["detail"].as_str().unwrap_or_default();
    match candidate["reason"].as_str().unwrap_or_default() {
        "team_cooling" | "token_cooling" | "model_cooling" | "tried_already" => true,
        "no_units" | "no_slots" => {
            let last_word = detail.split_once("and last had 0 free, ");
            let age = last_word.and_then(|(_, rest)| rest.strip_suffix(" ms ago")?.parse().ok());
            detail.starts_with("no units: ") || age.is_some_and(|ms| Duration::from_millis(ms) <= LIFE)
        }
        _ => false,
    }
}
