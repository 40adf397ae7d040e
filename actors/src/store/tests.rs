mod processes;

use futures::future::join_all;

use super::*;

const A: &str = "a";
const B: &str = "b";

fn put(tree: &'static str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> StoreWrite {
    StoreWrite {
        tree,
        key: Bytes::copy_from_slice(key.as_ref()),
        value: Some(Bytes::copy_from_slice(value.as_ref())),
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.get(A, b"k").unwrap(), None);
    store
        .write(vec![put(A, "k", "1"), put(B, "k", "2"), put(B, "l", "3")])
        .await
        .unwrap();
    store
        .write(vec![StoreWrite {
            tree: B,
            key: Bytes::from_static(b"k"),
            value: None,
        }])
        .await
        .unwrap();
    store.close();
    assert_eq!(store.write(vec![put(A, "k", "9")]).await, Err(StoreError::Closed));
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.recovered_from(), None);
    assert_eq!(store.get(A, b"k").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(B, b"k").unwrap(), None);
    assert_eq!(store.len(B).unwrap(), 1);
    assert_eq!(store.len("never written").unwrap(), 0);
}

#[tokio::test]
async fn scans_answer_in_key_order_within_their_bounds() {
    let store = Store::temporary().unwrap();
    let rows = (0..20u8).map(|n| put(A, [b'x', n], [n])).chain([put(A, "y", "")]);
    store.write(rows.rev().collect()).await.unwrap();
    let keys = |rows: Vec<(Bytes, Bytes)>| rows.iter().map(|(key, _)| key[1]).collect::<Vec<u8>>();
    assert_eq!(keys(store.scan_prefix(A, b"x").unwrap()), (0..20).collect::<Vec<u8>>());
    assert_eq!(
        keys(store.scan_range(A, &[b'x', 3], Some(&[b'x', 6]), 9).unwrap()),
        [3, 4, 5]
    );
    assert_eq!(keys(store.scan_range(A, &[b'x', 3], None, 2).unwrap()), [3, 4]);
    assert!(store.scan_range(A, b"z", Some(b"a"), 9).unwrap().is_empty());
}

#[tokio::test]
async fn a_check_that_fails_writes_nothing() {
    let store = Store::temporary().unwrap();
    let check = |expected: Option<&'static str>| {
        vec![StoreCheck {
            tree: A,
            key: Bytes::from_static(b"k"),
            expected: expected.map(|value| Bytes::from_static(value.as_bytes())),
        }]
    };
    store.write_if(check(None), vec![put(A, "k", "1")]).await.unwrap();
    let refused = store
        .write_if(check(None), vec![put(A, "k", "2"), put(B, "k", "2")])
        .await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(store.get(A, b"k").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(B, b"k").unwrap(), None);
    store.write_if(check(Some("1")), vec![put(A, "k", "3")]).await.unwrap();
    assert_eq!(store.get(A, b"k").unwrap().as_deref(), Some(&b"3"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_see_every_write_before_them_and_are_flushed_in_groups() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let order = Arc::new(Mutex::new(Vec::new()));
    let writers = (0..500).map(|_| {
        let order = order.clone();
        store.decide(move |view| {
            let count = view
                .get(A, b"count")?
                .map_or(0, |value| value[0] as u64 * 256 + value[1] as u64)
                + 1;
            let value = [(count / 256) as u8, (count % 256) as u8];
            Ok(Decision::write(count, vec![put(A, "count", value)]).then(move || order.lock().push(count)))
        })
    });
    let mut answers: Vec<u64> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=500).collect::<Vec<u64>>(), "no increment is lost");
    assert_eq!(
        *order.lock(),
        answers,
        "what follows a write runs in the order of the commits"
    );
    let stats = store.stats();
    assert_eq!((stats.batches, stats.writes), (500, 500));
    assert!(stats.flushes < 250, "500 writes at once took {} flushes", stats.flushes);
    assert!(stats.largest_group > 1);
}

