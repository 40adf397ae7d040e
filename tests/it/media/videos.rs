//! `/v1/videos/*`, in both dialects.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{path_of, png, send_form};
use crate::support::http::{Got, Http};
use crate::support::{Gateway, Plan, Sim, eventually};

const GENERATIONS: &str = "/v1/videos/generations";
/// A model that makes films, and what a second of it costs.
const CAMERA: &str = "grok-imagine-video";
const SECOND: u64 = 500_000_000;

/// The upstream takes so long for a video.
async fn stage(video_ms: u64) -> (Sim, Gateway) {
    let teams: Vec<Value> = (0..2).map(Sim::team).collect();
    let sim = Sim::play(json!({"teams": teams, "video_ms": video_ms})).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    (sim, gateway)
}

fn film(more: Value) -> Value {
    let mut body = json!({"prompt": "Waves", "model": CAMERA, "duration": 2});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn begin(http: &Http, body: &Value) -> String {
    let made = http.post(GENERATIONS, body).await.ok().json();
    made["request_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned()
}

/// Polls until it is over.
async fn end(http: &Http, id: &str) -> Value {
    for _ in 0..400 {
        let got = http.get(&format!("/v1/videos/{id}")).await;
        let polled = got.json();
        match got.status.as_u16() {
            202 => assert!(polled["status"] == "pending" && polled["progress"].is_u64(), "{polled}"),
            200 if ["queued", "in_progress"].contains(&polled["status"].as_str().unwrap_or_default()) => {
                assert_eq!(got.header("openai-poll-after-ms"), "1000");
            }
            200 => return polled,
            other => panic!("{other}: {polled}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{id} does not end");
}

async fn other_client(gateway: &Gateway) -> Http {
    let key = gateway.admin().await.new_key(json!({"name": "another"})).await;
    gateway.as_client(&key.secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_of_the_upstreams_dialect_is_polled_and_served() {
    let (_sim, gateway) = stage(700).await;
    let http = gateway.http();
    let id = begin(http, &film(json!({"aspect_ratio": "16:9", "resolution": "720p"}))).await;
    // While it is made every poll has a body, also where the upstream sends none.
    let first = http.get(&format!("/v1/videos/{id}")).await.with_status(202);
    assert_eq!(first.json()["status"], "pending");
    let done = end(http, &id).await;
    assert_eq!(
        (&done["status"], &done["progress"]),
        (&json!("done"), &json!(100)),
        "{done}"
    );
    assert_eq!(done["usage"]["cost_in_usd_ticks"], 2 * SECOND);
    let link = path_of(&done["video"]["url"]);
    let open = http.anonymous();
    let served = open.get(&link).await.ok();
    assert_eq!(served.header("content-type"), "video/mp4");
    assert_eq!(&served.body[4..8], b"ftyp");
    let part = open.send(Method::GET, &link, &[("range", "bytes=4-7")], "").await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"ftyp"[..]));
    // The same video in the other dialect, and the same link again.
    assert_eq!(path_of(&end(http, &id).await["video"]["url"]), link);
    assert_eq!(end(http, &format!("video_{id}")).await["status"], "completed");
    let other = other_client(&gateway).await;
    for path in [
        format!("/v1/videos/{id}"),
        format!("/v1/videos/video_{id}"),
        format!("/v1/videos/{id}/content"),
    ] {
        let got = other.get(&path).await.with_status(404);
        assert_eq!(got.error_code(), "video_not_found");
    }
    other.delete(&format!("/v1/videos/{id}")).await.with_status(404);
    http.get("/v1/videos/00000000-0000-0000-0000-000000000000")
        .await
        .with_status(404);
    // More of it, and another out of it, by our own link.
    for path in ["/v1/videos/edits", "/v1/videos/extensions"] {
        let body = json!({"prompt": "Darker", "model": CAMERA, "video": {"url": link}});
        let made = http.post(path, &body).await.ok().json();
        end(http, made["request_id"].as_str().unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_family_is_served() {
    let (_sim, gateway) = stage(500).await;
    let http = gateway.http();
    let picture = png();
    let parts = [
        ("prompt", None, &b"Waves"[..]),
        ("model", None, b"sora-2"),
        ("seconds", None, b"4"),
        ("size", None, b"1280x720"),
        ("input_reference", Some("a.png"), &picture),
    ];
    let made = send_form(http, "/v1/videos", &parts).await.ok().json();
    assert_eq!(
        (
            &made["object"],
            &made["status"],
            &made["progress"],
            &made["seconds"],
            &made["size"]
        ),
        (
            &json!("video"),
            &json!("queued"),
            &json!(0),
            &json!("4"),
            &json!("1280x720")
        ),
        "{made}"
    );
    assert_eq!(
        (&made["model"], &made["prompt"], &made["error"]),
        (&json!("sora-2"), &json!("Waves"), &Value::Null)
    );
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("video_"), "{made}");
    let early = http.get(&format!("/v1/videos/{id}/content")).await.with_status(409);
    assert_eq!(early.error_code(), "video_not_ready");
    let done = end(http, &id).await;
    assert_eq!(
        (&done["status"], &done["progress"]),
        (&json!("completed"), &json!(100)),
        "{done}"
    );
    assert!(done["completed_at"].is_u64() && done["expires_at"].is_u64(), "{done}");
    let content = http.get(&format!("/v1/videos/{id}/content")).await.ok();
    assert_eq!(
        (content.header("content-type"), &content.body[4..8]),
        ("video/mp4", &b"ftyp"[..])
    );
    let thumbnail = http
        .get(&format!("/v1/videos/{id}/content?variant=thumbnail"))
        .await
        .with_status(400);
    assert_eq!(thumbnail.error_code(), "unsupported_value");

    let remix = http
        .post(&format!("/v1/videos/{id}/remix"), &json!({"prompt": "At night"}))
        .await
        .ok()
        .json();
    assert_eq!(remix["remixed_from_video_id"], id.as_str(), "{remix}");
    let remix = remix["id"].as_str().unwrap().to_owned();
    assert_eq!(end(http, &remix).await["status"], "completed");
    for (path, seconds) in [("/v1/videos/edits", &b"8"[..]), ("/v1/videos/extensions", b"4")] {
        let parts = [
            ("prompt", None, &b"Redder"[..]),
            ("seconds", None, seconds),
            ("video[id]", None, id.as_bytes()),
        ];
        let made = send_form(http, path, &parts).await.ok().json();
        assert_eq!(made["object"], "video", "{made}");
    }

    let listed = http.get("/v1/videos?limit=3").await.ok().json();
    assert_eq!(
        (listed["data"].as_array().unwrap().len(), &listed["has_more"]),
        (3, &json!(true)),
        "{listed}"
    );
    let after = listed["last_id"].as_str().unwrap();
    let rest = http.get(&format!("/v1/videos?after={after}")).await.ok().json();
    assert_eq!(
        (rest["data"].as_array().unwrap().len(), &rest["has_more"]),
        (1, &json!(false)),
        "{rest}"
    );
    assert_eq!(
        other_client(&gateway).await.get("/v1/videos").await.ok().json()["data"],
        json!([])
    );
    let gone = http.delete(&format!("/v1/videos/{id}")).await.ok().json();
    assert_eq!(gone, json!({"id": id, "object": "video.deleted", "deleted": true}));
    http.get(&format!("/v1/videos/{id}")).await.with_status(404);
    http.get(&format!("/v1/videos/{id}/content")).await.with_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_nothing_is_said_in_both_dialects() {
    let (_sim, gateway) = stage(0).await;
    let http = gateway.http();
    let failed = begin(http, &film(json!({"prompt": "[[sim:answer=failed]]"}))).await;
    assert_eq!(end(http, &failed).await["status"], "failed");
    let shown = end(http, &format!("video_{failed}")).await;
    assert_eq!(
        (&shown["status"], &shown["error"]["code"]),
        (&json!("failed"), &json!("internal_error")),
        "{shown}"
    );
    let withheld = begin(http, &film(json!({"prompt": "[[sim:answer=moderated]]"}))).await;
    let native = end(http, &withheld).await;
    assert!(
        native["video"]["moderation"].as_str().unwrap().contains("moderation"),
        "{native}"
    );
    let shown = end(http, &format!("video_{withheld}")).await;
    assert_eq!(shown["error"]["code"], "content_policy_violation", "{shown}");
    let content = http
        .get(&format!("/v1/videos/{withheld}/content"))
        .await
        .with_status(400);
    assert_eq!(content.error_code(), "video_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_for_videos_are_told_what_is_wrong() {
    let (sim, gateway) = stage(0).await;
    let http = gateway.http();
    for (path, body, code) in [
        (GENERATIONS, film(json!({"prompt": ""})), "empty_prompt"),
        (GENERATIONS, film(json!({"duration": 16})), "integer_above_max_value"),
        (GENERATIONS, film(json!({"model": "grok-4.6"})), "model_not_supported"),
        (
            GENERATIONS,
            film(json!({"image": {"url": "data:text/plain,hello"}})),
            "invalid_image_type",
        ),
        (
            GENERATIONS,
            film(json!({"image": {"url": "ftp://example.com/a"}})),
            "invalid_value",
        ),
        (GENERATIONS, film(json!({"upscale": true})), "unsupported_parameter"),
        ("/v1/videos/edits", film(json!({})), "missing"),
        (
            "/v1/videos/edits",
            film(json!({"video": {"url": "data:video/mp4,text"}})),
            "invalid_image_type",
        ),
        (
            "/v1/videos/extensions",
            film(json!({"duration": 11})),
            "integer_above_max_value",
        ),
        ("/v1/videos", json!({"prompt": "a", "seconds": "soon"}), "invalid_type"),
        ("/v1/videos", json!({"prompt": "a", "size": "huge"}), "invalid_size"),
        ("/v1/videos/upscale", json!({}), "unsupported_parameter"),
        ("/v1/videos/video_1/upscale", json!({}), "unsupported_parameter"),
    ] {
        let got = http.post(path, &body).await.with_status(400);
        assert_eq!(got.error_code(), code, "{path} {body}: {}", got.text());
        if code == "unsupported_parameter" {
            assert!(got.text().contains("/v1/videos/edits"), "{}", got.text());
        }
    }
    for url in [
        "http://127.0.0.1:1/a.png",
        "http://localhost/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]/",
        "http://user@example.com/a.png",
    ] {
        let body = json!({"prompt": "a", "input_reference": {"image_url": url}});
        let got = http.post("/v1/videos", &body).await.with_status(400);
        assert!(
            ["url_not_allowed", "invalid_url"].contains(&got.error_code().as_str()),
            "{url}: {}",
            got.text()
        );
    }
    http.post("/v1/videos/video_unknown/remix", &json!({"prompt": "a"}))
        .await
        .with_status(404);
    http.post("/v1/videos/characters", &json!({})).await.with_status(501);
    send_form(http, GENERATIONS, &[("prompt", None, b"a")])
        .await
        .with_status(415);
    http.anonymous()
        .post(GENERATIONS, &film(json!({})))
        .await
        .with_status(401);
    http.anonymous().get("/v1/videos").await.with_status(401);
    assert_eq!(sim.total().await, 0, "something went upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_budgets_hold_and_the_cost_is_settled_at_the_end() {
    let (sim, gateway) = stage(600).await;
    let admin = gateway.admin().await;
    let ask = |http: Http, route: &'static str| async move {
        let video = format!("data:video/mp4;base64,{}", "AAAAIGZ0eXBpc29tAAACAA==");
        let got: Got = match route {
            "/v1/videos" => http.post(route, &json!({"prompt": "a", "seconds": "2"})).await,
            GENERATIONS => http.post(route, &film(json!({}))).await,
            route => http.post(route, &film(json!({"video": {"url": video}}))).await,
        };
        got
    };
    for route in [GENERATIONS, "/v1/videos", "/v1/videos/edits", "/v1/videos/extensions"] {
        let key = admin
            .new_key(json!({"name": "two", "limits": {"video_per_day": 2}}))
            .await;
        let client = gateway.as_client(&key.secret);
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(ask(client.clone(), route).await.status.as_u16());
        }
        assert_eq!(statuses, [200, 200, 429], "{route}");
        assert_eq!(admin.key(&key.id).await["usage_today"]["video_used"], 2);
    }
    // Remixes of a video count like any other; each is as long as its source.
    let key = admin
        .new_key(json!({"name": "three", "limits": {"video_per_day": 3}}))
        .await;
    let client = gateway.as_client(&key.secret);
    let id = begin(&client, &film(json!({}))).await;
    end(&client, &id).await;
    let remix = async |client: &Http| {
        let path = format!("/v1/videos/video_{id}/remix");
        client.post(&path, &json!({"prompt": "At night"})).await
    };
    for status in [200, 200, 429] {
        assert_eq!(remix(&client).await.status, status);
    }
    let another = admin.new_key(json!({"name": "another"})).await;
    remix(&gateway.as_client(&another.secret)).await.with_status(404);
    let key = admin
        .new_key(json!({"name": "a remix", "budget_usd": 0.25, "strict": true}))
        .await;
    let client = gateway.as_client(&key.secret);
    let id = begin(&client, &film(json!({}))).await;
    end(&client, &id).await;
    let path = format!("/v1/videos/video_{id}/remix");
    let first = client.post(&path, &json!({"prompt": "At night"})).await;
    first.ok();
    // As much as the film did cost is held until it is known what its remix does.
    let second = client
        .post(&path, &json!({"prompt": "At night"}))
        .await
        .with_status(429);
    assert_eq!(second.header("x-grok2api-reason"), "client_limit");
    // Seconds are $0.05: three videos of two seconds fit into 35 cents, also while none of them is done.
    let key = admin
        .new_key(json!({"name": "money", "budget_usd": 0.35, "strict": true}))
        .await;
    let client = gateway.as_client(&key.secret);
    let before = sim.stat("cost_in_usd_ticks").await;
    let mut ids = Vec::new();
    for at in 0..5 {
        let got = ask(client.clone(), GENERATIONS).await;
        match at {
            0..3 => ids.push(got.ok().json()["request_id"].as_str().unwrap().to_owned()),
            _ => assert_eq!(got.with_status(429).header("x-grok2api-reason"), "client_limit"),
        }
    }
    let spent = sim.stat("cost_in_usd_ticks").await - before;
    assert_eq!(spent, 6 * SECOND);
    for id in &ids {
        end(&client, id).await;
    }
    eventually(
        "what they cost is written down once",
        Duration::from_secs(15),
        || async {
            let told = admin.key(&key.id).await["usage_today"]["spent_usd"].as_f64().unwrap();
            let rows = admin.requests(&format!("limit=200&key={}", key.id)).await;
            let costs: u64 = rows.iter().filter_map(|row| row["cost_ticks"].as_u64()).sum();
            match (told - spent as f64 / 1e10).abs() < 1e-9 && costs == spent {
                true => Ok(()),
                false => Err(format!("{told} is shown, {costs} of {spent} ticks are written down")),
            }
        },
    )
    .await;
    // What failed costs nothing: the whole budget is there again.
    let key = admin
        .new_key(json!({"name": "luckless", "budget_usd": 0.1, "strict": true}))
        .await;
    let client = gateway.as_client(&key.secret);
    let failed = begin(&client, &film(json!({"prompt": "[[sim:answer=failed]]"}))).await;
    client.post(GENERATIONS, &film(json!({}))).await.with_status(429);
    end(&client, &failed).await;
    eventually("the reservation is given back", Duration::from_secs(15), || async {
        match client.post(GENERATIONS, &film(json!({}))).await {
            got if got.status == 200 => Ok(()),
            got => Err(got.text()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn videos_are_ordered_again_only_after_a_refusal() {
    let (sim, gateway) = stage(0).await;
    for (effects, status, arrivals) in [
        (json!({"error": "rate-rps"}), 200, 2),
        (json!({"cut_before_head": true}), 502, 1),
        (json!({"status": 500, "body": "oops"}), 502, 1),
    ] {
        sim.reset().await;
        sim.script(json!({"when": {"path": GENERATIONS}, "times": 1, "do": effects}))
            .await;
        let got = gateway.http().post(GENERATIONS, &film(json!({}))).await;
        assert_eq!(got.status, status, "{effects}: {}", got.text());
        assert_eq!(sim.total().await, arrivals, "{effects}");
        sim.behave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_outlives_the_upstreams_link_though_nobody_polls() {
    let teams: Vec<Value> = vec![Sim::team(0)];
    let sim = Sim::play(json!({"teams": teams, "video_ms": 300, "media_url_ms": 2_500})).await;
    let gateway = Plan::of(&sim, 1).start_warm().await;
    let id = begin(gateway.http(), &film(json!({}))).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    drop(sim);
    let done = end(gateway.http(), &id).await;
    let served = gateway
        .http()
        .anonymous()
        .get(&path_of(&done["video"]["url"]))
        .await
        .ok();
    assert_eq!(&served.body[4..8], b"ftyp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_was_being_made_at_a_restart_is_fetched() {
    let sim = Sim::play(json!({"teams": [Sim::team(0)], "video_ms": 2_500, "media_url_ms": 2_500})).await;
    let mut gateway = Plan::of(&sim, 1).start_warm().await;
    let id = begin(gateway.http(), &film(json!({}))).await;
    gateway.kill();
    gateway.restart().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    drop(sim);
    let done = end(gateway.http(), &id).await;
    let served = gateway
        .http()
        .anonymous()
        .get(&path_of(&done["video"]["url"]))
        .await
        .ok();
    assert_eq!(&served.body[4..8], b"ftyp");
}
