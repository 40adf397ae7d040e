//! Slows down guessing of passwords: per address and account, per address, per account. Pure: `now` is an argument.
//!
//! An attempt counts as failed from its start and is forgiven when it succeeds, so that parallel guesses gain nothing.
//! An account alone is slowed by a few seconds only: a stranger must not be able to lock an operator out.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use grok2api_actors::clock::Mono;
use parking_lot::Mutex;

/// After so long without an attempt everything is forgotten.
const FORGET_AFTER_MS: u64 = 15 * 60_000;
/// Most counters in memory; beyond it the ones idle longest go.
const MOST: usize = 20_000;

/// How a counter slows down.
#[derive(Clone, Copy)]
struct Rule {
    /// Failures without a delay.
    free: u32,
    /// The delay doubles from 1 s up to this.
    most_ms: u64,
}

const PER_PAIR: Rule = Rule {
    free: 3,
    most_ms: 300_000,
};
const PER_ADDRESS: Rule = Rule {
    free: 20,
    most_ms: 300_000,
};
const PER_ACCOUNT: Rule = Rule {
    free: 50,
    most_ms: 4_000,
};

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Pair(IpAddr, u64),
    Address(IpAddr),
    Account(u64),
}

impl Counted {
    fn rule(self) -> Rule {
        match self {
            Counted::Pair(..) => PER_PAIR,
            Counted::Address(_) => PER_ADDRESS,
            Counted::Account(_) => PER_ACCOUNT,
        }
    }
}

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    next: Mono,
    last: Mono,
}

/// The counters.
#[derive(Default)]
pub struct Throttle {
    counts: Mutex<HashMap<Counted, Count>>,
}

/// An attempt that may go on.
#[must_use]
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    counted: [Counted; 3],
}

impl Throttle {
    /// Begins an attempt.
    ///
    /// # Errors
    /// Milliseconds until the next one may begin.
    pub fn begin(&self, ip: IpAddr, username: &str, now: Mono) -> Result<Attempt<'_>, u64> {
        let ip = network_of(ip);
        let mut hasher = DefaultHasher::new();
        username.hash(&mut hasher);
        let account = hasher.finish();
        let counted = [
            Counted::Pair(ip, account),
            Counted::Address(ip),
            Counted::Account(account),
        ];
        let mut counts = self.counts.lock();
        let wait = counted
            .iter()
            .filter_map(|key| counts.get(key))
            .filter(|count| now.ms_since(count.last) < FORGET_AFTER_MS)
            .map(|count| count.next.ms_since(now))
            .max()
            .unwrap_or(0);
        if wait > 0 {
            return Err(wait);
        }
        if counts.len() + counted.len() > MOST {
            make_room(&mut counts, now);
        }
        for key in counted {
            let count = counts.entry(key).or_insert(Count {
                failures: 0,
                next: now,
                last: now,
            });
            if now.ms_since(count.last) >= FORGET_AFTER_MS {
                count.failures = 0;
            }
            count.failures += 1;
            count.last = now;
            count.next = now.plus_ms(delay_ms(key.rule(), count.failures));
        }
        Ok(Attempt {
            throttle: self,
            counted,
        })
    }
}

impl Attempt<'_> {
    /// The password was right: forgives this address and account, and takes this attempt back elsewhere.
    pub fn succeeded(self) {
        let mut counts = self.throttle.counts.lock();
        for key in self.counted {
            if let Counted::Pair(..) = key {
                counts.remove(&key);
            } else if let Some(count) = counts.get_mut(&key) {
                count.failures = count.failures.saturating_sub(1);
                count.next = count.last;
            }
        }
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

fn make_room(counts: &mut HashMap<Counted, Count>, now: Mono) {
    counts.retain(|_, count| now.ms_since(count.last) < FORGET_AFTER_MS);
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

    fn fail(throttle: &Throttle, ip: IpAddr, username: &str, now: Mono) -> Result<(), u64> {
        throttle.begin(ip, username, now).map(drop)
    }

    #[test]
    fn the_delay_grows_and_is_forgotten() {
        let throttle = Throttle::default();
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
        now = now.plus_ms(FORGET_AFTER_MS);
        for _ in 0..3 {
            fail(&throttle, HERE, "admin", now).unwrap();
        }
    }

    #[test]
    fn parallel_guesses_gain_nothing() {
        let throttle = Throttle::default();
        let attempts: Vec<_> = (0..50).map(|_| throttle.begin(HERE, "admin", Mono(1))).collect();
        assert_eq!(attempts.iter().filter(|attempt| attempt.is_ok()).count(), 3);
    }

    #[test]
    fn success_forgives() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            let now = Mono(1);
            let _ = throttle.begin(HERE, "admin", now);
            let _ = throttle.begin(HERE, "admin", now);
            throttle.begin(HERE, "admin", now).ok().unwrap().succeeded();
            throttle.counts.lock().clear();
        }
        for _ in 0..1_000 {
            throttle.begin(HERE, "admin", Mono(1)).ok().unwrap().succeeded();
        }
    }

    #[test]
    fn one_address_cannot_walk_through_accounts_and_a_stranger_locks_nobody_out() {
        let throttle = Throttle::default();
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
        let throttle = Throttle::default();
        for at in 0..100_000u32 {
            let _ = fail(&throttle, IpAddr::V4(at.into()), &at.to_string(), Mono(u64::from(at)));
        }
        assert!(throttle.counts.lock().len() <= MOST);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let throttle = Throttle::default();
        let ip = |last: u16| IpAddr::V6([0x2001, 0xdb8, 0, 1, 0, 0, 0, last].into());
        for last in 0..3 {
            fail(&throttle, ip(last), "admin", Mono(1)).unwrap();
        }
        assert!(fail(&throttle, ip(9), "admin", Mono(1)).is_err());
    }
}
