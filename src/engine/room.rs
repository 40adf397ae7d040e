//! Finding room for a call: a token that can serve it, with a unit of every meter that it touches. Node-local and without
//! waiting where grants are at hand; with a deadline where an owner must be asked, or where room has to come back first.

use std::sync::Arc;
use std::time::Duration;

use grok2api_actors::ledger::{CallLease, Ledger, Shortage, ShortageKind, Want};
use grok2api_actors::token::{MeterUse, ModelId, Pick, Reason, RestScope, Takes, Token, Tried, Wish};
use grok2api_schemas::admin::requests::{MAX_CANDIDATES, PassedOver};
use grok2api_schemas::meter::{Meter, MeterKind};
use tokio::time::Instant;

use super::Engine;
use super::ask::Ask;
use super::call::{Call, Reservation};
use super::error::{ErrorKind, GatewayError};
use super::patience::Patience;
use super::refused::explain;
use super::waiting::RoomKey;

/// How long a request waits for the owner of a domain that is cold here.
const COLD_WAIT: Duration = Duration::from_millis(500);
/// A wait for room is looked through at least this often, whatever signals come.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Teams that may turn out short in one look. Their headroom said otherwise, or nobody's is any better: the next look is
/// near, and going through thousands for each request would make an overload worse.
const SHORT_AT_MOST: u32 = 32;

/// A chosen token, and the right to call with it.
pub(super) struct Room {
    pub(super) pick: Pick,
    pub(super) lease: CallLease,
}

/// Why nothing was found in one look.
#[derive(Default)]
pub(super) struct Look {
    /// Who was passed over, and what of theirs was short: as many as a record holds…
    short: Vec<(Arc<Token>, Shortage)>,
    /// …and how many more.
    left_out: u32,
    /// Tokens were eligible, but a meter of each was short.
    pub(super) blocked: bool,
    /// The earliest time that a meter expects units back, milliseconds.
    pub(super) retry_ms: Option<u64>,
    /// Every meter that was short can never serve this call.
    pub(super) never: bool,
    /// An owner has been asked, and has not said no: units may come at any moment.
    is_undecided: bool,
    /// A meter was short because its owner does not answer…
    pub(super) away: bool,
    /// …and another because it is used up, as its owner said.
    pub(super) dry: bool,
}

impl Engine {
    /// Finds room for an attempt, waiting for it if that may help.
    pub(super) async fn find_room(
        &self,
        call: &mut Call,
        ask: &Ask,
        model: ModelId,
        tried: &Tried,
    ) -> Result<Room, GatewayError> {
        let settings = self.settings();
        let room = match ask.pin {
            Some(token) => RoomKey::Token(*token.as_bytes()),
            None => RoomKey::Model(model.0),
        };
        let party = party_of(ask);
        let began = Instant::now();
        let max_wait = settings.max_wait.saturating_sub(Duration::from_micros(call.queued_us));
        let patience = Patience::from(began, max_wait, self.ledger.grant_life());
        let mut had_turn = false;
        let mut place = None;
        let mut is_undecided = false;
        // Whoever waits already goes first.
        if !self.rooms.is_occupied(&room) {
            match self.look(call, ask, model, tried).await {
                Ok(found) => return Ok(found),
                Err(look) => {
                    is_undecided = look.is_undecided;
                    self.refuse_if_hopeless(call, ask, look, patience)?;
                }
            }
            had_turn = true;
        }
        let result = loop {
            let left = patience.left(Instant::now(), is_undecided);
            if left.is_zero() {
                let look = match self.look(call, ask, model, tried).await {
                    Ok(found) => break Ok(found),
                    Err(look) => look,
                };
                is_undecided = look.is_undecided;
                if let Err(refusal) = self.refuse_if_hopeless(call, ask, look, patience) {
                    break Err(refusal);
                }
                continue;
            }
            // A look without a turn does not cost the place; a turn in vain leads to the front again.
            let Some(mut waits) = place.take().or_else(|| self.rooms.enter(&room, party, had_turn)) else {
                // The line is as long as it is because nobody has room: whom that is true of is written down all the same.
                if let Err(look) = self.look(call, ask, model, tried).await {
                    self.note(call, ask, look);
                }
                break Err(
                    GatewayError::new(ErrorKind::Overloaded, "Too many requests are waiting for this model.")
                        .retry_after(Some(1_000)),
                );
            };
            had_turn = tokio::select! {
                () = waits.turn() => true,
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => false,
            };
            match self.look(call, ask, model, tried).await {
                Ok(found) => {
                    waits.used();
                    // There may be more.
                    self.rooms.call_next(&room);
                    break Ok(found);
                }
                Err(look) => {
                    is_undecided = look.is_undecided;
                    // Whoever leaves with a turn hands it on.
                    if let Err(refusal) = self.refuse_if_hopeless(call, ask, look, patience) {
                        break Err(refusal);
                    }
                }
            }
            if had_turn {
                waits.used();
            } else {
                place = Some(waits);
            }
        };
        call.queued_us += began.elapsed().as_micros() as u64;
        result
    }

