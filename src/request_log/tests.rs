use grok2api_actors::clock::{ManualClock, WallMs};
use grok2api_schemas::admin::requests::{Outcome, TimingView, UsageView};
use grok2api_schemas::ids::KeyId;

use super::*;

fn log(options: RequestLogOptions) -> (RequestLog, Store, Arc<ManualClock>) {
    let store = Store::temporary().unwrap();
    let (clock, manual) = Clock::manual(Clock::system().wall());
    let log = RequestLog::open(store.clone(), clock, options).unwrap();
    (log, store, manual)
}

pub(super) fn record(model: &str, outcome: Outcome) -> RequestRecord {
    RequestRecord {
        id: RequestId::generate(),
        time_ms: 0,
        node: String::new(),
        key_id: None,
        key_name: "tests".into(),
        route: "/v1/chat/completions".into(),
        model: model.into(),
        upstream_model: String::new(),
        stream: false,
        client_ip: "127.0.0.1".into(),
        status: 200,
        outcome,
        error_code: None,
        error_message: None,
        candidates: Vec::new(),
        candidates_left_out: 0,
        attempts: Vec::new(),
        timing: TimingView::default(),
        usage: UsageView::default(),
        cost_ticks: None,
        presumed: false,
        bytes_in: 10,
        bytes_out: 20,
    }
}

/// An id of a chosen time.
fn id_at(time_ms: u64, serial: u8) -> RequestId {
    let mut bytes = [serial; 16];
    bytes[..6].copy_from_slice(&time_ms.to_be_bytes()[2..]);
    RequestId::from_bytes(bytes)
}

fn hundreds() -> RequestQuery {
    RequestQuery {
        limit: 100,
        ..RequestQuery::default()
    }
}

