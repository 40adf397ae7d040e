//! What operators see and do.

use std::collections::BTreeSet;

use grok2api_schemas::admin::tokens::{EnrolResult, TokenPatch, TokenQuery, TokenSort};
use grok2api_schemas::token::TokenState;

use super::*;
use crate::token::mask;

fn query(limit: usize) -> TokenQuery {
    TokenQuery {
        limit,
        ..TokenQuery::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_cover_each_of_a_thousand_tokens_once_in_every_order() {
    let stand = Stand::new().await;
    let batch = (0..1_000).map(|n| NewToken {
        label: format!("label {}", n % 13),
        ..fresh(&format!("xai-secret-{n:04}"))
    });
    let outcomes = stand.pool.enrol(batch.collect()).await.unwrap();
    for (n, outcome) in outcomes.iter().enumerate().filter(|(n, _)| n % 3 == 0) {
        let token = stand.pool.find(outcome.id.unwrap()).unwrap();
        token.unsaved_uses.store(n as u32 % 5, Ordering::SeqCst);
        token.last_used_ms.store(WALL.0 + n as u64 % 7, Ordering::SeqCst);
    }
    use TokenSort::{Created, FailCount, Label, LastUsed, UseCount};
    for sort in [Created, LastUsed, UseCount, FailCount, Label] {
        for (descending, limit) in [(false, 7), (true, 7), (false, 999), (true, 1_000), (false, 600)] {
            let mut seen = BTreeSet::new();
            let mut keys = Vec::new();
            let mut next = TokenQuery {
                sort,
                descending,
                ..query(limit)
            };
            loop {
                let page = stand.pool.list(&next);
                assert_eq!(page.total, 1_000);
                assert!(page.items.len() <= limit);
                for item in &page.items {
                    assert!(seen.insert(item.id), "{sort:?} shows one twice");
                    keys.push((item.sort_key(sort), item.id));
                }
                match page.next_cursor {
                    Some(cursor) => next.cursor = Some(cursor.parse().unwrap()),
                    None => break,
                }
            }
            assert_eq!(seen.len(), 1_000, "{sort:?} {descending} {limit}");
            if descending {
                keys.reverse();
            }
            assert!(keys.is_sorted(), "{sort:?} {descending} {limit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_by_several_threads_finds_each_once_in_order() {
    let stand = Stand::new().await;
    let batch = (0..1_000).map(|n| NewToken {
        label: format!("Label {}", n % 13),
        ..fresh(&format!("xai-secret-{n:04}"))
    });
    let outcomes = stand.pool.enrol(batch.collect()).await.unwrap();
    let off = TokenPatch {
        switch: Some(TokenSwitch::Off),
        ..TokenPatch::default()
    };
    let switched = outcomes
        .iter()
        .step_by(2)
        .map(|outcome| (outcome.id.unwrap(), off.clone()));
    stand.pool.patch(switched.collect()).await.unwrap();
    for (states, descending, sort) in [
        (vec![], false, TokenSort::Created),
        (vec![TokenState::Disabled], true, TokenSort::Created),
        (vec![TokenState::Active], false, TokenSort::Label),
    ] {
        let every = stand.pool.list(&TokenQuery {
            states: states.clone(),
            descending,
            sort,
            ..query(1_000)
        });
        let expected: Vec<_> = every
            .items
            .iter()
            .filter(|item| item.label.starts_with("Label 1"))
            .map(|item| item.id)
            .collect();
        let mut next = TokenQuery {
            text: Some("lABEL 1".to_owned()),
            states,
            descending,
            sort,
            ..query(60)
        };
        let mut found = Vec::new();
        loop {
            let page = stand.pool.list(&next);
            assert_eq!(page.total, expected.len() as u64);
            found.extend(page.items.iter().map(|item| item.id));
            match page.next_cursor {
                Some(cursor) => next.cursor = Some(cursor.parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(found, expected, "{sort:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_add_up_and_counts_agree_with_them() {
    let stand = Stand::new().await;
    let a = stand.known("xai-key-of-team-a", "team-a", &["m"]).await;
    let b = stand.known("xai-key-of-team-b", "team-b", &["m"]).await;
    let off = stand.known("xai-key-switched-off", "team-b", &["m"]).await;
    stand.enrol("xai-key-unknown").await;
    stand.cool(&a, Scope::Token, "m", Some(60_000));
    let patch = TokenPatch {
        switch: Some(TokenSwitch::Off),
        tags: Some(vec!["Spare".to_owned()]),
        ..TokenPatch::default()
    };
    stand.pool.patch(vec![(off.id, patch)]).await.unwrap();
    let found =
        |query: TokenQuery| -> BTreeSet<TokenId> { stand.pool.list(&query).items.iter().map(|t| t.id).collect() };
    let in_state = |state| TokenQuery {
        states: vec![state],
        ..query(10)
    };
    assert_eq!(found(in_state(TokenState::Cooling)), [a.id].into());
    assert_eq!(found(in_state(TokenState::Disabled)), [off.id].into());
    let of_team = |team: &str| TokenQuery {
        team: Some(team.to_owned()),
        ..query(10)
    };
    assert_eq!(found(of_team("team-b")), [b.id, off.id].into());
    let with_text = TokenQuery {
        text: Some("sPaRe".to_owned()),
        ..of_team("team-b")
    };
    assert_eq!(found(with_text), [off.id].into());
    let counts = stand.pool.counts();
    assert_eq!(
        (
            counts.total,
            counts.active,
            counts.cooling,
            counts.disabled,
            counts.teams
        ),
        (4, 2, 1, 1, 2)
    );
    let hindrances = stand.pool.hindrances(Some("m"));
    assert_eq!(hindrances, [(CoolingCause::RateLimited, 1, Some(WALL.0 + 60_000))]);
    assert!(
        stand.pool.hindrances(Some("another")).is_empty(),
        "it could not serve that one anyway"
    );
    stand.pool.delete(&[b.id, off.id]).await.unwrap();
    assert_eq!(stand.pool.counts().teams, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_credential_is_refused_and_no_view_shows_a_secret() {
    let stand = Stand::new().await;
    let long = "x".repeat(5_000);
    for bad in [
        "short",
        "xai-with space",
        "xai-ab…wxyz",
        "xai-ab...wxyz",
        "xai-***-wxyz",
        "xai-ümlaut-key",
        &long,
    ] {
        let outcomes = stand.pool.enrol(vec![fresh(bad)]).await.unwrap();
        assert!(matches!(outcomes[0].result, EnrolResult::Invalid(_)), "{bad}");
        assert_eq!(outcomes[0].id, None);
    }
    let ftp = NewToken {
        proxy: Some("ftp://proxy".to_owned()),
        ..fresh("xai-a-good-secret")
    };
    assert!(matches!(
        stand.pool.enrol(vec![ftp]).await.unwrap()[0].result,
        EnrolResult::Invalid(_)
    ));
    assert!(stand.pool.is_empty());
    let with_proxy = NewToken {
        proxy: Some("http://user:hidden-word@proxy:3128".to_owned()),
        ..fresh("xai-abcdefghijklmnopqrstuvwxyz")
    };
    stand.pool.enrol(vec![with_proxy]).await.unwrap();
    let shown = format!("{:?}", stand.pool.list(&query(10)).items);
    assert!(shown.contains("xai-ab…wxyz"), "{shown}");
    assert!(!shown.contains("cdefgh") && !shown.contains("hidden-word"), "{shown}");
    for secret in ["xai-1234", "xai-abcdefghijkl", "ü-eight-chars"] {
        let masked = mask(secret);
        let kept = masked.chars().count() - 1;
        assert!(kept * 2 <= secret.chars().count(), "{masked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_switched_on_before_it_was_ever_asked_about_is_asked() {
    let stand = Stand::new().await;
    let off = NewToken {
        switch: TokenSwitch::Off,
        ..fresh("xai-asleep-key")
    };
    let id = stand.pool.enrol(vec![off]).await.unwrap()[0].id.unwrap();
    let token = stand.pool.find(id).unwrap();
    token.take_probe(u64::MAX);
    let on = TokenPatch {
        switch: Some(TokenSwitch::On),
        ..TokenPatch::default()
    };
    stand.pool.patch(vec![(id, on)]).await.unwrap();
    assert!(token.take_probe(stand.clock.wall().0));
}
