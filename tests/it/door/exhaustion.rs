//! No descriptors left: the door waits instead of spinning, and goes on when some are free again.

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stand::{PATIENCE, Raw, Stand};
use crate::child;

/// Descriptors the child has for clients.
const SPARE: u64 = 8;

#[test]
#[ignore = "run in a process of its own by the test below"]
fn child_with_few_descriptors() {
    if !child::is_child() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stand = Stand::new().await;
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let limit = Rlimit {
            current: Some(open + SPARE),
            ..getrlimit(Resource::Nofile)
        };
        setrlimit(Resource::Nofile, limit).unwrap();
        println!("\nport {}", stand.address.port());
        let asked = tokio::task::spawn_blocking(|| std::io::stdin().lines().map_while(Result::ok).next());
        asked.await.unwrap();
        println!(
            "\nerrors {}",
            stand.handle.stats().accept_errors.load(Ordering::Relaxed)
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_the_door_waits_and_recovers() {
    let mut child = child::command("door::exhaustion::child_with_few_descriptors")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut number = |name: &str| -> u64 {
        let line = lines.find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.expect(name).trim().parse().unwrap()
    };
    let port = u16::try_from(number("port ")).unwrap();

    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = Raw(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        client.get("/").await;
        clients.push(client);
    }
    // Some are in, the others wait in the kernel's queue.
    clients[0].until("ok").await;
    let last = clients.len() - 1;
    let waiting = timeout(Duration::from_secs(1), clients[last].until("ok")).await;
    assert!(waiting.is_err(), "the limit was not reached");
    // Each that leaves makes room for another, until all were served.
    for (position, mut client) in clients.into_iter().enumerate() {
        if position > 0 {
            timeout(PATIENCE, client.until("ok")).await.unwrap();
        }
    }
    writeln!(child.stdin.take().unwrap(), "done").unwrap();
    let errors = number("errors ");
    assert!(
        (1..200).contains(&errors),
        "{errors} failures of accept: it spins, or never failed"
    );
    assert!(child.wait().unwrap().success());
}
