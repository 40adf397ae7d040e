//! Conversations on several nodes.

use futures::StreamExt;
use grok2api_schemas::bus::changes::WhichConversations;
use grok2api_schemas::bus::subjects::events;

use super::nodes::{everywhere, live, nodes};
use super::*;
use crate::token::Reason;

async fn two_that_share() -> Vec<Stand> {
    let nodes = nodes(2, live).await;
    for node in &nodes {
        node.pool.share_conversations(&TaskTracker::new(), &node.stop);
    }
    for team in ["team-a", "team-b", "team-c", "team-d"] {
        everywhere(&nodes, &format!("xai-of-{team}"), team, &["m"]).await;
    }
    nodes
}

fn turn(node: &Stand, conversation: u64) -> Pick {
    node.choose_for("m", Some(conversation), &Tried::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_begun_on_one_node_goes_on_with_its_token_on_another() {
    let nodes = two_that_share().await;
    let mut told = nodes[0].disk.bus.subscribe(events::AFFINITY);
    let firsts: Vec<TokenId> = (0..500).map(|at| turn(&nodes[0], at).token.id).collect();
    until("the bindings on the other node", async || {
        nodes[1].pool.conversations().len() == 500
    })
    .await;
    for (at, first) in (0..).zip(&firsts) {
        let next = turn(&nodes[1], at);
        assert_eq!((next.token.id, next.reason), (*first, Reason::Affinity));
    }
    assert_eq!(nodes[1].pool.affinity_counts(), (500, 0, 0, 500));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut messages = 0;
    while told.next().now_or_never().is_some() {
        messages += 1;
    }
    assert!((1..=3).contains(&messages), "{messages} messages for 500 bindings");

    // Cleared on one, cleared on both; what was bound then does not come back.
    assert_eq!(
        nodes[1].pool.clear_conversations(WhichConversations::Of(firsts[0])) as usize,
        { firsts.iter().filter(|token| **token == firsts[0]).count() }
    );
    nodes[1].pool.clear_conversations(WhichConversations::These(vec![1, 2]));
    until("cleared", async || {
        let left = nodes[0].pool.conversations();
        left.iter().all(|row| row.token != firsts[0] && row.conversation.0 > 2)
    })
    .await;
    nodes[0].pool.clear_conversations(WhichConversations::All);
    until("all cleared", async || {
        nodes.iter().all(|node| node.pool.conversations().is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_bindings_the_later_counts_everywhere_and_late_news_undo_nothing() {
    let stand = Stand::new().await;
    let a = stand.known("xai-of-the-first", "team-a", &["m"]).await;
    let b = stand.known("xai-of-the-second", "team-b", &["m"]).await;
    let (now, wall) = (stand.clock.now(), stand.clock.wall());
    let affinity = stand.pool.affinity();
    let bound = || stand.pool.conversations().first().map(|row| row.token);
    let here = ConversationId(1);
    affinity.bind(here, &a, now, wall);
    affinity.heard(here, &b, wall.0 - 1, now, wall);
    assert_eq!(bound(), Some(a.id), "theirs is older");
    affinity.heard(here, &b, wall.0 + 1, now, wall);
    assert_eq!(bound(), Some(b.id), "theirs is newer");
    affinity.bind(here, &a, now, wall);
    assert_eq!(bound(), Some(a.id), "moved here, later than what was heard");
    affinity.heard(here, &b, wall.0 + 1, now, wall);
    assert_eq!(bound(), Some(a.id), "the same news again");
    // Of the same instant: the same on every node, whatever came first.
    for (first, second) in [(&a, &b), (&b, &a)] {
        let conversation = ConversationId(7 + u64::from(first.id == a.id));
        affinity.heard(conversation, first, wall.0, now, wall);
        affinity.heard(conversation, second, wall.0, now, wall);
        assert_eq!(affinity.find(conversation, now).unwrap().0.id, a.id.max(b.id));
    }
    stand.hands.advance_ms(10);
    stand.pool.clear_conversations(WhichConversations::All);
    affinity.heard(here, &b, wall.0 + 2, stand.clock.now(), stand.clock.wall());
    assert_eq!(bound(), None, "bound before it was cleared");
    // As old as a binding may become.
    affinity.heard(
        here,
        &b,
        stand.clock.wall().0 + 60_000,
        stand.clock.now(),
        stand.clock.wall(),
    );
    assert_eq!(bound(), Some(b.id));
    stand.pass(60_001);
    assert_eq!(bound(), None);
}
