use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::cursor::plain_run;
use super::*;

fn accepts(text: &str) -> Result<Span, Fault> {
    let mut cursor = Cursor::new(text, MAX_DEPTH);
    let span = cursor.skip_value()?;
    cursor.end()?;
    Ok(span)
}

#[test]
fn values_and_their_places() {
    for text in [
        "1",
        "-0",
        "0.5",
        "1e9",
        "-1.25E-3",
        "true",
        "false",
        "null",
        "\"\"",
        r#""a\"\\\/\b\f\n\r\t\u00e9""#,
        "[]",
        "{}",
        "[1,[2,{\"a\":[]}],{}]",
        "{\"a\":{\"b\":[null]},\"c\":1}",
        "\"ü…😀\"",
    ] {
        assert_eq!(
            accepts(text).unwrap(),
            Span {
                start: 0,
                end: text.len()
            },
            "{text}"
        );
        let spaced = format!(" \t\r\n{text} ");
        assert_eq!(accepts(&spaced).unwrap().len(), text.len(), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_where_it_goes_wrong() {
    for (text, at) in [
        ("", 0),
        ("  ", 2),
        ("01", 1),
        ("-", 1),
        ("1.", 2),
        ("1e", 2),
        (".5", 0),
        ("+1", 0),
        ("tru", 0),
        ("nul", 0),
        ("\"a", 2),
        ("\"\\x\"", 1),
        ("\"\\u12g4\"", 1),
        ("\"\t\"", 1),
        ("[1 2]", 3),
        ("[1,]", 3),
        ("[", 1),
        ("{\"a\"}", 4),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("{\"a\":1 \"b\":2}", 7),
        ("[1}", 2),
        ("{}}", 2),
        ("1 2", 2),
        ("'a'", 0),
        ("\u{FEFF}{}", 0),
        ("[\u{a0}1]", 1),
    ] {
        assert_eq!(accepts(text).unwrap_err().at, at, "{text:?}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(accepts(&nested(128)).is_ok());
    let fault = accepts(&nested(129)).unwrap_err();
    assert!(fault.too_deep);
    assert_eq!(fault.at, 128);
    assert!(accepts(&"{\"a\":".repeat(1_000_000)).unwrap_err().too_deep);
    assert!(Cursor::new("[[1]]", 1).skip_value().unwrap_err().too_deep);
    // Siblings are not levels.
    assert!(accepts(&format!("[{}1]", "[],".repeat(1000))).is_ok());
}

#[test]
fn lines_and_columns() {
    let text = "{\n  \"a\": 1,\n  x\n}";
    let fault = accepts(text).unwrap_err();
    assert_eq!(fault.line_and_column(text.as_bytes()), (3, 3));
}

#[test]
fn escapes_in_names_do_not_hide_them() {
    let mut cursor = Cursor::new(r#"{"mod\u0065l":"\ud83d\ude00"}"#, MAX_DEPTH);
    cursor.enter().unwrap();
    let mut first = true;
    let name = cursor.next_member(&mut first).unwrap().unwrap();
    assert!(name.is("model") && name.escaped);
    assert_eq!(cursor.string().unwrap().decode().unwrap(), "😀");
    assert!(cursor.next_member(&mut first).unwrap().is_none());
    let lone = Cursor::new(r#""\ud83d""#, MAX_DEPTH).string().unwrap();
    assert!(lone.decode().is_err());
}

#[test]
fn runs_end_at_every_offset() {
    for length in 0..40 {
        for end in ["\"", "\\n\"", "\u{1}"] {
            let text = format!("{}{end}", "ü".repeat(length / 2) + &"a".repeat(length % 2));
            let expected = text.len() - end.len();
            assert_eq!(plain_run(text.as_bytes(), 0), expected, "{text:?}");
        }
    }
    assert_eq!(plain_run(b"no end at all, and long", 3), 23);
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "-1.5e3",
        "0",
        "true",
        "false",
        "null",
        "\"\"",
        "\"text\"",
        "\"\\u00fc\\\"\"",
        "\"ü\"",
        "1e999",
    ])
    .prop_map(str::to_owned);
    let space = prop::sample::select(vec!["", "", " ", "\n", "\t "]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let many = prop::collection::vec((inner, space.clone(), space.clone()), 0..6);
        (many, any::<bool>()).prop_map(|(values, object)| {
            let parts: Vec<String> = values
                .into_iter()
                .enumerate()
                .map(|(i, (value, before, after))| match object {
                    true => format!("{before}\"k{i}\"{after}:{before}{value}{after}"),
                    false => format!("{before}{value}{after}"),
                })
                .collect();
            match object {
                true => format!("{{{}}}", parts.join(",")),
                false => format!("[{}]", parts.join(",")),
            }
        })
    })
}

proptest! {
    #[test]
    fn agrees_with_serde(text in json(), at in any::<prop::sample::Index>(), with in prop::sample::select(b"{}[],:\"\\ 0e-\n\x01tn".to_vec())) {
        prop_assert!(accepts(&text).is_ok(), "{text}");
        let mut broken = text.into_bytes();
        let at = at.index(broken.len());
        broken[at] = with;
        if let Ok(broken) = std::str::from_utf8(&broken) {
            let serde = serde_json::from_str::<IgnoredAny>(broken).is_ok();
            prop_assert_eq!(accepts(broken).is_ok(), serde, "{}", broken);
        }
    }

    #[test]
    fn agrees_with_serde_on_noise(text in "[\\[\\]{}\",:\\\\ 0-9etrufalsn.+-]{0,24}") {
        prop_assert_eq!(accepts(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
    }
}
