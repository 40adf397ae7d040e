//! What an administrator sees and does of kept media.

use serde_json::json;

use super::{PAINTER, path_of};
use crate::support::{Plan, Sim};

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_looks_into_the_cache_and_empties_it() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let admin = gateway.admin().await;
    let body = json!({"prompt": "A ship", "model": PAINTER, "n": 3});
    let made = gateway.http().post("/v1/images/generations", &body).await.ok().json();
    let links: Vec<String> = made["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| path_of(&item["url"]))
        .collect();
    let local = admin.get("/cache/local").await.ok().json();
    assert_eq!(
        (&local["local_image"]["count"], &local["local_video"]["count"]),
        (&json!(3), &json!(0)),
        "{local}"
    );
    assert_eq!(
        admin.get("/cache").await.ok().json()["local_image"],
        local["local_image"]
    );
    let listed = admin.get("/cache/list?type=image&page=1&page_size=2").await.ok().json();
    assert_eq!(
        (&listed["total"], listed["items"].as_array().unwrap().len()),
        (&json!(3), 2),
        "{listed}"
    );
    let first = &listed["items"][0];
    let view = first["view_url"].as_str().unwrap();
    assert!(links.iter().any(|link| link == view), "{first}");
    gateway.http().anonymous().get(view).await.ok();
    let gone = admin
        .post("/cache/item/delete", &json!({"type": "image", "name": first["name"]}))
        .await
        .ok();
    // Nodes that did not answer are named besides.
    assert_eq!(
        gone.json(),
        json!({"status": "success", "result": {"deleted": true}, "unanswered": []})
    );
    gateway.http().anonymous().get(view).await.with_status(404);
    let again = admin
        .post("/cache/item/delete", &json!({"type": "image", "name": first["name"]}))
        .await
        .ok();
    assert_eq!(again.json()["result"]["deleted"], false);
    admin
        .post("/cache/item/delete", &json!({"type": "image"}))
        .await
        .with_status(400);
    admin.get("/cache/list?page=0").await.with_status(400);
    let cleared = admin.post("/cache/clear", &json!({"type": "image"})).await.ok().json();
    assert_eq!(cleared["result"]["count"], 2, "{cleared}");
    for link in &links {
        gateway.http().anonymous().get(link).await.with_status(404);
    }
    admin.post("/cache/online/clear", &json!({})).await.with_status(501);
    gateway.http().get("/api/v1/admin/cache/local").await.with_status(401);
}
