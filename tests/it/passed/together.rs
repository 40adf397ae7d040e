//! What one node made, another uses, and others' keys do not find.

use serde_json::json;

use super::post_form;
use crate::support::nats::NatsServers;
use crate::support::{Gateway, Plan, Sim};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_made_is_used_on_another_also_after_its_end() {
    let Some(nats) = NatsServers::one().await else { return };
    let sim = Sim::with_teams(3).await;
    let plan = Plan::of(&sim, 3).env("NATS_URL", &nats.url());
    let mut first = plan.clone().start_warm().await;
    let second = plan.start_warm().await;
    let key = first.admin().await.new_key(json!({"name": "me"})).await;
    let on = |node: &Gateway| node.as_client(&key.secret);
    crate::support::eventually(
        "the key is known",
        std::time::Duration::from_secs(10),
        async || match on(&second).get("/v1/models").await.status.as_u16() {
            200 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await;
    let mut files = Vec::new();
    for at in 0..6 {
        let content = format!("note {at}");
        let parts: [(&str, Option<&str>, &[u8]); 1] = [("file", Some("a.txt"), content.as_bytes())];
        let made = post_form(&on(&first), "/v1/files", &parts).await.ok().json();
        files.push((made["id"].as_str().unwrap().to_owned(), content));
    }
    let batch = on(&first).post("/v1/batches", &json!({"name": "b"})).await.ok().json();
    first.kill();
    // Whoever decides over the key's limits may have been the one that ended: another takes over.
    crate::support::eventually(
        "the other node decides",
        std::time::Duration::from_secs(30),
        async || match on(&second).get("/v1/files").await.status.as_u16() {
            200 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await;
    for (id, content) in &files {
        let got = on(&second).get(&format!("/v1/files/{id}/content")).await.ok();
        assert_eq!(got.text(), *content);
        second
            .http()
            .get(&format!("/v1/files/{id}"))
            .await
            .with_status(404)
            .error();
    }
    let listed = on(&second).get("/v1/files").await.ok().json();
    assert_eq!(listed["data"].as_array().unwrap().len(), files.len(), "{listed}");
    let path = format!("/v1/batches/{}", batch["batch_id"].as_str().unwrap());
    on(&second).get(&path).await.ok();
}
