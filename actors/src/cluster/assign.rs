//! Who should decide for which shard: a pure function of who is there, so that every node that sees the same sees the same
//! owners. It decides only who bothers; what makes two deciders impossible is the append.
//!
//! Sessions are taken in by age. Each newcomer takes the shards that it scores highest for (rendezvous hashing) from those
//! that have more than their share: so a join moves at most 1/n of the shards, all of them to the newcomer, and nobody has
//! more than one shard more than anybody else.

use grok2api_schemas::bus::subjects::SHARDS;
use grok2api_schemas::ids::SessionId;

/// The owner of every shard; `None` where nobody may own one.
pub type Owners = Vec<Option<SessionId>>;

/// Names the owners. The order of `sessions` does not matter.
pub fn name_owners(sessions: &[SessionId]) -> Owners {
    let mut by_age = sessions.to_vec();
    by_age.sort_unstable();
    by_age.dedup();
    let mut owners: Owners = vec![by_age.first().copied(); usize::from(SHARDS)];
    for (index, newcomer) in by_age.iter().enumerate().skip(1) {
        let share = usize::from(SHARDS) / (index + 1);
        for _ in 0..share {
            let Some(shard) = dearest(&owners, *newcomer) else {
                break;
            };
            if let Some(owner) = owners.get_mut(shard) {
                *owner = Some(*newcomer);
            }
        }
    }
    owners
}

/// The shard that the newcomer scores highest for, among those of whoever has most.
fn dearest(owners: &Owners, newcomer: SessionId) -> Option<usize> {
    let count = |owner: &Option<SessionId>| owners.iter().filter(|other| *other == owner).count();
    let others = || {
        let rows = owners.iter().enumerate();
        rows.filter(|(_, owner)| **owner != Some(newcomer))
    };
    let most = others().map(|(_, owner)| count(owner)).max()?;
    others()
        .filter(|(_, owner)| count(owner) == most)
        .map(|(shard, _)| shard)
        .max_by_key(|shard| score(newcomer, *shard))
}

fn score(session: SessionId, shard: usize) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(session.as_bytes());
    hasher.update(&(shard as u64).to_le_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
