//! What has to last is written, the newest of it, by whichever actor there is.

use std::time::Duration;

use grok2api_schemas::admin::tokens::TokenPatch;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_is_in_the_store_soon_after_it_began() {
    let stand = Stand::new().await;
    let token = stand.known("xai-first-key", "team-a", &["m"]).await;
    stand.cool(&token, Scope::Token, "m", None);
    until("the rest in the store", async || {
        let record = stand.disk.record(token.id).await.unwrap();
        record
            .cooling
            .as_ref()
            .is_some_and(|cooling| cooling.cause == CoolingCause::BadCredential)
    })
    .await;
    stand.cool(&token, Scope::TeamModel, "m", Some(60_000));
    until("the team's rest in the store", async || {
        let team = stand.disk.team("team-a").await;
        team.is_some_and(|team| team.model_cooling.len() == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_changes_at_once_the_newest_is_what_stays() {
    let stand = Stand::new().await;
    let token = stand.known("xai-busy-key", "team-a", &["m"]).await;
    let team = stand.team(&token);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (pool, token, team) = (&stand.pool, &token, &team);
            let runtime = tokio::runtime::Handle::current();
            scope.spawn(move || {
                let _runtime = runtime.enter();
                for n in 0..50 {
                    let model = format!("m{thread}-{n}");
                    pool.penalise(
                        token,
                        team,
                        &model,
                        &penalty(Scope::TokenModel, CoolingCause::Capacity, Some(900_000)),
                    );
                    pool.penalise(
                        token,
                        team,
                        &model,
                        &penalty(Scope::TeamModel, CoolingCause::Capacity, Some(900_000)),
                    );
                }
            });
        }
    });
    let patch = TokenPatch {
        label: Some("named".to_owned()),
        ..TokenPatch::default()
    };
    stand.pool.patch(vec![(token.id, patch)]).await.unwrap();
    until("the newest record", async || {
        stand.disk.record(token.id).await.as_ref() == Some(&*token.record())
    })
    .await;
    until("the newest record of the team", async || {
        stand.disk.team("team-a").await.as_ref() == Some(&*team.record())
    })
    .await;
    assert_eq!(token.record().model_cooling.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_are_written_at_the_end_whoever_counted_them() {
    let stand = Stand::new().await;
    let token = stand.known("xai-used-key", "team-a", &["m"]).await;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let pick = stand.choose("m").unwrap();
                    stand.pool.succeeded(&pick);
                }
            });
        }
    });
    assert_eq!(token.in_flight(), 0);
    stand.pool.close().await;
    let record = stand.disk.record(token.id).await.unwrap();
    assert_eq!(record.use_count, 1_000);
    assert_eq!(record.last_used_ms, Some(WALL.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_panicked_is_replaced_by_the_next_note() {
    let stand = Stand::new().await;
    let token = stand.known("xai-trap-key", "team-a", &["m"]).await;
    stand.script.traps.insert("xai-trap-key".to_owned(), ());
    let outcomes = stand.pool.refresh(&[token.id]).await;
    assert!(!outcomes[0].ok);
    stand.script.traps.clear();
    stand.cool(&token, Scope::Token, "m", Some(30_000));
    until("the rest in the store", async || {
        stand.disk.record(token.id).await.unwrap().cooling.is_some()
    })
    .await;
    stand
        .script
        .reports
        .insert("xai-trap-key".to_owned(), usable("team-a", &["m"]));
    assert!(stand.pool.refresh(&[token.id]).await[0].ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_token_does_not_come_back_by_a_late_write() {
    let stand = Stand::new().await;
    for round in 0..40 {
        let token = stand.known(&format!("xai-short-lived-{round}"), "team-a", &["m"]).await;
        let team = stand.team(&token);
        let (pool, cooled) = (stand.pool.clone(), token.clone());
        let cooling = std::thread::spawn(move || {
            for n in 0..20 {
                let penalty = penalty(Scope::TokenModel, CoolingCause::Capacity, Some(1_000 * n));
                pool.penalise(&cooled, &team, "m", &penalty);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        assert_eq!(stand.pool.delete(&[token.id, token.id]).await.unwrap(), 1);
        cooling.join().unwrap();
    }
    stand.pool.close().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let left = stand.disk.bus.kv_list(buckets::TOKENS).await.unwrap();
    assert!(left.is_empty(), "{} records of deleted tokens", left.len());
    assert_eq!(stand.pool.live_actors(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_secret_enrolled_twice_at_once_is_one_token() {
    let stand = Stand::new().await;
    let enrol = || {
        stand
            .pool
            .enrol(vec![fresh("xai-one-and-only"), fresh("xai-one-and-only")])
    };
    let (a, b, c) = tokio::join!(enrol(), enrol(), enrol());
    let ids: std::collections::BTreeSet<_> = [a, b, c]
        .into_iter()
        .flat_map(|outcomes| outcomes.unwrap())
        .map(|outcome| outcome.id.unwrap())
        .collect();
    assert_eq!((ids.len(), stand.pool.len()), (1, 1));
}
