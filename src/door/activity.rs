//! What one connection is doing, shared by its socket, its requests and the task that drives it; and the pure rule that
//! says when to close it.
//!
//! hyper's own header timeout is not used: it also ends idle keep-alive connections (a proxy that pools them would meet
//! resets), and it allocates and registers a timer for every request.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use grok2api_actors::clock::{Clock, Mono};

/// How long a connection may do what.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// From accepting it to the first byte, and from a head's first byte to its end.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// The same while the door stops.
    pub idle_when_stopping: Duration,
}

/// What to do with a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing; look again after this long.
    Wait(Duration),
    /// It idles: end it in peace.
    Close,
    /// A head is overdue: say so and end it.
    HeadOverdue,
}

#[derive(Debug)]
pub(super) struct Activity {
    clock: Clock,
    in_flight: AtomicU32,
    // Microseconds of the clock; zero is "no".
    idle_since: AtomicU64,
    head_since: AtomicU64,
    is_http2: AtomicBool,
    has_asked: AtomicBool,
    has_overdue_head: AtomicBool,
}

impl Activity {
    pub fn new(clock: Clock) -> Activity {
        Activity {
            idle_since: AtomicU64::new(clock.now().0),
            clock,
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            has_overdue_head: AtomicBool::new(false),
        }
    }

    /// Bytes came in. Those between requests begin a head.
    pub fn bytes_came(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.clock.now().0, Ordering::Release);
        }
    }

    /// The head is complete. Returns when.
    pub fn request_began(&self) -> Mono {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.head_since.store(0, Ordering::Release);
        self.has_asked.store(true, Ordering::Release);
        self.clock.now()
    }

    /// The answer's body has ended or was dropped.
    pub fn request_ended(&self) {
        self.idle_since.store(self.clock.now().0, Ordering::Release);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    pub fn set_http2(&self) {
        self.is_http2.store(true, Ordering::Release);
    }

    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Acquire)
    }

    /// From here on the socket reports its end to hyper, after an answer that says why.
    pub fn set_overdue(&self) {
        self.has_overdue_head.store(true, Ordering::Release);
    }

    pub fn is_overdue(&self) -> bool {
        self.has_overdue_head.load(Ordering::Acquire)
    }

    /// What to do now.
    pub fn verdict(&self, limits: &ConnectionLimits, is_stopping: bool) -> Verdict {
        let now = self.clock.now();
        // A busy connection has no deadline here: its handler has. Look again soon enough that what begins right after
        // this look is judged in time.
        if !self.is_idle() {
            return Verdict::Wait(if is_stopping {
                limits.idle_when_stopping
            } else {
                limits.head.min(limits.idle)
            });
        }
        let head_since = self.head_since.load(Ordering::Acquire);
        // On HTTP/2 bytes between requests are pings and window updates as well as heads.
        if head_since != 0 && !self.is_http2() {
            return until(now, head_since, limits.head).map_or(Verdict::HeadOverdue, Verdict::Wait);
        }
        let may_idle = if is_stopping {
            limits.idle_when_stopping
        } else if self.has_asked.load(Ordering::Acquire) {
            limits.idle
        } else {
            limits.head
        };
        match until(now, self.idle_since.load(Ordering::Acquire), may_idle) {
            None => Verdict::Close,
            Some(rest) => Verdict::Wait(rest.min(limits.head)),
        }
    }
}

/// How long until `since + limit`; nothing if that has passed.
fn until(now: Mono, since: u64, limit: Duration) -> Option<Duration> {
    limit
        .checked_sub(Duration::from_micros(now.us_since(Mono(since))))
        .filter(|rest| !rest.is_zero())
}

#[cfg(test)]
mod tests {
    use grok2api_actors::clock::WallMs;

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(120),
        idle_when_stopping: Duration::from_secs(1),
    };

    #[test]
    fn silence_a_slow_head_and_a_long_pause_each_have_their_limit() {
        let (clock, time) = Clock::manual(WallMs(0));
        let activity = Activity::new(clock);
        let verdict = |is_stopping| activity.verdict(&LIMITS, is_stopping);
        assert_eq!(verdict(false), Verdict::Wait(LIMITS.head), "fresh");
        time.advance_ms(9_999);
        assert_eq!(verdict(false), Verdict::Wait(Duration::from_millis(1)));
        activity.bytes_came();
        time.advance_ms(5_000);
        activity.bytes_came();
        assert_eq!(
            verdict(false),
            Verdict::Wait(Duration::from_secs(5)),
            "later bytes buy no time"
        );
        assert_eq!(
            verdict(true),
            Verdict::Wait(Duration::from_secs(5)),
            "a head under way is let in"
        );
        time.advance_ms(5_000);
        assert_eq!(verdict(false), Verdict::HeadOverdue);

        activity.request_began();
        activity.bytes_came();
        time.advance_ms(1_000_000);
        assert_eq!(
            verdict(false),
            Verdict::Wait(LIMITS.head),
            "an answer may take as long as it likes"
        );
        activity.request_ended();
        assert_eq!(verdict(true), Verdict::Wait(LIMITS.idle_when_stopping));
        time.advance_ms(1_000);
        assert_eq!(verdict(true), Verdict::Close);
        time.advance_ms(118_000);
        assert_eq!(verdict(false), Verdict::Wait(Duration::from_secs(1)));
        time.advance_ms(1_000);
        assert_eq!(verdict(false), Verdict::Close);
    }

    #[test]
    fn http2_chatter_between_requests_is_no_head() {
        let (clock, time) = Clock::manual(WallMs(0));
        let activity = Activity::new(clock);
        activity.set_http2();
        activity.request_began();
        activity.request_ended();
        activity.bytes_came();
        time.advance_ms(60_000);
        assert_eq!(activity.verdict(&LIMITS, false), Verdict::Wait(LIMITS.head));
        time.advance_ms(60_000);
        assert_eq!(activity.verdict(&LIMITS, false), Verdict::Close);
    }
}
