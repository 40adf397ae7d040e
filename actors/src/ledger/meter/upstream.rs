//! What the upstream itself says: strangers' use, and what is left after units were lost.

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::Change;

use super::{Grant, OwnerMeter};
use crate::ledger::rules::Moment;

/// How a meter stood when the upstream was asked what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    charged_ever: u64,
}

impl OwnerMeter {
    /// What the upstream counts beyond all that is charged here or granted to others than `holder`: strangers' use. What the
    /// holder has in its own hand was not sent when it heard the upstream, for its settlements came along.
    pub fn foreign(&self, moment: Moment, holder: SessionId, seen: u64) -> Option<Change> {
        let limit = self.limit().filter(|_| self.rules.window_ms > 0)?;
        let others = self.grants.values().filter(|grant| grant.holder != holder);
        let outstanding: u64 = others.map(|grant| grant.held + grant.flight).sum();
        let charged = self.charges.total();
        // One unit is always left, so that the upstream goes on telling.
        let units = seen.min(limit.saturating_sub(1)).saturating_sub(charged + outstanding);
        (units > 0).then(|| Change::Foreign {
            units,
            until_ms: moment.wall_at(moment.mono.plus_ms(self.rules.window_ms)),
        })
    }

    /// Marks how the meter stands before the upstream is asked what is left. The question itself is to be sent D later: by
    /// then everything that is charged now has reached the upstream.
    pub fn question(&self) -> Question {
        Question {
            charged_ever: self.charged_ever,
        }
    }

    /// The upstream said what is left, in answer to a question that was sent after `question` was marked. Free is from now
    /// on what it said, less everything that is granted and not settled, and less what was charged since the mark.
    pub fn rebase(&self, moment: Moment, question: Question, remaining: u64) -> Option<Change> {
        let limit = self
            .limit()
            .filter(|_| self.rules.window_ms > 0 && self.rules.is_long())?;
        let seen_until = self.rules.seen_until(moment.mono);
        if self.refuse_until > seen_until {
            // Grants that the lost journal knew of may still be sent.
            return None;
        }
        let since = self.charged_ever.saturating_sub(question.charged_ever);
        Some(Change::Rebased {
            charged: limit.saturating_sub(remaining) + since,
            until_ms: moment.wall_at(seen_until),
        })
    }

    /// Whether units are lost to this meter that only the upstream can give back: presumed spent, for long.
    pub fn wants_rebase(&self) -> bool {
        let lost = |grant: &Grant| grant.presumed > 0 && grant.lapsed;
        self.rules.window_ms > 0 && self.rules.is_long() && self.grants.values().any(lost)
    }
}
