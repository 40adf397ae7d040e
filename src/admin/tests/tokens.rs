use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn the_older_list_has_its_fields_and_no_secret() {
    let desk = desk().await;
    let body = json!({
        "ssoBasic": ["sso=web-session-one", {"token": "web-session-two", "note": "n", "status": "disabled", "quota": 80}],
        "apiKey": [{"token": "xai-api-key-one", "label": "team a"}],
    });
    let (status, answer) = desk.post("/tokens", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["added"], 3);
    assert_eq!(
        answer["nsfw_refresh"],
        json!({"mode": "off", "triggered": 0, "concurrency": 0, "retries": 0})
    );
    let (_, list) = desk.get("/tokens").await;
    let text = list.to_string();
    assert!(!text.contains("session-one") && !text.contains("api-key-one"));
    let rows = list["ssoBasic"].as_array().unwrap();
    assert_eq!((rows.len(), list["apiKey"].as_array().unwrap().len()), (2, 1));
    let row = &rows[1];
    assert_eq!((&row["status"], &row["note"]), (&json!("disabled"), &json!("n")));
    assert_eq!(
        (&row["token_type"], &row["quota_known"]),
        (&json!("sso"), &json!(false))
    );
    assert_eq!(
        (&row["heavy_quota"], &row["heavy_quota_known"]),
        (&json!(-1), &json!(false))
    );
    assert!(row["id"].as_str().unwrap().starts_with("tok_"));
    assert_eq!(list["apiKey"][0]["token_type"], "apiKey");
    // Sent back as it came, the list changes nothing.
    let (_, answer) = desk.post("/tokens?replace=true", list).await;
    assert_eq!(
        (&answer["added"], &answer["changed"], &answer["deleted"]),
        (&json!(0), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_whole_list_changes_by_id_and_deletes_only_when_asked() {
    let desk = desk().await;
    let ids = desk.enrol(&["xai-key-one", "xai-key-two", "xai-key-three"]).await;
    let rows = json!({"apiKey": [
        {"id": ids[0], "token": "xai-ke…", "note": "kept", "status": "disabled"},
        {"token": "xai-key-two", "note": "by secret"},
    ]});
    let (_, answer) = desk.post("/tokens", rows.clone()).await;
    assert_eq!((&answer["changed"], &answer["deleted"]), (&json!(2), &json!(0)));
    let (_, first) = desk.get(&format!("/tokens/{}", ids[0])).await;
    assert_eq!((&first["note"], &first["state"]), (&json!("kept"), &json!("disabled")));
    // `invalid`, as older panels write back what they were shown, loses nothing and switches nothing on.
    let written_back = json!({"apiKey": [{"id": ids[0], "status": "invalid"}, {"id": ids[1], "status": "cooling"}]});
    let (_, answer) = desk.post("/tokens", written_back).await;
    assert_eq!(answer["changed"], 0);
    let (_, answer) = desk.post("/tokens?replace=true", rows).await;
    assert_eq!(answer["deleted"], 1);
    assert_eq!(desk.get(&format!("/tokens/{}", ids[2])).await.0, 404);
    assert_eq!(desk.get("/tokens/counts").await.1["total"], 2);
}

#[tokio::test]
async fn a_wrong_row_is_named_and_nothing_happens() {
    let desk = desk().await;
    let ids = desk.enrol(&["xai-key-one"]).await;
    for (body, status, param) in [
        (json!({"apiKey": ["xai-new", "xai-ab…wxyz"]}), 400, "apiKey.1.token"),
        (
            json!({"apiKey": [{"token": "xai-ab...wxyz", "note": "x"}]}),
            400,
            "apiKey.0.token",
        ),
        (json!({"apiKey": [{"note": "x"}]}), 400, "apiKey.0.token"),
        (json!({"apiKey": [7]}), 400, "apiKey.0"),
        (
            json!({"apiKey": [{"id": ids[0], "status": "gone"}]}),
            400,
            "apiKey.0.status",
        ),
        (
            json!({"apiKey": [{"id": ids[0], "note": "x".repeat(501)}]}),
            400,
            "apiKey.0.note",
        ),
        (json!({"apiKey": {}}), 400, "apiKey"),
        (json!({"myPool": []}), 400, "myPool"),
        (json!({"apiKey": [], "replace": "yes"}), 400, "replace"),
        (json!([]), 400, ""),
        (
            json!({"apiKey": [{"id": "tok_00000000000000000000000000000000"}]}),
            404,
            "",
        ),
    ] {
        let (got, answer) = desk.post("/tokens?replace=true", body.clone()).await;
        assert_eq!((got.as_u16(), error_of(&answer).1), (status, param), "{body} {answer}");
    }
    assert_eq!(desk.get("/tokens/counts").await.1["total"], 1);
}

#[tokio::test]
async fn pages_show_every_token_once() {
    let desk = desk().await;
    let secrets: Vec<String> = (0..57).map(|at| format!("xai-key-{at}")).collect();
    desk.enrol(&secrets.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    for sort in ["created", "-created", "label", "-use_count", "last_used"] {
        let mut seen = HashSet::new();
        let mut next = String::new();
        loop {
            let (status, page) = desk.get(&format!("/tokens?limit=10&sort={sort}{next}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            assert_eq!(page["total"], 57);
            for row in page["items"].as_array().unwrap() {
                assert!(seen.insert(row["id"].as_str().unwrap().to_owned()), "shown twice");
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 57, "{sort}");
    }
    let (_, page) = desk.get("/tokens?pool=ssoBasic,ssoSuper").await;
    assert_eq!(page, json!({"items": [], "next_cursor": null, "total": 0}));
    for (query, param) in [
        ("pool=other", "pool"),
        ("state=sleepy", "state"),
        ("limit=many", "limit"),
        ("cursor=zzz", "cursor"),
        ("sort=colour", "sort"),
        ("sort=label&order=up", "order"),
    ] {
        let (status, answer) = desk.get(&format!("/tokens?{query}")).await;
        assert_eq!((status.as_u16(), error_of(&answer).1), (400, param));
    }
}

#[tokio::test]
async fn one_token_can_be_changed_cleared_refreshed_and_deleted() {
    let desk = desk().await;
    let id = desk.enrol(&["xai-key-one"]).await[0];
    let path = format!("/tokens/{id}");
    let patch = json!({"label": "a", "tags": ["x"], "switch": "off"}).to_string();
    let (status, token) = desk.call(Method::PATCH, &path, patch).await;
    assert_eq!((status, &token["state"]), (StatusCode::OK, &json!("disabled")));
    for (patch, param) in [
        (json!({"secret": "xai-other"}), "secret"),
        (json!({"pool": "nowhere"}), "pool"),
        (json!({"proxy": "ftp://host"}), "proxy"),
        (json!({"proxy": "http://***@proxy"}), "proxy"),
        (json!({"tags": [" "]}), "tags"),
        (json!({"note": 5}), "note"),
    ] {
        let (status, answer) = desk.call(Method::PATCH, &path, patch.to_string()).await;
        assert_eq!((status.as_u16(), error_of(&answer).1), (400, param), "{answer}");
    }
    let (_, answer) = desk.call(Method::POST, &format!("{path}/refresh"), ()).await;
    assert_eq!(answer["token"]["state"], "disabled", "a refresh switches nothing on");
    desk.call(Method::PATCH, &path, r#"{"switch":"on"}"#).await;
    desk.pool.cool(id);
    let (_, page) = desk.get("/tokens?state=cooling").await;
    assert_eq!(page["total"], 1);
    let (_, answer) = desk.call(Method::POST, &format!("{path}/clear-cooling"), ()).await;
    assert_eq!(
        (&answer["cleared"], &answer["token"]["state"]),
        (&json!(true), &json!("active"))
    );
    assert_eq!(desk.call(Method::DELETE, &path, ()).await.1["deleted"], 1);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(desk.call(method, &path, ()).await.0, 404);
    }
    for (named, code) in [("xai-ke…wxyz", "masked_secret"), ("xai-key-one", "invalid_value")] {
        let (status, answer) = desk.get(&format!("/tokens/{}", named.replace('…', "%E2%80%A6"))).await;
        assert_eq!((status.as_u16(), error_of(&answer)), (400, (code, "id")));
        assert!(!answer.to_string().contains("xai-key-one"));
    }
}

#[tokio::test]
async fn the_older_refresh_answers_under_what_was_sent() {
    let desk = desk().await;
    let ids = desk.enrol(&["xai-alive", "dead-key-one"]).await;
    let body = json!({"token": "xai-alive", "tokens": ["sso=dead-key-one", ids[0], "xai-unknown"]});
    let (status, answer) = desk.post("/tokens/refresh", body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer["results"],
        json!({"xai-alive": true, "sso=dead-key-one": false, ids[0].to_string(): true, "xai-unknown": false})
    );
    for (body, code) in [
        (json!({}), "missing"),
        (json!({"tokens": []}), "missing"),
        (json!({"token": "xai-ab…wxyz"}), "masked_secret"),
    ] {
        let (status, answer) = desk.post("/tokens/refresh", body).await;
        assert_eq!((status.as_u16(), error_of(&answer).0), (400, code));
    }
    let (_, answer) = desk.post("/tokens/delete", json!({"ids": ids})).await;
    assert_eq!(answer["deleted"], 2);
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_imported_in_seconds() {
    let desk = desk().await;
    let mut text = String::new();
    for at in 0..100_000 {
        if at % 1_000 == 0 {
            text.push_str("not a token\n");
        } else if at % 2 == 0 {
            text.push_str(&format!("xai-{at:040}\n"));
        } else {
            text.push_str(&format!(
                "{{\"token\":\"xai-{at:040}\",\"note\":\"line {at}\",\"tags\":[\"bulk\"]}}\r\n"
            ));
        }
    }
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        text.as_bytes().chunks(7_777).map(|chunk| Ok(chunk.to_vec())).collect();
    let body = poem::Body::from_bytes_stream(futures::stream::iter(chunks));
    let clock = Clock::system();
    let start = clock.now();
    let (status, report) = desk.call(Method::POST, "/tokens/import?pool=apiKey", body).await;
    let took = clock.now().ms_since(start);
    assert_eq!(status, StatusCode::OK, "{report}");
    let counts = ["total", "added", "existing", "invalid"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [100_000, 99_900, 0, 100]);
    assert_eq!(report["lines"].as_array().unwrap().len(), 100);
    assert_eq!(
        (&report["lines"][1]["line"], &report["lines"][1]["result"]),
        (&json!(1001), &json!("invalid"))
    );
    assert!(took < 10_000, "{took} ms for reading and checking alone");
}

#[tokio::test]
async fn an_export_asks_for_the_password_and_is_sealed() {
    let desk = desk().await;
    desk.enrol(&["xai-very-secret-one"]).await;
    let (status, answer) = desk
        .post("/tokens/export", json!({"passphrase": "long enough for this"}))
        .await;
    assert_eq!((status.as_u16(), error_of(&answer)), (400, ("missing", "password")));
    let (status, answer) = desk
        .post(
            "/tokens/export",
            json!({"password": "wrong", "passphrase": "long enough for this"}),
        )
        .await;
    assert_eq!(
        (status.as_u16(), error_of(&answer)),
        (403, ("wrong_password", "password"))
    );
    let (status, answer) = desk.post("/tokens/export", json!({"password": PASSWORD})).await;
    assert_eq!((status.as_u16(), error_of(&answer).1), (400, "passphrase"));
    let (status, answer) = desk
        .post(
            "/tokens/export",
            json!({"password": PASSWORD, "passphrase": "long enough for this"}),
        )
        .await;
    assert_eq!((status.as_u16(), &answer["count"]), (200, &json!(1)));
    assert!(!answer.to_string().contains("very-secret"));
    let request = Request::builder()
        .method(Method::POST)
        .uri_str("/tokens/export")
        .header("authorization", format!("Bearer {}", desk.token))
        .body(json!({"password": PASSWORD, "plain": true}).to_string());
    let response = desk.send(request).await;
    assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
    let body = response.into_body().into_string().await.unwrap();
    assert!(body.contains("xai-very-secret-one"));
}
