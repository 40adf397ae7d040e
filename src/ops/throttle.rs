//! Slows down guessing of passwords: per address and account, per address, per account. Pure: `now` is an argument.
//!
//! An attempt counts as failed from its start and is forgiven when it succeeds, so that parallel guesses gain nothing.
//! An account alone is slowed by a few seconds only: a stranger must not be able to lock an operator out.
//!
//! Nodes of a cluster tell each other of every attempt at its start ([`Throttle::heard`]). Hashing a password takes far
//! longer than a message, so an attempt is judged again when its hash is done ([`Attempt::is_too_many`]): of a burst over
//! all nodes no more is answered than of a burst on one.

use std::collections::HashMap;
use std::net::IpAddr;

use grok2api_actors::clock::Mono;
use parking_lot::Mutex;

/// Most counters in memory; beyond it the ones idle longest go.
const MOST: usize = 20_000;
/// Everything is forgotten after so many windows without an attempt.
const FORGET_AFTER_WINDOWS: u64 = 3;
/// An account that is tried from everywhere waits this long at most.
const ACCOUNT_WAITS_MS: u64 = 4_000;

/// How many failures are free, and how long the delays after them become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Failures of one address with one account before it has to wait; twice as many of one address with any, five times
    /// as many with one account from anywhere.
    pub failures: u32,
    /// The delay doubles from 1 s up to this.
    pub window_ms: u64,
}

/// How a counter slows down.
#[derive(Clone, Copy)]
struct Rule {
    /// Failures without a delay.
    free: u32,
    /// The delay doubles from 1 s up to this.
    most_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Pair(IpAddr, u64),
    Address(IpAddr),
    Account(u64),
}

impl Counted {
    fn rule(self, limits: ThrottleLimits) -> Rule {
        let (times, most_ms) = match self {
            Counted::Pair(..) => (1, limits.window_ms),
            Counted::Address(_) => (2, limits.window_ms),
            Counted::Account(_) => (5, limits.window_ms.min(ACCOUNT_WAITS_MS)),
        };
        Rule {
            free: limits.failures.saturating_mul(times),
            most_ms,
        }
    }
}

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    /// Attempts on other nodes since it is counted.
    elsewhere: u32,
    next: Mono,
    last: Mono,
}

/// Who tries whom, as nodes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The client's network.
    pub network: IpAddr,
    /// A hash of the account's name, the same on every node.
    pub account: u64,
}

impl Tried {
    /// An address and an account.
    pub fn of(ip: IpAddr, username: &str) -> Tried {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(username.as_bytes()).as_bytes();
        Tried {
            network: network_of(ip),
            account: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    fn counted(self) -> [Counted; 3] {
        [
            Counted::Pair(self.network, self.account),
            Counted::Address(self.network),
            Counted::Account(self.account),
        ]
    }
}

/// The counters.
pub struct Throttle {
    state: Mutex<State>,
}

struct State {
    limits: ThrottleLimits,
    counts: HashMap<Counted, Count>,
}

/// An attempt that may go on.
#[must_use]
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    tried: Tried,
    /// Which failure it is if it fails, and how many attempts elsewhere were known of then; as [`Tried::counted`].
    began: [(u32, u32); 3],
}

impl Throttle {
    /// Counters within limits.
    pub fn new(limits: ThrottleLimits) -> Throttle {
        Throttle {
            state: Mutex::new(State {
                limits,
                counts: HashMap::new(),
            }),
        }
    }

    /// Attempts that begin from now on are judged by these.
    pub fn set_limits(&self, limits: ThrottleLimits) {
        self.state.lock().limits = limits;
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// Milliseconds until the next one may begin.
    pub fn begin(&self, tried: Tried, now: Mono) -> Result<Attempt<'_>, u64> {
        let mut state = self.state.lock();
        let wait = state.wait_ms(&tried.counted(), now);
        if wait > 0 {
            return Err(wait);
        }
        let began = state.count(tried, now, 0);
        Ok(Attempt {
            throttle: self,
            tried,
            began,
        })
    }

