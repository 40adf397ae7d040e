//! `/v1/files/image/*` and `/v1/files/video/*`.

use http::Method;
use serde_json::json;

use super::{PAINTER, path_of, png, send_form};
use crate::support::{Plan, Sim};

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_as_files_are() {
    let sim = Sim::with_teams(1).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    let older = gateway.data().join("tmp/image/users-1-generated-2-image.jpg");
    let uploaded = send_form(gateway.http(), "/v1/uploads/image", &[("file", Some("a.png"), &png())]).await;
    let link = uploaded.ok().json()["url"].as_str().unwrap().to_owned();
    let open = gateway.http().anonymous();
    let whole = open.get(&link).await.ok();
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(whole.header("cache-control").contains("immutable"));
    let etag = whole.header("etag").to_owned();
    let ask = |headers: &'static [(&'static str, &'static str)]| {
        let (open, link) = (open.clone(), link.clone());
        async move { open.send(Method::GET, &link, headers, "").await }
    };
    let known = open.send(Method::GET, &link, &[("if-none-match", &etag)], "").await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let part = ask(&[("range", "bytes=1-3")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"PNG"[..]));
    assert_eq!(part.header("content-range"), format!("bytes 1-3/{}", png().len()));
    let tail = ask(&[("range", "bytes=-2")]).await;
    assert_eq!(&tail.body[..], &png()[png().len() - 2..]);
    let beyond = ask(&[("range", "bytes=5000-")]).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.header("content-range")),
        (416, &*format!("bytes */{}", png().len()))
    );
    let changed = ask(&[("range", "bytes=1-3"), ("if-range", "\"other\"")]).await;
    assert_eq!((changed.status.as_u16(), changed.body.len()), (200, png().len()));
    let head = open.send(Method::HEAD, &link, &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), png().len().to_string());
    for path in [
        "/v1/files/image/00000000000000000000000000000000.png",
        "/v1/files/image/..%2f..%2fconfig.toml",
        "/v1/files/image/../../config.toml",
        "/v1/files/image/.incoming",
        "/v1/files/video/a.mp4",
        "/v1/files/image/%00",
    ] {
        let got = open.get(path).await;
        assert_eq!(got.status, 404, "{path}: {}", got.text());
    }
    open.send(Method::POST, &link, &[], "").await.with_status(405);

    // A name of the older project, and what was there before a restart.
    std::fs::write(&older, b"\xff\xd8\xff an older picture").unwrap();
    gateway.restart().await;
    let open = gateway.http().anonymous();
    let old = open.get("/v1/files/image/users-1-generated-2-image.jpg").await.ok();
    assert_eq!(old.header("content-type"), "image/jpeg");
    let same = open.get("/v1/files/image/users/1/generated/2/image.jpg").await.ok();
    assert_eq!(same.body, old.body);
    assert_eq!(&open.get(&link).await.ok().body[..], &png()[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_links_end_and_cannot_be_made_up() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1)
        .set("security.signed_media", true)
        .set("app.app_url", "https://ai.example.org/")
        .start_warm()
        .await;
    let body = json!({"prompt": "A ship", "model": PAINTER});
    let made = gateway.http().post("/v1/images/generations", &body).await.ok().json();
    let link = &made["data"][0]["url"];
    assert!(
        link.as_str()
            .unwrap()
            .starts_with("https://ai.example.org/v1/files/image/"),
        "{link}"
    );
    let path = path_of(link);
    let open = gateway.http().anonymous();
    let served = open.get(&path).await.ok();
    assert!(served.header("cache-control").starts_with("private"));
    let bare = path.split('?').next().unwrap();
    let (_, until) = path.split_once("expires=").unwrap();
    let until: u64 = until.split('&').next().unwrap().parse().unwrap();
    for wrong in [
        bare.to_owned(),
        path.replace(&until.to_string(), &(until + 1).to_string()),
        format!("{bare}?expires={until}"),
        format!("{bare}?expires=1&signature=AAAAAAAAAAAAAAAAAAAAAA"),
        format!("{path}A"),
    ] {
        let got = open.get(&wrong).await.with_status(403);
        assert_eq!(got.error_code(), "link_expired", "{wrong}");
    }
    // A picture of this gateway can be built on by its link, whoever could read it.
    let edit = json!({"prompt": "Redder", "model": PAINTER, "image": {"url": link}});
    gateway.http().post("/v1/images/edits", &edit).await.ok();
}
