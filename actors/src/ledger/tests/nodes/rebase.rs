//! Units that a killed node took with it come back by asking the upstream.

use super::*;

#[test]
fn lost_units_of_hours_come_back_by_the_upstreams_word() {
    in_virtual_time(|world| async move {
        let cluster = Cluster::new(&world);
        let nodes = cluster.of(2).await;
        // In a shard of the node that lives on.
        let team = team_in(nodes[0].ledger.owned()[0].shard, "hours");
        let kind = MeterKind::Requests { window_ms: 72_000_000 };
        let mut sent = 0;
        for call in 0..20 {
            let node = &nodes[call % 2];
            sent += u64::from(node.send(&node.meter(&team, kind, 80), WAIT).await.0);
            pass(400).await;
        }
        assert_eq!(sent, 20);
        let account = nodes[1].meter(&team, kind, 80);
        assert!(account.status(world.clock.now()).in_hand > 0, "nothing to lose");
        assert_eq!(nodes[0].ledger.lost_units().await, Vec::new());
        nodes[1].bus.cut.store(true, Ordering::SeqCst);
        nodes[1].ledger.kill();
        pass(40_000).await;
        let (charged, _, presumed) = standing(&[&nodes[0]], &account).await;
        assert!(charged > 20 && presumed > 0, "{charged} charged, {presumed} presumed");

        let lost = nodes[0].ledger.lost_units().await;
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].meter, *account.meter());
        // D, and the upstream's answer.
        pass(300).await;
        assert!(nodes[0].ledger.rebase(lost[0].clone(), 60).await);
        let (charged, _, presumed) = standing(&[&nodes[0]], &account).await;
        assert_eq!((charged, presumed), (20, 0));
        assert_eq!(nodes[0].ledger.lost_units().await, Vec::new());

        // An answer to what an owner before asked says nothing.
        nodes[0].ledger.fault(account.shard()).await;
        pass(2_000).await;
        assert!(
            nodes[0]
                .ledger
                .owned()
                .iter()
                .any(|claim| claim.shard == account.shard())
        );
        assert!(!nodes[0].ledger.rebase(lost[0].clone(), 80).await);
        assert_eq!(standing(&[&nodes[0]], &account).await.0, 20);
    });
}
