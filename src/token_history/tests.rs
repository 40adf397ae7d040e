use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clock::{Clock, WallMs};
use grok2api_schemas::token::{CoolingCause, TokenState};
use grok2api_schemas::token_event::TokenHappening;

use super::*;

fn event(id: TokenId, what: TokenHappening, version: u64) -> TokenEvent {
    TokenEvent {
        event: what,
        id,
        masked: "xai-…abcd".into(),
        team: Some("team-1".into()),
        state: TokenState::Cooling,
        scope: None,
        model: None,
        cause: None,
        detail: None,
        since_ms: None,
        until_ms: None,
        node: SessionId::generate(),
        version,
        epoch: 0,
        count: None,
    }
}

fn cooled(id: TokenId, version: u64, scope: EventScope) -> TokenEvent {
    TokenEvent {
        scope: Some(scope),
        cause: Some(CoolingCause::RateLimited),
        detail: Some("slow down".into()),
        until_ms: Some(9_000),
        ..event(id, TokenHappening::Cooled, version)
    }
}

fn name_of() -> NameOf {
    Box::new(|_| "n1".into())
}

fn tell(history: &TokenHistory, event: &TokenEvent) {
    history.hear(&serde_json::to_vec(event).unwrap(), &name_of());
}

#[tokio::test]
async fn a_token_has_its_own_changes_and_those_of_its_team_over_a_restart_too() {
    let store = Store::temporary().unwrap();
    let (clock, manual) = Clock::manual(WallMs(1_000));
    let (one, two) = (TokenId::from_bytes([1; 16]), TokenId::from_bytes([2; 16]));
    let history = TokenHistory::open(store.clone(), clock.clone()).unwrap();
    tell(&history, &event(one, TokenHappening::Added, 1));
    manual.set_wall(WallMs(2_000));
    tell(&history, &cooled(one, 2, EventScope::Token));
    // Told again by the node that writes for others: one change.
    tell(&history, &cooled(one, 2, EventScope::Token));
    manual.set_wall(WallMs(3_000));
    tell(&history, &cooled(two, 7, EventScope::Team));
    history.hear(b"something else", &name_of());
    history.write().await;

    let again = TokenHistory::open(store, clock).unwrap();
    for history in [history, again] {
        let changes = history.of(one, Some("team-1"));
        let seen: Vec<_> = changes.iter().map(|change| (change.time_ms, change.event)).collect();
        assert_eq!(
            seen,
            [
                (3_000, TokenHappening::Cooled),
                (2_000, TokenHappening::Cooled),
                (1_000, TokenHappening::Added)
            ]
        );
        assert_eq!(changes[1].cause, Some(CoolingCause::RateLimited));
        assert_eq!(
            (changes[1].detail.as_deref(), changes[1].node.as_str()),
            (Some("slow down"), "n1")
        );
        assert_eq!(history.of(one, None).len(), 2);
        assert_eq!(history.of(two, None).len(), 0);
    }
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let store = Store::temporary().unwrap();
    let (clock, _) = Clock::manual(WallMs(1_000));
    let history = TokenHistory::open(store.clone(), clock.clone()).unwrap();
    let busy = TokenId::from_bytes([9; 16]);
    for version in 0..(OF_ONE as u64 + 10) {
        tell(&history, &event(busy, TokenHappening::Updated, version));
    }
    assert_eq!(history.of(busy, None).len(), OF_ONE);
    for number in 0..OF_ALL as u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        tell(&history, &event(TokenId::from_bytes(bytes), TokenHappening::Added, 1));
    }
    history.write().await;
    assert!(history.of(busy, None).is_empty(), "the oldest went");
    assert_eq!(store.len(TREE).unwrap(), OF_ALL);
    assert_eq!(
        TokenHistory::open(store, clock).unwrap().0.known.lock().order.len(),
        OF_ALL
    );
}

#[tokio::test]
async fn what_is_told_on_the_bus_is_heard() {
    let store = Store::temporary().unwrap();
    let (clock, _) = Clock::manual(WallMs(1_000));
    let bus: BusHandle = LocalBus::new(store.clone(), clock.clone());
    let history = TokenHistory::open(store, clock).unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    history.start(&bus, name_of(), &tracker, stop.clone());
    let id = TokenId::from_bytes([3; 16]);
    let told = serde_json::to_vec(&event(id, TokenHappening::Disabled, 4)).unwrap();
    bus.publish(events::TOKEN, told.into());
    for _ in 0..500 {
        if !history.of(id, None).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(history.of(id, None)[0].event, TokenHappening::Disabled);
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}
