//! `/v1/images/*` and uploads.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{PAINTER, path_of, png, send_form};
use crate::support::http::Http;
use crate::support::{Gateway, Plan, Sim, eventually};

const GENERATIONS: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";

async fn stage() -> (Sim, Gateway) {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    (sim, gateway)
}

fn draw(more: Value) -> Value {
    let mut body = json!({"prompt": "A lighthouse", "model": PAINTER});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A data line of each event, with the event's name.
fn named_events(text: &str) -> Vec<(String, Value)> {
    text.split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(|block| {
            let field = |name: &str| {
                let line = block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default();
                line.trim().to_owned()
            };
            (field("event:"), serde_json::from_str(&field("data:")).unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_handed_out_as_asked() {
    let (sim, gateway) = stage().await;
    let http = gateway.http();
    let made = http
        .post(GENERATIONS, &draw(json!({"n": 2, "size": "1792x1024"})))
        .await
        .ok();
    let record = gateway.admin().await.request(made.header("x-request-id")).await;
    assert_eq!(record["cost_ticks"], 400_000_000, "{record}");
    assert_eq!(
        (&record["outcome"], &record["presumed"]),
        (&json!("success"), &json!(false)),
        "{record}"
    );
    let made = made.json();
    assert!(
        made["created"].is_u64() && made["usage"]["cost_in_usd_ticks"] == 400_000_000,
        "{made}"
    );
    // As both OpenAI's and xAI's schemas require them.
    let details = json!({"text_tokens": 0, "image_tokens": 0, "cached_tokens": 0});
    assert_eq!(made["usage"]["input_tokens_details"], details, "{made}");
    let links: Vec<String> = made["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| path_of(&item["url"]))
        .collect();
    assert!(links.len() == 2 && links[0] != links[1], "{links:?}");
    for link in &links {
        // Open to whoever has it.
        let picture = http.anonymous().get(link).await.ok();
        assert_eq!(picture.header("content-type"), "image/jpeg");
        assert!(picture.body.starts_with(b"\xff\xd8\xff"));
    }
    for (asked, member) in [("b64_json", "b64_json"), ("base64", "base64")] {
        let body = draw(json!({"response_format": asked, "size": "2048x2048"}));
        let made = http.post(GENERATIONS, &body).await.ok().json();
        let inline = made["data"][0][member].as_str().unwrap();
        assert!(
            STANDARD.decode(inline).unwrap().starts_with(b"\x89PNG"),
            "2k comes as PNG"
        );
        assert!(made["data"][0].get("url").is_none(), "{made}");
    }
    // Names of other clients mean a model that makes pictures; none means the usual one.
    for body in [
        json!({"prompt": "A ship", "model": "dall-e-3"}),
        json!({"prompt": "A ship"}),
    ] {
        let made = http.post(GENERATIONS, &body).await.ok().json();
        path_of(&made["data"][0]["url"]);
    }
    assert_eq!(
        http.get("/v1/images/method").await.ok().json(),
        json!({"image_generation_method": "legacy"})
    );
    assert_eq!(sim.stat("cost_in_usd_ticks").await, 1_200_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_the_members_of_both_worlds() {
    let (_sim, gateway) = stage().await;
    let ask = |more: Value| {
        let mut body = draw(json!({"n": 3, "stream": true, "partial_images": 2, "quality": "high"}));
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let streamed = gateway.http().post(GENERATIONS, &ask(json!({}))).await.ok();
    assert_eq!(streamed.header("content-type"), "text/event-stream");
    let events = named_events(&streamed.text());
    assert_eq!(events.len(), 3, "{}", streamed.text());
    for (at, (name, event)) in events.iter().enumerate() {
        assert_eq!(name, "image_generation.completed");
        assert_eq!(event["type"], "image_generation.completed");
        assert_eq!(
            (&event["index"], &event["partial_image_index"]),
            (&json!(at), &json!(at))
        );
        assert_eq!((&event["progress"], &event["quality"]), (&json!(100), &json!("high")));
        assert_eq!(
            (&event["size"], &event["output_format"]),
            (&json!("auto"), &json!("jpeg"))
        );
        assert!(
            event["created_at"].is_u64() && event["usage"]["total_tokens"].is_u64(),
            "{event}"
        );
        assert!(
            STANDARD
                .decode(event["b64_json"].as_str().unwrap())
                .unwrap()
                .starts_with(b"\xff\xd8")
        );
    }
    let streamed = gateway
        .http()
        .post(GENERATIONS, &ask(json!({"response_format": "url"})))
        .await
        .ok();
    for (_, event) in named_events(&streamed.text()) {
        path_of(&event["url"]);
        assert!(event.get("b64_json").is_none(), "{event}");
    }
    let picture = png();
    let parts = [
        ("prompt", None, &b"Redder"[..]),
        ("model", None, PAINTER.as_bytes()),
        ("stream", None, b"true"),
        ("image", Some("a.png"), &picture),
    ];
    let streamed = send_form(gateway.http(), EDITS, &parts).await.ok();
    assert_eq!(named_events(&streamed.text())[0].0, "image_edit.completed");
    // What fails before the first event is no event.
    let refused = gateway
        .http()
        .post(GENERATIONS, &ask(json!({"prompt": "[[sim:error=arg-invalid]]"})))
        .await;
    refused.with_status(400).error();
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_changed_however_they_are_given() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let picture = png();
    for name in ["image", "image[]"] {
        let parts = [
            ("prompt", None, &b"Redder"[..]),
            ("n", None, b"2"),
            ("model", None, PAINTER.as_bytes()),
            (name, Some("a.png"), &picture),
            (name, Some("b.png"), &picture),
        ];
        let made = send_form(http, EDITS, &parts).await.ok().json();
        assert_eq!(made["data"].as_array().unwrap().len(), 2, "{made}");
        // Two pictures made and two looked at.
        assert_eq!(made["usage"]["cost_in_usd_ticks"], 440_000_000, "{made}");
    }
    let uploaded = send_form(http, "/v1/uploads/image", &[("file", Some("a.jpg"), &picture)])
        .await
        .ok();
    let record = gateway.admin().await.request(uploaded.header("x-request-id")).await;
    assert_eq!(
        (&record["route"], &record["outcome"]),
        (&json!("/v1/uploads/image"), &json!("success"))
    );
    let uploaded = uploaded.json();
    assert_eq!(uploaded["size_bytes"], picture.len());
    assert!(
        uploaded["name"].as_str().unwrap().ends_with(".png"),
        "by its content: {uploaded}"
    );
    let link = uploaded["url"].as_str().unwrap().to_owned();
    assert_eq!(&http.anonymous().get(&link).await.ok().body[..], &picture[..]);
    let inline = format!("data:image/jpeg;base64,{}", STANDARD.encode(&picture));
    for source in [
        json!({"image": {"url": link}}),
        json!({"image": format!("{}{link}", gateway.url())}),
        json!({"image": inline}),
        json!({"image": {"url": "https://example.com/a.png"}}),
        json!({"images": [{"image_url": inline}, {"url": inline}]}),
    ] {
        let mut body = source.clone();
        body["prompt"] = json!("Redder");
        body["model"] = json!(PAINTER);
        let got = http.post(EDITS, &body).await;
        assert_eq!(got.status, 200, "{source}: {}", got.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong_and_cost_nothing() {
    let (sim, gateway) = stage().await;
    let http = gateway.http();
    let picture = png();
    let text = b"this is no picture at all".to_vec();
    let prompt = ("prompt", None, &b"Redder"[..]);
    let one = ("image", Some("a.png"), &picture[..]);
    let many: Vec<super::Part<'_>> = std::iter::once(prompt).chain(std::iter::repeat_n(one, 17)).collect();
    for (parts, code) in [
        (vec![prompt], "missing_image"),
        (many, "invalid_image_count"),
        (vec![prompt, ("image", Some("a.png"), &text[..])], "invalid_image_type"),
        (vec![prompt, ("image", Some("a.png"), b"")], "empty_file"),
        (vec![prompt, ("picture", Some("a.png"), &picture)], "invalid_value"),
        (
            vec![prompt, one, ("mask", Some("m.png"), &picture)],
            "unsupported_parameter",
        ),
        (vec![prompt, one, ("n", None, b"many")], "invalid_type"),
        (vec![prompt, one, ("n", None, b"11")], "integer_above_max_value"),
        (vec![one], "missing"),
        (vec![prompt, prompt, one], "duplicate_field"),
    ] {
        let got = send_form(http, EDITS, &parts).await.with_status(400);
        assert_eq!(got.error_code(), code, "{}", got.text());
    }
    for (path, body, code) in [
        (GENERATIONS, draw(json!({"prompt": " "})), "empty_prompt"),
        (GENERATIONS, draw(json!({"model": "grok-4.6"})), "model_not_supported"),
        (
            GENERATIONS,
            draw(json!({"image": "https://example.com/a.png"})),
            "unsupported_parameter",
        ),
        (
            EDITS,
            draw(json!({"image": {"url": "data:image/png;base64,AAAA"}})),
            "invalid_image_type",
        ),
        (
            EDITS,
            draw(json!({"image": {"url": "data:image/png,"}})),
            "invalid_value",
        ),
        (EDITS, draw(json!({"image": {"url": "/etc/passwd"}})), "invalid_value"),
        (
            EDITS,
            draw(json!({"image": {"url": "file:///etc/passwd"}})),
            "invalid_value",
        ),
        (EDITS, draw(json!({"image": {}})), "invalid_type"),
        (EDITS, draw(json!({"image": 7})), "invalid_type"),
    ] {
        let got = http.post(path, &body).await.with_status(400);
        assert_eq!(got.error_code(), code, "{body}: {}", got.text());
    }
    let body = draw(json!({"image": {"file_id": "file_of_somebody"}}));
    assert_eq!(
        http.post(EDITS, &body).await.with_status(404).error_code(),
        "file_not_found"
    );
    let large = vec![0x89; 33 << 20];
    send_form(http, EDITS, &[prompt, ("image", Some("a.png"), &large)])
        .await
        .with_status(413);
    let unknown = http
        .post(GENERATIONS, &draw(json!({"model": "grok-imagine-imago"})))
        .await
        .with_status(404);
    assert!(unknown.text().contains("grok-imagine-image"), "{}", unknown.text());
    for (parts, status) in [
        (vec![("file", Some("a.png"), &text[..])], 400),
        (vec![("other", Some("a.png"), &picture[..])], 400),
        (vec![], 400),
    ] {
        send_form(http, "/v1/uploads/image", &parts).await.with_status(status);
    }
    for url in [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/",
        "gopher://127.0.0.1/",
        "http://[::1]/",
    ] {
        let got = http
            .post("/v1/uploads/image", &json!({"url": url}))
            .await
            .with_status(400);
        assert!(
            ["url_not_allowed", "invalid_url"].contains(&got.error_code().as_str()),
            "{}",
            got.text()
        );
    }
    http.anonymous()
        .post(GENERATIONS, &draw(json!({})))
        .await
        .with_status(401);
    send_form(&http.anonymous(), "/v1/uploads/image", &[])
        .await
        .with_status(401);
    http.anonymous().get("/v1/images/method").await.with_status(401);
    assert_eq!(sim.total().await, 0, "something went upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moderation_withholds_is_said() {
    let (_sim, gateway) = stage().await;
    for stream in [false, true] {
        let body = draw(json!({"prompt": "[[sim:answer=moderated]]", "stream": stream}));
        let refused = gateway.http().post(GENERATIONS, &body).await.with_status(400);
        assert_eq!(refused.error_code(), "content_policy_violation");
        assert!(refused.text().contains("moderation"), "{}", refused.text());
    }
}

/// Every route of pictures, as one request of `n` of them.
async fn ask(route: &str, client: &Http, n: usize) -> u16 {
    let picture = png();
    let got = match route {
        EDITS => {
            let n = n.to_string();
            let parts = [
                ("prompt", None, &b"Redder"[..]),
                ("n", None, n.as_bytes()),
                ("image", Some("a.png"), &picture[..]),
            ];
            send_form(client, EDITS, &parts).await
        }
        route => {
            client
                .post(route, &draw(json!({"n": n, "response_format": "b64_json"})))
                .await
        }
    };
    got.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_budgets_of_keys_hold_on_every_route() {
    let (sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    for route in [GENERATIONS, EDITS] {
        let key = admin
            .new_key(json!({"name": "five", "limits": {"image_per_day": 5}}))
            .await;
        let client = gateway.as_client(&key.secret);
        assert_eq!(
            [ask(route, &client, 2).await, ask(route, &client, 2).await],
            [200, 200],
            "{route}"
        );
        assert_eq!(ask(route, &client, 2).await, 429, "{route}: two more are six");
        assert_eq!(ask(route, &client, 1).await, 200, "{route}: one more is five");
        assert_eq!(ask(route, &client, 1).await, 429, "{route}");
        let shown = admin.key(&key.id).await;
        assert_eq!(shown["usage_today"]["image_used"], 5, "{shown}");

        for strict in [false, true] {
            sim.reset().await;
            // $0.02 each, and $0.002 for what is looked at.
            let key = admin
                .new_key(json!({"name": "money", "budget_usd": 0.1, "strict": strict}))
                .await;
            let client = gateway.as_client(&key.secret);
            let mut statuses = Vec::new();
            for _ in 0..8 {
                statuses.push(ask(route, &client, 1).await);
            }
            let answered = statuses.iter().filter(|status| **status == 200).count();
            assert!((4..=6).contains(&answered), "{route}: {statuses:?}");
            let spent = sim.stat("cost_in_usd_ticks").await;
            assert!(
                spent <= 1_200_000_000 && (!strict || spent <= 1_000_000_000),
                "{route}: {spent}"
            );
            eventually("what was spent is shown", Duration::from_secs(5), || async {
                let told = admin.key(&key.id).await["usage_today"]["spent_usd"].as_f64().unwrap();
                match (told - spent as f64 / 1e10).abs() < 1e-9 {
                    true => Ok(()),
                    false => Err(format!("{told} is shown, {spent} ticks were spent")),
                }
            })
            .await;
        }
        let barred = admin
            .new_key(json!({"name": "chat only", "allowed_models": ["grok-4*"]}))
            .await;
        assert_eq!(ask(route, &gateway.as_client(&barred.secret), 1).await, 403, "{route}");
    }
    let metrics = gateway.http().anonymous().get("/metrics").await.ok().text();
    let counted = |outcome: &str| {
        metrics
            .lines()
            .any(|line| line.contains("route=\"images\"") && line.contains(&format!("outcome=\"{outcome}\"")))
    };
    for outcome in ["success", "client_limit", "client_budget", "forbidden"] {
        assert!(counted(outcome), "{outcome} is not counted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_ordered_again_only_after_a_refusal() {
    let (sim, gateway) = stage().await;
    for (effects, status, arrivals) in [
        // Refused for sure: another team is asked.
        (json!({"error": "rate-rps"}), 200, 2),
        // Perhaps carried out, and paid for: once is enough.
        (json!({"cut_before_head": true}), 502, 1),
        (json!({"status": 500, "body": "oops"}), 502, 1),
        (json!({"status": 504, "body": ""}), 504, 1),
    ] {
        sim.reset().await;
        sim.script(json!({"when": {"path": GENERATIONS}, "times": 1, "do": effects}))
            .await;
        let got = gateway.http().post(GENERATIONS, &draw(json!({}))).await;
        assert_eq!(got.status, status, "{effects}: {}", got.text());
        assert_eq!(sim.total().await, arrivals, "{effects}");
        sim.behave().await;
    }
}
