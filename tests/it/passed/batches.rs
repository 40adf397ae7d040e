//! Batches as OpenAI's clients ask for them, over the upstream's own.

use serde_json::{Value, json};

use super::{post_form, stage};
use crate::support::http::Http;

const CHAT: &str = "/v1/chat/completions";

/// A line of a file of calls.
fn line(id: &str, url: &str, body: &Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string()
}

fn talk(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5})
}

async fn upload(http: &Http, content: &str) -> String {
    let parts: [(&str, Option<&str>, &[u8]); 2] = [
        ("purpose", None, b"batch"),
        ("file", Some("calls.jsonl"), content.as_bytes()),
    ];
    let made = post_form(http, "/v1/files", &parts).await.ok().json();
    made["id"].as_str().unwrap().to_owned()
}

fn ask(file: &str, endpoint: &str) -> Value {
    json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"})
}

/// The lines of a file of results.
async fn lines(http: &Http, file: &Value) -> Vec<Value> {
    let content = http
        .get(&format!("/v1/files/{}/content", file.as_str().unwrap()))
        .await
        .ok();
    let text = content.text();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_calls_becomes_a_batch_and_its_results_two_files() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let me = gateway.as_client(&admin.new_key(json!({"name": "me"})).await.secret);
    let other = gateway.as_client(&admin.new_key(json!({"name": "other"})).await.secret);
    let content = [
        line("one", CHAT, &talk("gpt-4o")),
        String::new(),
        line("two", CHAT, &talk("grok-4.3")),
        line("bad", CHAT, &json!({"model": "grok-4.3"})),
    ];
    let file = upload(&me, &content.join("\n")).await;
    let mut asked = ask(&file, CHAT);
    asked["metadata"] = json!({"run": "7"});
    let made = me.post("/v1/batches", &asked).await.ok().json();
    let id = made["id"].as_str().unwrap();
    for (name, expected) in [
        ("object", json!("batch")),
        ("endpoint", json!(CHAT)),
        ("input_file_id", json!(file)),
        ("completion_window", json!("24h")),
        ("metadata", json!({"run": "7"})),
    ] {
        assert_eq!(made[name], expected, "{made}");
    }
    let path = format!("/v1/batches/{id}");
    let shown = me.get(&path).await.ok().json();
    assert_eq!(shown["status"], "completed");
    assert_eq!(
        shown["request_counts"],
        json!({"total": 3, "completed": 2, "failed": 1})
    );
    // The upstream knows the models by its own names.
    let added = me.get(&format!("{path}/requests")).await.ok().json();
    assert_eq!(
        added["batch_requests"][0]["batch_request"]["chat_get_completion"]["model"],
        "grok-4.7"
    );

    let answers = lines(&me, &shown["output_file_id"]).await;
    let told: Vec<(&Value, &Value)> = answers
        .iter()
        .map(|line| {
            (
                &line["custom_id"],
                &line["response"]["body"]["choices"][0]["message"]["content"],
            )
        })
        .collect();
    assert_eq!(
        told,
        [(&json!("one"), &json!("Done.")), (&json!("two"), &json!("Done."))]
    );
    assert!(answers.iter().all(|line| line["response"]["status_code"] == 200));
    let failures = lines(&me, &shown["error_file_id"]).await;
    assert_eq!((failures.len(), &failures[0]["custom_id"]), (1, &json!("bad")));
    assert!(
        failures[0]["error"]["message"].as_str().unwrap().contains("messages"),
        "{failures:?}"
    );

    let results = format!("/v1/files/{}", shown["output_file_id"].as_str().unwrap());
    let about = me.get(&results).await.ok().json();
    let content = me.get(&format!("{results}/content")).await.ok();
    assert_eq!(about["bytes"], content.body.len(), "{about}");
    assert_eq!(about["purpose"], "batch_output");
    me.delete(&results).await.with_status(405).error();
    me.get(&format!("{results}/secrets")).await.with_status(404).error();
    for theirs in [&path, &results, &format!("{results}/content")] {
        assert_eq!(
            other.get(theirs).await.with_status(404).error_code(),
            "object_not_found"
        );
    }
    other
        .post(&format!("{path}/cancel"), &json!({}))
        .await
        .with_status(404)
        .error();

    // Both forms in one list, each for its own clients.
    let plain = me.post("/v1/batches", &json!({"name": "plain"})).await.ok().json();
    let listed = me.get("/v1/batches?limit=10").await.ok().json();
    let ids = |rows: &Value, member: &str| {
        let mut ids: Vec<String> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[member].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&listed["data"], "id"), ids(&listed["batches"], "batch_id"));
    let one = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == id)
        .unwrap();
    assert_eq!(
        (&one["status"], &one["input_file_id"]),
        (&json!("completed"), &json!(file))
    );
    // There are no files of results of the other form.
    let theirs = format!("/v1/files/file-output-{}/content", plain["batch_id"].as_str().unwrap());
    me.get(&theirs).await.with_status(404).error();

    let cancelled = me.post(&format!("{path}/cancel"), &json!({})).await.ok().json();
    assert_eq!(
        (&cancelled["id"], &cancelled["status"]),
        (&json!(id), &json!("cancelled"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_are_taken_at_once_are_all_answered_in_their_order() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let body = json!({"model": "grok-4.3", "input": "Hi", "max_output_tokens": 5});
    let content: Vec<String> = (0..1_205)
        .map(|at| line(&at.to_string(), "/v1/responses", &body))
        .collect();
    let file = upload(http, &content.join("\r\n")).await;
    let made = http.post("/v1/batches", &ask(&file, "/v1/responses")).await.ok().json();
    assert_eq!(made["request_counts"]["total"], 1_205, "{made}");
    let answers = lines(http, &made["output_file_id"]).await;
    let names: Vec<String> = (0..1_205).map(|at| at.to_string()).collect();
    let told: Vec<&str> = answers.iter().map(|line| line["custom_id"].as_str().unwrap()).collect();
    assert_eq!(told, names);
    let answer = &answers[7]["response"]["body"];
    assert_eq!(
        (&answer["object"], &answer["status"]),
        (&json!("response"), &json!("completed"))
    );
    assert_eq!(answer["output"][0]["content"][0]["text"], "Done.");
    assert_eq!(answer["usage"]["output_tokens"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_it_is_told_before_anything_is_made() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let good = line("a", CHAT, &talk("grok-4.3"));
    let file = upload(http, &good).await;
    for (body, param) in [
        (json!({"endpoint": CHAT, "completion_window": "24h"}), "input_file_id"),
        (json!({"input_file_id": file, "completion_window": "24h"}), "endpoint"),
        (
            json!({"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"}),
            "endpoint",
        ),
        (json!({"input_file_id": file, "endpoint": CHAT}), "completion_window"),
        (
            json!({"input_file_id": file, "endpoint": CHAT, "completion_window": "1h"}),
            "completion_window",
        ),
        (
            json!({"input_file_id": 5, "endpoint": CHAT, "completion_window": "24h"}),
            "input_file_id",
        ),
        (
            json!({"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", "metadata": {"a": 1}}),
            "metadata",
        ),
        (
            json!({"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", "output_expires_after": {"seconds": 9}}),
            "output_expires_after",
        ),
    ] {
        let got = http.post("/v1/batches", &body).await.with_status(400);
        assert_eq!(got.error()["param"], param, "{body}: {}", got.text());
    }
    let nothing = http
        .post("/v1/batches", &ask("file_unknown", CHAT))
        .await
        .with_status(404);
    assert_eq!(nothing.error_code(), "file_not_found");
    for (content, named) in [
        ("\n \n".to_owned(), "no calls"),
        ("no JSON".to_owned(), "Line 1"),
        (format!("{good}\n{good}"), "twice"),
        (line("a", "/v1/responses", &talk("grok-4.3")), "url"),
        (line("a", CHAT, &json!({"messages": []})), "model"),
        (format!("{good}\n{{\"custom_id\""), "Line 2"),
    ] {
        let file = upload(http, &content).await;
        let got = http.post("/v1/batches", &ask(&file, CHAT)).await.with_status(400);
        assert!(
            got.error()["message"].as_str().unwrap().contains(named),
            "{content}: {}",
            got.text()
        );
    }
    let theirs = json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_other"}}]}]);
    let file = upload(
        http,
        &line("a", CHAT, &json!({"model": "grok-4.3", "messages": theirs})),
    )
    .await;
    http.post("/v1/batches", &ask(&file, CHAT))
        .await
        .with_status(404)
        .error();
    assert_eq!(
        http.get("/v1/batches").await.ok().json()["data"],
        json!([]),
        "nothing was made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_models_limits_and_budget_hold_on_every_line() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let dear = json!({"model": "grok-4.3", "messages": [], "max_tokens": 100_000});
    for (limits, body, lines, status) in [
        (
            json!({"name": "narrow", "allowed_models": ["grok-4.7"]}),
            talk("grok-4.3"),
            1,
            403,
        ),
        (json!({"name": "poor", "budget_usd": 0.03}), dear, 1, 429),
        (
            json!({"name": "few", "limits": {"chat_per_day": 2}}),
            talk("grok-4.3"),
            3,
            429,
        ),
    ] {
        let client = gateway.as_client(&admin.new_key(limits.clone()).await.secret);
        let content: Vec<String> = (0..lines).map(|at| line(&at.to_string(), CHAT, &body)).collect();
        let file = upload(&client, &content.join("\n")).await;
        let got = client.post("/v1/batches", &ask(&file, CHAT)).await;
        assert_eq!(got.status, status, "{limits}: {}", got.text());
        let listed = client.get("/v1/batches").await.ok().json();
        assert_eq!(listed["data"], json!([]), "{limits}: nothing is left of it");
    }
    // A strict key's calls are seen here, so it may send them as a file; and what they did cost is charged.
    let key = admin
        .new_key(json!({"name": "strict", "budget_usd": 0.5, "strict": true}))
        .await;
    let client = gateway.as_client(&key.secret);
    let file = upload(&client, &line("a", CHAT, &talk("grok-4.3"))).await;
    let made = client.post("/v1/batches", &ask(&file, CHAT)).await.ok().json();
    client
        .get(&format!("/v1/batches/{}", made["id"].as_str().unwrap()))
        .await
        .ok();
    crate::support::eventually(
        "two cents are charged",
        std::time::Duration::from_secs(20),
        async || {
            let shown = admin.key(&key.id).await;
            match shown["usage_today"]["spent_usd"].as_f64() {
                Some(spent) if (0.0199..0.0201).contains(&spent) => Ok(()),
                _ => Err(shown.to_string()),
            }
        },
    )
    .await;
}
