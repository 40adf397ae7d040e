//! What a call is expected to use, before it is known: the input by its size, the output by what the client allows, or by
//! what calls of the model used before.

use dashmap::DashMap;
use parking_lot::Mutex;

/// Bytes of JSON a token stands for at least. English prose has about 4, code about 3, CJK text in UTF-8 about 3 per
/// token; JSON around it only adds bytes. Three therefore errs towards too many tokens.
const BYTES_PER_TOKEN: u64 = 3;
/// After this many observations all of them are halved, so that the figure follows the present.
const WINDOW: u64 = 2_000;
/// Observations before the percentile is believed.
const ENOUGH: u64 = 20;
/// Four steps a doubling: a bucket's upper bound is at most 19 % above what is in it.
const STEPS: usize = 4;
const BUCKETS: usize = 32 * STEPS;

/// Reasoning tokens that a strict key pays for ahead, as long as too few answers of the model were seen to say better.
const REASONING_UNOBSERVED: u64 = 1_024;

/// What calls used of late, by model.
#[derive(Default)]
pub struct Expectations {
    by_model: DashMap<Box<str>, Mutex<Observed>>,
}

#[derive(Default)]
struct Observed {
    /// Output tokens, reasoning among them.
    output: Histogram,
    /// Reasoning tokens alone.
    reasoning: Histogram,
}

struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

/// Upper bound of what falls into a bucket: 2^(index / STEPS).
fn bound(index: usize) -> u64 {
    (2_f64.powf((index + 1) as f64 / STEPS as f64)).ceil() as u64
}

fn bucket(value: u64) -> usize {
    if value <= 1 {
        return 0;
    }
    (((value as f64).log2() * STEPS as f64) as usize).min(BUCKETS - 1)
}

impl Histogram {
    fn add(&mut self, value: u64) {
        if self.total >= WINDOW {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().map(|count| u64::from(*count)).sum();
        }
        self.counts[bucket(value)] += 1;
        self.total += 1;
    }

    fn percentile_95(&self) -> Option<u64> {
        if self.total < ENOUGH {
            return None;
        }
        let above = self.total / 20;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate().rev() {
            seen += u64::from(*count);
            if seen > above {
                return Some(bound(index));
            }
        }
        None
    }

    /// No value of late was above this.
    fn most(&self) -> u64 {
        self.counts.iter().rposition(|count| *count > 0).map_or(0, bound)
    }
}

impl Expectations {
    /// Takes note of what a call's output came to, in tokens: what was shown, and the reasoning before it.
    pub fn observe(&self, model: &str, shown: u64, reasoning: u64) {
        let add = |observed: &Mutex<Observed>| {
            let mut observed = observed.lock();
            observed.output.add(shown.saturating_add(reasoning));
            observed.reasoning.add(reasoning);
        };
        if let Some(observed) = self.by_model.get(model) {
            add(&observed);
            return;
        }
        add(&self.by_model.entry(model.into()).or_default());
    }

    /// Reasoning tokens that a strict budget sets aside for one answer. The upstream bills them and bounds only what it
    /// shows (`xai-api.md` §4: `max_completion_tokens` counts visible tokens), so this is no bound but twice what was seen.
    pub fn reasoning_allowance(&self, model: &str) -> u64 {
        let observed = self.by_model.get(model);
        let (total, most) = observed.map_or((0, 0), |observed| {
            let observed = observed.lock();
            (observed.reasoning.total, observed.reasoning.most())
        });
        let twice = most.saturating_mul(2);
        if total < ENOUGH {
            twice.max(REASONING_UNOBSERVED)
        } else {
            twice
        }
    }

    /// Output tokens to reserve: what the client allows; for a strict reservation the model's cap; else what 95 of 100
    /// calls stayed below; else `unobserved`.
    pub fn output_tokens(
        &self,
        model: &str,
        stated: Option<u64>,
        cap: Option<u64>,
        strict: bool,
        unobserved: u64,
    ) -> u64 {
        if let Some(stated) = stated {
            return cap.map_or(stated, |cap| stated.min(cap));
        }
        if strict && let Some(cap) = cap {
            return cap;
        }
        let observed = self
            .by_model
            .get(model)
            .and_then(|observed| observed.lock().output.percentile_95());
        let expected = observed.unwrap_or(unobserved);
        cap.map_or(expected, |cap| expected.min(cap))
    }
}

/// Input tokens of a body, at most.
pub fn input_tokens(body_bytes: usize) -> u64 {
    body_bytes as u64 / BYTES_PER_TOKEN + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_above_what_95_of_100_calls_used_and_not_far_above() {
        let expected = Expectations::default();
        assert_eq!(expected.output_tokens("m", None, None, false, 2_048), 2_048);
        for i in 1..=1_000 {
            expected.observe("m", i, 0);
        }
        let p95 = expected.output_tokens("m", None, None, false, 2_048);
        assert!((950..1_200).contains(&p95), "{p95}");
        for _ in 0..5_000 {
            expected.observe("m", 10, 0);
        }
        assert!(
            expected.output_tokens("m", None, None, false, 2_048) < 20,
            "follows the present"
        );
        assert_eq!(expected.output_tokens("m", Some(7), Some(100), false, 1), 7);
        assert_eq!(expected.output_tokens("m", None, Some(100), true, 1), 100);
    }

    #[test]
    fn what_was_thought_is_set_aside_twice_over_and_follows_the_present() {
        let expected = Expectations::default();
        assert_eq!(expected.reasoning_allowance("m"), REASONING_UNOBSERVED);
        expected.observe("m", 10, 3_000);
        assert!(
            expected.reasoning_allowance("m") >= 6_000,
            "one answer is enough to learn that it takes more"
        );
        for _ in 0..6_000 {
            expected.observe("m", 10, 50);
        }
        let allowance = expected.reasoning_allowance("m");
        assert!((100..150).contains(&allowance), "{allowance}");
        for _ in 0..ENOUGH {
            expected.observe("plain", 10, 0);
        }
        assert!(
            expected.reasoning_allowance("plain") <= 4,
            "a model that does not think"
        );
    }
}
