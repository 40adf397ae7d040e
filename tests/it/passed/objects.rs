//! Files, skills, batches and searches: each with the team that has it, and for nobody but who made it.

use http::Method;
use serde_json::json;

use super::{form, post_form, stage};
use crate::support::http::Http;
use crate::support::{MODEL, Plan};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_its_makers_alone() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let (me, other) = (
        admin.new_key(json!({"name": "me"})).await,
        admin.new_key(json!({"name": "other"})).await,
    );
    let (me, other) = (gateway.as_client(&me.secret), gateway.as_client(&other.secret));
    let mut ids = Vec::new();
    for at in 0..7 {
        let name = format!("notes-{at}.html");
        let parts: [(&str, Option<&str>, &[u8]); 2] = [
            ("purpose", None, b"assistants"),
            ("file", Some(&name), b"<script>alert(1)</script>"),
        ];
        let made = post_form(&me, "/v1/files", &parts).await.ok().json();
        assert_eq!(made["filename"], name);
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        let path = format!("/v1/files/{id}");
        assert_eq!(me.get(&path).await.ok().json()["id"], **id);
        let content = me.get(&format!("{path}/content")).await.ok();
        assert_eq!(content.text(), "<script>alert(1)</script>");
        assert_eq!(content.header("x-content-type-options"), "nosniff");
        assert!(content.header("content-security-policy").contains("sandbox"));
        for theirs in [&path, &format!("{path}/content")] {
            assert_eq!(
                other.get(theirs).await.with_status(404).error_code(),
                "object_not_found"
            );
        }
        other.delete(&path).await.with_status(404).error();
        let theirs =
            json!({"model": MODEL, "input": [{"role": "user", "content": [{"type": "input_file", "file_id": id}]}]});
        other.post("/v1/responses", &theirs).await.with_status(404).error();
        // However its name is written.
        for member in ["file_id", "file\\u005fid"] {
            let part = format!(r#"{{"type": "file", "file": {{"{member}": "{id}"}}}}"#);
            let body = format!(r#"{{"model": "{MODEL}", "messages": [{{"role": "user", "content": [{part}]}}]}}"#);
            let chat = async |who: &Http| {
                let json = [("content-type", "application/json")];
                who.send(Method::POST, "/v1/chat/completions", &json, body.clone())
                    .await
            };
            assert_eq!(
                chat(&other).await.with_status(404).error_code(),
                "file_not_found",
                "{body}"
            );
            chat(&me).await.ok();
        }
    }
    // Pages of one's own.
    assert_eq!(other.get("/v1/files").await.ok().json()["data"], json!([]));
    let mut seen = Vec::new();
    let mut path = "/v1/files?limit=3&order=asc".to_owned();
    loop {
        let page = me.get(&path).await.ok().json();
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 3);
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/files?limit=3&order=asc&after={}", seen.last().unwrap());
    }
    let (mut seen, mut made) = (seen, ids.clone());
    seen.sort();
    made.sort();
    assert_eq!(seen, made);
    me.get("/v1/files?limit=0").await.with_status(400).error();
    me.get("/v1/files?after=file_unknown").await.with_status(404).error();

    me.delete(&format!("/v1/files/{}", ids[0])).await.ok();
    me.get(&format!("/v1/files/{}", ids[0])).await.with_status(404).error();
    assert_eq!(
        me.get("/v1/files").await.ok().json()["data"].as_array().unwrap().len(),
        6
    );
    // What there is not, and what it does not take.
    me.get("/v1/files/nothing").await.with_status(404).error();
    me.get(&format!("/v1/files/{}/secrets", ids[1]))
        .await
        .with_status(404)
        .error();
    me.post(&format!("/v1/files/{}/content", ids[1]), &json!({}))
        .await
        .with_status(405)
        .error();
    me.patch("/v1/files", &json!({})).await.with_status(405).error();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_wrong_is_refused_and_nothing_is_sent() {
    let (sim, gateway) = stage().await;
    let http = gateway.http();
    let one: (&str, Option<&str>, &[u8]) = ("file", Some("a.txt"), b"x");
    for (what, parts, status) in [
        ("no file", vec![("purpose", None, &b"x"[..])], 400),
        ("no filename", vec![("file", None, &b"x"[..])], 400),
        ("an empty file", vec![("file", Some("a"), &b""[..])], 400),
        ("17 files", vec![one; 17], 400),
        ("100 parts", vec![("purpose", None, &b"x"[..]); 100], 400),
    ] {
        let got = post_form(http, "/v1/files", &parts).await;
        assert_eq!(got.status, status, "{what}: {}", got.text());
        got.error();
    }
    let (kind, whole) = form(&[one]);
    for cut in [1, 30, whole.len() / 2, whole.len() - 4] {
        let got = http
            .send(
                Method::POST,
                "/v1/files",
                &[("content-type", &kind)],
                whole[..cut].to_vec(),
            )
            .await;
        assert_eq!(got.with_status(400).error_code(), "incomplete_body", "cut at {cut}");
    }
    let no_form = http.post("/v1/files", &json!({"file": "x"})).await;
    assert_eq!(no_form.with_status(415).error_code(), "unsupported_media_type");
    let large = vec![b'x'; 60 << 20];
    let got = post_form(http, "/v1/files", &[("file", Some("large"), &large)]).await;
    assert_eq!(got.with_status(413).error_code(), "request_too_large");
    let fits = vec![b'x'; 40 << 20];
    post_form(http, "/v1/files", &[("file", Some("fits"), &fits)])
        .await
        .ok();
    // Cut in the middle of its way: the node lives on, and nothing was kept.
    cut_half_way(gateway.url()).await;
    gateway.assert_alive().await;
    let listed = http.get("/v1/files").await.ok().json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    let arrived: u64 = sim.stats().await["requests"].as_u64().unwrap();
    assert!(arrived > 0);
}

async fn cut_half_way(url: &str) {
    use tokio::io::AsyncWriteExt;
    let address = url.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Length: 5000000\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"a\"\r\n\r\n",
        crate::support::gateway::API_KEY
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 100_000]).await.unwrap();
    drop(socket);
}

