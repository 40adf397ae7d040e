//! Processes that are killed or starved in the middle of writing, and what the next one finds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// Runs `child_of_the_tests` as a process of its own on `dir`; `life` tells its keys from those of other lives.
fn child(shell_prefix: &str, dir: &Path, life: u64) -> Child {
    let binary = std::env::current_exe().unwrap();
    let name = "store::tests::processes::child_of_the_tests";
    Command::new("sh")
        .args(["-c", &format!("{shell_prefix} exec \"$0\" \"$@\"")])
        .arg(binary)
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("STORE_TEST_DIR", dir)
        .env("STORE_TEST_LIFE", life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Mostly small; now and then larger than a page, a part of a segment, or what sled keeps in the log at all.
fn size(n: u64) -> usize {
    match n {
        n if n % 97 == 96 => 300_000,
        n if n % 31 == 30 => 30_000,
        n if n % 7 == 6 => 5_000,
        _ => 300,
    }
}

fn key(life: u64, lane: u64, n: u64) -> Vec<u8> {
    [life, lane, n].iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[tokio::test]
#[ignore = "not a test: the process that the tests below kill and starve"]
async fn child_of_the_tests() {
    let Some(dir) = std::env::var_os("STORE_TEST_DIR") else {
        return;
    };
    let life: u64 = std::env::var("STORE_TEST_LIFE").unwrap().parse().unwrap();
    let store = open(Path::new(&dir));
    println!("set aside: {:?}", store.recovered_from());
    let writer = |lane: u64| {
        let store = store.clone();
        async move {
            for n in 0u64.. {
                let key = key(life, lane, n);
                let batch = vec![
                    put(A, &key, vec![7; size(n)]),
                    put(B, &key, [8; 20]),
                    // Written over and over, as the head of a journal is.
                    put("heads", lane.to_be_bytes(), &key),
                ];
                if let Err(error) = store.write(batch).await {
                    return error;
                }
                println!("acknowledged {lane} {n}");
            }
            StoreError::Closed
        }
    };
    let (first, ..) = futures::future::select_all((0..8).map(|lane| Box::pin(writer(lane)))).await;
    let again = store.write(vec![put(A, "after", "1")]).await;
    println!("failed: {first}");
    println!("degraded: {}", store.degraded() == again.err());
    println!("readable: {}", store.get(A, &key(life, 0, 0)).unwrap().is_some());
}

fn acknowledged(line: &str) -> Option<(u64, u64)> {
    let (lane, n) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
    Some((lane.parse().unwrap(), n.parse().unwrap()))
}

/// How many writes of each lane were acknowledged in one life.
type Acknowledged = BTreeMap<u64, u64>;

/// Lets a process live until so many writes are acknowledged, then kills it.
fn live_and_be_killed(dir: &Path, life: u64, after: usize) -> Acknowledged {
    let mut child = child("", dir, life);
    let mut written = Acknowledged::new();
    let mut count = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        assert!(!line.contains("set aside: Some"), "life {life}: {line}");
        if let Some((lane, n)) = acknowledged(&line) {
            assert_eq!(written.insert(lane, n + 1).unwrap_or(0), n);
            count += 1;
        }
        if count == after {
            child.kill().unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    written
}

/// Everything that was acknowledged is there, and nothing is half there.
fn check(dir: &Path, lives: &[Acknowledged]) {
    let store = open(dir);
    assert_eq!(store.recovered_from(), None);
    for (life, written) in lives.iter().enumerate() {
        for (&lane, &count) in written {
            for n in 0..count {
                let value = store.get(A, &key(life as u64, lane, n)).unwrap();
                assert_eq!(
                    value.map(|value| value.len()),
                    Some(size(n)),
                    "life {life} of {}, lane {lane}: write {n} of {count}",
                    lives.len()
                );
            }
        }
    }
    let [a, b] = [A, B].map(|tree| {
        let mut keys = Vec::new();
        store.visit(tree, b"", |key, _| keys.push(key.to_vec())).unwrap();
        keys
    });
    assert!(
        a == b,
        "a batch over several trees is all or nothing, and there are {} and {} keys",
        a.len(),
        b.len()
    );
    for (lane, &count) in &lives[lives.len() - 1] {
        let head = store.get("heads", &lane.to_be_bytes()).unwrap().unwrap();
        assert!(head[..] >= key(lives.len() as u64 - 1, *lane, count - 1)[..]);
    }
}

#[test]
fn after_kill_9_every_acknowledged_write_is_there_and_none_is_half_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut lives = Vec::new();
    for (life, after) in [50, 400, 1500].into_iter().enumerate() {
        lives.push(live_and_be_killed(dir.path(), life as u64, after));
        check(dir.path(), &lives);
    }
}

#[test]
#[ignore = "long: a hundred lives; run it after any change to the committer or to how sled is opened"]
fn after_a_hundred_kills_every_acknowledged_write_of_every_life_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut lives = Vec::new();
    for life in 0..100 {
        lives.push(live_and_be_killed(dir.path(), life, fastrand::usize(1..800)));
        // Every other life opens what the kill left, not what a check has tidied.
        if life % 2 == 1 {
            check(dir.path(), &lives);
        }
    }
}

#[test]
fn a_write_that_fails_half_way_is_an_error_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    // The file size limit stands for a disk that fills up under sled's hands.
    let child = child("trap '' XFSZ; ulimit -f 4096;", dir.path(), 0);
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.contains("failed: the store is read-only after a failed write"),
        "{output}"
    );
    assert!(output.contains("degraded: true"));
    assert!(output.contains("readable: true"));
    let mut written = Acknowledged::new();
    for (lane, n) in output.lines().filter_map(acknowledged) {
        written.insert(lane, n + 1);
    }
    assert!(written.values().sum::<u64>() > 50, "{written:?}");
    check(dir.path(), &[written]);
}
