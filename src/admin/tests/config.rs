use super::*;

fn key<'a>(view: &'a Value, name: &str) -> &'a Value {
    let keys = view["keys"].as_array().unwrap();
    keys.iter().find(|key| key["key"] == name).unwrap()
}

#[tokio::test]
async fn a_change_is_in_force_at_once_and_the_file_keeps_its_comments() {
    let desk = desk().await;
    let (status, before) = desk.get("/config").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(before["clients"]["max_wait_ms"], 2000);

    let (status, saved) = desk
        .post(
            "/config",
            json!({"clients": {"max_wait_ms": 1500}, "server": {"port": 9001}}),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    assert_eq!(saved["status"], "success");
    assert_eq!(saved["changed"], json!(["server.port", "clients.max_wait_ms"]));
    assert_eq!(saved["pending"], json!(["server.port"]));
    assert_eq!(desk.live.current().load().clients.max_wait_ms, 1500);
    let text = std::fs::read_to_string(desk.directory.path().join("config.toml")).unwrap();
    assert!(
        text.contains("\nmax_wait_ms = 1500\n") && text.contains("# How long a request waits"),
        "{text}"
    );

    let (_, view) = desk.get("/config?view=full").await;
    assert_eq!(view["revision"], saved["revision"]);
    let wait = key(&view, "clients.max_wait_ms");
    assert_eq!(
        (&wait["value"], &wait["default"], &wait["source"]),
        (&json!(1500), &json!(2000), &json!("file"))
    );
    assert!(wait["place"].as_str().unwrap().contains("config.toml:"), "{wait}");
    assert_eq!(wait["type"], "int");
    let port = key(&view, "server.port");
    assert_eq!(
        (&port["pending"], &port["restart"], &port["per_node"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(
        key(&view, "app.image_format")["choices"],
        json!(["url", "base64", "b64_json"])
    );
    // What stands in the rows of a key, and what a section is about.
    let fields = key(&view, "xai.teams")["fields"].as_array().unwrap();
    let rpm = fields
        .iter()
        .find(|field| field["key"] == "xai.teams.limits.rpm")
        .unwrap();
    assert_eq!(
        (&rpm["doc"], &rpm["type"], &rpm["min"]),
        (&json!("Requests per minute."), &json!("int"), &json!(0.0))
    );
    assert_eq!(wait["fields"], json!([]));
    assert_eq!(
        view["sections"][0],
        json!({"name": "app", "doc": "Names, passwords and links."})
    );
}

#[tokio::test]
async fn secrets_are_written_and_never_shown() {
    let desk = desk().await;
    let (status, saved) = desk
        .post("/config", json!({"app": {"api_key": "sk-from-the-panel"}}))
        .await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    for path in ["/config", "/config?view=full"] {
        let (_, shown) = desk.get(path).await;
        assert!(!shown.to_string().contains("sk-from-the-panel"), "{path}");
    }
    let (_, shown) = desk.get("/config").await;
    assert_eq!(shown["app"]["api_key"], "********");
    // The whole answer comes back, as the older panel sends it: the mask changes nothing.
    let (status, saved) = desk.post("/config", shown).await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    assert_eq!(saved["changed"], json!([]));
    assert_eq!(desk.live.current().load().app.api_key.expose(), "sk-from-the-panel");
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_a_whole() {
    let desk = desk().await;
    let (_, before) = desk.get("/config?view=full").await;
    let file = desk.directory.path().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (body, param, code) in [
        (
            json!({"clients": {"max_wait_ms": "soon"}}),
            "clients.max_wait_ms",
            "invalid_config",
        ),
        (
            json!({"clients": {"max_wait_ms": -1, "affinity_secs": 5}}),
            "clients.max_wait_ms",
            "invalid_config",
        ),
        (
            json!({"clients": {"max_weight": 1}}),
            "clients.max_weight",
            "invalid_config",
        ),
        (json!({"clients": 5}), "clients", "invalid_value"),
        (json!({"nats": {"join": "key"}}), "nats.join", "invalid_config"),
        (
            json!({"values": {"xai.rules": [{"retry": true}]}}),
            "xai.rules[0]",
            "invalid_config",
        ),
        (json!({"values": 5}), "values", ""),
    ] {
        let (status, answer) = desk.post("/config", body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        let (found, at) = error_of(&answer);
        assert_eq!(at, param, "{answer}");
        assert!(code.is_empty() || found == code, "{answer}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let (_, after) = desk.get("/config?view=full").await;
    assert_eq!(after, before);
    let dropped = json!({"register": {"yescaptcha_key": "x", "default_count": 7}});
    let (status, saved) = desk.post("/config", dropped).await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    assert!(
        saved["warnings"][0]
            .as_str()
            .unwrap()
            .contains("register.yescaptcha_key"),
        "{saved}"
    );
}

#[tokio::test]
async fn an_edit_of_a_state_that_is_gone_is_a_conflict() {
    let desk = desk().await;
    let (_, view) = desk.get("/config?view=full").await;
    let edit = |wait: u64| json!({"revision": view["revision"], "values": {"clients.max_wait_ms": wait}});
    let (status, _) = desk.post("/config", edit(1)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) = desk.post("/config", edit(2)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(error_of(&answer).0, "config_conflict");
    assert_eq!(desk.live.current().load().clients.max_wait_ms, 1);
    // Also one made by hand.
    let (_, view) = desk.get("/config?view=full").await;
    let file = desk.directory.path().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# by hand\n{text}")).unwrap();
    let edit = json!({"revision": view["revision"], "values": {"clients.max_wait_ms": 3}});
    let (status, answer) = desk.post("/config", edit).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    let (status, _) = desk
        .post("/config", json!({"values": {"clients.max_wait_ms": 3}}))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("# by hand\n"));
}

#[tokio::test]
async fn a_new_administrator_password_counts_and_ends_old_sessions() {
    let desk = desk().await;
    let (status, saved) = desk
        .post("/config", json!({"app": {"app_key": "quite another one"}}))
        .await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    let (status, _) = desk.get("/config").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let login = json!({"username": "admin", "password": "quite another one"});
    let (status, _) = desk.post("/login", login).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn who_may_only_look_sees_and_changes_nothing() {
    let mut desk = desk().await;
    desk.make_account("guest", Role::Viewer).await;
    let (_, answer) = desk
        .post("/login", json!({"username": "guest", "password": PASSWORD}))
        .await;
    desk.token = answer["token"].as_str().unwrap().to_owned();
    assert_eq!(desk.get("/config").await.0, StatusCode::OK);
    let (status, _) = desk.post("/config", json!({"clients": {"max_wait_ms": 1}})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}
