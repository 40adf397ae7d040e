//! Limits as a holder knows them, and how much of them is used.

use grok2api_schemas::ledger::Standing;
use grok2api_schemas::meter::Meter;

use super::Held;
use super::grant::retire;
use crate::clock::Mono;
use crate::ledger::handle::MeterStatus;

impl Held {
    /// The configured limit changed: what is in hand goes back, so that the owner decides anew. Answers whether.
    pub fn configure(&mut self, configured: Option<u64>) -> bool {
        let news = self.configured != configured;
        if news {
            self.configured = configured;
            self.limit = configured;
            self.learned = None;
            self.start_anew();
        }
        news
    }

    /// The upstream named a limit. Fills in what is not configured; only lowers what is. Answers
    /// whether it is news.
    pub fn learn(&mut self, learned: u64) -> bool {
        let news = match self.configured {
            Some(_) => self.limit.is_some_and(|limit| learned < limit),
            None => self.limit != Some(learned),
        };
        if news {
            self.learned = Some(learned);
            self.limit = Some(learned);
            self.start_anew();
        }
        news
    }

    fn start_anew(&mut self) {
        self.dry_until = Mono(0);
        self.heard_no = false;
        self.asked = None;
        for grant in &mut self.grants {
            retire(grant, self.rules.class);
        }
    }

    /// An estimate of what counts against the limit now: exact at each answer of the owner, fading with the window.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How the meter stands, as last heard.
    pub fn status(&self, meter: &Meter, now: Mono) -> MeterStatus {
        let Standing {
            charged, outstanding, ..
        } = self.standing;
        MeterStatus {
            meter: meter.clone(),
            limit: self.limit,
            charged,
            outstanding,
            free: self.limit.map(|limit| limit.saturating_sub(charged + outstanding)),
            heard_ms_ago: self.stood_at.map(|at| now.ms_since(at)),
            in_hand: self.stock(now),
            in_flight: self.open,
            next_release_ms: self.release_at.map(|at| at.us_since(now).div_ceil(1000)),
        }
    }

    /// Lets the estimate of what is used fade: evenly over a window, at once at the end of a day.
    pub(super) fn fade_used(&mut self, now: Mono) {
        if self.day_end.is_some_and(|end| end <= now) {
            self.day_end = None;
            self.used = 0;
            self.heard_no = false;
            self.release_at = None;
            self.dry_until = Mono(0);
        }
        let passed_ms = now.ms_since(self.used_at);
        if self.rules.window_ms == 0 || passed_ms < 100 {
            return;
        }
        let whole = u128::from(self.limit.unwrap_or(self.used));
        let fading = whole * u128::from(passed_ms) / u128::from(self.rules.window_ms);
        if fading > 0 {
            self.used = self.used.saturating_sub(fading.min(u128::from(u64::MAX)) as u64);
            self.used_at = now;
        }
    }

    /// When a meter at rest should be looked at, so that what callers read of it stays true.
    pub(super) fn look_at(&self, now: Mono) -> Option<Mono> {
        match (self.used, self.rules.window_ms) {
            (0, _) => None,
            (_, 0) => self.day_end,
            (_, window_ms) => Some(now.plus_ms((window_ms / 16).clamp(500, 60_000))),
        }
    }
}