    /// Another node began an attempt.
    pub fn heard(&self, tried: Tried, now: Mono) {
        self.state.lock().count(tried, now, 1);
    }

    /// An attempt succeeded, here or elsewhere: forgives this address and account, and takes the attempt back elsewhere.
    pub fn succeeded(&self, tried: Tried) {
        let mut state = self.state.lock();
        for key in tried.counted() {
            if let Counted::Pair(..) = key {
                state.counts.remove(&key);
            } else if let Some(count) = state.counts.get_mut(&key) {
                count.failures = count.failures.saturating_sub(1);
                count.next = count.last;
            }
        }
    }
}

impl State {
    fn wait_ms(&self, keys: &[Counted], now: Mono) -> u64 {
        keys.iter()
            .filter_map(|key| self.counts.get(key))
            .filter(|count| now.ms_since(count.last) < self.forget_after_ms())
            .map(|count| count.next.ms_since(now))
            .max()
            .unwrap_or(0)
    }

    fn forget_after_ms(&self) -> u64 {
        self.limits.window_ms.saturating_mul(FORGET_AFTER_WINDOWS)
    }

    fn count(&mut self, tried: Tried, now: Mono, elsewhere: u32) -> [(u32, u32); 3] {
        let (limits, forget_after_ms) = (self.limits, self.forget_after_ms());
        if self.counts.len() + tried.counted().len() > MOST {
            make_room(&mut self.counts, now, forget_after_ms);
        }
        tried.counted().map(|key| {
            let count = self.counts.entry(key).or_insert(Count {
                failures: 0,
                elsewhere: 0,
                next: now,
                last: now,
            });
            if now.ms_since(count.last) >= forget_after_ms {
                count.failures = 0;
            }
            count.failures = count.failures.saturating_add(1);
            count.elsewhere = count.elsewhere.wrapping_add(elsewhere);
            count.last = now;
            count.next = now.plus_ms(delay_ms(key.rule(limits), count.failures));
            (count.failures, count.elsewhere)
        })
    }
}

impl Attempt<'_> {
    /// Whether other nodes began so many meanwhile that this one is beyond what is free: the time to wait, milliseconds,
    /// instead of an answer. An account alone does not count here: whoever tries it everywhere must not lock it.
    pub fn is_too_many(&self, now: Mono) -> Option<u64> {
        let state = self.throttle.state.lock();
        let keys = self.tried.counted();
        let is_over = keys
            .iter()
            .zip(self.began)
            .filter(|(key, _)| !matches!(key, Counted::Account(_)))
            .any(|(key, (failures, elsewhere))| {
                let since = state
                    .counts
                    .get(key)
                    .map_or(0, |count| count.elsewhere.saturating_sub(elsewhere));
                since > 0 && failures.saturating_add(since) > key.rule(state.limits).free
            });
        is_over.then(|| state.wait_ms(&keys, now).max(1_000))
    }

    /// The password was right.
    pub fn succeeded(self) {
        self.throttle.succeeded(self.tried);
    }
}

fn delay_ms(rule: Rule, failures: u32) -> u64 {
    match failures.checked_sub(rule.free) {
        None => 0,
        Some(over) => (1_000u64 << over.min(20)).min(rule.most_ms),
    }
}

