use grok2api_schemas::admin::accounts::Role;

use super::*;

#[tokio::test]
async fn accounts_are_made_changed_and_deleted_and_sessions_follow_at_once() {
    let mut desk = desk().await;
    let (status, made) = desk.post("/users", json!({"username": "ann", "role": "admin"})).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let password = made["password"].as_str().unwrap().to_owned();
    assert!(password.len() >= 20, "it is told once");
    let (_, list) = desk.get("/users").await;
    assert!(!list.to_string().contains(&password) && !list.to_string().contains("argon2"));
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["username"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["admin", "ann"]);

    let login = json!({"username": "ann", "password": password});
    let anns = desk.post("/login", login).await.1["token"].as_str().unwrap().to_owned();
    let own = std::mem::replace(&mut desk.token, anns.clone());
    assert_eq!(desk.post("/keys", json!({"name": "hers"})).await.0, StatusCode::OK);
    let own_account = desk.post("/users/delete", json!({"username": "ann"})).await;
    assert_eq!(
        (own_account.0, error_of(&own_account.1).0),
        (StatusCode::CONFLICT, "own_user")
    );

    // What the account may do now counts, in sessions that are open as well.
    desk.token.clone_from(&own);
    let (status, _) = desk
        .post("/users/patch", json!({"username": "ann", "role": "viewer"}))
        .await;
    assert_eq!(status, StatusCode::OK);
    desk.token.clone_from(&anns);
    assert_eq!(desk.get("/session").await.1["role"], "viewer");
    assert_eq!(
        desk.post("/keys", json!({"name": "no more"})).await.0,
        StatusCode::FORBIDDEN
    );
    for (path, body) in [
        ("/users", json!({"username": "eve", "role": "admin"})),
        ("/users/patch", json!({"username": "ann", "role": "admin"})),
        ("/users/delete", json!({"username": "admin"})),
        ("/jobs", json!({"list": {"lines": "xai-one-two"}})),
    ] {
        assert_eq!(desk.post(path, body).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    // A new password ends sessions, and so does the end of the account.
    desk.token.clone_from(&own);
    let (_, patched) = desk
        .post("/users/patch", json!({"username": "ann", "new_password": true}))
        .await;
    assert!(patched["password"].is_string());
    desk.token.clone_from(&anns);
    assert_eq!(desk.get("/session").await.0, StatusCode::UNAUTHORIZED);
    desk.token.clone_from(&own);
    assert_eq!(
        desk.post("/users/delete", json!({"username": "ann"})).await.0,
        StatusCode::OK
    );
    assert_eq!(
        desk.post("/users/delete", json!({"username": "ann"})).await.0,
        StatusCode::NOT_FOUND
    );

    for (path, body, code) in [
        ("/users/delete", json!({"username": "admin"}), "configured_user"),
        (
            "/users/patch",
            json!({"username": "admin", "role": "viewer"}),
            "configured_user",
        ),
        (
            "/users/patch",
            json!({"username": "admin", "password": "long enough"}),
            "configured_user",
        ),
        ("/users", json!({"username": "admin", "role": "viewer"}), "user_exists"),
        ("/users", json!({"username": "", "role": "viewer"}), "invalid_value"),
        (
            "/users",
            json!({"username": "ben", "role": "viewer", "password": "short"}),
            "invalid_value",
        ),
        ("/users", json!({"username": "ben", "role": "owner"}), "invalid_value"),
    ] {
        let (status, answer) = desk.post(path, body.clone()).await;
        assert!(status.is_client_error(), "{body}");
        assert_eq!(error_of(&answer).0, code, "{body}: {answer}");
    }
    let (_, audit) = desk.get("/audit?text=ann&limit=10").await;
    let said: Vec<&str> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(said[0], "users.delete", "{audit}");
    assert!(said.contains(&"users.add") && said.contains(&"session.open"), "{audit}");
    assert!(!audit.to_string().contains(&password));
    let role = &audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| !row["changes"].as_array().unwrap().is_empty())
        .unwrap()["changes"][0];
    assert_eq!((&role["before"], &role["after"]), (&json!("admin"), &json!("viewer")));
}

#[tokio::test]
async fn new_routes_open_to_sessions_alone_and_change_nothing_without_the_csrf_token() {
    let mut desk = desk().await;
    let made = desk.keys.create(Default::default()).await.unwrap();
    let routes = [
        (Method::GET, "/jobs"),
        (Method::POST, "/jobs"),
        (Method::GET, "/jobs/job_00000000000000000000000000000000"),
        (Method::POST, "/jobs/job_00000000000000000000000000000000/stop"),
        (Method::POST, "/tokens/auto-register"),
        (Method::GET, "/users"),
        (Method::POST, "/users"),
        (Method::POST, "/users/patch"),
        (Method::POST, "/users/delete"),
        (Method::GET, "/audit"),
        (Method::GET, "/events"),
        (Method::GET, "/logs/stream"),
        (Method::GET, "/logs/files"),
        (Method::GET, "/logs/tail"),
        (Method::GET, "/rollups"),
        (Method::GET, "/metrics"),
    ];
    let token = std::mem::take(&mut desk.token);
    for presented in ["", "adm_made-up", &made.secret.clone()] {
        desk.token = presented.to_owned();
        for (method, path) in &routes {
            let (status, answer) = desk.call(method.clone(), path, "{}").await;
            assert_eq!(
                status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} with {presented:?}: {answer}"
            );
        }
    }
    for (method, path) in routes.iter().filter(|(method, _)| *method == Method::POST) {
        let request = Request::builder()
            .method(method.clone())
            .uri_str(*path)
            .header("cookie", format!("grok2api_session={token}"));
        let (status, answer) = parts(desk.send(request.body("{}")).await).await;
        assert_eq!((status, error_of(&answer).0), (StatusCode::FORBIDDEN, "csrf"), "{path}");
    }
    // A session's token is the server's choice: one that a caller brings to the login is not taken over.
    let request = Request::builder()
        .method(Method::POST)
        .uri_str("/login")
        .header("cookie", "grok2api_session=adm_chosen-by-somebody-else");
    let body = json!({"username": "admin", "password": PASSWORD}).to_string();
    let (status, answer) = parts(desk.send(request.body(body)).await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!answer["token"].as_str().unwrap().contains("chosen"));
    desk.token = "adm_chosen-by-somebody-else".to_owned();
    assert_eq!(desk.get("/session").await.0, StatusCode::UNAUTHORIZED);
    desk.token = token;
    desk.make_account("eve", Role::Viewer).await;
    let (status, metrics) = desk.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        metrics["request_stats"]["hourly"].as_array().unwrap().len(),
        24,
        "{metrics}"
    );
    assert_eq!(metrics["request_stats"]["daily"].as_array().unwrap().len(), 7);
}