    /// One look through the tokens that could serve. The look that finds one writes those passed over into the record; one
    /// that finds none is handed back, for only the last of them says why the call was refused.
    async fn look(&self, call: &mut Call, ask: &Ask, model: ModelId, tried: &Tried) -> Result<Room, Look> {
        let mut look = Look {
            never: true,
            ..Look::default()
        };
        let mut short = tried.clone();
        let mut left = SHORT_AT_MOST;
        loop {
            let wish = Wish {
                model,
                conversation: ask.conversation,
                pin: ask.pin,
                any_team: ask.service.is_some(),
                tried: &short,
            };
            let Some(pick) = self.pool.choose(&wish, self.clock.now(), self.clock.wall()) else {
                return Err(look);
            };
            let shortage = {
                let wants = wants(&pick.at.meters(), ask, call.reserved);
                match self.ledger.try_take(&wants) {
                    Ok(lease) => return Ok(found(call, look, pick, lease)),
                    Err(shortage) => shortage,
                }
            };
            let shortage = match shortage.kind {
                ShortageKind::Cold => {
                    let wants = wants(&pick.at.meters(), ask, call.reserved);
                    match self.ledger.take(&wants, COLD_WAIT).await {
                        Ok(lease) => return Ok(found(call, look, pick, lease)),
                        Err(shortage) => shortage,
                    }
                }
                ShortageKind::Dry | ShortageKind::Away | ShortageKind::Zero => shortage,
            };
            look.blocked = true;
            look.never &= shortage.kind == ShortageKind::Zero;
            look.is_undecided |= self.ledger.is_undecided(&shortage);
            match shortage.kind {
                ShortageKind::Away => look.away = true,
                ShortageKind::Cold | ShortageKind::Dry | ShortageKind::Zero => look.dry = true,
            }
            look.retry_ms = match (look.retry_ms, shortage.retry_after_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if look.short.len() < MAX_CANDIDATES {
                look.short.push((pick.token.clone(), shortage));
            } else {
                look.left_out += 1;
            }
            short.team(&pick.team);
            left -= 1;
            if left == 0 {
                return Err(look);
            }
        }
    }

    /// Why nothing can be said about any model: no credential was ever told what it may use.
    pub(super) fn nothing_listed(&self, call: &mut Call, ask: &Ask) -> GatewayError {
        self.refusal(call, ask, Look::default())
    }

    /// Refuses now if nothing can come within the time left.
    fn refuse_if_hopeless(
        &self,
        call: &mut Call,
        ask: &Ask,
        look: Look,
        patience: Patience,
    ) -> Result<(), GatewayError> {
        let left = patience.left(Instant::now(), look.is_undecided);
        let is_soon = |ms: u64| Duration::from_millis(ms) <= left;
        let may_come = if look.blocked {
            !look.never && (look.is_undecided || look.retry_ms.is_none_or(is_soon))
        } else {
            self.next_recovery_ms(ask).is_some_and(is_soon)
        };
        if may_come && !left.is_zero() {
            Ok(())
        } else {
            Err(self.refusal(call, ask, look))
        }
    }

    /// Writes down whom a look has passed over, and who rests besides.
    pub(super) fn note(&self, call: &mut Call, ask: &Ask, look: Look) {
        passed_over(call, look);
        let room = MAX_CANDIDATES.saturating_sub(call.candidates());
        for resting in self.hindrances(ask.wanted_model()).resting.iter().take(room) {
            let reason = match resting.scope {
                RestScope::Token => PassedOver::TokenCooling,
                RestScope::Model => PassedOver::ModelCooling,
                RestScope::Team => PassedOver::TeamCooling,
            };
            let now = self.clock.wall().0;
            let detail = match resting.until_ms {
                Some(until) => format!(
                    "rests for {} ms more: {}",
                    until.saturating_sub(now),
                    explain(resting.cause)
                ),
                None => format!("rests: {}", explain(resting.cause)),
            };
            call.considered(&resting.token, reason, detail);
        }
    }

    /// Milliseconds until some token that rests now may serve the model.
    pub(super) fn next_recovery_ms(&self, ask: &Ask) -> Option<u64> {
        let now = self.clock.wall().0;
        let hindrances = self.hindrances(ask.wanted_model());
        hindrances
            .causes
            .iter()
            .filter_map(|(_, _, until)| *until)
            .min()
            .map(|until| until.saturating_sub(now))
    }
}

fn found(call: &mut Call, look: Look, pick: Pick, lease: CallLease) -> Room {
    let how = match pick.reason {
        Reason::Affinity => "the conversation is bound to it",
        Reason::Balance => "the better of two drawn at random",
        Reason::Pinned => "it made what the request builds on",
    };
    passed_over(call, look);
    call.considered(&pick.token, PassedOver::Chosen, how.to_owned());
    Room { pick, lease }
}

/// Writes down whom a look has passed over.
fn passed_over(call: &mut Call, look: Look) {
    for (token, shortage) in &look.short {
        let reason = match shortage.meter.kind {
            MeterKind::Concurrency => PassedOver::NoSlots,
            _ => PassedOver::NoUnits,
        };
        let detail = describe(&call.engine.ledger, shortage);
        call.considered(token, reason, detail);
    }
    call.left_out(look.left_out);
}

/// What a call takes of each meter.
fn wants(meters: &[MeterUse], ask: &Ask, reserved: Reservation) -> Vec<Want> {
    meters
        .iter()
        .filter(|_| ask.is_metered)
        .map(|used| Want {
            meter: used.meter.clone(),
            units: match used.takes {
                Takes::One => 1,
                Takes::Tokens => reserved.tokens.max(1),
                Takes::UsdTicks => reserved.usd_ticks.max(1),
            },
        })
        .collect()
}

/// Which meter was short, and when it frees: for a person, and for whoever judges whether the refusal was right.
fn describe(ledger: &Ledger, shortage: &Shortage) -> String {
    let meter = &shortage.meter;
    match (shortage.kind, shortage.retry_after_ms) {
        (ShortageKind::Away, _) => {
            let last = last_word(ledger, meter);
            if ledger.is_cut_off() {
                format!("{shortage}{last}")
            } else {
                format!(
                    "owner away: nothing of {meter} is left in hand, and the node that decides does not answer{last}"
                )
            }
        }
        (ShortageKind::Zero, _) => shortage.to_string(),
        (ShortageKind::Cold, _) => {
            let last = last_word(ledger, meter);
            format!("not granted yet: {meter}, its owner has been asked{last}")
        }
        (ShortageKind::Dry, Some(ms)) => format!("no units: {meter}, back in {ms} ms"),
        (ShortageKind::Dry, None) => format!("no units: {meter}, back when calls under way end"),
    }
}

/// What the owner of a meter last said that it had.
fn last_word(ledger: &Ledger, meter: &Meter) -> String {
    let status = ledger.status_of(meter);
    match status.and_then(|status| status.free.zip(status.heard_ms_ago)) {
        Some((free, ms)) => format!(", and last had {free} free, {ms} ms ago"),
        None => String::new(),
    }
}

/// Requests of one key share a queue; those without a key share one.
fn party_of(ask: &Ask) -> u64 {
    match &ask.caller {
        super::ask::Caller::Key(grok2api_actors::clients::Identity::Key(key)) => {
            u64::from_le_bytes(key.id.as_bytes()[8..].try_into().unwrap_or_default())
        }
        super::ask::Caller::Key(grok2api_actors::clients::Identity::Config) => 1,
        super::ask::Caller::Anonymous => 0,
    }
}
