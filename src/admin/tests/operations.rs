use super::*;
use crate::ops::table::operations;

#[tokio::test]
async fn every_operation_has_its_own_route_and_the_one_for_all() {
    let desk = desk().await;
    for operation in operations() {
        let about = &operation.about;
        let (method, path) = about.http;
        let path = path.replace("{id}", "nonsense");
        let (status, answer) = desk.call(method.parse().unwrap(), &path, "[]").await;
        let words = answer["error"]["message"].as_str().unwrap_or_default();
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert!(!words.starts_with("No such admin route"), "{method} {path}: {answer}");

        let (status, answer) = desk.post(&format!("/operations/{}", about.name()), json!([])).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_json"))
        );
    }
    let (_, listed) = desk.get("/operations").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), operations().len());
    assert_eq!(
        desk.post("/operations/tokens.steal", json!({})).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let mut desk = desk().await;
    let id = desk
        .post("/operations/tokens.add", json!({"secret": "xai-one-two-three"}))
        .await
        .1["token"]["id"]
        .clone();
    desk.make_account("eve", Role::Viewer).await;
    let login = json!({"username": "eve", "password": PASSWORD});
    desk.token = desk.post("/login", login).await.1["token"].as_str().unwrap().to_owned();
    for operation in operations() {
        let name = operation.about.name();
        let (status, answer) = desk.post(&format!("/operations/{name}"), json!({})).await;
        assert_eq!(
            status == StatusCode::FORBIDDEN,
            operation.about.role == Role::Admin,
            "{name}: {answer}"
        );
    }
    let (status, token) = desk.post("/operations/tokens.get", json!({"id": id})).await;
    assert_eq!((status, &token["id"]), (StatusCode::OK, &id));
    assert_eq!(
        desk.post("/tokens/add", json!({"secret": "xai-another-one"})).await.0,
        StatusCode::FORBIDDEN
    );
}
