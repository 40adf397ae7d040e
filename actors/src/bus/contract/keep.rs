//! Records and objects.

use futures::stream::BoxStream;

use super::*;
use crate::bus::{ObjectContent, ObjectRange, RecordBatch, RecordsFrom};

async fn next(batches: &mut BoxStream<'static, RecordBatch>) -> RecordBatch {
    soon("a batch of records", batches.next()).await.expect("it goes on")
}

/// Batches come in order, from wherever one who follows wants to begin.
pub async fn records(bus: &dyn Bus) {
    let mut sequences = Vec::new();
    for n in 0..10 {
        sequences.push(bus.records_append(bytes(&format!("batch {n}"))).await.unwrap());
    }
    assert!(sequences.is_sorted_by(|a, b| a < b));
    let mut all = bus.records_follow(RecordsFrom::Oldest);
    let first = next(&mut all).await;
    assert_eq!((first.sequence, &first.payload), (sequences[0], &bytes("batch 0")));
    for n in 1..10 {
        assert_eq!(next(&mut all).await.payload, bytes(&format!("batch {n}")));
    }
    let mut some = bus.records_follow(RecordsFrom::Sequence(sequences[7]));
    assert_eq!(next(&mut some).await.sequence, sequences[7]);
    let mut late = bus.records_follow(RecordsFrom::Since(first.at_ms));
    assert_eq!(next(&mut late).await.sequence, sequences[0]);

    let mut new = bus.records_follow(RecordsFrom::Now);
    // Following takes a moment to reach a server.
    let heard = soon("what is new", async {
        loop {
            bus.records_append(bytes("new")).await.unwrap();
            if let Ok(Some(batch)) = timeout(Duration::from_millis(50), new.next()).await {
                return batch;
            }
        }
    });
    assert_eq!(heard.await.payload, bytes("new"), "nothing from before");
    assert_eq!(
        next(&mut all).await.payload,
        bytes("new"),
        "those from the past go on with it"
    );
}

/// Objects come back whole or in part, are replaced, listed and deleted, and are not larger than allowed.
pub async fn objects(bus: &dyn Bus) {
    let content = |size: usize| -> ObjectContent {
        let parts = (0..size).step_by(100_000).map(move |at| {
            let part = (at..size.min(at + 100_000)).map(|n| (n % 251) as u8);
            Ok(Bytes::from(part.collect::<Vec<u8>>()))
        });
        futures::stream::iter(parts.collect::<Vec<_>>()).boxed()
    };
    let read = |range: ObjectRange| async move {
        let (info, parts) = bus
            .object_get("videos/a b.mp4", range)
            .await
            .unwrap()
            .expect("it is there");
        let parts: Vec<Bytes> = parts.map(Result::unwrap).collect().await;
        (info, parts.concat())
    };
    let (small, size) = (3, 1_000_003);
    assert!(bus.object_get("none", ObjectRange::All).await.unwrap().is_none());
    bus.object_put("videos/a b.mp4", content(small), 10).await.unwrap();
    let put = bus
        .object_put("videos/a b.mp4", content(size), 2_000_000)
        .await
        .unwrap();
    assert_eq!((put.name.as_str(), put.size), ("videos/a b.mp4", size as u64));
    let (info, whole) = read(ObjectRange::All).await;
    assert_eq!(info.size, size as u64);
    let expected: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
    assert!(whole == expected, "what came back is something else");
    for (start, end) in [(0, 10), (262_140, 262_150), (999_990, 5_000_000), (500_000, 800_000)] {
        let (_, part) = read(ObjectRange::Part { start, end }).await;
        assert!(
            part == expected[start as usize..size.min(end as usize)],
            "{start}..{end}"
        );
    }
    let (_, nothing) = read(ObjectRange::Part {
        start: 2_000_000,
        end: 3_000_000,
    })
    .await;
    assert!(nothing.is_empty());

    assert!(bus.object_put("large", content(200_000), 150_000).await.is_err());
    assert!(bus.object_put("", content(1), 10).await.is_err());
    let names = |listed: Vec<crate::bus::ObjectInfo>| listed.into_iter().map(|info| info.name).collect::<Vec<_>>();
    assert_eq!(names(bus.object_list().await.unwrap()), ["videos/a b.mp4"]);
    bus.object_delete("videos/a b.mp4").await.unwrap();
    bus.object_delete("videos/a b.mp4").await.unwrap();
    assert!(bus.object_list().await.unwrap().is_empty());
    assert!(
        bus.object_get("videos/a b.mp4", ObjectRange::All)
            .await
            .unwrap()
            .is_none()
    );

    let status = bus.status().await;
    assert!(status.connected && status.rtt_us.is_some(), "{status:?}");
    assert!(status.streams.iter().all(|stream| stream.error.is_none()), "{status:?}");
}
