//! Several pools on one bus: what happens on one is so on all.

use std::sync::atomic::AtomicBool;

use futures::StreamExt;
use grok2api_schemas::admin::tokens::{EnrolResult, TokenPatch};
use grok2api_schemas::bus::subjects::events;
use grok2api_schemas::token_event::{EventScope, TokenEvent, TokenHappening};

use super::*;
use crate::token::keeper;

pub(super) fn live() -> Setting {
    Setting {
        live: true,
        ..Setting::default()
    }
}

/// Nodes that run, on one bus, with one upstream.
pub(super) async fn nodes(count: usize, setting: impl Fn() -> Setting) -> Vec<Stand> {
    let (disk, script) = (Disk::new(), Arc::new(Script::default()));
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(Stand::over(disk.clone(), setting(), script.clone()).await.unwrap());
    }
    nodes
}

/// Enrols a token on the first node; ready when every node may choose it.
pub(super) async fn everywhere(nodes: &[Stand], secret: &str, team: &str, models: &[&str]) -> TokenId {
    let script = &nodes[0].script;
    script.reports.insert(secret.to_owned(), usable(team, models));
    let id = nodes[0].pool.enrol(vec![fresh(secret)]).await.unwrap()[0].id.unwrap();
    for node in nodes {
        until("the token on every node", async || {
            let token = node.pool.find(id);
            token.is_some_and(|token| {
                let team = token.team().map(|team| team.record());
                team.is_some_and(|team| team.models.as_ref().is_some_and(|known| known.len() == models.len()))
            })
        })
        .await;
    }
    id
}

