use proptest::prelude::*;

use super::*;

/// Events of a stream fed in these pieces: (raw, name, data), and the raw rest.
type Read = (Vec<(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>)>, Vec<u8>);

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut splitter = Splitter::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        splitter.feed(Bytes::copy_from_slice(piece));
        while let Some(event) = splitter.next_event().unwrap() {
            events.push((
                event.raw().to_vec(),
                event.name().map(<[u8]>::to_vec),
                event.data().map(<[u8]>::to_vec),
            ));
        }
    }
    let rest = splitter.finish().map(|event| event.raw().to_vec()).unwrap_or_default();
    (events, rest)
}

fn data_of(read: &Read) -> Vec<Option<&str>> {
    read.0
        .iter()
        .map(|(_, _, data)| data.as_deref().map(|data| std::str::from_utf8(data).unwrap()))
        .collect()
}

#[test]
fn reads_every_line_ending() {
    for stream in [
        "data: a\n\ndata: b\n\n",
        "data: a\r\rdata: b\r\r",
        "data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\r\n\ndata:b\n\r\n",
        "data: a\n\r\ndata: b\r\n\r",
    ] {
        assert_eq!(
            data_of(&read([stream.as_bytes()])),
            [Some("a"), Some("b")],
            "{stream:?}"
        );
    }
}

#[test]
fn reads_fields_comments_and_many_lines() {
    let stream =
        ": hello\n\nevent: error\ndata: one\ndata:two\ndata:\nid: 7\nretry: 9\n\ndata\n\nevent:  x\n\ndatax: no\n\n";
    let read = read([stream.as_bytes()]);
    assert_eq!(data_of(&read), [None, Some("one\ntwo\n"), Some(""), None, None]);
    assert_eq!(read.0[1].1.as_deref(), Some(&b"error"[..]));
    assert_eq!(
        read.0[3].1.as_deref(),
        Some(&b" x"[..]),
        "one space is taken off, no more"
    );
}

#[test]
fn an_event_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
    let mut splitter = Splitter::new(100);
    splitter.feed(chunk.clone());
    let first = splitter.next_event().unwrap().unwrap();
    let second = splitter.next_event().unwrap().unwrap();
    assert_eq!(first.raw().as_ptr(), chunk.as_ptr());
    assert!(first.is_followed_by(&second));
    assert_eq!(first.raw_through(&second), &chunk[..18]);
    assert!(splitter.next_event().unwrap().is_none());
    splitter.feed(Bytes::from_static(b"c\n\n"));
    let third = splitter.next_event().unwrap().unwrap();
    assert_eq!(third.data(), Some(&b"cc"[..]));
    assert!(!second.is_followed_by(&third));
}

#[test]
fn an_event_goes_out_when_its_last_cr_has_come() {
    let read = read([&b"data: a\r\n\r"[..], b"\ndata: b\r\n\r\n"]);
    assert_eq!(read.0[0].0, b"data: a\r\n\r");
    assert_eq!(read.0[1].0, b"\ndata: b\r\n\r\n");
    assert_eq!(data_of(&read), [Some("a"), Some("b")]);
}

#[test]
fn a_byte_order_mark_is_taken_off() {
    for pieces in [
        vec![&b"\xEF\xBB\xBFdata: a\n\n"[..]],
        vec![&b"\xEF"[..], b"\xBB", b"\xBFdata: a\n\n"],
    ] {
        let read = read(pieces);
        assert_eq!(read.0[0].0, b"data: a\n\n");
        assert_eq!(data_of(&read), [Some("a")]);
    }
    let read = read([&b"\xEF"[..], b"\xBBdata: a\n\n"]);
    assert_eq!(read.0[0].0, b"\xEF\xBBdata: a\n\n", "half a mark is text");
    assert_eq!(data_of(&read), [None]);
}

