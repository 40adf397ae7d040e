//! The meters of client keys: every key is a domain of the ledger like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use grok2api_actors::clients::Identity;
use grok2api_actors::ledger::{Actual, CallLease, HeldMeter, Ledger, Shortage, ShortageKind, Want};
use grok2api_schemas::client_key::KeyRecord;
use grok2api_schemas::ids::KeyId;
use grok2api_schemas::meter::{DayBucket, Domain, Meter, MeterKind};
use tokio::time::Instant;

use super::Engine;
use super::ask::{Ask, Caller};
use super::call::Call;
use super::error::{ErrorKind, GatewayError, RefusalReason};
use super::patience::Patience;
use super::waiting::RoomKey;

const MINUTE_MS: u64 = 60_000;
/// When to come back for what calls under way hold.
const SOON_MS: u64 = 1_000;
const BUCKETS: [DayBucket; 4] = [DayBucket::Chat, DayBucket::Heavy, DayBucket::Image, DayBucket::Video];

/// Keys whose meters are kept at hand. The ledger keeps what they count: a key that is forgotten here costs its next
/// request a few look-ups.
const KEPT: usize = 4_096;

/// Meters of the client keys that were used of late.
#[derive(Default)]
pub struct KeyMeters {
    by_key: DashMap<KeyId, Arc<MetersOfKey>>,
}

/// One key's meters, as of one version of its record.
pub struct MetersOfKey {
    version: u64,
    /// Used since keys were last forgotten.
    is_used: AtomicBool,
    /// Units used today, limited or not.
    pub daily: [(DayBucket, Arc<HeldMeter>); 4],
    rpm: Option<Arc<HeldMeter>>,
    tpm: Option<Arc<HeldMeter>>,
    concurrency: Option<Arc<HeldMeter>>,
    /// Spend today, limited or not.
    pub spend: Arc<HeldMeter>,
    /// Whether the budget is never to be passed.
    pub strict: bool,
    /// Whether the budget or token rate is limited at all.
    pub has_amounts: bool,
}

impl KeyMeters {
    /// The meters of a key.
    pub fn of(&self, key: &KeyRecord, ledger: &Ledger) -> Arc<MetersOfKey> {
        if let Some(meters) = self.by_key.get(&key.id)
            && meters.version == key.version
        {
            if !meters.is_used.load(Ordering::Relaxed) {
                meters.is_used.store(true, Ordering::Relaxed);
            }
            return meters.clone();
        }
        let meters = Arc::new(MetersOfKey::new(key, ledger));
        if self.by_key.len() >= KEPT {
            self.by_key
                .retain(|_, meters| meters.is_used.swap(false, Ordering::Relaxed));
            if self.by_key.len() >= KEPT {
                self.by_key.clear();
            }
        }
        self.by_key.insert(key.id, meters.clone());
        meters
    }
}

/// What a call holds of its key's limits; the second part is its budget, where that is settled later.
type Parts = (Option<CallLease>, Option<CallLease>);

impl MetersOfKey {
    fn new(key: &KeyRecord, ledger: &Ledger) -> MetersOfKey {
        let meter = |kind: MeterKind, limit: Option<u64>| {
            ledger.meter(
                &Meter {
                    domain: Domain::ClientKey(key.id.to_string()),
                    kind,
                },
                limit,
            )
        };
        let limits = &key.limits;
        let daily = BUCKETS.map(|bucket| {
            let limit = match bucket {
                DayBucket::Chat => limits.daily.chat,
                DayBucket::Heavy => limits.daily.heavy,
                DayBucket::Image => limits.daily.image,
                DayBucket::Video => limits.daily.video,
            };
            (bucket, meter(MeterKind::PerDay(bucket), limit))
        });
        MetersOfKey {
            version: key.version,
            is_used: AtomicBool::new(true),
            daily,
            rpm: limits
                .rpm
                .map(|rpm| meter(MeterKind::Requests { window_ms: MINUTE_MS }, Some(rpm))),
            tpm: limits
                .tpm
                .map(|tpm| meter(MeterKind::Tokens { window_ms: MINUTE_MS }, Some(tpm))),
            concurrency: limits
                .concurrency
                .map(|slots| meter(MeterKind::Concurrency, Some(slots))),
            spend: meter(MeterKind::UsdPerDay, limits.budget_ticks),
            strict: limits.strict,
            has_amounts: limits.tpm.is_some() || limits.budget_ticks.is_some(),
        }
    }

