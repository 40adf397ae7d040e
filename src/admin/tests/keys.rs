use super::*;

#[tokio::test]
async fn a_key_is_shown_once_and_then_only_masked() {
    let desk = desk().await;
    let (status, made) = desk
        .post(
            "/keys",
            json!({"name": "ci", "limits": {"chat_per_day": 5, "image_per_day": ""}, "budget_usd": 2.5}),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{made}");
    assert_eq!(made["success"], true);
    let secret = made["data"]["key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("sk-") && secret.len() == 35);
    let id = desk.keys.list()[0].id;
    desk.usage.set(
        id,
        KeyDayUsage {
            chat: 7,
            heavy: 1,
            spent_ticks: 10_000_000_000,
            ..KeyDayUsage::default()
        },
    );
    let (_, list) = desk.get("/keys").await;
    assert!(!list.to_string().contains(&secret));
    let row = &list["data"][0];
    let expected = json!({
        "id": id.to_string(), "key": id.to_string(), "name": "ci", "created_at": 1_700_000_000, "is_active": true,
        "chat_limit": 5, "heavy_limit": -1, "image_limit": -1, "video_limit": -1,
        "rpm": -1, "tpm": -1, "concurrency": -1, "budget_usd": 2.5, "strict": false, "allowed_models": [],
        "expires_at": null, "expired": false, "on_disconnect": "cancel", "last_used_at": null,
        "display_key": format!("{}...{}", &secret[..6], &secret[31..]),
        "usage_today": {"chat_used": 7, "heavy_used": 1, "image_used": 0, "video_used": 0, "spent_usd": 1.0},
        "remaining_today": {"chat": 0, "heavy": null, "image": null, "video": null, "budget_usd": 1.5},
        "day": "2026-11-23",
    });
    assert_eq!(*row, expected);
    let (_, one) = desk.get(&format!("/keys/{id}")).await;
    assert_eq!(one["data"], expected);
}

#[tokio::test]
async fn an_update_leaves_alone_what_it_does_not_name() {
    let desk = desk().await;
    let limits = json!({"chat_per_day": 1, "heavy_per_day": 2, "image_per_day": 3, "video_per_day": 4});
    let body =
        json!({"name": "a", "key": "sk-chosen-by-hand", "limits": limits, "rpm": 10, "allowed_models": ["grok-4*"]});
    let (_, made) = desk.post("/keys", body).await;
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    // The older body names the key by its secret; `name: ""` is ignored; one limit only.
    let update = json!({"key": "sk-chosen-by-hand", "name": " ", "limits": {"chat_per_day": null, "tpm": 100}});
    let (status, answer) = desk.post("/keys/update", update).await;
    assert_eq!((status, &answer["success"]), (StatusCode::OK, &json!(true)));
    let (_, row) = desk.get(&format!("/keys/{id}")).await;
    let fields = [
        "name",
        "chat_limit",
        "heavy_limit",
        "image_limit",
        "video_limit",
        "rpm",
        "tpm",
        "allowed_models",
    ];
    let values: Vec<&Value> = fields.iter().map(|field| &row["data"][*field]).collect();
    assert_eq!(
        values,
        [
            &json!("a"),
            &json!(-1),
            &json!(2),
            &json!(3),
            &json!(4),
            &json!(10),
            &json!(100),
            &json!(["grok-4*"])
        ]
    );
    // By id, in both forms.
    assert_eq!(
        desk.post("/keys/update", json!({"id": id, "is_active": false})).await.0,
        200
    );
    let patch = json!({"on_disconnect": "drain:30", "expires_at": 1_800_000_000, "strict": true, "concurrency": "4"});
    let (_, row) = desk
        .call(Method::PATCH, &format!("/keys/{id}"), patch.to_string())
        .await;
    let row = &row["data"];
    assert_eq!(row["is_active"], false);
    assert_eq!(
        (&row["on_disconnect"], &row["expires_at"]),
        (&json!("drain:30"), &json!(1_800_000_000))
    );
    assert_eq!((&row["strict"], &row["concurrency"]), (&json!(true), &json!(4)));
    let (_, row) = desk
        .call(Method::PATCH, &format!("/keys/{id}"), r#"{"expires_at":null}"#)
        .await;
    assert_eq!(row["data"]["expires_at"], Value::Null);
}

#[tokio::test]
async fn a_masked_or_unknown_key_is_told_so() {
    let desk = desk().await;
    let (_, made) = desk.post("/keys", json!({})).await;
    let shown = made["data"]["display_key"].as_str().unwrap();
    for path in ["/keys/update", "/keys/delete"] {
        let (status, answer) = desk.post(path, json!({"key": shown, "is_active": false})).await;
        assert_eq!(
            (status.as_u16(), error_of(&answer)),
            (400, ("masked_secret", "key")),
            "{path}"
        );
        let (status, answer) = desk.post(path, json!({})).await;
        assert_eq!((status.as_u16(), error_of(&answer)), (400, ("missing", "key")));
        let (status, answer) = desk.post(path, json!({"key": "sk-nobody-has-this"})).await;
        assert_eq!((status.as_u16(), error_of(&answer).0), (404, "key_not_found"));
    }
    let (status, answer) = desk.post("/keys", json!({"key": shown})).await;
    assert_eq!((status.as_u16(), error_of(&answer)), (400, ("masked_secret", "key")));
    let (status, answer) = desk.get(&format!("/keys/{shown}")).await;
    assert_eq!((status.as_u16(), error_of(&answer).1), (400, "id"));
    assert!(desk.keys.list()[0].is_active);
}

#[tokio::test]
async fn rotate_and_delete() {
    let desk = desk().await;
    let (_, made) = desk.post("/keys", json!({"key": "sk-the-first-one"})).await;
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    let (status, answer) = desk.post("/keys", json!({"key": "sk-the-first-one"})).await;
    assert_eq!((status.as_u16(), error_of(&answer).0), (400, "key_exists"));
    let (_, rotated) = desk.call(Method::POST, &format!("/keys/{id}/rotate"), ()).await;
    let secret = rotated["data"]["key"].as_str().unwrap();
    assert!(desk.keys.identify(secret).is_ok() && desk.keys.identify("sk-the-first-one").is_err());
    assert_eq!(
        desk.post("/keys/delete", json!({"key": secret})).await,
        (StatusCode::OK, json!({"success": true}))
    );
    assert!(desk.keys.identify(secret).is_err());
    assert_eq!(desk.call(Method::DELETE, &format!("/keys/{id}"), ()).await.0, 404);
    assert_eq!(desk.call(Method::POST, &format!("/keys/{id}/rotate"), ()).await.0, 404);
}

#[tokio::test]
async fn wrong_fields_are_named_and_nothing_is_made() {
    let desk = desk().await;
    for (body, param) in [
        (json!({"limits": {"chat_per_day": "many"}}), "limits.chat_per_day"),
        (json!({"rpm": 1.5}), "rpm"),
        (json!({"budget_usd": "2"}), "budget_usd"),
        (json!({"name": 1}), "name"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!({"allowed_models": ["a", ""]}), "allowed_models.1"),
        (json!({"allowed_models": ["a", 1]}), "allowed_models.1"),
        (json!({"expires_at": 1_800_000_000_000u64}), "expires_at"),
        (json!({"on_disconnect": "explode"}), "on_disconnect"),
        (json!({"key": "short"}), "key"),
        (json!({"key": "with space inside"}), "key"),
        (json!({"key": 7}), "key"),
        (json!({"rpm_limit": 7}), "rpm_limit"),
        (json!({"limits": {"chat": 7}}), "limits.chat"),
    ] {
        let (status, answer) = desk.post("/keys", body.clone()).await;
        assert_eq!((status.as_u16(), error_of(&answer).1), (400, param), "{body} {answer}");
    }
    assert!(desk.keys.list().is_empty());
}
