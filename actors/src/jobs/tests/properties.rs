//! Whatever fails, and whenever the owner dies: every item comes to its end, and none is minted twice.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::jobs::run::Turn;

/// What the outside does next, and how long it takes.
#[derive(Clone, Debug)]
enum Luck {
    Well,
    Refused,
    NotNow,
    /// It is done, and the answer is lost.
    Lost,
    /// The owner dies: before it wrote, after it wrote, or after it began.
    Dies(u8),
    /// An operator lets it rest for a moment.
    Rests,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Well),
        1 => Just(Luck::Refused),
        1 => Just(Luck::NotNow),
        2 => Just(Luck::Lost),
        2 => (0..3u8).prop_map(Luck::Dies),
        1 => Just(Luck::Rests),
    ]
}

const SETTLES_MS: u64 = 5_000;

/// The outside: which keys there are, by item.
#[derive(Default)]
struct World {
    minted: BTreeMap<u32, u32>,
    enrolled: BTreeMap<u32, u32>,
}

impl World {
    fn do_task(&mut self, index: u32, task: Task, luck: &Luck) -> Result<Done, Fault> {
        let step = JobStep::Obtain;
        match (task, luck) {
            (_, Luck::Refused) => Err(Fault::new(step, FaultKind::Never, "refused")),
            (_, Luck::NotNow) => Err(Fault::new(step, FaultKind::Again(None), "busy")),
            (Task::Obtain, luck) => {
                *self.minted.entry(index).or_default() += 1;
                match luck {
                    Luck::Lost => Err(Fault::new(step, FaultKind::Perhaps, "no answer")),
                    _ => Ok(supplied(index)),
                }
            }
            (Task::Recover, _) if self.minted.contains_key(&index) => Ok(supplied(index)),
            (Task::Recover, _) => Ok(Done::NotBegun),
            (Task::Admit, _) => {
                let times = self.enrolled.entry(index).or_default();
                *times += 1;
                Ok(admitted(*times == 1))
            }
            (Task::Revoke, _) => Ok(Done::TakenBack),
            (Task::Apply(_), _) => Ok(Done::Applied(String::new())),
        }
    }
}

proptest! {
    #[test]
    fn no_item_is_minted_twice_and_every_one_comes_to_its_end(count in 1..40u32, chances in prop::collection::vec(luck(), 0..120)) {
        let mut world = World::default();
        let mut stored = (record(mint(), count), items(count, ItemState::Pending));
        stored.0.max_errors = 100_000;
        let mut run = Run::of(stored.0.clone(), stored.1.clone(), SETTLES_MS);
        let mut chances = chances.into_iter();
        let mut now = 10;
        let write = |run: &mut Run, stored: &mut (JobRecord, Vec<JobItem>)| {
            for (chunk, items) in run.take_dirty() {
                for (place, item) in items.into_iter().enumerate() {
                    stored.1[(chunk * 32) as usize + place] = item;
                }
            }
        };
        let next_owner = |stored: &mut (JobRecord, Vec<JobItem>)| {
            stored.0.epoch += 1;
            Run::of(stored.0.clone(), stored.1.clone(), SETTLES_MS)
        };
        for _ in 0..10_000 {
            let Turn { begin, wake_at } = run.next(now);
            if run.verdict().is_some() {
                break;
            }
            let first = chances.next().unwrap_or(Luck::Well);
            if let Luck::Dies(0) = first {
                run = next_owner(&mut stored);
                continue;
            }
            write(&mut run, &mut stored);
            if let Luck::Dies(1) = first {
                run = next_owner(&mut stored);
                continue;
            }
            if let Luck::Rests = first {
                stored.0.status = JobStatus::Paused;
                run.follow(stored.0.clone());
                stored.0.status = JobStatus::Running;
                prop_assert!(run.next(now).begin.is_empty());
                run.follow(stored.0.clone());
            }
            let mut dead = false;
            for (nth, (index, task)) in begin.iter().enumerate() {
                // The first one's luck was drawn above.
                let luck = if nth == 0 { first.clone() } else { chances.next().unwrap_or(Luck::Well) };
                let done = world.do_task(*index, *task, &luck);
                if let Luck::Dies(_) = luck {
                    // Begun, done, and nobody left to hear of it.
                    dead = true;
                    break;
                }
                run.finish(*index, done, now);
            }
            if dead {
                run = next_owner(&mut stored);
            } else if begin.is_empty() {
                now = wake_at.unwrap_or(now + 1).max(now + 1);
            }
            now += 1;
        }
        prop_assert_eq!(&run.verdict().expect("it ends").0, &JobStatus::Completed);
        let counts = run.counts();
        prop_assert_eq!(counts.done + counts.failed, count);
        for (index, times) in &world.minted {
            prop_assert_eq!(*times, 1, "item {} was minted {} times", index, times);
        }
        for index in 0..count {
            let item = run.item(index).unwrap();
            if item.state == ItemState::Done {
                prop_assert!(world.minted.contains_key(&index) && world.enrolled.contains_key(&index));
                prop_assert!(item.sealed.is_empty());
            }
        }
        // What another owner reads is what this one counted.
        write(&mut run, &mut stored);
        let again = Run::of(stored.0.clone(), stored.1.clone(), SETTLES_MS);
        let recount = again.counts();
        prop_assert_eq!((recount.done, recount.failed, recount.added), (counts.done, counts.failed, counts.added));
    }
}