#[test]
fn blank_lines_between_events_lead_the_next_one() {
    let read = read([&b"\n\ndata: a\n\n\n\n\ndata: b\n\n"[..]]);
    assert_eq!(data_of(&read), [Some("a"), Some("b")]);
    assert_eq!(read.0[1].0, b"\n\n\ndata: b\n\n");
}

#[test]
fn the_rest_of_a_stream_that_was_cut() {
    assert_eq!(read([&b"data: a\n\ndata: [DO"[..], b"NE]"]).1, b"data: [DONE]");
    assert_eq!(read([&b"data: a\n\n\n"[..]]).1, b"");
}

#[test]
fn an_event_over_the_limit_is_an_error() {
    let mut splitter = Splitter::new(16);
    for _ in 0..2 {
        splitter.feed(Bytes::from_static(b"data: 67"));
        assert!(splitter.next_event().unwrap().is_none());
    }
    splitter.feed(Bytes::from_static(b"8"));
    assert_eq!(splitter.next_event().unwrap_err(), EventTooLarge { limit: 16 });

    let mut splitter = Splitter::new(16);
    splitter.feed(Bytes::from_static(b"data: 1\n\ndata: 1234567890\n\n"));
    assert!(splitter.next_event().unwrap().is_some());
    assert!(splitter.next_event().is_err(), "an event in one chunk, too");
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let end = prop::sample::select(vec!["\n", "\r", "\r\n"]);
    let line = prop::sample::select(vec![
        "data: {\"a\":1}",
        "data:",
        "data",
        "data: ü",
        "event: error",
        ": comment",
        "id: 1",
        "",
        "",
        "x",
        "\u{FEFF}",
    ]);
    prop::collection::vec((line, end), 0..24).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end])
            .collect::<String>()
            .into_bytes()
    })
}

/// What the standard says, line by line, for comparison.
fn by_the_book(stream: &[u8]) -> Vec<(Option<String>, Option<String>)> {
    let text = std::str::from_utf8(stream).unwrap();
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let (mut name, mut data, mut lines) = (None, None::<String>, 0);
    let mut complete: Vec<&str> = text.split('\n').collect();
    complete.pop();
    for line in complete {
        if line.is_empty() {
            if lines > 0 {
                events.push((name.take(), data.take()));
            }
            lines = 0;
            continue;
        }
        lines += 1;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = Some(value.to_owned()),
            "data" => {
                data = Some(match data {
                    Some(before) => format!("{before}\n{value}"),
                    None => value.to_owned(),
                })
            }
            _ => {}
        }
    }
    events
}

proptest! {
    #[test]
    fn cutting_changes_nothing(stream in stream(), cuts in prop::collection::vec(0usize..400, 0..12)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&stream[from..cut]);
            from = cut;
        }
        pieces.push(&stream[from..]);

        let read = read(pieces);
        let expected = by_the_book(&stream);
        let got: Vec<_> = read.0.iter().map(|(_, name, data)| {
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
            (name.as_ref().map(text), data.as_ref().map(text))
        }).collect();
        prop_assert_eq!(got, expected);

        let mut joined: Vec<u8> = read.0.iter().flat_map(|(raw, _, _)| raw.clone()).collect();
        joined.extend(&read.1);
        let whole = stream.strip_prefix(&BYTE_ORDER_MARK[..]).unwrap_or(&stream);
        let left = &whole[joined.len().min(whole.len())..];
        prop_assert!(whole.starts_with(&joined));
        prop_assert!(left.iter().all(|byte| matches!(byte, b'\r' | b'\n')), "only blank lines are left out at the end");
    }

    #[test]
    fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let mut splitter = Splitter::new(100);
        'stream: for piece in pieces {
            splitter.feed(Bytes::from(piece));
            loop {
                match splitter.next_event() {
                    Ok(Some(event)) => { let _ = (event.raw(), event.data().map(<[u8]>::len), event.name().map(<[u8]>::len)); }
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        let _ = splitter.finish();
    }
}
