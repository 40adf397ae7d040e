//! Paced shares that move between holders, step by step.

use grok2api_schemas::ids::SessionId;
use grok2api_schemas::ledger::{Answer, Ask, Granted, OwnerRequest, Report, Settlement};
use grok2api_schemas::meter::{Meter, MeterKind};

use super::harness::{NOON, meter};
use crate::bus::JournalHead;
use crate::clock::{Mono, WallMs};
use crate::ledger::LedgerOptions;
use crate::ledger::mutants::{self, Mutant};
use crate::ledger::owner::Owner;
use crate::ledger::rules::Moment;

/// T, milliseconds.
const WINDOW: u64 = 1_000;
/// Sends in a window.
const LIMIT: u64 = 4;

/// An owner whose appends are acknowledged at once.
struct Pace {
    now: u64,
    sequence: u64,
    meter: Meter,
    owner: Owner<()>,
}

impl Pace {
    fn new() -> Pace {
        let session = SessionId::generate();
        let options = LedgerOptions {
            nodes: 3,
            predecessors_are_dead: false,
            ..LedgerOptions::alone(session)
        };
        let head = JournalHead {
            last_sequence: 0,
            incarnation: 1,
        };
        let mut pace = Pace {
            now: 1_000_000,
            sequence: 1,
            meter: meter("paced", MeterKind::Paced { window_ms: WINDOW }),
            owner: Owner::replay(session, options, reading(1_000_000), head, &[]).unwrap(),
        };
        pace.owner.take_over(reading(pace.now), 1);
        pace.owner.appended(1);
        pace
    }

    fn ask(&self, number: u64, need: u64, holding: &[Granted]) -> Ask {
        Ask {
            number,
            meter: self.meter.clone(),
            configured: Some(LIMIT),
            need,
            least: 1,
            want: LIMIT,
            stock: 0,
            holding: holding.iter().map(|granted| granted.grant).collect(),
            renew: Vec::new(),
            ahead: false,
        }
    }

    /// All of a share goes back.
    fn returned(&self, share: Granted) -> Settlement {
        Settlement {
            meter: self.meter.clone(),
            grant: share.grant,
            day: None,
            report: Report {
                returned: share.units,
                closed: true,
                ..Report::default()
            },
        }
    }

    /// What the owner answers, a few milliseconds on.
    fn hears(&mut self, session: SessionId, ask: Ask, settlements: Vec<Settlement>) -> Answer {
        self.now += 5;
        let moment = reading(self.now);
        let request = OwnerRequest {
            settlements,
            asks: vec![ask],
            ..OwnerRequest::of(session)
        };
        let mut replies: Vec<_> = self.owner.receive(moment, request, ()).into_iter().collect();
        while self.owner.flush(moment).is_some() {
            self.sequence += 1;
            replies.extend(self.owner.appended(self.sequence).replies);
        }
        replies.remove(0).1.answers.remove(0)
    }
}

fn reading(now: u64) -> Moment {
    Moment {
        mono: Mono(now * 1000),
        wall: WallMs(NOON.0 + now),
    }
}

/// A holder spends its share, gives it back and gets it again at once, which it may. The answer gets lost. Answers what
/// another holder is granted while the upstream still sees what was spent.
fn granted_to_another() -> Option<Granted> {
    let mut pace = Pace::new();
    let (a, b) = (SessionId::generate(), SessionId::generate());
    let ask = pace.ask(1, LIMIT, &[]);
    let share = pace.hears(a, ask, Vec::new()).granted.unwrap();
    assert_eq!(share.units, LIMIT);
    // All of it is sent here.
    let (ask, back) = (pace.ask(2, LIMIT, &[share]), pace.returned(share));
    let lost = pace.hears(a, ask, vec![back]).granted.unwrap();
    assert_eq!(lost.units, LIMIT, "its own former share");
    let ask = pace.ask(3, 2, &[share]);
    let again = pace.hears(a, ask, Vec::new()).granted.unwrap();
    assert_eq!(again.units, 2, "less is needed now, but that much is its own");
    let ask = pace.ask(1, LIMIT, &[]);
    let theirs = pace.hears(b, ask.clone(), Vec::new()).granted;
    pace.now += WINDOW + 250 + 10;
    let later = pace.hears(b, Ask { number: 2, ..ask }, Vec::new());
    assert!(later.granted.is_some(), "it moves when the upstream has forgotten it");
    theirs
}

#[test]
fn a_share_whose_answer_was_lost_is_charged_for_what_was_sent_before_it() {
    assert_eq!(granted_to_another(), None);
    mutants::with(Some(Mutant::ForgoneShareIsFree), || {
        assert!(granted_to_another().is_some(), "the plain reading hands it out twice");
    });
}