#[tokio::test]
async fn limits_and_panics_refuse_one_write_and_not_the_next() {
    let store = Store::temporary().unwrap();
    let large = |error| matches!(error, Err(StoreError::TooLarge { .. }));
    assert!(large(store.write(vec![put(A, "", "1")]).await));
    assert!(large(store.write(vec![put(A, [0; MAX_KEY_BYTES + 1], "1")]).await));
    assert!(large(
        store
            .write(vec![put(A, "fits", "1"), put(A, "k", vec![0; MAX_VALUE_BYTES + 1])])
            .await
    ));
    assert_eq!(store.get(A, b"fits").unwrap(), None, "all or nothing");
    let panicked = store.decide::<(), _>(|_| panic!("on purpose")).await;
    assert_eq!(
        panicked,
        Err(StoreError::Corrupt {
            reason: "on purpose".into()
        })
    );
    store
        .write(vec![put(A, "large", vec![7; MAX_VALUE_BYTES])])
        .await
        .unwrap();
    assert_eq!(store.get(A, b"large").unwrap().unwrap().len(), MAX_VALUE_BYTES);
    assert_eq!(store.degraded(), None);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write(vec![put(A, "k", "1")]).await.unwrap();
    store.inner.shared.min_free_bytes.store(u64::MAX, Ordering::Relaxed);
    assert!(matches!(
        store.write(vec![put(A, "k", "2")]).await,
        Err(StoreError::Full { .. })
    ));
    assert!(matches!(store.degraded(), Some(StoreError::Full { .. })));
    assert_eq!(store.get(A, b"k").unwrap().as_deref(), Some(&b"1"[..]));
    store.inner.shared.min_free_bytes.store(0, Ordering::Relaxed);
    store.write(vec![put(A, "k", "3")]).await.unwrap();
    assert_eq!(store.degraded(), None);
    drop(store);

    let options = StoreOptions {
        min_free_bytes: u64::MAX,
        ..StoreOptions::default()
    };
    let refused = Store::open(dir.path(), options).err().unwrap();
    assert!(refused.to_string().contains("is full"), "{refused}");
    assert_eq!(open(dir.path()).get(A, b"k").unwrap().as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_second_opening_is_told_who_has_it_and_the_lock_goes_with_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let refused = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
    assert_eq!(
        refused,
        StoreError::Locked {
            dir: dir.path().to_owned()
        }
    );
    assert!(refused.to_string().starts_with("another grok2api uses "));
    drop(store);
    open(dir.path());
}

#[test]
fn a_wrong_place_is_an_error_that_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let refused = Store::open(&file.join("store"), StoreOptions::default()).err().unwrap();
    assert!(matches!(refused, StoreError::Unusable { .. }), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");

    // Something else lies where the data should be: not damage, and not ours to rename.
    let data = dir.path().join("store/sled");
    std::fs::create_dir_all(data.join("db")).unwrap();
    let refused = Store::open(&dir.path().join("store"), StoreOptions::default())
        .err()
        .unwrap();
    assert!(matches!(refused, StoreError::Unusable { .. }), "{refused}");
    assert!(data.join("db").is_dir());
    assert_eq!(std::fs::read_dir(dir.path().join("store")).unwrap().count(), 2);
}

/// Fills a store over several segments, with a snapshot, and answers where its files are.
async fn filled(dir: &Path) -> PathBuf {
    for round in 0..2u8 {
        let store = open(dir);
        for part in 0..10u32 {
            let rows = (0..200u32).map(|n| put(A, (part * 200 + n).to_be_bytes(), [round; 400]));
            store.write(rows.collect()).await.unwrap();
        }
    }
    dir.join("sled")
}

fn overwrite(file: &Path, at: usize, with: &[u8]) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at..at + with.len()].copy_from_slice(with);
    std::fs::write(file, bytes).unwrap();
}

fn snapshot(data: &Path) -> PathBuf {
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    files
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
        .unwrap()
}

#[tokio::test]
async fn damaged_files_are_refused_or_set_aside_for_an_empty_store() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("settings", |data| overwrite(&data.join("conf"), 0, &[0xff; 8])),
        ("snapshot", |data| overwrite(&snapshot(data), 5, &[0xee; 4])),
        ("log, within what the snapshot covers", |data| {
            let length = std::fs::metadata(data.join("db")).unwrap().len() as usize;
            for at in (1000..length - 1000).step_by(10_000) {
                overwrite(&data.join("db"), at, &[0x5a; 500]);
            }
        }),
        ("log cut short", |data| {
            let log = std::fs::OpenOptions::new().write(true).open(data.join("db")).unwrap();
            log.set_len(300_000).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        let data = filled(dir.path()).await;
        damage(&data);
        let refused = Store::open(dir.path(), StoreOptions::default()).err().unwrap();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{what}: {refused}");
        assert!(!refused.to_string().contains('\n'), "{what}: one line");
        assert!(data.join("db").exists(), "{what}: a refused store stays where it is");
        let options = StoreOptions {
            if_damaged: IfDamaged::SetAside,
            ..StoreOptions::default()
        };
        let store = Store::open(dir.path(), options).unwrap();
        let aside = store
            .recovered_from()
            .unwrap_or_else(|| panic!("{what}: opened as if nothing were wrong"));
        assert!(aside.join("db").exists(), "{what}: the damaged files are kept");
        assert!(
            aside
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("sled.damaged-20")
        );
        assert_eq!(store.len(A).unwrap(), 0, "{what}");
        store.write(vec![put(A, "k", "1")]).await.unwrap();
        drop(store);
        assert_eq!(open(dir.path()).recovered_from(), None, "{what}: mended");
    }
}

#[test]
fn the_stamp_of_a_damaged_store_is_the_utc_date() {
    assert_eq!(open::utc_stamp(0), "19700101T000000Z");
    assert_eq!(open::utc_stamp(951_827_696_789), "20000229T123456Z");
    assert_eq!(open::utc_stamp(1_798_761_599_000), "20261231T235959Z");
}
