//! Streams as the upstream sends them, through the fronts of the same dialect: byte for byte, wherever they are cut.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::recorder::{Canned, Recorder};
use crate::support::{Gateway, MODEL, Plan, Sim};

async fn recorded() -> (Recorder, Gateway) {
    let recorder = Recorder::start().await;
    let gateway = Plan::new(&recorder.base_url()).keys([Sim::key(0)]).start_warm().await;
    (recorder, gateway)
}

fn ask_responses() -> Value {
    json!({"model": MODEL, "input": "Hello", "stream": true})
}

fn ask_messages() -> Value {
    json!({"model": MODEL, "max_tokens": 100, "stream": true, "messages": [{"role": "user", "content": "Hello"}]})
}

/// Server tools that interleave and end out of order, members that nobody has heard of, odd spaces and numbers, comments,
/// and text with line ends and characters of four bytes.
const RESPONSES: &str = "event: response.created\n\
data: {\"sequence_number\":0,\"type\":\"response.created\",\"response\":{\"id\":\"0b8-1_us-east-1\",\"model\":\"grok-4.6\",\"output\":[],\"status\":\"in_progress\",\"x_new\":[1e3,0.10,-0]}}\n\n\
: a comment\n\n\
data: {\"sequence_number\":1,\"type\":\"response.in_progress\",\"response\":{\"id\":\"0b8-1_us-east-1\",  \"model\":\"grok-4.6\"}}\n\n\
event: response.output_item.added\n\
data: {\"sequence_number\":2,\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"web_search_call\",\"id\":\"ws_0\",\"status\":\"in_progress\"}}\n\n\
event: response.output_item.added\n\
data: {\"sequence_number\":3,\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"custom_tool_call\",\"id\":\"ctc_1\",\"name\":\"x_keyword_search\"}}\n\n\
event: response.custom_tool_call_input.delta\n\
data: {\"sequence_number\":4,\"type\":\"response.custom_tool_call_input.delta\",\"output_index\":1,\"delta\":\"{\\\"query\\\"\"}\n\n\
event: response.output_item.done\n\
data: {\"sequence_number\":5,\"type\":\"response.output_item.done\",\"output_index\":1,\"item\":{\"type\":\"custom_tool_call\",\"id\":\"ctc_1\"}}\n\n\
event: response.output_item.done\n\
data: {\"sequence_number\":6,\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"web_search_call\",\"id\":\"ws_0\",\"status\":\"completed\"}}\n\n\
event: response.output_text.delta\n\
data: {\"sequence_number\":7,\"type\":\"response.output_text.delta\",\"output_index\":2,\"content_index\":0,\"delta\":\"\\ud83d\\ude00 ünï 你好 🙂\\n\\n\"}\n\n\
event: response.something_new\n\
data: {\"sequence_number\":8,\"type\":\"response.something_new\",\"anything\":null}\n\n\
event: response.completed\n\
data: {\"sequence_number\":9,\"type\":\"response.completed\",\"response\":{\"id\":\"0b8-1_us-east-1\",\"model\":\"grok-4.6\",\"usage\":{\"input_tokens\":5,\"output_tokens\":7,\"total_tokens\":12,\"cost_in_usd_ticks\":99},\"status\":\"completed\"}}\n\n";

const MESSAGES: &str = "event: message_start\n\
data: {\"type\": \"message_start\", \"message\": {\"id\":\"m-1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"grok-4.6\",\"content\":[],\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2,\"output_tokens\":0}}}\n\n\
: a comment\n\n\
event: content_block_start\n\
data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n\
event: content_block_delta\n\
data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EvQB+/==\"}}\n\n\
event: content_block_stop\n\
data: {\"type\":\"content_block_stop\",\"index\":0 , \"x_new\":1.0}\n\n\
event: content_block_delta\n\
data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"\\u00e9 ünï 🙂\\n\\n\"}}\n\n\
event: something_new\n\
data: {\"type\":\"something_new\"}\n\n\
event: message_delta\n\
data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":7}}\n\n\
event: message_stop\n\
data: {\"type\":\"message_stop\"}\n\n";

/// The stream in pieces of so many bytes, with a pause now and then so that they are not joined on the way.
fn in_pieces(stream: &str, size: usize) -> Canned {
    let bytes = Bytes::copy_from_slice(stream.as_bytes());
    let pieces = (0..bytes.len())
        .step_by(size)
        .enumerate()
        .map(|(index, at)| {
            let pause = if index % 8 == 1 { 1 } else { 0 };
            (
                Duration::from_millis(pause),
                bytes.slice(at..bytes.len().min(at + size)),
            )
        })
        .collect();
    Canned {
        pieces,
        ..Canned::stream([""])
    }
}

async fn passes_unchanged(path: &str, ask: &Value, stream: &str) {
    let (recorder, gateway) = recorded().await;
    for line_end in ["\n", "\r\n"] {
        let stream = stream.replace('\n', line_end);
        for size in [1, 7, 64, 1_000, stream.len()] {
            recorder.answer(in_pieces(&stream, size));
            let got = gateway.http().post(path, ask).await.ok();
            assert_eq!(got.header("content-type"), "text/event-stream");
            assert_eq!(got.text(), stream, "in pieces of {size}");
        }
    }
    let arrived = recorder.take();
    assert_eq!(arrived.len(), 10);
    for one in arrived {
        assert_eq!(one.path, path);
        assert_eq!(one.json(), *ask, "nothing needed to change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_responses_passes_byte_for_byte() {
    passes_unchanged("/v1/responses", &ask_responses(), RESPONSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_messages_passes_byte_for_byte() {
    passes_unchanged("/v1/messages", &ask_messages(), MESSAGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_would_choke_on_is_mended() {
    let (recorder, gateway) = recorded().await;
    // An end that only chat has, and an event without data.
    let stream = format!("{RESPONSES}data: [DONE]\n\n");
    recorder.answer(Canned::stream([stream.as_str()]));
    let got = gateway.http().post("/v1/responses", &ask_responses()).await.ok();
    assert_eq!(got.text(), RESPONSES);
    // Anthropic's clients drop events without a name unread.
    let nameless: String = MESSAGES
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("event: ") || line.contains("something_new"))
        .collect();
    recorder.answer(Canned::stream([nameless.as_str()]));
    let got = gateway.http().post("/v1/messages", &ask_messages()).await.ok();
    assert_eq!(got.text(), MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_ends_with_an_error_of_the_dialect() {
    let (recorder, gateway) = recorded().await;
    let half = &RESPONSES[..RESPONSES.find("event: response.output_text").unwrap() + 40];
    recorder.answer(Canned::stream([half]));
    let text = gateway.http().post("/v1/responses", &ask_responses()).await.ok().text();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let data = last
        .strip_prefix("event: error\ndata: ")
        .unwrap_or_else(|| panic!("{text}"));
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["type"], "error");
    assert_eq!(event["sequence_number"], 7, "the next after what came whole");
    let half = &MESSAGES[..MESSAGES.find("event: content_block_stop").unwrap() + 9];
    recorder.answer(Canned::stream([half]));
    let text = gateway.http().post("/v1/messages", &ask_messages()).await.ok().text();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let data = last
        .strip_prefix("event: error\ndata: ")
        .unwrap_or_else(|| panic!("{text}"));
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event["type"], "error");
    assert!(event["error"]["message"].is_string());
}
