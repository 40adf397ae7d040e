//! What is done to the bytes of a call: reading a request, changing a few of its bytes, reading a stream as it passes.

#![expect(clippy::unwrap_used, reason = "a bench is a test: what fails must stop it")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, wire);
criterion_main!(benches);
