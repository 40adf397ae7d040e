//! Which of those that may serve does: affinity and its limits, balance, what was tried.

use std::collections::BTreeSet;

use grok2api_schemas::config::Limits;
use grok2api_schemas::meter::MeterKind;

use super::*;
use crate::ledger::Want;
use crate::token::choice::Reason;

fn limited(team: &str, limits: Limits) -> TeamConfig {
    TeamConfig {
        id: team.to_owned(),
        keys: Vec::new(),
        limits: [("*".to_owned(), limits)].into(),
    }
}

async fn two_teams() -> (Stand, Arc<Token>, Arc<Token>) {
    let stand = Stand::new().await;
    let a = stand.known("xai-key-of-team-a", "team-a", &["m"]).await;
    let b = stand.known("xai-key-of-team-b", "team-b", &["m"]).await;
    (stand, a, b)
}

#[tokio::test]
async fn a_conversation_stays_with_its_token_and_comes_back_to_it_after_a_rest() {
    let (stand, ..) = two_teams().await;
    let bound = stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.clone();
    for _ in 0..20 {
        let pick = stand.choose_for("m", Some(7), &Tried::default()).unwrap();
        assert_eq!((pick.token.id, pick.reason), (bound.id, Reason::Affinity));
    }
    assert_eq!(stand.pool.affinity_counts(), (20, 0, 0, 1));
    stand.cool(&bound, Scope::TeamModel, "m", Some(30_000));
    for _ in 0..3 {
        assert_ne!(
            stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.id,
            bound.id
        );
    }
    assert_eq!(stand.pool.affinity_counts(), (20, 3, 0, 1), "borrowed, not moved");
    stand.pass(30_000);
    assert_eq!(
        stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.id,
        bound.id
    );
}

#[tokio::test]
async fn a_conversation_moves_when_its_token_will_not_be_back() {
    let (stand, ..) = two_teams().await;
    let first = stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.clone();
    stand.cool(&first, Scope::Token, "m", None);
    let second = stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.clone();
    assert_ne!(first.id, second.id);
    assert_eq!(stand.pool.affinity_counts(), (0, 0, 1, 1));
    stand.pool.clear_cooling(&[first.id]).await.unwrap();
    assert_eq!(
        stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.id,
        second.id
    );
    stand.pool.delete(&[second.id]).await.unwrap();
    assert_eq!(
        stand.choose_for("m", Some(7), &Tried::default()).unwrap().token.id,
        first.id
    );
    assert_eq!(stand.pool.affinity_counts().2, 2);
}

#[tokio::test]
async fn a_bound_token_of_unlisted_models_yields_while_its_team_rests_for_the_model() {
    let stand = Stand::new().await;
    let report = ProbeReport::Usable(Facts {
        team: Some("team-a".to_owned()),
        ..Facts::default()
    });
    let token = stand.enrol("xai-unlisted-key").await;
    stand.probe(&token, report);
    assert!(stand.choose_for("any-model", Some(7), &Tried::default()).is_some());
    stand.cool(&token, Scope::TeamModel, "any-model", Some(30_000));
    assert!(stand.choose_for("any-model", Some(7), &Tried::default()).is_none());
    assert!(stand.choose_for("another-model", Some(7), &Tried::default()).is_some());
    for n in 0..10_000 {
        stand.pool.model(&format!("made-up-{n}"));
    }
    assert!(
        stand.pool.model("made-up-20000").is_none(),
        "names from clients are bounded"
    );
}

#[tokio::test]
async fn a_swarm_holds_its_share_of_a_tokens_slots_and_gives_them_back() {
    let limits = Limits {
        concurrency: Some(6),
        ..Limits::default()
    };
    let stand = Stand::with(Setting {
        teams: vec![limited("team-a", limits.clone()), limited("team-b", limits)],
        ..Setting::default()
    })
    .await;
    stand.known("xai-key-of-team-a", "team-a", &["m"]).await;
    stand.known("xai-key-of-team-b", "team-b", &["m"]).await;
    let picks: Vec<Pick> = (0..12)
        .filter_map(|_| stand.choose_for("m", Some(7), &Tried::default()))
        .collect();
    let bound = picks[0].token.id;
    let by_affinity = picks.iter().filter(|pick| pick.reason == Reason::Affinity).count();
    assert_eq!(by_affinity, 2, "half of six slots, the first of them drawn");
    assert_eq!(picks.len(), 12);
    drop(picks);
    let again = stand.choose_for("m", Some(7), &Tried::default()).unwrap();
    assert_eq!(
        (again.token.id, again.reason, again.token.in_flight()),
        (bound, Reason::Affinity, 1)
    );
}