    /// Whether the next request of this key would reserve less than the one that was refused: a strict key's requests are
    /// cut to what is left of its budget at the time.
    fn is_divided_anew(&self, shortage: &Shortage) -> bool {
        self.strict
            && shortage.meter.kind == MeterKind::UsdPerDay
            && self
                .spend
                .limit()
                .is_some_and(|limit| self.spend.used_in_window() < limit)
    }

    /// What is reserved of a meter of tokens or money. Where the client does not say how long its answer may be, the
    /// reservation is a guess, and a guess that is larger than what is left refuses nobody: the call gets what is left.
    fn amount(&self, ask: &Ask, meter: &HeldMeter, guess: u64) -> u64 {
        let guess = guess.max(1);
        if self.strict || ask.max_output.is_some() {
            return guess;
        }
        match meter.limit() {
            Some(limit) => guess.min(limit.saturating_sub(meter.used_in_window()).max(1)),
            None => guess,
        }
    }

    fn wants(&self, ask: &Ask, call: &Call) -> Vec<Want> {
        let mut wants = Vec::with_capacity(6);
        let mut want = |meter: &Arc<HeldMeter>, units: u64| {
            wants.push(Want {
                meter: meter.clone(),
                units,
            })
        };
        for (bucket, units) in &ask.buckets {
            if let Some((_, meter)) = self.daily.iter().find(|(name, _)| name == bucket)
                && *units > 0
            {
                want(meter, *units);
            }
        }
        if let Some(rpm) = &self.rpm {
            want(rpm, 1);
        }
        if let Some(tpm) = &self.tpm {
            want(tpm, self.amount(ask, tpm, call.reserved.tokens));
        }
        if let Some(slots) = &self.concurrency {
            want(slots, 1);
        }
        want(&self.spend, self.amount(ask, &self.spend, call.reserved.usd_ticks));
        wants
    }

    /// The lease, and apart from it what is settled later than the rest.
    fn parted(&self, ask: &Ask, lease: CallLease) -> Parts {
        if !ask.settles_later {
            return (Some(lease), None);
        }
        let (rest, spend) = lease.split_off(&self.spend);
        (Some(rest), Some(spend))
    }
}

impl Engine {
    /// Takes what the call uses of its client key's limits, waiting for a slot or a unit that comes back soon.
    pub(super) async fn take_from_key(&self, call: &mut Call, ask: &Ask) -> Result<Parts, GatewayError> {
        let Caller::Key(Identity::Key(key)) = &ask.caller else {
            return Ok((None, None));
        };
        let meters = self.key_meters.of(key, &self.ledger);
        let room = RoomKey::ClientKey(*key.id.as_bytes());
        if !self.rooms.is_occupied(&room)
            && let Ok(lease) = self.ledger.try_take(&meters.wants(ask, call))
        {
            return Ok(meters.parted(ask, lease));
        }
        let began = Instant::now();
        let patience = Patience::from(began, self.settings().max_wait, self.ledger.grant_life());
        let mut had_turn = false;
        let mut place = None;
        let mut is_undecided = false;
        let result = loop {
            let left = patience.left(Instant::now(), is_undecided);
            let wants = meters.wants(ask, call);
            let shortage = match self
                .ledger
                .take(&wants, left.min(std::time::Duration::from_millis(500)))
                .await
            {
                Ok(lease) => {
                    self.rooms.call_next(&room);
                    break Ok(meters.parted(ask, lease));
                }
                Err(shortage) => shortage,
            };
            is_undecided = self.ledger.is_undecided(&shortage);
            let left = patience.left(Instant::now(), is_undecided);
            let may_return = self.amount_may_return(&shortage, &wants);
            let hopeless = shortage.kind == ShortageKind::Zero
                || !may_return
                    && !is_undecided
                    && shortage
                        .retry_after_ms
                        .is_some_and(|ms| u128::from(ms) > left.as_millis());
            if hopeless || left.is_zero() {
                self.rooms.call_next(&room);
                break Err(refusal(
                    &self.ledger,
                    &shortage,
                    may_return || meters.is_divided_anew(&shortage),
                ));
            }
            let Some(mut waits) = place.take().or_else(|| self.rooms.enter(&room, 0, had_turn)) else {
                break Err(refusal(&self.ledger, &shortage, may_return));
            };
            had_turn = tokio::select! {
                () = waits.turn() => true,
                () = tokio::time::sleep(left.min(std::time::Duration::from_millis(250))) => false,
            };
            if had_turn {
                waits.used();
            } else {
                place = Some(waits);
            }
        };
        call.queued_us += began.elapsed().as_micros() as u64;
        result
    }

