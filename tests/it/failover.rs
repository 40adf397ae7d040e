//! The upstream fails in every way it can, and the client sees nothing of it, or an honest error.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Ending, Got, events, streamed_text};
use crate::support::{Admin, Gateway, MODEL, Plan, Sim, ask, ask_streamed, eventually};

/// Endings that say something about the key, its team or the upstream, and nothing about the request.
const NOT_THE_CLIENTS_FAULT: [&str; 29] = [
    "bad-key-old",
    "bad-key-new",
    "no-credentials-new",
    "no-credentials-old",
    "oauth-bad",
    "team-no-credit-old",
    "team-no-credit-new",
    "credits-exhausted-429",
    "credits-exhausted-403",
    "key-blocked-leak",
    "key-disabled",
    "key-expired",
    "team-blocked",
    "acl-denied",
    "model-missing-404",
    "model-missing-400",
    "rate-rps",
    "rate-rps-rpm",
    "rate-tpm",
    "rate-old",
    "rate-key",
    "capacity-429",
    "internal-500",
    "bad-gateway-502",
    "unavailable-503",
    "timeout-504",
    "overloaded-529",
    "cloudflare-52x",
    "cloudflare-525",
];

/// Endings that are about the request, what the client sees, and the code it is told.
const THE_CLIENTS_FAULT: [(&str, u16); 9] = [
    ("deser-chat-422", 422),
    ("json-parse-400", 400),
    ("arg-unsupported", 400),
    ("arg-invalid", 400),
    ("empty-message", 400),
    ("ctx-too-long", 400),
    ("live-search-gone", 410),
    ("too-large-413", 413),
    ("safety-403", 400),
];

/// Nothing of the upstream's inner life shows.
#[track_caller]
fn assert_nothing_leaks(got: &Got) {
    let all = format!("{:?} {}", got.headers, got.text()).to_lowercase();
    for inner in [
        "console.x.ai",
        "api.x.ai",
        "xai-",
        "xa***",
        "7ea00000-",
        "cumulative spend",
        "cloudflare",
    ] {
        assert!(!all.contains(inner), "{inner} leaks: {all}");
    }
}

fn only(error: &str, team: &str) -> Value {
    json!({"when": {"team": team, "path": "/v1/chat/completions"}, "do": {"error": error}})
}

/// Calls until the rule was met, at most 60 times; every call must succeed.
async fn call_until_met(gateway: &Gateway, sim: &Sim, rule: u64, stream: bool, what: &str) {
    for _ in 0..60 {
        // A prompt of its own, or the conversation would stay with the token it had before.
        let prompt = format!("Call number {}", fastrand::u64(..));
        let request = if stream {
            ask_streamed(MODEL, &prompt)
        } else {
            ask(MODEL, &prompt)
        };
        let got = gateway.http().chat(&request).await;
        assert_eq!(got.status, 200, "{what}: the client saw {} {}", got.status, got.text());
        assert_nothing_leaks(&got);
        if stream {
            let events = got.events();
            assert_eq!(
                events.last().map(String::as_str),
                Some("[DONE]"),
                "{what}: {}",
                got.text()
            );
            assert!(streamed_text(&events).len() > 20, "{what}: {}", got.text());
        } else {
            assert_eq!(got.json()["object"], "chat.completion", "{what}");
        }
        if sim.hits(rule).await > 0 {
            return;
        }
    }
    let admin = gateway.admin().await;
    let newest = admin.requests("limit=2").await;
    panic!(
        "{what}: the failing key was never tried; tokens {:#?}; requests {newest:#?}",
        admin.tokens().await
    );
}

/// Adds a team with one key to the upstream and the pool, in the place of the one before: what was learnt of a limit
/// there must not keep it from being chosen here.
async fn another_team(sim: &Sim, admin: &Admin, at: usize) -> String {
    let tokens = admin.tokens().await;
    for token in tokens.iter().filter(|token| token["note"] != "from XAI_API_KEY") {
        let path = format!("/tokens/{}", token["id"].as_str().unwrap());
        admin.delete(&path).await.ok();
    }
    sim.set_team(Sim::team(at)).await;
    admin.import(&[Sim::key(at)]).await;
    admin.wait_for_tokens(3).await;
    Sim::team_id(at)
}