fn all_pages(log: &RequestLog, query: &RequestQuery) -> Vec<RequestId> {
    let mut seen = Vec::new();
    let mut query = query.clone();
    loop {
        let page = log.page(&query).unwrap();
        seen.extend(page.items.iter().map(|record| record.id));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor.parse().unwrap()),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn a_record_is_readable_before_and_after_it_is_written_and_after_a_restart() {
    let (log, store, _) = log(RequestLogOptions::default());
    let first = record("grok-4", Outcome::Success);
    assert!(log.offer(first.clone()));
    assert_eq!(*log.get(first.id).unwrap().unwrap(), first);
    assert_eq!(log.page(&RequestQuery::default()).unwrap().items, vec![first.clone()]);
    log.flush().await.unwrap();
    assert_eq!(*log.get(first.id).unwrap().unwrap(), first);
    assert_eq!(log.page(&RequestQuery::default()).unwrap().items, vec![first.clone()]);

    let again = RequestLog::open(store, Clock::system(), RequestLogOptions::default()).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(*again.get(first.id).unwrap().unwrap(), first);
    assert_eq!(again.get(RequestId::generate()).unwrap(), None);
}

#[tokio::test]
async fn pages_show_every_record_once_newest_first_written_or_not() {
    let (log, _, _) = log(RequestLogOptions::default());
    let mut ids = Vec::new();
    for at in 0..700 {
        let record = record("grok-4", Outcome::Success);
        ids.push(record.id);
        log.offer(record);
        if at == 300 || at == 650 {
            log.flush().await.unwrap();
        }
    }
    ids.reverse();
    for limit in [1, 7, 256, 1_000] {
        let query = RequestQuery {
            limit,
            ..RequestQuery::default()
        };
        assert_eq!(all_pages(&log, &query), ids, "limit {limit}");
    }
    assert_eq!(log.page(&RequestQuery::default()).unwrap().total, 700);
}

#[tokio::test]
async fn requests_that_took_long_stand_where_they_arrived() {
    let (log, store, _) = log(RequestLogOptions {
        max_age_ms: u64::MAX,
        ..RequestLogOptions::default()
    });
    // Every flush brings records of its own second, of the one before and of the first: blocks of a second overlap.
    let mut ids = Vec::new();
    for flush in 1..=5u64 {
        for serial in 0..150u8 {
            let second = match serial % 10 {
                0 => 1,
                1 | 2 => flush.max(2) - 1,
                _ => flush,
            };
            let mut record = record("grok-4", Outcome::Success);
            record.id = id_at(second * 1_000 + flush * 3 + u64::from(serial) * 5, serial);
            ids.push(record.id);
            log.offer(record);
        }
        log.flush().await.unwrap();
    }
    assert!(store.len(RECORDS).unwrap() < 40, "{}", store.len(RECORDS).unwrap());
    for id in &ids {
        assert_eq!(search::find(&store, *id).unwrap().map(|record| record.id), Some(*id));
    }
    assert_eq!(search::find(&store, id_at(1_000, 255)).unwrap(), None);
    ids.sort_unstable_by(|a, b| b.cmp(a));
    for limit in [1, 50, 1_000] {
        let query = RequestQuery {
            limit,
            ..RequestQuery::default()
        };
        assert_eq!(all_pages(&log, &query), ids, "limit {limit}");
    }
    let query = RequestQuery {
        since_ms: Some(1_500),
        until_ms: Some(3_200),
        limit: 7,
        ..RequestQuery::default()
    };
    let (from, to) = (ring::first_id(1_500), ring::first_id(3_200));
    let wanted: Vec<RequestId> = ids.into_iter().filter(|id| (from..to).contains(id)).collect();
    assert!(!wanted.is_empty());
    assert_eq!(all_pages(&log, &query), wanted);
}

#[tokio::test]
async fn filters_add_up() {
    let (log, _, _) = log(RequestLogOptions::default());
    let key = KeyId::generate();
    let mut wanted = record("grok-4", Outcome::PoolLimit);
    wanted.key_id = Some(key);
    wanted.error_message = Some("No token can serve GROK-4 now".into());
    let mut other_key = record("grok-4", Outcome::PoolLimit);
    other_key.key_id = Some(KeyId::generate());
    for record in [record("grok-3", Outcome::Success), wanted.clone(), other_key] {
        log.offer(record);
    }
    log.flush().await.unwrap();
    let query = |change: fn(&mut RequestQuery)| {
        let mut query = RequestQuery {
            limit: 10,
            ..RequestQuery::default()
        };
        change(&mut query);
        query
    };
    let count = |query: &RequestQuery| log.page(query).unwrap().items.len();
    assert_eq!(count(&query(|q| q.model = Some("grok-4".into()))), 2);
    assert_eq!(
        count(&query(|q| q.outcomes = vec![Outcome::Success, Outcome::PoolLimit])),
        3
    );
    assert_eq!(count(&query(|q| q.text = Some("can serve grok".into()))), 1);
    let mut mine = query(|q| q.outcomes = vec![Outcome::PoolLimit]);
    mine.key = Some(key);
    assert_eq!(log.page(&mine).unwrap().items, vec![wanted]);
}

#[tokio::test]
async fn since_and_until_cut_by_arrival() {
    let (log, _, _) = log(RequestLogOptions {
        max_age_ms: u64::MAX,
        ..RequestLogOptions::default()
    });
    for at in 1..=5u64 {
        let mut record = record("grok-4", Outcome::Success);
        record.id = id_at(at * 1_000, 7);
        log.offer(record);
        if at == 3 {
            log.flush().await.unwrap();
        }
    }
    let query = RequestQuery {
        since_ms: Some(2_000),
        until_ms: Some(5_000),
        limit: 2,
        ..RequestQuery::default()
    };
    assert_eq!(
        all_pages(&log, &query),
        vec![id_at(4_000, 7), id_at(3_000, 7), id_at(2_000, 7)]
    );
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_keeps_what_waits() {
    let (log, _, _) = log(RequestLogOptions {
        queue: 2,
        ..RequestLogOptions::default()
    });
    assert!(log.offer(record("a", Outcome::Success)));
    assert!(log.offer(record("b", Outcome::Success)));
    assert!(!log.offer(record("c", Outcome::Success)));
    assert_eq!((log.dropped(), log.len()), (1, 2));
    log.flush().await.unwrap();
    assert!(log.offer(record("d", Outcome::Success)));
    assert_eq!(log.len(), 3);
}

#[tokio::test]
async fn old_and_excess_records_are_pruned_by_the_minute() {
    let (log, store, clock) = log(RequestLogOptions {
        max_age_ms: 10 * 60_000,
        max_bytes: 40_000,
        ..RequestLogOptions::default()
    });
    clock.set_wall(WallMs(1_000_000_000));
    let minute = |minute: u64| 1_000_000_000 - 1_000_000_000 % 60_000 - minute * 60_000;
    for back in [30u64, 20, 5, 3, 1] {
        for serial in 0..100 {
            let mut record = record("grok-4", Outcome::Success);
            record.id = id_at(minute(back) + u64::from(serial), serial);
            log.offer(record);
        }
        log.flush().await.unwrap();
    }
    // Two minutes are too old; of the other 300 records, about 40 kB stay.
    let sizes = log.inner.sizes.lock().await;
    assert!(sizes.bytes() <= 40_000);
    assert!(sizes.records() >= 200, "{}", sizes.records());
    assert_eq!(all_pages(&log, &hundreds()).len() as u64, sizes.records());
    let reopened = Sizes::load(&store).unwrap();
    assert_eq!((reopened.bytes(), reopened.records()), (sizes.bytes(), sizes.records()));
    drop(sizes);
    clock.advance_ms(3_600_000);
    log.flush().await.unwrap();
    assert_eq!(
        (log.len(), store.len(RECORDS).unwrap(), store.len(SIZES).unwrap()),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_writer_writes_at_most_four_times_a_second_and_once_more_at_the_end() {
    let (log, store, _) = log(RequestLogOptions::default());
    let tracker = TaskTracker::new();
    let stop = CancellationToken::new();
    log.start(&tracker, stop.clone());
    let before = store.stats().batches;
    for _ in 0..100 {
        log.offer(record("grok-4", Outcome::Success));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.stats().batches - before <= 4);
    log.offer(record("last", Outcome::Success));
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    assert_eq!(all_pages(&log, &hundreds()).len(), 101);
    assert_eq!(log.inner.recent.lock().waiting, 0);
    assert!(store.len(RECORDS).unwrap() > 0);
}

#[tokio::test]
async fn sums_outlive_the_records_and_count_each_once() {
    use grok2api_schemas::admin::rollups::{RollupAsk, RollupBy, RollupStep};
    let (log, store, clock) = log(RequestLogOptions {
        max_age_ms: 60_000,
        ..RequestLogOptions::default()
    });
    log.tell_providers(Arc::new(|_| "xai"));
    let now = Clock::system().wall().0;
    let offer = |model: &str, outcome, time_ms: u64, took| {
        let mut record = record(model, outcome);
        record.time_ms = time_ms;
        record.timing.total_ms = took;
        record.usage.prompt_tokens = Some(10);
        record.usage.total_tokens = Some(30);
        record.cost_ticks = Some(7);
        log.offer(record);
    };
    for n in 0..50 {
        offer("grok-a", Outcome::Success, now, 100 + n);
    }
    log.flush().await.unwrap();
    offer("grok-a", Outcome::UpstreamFailed, now, 9_000);
    offer("grok-b", Outcome::Success, now - 3 * 3_600_000, 20);
    log.flush().await.unwrap();
    log.flush().await.unwrap();
    // The records go; a restart forgets what was in memory.
    clock.advance_ms(600_000);
    log.flush().await.unwrap();
    assert_eq!(log.page(&hundreds()).unwrap().items.len(), 0);
    let again = RequestLog::open(store, Clock::system(), RequestLogOptions::default()).unwrap();
    let ask = |by, step| RollupAsk {
        since_ms: Some(now - 86_400_000),
        until_ms: None,
        step,
        by,
    };
    let sums = again.rollups(&ask(RollupBy::Model, RollupStep::Hour)).unwrap();
    let total = &sums.total;
    assert_eq!((total.requests, total.success, total.failed), (52, 51, 1));
    assert_eq!(
        (total.prompt_tokens, total.completion_tokens, total.cost_ticks),
        (520, 1_040, 364)
    );
    assert_eq!((total.p50_ms, total.p95_ms), (Some(200), Some(200)));
    assert_eq!(sums.series.iter().map(|point| point.sums.requests).sum::<u64>(), 52);
    assert!(sums.series.len() >= 24, "hours without a request are there as well");
    let names: Vec<(&str, u64)> = sums
        .groups
        .iter()
        .map(|group| (group.name.as_str(), group.sums.requests))
        .collect();
    assert_eq!(names, [("grok-a", 51), ("grok-b", 1)]);
    let causes = again.rollups(&ask(RollupBy::Cause, RollupStep::Day)).unwrap();
    assert_eq!(
        (causes.groups[0].name.as_str(), causes.groups[1].name.as_str()),
        ("success", "upstream_failed")
    );
    assert_eq!(
        again.rollups(&ask(RollupBy::Provider, RollupStep::Day)).unwrap().groups[0].name,
        "xai"
    );
}
