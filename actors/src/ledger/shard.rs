//! The state of one shard: its meters, which sessions were heard, which owners ever granted. Pure; built by replaying the
//! shard's journal, kept by applying what is appended to it.

use std::collections::HashMap;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{
    Change, Changes, Entry, EntryBody, GrantId, GrantSnapshot, MeterSnapshot, SnapshotChunk, Takeover,
};
use grok2api_schemas::meter::Meter;

use super::LedgerOptions;
use super::charges::Charges;
use super::meter::{Grant, OwnerMeter};
use super::rules::{Anchor, Moment, Rules};
use crate::clock::{Mono, WallMs};

/// How many owners' grant counts are remembered, to tell an old grant from one that was never made.
const OWNERS_REMEMBERED: usize = 256;

/// The window that a journal's distrust is shown for at least, milliseconds: no meter may be known yet.
const SHOWN_WINDOW_MS: u64 = 60_000;

/// All meters of a shard.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct ShardState {
    options: LedgerOptions,
    meters: HashMap<Meter, OwnerMeter>,
    /// When each session with grants was last heard, on our clock.
    heard: HashMap<SessionId, Mono>,
    /// Highest grant number of each owner, oldest first.
    owners: Vec<GrantId>,
    /// The incarnation that the last takeover in the journal was written in.
    incarnation: Option<u64>,
    /// Since when the journal is known not to be what it was.
    distrusted_at: Option<Moment>,
}

impl ShardState {
    /// A shard that nothing is known of.
    pub fn new(options: LedgerOptions) -> ShardState {
        ShardState {
            options,
            meters: HashMap::new(),
            heard: HashMap::new(),
            owners: Vec::new(),
            incarnation: None,
            distrusted_at: None,
        }
    }

    /// The journal was wiped or restored: what the upstream still sees may be missing, so no grants for one window.
    pub fn distrust(&mut self, moment: Moment) {
        self.distrusted_at = Some(moment);
        let life_ms = self.foreign_life_ms();
        for meter in self.meters.values_mut() {
            meter.refuse(moment, life_ms);
        }
    }

    /// Since when the journal is not trusted, if it is not.
    pub fn distrusted_at(&self) -> Option<Moment> {
        self.distrusted_at
    }

    /// Until when the journal's distrust is worth being shown: grants of the shard's short windows may be seen that long.
    /// A meter by the day or of a long window is refused for longer, and says so itself.
    pub fn distrust_shows_until(&self) -> Option<Mono> {
        let since = self.distrusted_at?;
        let short = self.meters.values().map(|meter| meter.rules);
        let short = short.filter(|rules| !rules.is_long()).map(|rules| rules.window_ms);
        let window_ms = short.max().unwrap_or(0).max(SHOWN_WINDOW_MS);
        Some(
            since
                .mono
                .plus_ms(self.foreign_life_ms() + window_ms + self.options.delivery_slack_ms),
        )
    }

    /// Until when a meter that nothing is known of is refused, if the journal is not trusted.
    #[cfg(test)]
    pub fn refused_until(&self, meter: &Meter) -> Option<Mono> {
        let since = self.distrusted_at?;
        let mut unknown = OwnerMeter::new(Rules::of(meter, &self.options));
        unknown.refuse(since, self.foreign_life_ms());
        Some(unknown.refuse_until)
    }

    /// How long grants that this journal does not know may still be sent.
    fn foreign_life_ms(&self) -> u64 {
        if self.options.predecessors_are_dead {
            0
        } else {
            self.options.grant_life_ms
        }
    }

    /// The journal's life at its last takeover; `None` if it has none.
    pub fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// A meter, if anything is known of it.
    pub fn meter(&self, meter: &Meter) -> Option<&OwnerMeter> {
        self.meters.get(meter)
    }

