use super::*;
use crate::engine::dialect::Step;

const STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"grok-4.7\",\"content\":[],\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn relayed(stream: &str, cut: usize) -> (String, Told, bool) {
    let mut relay = MessagesDialect.relay(Box::new(|_, _| None));
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(cut) {
        relay.push(Bytes::copy_from_slice(piece), &mut out);
    }
    relay.end(true, &mut out);
    let mut all = Vec::new();
    for step in &out {
        if let Step::Send(bytes) | Step::Done(bytes) = step {
            all.extend_from_slice(bytes);
        }
    }
    let is_done = matches!(out.last(), Some(Step::Done(_)));
    (String::from_utf8(all).unwrap(), relay.told(), is_done)
}

#[test]
fn events_pass_byte_for_byte_and_the_last_counts_stand() {
    for cut in [1, 9, 4096] {
        let (sent, told, is_done) = relayed(STREAM, cut);
        assert_eq!(sent, STREAM);
        assert!(is_done);
        let usage = told.usage.unwrap();
        assert_eq!(
            (usage.prompt, usage.cached, usage.completion),
            (Some(15), Some(5), Some(7))
        );
        assert_eq!(usage.total_tokens(), Some(22));
        assert_eq!(told.model.as_deref(), Some("grok-4.7"));
    }
}

#[test]
fn events_without_a_name_get_one() {
    let bare: String = STREAM
        .lines()
        .filter(|line| !line.starts_with("event:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (sent, _, is_done) = relayed(&bare, 40);
    assert_eq!(sent, STREAM);
    assert!(is_done);
}

#[test]
fn a_stream_that_stops_early_is_cut() {
    let mut relay = MessagesDialect.relay(Box::new(|_, _| None));
    let mut out = Vec::new();
    relay.push(
        Bytes::from_static(STREAM.split("event: message_stop").next().unwrap().as_bytes()),
        &mut out,
    );
    relay.end(true, &mut out);
    assert!(matches!(out.last(), Some(Step::Cut)));
    let whole = r#"{"id":"m","model":"grok-4.7","content":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
    assert_eq!(
        MessagesDialect
            .read_answer(whole.as_bytes())
            .usage
            .unwrap()
            .total_tokens(),
        Some(7)
    );
}
