//! Visits states: breadth first while they fit, then by walks.

use std::collections::HashSet;

use super::world::{Fate, Move, World};

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// States that are kept to go on from; the breadth-first part ends before a level grows beyond it.
    pub frontier: usize,
    /// Distinct states to visit; all there are not counted at `usize::MAX`.
    pub states: usize,
    /// Walks to make at most.
    pub walks: u64,
    /// The longest walk, in steps.
    pub steps: usize,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Of those, found breadth first, and to what depth every schedule was followed.
    pub exhaustive: usize,
    pub depth: usize,
    /// Steps taken in all.
    pub steps: u64,
    /// Walks, and calls that reached the upstream in them.
    pub walks: u64,
    pub sent: u64,
    /// What was violated, and by which steps.
    pub violation: Option<String>,
}

pub fn explore(budget: Budget, seed: u64) -> Explored {
    let mut seen: HashSet<u64> = HashSet::new();
    let mut explored = Explored::default();
    let mut level = vec![World::new()];
    seen.insert(level[0].fingerprint());
    loop {
        let mut next = Vec::new();
        for world in &level {
            for step in world.moves() {
                let mut after = world.clone();
                after.step(step);
                explored.steps += 1;
                if let Some(violation) = &after.violation {
                    explored.violation = Some(violation.clone());
                    return explored;
                }
                if seen.insert(after.fingerprint()) {
                    next.push(after);
                }
            }
            if next.len() > budget.frontier {
                break;
            }
        }
        explored.exhaustive = seen.len();
        if next.len() > budget.frontier || next.is_empty() {
            break;
        }
        explored.depth += 1;
        level = next;
    }
    let mut random = fastrand::Rng::with_seed(seed);
    while seen.len() < budget.states && explored.walks < budget.walks {
        explored.walks += 1;
        let mut world = level[random.usize(0..level.len())].clone();
        let weather = Weather::any(&mut random);
        let mut taken: Vec<Move> = Vec::new();
        for _ in 0..budget.steps {
            let moves = world.moves();
            let Some(step) = weather.choose(&moves, &mut random) else {
                break;
            };
            taken.push(step);
            world.step(step);
            explored.steps += 1;
            if world.violation.is_some() {
                break;
            }
            if budget.states != usize::MAX {
                seen.insert(world.fingerprint());
            }
        }
        explored.sent += world.sent();
        if budget.states != usize::MAX && world.violation.is_none() && explored.walks.is_multiple_of(16) {
            world.calm();
        }
        if let Some(violation) = &world.violation {
            explored.violation = Some(format!("{violation} after {taken:?}"));
            break;
        }
    }
    explored.states = seen.len();
    explored
}

/// How often what happens on a walk: every step that can be taken may be, but a walk on which everything fails shows
/// little.
struct Weather {
    faults: u32,
    crashes: u32,
    takeovers: u32,
    late: u32,
    ticks: u32,
}

impl Weather {
    fn any(random: &mut fastrand::Rng) -> Weather {
        let mut one_of = |choices: [u32; 4]| choices[random.usize(0..4)];
        Weather {
            faults: one_of([0, 1, 4, 12]),
            crashes: one_of([0, 1, 2, 6]),
            takeovers: one_of([0, 1, 2, 6]),
            late: one_of([1, 4, 10, 40]),
            ticks: one_of([4, 8, 16, 32]),
        }
    }

    fn weight(&self, step: &Move) -> u32 {
        match step {
            Move::Tick => self.ticks,
            Move::Speak { .. } => 4,
            Move::Return { .. } | Move::GiveUp { .. } => 2,
            Move::Take { .. } => 16,
            Move::Send { late: false, .. } => 6,
            Move::Send { late: true, .. } => 10,
            Move::Deliver { keep: true, .. } | Move::Lose { .. } => self.faults,
            Move::Deliver { fate: Fate::Stored, .. } => self.late,
            Move::Deliver { .. } => self.faults / 2,
            Move::Repeat { .. } => 8,
            Move::TakeOver { .. } => self.takeovers,
            Move::Crash { .. } => self.crashes,
        }
    }

    fn choose(&self, moves: &[Move], random: &mut fastrand::Rng) -> Option<Move> {
        let all: u32 = moves.iter().map(|step| self.weight(step)).sum();
        if all == 0 {
            return None;
        }
        let mut dice = random.u32(0..all);
        moves.iter().copied().find(|step| {
            let weight = self.weight(step);
            let here = dice < weight;
            dice = dice.saturating_sub(weight);
            here
        })
    }
}
