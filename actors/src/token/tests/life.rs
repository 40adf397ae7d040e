//! What a pool knows survives its process, and what it does not know it finds out.

use std::time::Duration;

use super::*;

async fn written(stand: &Stand, tokens: &[Arc<Token>]) {
    until("every record in the store", async || {
        for token in tokens {
            if stand.disk.record(token.id).await.as_ref() != Some(&*token.record()) {
                return false;
            }
            // Rests that are over are not written again for that alone.
            let running = |record: &TeamRecord| merge::teams(record, record, stand.clock.wall());
            if let Some(team) = token.team()
                && stand.disk.team(&team.id).await.as_ref().map(running) != Some(running(&team.record()))
            {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_everything_stands_as_it_was() {
    let stand = Stand::new().await;
    let tokens = [
        stand.known("xai-resting-key", "team-a", &["m", "n"]).await,
        stand.known("xai-working-key", "team-a", &["m", "n"]).await,
        stand.known("xai-dead-key", "team-b", &["m"]).await,
        stand.enrol("xai-unknown-key").await,
    ];
    stand.cool(&tokens[0], Scope::TokenModel, "m", Some(50_000));
    stand.cool(&tokens[1], Scope::TeamModel, "n", Some(80_000));
    stand.cool(&tokens[2], Scope::Token, "m", None);
    written(&stand, &tokens).await;
    stand.kill();

    let again = Stand::over(stand.disk.clone(), Setting::default(), Arc::default())
        .await
        .unwrap();
    for token in &tokens {
        let here = again.pool.find(token.id).unwrap();
        assert_eq!(here.record(), token.record());
        assert_eq!(here.secret().expose_secret(), token.secret().expose_secret());
        assert_eq!(
            here.team().map(|team| team.record()),
            token.team().map(|team| team.record())
        );
    }
    let serves = |model: &str| {
        let mut tried = Tried::default();
        let mut found = Vec::new();
        while let Some(pick) = again.choose_for(model, None, &tried) {
            tried.token(&pick.token);
            found.push(pick.token.id);
        }
        found
    };
    assert_eq!(serves("m"), [tokens[1].id]);
    assert!(serves("n").is_empty());
    again.pass(50_000);
    assert_eq!(serves("m").len(), 2);
    again.pass(30_000);
    assert_eq!(serves("n").len(), 2);
    // The first thing that happens to a token of this process is written, too.
    let token = again.pool.find(tokens[1].id).unwrap();
    again.cool(&token, Scope::Token, "m", None);
    written(&again, &[token]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_key_is_an_error_in_words_and_leaves_the_store_alone() {
    let stand = Stand::new().await;
    let token = stand.known("xai-sealed-key", "team-a", &["m"]).await;
    written(&stand, std::slice::from_ref(&token)).await;
    stand.kill();
    let other = Disk {
        bus: stand.disk.bus.clone(),
        keys: Disk::new().keys,
    };
    let error = match Stand::over(other, Setting::default(), Arc::default()).await {
        Ok(_) => panic!("a pool opened with the wrong key"),
        Err(error) => error,
    };
    assert!(error.message.contains("master key"), "{error}");
    let again = Stand::over(stand.disk.clone(), Setting::default(), Arc::default())
        .await
        .unwrap();
    assert_eq!(again.pool.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_made_again_until_the_upstream_is_back() {
    let stand = Stand::with(Setting {
        live: true,
        ..Setting::default()
    })
    .await;
    stand.enrol("xai-early-key").await;
    let asked = || stand.script.asked.load(Ordering::SeqCst);
    until("a second probe", async || asked() >= 2).await;
    assert!(stand.choose("m").is_none() && stand.pool.is_finding_out());
    stand
        .script
        .reports
        .insert("xai-early-key".to_owned(), usable("team-a", &["m"]));
    until("a token that serves", async || stand.choose("m").is_some()).await;
    assert!(!stand.pool.is_finding_out());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_without_credit_is_asked_about_after_a_restart_and_comes_back() {
    let stand = Stand::new().await;
    let token = stand.known("xai-poor-key", "team-a", &["m"]).await;
    let team = stand.team(&token);
    let broke = penalty(Scope::Team, CoolingCause::OutOfCredit, None);
    stand.pool.penalise(&token, &team, "m", &broke);
    written(&stand, std::slice::from_ref(&token)).await;
    stand.kill();
    let script = Arc::new(Script::default());
    script
        .reports
        .insert("xai-poor-key".to_owned(), usable("team-a", &["m"]));
    let setting = Setting {
        live: true,
        parked_probe_ms: 20,
        ..Setting::default()
    };
    let again = Stand::over(stand.disk.clone(), setting, script).await.unwrap();
    until("a funded team", async || again.choose("m").is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_were_under_way_park_their_team_once() {
    let stand = Stand::new().await;
    let token = stand.known("xai-poor-key", "team-a", &["m"]).await;
    let team = stand.team(&token);
    assert!(token.take_probe(u64::MAX), "the probe that its enrolment planned");
    let broke = penalty(Scope::Team, CoolingCause::OutOfCredit, None);
    for _ in 0..50 {
        stand.pool.penalise(&token, &team, "m", &broke);
    }
    assert_eq!(team.parks.load(Ordering::SeqCst), 1);
    let due_in = |stand: &Stand| token.probe_at.load(Ordering::SeqCst) - stand.clock.wall().0;
    assert_eq!(due_in(&stand), 60_000);
    stand.pass(60_000);
    assert_eq!(token.probe_at.load(Ordering::SeqCst), 0, "it is being probed");
    stand.probe(
        &token,
        ProbeReport::Refused {
            penalty: broke,
            facts: Facts::default(),
        },
    );
    assert_eq!(due_in(&stand), 120_000, "still without: less often");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_whose_team_was_not_written_is_asked_again() {
    let stand = Stand::new().await;
    let token = stand.known("xai-torn-key", "team-a", &["m"]).await;
    written(&stand, std::slice::from_ref(&token)).await;
    stand.kill();
    let key = bytes::Bytes::from_static(b"team-a");
    stand
        .disk
        .bus
        .kv_delete(buckets::TEAMS, key, crate::bus::Expect::Any)
        .await
        .unwrap();
    let script = Arc::new(Script::default());
    script
        .reports
        .insert("xai-torn-key".to_owned(), usable("team-a", &["m"]));
    let setting = Setting {
        live: true,
        ..Setting::default()
    };
    let again = Stand::over(stand.disk.clone(), setting, script).await.unwrap();
    until("the models of the team", async || {
        again.pool.offered_models().iter().any(|name| &**name == "m") && again.pool.model("made-up").is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_rest_outlasts_a_probe_that_finds_all_well() {
    let stand = Stand::new().await;
    let token = stand.known("xai-ruled-key", "team-a", &["m"]).await;
    let team = stand.team(&token);
    let rule = penalty(Scope::Token, CoolingCause::Operator, Some(600_000));
    stand.pool.penalise(&token, &team, "m", &rule);
    stand.probe(&token, usable("team-a", &["m"]));
    assert!(stand.choose("m").is_none());
    stand.pass(600_000);
    assert!(stand.choose("m").is_some());
    // A probe that was under way when the key was refused knows nothing of it.
    let before = Pool::rests_of(&token);
    stand.cool(&token, Scope::Token, "m", None);
    stand.pool.apply_probe(&token, &usable("team-a", &["m"]), &before);
    assert!(stand.choose("m").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_wakes_one_who_was_not_looking() {
    let stand = Stand::new().await;
    let token = stand.known("xai-waited-key", "team-a", &["m"]).await;
    while tokio::time::timeout(Duration::from_millis(1), stand.pool.changed())
        .await
        .is_ok()
    {}
    stand.cool(&token, Scope::Token, "m", Some(1_000));
    stand.pass(1_000);
    tokio::time::timeout(Duration::from_secs(1), stand.pool.changed())
        .await
        .expect("the change came before anybody waited, and is not lost");
}
