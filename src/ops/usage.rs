//! What client keys used today, as the ledger counts it.

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
            let names: Vec<String> = keys.iter().map(KeyId::to_string).collect();
            let used_by_keys = self.ledger.used_by_keys(&names).await;
            let used = |key: &KeyId, kind: MeterKind| {
                let meter = Meter {
                    domain: Domain::ClientKey(key.to_string()),
                    kind,
                };
                used_by_keys.get(&meter).copied().unwrap_or(0)
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
