//! Whatever a client sends: a 4xx in OpenAI's shape, never a 5xx or a hang, and the server lives on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::API_KEY;
use crate::support::{Gateway, MODEL, Plan, Sim, ask};

async fn stage() -> (Sim, Gateway) {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1)
        .set("server.max_body_mb", 2)
        .set("server.header_read_timeout_secs", 1)
        .start_warm()
        .await;
    (sim, gateway)
}

/// Bodies, and the field that is named.
fn bodies() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let with =
        |member: &str| format!(r#"{{"model":"grok-4.6","messages":[{{"role":"user","content":"Hi"}}],{member}}}"#);
    let messages = |list: &str| format!(r#"{{"model":"grok-4.6","messages":{list}}}"#);
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        with(&format!(r#""x":{open}{close}"#))
    };
    let many = |count: usize| {
        let one = r#"{"role":"user","content":"Hi"}"#;
        messages(&format!("[{}]", vec![one; count].join(",")))
    };
    let text = |body: &str| body.as_bytes().to_vec();
    vec![
        ("nothing", text(""), ""),
        ("no JSON", text("hello"), ""),
        ("cut off", text(r#"{"model":"grok-4.6","messages":[{"role""#), ""),
        ("two values", text(r#"{"model":"a"} {"model":"b"}"#), ""),
        ("a list", text("[]"), ""),
        ("a number", text("7"), ""),
        ("null", text("null"), ""),
        ("a trailing comma", text(r#"{"model":"grok-4.6",}"#), ""),
        (
            "invalid UTF-8",
            b"{\"model\":\"grok-4.6\xff\",\"messages\":[]}".to_vec(),
            "",
        ),
        ("a lone surrogate", text(&with(r#""user":"\ud800""#)), ""),
        ("a control character", text(&with("\"user\":\"a\u{1}b\"")), ""),
        (
            "no model",
            text(r#"{"messages":[{"role":"user","content":"Hi"}]}"#),
            "model",
        ),
        (
            "model null",
            text(r#"{"model":null,"messages":[{"role":"user","content":"Hi"}]}"#),
            "model",
        ),
        (
            "model a number",
            text(r#"{"model":4,"messages":[{"role":"user","content":"Hi"}]}"#),
            "model",
        ),
        (
            "model empty",
            text(r#"{"model":"","messages":[{"role":"user","content":"Hi"}]}"#),
            "model",
        ),
        (
            "model unknown",
            text(r#"{"model":"grok-99","messages":[{"role":"user","content":"Hi"}]}"#),
            "model",
        ),
        (
            "model endless",
            text(&format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(70_000))),
            "model",
        ),
        ("model twice", text(&with(r#""model":"grok-4.7""#)), "model"),
        ("no messages", text(r#"{"model":"grok-4.6"}"#), "messages"),
        ("messages empty", text(&messages("[]")), "messages"),
        ("messages null", text(&messages("null")), "messages"),
        ("messages a text", text(&messages("\"Hi\"")), "messages"),
        ("a message a text", text(&messages("[\"Hi\"]")), "messages"),
        ("no role", text(&messages(r#"[{"content":"Hi"}]"#)), "messages"),
        (
            "an unknown role",
            text(&messages(r#"[{"role":"wizard","content":"Hi"}]"#)),
            "messages",
        ),
        (
            "content a number",
            text(&messages(r#"[{"role":"user","content":7}]"#)),
            "messages",
        ),
        ("thousands of messages", text(&many(5_000)), "messages"),
        ("n negative", text(&with(r#""n":-1"#)), "n"),
        ("n zero", text(&with(r#""n":0"#)), "n"),
        ("n huge", text(&with(r#""n":1000000000000"#)), "n"),
        ("n a text", text(&with(r#""n":"2""#)), "n"),
        ("stream a text", text(&with(r#""stream":"yes""#)), "stream"),
        ("stream a number", text(&with(r#""stream":1"#)), "stream"),
        (
            "options a list",
            text(&with(r#""stream":true,"stream_options":[]"#)),
            "stream_options",
        ),
        ("max_tokens negative", text(&with(r#""max_tokens":-5"#)), "max_tokens"),
        (
            "max_tokens a fraction",
            text(&with(r#""max_tokens":1.5"#)),
            "max_tokens",
        ),
        (
            "temperature a text",
            text(&with(r#""temperature":"hot""#)),
            "temperature",
        ),
        ("tools an object", text(&with(r#""tools":{}"#)), "tools"),
        ("deep", text(&deep(1_000)), ""),
        ("very deep", text(&deep(200_000)), ""),
        (
            "half-open deep",
            text(&with(&format!(r#""x":{}"#, "[{\"a\":".repeat(50_000)))),
            "",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_body_is_a_4xx_that_names_the_field() {
    let (sim, gateway) = stage().await;
    let before = sim.total().await;
    for (what, body, field) in bodies() {
        let headers = [("content-type", "application/json")];
        let sent = gateway
            .http()
            .send(http::Method::POST, "/v1/chat/completions", &headers, body);
        let got = tokio::time::timeout(Duration::from_secs(10), sent)
            .await
            .unwrap_or_else(|_| panic!("{what}: hangs"));
        let status = got.status.as_u16();
        assert!((400..500).contains(&status), "{what}: {status} {}", got.text());
        let error = got.error();
        assert_eq!(error["type"], "invalid_request_error", "{what}: {error}");
        if !field.is_empty() {
            let param = error["param"].as_str().unwrap_or_default();
            assert!(param.starts_with(field), "{what}: names {param:?}: {error}");
        }
        let message = error["message"].as_str().unwrap();
        assert!(message.len() < 1_000, "{what}: {message}");
    }
    assert_eq!(sim.total().await, before, "some of it went upstream");
    gateway.http().chat(&ask(MODEL, "Still there?")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_types_and_paths_have_their_own_answers() {
    let (_sim, gateway) = stage().await;
    let http = gateway.http();
    let post = |path: &'static str, kind: &'static str, body: Vec<u8>| async move {
        http.send(http::Method::POST, path, &[("content-type", kind)], body)
            .await
    };
    let mut large = ask(MODEL, "x");
    large["messages"][0]["content"] = Value::String("x".repeat(3 << 20));
    let got = post("/v1/chat/completions", "application/json", large.to_string().into()).await;
    got.with_status(413).error();
    let got = post(
        "/v1/chat/completions",
        "multipart/form-data; boundary=x",
        b"--x--".to_vec(),
    )
    .await;
    assert!(matches!(got.status.as_u16(), 400 | 415), "{}", got.status);
    got.error();
    // OpenAI's own clients always say JSON; people with curl forget it.
    let plain = ask(MODEL, "Hi").to_string();
    let got = post(
        "/v1/chat/completions",
        "application/x-www-form-urlencoded",
        plain.into(),
    )
    .await;
    assert!(matches!(got.status.as_u16(), 200 | 415), "{}", got.status);

    http.get("/v1/nothing/here").await.with_status(404).error();
    http.get("/v1/chat/completions").await.with_status(405).error();
    http.delete("/v1/models").await.with_status(405).error();
    http.get("/v1/models/%2e%2e%2f%2e%2e%2fetc")
        .await
        .with_status(404)
        .error();
    let long = format!("/v1/models/{}", "m".repeat(5_000));
    http.get(&long).await.with_status(404).error();
    let fat = "h".repeat(200_000);
    let got = http
        .try_send(http::Method::GET, "/v1/models", &[("x-fat", fat.as_str())], "")
        .await;
    if let Ok(got) = got {
        assert_eq!(got.status, 431, "{}", got.text());
    }
    gateway.http().chat(&ask(MODEL, "Still there?")).await.ok();
}

/// Sends these pieces with pauses; what came back until the end or the limit.
async fn raw(gateway: &Gateway, pieces: &[(&[u8], u64)], limit: Duration) -> Result<String, String> {
    let address = gateway.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (piece, pause_ms) in pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
    }
    let mut said = Vec::new();
    match tokio::time::timeout(limit, stream.read_to_end(&mut said)).await {
        Ok(_) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Err(_) => Err(format!(
            "still open after {limit:?}: {}",
            String::from_utf8_lossy(&said)
        )),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_broken_senders_are_let_go() {
    let (_sim, gateway) = stage().await;
    let limit = Duration::from_secs(8);
    // Not a word, half a line, a head that never ends.
    for pieces in [
        &[(&b""[..], 0)][..],
        &[(&b"POST /v1/ch"[..], 0)],
        &[
            (&b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"[..], 500),
            (b"a: b\r\n", 500),
            (b"c: d\r\n", 500),
        ],
    ] {
        let said = raw(&gateway, pieces, limit).await.unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    // Not HTTP.
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\r\n\r\n",
    ] {
        let said = raw(&gateway, &[(garbage, 0)], limit).await.unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    // Two lengths, a length that lies.
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\n");
    let smuggled =
        format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n");
    let said = raw(&gateway, &[(smuggled.as_bytes(), 200)], limit)
        .await
        .unwrap_or_else(|said| said);
    assert!(!said.contains("HTTP/1.1 200"), "{said}");
    let negative = format!("{head}content-length: -4\r\n\r\n{{}}");
    let said = raw(&gateway, &[(negative.as_bytes(), 0)], limit).await.unwrap();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    // The client is gone before its body is.
    let short = format!("{head}content-length: 4000\r\n\r\n{{\"model\":");
    let address = gateway.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(short.as_bytes()).await.unwrap();
    drop(stream);
    gateway.http().chat(&ask(MODEL, "Still there?")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_body_leaves_the_connection_usable_or_says_close() {
    let (_sim, gateway) = stage().await;
    let body = ask(MODEL, "Hello").to_string();
    let address = gateway.url().trim_start_matches("http://").to_owned();
    for (key, path, status) in [
        ("sk-wrong", "/v1/chat/completions", "401"),
        (API_KEY, "/v1/nothing", "404"),
        (API_KEY, "/v1/models", "405"),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        // As Python's clients do it: head and body in two writes.
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 65_536];
        let read = stream.read(&mut buffer).await.unwrap();
        let said = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
        assert!(said.starts_with(&format!("http/1.1 {status}")), "{said}");
        if said.contains("connection: close") {
            continue;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        let said = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
        assert!(
            said.starts_with("http/1.1 200"),
            "{path}: the connection was closed without a word: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pool_says_what_to_do() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 0).start().await;
    let got = gateway.http().chat(&ask(MODEL, "Hello")).await;
    assert!(matches!(got.status.as_u16(), 429 | 503), "{}", got.status);
    assert_eq!(got.header("x-grok2api-reason"), "pool");
    assert_eq!(got.header("x-should-retry"), "false");
    let message = got.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("XAI_API_KEY"), "{message}");
    gateway.http().get("/v1/models").await.ok();
    // The first credential makes it work, without a restart.
    let admin = gateway.admin().await;
    admin.import(&[Sim::key(0)]).await;
    admin.wait_for_tokens(1).await;
    gateway.http().chat(&ask(MODEL, "Hello")).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_bodies_are_checked_as_well() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    for (path, body) in [
        ("/keys", json!([])),
        ("/keys", json!({"name": 7})),
        ("/keys", json!({"name": "x", "rpm": "many"})),
        ("/keys", json!({"name": "x", "limits": {"chat_per_day": 1.5}})),
        ("/keys", json!({"name": "x", "expires_at": -1})),
        ("/keys", json!({"name": "x", "on_disconnect": "explode"})),
        ("/keys/update", json!({})),
        ("/keys/delete", json!({"key": "sk-abc...wxyz"})),
        ("/tokens", json!({"nowhere": ["xai-1"]})),
        ("/tokens/refresh", json!({})),
        ("/tokens/delete", json!({"tokens": ["xai-ab…wxyz"]})),
        ("/login", json!({"username": 1})),
    ] {
        let got = admin.post(path, &body).await;
        let status = got.status.as_u16();
        assert!((400..500).contains(&status), "{path} {body}: {status} {}", got.text());
        got.error();
    }
    for path in [
        "/tokens?limit=x",
        "/tokens?state=happy",
        "/requests?limit=-1",
        "/tokens?cursor=%00",
        "/nothing",
    ] {
        let got = admin.get(path).await;
        let status = got.status.as_u16();
        assert!((400..500).contains(&status), "{path}: {status} {}", got.text());
        got.error();
    }
}