#[tokio::test(flavor = "multi_thread")]
async fn skills_and_batches_go_to_the_team_that_has_them() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let me = gateway.as_client(&admin.new_key(json!({"name": "me"})).await.secret);
    let other = gateway.as_client(&admin.new_key(json!({"name": "other"})).await.secret);
    let skill = post_form(&me, "/v1/skills", &[("files", Some("s.zip"), b"PK")])
        .await
        .ok()
        .json();
    let path = format!("/v1/skills/{}", skill["id"].as_str().unwrap());
    assert_eq!(me.get(&format!("{path}/content")).await.ok().text(), "PK");
    other.get(&path).await.with_status(404).error();
    assert_eq!(me.get("/v1/skills").await.ok().json()["data"][0]["id"], skill["id"]);
    me.delete(&path).await.ok();

    for _ in 0..6 {
        let batch = me.post("/v1/batches", &json!({"name": "b"})).await.ok().json();
        let path = format!("/v1/batches/{}", batch["batch_id"].as_str().unwrap());
        let calls = json!({"batch_requests": [
            {"batch_request_id": "1", "batch_request": {"chat_get_completion": {"model": "gpt-4o", "messages": []}}},
        ]});
        me.post(&format!("{path}/requests"), &calls).await.ok();
        let added = me.get(&format!("{path}/requests")).await.ok().json();
        assert_eq!(
            added["batch_requests"][0]["batch_request"]["chat_get_completion"]["model"], "grok-4.7",
            "the name is the upstream's: {added}"
        );
        assert_eq!(me.get(&path).await.ok().json()["state"]["num_success"], 1);
        let results = me.get(&format!("{path}/results?limit=10")).await.ok().json();
        assert_eq!(
            (&results["has_more"], &results["results"][0]["batch_request_id"]),
            (&json!(false), &json!("1"))
        );
        me.post(&format!("{path}:cancel"), &json!({})).await.ok();
        for theirs in [path.clone(), format!("{path}/results")] {
            other.get(&theirs).await.with_status(404).error();
        }
        other
            .post(&format!("{path}:cancel"), &json!({}))
            .await
            .with_status(404)
            .error();
        me.delete(&path).await.with_status(405).error();
    }
    let listed = me.get("/v1/batches?limit=4").await.ok().json();
    assert_eq!(
        (listed["batches"].as_array().unwrap().len(), &listed["has_more"]),
        (4, &json!(true))
    );
    for wrong in [
        json!({}),
        json!({"batch_requests": {}}),
        json!({"batch_requests": [{}]}),
        json!({"batch_requests": [{"batch_request": {"embeddings": {"model": "v1"}}}]}),
        json!({"batch_requests": [{"batch_request": {"responses": {"input": "no model"}}}]}),
    ] {
        let path = format!(
            "/v1/batches/{}/requests",
            listed["batches"][0]["batch_id"].as_str().unwrap()
        );
        me.post(&path, &wrong).await.with_status(400).error();
    }
    me.post("/v1/batches", &json!({"name": "b", "input_file_id": "f"}))
        .await
        .with_status(404)
        .error();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_the_team_that_has_the_collection() {
    let (_sim, gateway) = stage().await;
    for team in (0..3).cycle().take(9) {
        let collection = format!("collection_{}", crate::support::Sim::team_id(team));
        let asked = json!({"query": "what?", "source": {"collection_ids": [collection]}});
        let got = gateway.http().post("/v1/documents/search", &asked).await.ok().json();
        assert_eq!(got["matches"][0]["chunk_content"], "what?", "{got}");
    }
    let nowhere = json!({"query": "what?", "source": {"collection_ids": ["collection_nowhere"]}});
    gateway
        .http()
        .post("/v1/documents/search", &nowhere)
        .await
        .with_status(404)
        .error();
    for wrong in [json!({}), json!({"query": 1}), json!({"query": "x"}), json!([])] {
        gateway
            .http()
            .post("/v1/documents/search", &wrong)
            .await
            .with_status(400)
            .error();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_still_there_after_a_restart() {
    let (sim, _) = stage().await;
    let mut gateway = Plan::of(&sim, 3).start_warm().await;
    let made = post_form(gateway.http(), "/v1/files", &[("file", Some("a"), b"kept")])
        .await
        .ok()
        .json();
    let path = format!("/v1/files/{}/content", made["id"].as_str().unwrap());
    gateway.terminate().await;
    gateway.restart().await;
    assert_eq!(gateway.http().get(&path).await.ok().text(), "kept");
}
