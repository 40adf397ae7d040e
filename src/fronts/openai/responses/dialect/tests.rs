use super::*;
use crate::engine::dialect::Step;

fn relayed(stream: &str, cut: usize) -> (Vec<Step>, Told, bool) {
    let mut relay = ResponsesDialect.relay(Box::new(|_, _| None));
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(cut) {
        relay.push(Bytes::copy_from_slice(piece), &mut out);
    }
    relay.end(true, &mut out);
    let told = relay.told();
    (out, told, relay.has_begun())
}

fn sent(steps: &[Step]) -> String {
    let mut all = Vec::new();
    for step in steps {
        if let Step::Send(bytes) | Step::Done(bytes) = step {
            all.extend_from_slice(bytes);
        }
    }
    String::from_utf8(all).unwrap()
}

const STREAM: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r1\",\"model\":\"grok-4.7\",\"output\":[]}}\n\n",
    "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"reasoning\",\"encrypted_content\":\"abc\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r1\",\"model\":\"grok-4.7\",\"output\":[{\"encrypted_content\":\"abc\"}],\"usage\":{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":5},\"total_tokens\":17,\"cost_in_usd_ticks\":99}}}\n\n",
);

#[test]
fn events_pass_byte_for_byte_wherever_they_are_cut_and_say_what_was_used() {
    for cut in [1, 7, 64, 4096] {
        let (steps, told, begun) = relayed(STREAM, cut);
        assert_eq!(sent(&steps), STREAM);
        assert!(matches!(steps.last(), Some(Step::Done(_))) && begun);
        assert_eq!(told.object_id.as_deref(), Some("r1"));
        assert_eq!(told.sealed, [mark("abc")]);
        let usage = told.usage.unwrap();
        assert_eq!(
            (usage.prompt, usage.completion, usage.reasoning, usage.cached),
            (Some(10), Some(2), Some(5), Some(4))
        );
        assert_eq!((usage.total_tokens(), usage.cost_in_usd_ticks), (Some(17), Some(99)));
    }
}

#[test]
fn done_after_the_last_event_does_not_matter_and_a_cut_stream_is_one() {
    let (steps, _, _) = relayed(&format!("{STREAM}data: [DONE]\n\n"), 50);
    assert_eq!(sent(&steps), STREAM);
    let cut = STREAM.split("event: response.completed").next().unwrap();
    let (steps, _, _) = relayed(cut, 50);
    assert!(matches!(steps.last(), Some(Step::Cut)));
    // The last event without its blank line is an event all the same.
    let (steps, _, _) = relayed(STREAM.trim_end(), 50);
    assert_eq!(sent(&steps), STREAM);
}

#[test]
fn a_failure_before_the_answer_is_a_fault_and_not_the_beginning() {
    let mut relay = ResponsesDialect.relay(Box::new(|name, data| {
        assert_eq!(name, Some(&b"error"[..]));
        assert!(!data.is_empty());
        None
    }));
    let mut out = Vec::new();
    relay.push(
        Bytes::from_static(b": hello\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n"),
        &mut out,
    );
    assert!(!relay.has_begun(), "comments and pings are not the answer");
    relay.push(
        Bytes::from_static(b"event: error\ndata: {\"type\":\"error\",\"code\":null,\"message\":\"busy\"}\n\n"),
        &mut out,
    );
    assert!(relay.has_begun(), "what the provider takes for no failure passes");
}

#[test]
fn an_answer_in_one_piece_says_the_same() {
    let body = STREAM.rsplit("data: ").next().unwrap().trim();
    let response = serde_json::from_str::<serde_json::Value>(body).unwrap()["response"].to_string();
    let told = ResponsesDialect.read_answer(response.as_bytes());
    assert_eq!(told.object_id.as_deref(), Some("r1"));
    assert_eq!(told.usage.unwrap().reasoning, Some(5));
    assert_eq!(told.sealed, [mark("abc")]);
    assert_eq!(ResponsesDialect.read_answer(b"[]"), Told::default());
}
