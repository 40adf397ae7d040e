//! What one node made, the others serve: also when it is gone.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PAINTER, path_of, png, send_form};
use crate::support::nats::NatsServers;
use crate::support::{Plan, Sim, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn media_of_a_killed_node_is_served_by_the_others() {
    let Some(nats) = NatsServers::one().await else { return };
    let teams: Vec<Value> = (0..2).map(Sim::team).collect();
    // Links of the upstream are dead before anybody else could follow them.
    let sim = Sim::play(json!({"teams": teams, "video_ms": 500, "media_url_ms": 3_000})).await;
    let plan = || Plan::of(&sim, 2).env("NATS_URL", &nats.url());
    let mut a = plan().start_warm().await;
    let (b, c) = (plan().start_warm().await, plan().start_warm().await);

    let drawn = a
        .http()
        .post("/v1/images/generations", &json!({"prompt": "A ship", "model": PAINTER}))
        .await;
    let picture = path_of(&drawn.ok().json()["data"][0]["url"]);
    let uploaded = send_form(a.http(), "/v1/uploads/image", &[("file", Some("a.png"), &png())]).await;
    let reference = uploaded.ok().json()["url"].as_str().unwrap().to_owned();
    let filmed = a
        .http()
        .post(
            "/v1/videos/generations",
            &json!({"prompt": "Waves", "model": "grok-imagine-video"}),
        )
        .await;
    let id = filmed.ok().json()["request_id"].as_str().unwrap().to_owned();

    // Made on A, polled and fetched on B.
    let film = parking_lot::Mutex::new(String::new());
    eventually("the video is done on B", Duration::from_secs(15), || async {
        let got = b.http().get(&format!("/v1/videos/{id}")).await;
        if got.status != 200 {
            return Err(got.text());
        }
        *film.lock() = path_of(&got.json()["video"]["url"]);
        Ok(())
    })
    .await;
    let film = film.into_inner();
    let on_b = [
        b.http().anonymous().get(&film).await.ok(),
        b.http().anonymous().get(&picture).await.ok(),
        b.http().anonymous().get(&reference).await.ok(),
    ];
    assert_eq!(&on_b[0].body[4..8], b"ftyp");
    assert_eq!(&on_b[2].body[..], &png()[..]);
    let key = a.admin().await.new_key(json!({"name": "another"})).await;
    eventually("a new key is known to B", Duration::from_secs(5), || async {
        match b.as_client(&key.secret).get("/v1/models").await.status.as_u16() {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    b.as_client(&key.secret)
        .get(&format!("/v1/videos/{id}"))
        .await
        .with_status(404);

    // A third node that never had any of it, when the first one is gone.
    a.kill();
    drop(a);
    for (path, whole) in [(&film, &on_b[0]), (&picture, &on_b[1]), (&reference, &on_b[2])] {
        let got = c.http().anonymous().get(path).await.ok();
        assert_eq!(got.body, whole.body, "{path}");
        assert_eq!(got.header("content-type"), whole.header("content-type"));
        assert_eq!(got.header("etag"), whole.header("etag"));
    }
    let polled = c.http().get(&format!("/v1/videos/{id}")).await.ok().json();
    assert_eq!(path_of(&polled["video"]["url"]), film);
    c.http().get(&format!("/v1/videos/video_{id}/content")).await.ok();
    // And it goes on from there, once the quotas that the killed node looked after have found another.
    let edit = json!({"prompt": "Redder", "model": PAINTER, "image": {"url": reference}});
    eventually(
        "C makes pictures out of those of A",
        Duration::from_secs(15),
        || async {
            let got = c.http().post("/v1/images/edits", &edit).await;
            match got.status.as_u16() {
                200 => Ok(()),
                // Its owner is gone, or what the killed node held is not free yet.
                503 | 429 => Err(got.text()),
                other => panic!("{other}: {}", got.text()),
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_to_share_comes_from_the_node_that_has_it() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::play(json!({"teams": [Sim::team(0)]})).await;
    let plan = || {
        Plan::of(&sim, 1)
            .env("NATS_URL", &nats.url())
            .config("[nats]\nmedia_max_mb = 1\n")
    };
    let mut a = plan().start_warm().await;
    let (b, c) = (plan().start_warm().await, plan().start_warm().await);
    let mut large = png();
    large.resize(3 << 20, 7);
    let uploaded = send_form(a.http(), "/v1/uploads/image", &[("file", Some("a.png"), &large)]).await;
    let path = path_of(&uploaded.ok().json()["url"]);
    let on_b = b.http().anonymous().get(&path).await.ok();
    assert!(on_b.body == large, "B has other bytes");
    // B has it now as well.
    a.kill();
    drop(a);
    let on_c = c.http().anonymous().get(&path).await.ok();
    assert!(on_c.body == large, "C has other bytes");
    assert_eq!(on_c.header("etag"), on_b.header("etag"));
    let unknown = path.replace(".png", "0.png");
    c.http().anonymous().get(&unknown).await.with_status(404);
}
