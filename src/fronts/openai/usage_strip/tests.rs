use proptest::prelude::*;

use super::*;

const ROLE: &str = r#"{"id":"1","model":"grok-4.6","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
const HELLO: &str =
    r#"{"id":"1","model":"grok-4.6","choices":[{"index":0,"delta":{"content":"Hello \"usage\":{ [DONE]"}}]}"#;
const STOP: &str = r#"{"id":"1","model":"grok-4.6","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str =
    r#"{"id":"1","model":"grok-4.6","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}"#;

fn events(data: &[&str]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}

/// Any event with a member `error` is a fault, with the member as its name.
fn fault(name: Option<&[u8]>, data: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(data).ok()?;
    match name {
        Some(b"error") => Some(value["message"].to_string()),
        _ => value
            .get("error")
            .filter(|error| !error.is_null())
            .map(ToString::to_string),
    }
}

struct Run {
    sent: String,
    steps: Vec<Step<String>>,
    seen: Seen,
}

fn run_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, options: StripOptions, clean: bool) -> Run {
    let mut strip = UsageStrip::new(options);
    let mut steps = Vec::new();
    for piece in pieces {
        strip.push(Bytes::copy_from_slice(piece), fault, &mut steps);
    }
    strip.end(clean, fault, &mut steps);
    let mut sent = Vec::new();
    for step in &steps {
        if let Step::Pass(bytes) | Step::Replace(bytes) | Step::Done(bytes) = step {
            sent.extend_from_slice(bytes);
        }
    }
    Run {
        sent: String::from_utf8(sent).unwrap(),
        steps,
        seen: strip.seen().clone(),
    }
}

fn run(stream: &str, keep_usage: bool) -> Run {
    let options = StripOptions {
        keep_usage,
        ..StripOptions::default()
    };
    run_pieces([stream.as_bytes()], options, true)
}

fn tokens(total: u64) -> Option<u64> {
    Some(total)
}

#[test]
fn a_stream_passes_byte_for_byte_when_usage_was_asked_for() {
    let stream = format!(": hi\r\n\r\n{}", events(&[ROLE, HELLO, STOP, USAGE, "[DONE]"]));
    let run = run(&stream, true);
    assert_eq!(run.sent, stream);
    assert_eq!(
        run.steps.len(),
        2,
        "what passes together leaves together, and the end: {:?}",
        run.steps
    );
    assert!(matches!(run.steps[1], Step::Done(_)));
    assert_eq!(run.seen.usage.and_then(|usage| usage.total), tokens(5));
    assert_eq!(run.seen.model.as_deref(), Some("grok-4.6"));
    assert!(run.seen.has_content && run.seen.done && run.seen.finished == 1);
}

/// Recorded answers, where they are at hand: `GROK2API_ORACLES` names the directory that holds `xai-fixtures/`.
#[test]
fn recordings_pass_and_are_counted() {
    let Some(directory) = std::env::var_os("GROK2API_ORACLES") else {
        return;
    };
    let directory = std::path::Path::new(&directory).join("xai-fixtures/vercel-ai/chat");
    for (name, total, ticks) in [("xai-text", 303, 1_466_250), ("xai-tool-call", 513, 1_330_500)] {
        let lines = std::fs::read_to_string(directory.join(format!("{name}.chunks.txt"))).unwrap();
        let chunks: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
        let stream = events(&chunks) + "data: [DONE]\n\n";
        assert_eq!(run(&stream, true).sent, stream);
        let run = run(&stream, false);
        assert_eq!(run.sent, events(&chunks[..chunks.len() - 1]) + "data: [DONE]\n\n");
        let usage = run.seen.usage.unwrap();
        assert_eq!(
            (usage.total_tokens(), usage.cost_in_usd_ticks),
            (Some(total), Some(ticks)),
            "{name}"
        );
        assert_eq!((run.seen.model.as_deref(), run.seen.finished), (Some("grok-3-mini"), 1));
    }
    for (name, total) in [("xai-text", 241), ("xai-tool-call", 506)] {
        let answer = std::fs::read(directory.join(format!("{name}.json"))).unwrap();
        let facts = usage::read_answer(&answer);
        assert_eq!(facts.usage.and_then(|usage| usage.total), Some(total), "{name}");
        assert_eq!((facts.model.as_deref(), facts.finished), (Some("grok-3-mini"), 1));
    }
}