/// One customer of a provider has a whole /64 of IPv6 addresses.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !(u128::MAX >> 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn make_room(counts: &mut HashMap<Counted, Count>, now: Mono, forget_after_ms: u64) {
    counts.retain(|_, count| now.ms_since(count.last) < forget_after_ms);
    if counts.len() > MOST / 2 {
        let mut last: Vec<Mono> = counts.values().map(|count| count.last).collect();
        let middle = last.len() / 2;
        let (_, &mut median, _) = last.select_nth_unstable(middle);
        counts.retain(|_, count| count.last > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    const WINDOW_MS: u64 = 300_000;

    fn throttle(failures: u32) -> Throttle {
        Throttle::new(ThrottleLimits {
            failures,
            window_ms: WINDOW_MS,
        })
    }

    fn fail(throttle: &Throttle, ip: IpAddr, username: &str, now: Mono) -> Result<(), u64> {
        throttle.begin(Tried::of(ip, username), now).map(drop)
    }

    #[test]
    fn the_delay_grows_and_is_forgotten() {
        let throttle = throttle(3);
        let mut now = Mono(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..20 {
            match fail(&throttle, HERE, "admin", now) {
                Ok(()) => {}
                Err(wait) => {
                    waits.push(wait);
                    now = now.plus_ms(wait);
                    fail(&throttle, HERE, "admin", now).unwrap();
                }
            }
        }
        assert_eq!(&waits[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(waits.last(), Some(&300_000));
        now = now.plus_ms(3 * WINDOW_MS);
        for _ in 0..3 {
            fail(&throttle, HERE, "admin", now).unwrap();
        }
    }

    #[test]
    fn parallel_guesses_gain_nothing() {
        let throttle = throttle(3);
        let attempts: Vec<_> = (0..50)
            .map(|_| throttle.begin(Tried::of(HERE, "admin"), Mono(1)))
            .collect();
        assert_eq!(attempts.iter().filter(|attempt| attempt.is_ok()).count(), 3);
    }

    #[test]
    fn success_forgives() {
        let throttle = throttle(3);
        for _ in 0..100 {
            let now = Mono(1);
            let _ = throttle.begin(Tried::of(HERE, "admin"), now);
            let _ = throttle.begin(Tried::of(HERE, "admin"), now);
            throttle.begin(Tried::of(HERE, "admin"), now).ok().unwrap().succeeded();
            throttle.state.lock().counts.clear();
        }
        for _ in 0..1_000 {
            throttle
                .begin(Tried::of(HERE, "admin"), Mono(1))
                .ok()
                .unwrap()
                .succeeded();
        }
    }

    #[test]
    fn one_address_cannot_walk_through_accounts_and_a_stranger_locks_nobody_out() {
        let throttle = throttle(10);
        let now = Mono(1);
        let walked = (0..100)
            .take_while(|at| fail(&throttle, HERE, &format!("user{at}"), now).is_ok())
            .count();
        assert_eq!(walked, 20);
        // A botnet with an address for every guess.
        for at in 0..10_000u32 {
            let _ = fail(&throttle, IpAddr::V4(at.into()), "root", now);
        }
        let wait = fail(&throttle, IpAddr::V4([198, 51, 100, 7].into()), "root", now).unwrap_err();
        assert!(wait <= 4_000, "{wait}");
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = throttle(3);
        for at in 0..100_000u32 {
            let _ = fail(&throttle, IpAddr::V4(at.into()), &at.to_string(), Mono(u64::from(at)));
        }
        assert!(throttle.state.lock().counts.len() <= MOST);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let throttle = throttle(3);
        let ip = |last: u16| IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, last].into());
        for last in 0..3 {
            fail(&throttle, ip(last), "admin", Mono(1)).unwrap();
        }
        assert!(fail(&throttle, ip(9), "admin", Mono(1)).is_err());
    }

    #[test]
    fn a_burst_over_several_nodes_gains_nothing_and_a_botnet_elsewhere_locks_nobody_out() {
        let (here, now) = (throttle(3), Mono(1));
        let tried = Tried::of(HERE, "admin");
        let first = here.begin(tried, now).ok().unwrap();
        here.heard(tried, now);
        assert_eq!(first.is_too_many(now), None, "the second of three");
        let third = here.begin(tried, now).ok().unwrap();
        here.heard(tried, now);
        assert!(first.is_too_many(now).is_none() && third.is_too_many(now).is_some());
        assert!(here.begin(tried, now).is_err());
        here.succeeded(tried);
        assert!(here.begin(tried, now).is_ok(), "forgiven by a success elsewhere");

        let mine = here.begin(Tried::of(IpAddr::V4([198, 51, 100, 7].into()), "root"), now);
        for at in 0..1_000u32 {
            here.heard(Tried::of(IpAddr::V4(at.into()), "root"), now);
        }
        assert_eq!(mine.ok().unwrap().is_too_many(now), None);
    }
}
