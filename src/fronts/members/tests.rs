use serde_json::json;

use super::*;

fn code(body: &str) -> String {
    Members::read(body.as_bytes()).unwrap_err().public_code().to_owned()
}

#[test]
fn what_is_not_a_json_object_is_refused_with_its_place() {
    assert_eq!(code("[1]"), "invalid_type");
    assert_eq!(code(r#"{"a":1,"a":2}"#), "duplicate_field");
    assert_eq!(code(&format!("{{\"a\":{}", "[".repeat(200))), "nested_too_deeply");
    let error = Members::read(b"{\"a\":1,\n\"b\" 2}").unwrap_err();
    assert!(error.message.contains("line 2, column 5"), "{}", error.message);
    assert!(Members::read(b"{\"a\":\"\xff\"}").is_err());
}

#[test]
fn members_have_their_types_and_null_is_not_there() {
    let body = r#"{"model":"m","n":3,"big":99,"neg":-1,"half":1.5,"s":null,"b":true,"o":{"x":[1,{"id":"q"}]}}"#;
    let members = Members::read(body.as_bytes()).unwrap();
    assert_eq!(members.model().unwrap(), "m");
    assert_eq!(members.integer("n", 1, 10).unwrap(), Some(3));
    assert_eq!(
        members.integer("big", 1, 10).unwrap_err().public_code(),
        "integer_above_max_value"
    );
    assert_eq!(
        members.integer("neg", 0, 10).unwrap_err().public_code(),
        "integer_below_min_value"
    );
    assert_eq!(
        members.integer("half", 0, 10).unwrap_err().public_code(),
        "invalid_type"
    );
    assert_eq!(members.string("s").unwrap(), None);
    assert_eq!(members.boolean("b").unwrap(), Some(true));
    assert_eq!(members.string("b").unwrap_err().public_code(), "invalid_type");
    let mut seen = Vec::new();
    members.strings("o", |name, text| seen.push((name.to_owned(), text.to_owned())));
    assert_eq!(seen, [("id".to_owned(), "q".to_owned())]);
}

#[test]
fn only_what_is_set_changes() {
    let body = Bytes::from_static(b"{ \"model\" : \"a\",\t\"x\":1e2, \"stream\": false }");
    let members = Members::read(&body).unwrap();
    let same = members.with(&body, &[("model", json!("a"))]);
    assert_eq!(same.as_ptr(), body.as_ptr(), "not copied");
    let changed = members.with(
        &body,
        &[
            ("model", json!("b\"")),
            ("store", json!(false)),
            ("stream", json!(true)),
        ],
    );
    assert_eq!(
        changed,
        &b"{\"store\":false, \"model\" : \"b\\\"\",\t\"x\":1e2, \"stream\": true }"[..]
    );
    let empty = Bytes::from_static(b"{}");
    let members = Members::read(&empty).unwrap();
    assert_eq!(
        members.with(&empty, &[("a", json!(1)), ("b", json!(2))]),
        &b"{\"a\":1,\"b\":2}"[..]
    );
}

#[test]
fn strings_are_told_by_their_names_however_these_are_written() {
    let body = br#"{"in": [{"file_id": "a", "x": {"file\u005fid": "b"}, "\ud800": ""}, {"\u0066ile_id": "c", "file_id": "d"}]}"#;
    let mut seen = Vec::new();
    Members::read(body)
        .unwrap()
        .strings("in", |name, text| seen.push(format!("{name}={text}")));
    assert_eq!(seen, ["file_id=a", "file_id=b", "\\ud800=", "file_id=c", "file_id=d"]);
}
