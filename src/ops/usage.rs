//! What client keys used today, as the ledger counts it.

use std::collections::HashMap;

use futures::future::BoxFuture;
use grok2api_actors::clock::Clock;
use grok2api_actors::ledger::Ledger;
use grok2api_schemas::ids::KeyId;
use grok2api_schemas::meter::{DayBucket, Domain, Meter, MeterKind};
use time::OffsetDateTime;

use super::keys::{KeyDayUsage, KeyUsage};

/// Usage read off the ledger.
pub struct LedgerUsage {
    /// The ledger.
    pub ledger: Ledger,
    /// Time.
    pub clock: Clock,
    /// Minutes that the reset time zone is ahead of UTC.
    pub day_offset_minutes: i32,
}

impl KeyUsage for LedgerUsage {
    fn today(&self) -> String {
        let seconds = (self.clock.wall().0 / 1000) as i64 + i64::from(self.day_offset_minutes) * 60;
        match OffsetDateTime::from_unix_timestamp(seconds) {
            Ok(day) => format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day()),
            Err(_) => String::new(),
        }
    }

    fn used_today<'a>(&'a self, keys: &'a [KeyId]) -> BoxFuture<'a, Vec<KeyDayUsage>> {
        Box::pin(async move {
            let standing: HashMap<Meter, u64> = self
                .ledger
                .inspect()
                .await
                .into_iter()
                .filter(|standing| matches!(standing.meter.domain, Domain::ClientKey(_)))
                .map(|standing| {
                    // Granted and still in this node's hand is not used yet.
                    let in_hand = self
                        .ledger
                        .status_of(&standing.meter)
                        .map_or(0, |status| status.in_hand);
                    let used = (standing.charged + standing.outstanding).saturating_sub(in_hand);
                    (standing.meter, used)
                })
                .collect();
            let used = |key: &KeyId, kind: MeterKind| {
                let meter = Meter {
                    domain: Domain::ClientKey(key.to_string()),
                    kind,
                };
                standing.get(&meter).copied().unwrap_or(0)
            };
            keys.iter()
                .map(|key| KeyDayUsage {
                    chat: used(key, MeterKind::PerDay(DayBucket::Chat)),
                    heavy: used(key, MeterKind::PerDay(DayBucket::Heavy)),
                    image: used(key, MeterKind::PerDay(DayBucket::Image)),
                    video: used(key, MeterKind::PerDay(DayBucket::Video)),
                    spent_ticks: used(key, MeterKind::UsdPerDay),
                })
                .collect()
        })
    }
}
