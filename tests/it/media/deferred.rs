//! Pictures for later: `deferred` and `GET /v1/images/{request_id}`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PAINTER, path_of, png, send_form};
use crate::support::http::{Got, Http};
use crate::support::{Gateway, Plan, Sim, eventually};

const GENERATIONS: &str = "/v1/images/generations";

/// The upstream takes so long, and its links live so long.
async fn stage(video_ms: u64, media_url_ms: u64) -> (Sim, Gateway) {
    let teams: Vec<Value> = (0..2).map(Sim::team).collect();
    let sim = Sim::play(json!({"teams": teams, "video_ms": video_ms, "media_url_ms": media_url_ms})).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    (sim, gateway)
}

fn later(more: Value) -> Value {
    let mut body = json!({"prompt": "A ship", "model": PAINTER, "deferred": true});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn begin(http: &Http, body: &Value) -> String {
    let made = http.post(GENERATIONS, body).await.ok().json();
    assert!(made.get("data").is_none(), "{made}");
    made["request_id"].as_str().unwrap().to_owned()
}

/// Polls until it is over.
async fn end(http: &Http, id: &str) -> Got {
    for _ in 0..600 {
        let got = http.get(&format!("/v1/images/{id}")).await;
        match got.status.as_u16() {
            202 => assert_eq!(got.json(), json!({"request_id": id, "status": "pending"})),
            _ => return got.ok(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_for_later_are_fetched_under_their_id_by_whoever_ordered_them() {
    let (_sim, gateway) = stage(1_500, 60_000).await;
    let http = gateway.http();
    let id = begin(http, &later(json!({"n": 2}))).await;
    http.get(&format!("/v1/images/{id}")).await.with_status(202);
    let done = end(http, &id).await.json();
    assert_eq!(
        (&done["request_id"], &done["status"]),
        (&json!(id), &json!("done")),
        "{done}"
    );
    assert!(
        done["created"].is_u64() && done["usage"]["cost_in_usd_ticks"].is_u64(),
        "{done}"
    );
    let links: Vec<String> = done["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| path_of(&one["url"]))
        .collect();
    assert_eq!(links.len(), 2);
    for link in &links {
        let got = http.anonymous().get(link).await.ok();
        assert_eq!(
            (got.header("content-type"), &got.body[..3]),
            ("image/jpeg", &b"\xff\xd8\xff"[..])
        );
    }
    assert_eq!(end(http, &id).await.json(), done, "as often as one likes");
    // Inline, where that was asked for; and out of another picture.
    for (format, form) in [("b64_json", false), ("base64", true)] {
        let id = if form {
            let parts = [
                ("prompt", None, &b"Redder"[..]),
                ("deferred", None, b"true"),
                ("response_format", None, format.as_bytes()),
                ("image", Some("a.png"), &png()[..]),
            ];
            let made = send_form(http, "/v1/images/edits", &parts).await.ok().json();
            made["request_id"].as_str().unwrap().to_owned()
        } else {
            begin(http, &later(json!({"response_format": format}))).await
        };
        let inline = end(http, &id).await.json();
        assert!(
            inline["data"][0][format].as_str().unwrap().starts_with("/9j/"),
            "{inline}"
        );
        assert!(inline["data"][0].get("url").is_none(), "{inline}");
    }
    let key = gateway.admin().await.new_key(json!({"name": "another"})).await;
    let other = gateway.as_client(&key.secret).get(&format!("/v1/images/{id}")).await;
    assert_eq!(other.with_status(404).error_code(), "deferred_images_not_found");
    let path = "/v1/images/00000000-0000-0000-0000-000000000000";
    http.get(path).await.with_status(404).error();
    http.anonymous().get(path).await.with_status(401).error();
    let both = http
        .post(GENERATIONS, &later(json!({"stream": true})))
        .await
        .with_status(400);
    assert_eq!(both.error_code(), "contradiction");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_nothing_is_said_and_what_was_withheld() {
    let (_sim, gateway) = stage(200, 60_000).await;
    let http = gateway.http();
    let failed = begin(http, &later(json!({"prompt": "[[sim:answer=failed]]"}))).await;
    let told = end(http, &failed).await.json();
    assert_eq!(
        (&told["status"], &told["error"]["code"]),
        (&json!("failed"), &json!("internal_error"))
    );
    let withheld = begin(http, &later(json!({"prompt": "[[sim:answer=moderated]]"}))).await;
    let told = end(http, &withheld).await.json();
    assert_eq!(told["data"][0]["respect_moderation"], false, "{told}");
    assert!(told["data"][0].get("url").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_paid_for_outlive_the_upstreams_links_and_a_restart() {
    let (sim, mut gateway) = stage(1_000, 6_000).await;
    let admin = gateway.admin().await;
    // $0.02 each.
    let key = admin
        .new_key(json!({"name": "money", "budget_usd": 0.05, "strict": true}))
        .await;
    let client = gateway.as_client(&key.secret);
    let id = begin(&client, &later(json!({"n": 2}))).await;
    client.post(GENERATIONS, &later(json!({}))).await.with_status(429);
    let spent = sim.stat("cost_in_usd_ticks").await;
    eventually("what they cost is written down", Duration::from_secs(30), || async {
        let told = admin.key(&key.id).await["usage_today"]["spent_usd"].as_f64().unwrap();
        let rows = admin.requests(&format!("limit=200&key={}", key.id)).await;
        let costs: u64 = rows.iter().filter_map(|row| row["cost_ticks"].as_u64()).sum();
        match (told - spent as f64 / 1e10).abs() < 1e-9 && costs == spent {
            true => Ok(()),
            false => Err(format!("{told} is shown, {costs} of {spent} ticks are written down")),
        }
    })
    .await;
    // Nobody has asked for them yet, and the upstream's links end.
    tokio::time::sleep(Duration::from_secs(7)).await;
    gateway.restart().await;
    let done = end(&gateway.as_client(&key.secret), &id).await.json();
    for one in done["data"].as_array().unwrap() {
        let got = gateway.http().anonymous().get(&path_of(&one["url"])).await.ok();
        assert_eq!(got.header("content-type"), "image/jpeg");
    }
}