    /// A meter, made if need be.
    pub fn meter_mut(&mut self, meter: &Meter) -> &mut OwnerMeter {
        let (options, distrusted_at, life_ms) = (self.options, self.distrusted_at, self.foreign_life_ms());
        self.meters.entry(meter.clone()).or_insert_with(|| {
            let mut fresh = OwnerMeter::new(Rules::of(meter, &options));
            if let Some(since) = distrusted_at {
                fresh.refuse(since, life_ms);
            }
            fresh
        })
    }

    /// Every meter.
    pub fn meters(&self) -> impl Iterator<Item = (&Meter, &OwnerMeter)> {
        self.meters.iter()
    }

    /// Everything that is charged, over all meters.
    pub fn charged(&self) -> u64 {
        let charged = self.meters.values().map(OwnerMeter::charges_total);
        charged.fold(0, u64::saturating_add)
    }

    /// Every meter, to change.
    pub fn meters_mut(&mut self) -> impl Iterator<Item = (&Meter, &mut OwnerMeter)> {
        self.meters.iter_mut()
    }

    /// Forgets meters that say nothing.
    pub fn forget_blank(&mut self) {
        self.meters.retain(|_, meter| !meter.is_blank());
    }

    /// A session spoke.
    pub fn hear(&mut self, session: SessionId, now: Mono) {
        self.heard.insert(session, now);
    }

    /// Silence is measured from now on: our own appends were not getting through.
    pub fn hear_all(&mut self, now: Mono) {
        for heard in self.heard.values_mut() {
            *heard = now;
        }
        let holders = self.meters.values().flat_map(|meter| meter.grants.values());
        for holder in holders.map(|grant| grant.holder) {
            self.heard.insert(holder, now);
        }
    }

    /// A session is known to have been silent since then.
    pub fn silent_since(&mut self, session: SessionId, since: Mono) {
        if let Some(heard) = self.heard.get_mut(&session) {
            *heard = (*heard).min(since);
        }
    }

    /// Whether [`ShardState::silent`] would name anybody.
    pub fn has_silent(&self, now: Mono, silence_ms: u64, except: SessionId) -> bool {
        let mut others = self.heard.iter().filter(|(session, _)| **session != except);
        others.any(|(_, heard)| now.ms_since(*heard) >= silence_ms)
    }

    /// Sessions that have not been heard for `silence_ms`, `except` never among them; they are forgotten by this.
    pub fn silent(&mut self, now: Mono, silence_ms: u64, except: SessionId) -> Vec<SessionId> {
        let silent: Vec<SessionId> = self
            .heard
            .iter()
            .filter(|(session, heard)| **session != except && now.ms_since(**heard) >= silence_ms)
            .map(|(session, _)| *session)
            .collect();
        for session in &silent {
            self.heard.remove(session);
        }
        silent
    }

    /// Whether this grant was ever made here, as far as is remembered.
    pub fn ever_made(&self, grant: GrantId) -> bool {
        self.owners
            .iter()
            .any(|last| last.owner == grant.owner && grant.number <= last.number)
    }

    fn remember_owner(&mut self, grant: GrantId) {
        match self.owners.iter_mut().find(|last| last.owner == grant.owner) {
            Some(last) => last.number = last.number.max(grant.number),
            None => {
                self.owners.push(grant);
                if self.owners.len() > OWNERS_REMEMBERED {
                    self.owners.remove(0);
                }
            }
        }
    }

    /// Applies changes, live or in replay.
    pub fn apply_changes(&mut self, changes: &Changes, anchor: &Anchor) {
        for of_meter in &changes.meters {
            for change in &of_meter.changes {
                if let Change::Granted { grant, holder, .. } = change {
                    self.remember_owner(*grant);
                    self.heard.entry(*holder).or_insert(anchor.moment.mono);
                }
                self.meter_mut(&of_meter.meter).apply(change, anchor);
            }
        }
    }

    /// Applies a takeover: buries other sessions' grants if they are known to be dead.
    pub fn apply_takeover(&mut self, writer: SessionId, at: Mono, takeover: &Takeover) {
        self.incarnation = Some(takeover.incarnation);
        if takeover.predecessors_are_dead {
            for meter in self.meters.values_mut() {
                let latest = meter.rules.seen_until(at);
                meter.bury_all_but(writer, latest);
            }
            self.heard.retain(|session, _| *session == writer);
        }
    }

