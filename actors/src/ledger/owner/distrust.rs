//! A journal that is not what it should be: wiped, restored from a backup, or gone.

use grok2api_schemas::ledger::{Suspicion, Takeover};
#[cfg(test)]
use grok2api_schemas::meter::Meter;

use super::Owner;
use crate::bus::JournalHead;
use crate::clock::Mono;
use crate::ledger::rules::Moment;

/// For how long it is handed on that a journal is not trusted, milliseconds: longer than a window and a day.
const DISTRUST_LASTS_MS: u64 = 3 * 86_400_000;

/// Why a journal is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It was made anew since it was written or seen.
    AnotherLife,
    /// It ends before what this node has seen of it: it was restored from a backup.
    Older {
        /// The last sequence that this node saw.
        remembered: u64,
        /// The last one there is.
        found: u64,
    },
    /// It has been written up to a sequence, and nothing is there.
    Missing {
        /// The last sequence.
        through: u64,
    },
    /// An owner before this one found that out.
    Inherited,
}

impl std::fmt::Display for Distrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Distrust::AnotherLife => f.write_str("the ledger's journal was wiped and made anew"),
            Distrust::Older { remembered, found } => write!(
                f,
                "the ledger's journal ends at {found}, and this node has seen {remembered}: it was restored from a backup"
            ),
            Distrust::Missing { through } => {
                write!(
                    f,
                    "the ledger's journal was written up to {through}, and nothing is left of it"
                )
            }
            Distrust::Inherited => f.write_str("the ledger's journal was wiped or restored, as another node found"),
        }
    }
}

impl<T> Owner<T> {
    /// Compares the journal with what this node remembers of it from before ([`Owner::remember`]); call it after the replay.
    /// A journal that has another life or fewer entries was wiped or restored. A node that remembers nothing is new here,
    /// and knows nothing against it.
    pub fn compare(&mut self, moment: Moment, remembered: Option<JournalHead>) {
        let is_known = self.distrust.is_some();
        let is_inherited = self.distrust == Some(Distrust::Inherited);
        let Some(remembered) = remembered.filter(|_| !is_known || is_inherited) else {
            return;
        };
        let reason = if remembered.incarnation != self.head.incarnation {
            if is_inherited {
                return;
            }
            Distrust::AnotherLife
        } else if remembered.last_sequence > self.head.last_sequence {
            Distrust::Older {
                remembered: remembered.last_sequence,
                found: self.head.last_sequence,
            }
        } else {
            return;
        };
        tracing::error!(%reason, "the journal is not the one that this node remembers: no grants for one window");
        self.state.distrust(moment);
        self.distrust = Some(reason);
    }

    /// What this node should remember of the journal, beyond its own life.
    pub fn remember(&self) -> JournalHead {
        JournalHead {
            last_sequence: self.last_sequence,
            incarnation: self.head.incarnation,
        }
    }

    /// Why the journal is not trusted, for `/readyz`, and until when that is worth being shown.
    pub fn shows_distrust(&self, moment: Moment) -> Option<(Distrust, Mono)> {
        let until = self.state.distrust_shows_until().filter(|until| *until > moment.mono)?;
        Some((self.distrust?, until))
    }

    /// Whether the journal is not what this node knows of it, and nobody before has noted so in it.
    pub fn found_suspect(&self) -> bool {
        self.distrust.is_some_and(|reason| reason != Distrust::Inherited)
    }

    /// Why the journal is not trusted, and until when a meter is refused for it.
    #[cfg(test)]
    pub fn distrusts(&self, moment: Moment, meter: &Meter) -> Option<(Distrust, Mono)> {
        let until = self.state.refused_until(meter).filter(|until| *until > moment.mono)?;
        Some((self.distrust?, until))
    }

    /// The note that the journal is not trusted, as long as it says anything.
    pub(super) fn suspicion(&self, moment: Moment, takeover: Takeover) -> Option<Suspicion> {
        let since = self.state.distrusted_at()?;
        let is_young = moment.mono.ms_since(since.mono) < DISTRUST_LASTS_MS;
        is_young.then_some(Suspicion {
            takeover,
            since_ms: moment.wall_at(since.mono),
        })
    }
}
