use super::*;

#[tokio::test]
async fn conversations_are_listed_page_by_page_and_unbound() {
    let desk = desk().await;
    let (a, b) = (TokenId::generate(), TokenId::generate());
    for at in 0..5 {
        desk.conversations.bind(at, if at < 2 { a } else { b });
    }
    let (status, page) = desk.get("/affinity?limit=3").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert_eq!(
        (page["total"].as_u64(), page["items"][1]["id"].as_str()),
        (Some(5), Some("0000000000000001"))
    );
    assert_eq!(
        (
            page["hits"].as_u64(),
            page["borrows"].as_u64(),
            page["rebinds"].as_u64()
        ),
        (Some(3), Some(2), Some(1))
    );
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    let (_, rest) = desk.get(&format!("/affinity?limit=3&cursor={cursor}")).await;
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next_cursor"]),
        (2, &json!(null))
    );
    let (_, of_a) = desk.get(&format!("/affinity?token={a}")).await;
    assert_eq!(of_a["total"], 2);
    let (_, objects) = desk
        .post("/operations/affinity.list", json!({"kind": "response"}))
        .await;
    assert_eq!(objects["total"], 0);

    for (path, field) in [
        ("/affinity?kind=nothing", "kind"),
        ("/affinity?limit=0", "limit"),
        ("/affinity?token=x", "token"),
    ] {
        let (status, answer) = desk.get(path).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{answer}"
        );
    }
    for wrong in [
        json!({}),
        json!({"all": true, "token": a}),
        json!({"ids": ["1"]}),
        json!({"ids": ["000000000000000g"]}),
    ] {
        let (status, answer) = desk.post("/affinity/clear", wrong).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (StatusCode::BAD_REQUEST, &json!("ids")),
            "{answer}"
        );
    }
    for (ask, cleared) in [
        (json!({"ids": ["0000000000000001", "00000000000000ff"]}), 1),
        (json!({"token": b}), 3),
        (json!({"all": true}), 1),
    ] {
        let (status, answer) = desk.post("/affinity/clear", ask).await;
        assert_eq!((status, answer["cleared"].as_u64()), (StatusCode::OK, Some(cleared)));
    }
}
