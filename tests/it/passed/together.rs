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

/// What a client began at one node it goes on with at any other: a conversation, a stored response, a deferred answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_a_response_and_a_deferred_answer_go_on_at_another_node() {
    let Some(nats) = NatsServers::one().await else { return };
    let teams: Vec<_> = (0..6).map(Sim::team).collect();
    let sim = Sim::play(json!({"first_token_ms": 400, "teams": teams})).await;
    let plan = Plan::of(&sim, 6).env("NATS_URL", &nats.url());
    let mut first = plan.clone().start_warm().await;
    let second = plan.start_warm().await;
    let admin = second.admin().await;
    let soon = std::time::Duration::from_secs(15);
    let keys = [
        admin.new_key(json!({"name": "me"})).await,
        admin.new_key(json!({"name": "another"})).await,
    ];
    for key in &keys {
        crate::support::eventually("a key at the other node", soon, async || {
            match first.as_client(&key.secret).get("/v1/models").await.status.as_u16() {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
    }
    let (here, there) = (first.as_client(&keys[0].secret), second.as_client(&keys[0].secret));
    let stranger = second.as_client(&keys[1].secret);
    let served_by = async |id: &str| -> (String, String) {
        let record = admin.request(id).await;
        let chosen = record["candidates"].as_array().unwrap().last().unwrap().clone();
        (chosen["token_id"].to_string(), chosen["detail"].to_string())
    };

    // Conversations: each goes on with the credential it began with, by chance once in six.
    let mut begun = Vec::new();
    for at in 0..5 {
        let mut turn = crate::support::ask(crate::support::MODEL, "hello");
        turn["prompt_cache_key"] = format!("talk {at}").into();
        let got = here.chat(&turn).await.ok();
        begun.push((turn, served_by(got.header("x-request-id")).await.0));
    }
    crate::support::eventually("conversations at the other node", soon, async || {
        let page = admin.get("/affinity").await.ok().json();
        if page["total"] == 5 {
            Ok(())
        } else {
            Err(page.to_string())
        }
    })
    .await;
    for (turn, token) in &begun {
        let got = there.chat(turn).await.ok();
        let (by, why) = served_by(got.header("x-request-id")).await;
        assert_eq!(by, *token, "{why}");
        assert!(why.contains("bound"), "{why}");
    }
    let page = admin.get("/affinity").await.ok().json();
    assert_eq!(
        (&page["hits"], &page["borrows"], &page["rebinds"]),
        (&json!(5), &json!(0), &json!(0)),
        "{page}"
    );
    let metrics = second.http().get("/metrics").await.ok().text();
    let counted = |event: &str| metrics.contains(&format!("grok2api_affinity_total{{event=\"{event}\"}} "));
    assert!(
        metrics.contains("grok2api_affinity_total{event=\"hit\"} 5"),
        "{metrics}"
    );
    assert!(counted("borrow") && counted("rebind"), "{metrics}");

    // Stored responses, at once: the id may come to the other node before the news of it does.
    for at in 0..4 {
        let ask = json!({"model": crate::support::MODEL, "input": format!("number {at}"), "store": true});
        let made = here.post("/v1/responses", &ask).await.ok().json();
        let id = made["id"].as_str().unwrap().to_owned();
        let more = json!({"model": crate::support::MODEL, "input": "go on", "previous_response_id": id});
        let next = there.post("/v1/responses", &more).await.ok().json();
        assert_eq!(next["previous_response_id"], id.as_str(), "{next}");
        let path = format!("/v1/responses/{id}");
        assert_eq!(there.get(&path).await.ok().json()["id"], id.as_str());
        stranger.get(&path).await.with_status(404).error();
        stranger.post("/v1/responses", &more).await.with_status(404).error();
    }

    // A deferred answer, whose maker is killed before it is there.
    let mut later = crate::support::ask(crate::support::MODEL, "take your time");
    later["deferred"] = json!(true);
    let got = here.chat(&later).await.ok().json();
    let path = format!("/v1/chat/deferred-completion/{}", got["request_id"].as_str().unwrap());
    first.kill();
    stranger.get(&path).await.with_status(404).error();
    crate::support::eventually(
        "the answer at the other node",
        std::time::Duration::from_secs(30),
        async || match there.get(&path).await {
            got if got.status == 200 => {
                assert_eq!(got.json()["object"], "chat.completion");
                Ok(())
            }
            got if got.status == 404 => panic!("{}", got.text()),
            got => Err(format!("{} {}", got.status, got.text())),
        },
    )
    .await;
    there.get(&path).await.ok();
}
