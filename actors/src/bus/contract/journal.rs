//! Journals: sequences, retries, duels.

use super::*;

fn id(n: u8) -> [u8; 16] {
    [n; 16]
}

/// Sequences, compare-and-set on the last one, purging, and journals that do not disturb each other.
pub async fn journals(bus: &dyn Bus) {
    let (shard, other) = (3, 4);
    let newborn = bus.journal_head(shard).await.unwrap();
    assert_eq!(newborn.last_sequence, 0);
    assert_ne!(newborn.incarnation, 0);
    assert_eq!(
        bus.journal_head(shard).await.unwrap(),
        newborn,
        "asking does not change it"
    );
    assert!(bus.journal_read(shard, 0).await.unwrap().is_empty());

    let mut last = 0;
    let mut sequences = Vec::new();
    for n in 1..=10u8 {
        let payload = Bytes::from(vec![n; usize::from(n) * 100]);
        let sequence = bus.journal_append(shard, last, id(n), payload).await.unwrap();
        assert!(sequence > last);
        sequences.push(sequence);
        last = sequence;
    }
    for wrong in [0, sequences[4], last + 1, last + 100] {
        let refused = bus.journal_append(shard, wrong, id(99), Bytes::new()).await;
        assert_eq!(
            kind(refused),
            BusErrorKind::Conflict,
            "expected {wrong}, the last is {last}"
        );
    }
    assert_eq!(bus.journal_head(other).await.unwrap().last_sequence, 0);
    let elsewhere = bus.journal_append(other, 0, id(1), bytes("other")).await.unwrap();

    let entries = bus.journal_read(shard, sequences[6]).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        sequences[6..]
    );
    assert_eq!(entries[0].payload, Bytes::from(vec![7; 700]));
    assert!(bus.journal_read(shard, last + 1).await.unwrap().is_empty());

    bus.journal_purge(shard, sequences[8]).await.unwrap();
    let entries = bus.journal_read(shard, 0).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(),
        sequences[8..]
    );
    bus.journal_purge(shard, last + 1).await.unwrap();
    let left = bus.journal_read(shard, 0).await.unwrap();
    assert!(left.iter().all(|entry| entry.sequence == last), "the last one may stay");
    let head = bus.journal_head(shard).await.unwrap();
    assert_eq!(
        (head.last_sequence, head.incarnation),
        (last, newborn.incarnation),
        "purged is not newborn"
    );
    let next = bus.journal_append(shard, last, id(11), bytes("after")).await.unwrap();
    assert!(next > last, "sequences are not used again");

    let entries = bus.journal_read(other, 0).await.unwrap();
    assert_eq!(entries.len(), 1, "another shard's purge is not mine");
    assert_eq!((entries[0].sequence, &entries[0].payload), (elsewhere, &bytes("other")));
}

/// The same append again (its answer was lost) answers as the first did, and stands once.
pub async fn journal_retries(bus: &dyn Bus) {
    let shard = 5;
    let first = bus.journal_append(shard, 0, id(1), bytes("one")).await.unwrap();
    assert_eq!(bus.journal_append(shard, 0, id(1), bytes("one")).await.unwrap(), first);
    let second = bus.journal_append(shard, first, id(2), bytes("two")).await.unwrap();
    assert_eq!(bus.journal_append(shard, 0, id(1), bytes("one")).await.unwrap(), first);
    assert_eq!(
        bus.journal_append(shard, first, id(2), bytes("two")).await.unwrap(),
        second
    );
    let stranger = bus.journal_append(shard, first, id(3), bytes("two")).await;
    assert_eq!(
        kind(stranger),
        BusErrorKind::Conflict,
        "another's message at that sequence"
    );
    assert_eq!(bus.journal_head(shard).await.unwrap().last_sequence, second);
    assert_eq!(bus.journal_read(shard, 0).await.unwrap().len(), 2);
}

/// Of several owners that append at one sequence, one gets through each time, and nothing of the others remains.
pub async fn journal_duels(bus: &dyn Bus) {
    let shard = 6;
    let owner = |owner: u8| async move {
        let mut won = 0u8;
        let mut last = bus.journal_head(shard).await.unwrap().last_sequence;
        while won < 20 {
            let mut message = [owner; 16];
            message[1] = won;
            match bus
                .journal_append(shard, last, message, Bytes::from(vec![owner, won]))
                .await
            {
                Ok(sequence) => {
                    last = sequence;
                    won += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, BusErrorKind::Conflict);
                    last = bus.journal_head(shard).await.unwrap().last_sequence;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    soon("the duel", join_all((0..3).map(owner))).await;
    let entries = bus.journal_read(shard, 0).await.unwrap();
    assert_eq!(entries.len(), 60);
    for owner in 0..3u8 {
        let own = entries.iter().filter(|entry| entry.payload[0] == owner);
        assert_eq!(
            own.map(|entry| entry.payload[1]).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
    }
}
