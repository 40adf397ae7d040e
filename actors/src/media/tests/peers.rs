//! What the object store does not take is had from the node that has it.

use super::*;

const LARGE: MediaLimits = MediaLimits {
    keep_bytes: 8 << 20,
    cleans: true,
    max_object_bytes: 4 << 20,
};

fn picture(size: usize) -> Vec<u8> {
    let mut bytes = PNG.to_vec();
    bytes.extend((0..size).map(|at| (at / 7) as u8));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_share_is_read_on_every_node_that_a_holder_can_reach() {
    let upstream = Upstream::with(&[]).await;
    let (bus, tracker, stop) = (bus(), TaskTracker::new(), CancellationToken::new());
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = Vec::new();
    for dir in &dirs {
        nodes.push(node(dir.path(), &bus, &upstream, LARGE).await);
    }
    // Over NATS all are asked; here whoever serves last is.
    let first_stop = CancellationToken::new();
    nodes[0].start(&tracker, &first_stop);
    let whole = picture(1_300_000);
    let kept = nodes[0].keep(MediaKind::Image, &whole).await.unwrap();
    assert!(
        bus.object_list().await.unwrap().is_empty(),
        "it is over 80 % of what is shared"
    );
    assert_eq!(content(&nodes[2], &kept).await, whole);
    // Its copy serves as well as the first.
    first_stop.cancel();
    nodes[2].start(&tracker, &stop);
    assert_eq!(content(&nodes[3], &kept).await, whole);
    // What nobody ever had is asked of nobody.
    let unknown = nodes[1].read(MediaKind::Image, "00000000000000000000000000000000.png");
    assert!(unknown.await.unwrap().is_none());
    // What pushed another out of the store leaves it to the nodes.
    let mut shared = Vec::new();
    for at in 0..2 {
        shared.push(nodes[2].keep(MediaKind::Image, &picture(500_000 + at)).await.unwrap());
    }
    assert_eq!(bus.object_list().await.unwrap().len(), 1, "one had to make room");
    for (at, kept) in shared.iter().enumerate() {
        assert_eq!(content(&nodes[1], kept).await, picture(500_000 + at));
    }
    // Deleted, it is forgotten, although a node that was not told still has its own copy.
    nodes[2].delete(MediaKind::Image, &kept.name).await.unwrap();
    assert!(nodes[1].read(MediaKind::Image, &kept.name).await.unwrap().is_none());
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}
