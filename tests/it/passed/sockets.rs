//! WebSockets: a conversation in sound, and responses.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::stage;
use crate::support::gateway::API_KEY;
use crate::support::{Gateway, MODEL, eventually};

type Socket = WebSocketStream<TcpStream>;

const REALTIME: &str = "/v1/realtime?model=grok-voice-latest";

/// Opens a WebSocket with these headers.
async fn open(gateway: &Gateway, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, (u16, String)> {
    let address = gateway.url().trim_start_matches("http://").to_owned();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(*name, HeaderValue::from_str(value).unwrap());
    }
    let stream = TcpStream::connect(&address).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

async fn open_as(gateway: &Gateway, path: &str, key: &str) -> Result<Socket, (u16, String)> {
    open(gateway, path, &[("authorization", &format!("Bearer {key}"))]).await
}

async fn message(socket: &mut Socket) -> Message {
    tokio::time::timeout(Duration::from_secs(20), socket.next())
        .await
        .expect("no message")
        .expect("the socket is closed")
        .unwrap()
}

async fn event(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = message(socket).await {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn say(socket: &mut Socket, event: &Value) {
    socket.send(Message::text(event.to_string())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_text_pass_both_ways_and_are_accounted_for() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let key = admin.new_key(json!({"name": "voice", "concurrency": 1})).await;
    let mut socket = open_as(&gateway, REALTIME, &key.secret).await.unwrap();
    assert_eq!(event(&mut socket).await["type"], "session.created");
    let conversation = event(&mut socket).await["conversation"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    say(&mut socket, &json!({"type": "response.create"})).await;
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("response.done") {
        kinds.push(event(&mut socket).await["type"].as_str().unwrap().to_owned());
    }
    let sound: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    socket.send(Message::binary(sound.clone())).await.unwrap();
    match message(&mut socket).await {
        Message::Binary(heard) => assert_eq!(heard[..], sound[..]),
        other => panic!("{other}"),
    }
    socket.send(Message::text("no JSON")).await.unwrap();
    assert_eq!(event(&mut socket).await["type"], "error");
    // The slot is held as long as the socket is open.
    let (status, _) = open_as(&gateway, REALTIME, &key.secret).await.unwrap_err();
    assert_eq!(status, 429);
    socket.close(None).await.unwrap();
    eventually("the talk is in the log", Duration::from_secs(10), async || {
        let rows = admin.requests("").await;
        let row = rows
            .iter()
            .find(|row| row["route"] == "/v1/realtime" && row["outcome"] == "success");
        let Some(row) = row else {
            return Err(format!("{rows:?}"));
        };
        let record = admin.request(row["id"].as_str().unwrap()).await;
        let (tokens, cost) = (
            &record["usage"]["total_tokens"],
            record["cost_ticks"].as_u64().unwrap_or(0),
        );
        if *tokens == 42 && (1..800_000_000).contains(&cost) {
            Ok(())
        } else {
            Err(record.to_string())
        }
    })
    .await;
    // It can be taken up again by its own key alone.
    let again = format!("{REALTIME}&conversation_id={conversation}");
    open_as(&gateway, &again, &key.secret).await.unwrap();
    assert_eq!(open_as(&gateway, &again, API_KEY).await.unwrap_err().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_come_as_a_subprotocol_and_what_is_wrong_is_told_over_http() {
    let (_sim, gateway) = stage().await;
    for prefix in ["openai-insecure-api-key.", "xai-client-secret."] {
        let offered = format!("realtime, {prefix}{API_KEY}");
        let mut socket = open(&gateway, REALTIME, &[("sec-websocket-protocol", &offered)])
            .await
            .unwrap();
        assert_eq!(event(&mut socket).await["type"], "session.created");
    }
    for (path, key, status) in [
        (REALTIME, "wrong", 401),
        ("/v1/realtime", API_KEY, 400),
        ("/v1/realtime?model=grok-4.6", API_KEY, 400),
        ("/v1/realtime?model=grok-voice-think-fast-1.0", API_KEY, 404),
        (
            "/v1/realtime?model=grok-voice-latest&conversation_id=unknown",
            API_KEY,
            404,
        ),
    ] {
        let (got, body) = open_as(&gateway, path, key).await.unwrap_err();
        assert_eq!(got, status, "{path}: {body}");
        assert!(
            serde_json::from_str::<Value>(&body).unwrap()["error"]["message"].is_string(),
            "{body}"
        );
    }
    gateway.http().get(REALTIME).await.with_status(400).error();
    gateway
        .http()
        .post("/v1/realtime", &json!({}))
        .await
        .with_status(405)
        .error();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_opens_a_socket_under_its_keys_limits_and_nothing_else() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let key = admin.new_key(json!({"name": "browser", "concurrency": 1})).await;
    let client = gateway.as_client(&key.secret);
    let path = "/v1/realtime/client_secrets";
    let made = client
        .post(path, &json!({"expires_after": {"seconds": 60}}))
        .await
        .ok()
        .json();
    let secret = made["value"].as_str().unwrap().to_owned();
    assert!(made["expires_at"].as_u64().is_some(), "{made}");
    let offered = format!("realtime, xai-client-secret.{secret}");
    let first = open(&gateway, REALTIME, &[("sec-websocket-protocol", &offered)])
        .await
        .unwrap();
    let (status, _) = open_as(&gateway, REALTIME, &key.secret).await.unwrap_err();
    assert_eq!(status, 429, "the slot is the key's");
    drop(first);
    gateway
        .as_client(&secret)
        .chat(&crate::support::ask(MODEL, "Hi"))
        .await
        .with_status(401)
        .error();
    let forged = format!("{}x", &secret[..secret.len() - 1]);
    assert_eq!(open_as(&gateway, REALTIME, &forged).await.unwrap_err().0, 401);
    for wrong in [
        json!({"expires_after": {"seconds": 5}}),
        json!({"expires_after": 7}),
        json!([]),
    ] {
        client.post(path, &wrong).await.with_status(400).error();
    }
    gateway
        .http()
        .anonymous()
        .post(path, &json!({}))
        .await
        .with_status(401)
        .error();
    admin.delete(&format!("/keys/{}", key.id)).await.ok();
    assert_eq!(open_as(&gateway, REALTIME, &secret).await.unwrap_err().0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_budgets_hold_for_sockets() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let often = admin.new_key(json!({"name": "often", "rpm": 1})).await;
    open_as(&gateway, REALTIME, &often.secret).await.unwrap();
    assert_eq!(open_as(&gateway, REALTIME, &often.secret).await.unwrap_err().0, 429);
    // A minute costs eight cents: a strict key that cannot pay one is refused.
    let poor = admin
        .new_key(json!({"name": "poor", "budget_usd": 0.05, "strict": true}))
        .await;
    let (status, body) = open_as(&gateway, REALTIME, &poor.secret).await.unwrap_err();
    assert_eq!((status, body.contains("insufficient_quota")), (429, true), "{body}");
    let narrow = admin
        .new_key(json!({"name": "narrow", "allowed_models": ["grok-4*"]}))
        .await;
    assert_eq!(open_as(&gateway, REALTIME, &narrow.secret).await.unwrap_err().0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_or_a_client_that_floods_ends_it() {
    let (_sim, gateway) = stage().await;
    let mut socket = open_as(&gateway, REALTIME, API_KEY).await.unwrap();
    say(&mut socket, &json!({"type": "sim.close"})).await;
    let closed = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                return true;
            }
        }
        true
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap());
    let mut socket = open_as(&gateway, REALTIME, API_KEY).await.unwrap();
    let flood = Message::binary(vec![0_u8; 20 << 20]);
    let _ = tokio::time::timeout(Duration::from_secs(20), socket.send(flood)).await;
    let ended = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    gateway.assert_alive().await;
}

/// One turn: its events.
async fn turn(socket: &mut Socket, request: &Value) -> Vec<Value> {
    say(socket, request).await;
    let mut events = Vec::new();
    loop {
        let event = event(socket).await;
        let kind = event["type"].as_str().unwrap().to_owned();
        events.push(event);
        if ["response.completed", "response.failed", "error"].contains(&kind.as_str()) {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_come_over_a_socket_turn_by_turn() {
    let (_sim, gateway) = stage().await;
    let admin = gateway.admin().await;
    let key = admin
        .new_key(json!({"name": "turns", "limits": {"chat_per_day": 4}}))
        .await;
    let mut socket = open_as(&gateway, "/v1/responses", &key.secret).await.unwrap();
    let ask = |input: &str| json!({"type": "response.create", "model": MODEL, "input": input});
    let first = turn(&mut socket, &ask("My name is Ada.")).await;
    assert_eq!(first[0]["type"], "response.created");
    let last = first.last().unwrap();
    assert_eq!(last["type"], "response.completed", "{last}");
    // Building on a response that is kept…
    let mut more = ask("What is my name?");
    more["previous_response_id"] = last["response"]["id"].clone();
    let second = turn(&mut socket, &more).await;
    assert_eq!(second.last().unwrap()["type"], "response.completed");
    // …and on one that is not.
    let mut unkept = ask("The word is kestrel.");
    unkept["store"] = false.into();
    let third = turn(&mut socket, &unkept).await.pop().unwrap();
    let mut more = ask("Which word?");
    more["store"] = false.into();
    more["previous_response_id"] = third["response"]["id"].clone();
    let fourth = turn(&mut socket, &more).await.pop().unwrap();
    assert_eq!(fourth["type"], "response.completed", "{fourth}");
    let (before, after) = (
        third["response"]["usage"]["input_tokens"].as_u64().unwrap(),
        fourth["response"]["usage"]["input_tokens"].as_u64().unwrap(),
    );
    assert!(
        after > before,
        "all that was said before is read again: {before}, {after}"
    );
    // Each turn counts, and what is wrong is told without closing.
    let fifth = turn(&mut socket, &ask("Once more")).await.pop().unwrap();
    assert_eq!(
        (&fifth["type"], &fifth["status"]),
        (&json!("error"), &json!(429)),
        "{fifth}"
    );
    for wrong in [
        "no JSON",
        "[]",
        "{}",
        r#"{"type":"session.update"}"#,
        r#"{"type":"response.create"}"#,
    ] {
        socket.send(Message::text(wrong)).await.unwrap();
        let told = event(&mut socket).await;
        assert_eq!(
            (&told["type"], &told["status"]),
            (&json!("error"), &json!(400)),
            "{wrong}: {told}"
        );
        assert!(told["error"]["message"].is_string());
    }
    let rows = admin.requests("").await;
    let turns = rows
        .iter()
        .filter(|row| row["route"] == "/v1/responses" && row["status"] == 200)
        .count();
    assert_eq!(turns, 4, "{rows:?}");
    gateway.http().get("/v1/responses").await.with_status(400).error();
    assert_eq!(open_as(&gateway, "/v1/responses", "wrong").await.unwrap_err().0, 401);
}