#[tokio::test]
async fn one_with_more_room_is_preferred_and_one_without_only_taken_if_nobody_has_any() {
    let rpm = |rpm| Limits {
        rpm: Some(rpm),
        ..Limits::default()
    };
    let stand = Stand::with(Setting {
        teams: vec![limited("team-a", rpm(0)), limited("team-b", rpm(1_000))],
        ..Setting::default()
    })
    .await;
    let a = stand.known("xai-key-of-team-a", "team-a", &["m"]).await;
    let b = stand.known("xai-key-of-team-b", "team-b", &["m"]).await;
    let pick = stand.choose("m").unwrap();
    let kind = pick.at.meters()[0].meter.meter().kind;
    assert_eq!(kind, MeterKind::Requests { window_ms: 60_000 });
    drop(pick);
    for _ in 0..50 {
        assert_eq!(stand.choose("m").unwrap().token.id, b.id);
    }
    stand.pool.delete(&[b.id]).await.unwrap();
    let pick = stand.choose("m").unwrap();
    assert_eq!(pick.token.id, a.id, "its owner may know better than this node");
    let meter = pick.at.meters()[0].meter.clone();
    assert!(stand.ledger.try_take(&[Want { meter, units: 1 }]).is_err());
}

#[tokio::test]
async fn the_less_busy_of_a_teams_tokens_serves_and_every_one_is_reached() {
    let stand = Stand::new().await;
    for n in 0..5 {
        stand.known(&format!("xai-key-number-{n}"), "team-a", &["m"]).await;
    }
    let mut held = Vec::new();
    for _ in 0..500 {
        held.push(stand.choose("m").unwrap());
    }
    let most = held.iter().map(|pick| pick.token.in_flight()).max().unwrap();
    assert!(
        (100..=112).contains(&most),
        "two choices keep five tokens level: {most}"
    );
    let reached: BTreeSet<_> = held.iter().map(|pick| pick.token.id).collect();
    assert_eq!(reached.len(), 5);
    let token = held[0].token.clone();
    drop(held);
    assert_eq!(token.in_flight(), 0);
}

#[tokio::test]
async fn what_was_tried_is_not_chosen_again() {
    let (stand, a, _) = two_teams().await;
    let other = stand.known("xai-second-key-of-a", "team-a", &["m"]).await;
    let mut tried = Tried::default();
    tried.token(&a);
    for _ in 0..50 {
        assert_ne!(stand.choose_for("m", Some(1), &tried).unwrap().token.id, a.id);
    }
    tried.team(&stand.team(&other));
    for _ in 0..50 {
        assert_eq!(&*stand.choose_for("m", Some(2), &tried).unwrap().team.id, "team-b");
    }
}

#[tokio::test]
async fn failures_in_a_row_are_those_of_one_key() {
    use crate::token::cooling::SoftFailure;
    let stand = Stand::new().await;
    for n in 0..3 {
        stand.known(&format!("xai-key-number-{n}"), "team-a", &["m"]).await;
    }
    let mut tried = Tried::default();
    for _ in 0..3 {
        let pick = stand.choose_for("m", None, &tried).unwrap();
        assert!(
            stand.pool.failed_softly(&pick, SoftFailure::ServerError).is_none(),
            "one failure each"
        );
        tried.token(&pick.token);
    }
    let pick = stand.choose("m").unwrap();
    assert!(stand.pool.failed_softly(&pick, SoftFailure::Timeout).is_none());
    assert!(
        stand.pool.failed_softly(&pick, SoftFailure::Timeout).is_some(),
        "the third of this key"
    );
    let rests = pick.token.clone();
    drop(pick);
    for _ in 0..50 {
        let pick = stand.choose("m").unwrap();
        assert_ne!(pick.token.id, rests.id);
        stand.pool.succeeded(&pick);
    }
}
