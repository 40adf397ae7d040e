//! What is done to the bytes of a call: reading a request, changing a few of its bytes, reading a stream as it passes.

#![expect(clippy::unwrap_used, reason = "a bench is a test: what fails must stop it")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use grok2api::engine::dialect::Dialect;
use grok2api::fronts::anthropic::MessagesDialect;
use grok2api::fronts::converted::{ConvertedDialect, Responses, Target};
use grok2api::fronts::openai::dialect::ChatDialect;
use grok2api::fronts::openai::edit::{Edits, edit_chat};
use grok2api::fronts::openai::request::{BodyLimits, parse_chat};
use grok2api::fronts::openai::usage::read_answer;
use grok2api::fronts::openai::usage_strip::{StripOptions, UsageStrip};

fn request(content: usize) -> Bytes {
    Bytes::from(format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{}"}}],"stream":true,"temperature":0.7}}"#,
        "word ".repeat(content / 5)
    ))
}

fn stream() -> Vec<Bytes> {
    let mut chunks: Vec<Bytes> = (0..50)
        .map(|at| {
            Bytes::from(format!(
                "data: {{\"id\":\"3f7e7e0e-9a3c-4f3e-8d0e-2f6f1c9f7c11\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
                 \"model\":\"grok-4.6\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {at} \"}}}}],\"system_fingerprint\":\"fp\"}}\n\n"
            ))
        })
        .collect();
    chunks.push(Bytes::from_static(
        b"data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":50,\"total_tokens\":54,\"cost_in_usd_ticks\":5000}}\n\n",
    ));
    chunks.push(Bytes::from_static(b"data: [DONE]\n\n"));
    chunks
}

fn wire(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    for size in [450, 20_000] {
        let body = request(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("parse, {size} B"), |b| {
            b.iter(|| parse_chat(&body, &BodyLimits::default()).unwrap())
        });
        let head = parse_chat(&body, &BodyLimits::default()).unwrap();
        group.bench_function(format!("edit, {size} B"), |b| {
            let edits = Edits {
                model: Some("grok-4.7"),
                force_include_usage: true,
                ..Edits::default()
            };
            b.iter(|| edit_chat(&body, &head, &edits))
        });
    }
    group.finish();

    let mut group = c.benchmark_group("answer");
    let chunks = stream();
    let bytes: usize = chunks.iter().map(Bytes::len).sum();
    group.throughput(Throughput::Bytes(bytes as u64));
    for (name, pieces) in [
        ("50 chunks as they come", chunks.clone()),
        ("50 chunks in one piece", vec![Bytes::from(chunks.concat())]),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut strip = UsageStrip::new(StripOptions::default());
                let mut steps = Vec::with_capacity(8);
                for piece in &pieces {
                    strip.push(piece.clone(), |_, _| None::<()>, &mut steps);
                    steps.clear();
                }
                assert!(strip.seen().done);
                strip.seen().usage
            })
        });
    }
    let answer = Bytes::from_static(include_bytes!("support/answer.json"));
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("usage of a whole answer", |b| b.iter(|| read_answer(&answer)));
    group.finish();
}

/// Fifty pieces of text of a response, each an event, and of a message.
fn named_streams() -> [Vec<Bytes>; 2] {
    let event =
        |name: &str, data: String| Bytes::from(format!("event: {name}\ndata: {{\"type\":\"{name}\",{data}}}\n\n"));
    let about =
        r#""response":{"id":"3f7e7e0e","created_at":1790000000,"model":"grok-4.6","status":"in_progress","output":[]}"#;
    let mut response = vec![event("response.created", format!("\"sequence_number\":0,{about}"))];
    let mut message = vec![event(
        "message_start",
        r#""message":{"id":"m","model":"grok-4.6","content":[],"usage":{"input_tokens":4,"output_tokens":0}}"#
            .to_owned(),
    )];
    for at in 0..50 {
        let place = r#""item_id":"msg_3f7e7e0e","output_index":0,"content_index":0,"logprobs":[]"#;
        let delta = format!("\"sequence_number\":{},{place},\"delta\":\"word {at} \"", at + 1);
        response.push(event("response.output_text.delta", delta));
        let delta = format!("\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"word {at} \"}}");
        message.push(event("content_block_delta", delta));
    }
    let usage = r#""usage":{"input_tokens":4,"output_tokens":50,"total_tokens":54,"cost_in_usd_ticks":5000}"#;
    let last = about
        .replace("in_progress", "completed")
        .replace("\"output\":[]", &format!("\"output\":[],{usage}"));
    response.push(event("response.completed", format!("\"sequence_number\":51,{last}")));
    message.push(event(
        "message_delta",
        r#""delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":50}"#.to_owned(),
    ));
    message.push(event("message_stop", r#""x":0"#.to_owned()));
    [response, message]
}

/// Streams through the relay of each dialect: passed on, and converted.
fn relays(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay, 50 chunks");
    let [response, message] = named_streams();
    let chat = stream();
    let chat_passes = ChatDialect {
        keep_usage: true,
        choices: 1,
    };
    let runs: [(&str, &dyn Dialect, &[Bytes]); 4] = [
        ("chat, passed", &chat_passes, &chat),
        (
            "chat, converted",
            &ConvertedDialect(Target::Chat { keep_usage: true }, Responses),
            &response,
        ),
        ("messages, passed", &MessagesDialect, &message),
        (
            "messages, converted",
            &ConvertedDialect(Target::Messages, Responses),
            &response,
        ),
    ];
    for (name, dialect, chunks) in runs {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut relay = dialect.relay(Box::new(|_, _| None));
                let mut steps = Vec::with_capacity(8);
                for chunk in chunks {
                    relay.push(chunk.clone(), &mut steps);
                    steps.clear();
                }
                assert!(relay.told().usage.is_some());
            })
        });
    }
    group.finish();
}

criterion_group!(benches, wire, relays);
criterion_main!(benches);
