use grok2api_schemas::admin::accounts::Role;

use super::*;

#[tokio::test]
async fn a_login_answers_a_bearer_a_cookie_and_the_older_name() {
    let desk = desk().await;
    let body = json!({"username": " admin ", "password": PASSWORD}).to_string();
    let request = Request::builder().method(Method::POST).uri_str("/login");
    let response = desk.send(request.header("x-test-https", "1").body(body)).await;
    let cookie = response.header("set-cookie").unwrap().to_owned();
    let (status, answer) = parts(response).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["token"], answer["api_key"]);
    assert_eq!(answer["expires_at"], 1_700_000_000 + 8 * 3600);
    for attribute in ["HttpOnly", "SameSite=Strict", "Secure", "Max-Age=28800", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let (status, session) = desk.get("/session").await;
    assert_eq!((status, &session["role"]), (StatusCode::OK, &json!("admin")));
}

#[tokio::test]
async fn nothing_but_login_answers_without_a_session() {
    let mut desk = desk().await;
    let made = desk.keys.create(Default::default()).await.unwrap();
    desk.keys.set_config_key(Some("sk-from-config"));
    let routes = [
        (Method::GET, "/session"),
        (Method::POST, "/logout"),
        (Method::GET, "/storage"),
        (Method::GET, "/tokens"),
        (Method::GET, "/tokens/counts"),
        (Method::POST, "/tokens"),
        (Method::POST, "/tokens/import"),
        (Method::POST, "/tokens/export"),
        (Method::POST, "/tokens/refresh"),
        (Method::GET, "/tokens/tok_00000000000000000000000000000000"),
        (Method::PATCH, "/tokens/tok_00000000000000000000000000000000"),
        (Method::DELETE, "/tokens/tok_00000000000000000000000000000000"),
        (Method::GET, "/keys"),
        (Method::POST, "/keys"),
        (Method::POST, "/keys/update"),
        (Method::POST, "/keys/delete"),
        (Method::POST, "/keys/key_00000000000000000000000000000000/rotate"),
        (Method::GET, "/requests"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/nowhere"),
    ];
    for presented in ["", "adm_made-up", &made.secret.clone(), "sk-from-config", "nonsense"] {
        desk.token = presented.to_owned();
        for (method, path) in &routes {
            let (status, answer) = desk.call(method.clone(), path, "{}").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {presented:?}");
            let code = error_of(&answer).0.to_owned();
            if presented.starts_with("sk-") {
                assert_eq!(code, "client_key");
            }
        }
    }
}

#[tokio::test]
async fn a_session_ends_by_time_and_by_logout() {
    let mut desk = desk().await;
    let (_, other) = desk
        .post("/login", json!({"username": "admin", "password": PASSWORD}))
        .await;
    assert_eq!(desk.call(Method::POST, "/logout", ()).await.0, StatusCode::OK);
    assert_eq!(desk.get("/session").await.0, StatusCode::UNAUTHORIZED);
    desk.token = other["token"].as_str().unwrap().to_owned();
    assert_eq!(desk.get("/session").await.0, StatusCode::OK);
    desk.clock.advance_ms(8 * 3_600_000);
    let (status, answer) = desk.get("/session").await;
    assert_eq!(
        (status, error_of(&answer).0),
        (StatusCode::UNAUTHORIZED, "session_expired")
    );
}

#[tokio::test]
async fn a_cookie_reads_but_changes_only_with_the_csrf_token() {
    let desk = desk().await;
    let (_, session) = desk.get("/session").await;
    let csrf = session["csrf_token"].as_str().unwrap();
    let cookie = format!("other=1; grok2api_session={}", desk.token);
    let with = |method: Method, path: &str, csrf: Option<&str>| {
        let mut request = Request::builder()
            .method(method)
            .uri_str(path)
            .header("cookie", &cookie);
        if let Some(csrf) = csrf {
            request = request.header("x-csrf-token", csrf);
        }
        request.body("{}")
    };
    assert_eq!(
        desk.send(with(Method::GET, "/keys", None)).await.status(),
        StatusCode::OK
    );
    for wrong in [None, Some("nonsense"), Some("")] {
        let (status, answer) = parts(desk.send(with(Method::POST, "/keys", wrong)).await).await;
        assert_eq!((status, error_of(&answer).0), (StatusCode::FORBIDDEN, "csrf"));
    }
    assert!(desk.keys.list().is_empty());
    assert_eq!(
        desk.send(with(Method::POST, "/keys", Some(csrf))).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn logins_are_checked_and_slowed_down() {
    let mut desk = desk().await;
    desk.token.clear();
    for (body, status, param) in [
        (json!({}), 400, "password"),
        (json!({"username": "admin"}), 400, "password"),
        (json!({"username": 1, "password": "x"}), 400, "username"),
        (json!({"username": "admin", "password": ["x"]}), 400, "password"),
        (json!([]), 400, ""),
    ] {
        let (got, answer) = desk.post("/login", body).await;
        assert_eq!((got.as_u16(), error_of(&answer).1), (status, param));
    }
    let wrong = json!({"username": "admin", "password": "wrong"});
    for _ in 0..crate::ops::fakes::THROTTLE.failures {
        let (status, answer) = desk.post("/login", wrong.clone()).await;
        assert_eq!(
            (status, error_of(&answer).0),
            (StatusCode::UNAUTHORIZED, "invalid_credentials")
        );
    }
    let request = Request::builder().method(Method::POST).uri_str("/login");
    let response = desk.send(request.body(wrong.to_string())).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn an_older_script_may_send_the_password_as_a_bearer() {
    let mut desk = desk().await;
    desk.token = PASSWORD.to_owned();
    // The space in it is not a separator.
    let (status, answer) = desk.call(Method::POST, "/login", ()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn unknown_routes_methods_and_large_bodies_answer_in_shape() {
    let desk = desk().await;
    assert_eq!(desk.get("/nowhere").await.0, StatusCode::NOT_FOUND);
    let (status, answer) = desk.call(Method::PUT, "/keys", ()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{answer}");
    let (status, answer) = desk.call(Method::POST, "/keys", "x".repeat(65 * 1024)).await;
    assert_eq!(
        (status, error_of(&answer).0),
        (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large")
    );
    for body in ["nonsense", "{\"name\":", "[[[[[[[[", "\u{0}", "\"text\""] {
        let (status, answer) = desk.call(Method::POST, "/keys", body).await;
        assert_eq!(
            (status, error_of(&answer).0),
            (StatusCode::BAD_REQUEST, "invalid_json"),
            "{body}"
        );
    }
    assert_eq!(desk.get("/storage").await.1, json!({"type": "local"}));
    let (status, answer) = desk.post("/tokens/nsfw/refresh", json!({"all": true})).await;
    assert_eq!(
        (status, error_of(&answer).0),
        (StatusCode::NOT_IMPLEMENTED, "not_offered")
    );
    let (status, answer) = desk.get("/tokens/auto-register/status").await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"status": "idle"})));
}

#[tokio::test]
async fn a_viewer_looks_and_logs_out_and_changes_nothing() {
    let mut desk = desk().await;
    let id = desk.enrol(&["xai-key-one"]).await[0];
    desk.make_account("guest", Role::Viewer).await;
    let (_, answer) = desk
        .post("/login", json!({"username": "guest", "password": PASSWORD}))
        .await;
    desk.token = answer["token"].as_str().unwrap().to_owned();
    for path in ["/tokens", "/keys", "/requests", "/session", &format!("/tokens/{id}")] {
        assert_eq!(desk.get(path).await.0, StatusCode::OK, "{path}");
    }
    for (method, path) in [
        (Method::POST, "/tokens".to_owned()),
        (Method::POST, "/tokens/import".to_owned()),
        (Method::POST, "/tokens/export".to_owned()),
        (Method::POST, "/tokens/refresh".to_owned()),
        (Method::PATCH, format!("/tokens/{id}")),
        (Method::DELETE, format!("/tokens/{id}")),
        (Method::POST, format!("/tokens/{id}/clear-cooling")),
        (Method::POST, "/keys".to_owned()),
    ] {
        let (status, answer) = desk.call(method.clone(), &path, "{}").await;
        assert_eq!(
            (status, error_of(&answer).0),
            (StatusCode::FORBIDDEN, "permission_denied"),
            "{method} {path}"
        );
    }
    assert_eq!(desk.call(Method::POST, "/logout", ()).await.0, StatusCode::OK);
    assert_eq!(desk.get("/session").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_playgrounds_key_is_the_sessions_and_ends_with_it() {
    let mut desk = desk().await;
    let (status, made) = desk.post("/session/key", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let key = made["key"].as_str().unwrap().to_owned();
    assert_eq!(made["expires_at"], 1_700_000_000 + 8 * 3600);
    assert!(desk.keys.identify(&key).is_ok());
    // Another tab gets the same one, and another session one of its own.
    assert_eq!(desk.post("/session/key", json!({})).await.1["key"], key);
    let first = desk.token.clone();
    let (_, other) = desk
        .post("/login", json!({"username": "admin", "password": PASSWORD}))
        .await;
    desk.token = other["token"].as_str().unwrap().to_owned();
    let (_, others) = desk.post("/session/key", json!({})).await;
    let other_key = others["key"].as_str().unwrap().to_owned();
    assert_ne!(other_key, key);
    let (_, listed) = desk.get("/keys").await;
    let names: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["playground · admin"; 2]);
    // It is no session, whatever it is made of.
    let (session, token) = (desk.token.clone(), std::mem::replace(&mut desk.token, key.clone()));
    assert_eq!(error_of(&desk.get("/session").await.1).0, "client_key");
    desk.token = token;

    desk.token = first;
    assert_eq!(desk.call(Method::POST, "/logout", ()).await.0, StatusCode::OK);
    assert!(desk.keys.identify(&key).is_err(), "the key ends with its session");
    assert!(desk.keys.identify(&other_key).is_ok(), "and no other one does");
    desk.token = session;
    assert_eq!(desk.get("/keys").await.1["data"].as_array().unwrap().len(), 1);

    // An account that may only look has none, and loses it when it becomes one.
    desk.make_account("second", Role::Admin).await;
    let (_, second) = desk
        .post("/login", json!({"username": "second", "password": PASSWORD}))
        .await;
    let admin = std::mem::replace(&mut desk.token, second["token"].as_str().unwrap().to_owned());
    let (_, seconds) = desk.post("/session/key", json!({})).await;
    let seconds = seconds["key"].as_str().unwrap().to_owned();
    let viewer = std::mem::replace(&mut desk.token, admin);
    let change = json!({"username": "second", "role": "viewer"});
    assert_eq!(desk.post("/users/patch", change).await.0, StatusCode::OK);
    assert!(desk.keys.identify(&seconds).is_err(), "a viewer calls nothing");
    desk.token = viewer;
    assert_eq!(desk.post("/session/key", json!({})).await.0, StatusCode::FORBIDDEN);

    // A session that is over by itself takes its key with it, and what is left is swept by whoever asks next.
    desk.clock.advance_ms(9 * 3_600_000);
    assert!(desk.keys.identify(&other_key).is_err());
    let (_, again) = desk
        .post("/login", json!({"username": "admin", "password": PASSWORD}))
        .await;
    desk.token = again["token"].as_str().unwrap().to_owned();
    assert_eq!(desk.post("/session/key", json!({})).await.0, StatusCode::OK);
    assert_eq!(desk.get("/keys").await.1["data"].as_array().unwrap().len(), 1);
}