    /// Charges a key for what it turned out to cost after the call was over. A key that has nothing left is not charged:
    /// it can spend no more today anyway.
    pub async fn charge(&self, caller: &Caller, ticks: u64) {
        let Caller::Key(Identity::Key(key)) = caller else {
            return;
        };
        let meters = self.key_meters.of(key, &self.ledger);
        let want = Want {
            meter: meters.spend.clone(),
            units: 1,
        };
        match self.ledger.take(&[want], std::time::Duration::from_millis(500)).await {
            Ok(mut lease) => {
                let _ = lease.confirm_send();
                lease.settle(Actual {
                    tokens: Some(0),
                    usd_ticks: Some(ticks),
                });
            }
            Err(shortage) => tracing::debug!(meter = %shortage.meter, ticks, "a cost was not charged: nothing is left"),
        }
    }

    /// Charges a key for what goes on; answers whether it could still pay.
    pub(super) async fn pay(&self, caller: &Caller, ticks: u64) -> bool {
        let Caller::Key(Identity::Key(key)) = caller else {
            return true;
        };
        let meters = self.key_meters.of(key, &self.ledger);
        let want = Want {
            meter: meters.spend.clone(),
            units: ticks.max(1),
        };
        match self.ledger.take(&[want], std::time::Duration::from_millis(500)).await {
            Ok(mut lease) => {
                let _ = lease.confirm_send();
                lease.settle(Actual {
                    tokens: Some(0),
                    usd_ticks: Some(ticks),
                });
                true
            }
            Err(_) => false,
        }
    }

    /// Whether an amount that is short may come back at any moment. Calls under way reserve more than most of them use, and
    /// give the rest back when they settle; what they gave back takes a moment to be granted again. The owner of the meter
    /// only knows when what is charged is released.
    fn amount_may_return(&self, shortage: &Shortage, wants: &[Want]) -> bool {
        if shortage.meter.kind != MeterKind::UsdPerDay && !matches!(shortage.meter.kind, MeterKind::Tokens { .. }) {
            return false;
        }
        let is_in_flight = self
            .ledger
            .status_of(&shortage.meter)
            .is_some_and(|status| status.in_flight > 0);
        is_in_flight
            || wants.iter().any(|want| {
                *want.meter.meter() == shortage.meter
                    && want
                        .meter
                        .limit()
                        .is_some_and(|limit| want.meter.used_in_window().saturating_add(want.units) <= limit)
            })
    }
}

/// What the client is told when its key has no room; `soon`: what is short may come back at any moment.
fn refusal(ledger: &Ledger, shortage: &Shortage, soon: bool) -> GatewayError {
    if shortage.kind == ShortageKind::Away {
        return super::refused::bus_away(ledger, shortage.retry_after_ms);
    }
    let retry = if soon { Some(SOON_MS) } else { shortage.retry_after_ms };
    let error = match shortage.meter.kind {
        MeterKind::PerDay(bucket) => {
            let name = match bucket {
                DayBucket::Chat => "chat",
                DayBucket::Heavy => "heavy/chat",
                DayBucket::Image => "image",
                DayBucket::Video => "video",
            };
            GatewayError::new(ErrorKind::ClientLimit, format!("Daily quota exceeded: {name}"))
                .with_code("daily_quota_exceeded")
        }
        MeterKind::UsdPerDay | MeterKind::Usd { .. } => GatewayError::new(
            ErrorKind::ClientBudget,
            "This key's budget for the day is used up, or too little of it is left for this request.",
        ),
        MeterKind::Tokens { .. } => GatewayError::new(
            ErrorKind::ClientLimit,
            "This key's limit of tokens per minute is reached.",
        ),
        MeterKind::Concurrency => GatewayError::new(
            ErrorKind::ClientLimit,
            "This key has as many requests under way as it may.",
        ),
        MeterKind::Requests { .. } | MeterKind::Paced { .. } => GatewayError::new(
            ErrorKind::ClientLimit,
            "This key's limit of requests per minute is reached.",
        ),
    };
    let retry = match shortage.meter.kind {
        MeterKind::Concurrency => retry.or(Some(1_000)),
        _ => retry,
    };
    let error = error.retry_after(retry).because(RefusalReason::ClientLimit);
    match shortage.kind {
        ShortageKind::Zero => error.for_good(),
        _ => error,
    }
}
