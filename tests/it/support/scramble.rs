//! A wire between a node and NATS on which some of its messages come twice, late, or after later ones: a proxy that reads what
//! the client says, message by message, and leaves the rest as it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long a message is kept back at most so that later ones overtake it.
const KEPT_BACK: Duration = Duration::from_millis(300);
/// How much later a second copy comes at most.
const COPY_AFTER: Duration = Duration::from_secs(3);

/// What was done, in messages.
#[derive(Debug, Default)]
pub struct Done {
    pub twice: AtomicU64,
    pub overtaken: AtomicU64,
}

/// The proxy. Dropping it ends every connection.
pub struct Scrambler {
    address: SocketAddr,
    done: Arc<Done>,
    _end: DropGuard,
}

impl Scrambler {
    /// A proxy to this server that meddles with publications whose subjects start like this.
    pub async fn start(target: SocketAddr, subjects: &'static str, seed: u64) -> Scrambler {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (done, end) = (Arc::new(Done::default()), CancellationToken::new());
        let (tasks, stop, count) = (TaskTracker::new(), end.clone(), done.clone());
        let dice = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        tasks.clone().spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((near, _)) = accepted else { continue };
                let (stop, count, dice) = (stop.clone(), count.clone(), dice.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection(near, target, subjects, &count, &dice) => {}
                    }
                });
            }
        });
        Scrambler {
            address,
            done,
            _end: end.drop_guard(),
        }
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Messages that came twice, and messages that others overtook.
    pub fn done(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.done.twice), read(&self.done.overtaken))
    }
}

async fn connection(near: TcpStream, target: SocketAddr, subjects: &str, done: &Done, dice: &Mutex<fastrand::Rng>) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    let (on_the_way, mut arriving) = mpsc::unbounded_channel::<Vec<u8>>();
    let write = async move {
        while let Some(message) = arriving.recv().await {
            if far_out.write_all(&message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = meddle(near_in, subjects, &on_the_way, done, dice) => {}
        () = write => {}
        _ = tokio::io::copy(&mut far_in, &mut near_out) => {}
    }
}

/// Hands on what the client says.
async fn meddle(
    mut near: OwnedReadHalf,
    subjects: &str,
    on_the_way: &mpsc::UnboundedSender<Vec<u8>>,
    done: &Done,
    dice: &Mutex<fastrand::Rng>,
) {
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(length @ 1..) = near.read(&mut chunk).await {
        buffer.extend_from_slice(&chunk[..length]);
        while let Some((end, subject)) = first_message(&buffer) {
            let is_ours = subject.is_some_and(|subject| subject.starts_with(subjects));
            let message: Vec<u8> = buffer.drain(..end).collect();
            if !is_ours {
                on_the_way.send(message).ok();
                continue;
            }
            let (keep_back, copy_after) = {
                let mut dice = dice.lock();
                let up_to = |dice: &mut fastrand::Rng, most: Duration| most.mul_f64(dice.f64());
                let keep_back = (dice.u8(..) < 110).then(|| up_to(&mut dice, KEPT_BACK));
                let copy_after = (dice.u8(..) < 128).then(|| up_to(&mut dice, COPY_AFTER));
                (keep_back, copy_after)
            };
            let later = |message: Vec<u8>, after: Duration| {
                let on_the_way = on_the_way.clone();
                let due = Instant::now() + after;
                TaskTracker::new().spawn(async move {
                    tokio::time::sleep_until(due).await;
                    on_the_way.send(message).ok();
                });
            };
            if let Some(after) = copy_after {
                done.twice.fetch_add(1, Ordering::Relaxed);
                later(message.clone(), keep_back.unwrap_or_default() + after);
            }
            match keep_back {
                Some(after) => {
                    done.overtaken.fetch_add(1, Ordering::Relaxed);
                    later(message, after);
                }
                None => {
                    on_the_way.send(message).ok();
                }
            }
        }
    }
}

/// Where the first whole message ends, and its subject if it is a publication.
fn first_message(buffer: &[u8]) -> Option<(usize, Option<&str>)> {
    let line_end = buffer.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&buffer[..line_end]).unwrap_or_default();
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    if !matches!(words.next(), Some("PUB" | "HPUB")) {
        return Some((line_end + 2, None));
    }
    let subject = words.next();
    let length: usize = words.next_back()?.parse().ok()?;
    let end = line_end + 2 + length + 2;
    (buffer.len() >= end).then_some((end, subject))
}
