//! Several pools over a bad network.

use super::nodes::{everywhere, live, nodes, settled};
use super::*;
use crate::bus::faults::{Faults, FaultyBus};

/// A node behind a network of its own.
async fn behind(faults: Faults, seed: u64, beside: &Stand) -> (Stand, Arc<FaultyBus>) {
    let bus = FaultyBus::new(beside.disk.bus.clone(), seed, faults);
    let disk = Disk {
        bus: bus.clone(),
        keys: beside.disk.keys.clone(),
    };
    let stand = Stand::over(disk, live(), beside.script.clone()).await.unwrap();
    (stand, bus)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_when_messages_are_lost_doubled_late_and_out_of_order() {
    let mut all = nodes(1, live).await;
    let faults = Faults {
        delay: Duration::from_millis(20),
        stale_watch: Duration::from_millis(150),
        ..Faults::default()
    };
    let mut networks = Vec::new();
    for seed in [3, 5] {
        let (stand, bus) = behind(faults, seed, &all[0]).await;
        networks.push(bus);
        all.push(stand);
    }
    let models = ["m0", "m1", "m2", "m3"];
    let id = everywhere(&all, "xai-storm-key", "team-a", &models).await;
    for bus in &networks {
        bus.set_faults(Faults {
            drop: 0.05,
            duplicate: 0.3,
            ..faults
        });
    }
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..60 {
        let node = &all[rng.usize(..3)];
        let token = node.pool.find(id).unwrap();
        let model = models[rng.usize(..4)];
        match rng.u8(..6) {
            0 => node.cool(&token, Scope::Token, model, Some(60_000 + rng.u64(..60_000))),
            1 => node.cool(&token, Scope::TokenModel, model, Some(60_000 + rng.u64(..60_000))),
            2 | 3 => node.cool(&token, Scope::TeamModel, model, Some(60_000 + rng.u64(..60_000))),
            4 => node.cool(&token, Scope::Team, model, Some(60_000 + rng.u64(..60_000))),
            // An unknown outcome is an error to the operator; the state agrees all the same.
            _ => drop(node.pool.clear_cooling(&[id]).await),
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..20))).await;
    }
    for bus in &networks {
        bus.set_faults(Faults::default());
    }
    settled(&all, id).await;
    // The end of it: what stands is cleared once, and is clear everywhere.
    all[2].pool.clear_cooling(&[id]).await.unwrap();
    until("clear everywhere", async || {
        all.iter()
            .all(|node| models.iter().all(|model| node.choose(model).is_some()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_whose_node_died_before_it_was_written_is_written_by_another() {
    let mut all = nodes(1, live).await;
    let (dying, bus) = behind(Faults::default(), 7, &all[0]).await;
    all.push(dying);
    let id = everywhere(&all, "xai-last-words", "team-a", &["m", "n"]).await;
    settled(&all, id).await;
    // Its writes do not arrive any more; what it says does.
    bus.set_faults(Faults {
        drop: 1.0,
        ..Faults::default()
    });
    let token = all[1].pool.find(id).unwrap();
    all[1].cool(&token, Scope::TeamModel, "m", Some(60_000));
    all[1].cool(&token, Scope::TokenModel, "n", Some(60_000));
    all[1].kill();
    until("the rest on the survivor", async || {
        all[0].choose("m").is_none() && all[0].choose("n").is_none()
    })
    .await;
    until("the rest in the store", async || {
        let (team, record) = (
            all[0].disk.team("team-a").await.unwrap(),
            all[0].disk.record(id).await.unwrap(),
        );
        team.model_cooling.len() == 1 && record.model_cooling.len() == 1
    })
    .await;
}