/// Waits until no node lacks anything, and all say the same of a token and its team.
pub(super) async fn settled(nodes: &[Stand], id: TokenId) {
    until("one state everywhere", async || {
        let now = nodes[0].clock.wall();
        let stored = nodes[0].disk.record(id).await.unwrap();
        nodes.iter().all(|node| {
            let token = node.pool.find(id).unwrap();
            merge::same_token(
                &merge::tokens(&token.record(), &token.record(), now),
                &merge::tokens(&stored, &stored, now),
            )
        })
    })
    .await;
    until("one state of the team everywhere", async || {
        let now = nodes[0].clock.wall();
        let team = nodes[0].pool.find(id).unwrap().team().unwrap();
        let stored = nodes[0].disk.team(&team.id).await.unwrap();
        nodes.iter().all(|node| {
            let record = node.pool.find(id).unwrap().team().unwrap().record();
            merge::same_team(
                &merge::teams(&record, &record, now),
                &merge::teams(&stored, &stored, now),
            )
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_does_on_one_node_is_so_on_the_others() {
    let nodes = nodes(3, live).await;
    let id = everywhere(&nodes, "xai-shared-key", "team-a", &["m"]).await;
    for node in &nodes {
        assert!(node.choose("m").is_some());
        let secret = node.pool.find(id).unwrap().secret().expose_secret().to_owned();
        assert_eq!(secret, "xai-shared-key");
    }
    let off = TokenPatch {
        switch: Some(TokenSwitch::Off),
        label: Some("set aside".to_owned()),
        ..TokenPatch::default()
    };
    nodes[1].pool.patch(vec![(id, off)]).await.unwrap();
    until("off everywhere", async || {
        nodes.iter().all(|node| node.choose("m").is_none())
    })
    .await;
    settled(&nodes, id).await;
    assert_eq!(nodes[2].pool.find(id).unwrap().record().label.as_str(), "set aside");
    nodes[2].pool.delete(&[id]).await.unwrap();
    until("gone everywhere", async || {
        nodes.iter().all(|node| node.pool.is_empty())
    })
    .await;
    assert!(
        nodes
            .iter()
            .all(|node| node.pool.find_by_secret("xai-shared-key").is_none())
    );
    // It may come back, on any node, as the same token.
    let again = nodes[0].pool.enrol(vec![fresh("xai-shared-key")]).await.unwrap();
    assert_eq!((again[0].id, again[0].result.clone()), (Some(id), EnrolResult::Added));
    until("back everywhere", async || {
        nodes.iter().all(|node| node.choose("m").is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_is_heard_of_at_once_and_is_there_after_a_restart() {
    let nodes = nodes(3, live).await;
    let id = everywhere(&nodes, "xai-tired-key", "team-a", &["m", "n"]).await;
    let token = nodes[0].pool.find(id).unwrap();
    nodes[0].cool(&token, Scope::TeamModel, "m", Some(60_000));
    assert!(nodes[0].choose("m").is_none(), "at once where it was seen");
    until("a rest on every node", async || {
        nodes.iter().all(|node| node.choose("m").is_none())
    })
    .await;
    assert!(nodes.iter().all(|node| node.choose("n").is_some()));
    settled(&nodes, id).await;
    let late = Stand::over(nodes[0].disk.clone(), live(), nodes[0].script.clone())
        .await
        .unwrap();
    assert!(late.choose("m").is_none() && late.choose("n").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rests_that_two_nodes_see_at_one_moment_both_stand() {
    let nodes = nodes(2, live).await;
    let models: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = models.iter().map(String::as_str).collect();
    let id = everywhere(&nodes, "xai-twice-key", "team-a", &names).await;
    let start = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (nth, node) in nodes.iter().enumerate() {
            let (start, models, runtime) = (&start, &models, tokio::runtime::Handle::current());
            scope.spawn(move || {
                let _runtime = runtime.enter();
                let token = node.pool.find(id).unwrap();
                while !start.load(Ordering::Acquire) {}
                for model in models.iter().skip(nth).step_by(2) {
                    node.cool(&token, Scope::TeamModel, model, Some(60_000));
                    node.cool(&token, Scope::TokenModel, model, Some(60_000));
                }
            });
        }
        start.store(true, Ordering::Release);
    });
    settled(&nodes, id).await;
    let record = nodes[1].disk.record(id).await.unwrap();
    let team = nodes[1].disk.team("team-a").await.unwrap();
    assert_eq!((record.model_cooling.len(), team.model_cooling.len()), (20, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rest_from_before_a_clearing_does_not_come_back_however_late_it_is_told() {
    let nodes = nodes(2, live).await;
    let id = everywhere(&nodes, "xai-clear-key", "team-a", &["m"]).await;
    let mut told = nodes[0].disk.bus.subscribe(events::TOKEN);
    let token = nodes[0].pool.find(id).unwrap();
    nodes[0].cool(&token, Scope::TeamModel, "m", Some(600_000));
    let cooled = told.next().await.unwrap();
    let event: TokenEvent = serde_json::from_slice(&cooled).unwrap();
    assert_eq!(
        (event.event, event.scope),
        (TokenHappening::Cooled, Some(EventScope::TeamModel))
    );
    assert_eq!((event.id, event.node), (id, nodes[0].session));
    assert!(
        !String::from_utf8_lossy(&cooled).contains("xai-clear-key"),
        "no secret in an event"
    );
    until("a rest on the other node", async || nodes[1].choose("m").is_none()).await;
    assert_eq!(nodes[1].pool.clear_cooling(&[id]).await.unwrap(), 1);
    until("cleared everywhere", async || {
        nodes.iter().all(|node| node.choose("m").is_some())
    })
    .await;
    for node in &nodes {
        node.pool.hear(&cooled);
        assert!(node.choose("m").is_some(), "an event of an older epoch undoes nothing");
    }
    // The next refusal counts again, and is heard of.
    nodes[1].cool(&nodes[1].pool.find(id).unwrap(), Scope::TeamModel, "m", Some(600_000));
    until("a new rest", async || {
        nodes.iter().all(|node| node.choose("m").is_none())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_three_nodes_bring_at_one_moment_is_one_token() {
    let nodes = nodes(3, live).await;
    for round in 0..20 {
        let secret = format!("xai-same-key-{round}");
        let enrol = |node: &Stand| {
            let (pool, secret) = (node.pool.clone(), secret.clone());
            async move { pool.enrol(vec![fresh(&secret)]).await.unwrap().remove(0) }
        };
        let (a, b, c) = tokio::join!(enrol(&nodes[0]), enrol(&nodes[1]), enrol(&nodes[2]));
        let outcomes = [a, b, c];
        let added = outcomes.iter().filter(|o| o.result == EnrolResult::Added).count();
        assert_eq!(added, 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|o| o.id == outcomes[0].id));
        for node in &nodes {
            assert_eq!(node.pool.len(), round + 1);
        }
    }
    let stored = nodes[0].disk.bus.kv_list(buckets::TOKENS).await.unwrap();
    assert_eq!(stored.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_probes_a_token_and_another_when_that_one_is_dead() {
    let nodes = nodes(3, || Setting {
        live: true,
        refresh_every_ms: 200,
        ..Setting::default()
    })
    .await;
    let all: Vec<SessionId> = nodes.iter().map(|node| node.session).collect();
    let share = |me: SessionId, live: Vec<SessionId>| -> crate::token::Share {
        Box::new(move |key| keeper(live.iter().copied(), key) == Some(me))
    };
    for node in &nodes {
        node.pool.set_share(share(node.session, all.clone()));
    }
    everywhere(&nodes, "xai-probed-key", "team-a", &["m"]).await;
    let probes = |node: &Stand| node.pool.0.counters.probes.load(Ordering::SeqCst);
    let before: Vec<u64> = nodes.iter().map(probes).collect();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let after: Vec<u64> = nodes.iter().map(probes).collect();
    let busy: Vec<usize> = (0..3).filter(|n| after[*n] > before[*n]).collect();
    let keeper_of_team = keeper(all.iter().copied(), b"team-a");
    assert_eq!(busy.len(), 1, "{before:?} {after:?}");
    assert_eq!(Some(nodes[busy[0]].session), keeper_of_team);
    nodes[busy[0]].kill();
    let left: Vec<&Stand> = nodes
        .iter()
        .filter(|node| Some(node.session) != keeper_of_team)
        .collect();
    let sessions: Vec<SessionId> = left.iter().map(|node| node.session).collect();
    let before: u64 = left.iter().map(|node| probes(node)).sum();
    for node in &left {
        node.pool.set_share(share(node.session, sessions.clone()));
    }
    until("a probe by a survivor", async || {
        left.iter().map(|node| probes(node)).sum::<u64>() > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_refusals_is_one_message_and_one_write() {
    let nodes = nodes(2, live).await;
    let id = everywhere(&nodes, "xai-storm-key", "team-a", &["m"]).await;
    settled(&nodes, id).await;
    let mut told = nodes[0].disk.bus.subscribe(events::TOKEN);
    let mut writes = nodes[0].disk.bus.kv_watch(buckets::TEAMS).await.unwrap();
    let token = nodes[0].pool.find(id).unwrap();
    for _ in 0..500 {
        nodes[0].cool(&token, Scope::TeamModel, "m", Some(60_000));
    }
    until("the rest on the other node", async || nodes[1].choose("m").is_none()).await;
    settled(&nodes, id).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let count = |n: usize| n;
    let (mut messages, mut written) = (0, 0);
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(20), told.next()).await {
        messages += 1;
    }
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(20), writes.next()).await {
        written += 1;
    }
    assert_eq!((count(messages), count(written)), (1, 1));
    let events = nodes[0].pool.cooling_events();
    assert_eq!(events, [("team_model", "rate_limited", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_token_has_no_actor_and_gets_one_again() {
    let stand = Stand::new().await;
    let token = stand.known("xai-idle-key", "team-a", &["m"]).await;
    assert_eq!(stand.pool.live_actors(), 1);
    let went = async {
        while stand.pool.live_actors() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), went)
        .await
        .expect("an idle actor goes");
    stand.cool(&token, Scope::Token, "m", None);
    until("what happens later is written", async || {
        stand.disk.record(token.id).await.unwrap().cooling.is_some()
    })
    .await;
}
