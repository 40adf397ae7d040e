use std::collections::BTreeMap;

use futures::future::BoxFuture;
use grok2api_actors::bus::BusHandle;
use grok2api_actors::bus::local::LocalBus;
use grok2api_actors::clock::{Clock, WallMs};
use grok2api_actors::media::{Entry, MediaError};
use grok2api_actors::store::Store;
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::admin::cache::{OnlineAsk, OnlineDeleteAsk};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::engine::error::ErrorKind;
use crate::ops::fakes::{FakeFiles, FakeOnline};

fn actor() -> Actor {
    Actor {
        username: "root".into(),
        role: Role::Admin,
        ip: None,
        trail: None,
    }
}

/// Pictures by name and age.
struct Kept(Mutex<BTreeMap<String, u64>>);

impl Kept {
    fn of(files: &[(&str, u64)]) -> Arc<Kept> {
        let files = files.iter().map(|(name, made)| ((*name).to_owned(), *made));
        Arc::new(Kept(Mutex::new(files.collect())))
    }
}

impl Files for Kept {
    fn totals(&self, kind: MediaKind) -> (u64, u64) {
        match kind {
            MediaKind::Image => {
                let count = self.0.lock().len() as u64;
                (count, count * 1024 * 1024)
            }
            MediaKind::Video => (0, 0),
        }
    }

    fn downloads(&self) -> usize {
        1
    }

    fn keep_bytes(&self) -> u64 {
        10 * 1024 * 1024
    }

    fn list(&self, _: MediaKind) -> Vec<(String, Entry)> {
        let mut all: Vec<(String, Entry)> = self
            .0
            .lock()
            .iter()
            .map(|(name, made)| (name.clone(), Entry::new(7, "image/png", *made, *made)))
            .collect();
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.made_ms));
        all
    }

    fn delete<'a>(&'a self, _: MediaKind, name: &'a str) -> BoxFuture<'a, Result<bool, MediaError>> {
        let had = self.0.lock().remove(name).is_some();
        Box::pin(async move { Ok(had) })
    }

    fn clear(&self, _: MediaKind) -> BoxFuture<'_, Result<(u64, u64), MediaError>> {
        let gone = std::mem::take(&mut *self.0.lock()).len() as u64;
        Box::pin(async move { Ok((gone, gone * 7)) })
    }
}

fn path_of() -> PathOf {
    Arc::new(|_, name| format!("/v1/files/image/{name}"))
}

/// Two nodes on one bus, of which the second only answers.
fn two(here: Arc<Kept>, there: Arc<Kept>) -> (CacheOps, CancellationToken) {
    let bus: BusHandle = LocalBus::new(Store::temporary().unwrap(), Clock::manual(WallMs(1_700_000_000_000)).0);
    let stop = CancellationToken::new();
    let (nodes, others) = Nodes::pair(&bus, "one", "two");
    answer_others(&others, there, &TaskTracker::new(), stop.clone());
    let ops = CacheOps::new(here, path_of(), nodes, Arc::new(FakeOnline::default()));
    (ops, stop)
}