#[test]
fn usage_that_nobody_asked_for_is_taken_out() {
    let run = run(&events(&[ROLE, HELLO, STOP, USAGE, "[DONE]"]), false);
    assert_eq!(run.sent, events(&[ROLE, HELLO, STOP, "[DONE]"]));
    assert_eq!(
        run.seen.usage.and_then(|usage| usage.total),
        tokens(5),
        "and read all the same"
    );
}

#[test]
fn usage_on_a_chunk_with_choices_stays() {
    let last = STOP.replace("]}", r#"],"usage":{"total_tokens":8}}"#);
    let stream = events(&[HELLO, &last, "[DONE]"]);
    let run = run(&stream, false);
    assert_eq!(run.sent, stream);
    assert_eq!(run.seen.usage.and_then(|usage| usage.total), tokens(8));
}

#[test]
fn an_empty_chunk_without_usage_stays() {
    let stream = events(&[
        r#"{"choices":[],"prompt_filter_results":[]}"#,
        r#"{"choices":[],"usage":null}"#,
        STOP,
        "[DONE]",
    ]);
    assert_eq!(run(&stream, false).sent, stream);
}

#[test]
fn citations_on_the_usage_chunk_are_kept() {
    let usage = USAGE.replace("\"usage\"", "\"citations\":[\"https://a\"],\n\"usage\"");
    let stream = events(&[HELLO, STOP])
        + &usage.lines().map(|line| format!("data: {line}\n")).collect::<String>()
        + "\n"
        + &events(&["[DONE]"]);
    let run = run(&stream, false);
    let kept = r#"{"id":"1","model":"grok-4.6","choices":[{"index":0,"delta":{},"finish_reason":null}],"citations":["https://a"], "usage":null}"#;
    assert_eq!(run.sent, events(&[HELLO, STOP, kept, "[DONE]"]));
    assert!(
        matches!(run.steps[1], Step::Replace(_)),
        "and the stream goes on after it"
    );
}

#[test]
fn a_failure_inside_the_stream_ends_it() {
    for (failure, what) in [
        (r#"data: {"code":"unavailable","error":"no answer"}"#, r#""no answer""#),
        (
            "event: error\ndata: {\"type\":\"error\",\"message\":\"full\"}",
            r#""full""#,
        ),
        (r#"data: {"choices":[],"error":{"a":1}}"#, r#"{"a":1}"#),
    ] {
        let stream = format!("{}{failure}\n\n{}", events(&[ROLE, HELLO]), events(&[STOP, "[DONE]"]));
        let run = run(&stream, true);
        assert_eq!(run.sent, events(&[ROLE, HELLO]));
        assert!(
            matches!(&run.steps[1], Step::Fault(said) if said == what),
            "{:?}",
            run.steps
        );
        assert_eq!(run.steps.len(), 2, "nothing comes after it");
    }
    let first = run("data: {\"error\":\"x\"}\n\n", true);
    assert!(!first.seen.has_chunk, "so the call may go elsewhere");
}

#[test]
fn a_missing_done_is_added_to_a_complete_stream_only() {
    for complete in [&[HELLO, STOP][..], &[HELLO, STOP, USAGE], &[HELLO, USAGE]] {
        let run = run(&events(complete), true);
        assert_eq!(run.sent, events(complete) + "data: [DONE]\n\n");
    }
    for cut in [&[][..], &[ROLE], &[ROLE, HELLO]] {
        let run = run(&events(cut), true);
        assert_eq!(run.sent, events(cut));
        assert!(matches!(run.steps.last(), Some(Step::Cut)));
    }
    let two = StripOptions {
        choices: 2,
        ..StripOptions::default()
    };
    let stream = events(&[HELLO, STOP]);
    assert!(
        matches!(run_pieces([stream.as_bytes()], two, true).steps.last(), Some(Step::Cut)),
        "the other is missing"
    );
    let stream = events(&[HELLO, STOP, STOP]);
    assert!(matches!(
        run_pieces([stream.as_bytes()], two, true).steps.last(),
        Some(Step::Done(_))
    ));
}

#[test]
fn a_last_event_without_its_blank_line() {
    for end in ["", "\n", "\r\n"] {
        let run = run(&format!("{}data: [DONE]{end}", events(&[HELLO, STOP])), true);
        assert_eq!(run.sent, events(&[HELLO, STOP, "[DONE]"]), "{end:?}");
        let run = self::run(&format!("{}data: {STOP}{end}", events(&[HELLO])), true);
        assert!(
            run.sent.ends_with("\n\ndata: [DONE]\n\n") && run.sent.contains(STOP),
            "{end:?}"
        );
    }
    let cut = format!("{}data: {}", events(&[HELLO]), STOP.get(..40).unwrap());
    let run = run(&cut, true);
    assert_eq!(run.sent, events(&[HELLO]), "half an event is never sent");
    assert!(matches!(run.steps.last(), Some(Step::Cut)));
    let whole = format!("{}data: {STOP}", events(&[HELLO]));
    let broke = run_pieces([whole.as_bytes()], StripOptions::default(), false);
    assert!(
        matches!(broke.steps.last(), Some(Step::Cut)),
        "a connection that broke proves nothing"
    );
}

#[test]
fn what_breaks_clients_is_dropped_and_what_does_not_passes() {
    let stream = format!(
        "data:\n\ndata: {{\"type\":\"ping\"}}\n\n: keep\n\nid: 1\n\n{}",
        events(&[STOP, r#"{"new":1}"#, "[DONE]"])
    );
    assert_eq!(
        run(&stream, true).sent,
        format!(": keep\n\nid: 1\n\n{}", events(&[STOP, r#"{"new":1}"#, "[DONE]"]))
    );
}

#[test]
fn nothing_passes_after_the_end() {
    let run = run(&(events(&[STOP, "[DONE]"]) + &events(&[HELLO])), true);
    assert_eq!(run.sent, events(&[STOP, "[DONE]"]));
    assert!(!run.seen.has_content);
}

#[test]
fn an_event_over_the_limit_ends_the_stream() {
    let options = StripOptions {
        max_event_bytes: 200,
        ..StripOptions::default()
    };
    let long = format!("data: {}", "x".repeat(300));
    let stream = events(&[ROLE]);
    let run = run_pieces([stream.as_bytes(), long.as_bytes()], options, true);
    assert_eq!(run.sent, stream);
    assert!(matches!(run.steps.last(), Some(Step::TooLarge(_))));
}

proptest! {
    #[test]
    fn cutting_the_stream_elsewhere_sends_the_same(
        order in prop::collection::vec(0usize..9, 0..8),
        end in prop::sample::select(vec!["\n\n", "\r\n\r\n", "\r\r"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        keep_usage: bool,
    ) {
        let pool = [ROLE, HELLO, STOP, USAGE, "[DONE]", "", r#"{"type":"ping"}"#, r#"{"error":"x"}"#, r#"{"choices":[],"citations":[1],"usage":{"total_tokens":1}}"#];
        let stream: String = order.iter().map(|&i| format!("data: {}{end}", pool[i])).collect();
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let options = StripOptions { keep_usage, ..StripOptions::default() };
        let whole = run_pieces([bytes], options, true);
        let pieces = run_pieces(cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]), options, true);
        // Where a CRLF is cut in two, its LF goes out with the next event: a blank line more or less.
        let plain = |sent: &str| {
            let text = sent.replace("\r\n", "\n").replace('\r', "\n");
            text.split("\n\n").map(str::trim).filter(|event| !event.is_empty()).collect::<Vec<_>>().join("\n\n")
        };
        prop_assert_eq!(plain(&whole.sent), plain(&pieces.sent));
        prop_assert_eq!(&whole.seen, &pieces.seen);
        let last = |run: &Run| run.steps.last().map(std::mem::discriminant);
        prop_assert_eq!(last(&whole), last(&pieces));
    }
}
