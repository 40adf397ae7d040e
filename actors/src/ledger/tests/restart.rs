//! Restarts over the real store: what a process wrote before it died holds for the next.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::meter::{DayBucket, MeterKind};
use tokio_util::task::TaskTracker;

use super::harness::{RPM, key_meter, meter, one};
use crate::bus::local::LocalBus;
use crate::clock::Clock;
use crate::ledger::{CallLease, Ledger, LedgerOptions, Want};
use crate::store::{Store, StoreOptions};

const WAIT: Duration = Duration::from_millis(300);

struct Life {
    ledger: Ledger,
    bus: Arc<LocalBus>,
    tracker: TaskTracker,
}

impl Life {
    async fn begin(dir: &Path) -> Life {
        let store = Store::open(dir, StoreOptions::default()).unwrap();
        let bus = LocalBus::new(store, Clock::system());
        let tracker = TaskTracker::new();
        let options = LedgerOptions::alone(SessionId::generate());
        let arbiters = [actix_rt::Arbiter::current()];
        let ledger = Ledger::start(bus.clone(), Clock::system(), tracker.clone(), &arbiters, options)
            .await
            .unwrap();
        Life { ledger, bus, tracker }
    }

    /// Ends as kill -9 would: nothing is settled, nothing given back.
    async fn die(self) {
        self.ledger.kill();
        drop(self.ledger);
        self.tracker.close();
        self.tracker.wait().await;
        self.bus.close();
        drop(self.bus);
        // The actors notice that nobody holds them.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn send_all(ledger: &Ledger, want: Want) -> Vec<CallLease> {
    let mut sent = Vec::new();
    while let Ok(mut lease) = ledger.take(std::slice::from_ref(&want), WAIT).await {
        lease.confirm_send().unwrap();
        sent.push(lease);
    }
    sent
}

#[test]
fn units_of_a_killed_process_stay_charged_and_its_slots_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    actix::System::with_tokio_rt(runtime).block_on(async {
        let chats = key_meter(MeterKind::PerDay(DayBucket::Chat));
        let mut sent = 0;
        let life = Life::begin(dir.path()).await;
        let requests = life.ledger.meter(&meter("team", RPM), Some(50));
        let slots = life.ledger.meter(&meter("team", MeterKind::Concurrency), Some(4));
        let day = life.ledger.meter(&chats, Some(40));
        let mut calls = Vec::new();
        for _ in 0..4 {
            let mut lease = life
                .ledger
                .take(&[one(&requests), one(&slots), one(&day)], WAIT)
                .await
                .unwrap();
            lease.confirm_send().unwrap();
            calls.push(lease);
            sent += 1;
        }
        assert!(life.ledger.take(&[one(&slots)], WAIT).await.is_err());
        std::mem::forget(calls);
        life.die().await;

        let life = Life::begin(dir.path()).await;
        let slots = life.ledger.meter(&meter("team", MeterKind::Concurrency), Some(4));
        assert_eq!(
            send_all(&life.ledger, one(&slots)).await.len(),
            4,
            "slots are free at once"
        );
        let requests = life.ledger.meter(&meter("team", RPM), Some(50));
        let more = send_all(&life.ledger, one(&requests)).await.len();
        sent += more;
        assert!(sent <= 50, "{sent} of 50");
        // At most half of what was free is kept in hand without anybody waiting.
        assert!(sent >= 25, "{sent}: more than what was in hand is lost");
        let day = life.ledger.meter(&chats, Some(40));
        let today = 4 + send_all(&life.ledger, one(&day)).await.len();
        assert!((34..=40).contains(&today), "{today} of 40");
        assert!(
            life.ledger.inspect().await.iter().any(|at| at.presumed > 0),
            "calls in flight are presumed spent"
        );
        life.ledger.close().await;
        life.bus.close();
        drop(life);
        tokio::time::sleep(Duration::from_millis(50)).await;

        let life = Life::begin(dir.path()).await;
        let requests = life.ledger.meter(&meter("team", RPM), Some(50));
        assert_eq!(
            send_all(&life.ledger, one(&requests)).await.len(),
            50 - sent.max(50),
            "a graceful end forgets nothing"
        );
        let day = life.ledger.meter(&chats, Some(40));
        assert_eq!(send_all(&life.ledger, one(&day)).await.len(), 0);
        life.die().await;
    });
}