#[tokio::test]
async fn files_of_every_node_are_one_list_and_go_from_all_of_them() {
    let (here, there) = (
        Kept::of(&[("a.png", 10), ("both.png", 20)]),
        Kept::of(&[("both.png", 25), ("c.png", 30)]),
    );
    let (ops, stop) = two(here.clone(), there.clone());
    let mut status = ops.status(&CacheStatusAsk::default()).await.unwrap();
    for _ in 0..500 {
        // The other one listens a moment after it was told to.
        if status.unanswered.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        status = ops.status(&CacheStatusAsk::default()).await.unwrap();
    }
    assert_eq!((status.local_image.count, status.local_image.size_mb), (4, 4.0));
    assert_eq!((status.downloads, status.limit_mb), (2, 20));
    let names: Vec<&str> = status.nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["one", "two"]);

    let page = ops.list(&CacheListAsk::default()).await.unwrap();
    let rows: Vec<(&str, &[String])> = page
        .items
        .iter()
        .map(|file| (file.name.as_str(), file.nodes.as_slice()))
        .collect();
    let (one, two) = (["one".to_owned()], ["two".to_owned()]);
    let both = ["one".to_owned(), "two".to_owned()];
    assert_eq!(
        rows,
        [("c.png", &two[..]), ("both.png", &both[..]), ("a.png", &one[..])]
    );
    assert_eq!(
        (page.total, page.items[0].view_url.as_str()),
        (3, "/v1/files/image/c.png")
    );
    let second = CacheListAsk {
        page: Some(2),
        page_size: Some(2),
        ..CacheListAsk::default()
    };
    assert_eq!(ops.list(&second).await.unwrap().items[0].name, "a.png");
    let own = CacheListAsk {
        node: Some("two".into()),
        ..CacheListAsk::default()
    };
    assert_eq!(ops.list(&own).await.unwrap().items.len(), 2);
    let deep = CacheListAsk {
        page: Some(4),
        ..CacheListAsk::default()
    };
    assert_eq!(ops.list(&deep).await.unwrap_err().kind, ErrorKind::InvalidField);
    let strange = CacheStatusAsk {
        node: Some("three".into()),
    };
    assert_eq!(ops.status(&strange).await.unwrap_err().public_code(), "node_not_found");

    let one_file = |name: &str| CacheDeleteAsk {
        node: None,
        kind: None,
        name: name.into(),
    };
    assert!(ops.delete(&actor(), one_file("both.png")).await.unwrap().result.deleted);
    assert!(!ops.delete(&actor(), one_file("both.png")).await.unwrap().result.deleted);
    assert_eq!((here.0.lock().len(), there.0.lock().len()), (1, 1));
    let on_two = CacheClearAsk {
        node: Some("two".into()),
        kind: None,
    };
    assert_eq!(ops.clear(&actor(), on_two).await.unwrap().result.count, 1);
    assert_eq!(here.0.lock().len(), 1, "the other one keeps its own");
    let all = ops.clear(&actor(), CacheClearAsk::default()).await.unwrap();
    assert_eq!((all.result.count, all.unanswered.len()), (1, 0));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_is_named() {
    let (ops, stop) = two(Kept::of(&[("a.png", 10)]), Kept::of(&[]));
    stop.cancel();
    tokio::task::yield_now().await;
    let page = ops.list(&CacheListAsk::default()).await.unwrap();
    assert_eq!(
        (page.items.len(), page.unanswered.as_slice()),
        (1, &["two".to_owned()][..])
    );
    let named = CacheStatusAsk {
        node: Some("two".into()),
    };
    assert_eq!(ops.status(&named).await.unwrap_err().public_code(), "node_unanswered");
}

#[tokio::test]
async fn a_providers_files_are_shown_team_by_team_and_deleted_with_their_reasons() {
    let online = FakeOnline::default();
    online.keep("team-a", &["one", "two", "stuck"]);
    online.keep("team-b", &[]);
    let ops = CacheOps::new(Arc::new(FakeFiles), path_of(), Nodes::alone(), Arc::new(online));
    let teams = ops
        .online(OnlineAsk {
            limit: Some(1),
            ..OnlineAsk::default()
        })
        .await
        .unwrap();
    assert_eq!((teams.total, teams.without_team), (2, 1));
    assert_eq!(teams.next_cursor.as_deref(), Some("team-a"));
    let rest = ops
        .online(OnlineAsk {
            cursor: teams.next_cursor,
            ..OnlineAsk::default()
        })
        .await
        .unwrap();
    assert_eq!((rest.teams[0].team.as_str(), rest.next_cursor), ("team-b", None));

    let of = |cursor: Option<&str>| OnlineAsk {
        team: Some("team-a".into()),
        cursor: cursor.map(str::to_owned),
        limit: None,
    };
    let first = ops.online(of(None)).await.unwrap();
    assert_eq!((first.files.len(), first.next_cursor.as_deref()), (2, Some("2")));
    assert_eq!(ops.online(of(Some("2"))).await.unwrap().files[0].id, "file_stuck");

    let delete = |team: &str, ids: &[&str]| OnlineDeleteAsk {
        team: team.into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    };
    let gone = ops
        .delete_online(&actor(), delete("team-a", &["file_one", "file_stuck", "file_none"]))
        .await
        .unwrap();
    assert_eq!(gone.deleted, 1);
    let reasons: Vec<(bool, Option<&str>)> = gone
        .results
        .iter()
        .map(|result| (result.deleted, result.reason.as_deref()))
        .collect();
    assert_eq!(
        reasons,
        [(true, None), (false, Some("The upstream says no.")), (false, None)]
    );
    for (team, ids, kind) in [
        ("team-a", vec![], ErrorKind::InvalidField),
        ("team-a", vec![""], ErrorKind::InvalidField),
        ("team-a", vec!["x"; 101], ErrorKind::InvalidField),
        ("nobody", vec!["x"], ErrorKind::NotFound),
    ] {
        let refused = ops.delete_online(&actor(), delete(team, &ids)).await.unwrap_err();
        assert_eq!(refused.kind, kind);
    }
}
