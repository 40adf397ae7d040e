//! What the owner says, and how a holder takes it.

use grok2api_schemas::ledger::{Answer, GrantId, Report, Standing};

use super::grant::{HeldGrant, retire, retire_anew};
use super::{Asked, Held};
use crate::clock::Mono;
use crate::ledger::meter::merge;
use crate::ledger::mutants::{Mutant, active};
use crate::ledger::owner::LONGEST_PAUSE_MS;
use crate::ledger::rules::{Class, RETRY_MS};

/// The pause before units are asked for ahead of demand again, if there were none, milliseconds.
const AHEAD_AGAIN_MS: u64 = 1_000;

impl Held {
    /// The owner answered. Answers how many calls that wait may find something now.
    pub fn answer(&mut self, now: Mono, answer: &Answer) -> u64 {
        let asked = self.asked.filter(|asked| asked.number == answer.ask);
        let mut fresh = 0;
        if asked.is_some() {
            self.adopt_limit(&answer.standing);
        }
        if let Some(granted) = &answer.granted
            && !self.grants.iter().any(|grant| grant.id == granted.grant)
        {
            // A grant that nobody asked for (any more) is not used, only given back.
            let asked_at = asked.map_or(Mono(0), |asked| asked.at);
            let counted_from = if active(Mutant::LifeFromReceipt) { now } else { asked_at };
            let key = self.next_key;
            self.next_key = self.next_key.wrapping_add(1).max(1);
            let life_end = granted
                .life_ms
                .map_or(Mono(u64::MAX), |life| counted_from.plus_ms(life));
            if self.rules.daily && asked.is_some() && granted.starts_ms == 0 {
                self.day_end = Some(life_end);
            }
            self.grants.push(HeldGrant {
                key,
                id: granted.grant,
                units: granted.units,
                // Early by as long as the ask was on its way: such a call counts to the day it was granted for all the same.
                starts: if granted.starts_ms > 0 {
                    asked_at.plus_ms(granted.starts_ms)
                } else {
                    Mono(0)
                },
                life_end,
                day: granted.day,
                taken: 0,
                report: Report::default(),
                told: Report::default(),
                told_at: now,
                acknowledged: Report::default(),
                retired: asked.is_none(),
            });
            if let Some(grant) = self.grants.last_mut()
                && grant.retired
            {
                retire_anew(grant, self.rules.class);
            } else {
                fresh = granted.units;
            }
        }
        let Some(Asked {
            at: asked_at,
            least,
            urgent,
            ..
        }) = asked
        else {
            return fresh;
        };
        for id in &answer.renewed {
            if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == *id) {
                grant.life_end = grant.life_end.max(asked_at.plus_ms(self.rules.life_ms));
            }
        }
        self.asked = None;
        let refused = answer.granted.is_none() && answer.renewed.is_empty();
        self.stand(now, &answer.standing);
        if refused && urgent {
            self.refused = least;
            self.dry(now, &answer.standing);
        } else if refused && self.asked_ahead {
            self.next_day_after = now.plus_ms(AHEAD_AGAIN_MS);
        } else if refused {
            self.ahead_after = now.plus_ms(AHEAD_AGAIN_MS);
        } else {
            self.heard_no = false;
        }
        fresh
    }

    /// The owner knows another limit. A lower one was learned by another node: what was granted under the one before goes
    /// back, for it may be more than there is.
    fn adopt_limit(&mut self, standing: &Standing) {
        if self.learned.is_some() || standing.limit == self.limit {
            return;
        }
        let known = self.limit.unwrap_or(u64::MAX);
        self.limit = standing.limit;
        if self.limit.is_some_and(|limit| limit < known) {
            self.wind_up();
        }
    }

    fn stand(&mut self, now: Mono, standing: &Standing) {
        let in_hand = match self.rules.class {
            Class::Share => 0,
            _ => self.stock(now),
        };
        self.used = (standing.charged + standing.outstanding).saturating_sub(in_hand);
        self.used_at = now;
        self.standing = *standing;
        self.stood_at = Some(now);
        self.release_at = standing.next_release_ms.map(|ms| now.plus_ms(ms));
        if self.rules.daily && self.release_at.is_some() {
            self.day_end = self.release_at;
        }
    }

    /// Nothing for now: when the owner is asked again.
    fn dry(&mut self, now: Mono, standing: &Standing) {
        self.heard_no = true;
        let pause = self.rules.retry_ms();
        let release = standing.next_release_ms.unwrap_or(pause);
        // Others give back meanwhile, so a distant release is no reason to wait for it alone.
        self.dry_until = now.plus_ms(release.clamp(pause, LONGEST_PAUSE_MS));
    }

    /// The ask got lost: the owner may be asked again.
    pub fn ask_failed(&mut self, number: u64, now: Mono) {
        if self.asked.is_some_and(|asked| asked.number == number) {
            self.asked = None;
            self.dry_until = now.plus_ms(*RETRY_MS.end());
        }
    }

    /// The ask went to a node that does not own the shard: it goes to the right one at the next turn.
    pub fn ask_astray(&mut self, number: u64) {
        if self.asked.is_some_and(|asked| asked.number == number) {
            self.asked = None;
        }
    }

    /// Units of a grant in hand.
    pub fn units_of(&self, id: GrantId) -> Option<u64> {
        let grant = self.grants.iter().find(|grant| grant.id == id)?;
        Some(grant.units)
    }

    /// The owner has this report in its journal.
    pub fn acknowledge(&mut self, id: GrantId, report: Report) {
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == id) {
            grant.acknowledged = merge(grant.acknowledged, report);
        }
        self.grants.retain(|grant| !grant.acknowledged.closed);
    }

    /// The owner holds this grant for finished: nothing more is taken of it.
    pub fn gone(&mut self, id: GrantId) {
        let class = self.rules.class;
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == id) {
            retire(grant, class);
        }
    }

    /// Sets the end of a grant's life, for a mutant.
    #[cfg(test)]
    pub fn force_life(&mut self, id: GrantId, end: Mono) {
        if let Some(grant) = self.grants.iter_mut().find(|grant| grant.id == id) {
            grant.life_end = end;
        }
    }
}