/// Nobody rests any more.
async fn recover(admin: &Admin) {
    eventually("everybody is well again", Duration::from_secs(20), || async {
        let tokens = admin.tokens().await;
        let resting: Vec<&Value> = tokens
            .iter()
            .filter(|token| token["state"] != "active" || token["model_cooling"] != json!([]))
            .map(|token| &token["id"])
            .collect();
        if resting.is_empty() {
            return Ok(());
        }
        admin.post("/tokens/clear-cooling", &json!({"ids": resting})).await.ok();
        admin.post("/tokens/refresh", &json!({"ids": resting})).await.ok();
        Err(format!("{tokens:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_of_one_key_in_three_reaches_a_client() {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    let admin = gateway.admin().await;
    for (at, error) in NOT_THE_CLIENTS_FAULT.into_iter().enumerate() {
        for stream in [false, true] {
            let team = another_team(&sim, &admin, 10 + 2 * at + usize::from(stream)).await;
            let rule = sim.script(only(error, &team)).await[0];
            call_until_met(&gateway, &sim, rule, stream, error).await;
            sim.behave().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_in_a_first_event_reaches_a_client() {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    let admin = gateway.admin().await;
    let errors = [
        "chat-midstream-flat",
        "responses-error-event",
        "responses-error-numeric",
        "capacity-429",
        "credits-exhausted-403",
        "rate-rps",
    ];
    for (at, error) in errors.into_iter().enumerate() {
        let team = another_team(&sim, &admin, 10 + at).await;
        let when = json!({"team": team, "path": "/v1/chat/completions", "stream": true});
        let rule = json!({"when": when, "do": {"event_error": error, "event_at": 0}});
        let rule = sim.script(rule).await[0];
        call_until_met(&gateway, &sim, rule, true, error).await;
        sim.behave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_broken_connection_of_one_team_reaches_a_client() {
    let sim = Sim::with_teams(3).await;
    let gateway = Plan::of(&sim, 3)
        .set("xai.first_byte_timeout_secs", 1)
        .set("xai.answer_timeout_secs", 1)
        .start_warm()
        .await;
    let admin = gateway.admin().await;
    for (what, act, streams) in [
        (
            "cut before the head",
            json!({"cut_before_head": true}),
            &[false, true][..],
        ),
        ("cut before the first event", json!({"cut_after": 0}), &[true]),
        ("no head for long", json!({"delay_ms": 20_000}), &[false, true]),
        ("no first event for long", json!({"first_token_ms": 20_000}), &[true]),
    ] {
        for &stream in streams {
            recover(&admin).await;
            let when = json!({"team": Sim::team_id(1), "path": "/v1/chat/completions"});
            let rule = sim.script(json!({"when": when, "do": act})).await[0];
            call_until_met(&gateway, &sim, rule, stream, what).await;
            sim.behave().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_is_the_clients_and_rests_nobody() {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    let admin = gateway.admin().await;
    for (error, status) in THE_CLIENTS_FAULT {
        let before = sim.total().await;
        let got = gateway
            .http()
            .chat(&ask(MODEL, &format!("[[sim:error={error}]] Hello")))
            .await;
        assert_eq!(got.status.as_u16(), status, "{error}: {}", got.text());
        let told = got.error();
        assert_eq!(told["type"], "invalid_request_error", "{error}: {told}");
        if error == "ctx-too-long" {
            assert_eq!(told["code"], "context_length_exceeded");
        }
        if error == "safety-403" {
            assert_eq!(told["code"], "content_policy_violation");
        }
        assert_nothing_leaks(&got);
        assert_eq!(sim.total().await - before, 1, "{error} was tried again");
    }
    for token in admin.tokens().await {
        assert_eq!(token["state"], "active", "{token}");
        assert_eq!(token["model_cooling"], json!([]), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_key_fails_the_client_gets_an_honest_error() {
    for (error, statuses, reason) in [
        ("bad-key-new", &[502, 503][..], "pool"),
        ("credits-exhausted-403", &[429, 503], "pool"),
        ("team-no-credit-new", &[429, 503], "pool"),
        ("key-blocked-leak", &[502, 503], "pool"),
        ("rate-rps-rpm", &[429, 503], ""),
        ("capacity-429", &[429, 503], ""),
        ("unavailable-503", &[502, 503], ""),
        ("cloudflare-52x", &[502, 503, 504], ""),
    ] {
        let sim = Sim::with_teams(2).await;
        let gateway = Plan::of(&sim, 2).set("clients.max_wait_ms", 200).start_warm().await;
        let rule = json!({"when": {"path": "/v1/chat/completions"}, "do": {"error": error}});
        sim.script(rule).await;
        for stream in [false, true, false] {
            let request = if stream {
                ask_streamed(MODEL, "Hello")
            } else {
                ask(MODEL, "Hello")
            };
            let got = gateway.http().chat(&request).await;
            let status = got.status.as_u16();
            assert!(statuses.contains(&status), "{error}: {status} {}", got.text());
            got.error();
            assert_nothing_leaks(&got);
            let said = got.header("x-grok2api-reason");
            assert!(
                ["pool", "upstream"].contains(&said),
                "{error}: reason {said:?} {}",
                got.text()
            );
            // After the first call, nobody is left to ask.
            if !reason.is_empty() && stream {
                assert_eq!(said, reason, "{error}: {}", got.text());
            }
            let after = got.header("retry-after");
            if !after.is_empty() {
                let seconds: u64 = after.parse().unwrap();
                assert!((1..=120).contains(&seconds), "{error}: {after}");
            }
        }
        gateway.assert_alive().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_and_penalties_of_one_request_are_bounded() {
    let sim = Sim::with_teams(30).await;
    let gateway = Plan::of(&sim, 30).start_warm().await;
    let rule = json!({"when": {"path": "/v1/chat/completions"}, "do": {"error": "internal-500"}});
    sim.script(rule).await;
    let got = gateway.http().chat(&ask(MODEL, "Hello")).await;
    assert!(got.status.as_u16() >= 500, "{}", got.status);
    assert_eq!(sim.total().await, 3, "grok.max_retry is 3");

    // One poisonous prompt must not rest the whole pool.
    sim.behave().await;
    sim.reset().await;
    let got = gateway
        .http()
        .chat(&ask(MODEL, "[[sim:error=key-blocked-leak]] Hello"))
        .await;
    assert!(got.status.as_u16() >= 400);
    let total = sim.total().await;
    // Definite refusals cost nothing and may go on a little longer, but not through the pool.
    assert!(total <= 3 + 16, "{total} attempts: {} {}", got.status, got.text());
    let tokens = gateway.admin().await.tokens().await;
    let resting = tokens.iter().filter(|token| token["state"] != "active").count();
    assert!(resting <= 2, "xai.max_penalties is 2, {resting} rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_first_byte_becomes_an_event() {
    let sim = Sim::with_teams(3).await;
    let gateway = Plan::of(&sim, 3).set("xai.idle_timeout_secs", 1).start_warm().await;
    let admin = gateway.admin().await;
    for (what, magic) in [
        ("an error event", "event_error=chat-midstream-flat;event_at=4"),
        ("a cut", "cut=4"),
        ("a stall", "stall=4"),
        ("garbage", "garbage=4"),
    ] {
        recover(&admin).await;
        sim.reset().await;
        let prompt = format!("Tell me a long story [[sim:{magic}]]");
        let mut stream = gateway.http().open_chat(&ask_streamed(MODEL, &prompt)).await;
        assert_eq!(stream.status, 200);
        let ending = stream.finish().await;
        let events = events(&stream.text);
        if what == "garbage" {
            // The upstream's own bytes pass; the stream must end, whatever the gateway thinks of them.
            assert_eq!(ending, Ending::Clean);
            continue;
        }
        assert_eq!(ending, Ending::Clean, "{what}: the connection broke: {}", stream.text);
        assert!(events.len() >= 4, "{what}: {}", stream.text);
        let last: Value =
            serde_json::from_str(events.last().unwrap()).unwrap_or_else(|_| panic!("{what}: {}", stream.text));
        let error = &last["error"];
        assert!(
            error["message"].is_string() && error["type"].is_string() && error["code"].is_string(),
            "{what}: {}",
            stream.text
        );
        assert!(!stream.text.contains("[DONE]"), "{what}: {}", stream.text);
        assert_eq!(sim.total().await, 1, "{what}: tried again after the first byte");
        let record = admin.request(stream.headers["x-request-id"].to_str().unwrap()).await;
        assert_ne!(record["outcome"], "success", "{what}: {record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_connections_is_survived() {
    let sim = Sim::with_teams(3).await;
    let gateway = Plan::of(&sim, 3).start_warm().await;
    gateway.http().chat(&ask(MODEL, "Hello")).await.ok();
    // Whoever sends this prompt makes the upstream close its listener for a while.
    let got = gateway
        .http()
        .chat(&ask(MODEL, "[[sim:refuse=1500;times=1]] Hello"))
        .await;
    if got.status != 200 {
        assert!(
            matches!(got.status.as_u16(), 502..=504),
            "{} {}",
            got.status,
            got.text()
        );
        got.error();
        assert_nothing_leaks(&got);
    }
    let got = gateway.http().chat(&ask(MODEL, "While it is away")).await;
    if got.status != 200 {
        got.error();
    }
    // Nobody is at fault: as soon as it is back, it works without anybody's help.
    eventually("it works again", Duration::from_secs(20), || async {
        let got = gateway.http().chat(&ask(MODEL, "Are you back?")).await;
        if got.status == 200 { Ok(()) } else { Err(got.text()) }
    })
    .await;
    for token in gateway.admin().await.tokens().await {
        assert!(token["state"] == "active" || token["state"] == "cooling", "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timed_out_call_is_repeated_once_at_most() {
    let sim = Sim::with_teams(5).await;
    let gateway = Plan::of(&sim, 5)
        .set("xai.answer_timeout_secs", 1)
        .set("xai.first_byte_timeout_secs", 1)
        .start_warm()
        .await;
    for stream in [false, true] {
        sim.reset().await;
        let prompt = "[[sim:delay=30000]] Hello";
        let request = if stream {
            ask_streamed(MODEL, prompt)
        } else {
            ask(MODEL, prompt)
        };
        let got = gateway.http().chat(&request).await.with_status(504);
        assert_eq!(got.error_code(), "upstream_timeout");
        let total = sim.total().await;
        assert!((1..=2).contains(&total), "{total} calls that may have been billed");
    }
    // It cools nobody by itself.
    for token in gateway.admin().await.tokens().await {
        assert_eq!(token["state"], "active", "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooling_team_is_left_alone_and_comes_back() {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2).start_warm().await;
    let admin = gateway.admin().await;
    let rule = sim.script(only("credits-exhausted-403", &Sim::team_id(0))).await[0];
    call_until_met(&gateway, &sim, rule, false, "no money").await;
    let met = sim.hits(rule).await;
    for at in 0..20 {
        gateway.http().chat(&ask(MODEL, &format!("call {at}"))).await.ok();
    }
    assert_eq!(sim.hits(rule).await, met, "it was asked again while it rests");
    let token = admin.token_of(&Sim::key(0)).await;
    let text = token.to_string();
    assert!(
        token["state"] == "exhausted" || token["state"] == "cooling",
        "nothing says that it rests: {text}"
    );
    assert!(token["clearable"] == true && token["cause"].is_string(), "{text}");
    // Cleared by hand, it is asked again at once.
    sim.behave().await;
    recover(&admin).await;
    let before = sim.chats_of(&Sim::key(0)).await;
    for at in 0..30 {
        gateway.http().chat(&ask(MODEL, &format!("after {at}"))).await.ok();
    }
    assert!(sim.chats_of(&Sim::key(0)).await > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_the_operator_beats_the_table() {
    let sim = Sim::with_teams(2).await;
    let gateway = Plan::of(&sim, 2)
        .config("[[xai.rules]]\nstatus = 418\ntext = \"new words\"\nretry = true\ncool = \"token\"\nfor_secs = 60\n")
        .start_warm()
        .await;
    let rule = json!({
        "when": {"team": Sim::team_id(0), "path": "/v1/chat/completions"},
        "do": {"status": 418, "body": {"code": "teapot", "error": "Some NEW words of theirs"}},
    });
    let rule = sim.script(rule).await[0];
    call_until_met(&gateway, &sim, rule, false, "a new text").await;
    let token = gateway.admin().await.token_of(&Sim::key(0)).await;
    assert_eq!(token["state"], "cooling", "{token}");
}