    /// Replays one entry of the journal, written by another session or by an earlier turn of this one.
    pub fn replay(&mut self, entry: &Entry, moment: Moment) {
        let anchor = Anchor::foreign(moment, self.options.max_clock_skew_ms);
        match &entry.body {
            EntryBody::Takeover(takeover) => {
                self.apply_takeover(entry.writer, anchor.mono(entry.at_ms), takeover);
            }
            EntryBody::Suspect(suspicion) => {
                self.apply_takeover(entry.writer, anchor.mono(entry.at_ms), &suspicion.takeover);
                self.distrust(Moment {
                    mono: anchor.mono(suspicion.since_ms),
                    wall: WallMs(suspicion.since_ms),
                });
            }
            EntryBody::Changes(changes) => self.apply_changes(changes, &anchor),
            EntryBody::Snapshot(chunk) => self.restore(chunk, &anchor),
        }
    }

    fn restore(&mut self, chunk: &SnapshotChunk, anchor: &Anchor) {
        for owner in &chunk.owners {
            self.remember_owner(*owner);
        }
        for stored in &chunk.meters {
            let mut meter = self.restored(stored, anchor);
            if let Some(since) = self.distrusted_at {
                meter.refuse(since, self.foreign_life_ms());
            }
            self.meters.insert(stored.meter.clone(), meter);
        }
    }

    fn restored(&self, stored: &MeterSnapshot, anchor: &Anchor) -> OwnerMeter {
        let rules = Rules::of(&stored.meter, &self.options);
        let mut meter = OwnerMeter::new(rules);
        meter.configured = stored.configured;
        meter.learned = stored.learned;
        let mut charges = Charges::new(rules.window_ms);
        for (until_ms, units) in &stored.charges {
            charges.add(anchor.mono(*until_ms), *units);
        }
        for (day, units) in &stored.days {
            charges.add_day(*day, *units);
        }
        meter.charges = charges;
        for grant in &stored.grants {
            meter.grants.insert(
                grant.grant,
                Grant {
                    holder: grant.holder,
                    units: grant.units,
                    life_end: grant.life_ends_ms.map(|ms| anchor.mono(ms)),
                    day: grant.day,
                    ask: grant.ask,
                    report: grant.report,
                    held: grant.held,
                    flight: grant.flight,
                    presumed: grant.presumed,
                    presumed_until: anchor.mono(grant.presumed_until_ms),
                    lapsed: grant.lapsed,
                },
            );
        }
        meter
    }

    /// The snapshot of some meters, as this session would write it at `moment`.
    pub fn snapshot(&self, meters: &[Meter], index: u32, last: bool, moment: Moment) -> SnapshotChunk {
        let meters = meters
            .iter()
            .filter_map(|meter| Some((meter, self.meters.get(meter)?)))
            .map(|(meter, state)| MeterSnapshot {
                meter: meter.clone(),
                configured: state.configured,
                learned: state.learned,
                charges: state
                    .charges
                    .releases()
                    .map(|(until, units)| (moment.wall_at(until), units))
                    .collect(),
                days: state.charges.days().collect(),
                grants: state
                    .grants
                    .iter()
                    .map(|(id, grant)| GrantSnapshot {
                        grant: *id,
                        holder: grant.holder,
                        units: grant.units,
                        life_ends_ms: grant.life_end.map(|end| moment.wall_at(end)),
                        day: grant.day,
                        ask: grant.ask,
                        report: grant.report,
                        held: grant.held,
                        flight: grant.flight,
                        presumed: grant.presumed,
                        presumed_until_ms: moment.wall_at(state.charges.release_of(grant.presumed_until)),
                        lapsed: grant.lapsed,
                    })
                    .collect(),
            })
            .collect();
        SnapshotChunk {
            index,
            last,
            meters,
            owners: if index == 0 { self.owners.clone() } else { Vec::new() },
        }
    }
}
