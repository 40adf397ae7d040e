//! The admin API: sessions, tokens, keys, the request log; and who is not let in.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{API_KEY, PASSWORD};
use crate::support::{Admin, Gateway, MODEL, Plan, Sim, ask, eventually};

async fn stage(teams: usize) -> (Sim, Gateway, Admin) {
    let sim = Sim::with_teams(teams).await;
    let gateway = Plan::of(&sim, teams).start_warm().await;
    let admin = gateway.admin().await;
    (sim, gateway, admin)
}

const ROUTES: [&str; 8] = [
    "/session",
    "/tokens",
    "/tokens/counts",
    "/tokens?limit=1",
    "/keys",
    "/requests",
    "/storage",
    "/nothing",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_client_key_opens_an_admin_route() {
    let (_sim, gateway, admin) = stage(1).await;
    let key = admin.new_key(json!({"name": "client"})).await;
    let nobody = gateway.http().anonymous();
    for client in [
        nobody.clone(),
        nobody.with_bearer(API_KEY),
        nobody.with_bearer(&key.secret),
        nobody.with_bearer(PASSWORD),
        nobody.with_bearer(&Sim::key(0)),
        nobody.with_bearer("x"),
    ] {
        for route in ROUTES {
            let got = client.get(&format!("/api/v1/admin{route}")).await.with_status(401);
            got.error();
        }
        for route in [
            "/tokens",
            "/keys",
            "/tokens/import",
            "/tokens/export",
            "/keys/delete",
            "/logout",
        ] {
            let got = client.post(&format!("/api/v1/admin{route}"), &json!({})).await;
            assert_eq!(got.status, 401, "{route}: {}", got.text());
        }
    }
    // And a session opens no route for clients.
    admin.http().chat(&ask(MODEL, "Hello")).await.with_status(401);
    admin.http().get("/v1/models").await.with_status(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_sessions() {
    let (_sim, mut gateway, admin) = stage(1).await;
    let nobody = gateway.http().anonymous();
    let login = |username: &str, password: &str| {
        let nobody = nobody.clone();
        let body = json!({"username": username, "password": password});
        async move { nobody.post("/api/v1/admin/login", &body).await }
    };
    for (username, password, status) in [
        ("admin", "wrong", 401),
        ("root", PASSWORD, 401),
        ("admin", "", 400),
        ("", "", 400),
    ] {
        login(username, password).await.with_status(status).error();
    }
    let got = login("admin", PASSWORD).await.ok();
    let body = got.json();
    assert_eq!(body["status"], "success");
    assert_eq!(
        body["api_key"], body["token"],
        "scripts of the older project read it there"
    );
    assert!(body["expires_at"].as_u64().unwrap() > 1_700_000_000);
    let cookie = got.header("set-cookie").to_lowercase();
    for word in ["httponly", "samesite="] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!got.text().contains(PASSWORD));

    // The cookie reads; to change something its owner must show the CSRF token, too.
    let cookie = got.header("set-cookie").split(';').next().unwrap().to_owned();
    let csrf = body["csrf_token"].as_str().unwrap();
    let with = |more: &[(&str, &str)], method: http::Method, path: &str| {
        let mut headers = vec![("cookie", cookie.as_str()), ("content-type", "application/json")];
        headers.extend_from_slice(more);
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (nobody, path) = (nobody.clone(), format!("/api/v1/admin{path}"));
        async move {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            nobody.send(method, &path, &headers, r#"{"name":"by cookie"}"#).await
        }
    };
    with(&[], http::Method::GET, "/session").await.ok();
    let refused = with(&[], http::Method::POST, "/keys").await;
    assert!(matches!(refused.status.as_u16(), 401 | 403), "{}", refused.status);
    with(&[("x-csrf-token", csrf)], http::Method::POST, "/keys").await.ok();

    // Sessions outlive the process; a logout ends one and no other.
    gateway.restart().await;
    let bearer = body["token"].as_str().unwrap();
    let one = gateway.as_client(bearer);
    one.get("/api/v1/admin/session").await.ok();
    one.post("/api/v1/admin/logout", &json!({})).await.ok();
    one.get("/api/v1/admin/session").await.with_status(401);
    let old = admin.http();
    let other = gateway.as_client(old.bearer().unwrap());
    other.get("/api/v1/admin/session").await.ok();
    // Another password ends them all.
    gateway
        .restart_with(|plan| plan.set("app.app_key", "another password"))
        .await;
    gateway
        .as_client(old.bearer().unwrap())
        .get("/api/v1/admin/session")
        .await
        .with_status(401);
    Admin::login(gateway.http(), "admin", "another password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_is_slowed_down() {
    let sim = Sim::with_teams(1).await;
    let gateway = Plan::of(&sim, 1).set("security.login_max_failures", 3).start().await;
    let nobody = gateway.http().anonymous();
    let wrong = json!({"username": "admin", "password": "guess"});
    let guess = || nobody.post("/api/v1/admin/login", &wrong);
    for _ in 0..3 {
        guess().await.with_status(401);
    }
    let got = guess().await.with_status(429);
    got.error();
    assert!(!got.header("retry-after").is_empty());
    // Not even the right one, for as long: else a guesser learns which it was.
    nobody
        .post(
            "/api/v1/admin/login",
            &json!({"username": "admin", "password": PASSWORD}),
        )
        .await
        .with_status(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_added_changed_and_deleted() {
    let (sim, gateway, admin) = stage(3).await;
    let older = admin.get("/tokens").await.ok().json();
    let rows = older["apiKey"].as_array().unwrap_or_else(|| panic!("{older}"));
    assert_eq!(rows.len(), 3);
    for row in rows {
        for name in [
            "id",
            "token",
            "status",
            "quota",
            "quota_known",
            "heavy_quota",
            "heavy_quota_known",
            "token_type",
            "note",
        ] {
            assert!(row.get(name).is_some(), "no {name}: {row}");
        }
        assert_eq!(row["token_type"], "apiKey");
    }
    let text = older.to_string();
    for at in 0..3 {
        assert!(!text.contains(&Sim::key(at)), "a secret is shown");
    }

    sim.set_team(Sim::team(3)).await;
    let report = admin
        .import(&[Sim::key(3), Sim::key(0), String::new(), "not a key at all!".to_owned()])
        .await;
    assert_eq!(report["added"], 1, "{report}");
    assert_eq!(report["existing"], 1, "{report}");
    admin.wait_for_tokens(4).await;

    let token = admin.token_of(&Sim::key(3)).await;
    let path = format!("/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(token["team"], Sim::team_id(3));
    let changed = admin
        .patch(&path, &json!({"label": "new", "tags": ["t"]}))
        .await
        .ok()
        .json();
    assert_eq!(changed["label"], "new");
    admin.patch(&path, &json!({"lable": "typo"})).await.with_status(400);
    admin.patch(&path, &json!({"switch": "off"})).await.ok();
    assert_eq!(admin.get(&path).await.ok().json()["state"], "disabled");
    // Switched off, it is not used; a refresh does not switch it on.
    admin.post(&format!("{path}/refresh"), &json!({})).await.ok();
    assert_eq!(admin.get(&path).await.ok().json()["state"], "disabled");
    let before = sim.chats_of(&Sim::key(3)).await;
    for at in 0..20 {
        gateway.http().chat(&ask(MODEL, &format!("call {at}"))).await.ok();
    }
    assert_eq!(sim.chats_of(&Sim::key(3)).await, before);

    // Older bodies name a secret; an id is as good; a masked form is not.
    let got = admin
        .post("/tokens/refresh", &json!({"tokens": [Sim::key(0), "xai-unknown"]}))
        .await
        .ok()
        .json();
    assert_eq!(got["results"][Sim::key(0)], true, "{got}");
    let masked = token["token"].as_str().unwrap();
    let got = admin
        .post("/tokens/refresh", &json!({"token": masked}))
        .await
        .with_status(400);
    assert!(got.text().contains("mask"), "{}", got.text());
    admin.delete(&path).await.ok();
    admin.get(&path).await.with_status(404);
    admin.delete(&path).await.with_status(404);
    assert_eq!(admin.get("/tokens/counts").await.ok().json()["total"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_list_deletes_only_when_it_says_so() {
    let (sim, _gateway, admin) = stage(3).await;
    let older = admin.get("/tokens").await.ok().json();
    let rows = older["apiKey"].as_array().unwrap();
    sim.set_team(Sim::team(3)).await;
    let list = json!({"apiKey": [{"id": rows[0]["id"], "note": "kept"}, {"token": Sim::key(3)}]});
    admin.post("/tokens", &list).await.ok();
    assert_eq!(admin.tokens().await.len(), 4, "nothing is deleted");
    admin.post("/tokens?replace=true", &list).await.ok();
    let left = admin.tokens().await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().any(|token| token["note"] == "kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_everything_once() {
    let (_sim, _gateway, admin) = stage(1).await;
    let secrets: Vec<String> = (1000..1250).map(Sim::key).collect();
    admin.import(&secrets).await;
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let query = format!("/tokens?limit=40&sort=created{cursor}");
        let page = admin.get(&query).await.ok().json();
        assert_eq!(page["total"], 251);
        for row in page["items"].as_array().unwrap() {
            assert!(seen.insert(row["id"].as_str().unwrap().to_owned()), "twice: {row}");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 251);
    let page = admin.get("/tokens?limit=5&state=active&pool=apiKey").await.ok().json();
    assert!(
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["state"] == "active")
    );
    admin.get("/tokens?limit=0").await.with_status(400);
    admin.get("/tokens?limit=100000").await.with_status(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_show_their_secret_once() {
    let (_sim, gateway, admin) = stage(1).await;
    let made = admin
        .post("/keys", &json!({"name": "one", "limits": {"chat_per_day": 5}}))
        .await
        .ok()
        .json();
    let secret = made["data"]["key"].as_str().unwrap().to_owned();
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("sk-") && secret.len() > 20, "{made}");
    gateway.as_client(&secret).chat(&ask(MODEL, "Hello")).await.ok();
    let list = admin.get("/keys").await.ok();
    assert!(!list.text().contains(&secret));
    let one = admin.key(&id).await;
    assert!(one["display_key"].as_str().unwrap().contains("..."), "{one}");
    // The older routes, by secret and by id; an absent limit stays as it is.
    admin
        .post("/keys/update", &json!({"key": secret, "limits": {"image_per_day": 7}}))
        .await
        .ok();
    let one = admin.key(&id).await;
    assert_eq!((&one["chat_limit"], &one["image_limit"]), (&json!(5), &json!(7)));
    // A secret that somebody chose; twice is an error.
    let chosen = json!({"name": "chosen", "key": "sk-chosen-by-an-operator-0001"});
    admin.post("/keys", &chosen).await.ok();
    gateway
        .as_client("sk-chosen-by-an-operator-0001")
        .chat(&ask(MODEL, "Hello"))
        .await
        .ok();
    let twice = admin.post("/keys", &chosen).await;
    assert!(matches!(twice.status.as_u16(), 400 | 409), "{}", twice.status);
    admin.post("/keys/delete", &json!({"key": id})).await.ok();
    gateway
        .as_client(&secret)
        .chat(&ask(MODEL, "Hello"))
        .await
        .with_status(401);
    // No secret lies about in the data directory, whatever the file.
    for entry in walk(&gateway.data()) {
        let bytes = std::fs::read(&entry).unwrap_or_default();
        for needle in [secret.as_str(), &Sim::key(0), PASSWORD, "sk-chosen-by-an-operator-0001"] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{needle} stands in {}", entry.display());
        }
    }
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_log_says_what_became_of_a_call_and_why() {
    let (sim, gateway, admin) = stage(2).await;
    let key = admin.new_key(json!({"name": "logged"})).await;
    let client = gateway.as_client(&key.secret);
    let rule =
        json!({"when": {"team": Sim::team_id(0), "path": "/v1/chat/completions"}, "do": {"error": "capacity-429"}});
    let rule = sim.script(rule).await[0];
    // Which team a conversation is bound to is drawn; each prompt is a conversation of its own.
    let mut calls = 0;
    let id = loop {
        let prompt = format!("call {calls}");
        let got = client.chat(&ask(MODEL, &prompt)).await.ok();
        calls += 1;
        if sim.hits(rule).await > 0 {
            break got.header("x-request-id").to_owned();
        }
        assert!(calls < 200, "the busy team is never asked");
    };
    client.chat(&ask(MODEL, "one more")).await.ok();
    calls += 1;
    let record = admin.request(&id).await;
    assert_eq!(record["outcome"], "success", "{record}");
    assert_eq!(record["key_name"], "logged");
    assert_eq!(record["model"], MODEL);
    let attempts = record["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{record}");
    assert_eq!(
        (&attempts[0]["status"], &attempts[1]["status"]),
        (&json!(429), &json!(200))
    );
    assert!(record["usage"]["total_tokens"].as_u64().unwrap() > 0 && record["cost_ticks"].as_u64().unwrap() > 0);
    assert!(!record.to_string().contains("console.x.ai"), "{record}");

    client
        .chat(&json!({"model": MODEL, "messages": []}))
        .await
        .with_status(400);
    gateway
        .as_client("sk-wrong")
        .chat(&ask(MODEL, "Hello"))
        .await
        .with_status(401);
    eventually("filters find them", Duration::from_secs(10), || async {
        let bad = admin.requests("outcome=bad_request").await;
        let unknown = admin.requests("outcome=unauthenticated").await;
        let by_key = admin.requests(&format!("key={}&limit=1000", key.id)).await;
        let ok = bad.len() == 1 && unknown.len() == 1 && by_key.len() == calls;
        let wrong: Vec<&Value> = by_key.iter().filter(|one| one["key_id"] != json!(key.id)).collect();
        if ok && wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{} {} {} {wrong:?}", bad.len(), unknown.len(), by_key.len()))
        }
    })
    .await;
    admin
        .get("/requests/req_00000000000000000000000000000000")
        .await
        .with_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_what_happened_and_no_secret() {
    let (_sim, gateway, admin) = stage(1).await;
    let key = admin.new_key(json!({"name": "metered"})).await;
    let client = gateway.as_client(&key.secret);
    for at in 0..5 {
        client.chat(&ask(MODEL, &format!("call {at}"))).await.ok();
    }
    client.chat(&json!({"model": MODEL})).await.with_status(400);
    let got = gateway.http().anonymous().get("/metrics").await.ok();
    let text = got.text();
    for name in ["gen_ai_client_token_usage", "gen_ai", "grok2api_requests"] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    for secret in [key.secret.as_str(), &Sim::key(0), API_KEY, &key.id] {
        assert!(!text.contains(secret), "{secret} is a label");
    }
    // A scrape that a real Prometheus would take: every line is a comment or `name{labels} value`.
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(
            value.parse::<f64>().is_ok() || value == "+Inf" || value == "NaN",
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_says_so() {
    let (_sim, _gateway, admin) = stage(1).await;
    for path in ["/tokens/nsfw/refresh", "/tokens/auto-register"] {
        let got = admin.post(path, &json!({})).await.with_status(501);
        got.error();
    }
}
