//! The fuzz targets over seeds and mutations of them, for a bounded number of rounds: what libFuzzer does for hours where
//! it is at hand.

#[path = "../fuzz/targets.rs"]
mod targets;

/// Mutations of each seed.
const ROUNDS: usize = 400;

const CHAT: &str = r#"{"model":"grok-4","messages":[{"role":"developer","content":"a \u00e9 \ud83d\ude00"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}],"stream":null,"stream_options":{"x":1},"max_tokens":9,"n":1,"tools":[],"unknown":[1.5e3,-0,true,null]}"#;
const STREAM: &str = "\u{1}: hi\r\n\r\ndata: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\nevent: e\rdata: {\"error\":{\"message\":\"m\"}}\r\rdata: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost_in_usd_ticks\":3}}\n\ndata: [DONE]\n\n";
const ANSWER: &str = r#"{"id":"a","object":"chat.completion","model":"grok-4","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}}"#;
const CONFIG: &str = "config_version = 1\n[server]\nport = 8000\n[xai]\nfirst_byte_timeout_secs = 5\n[[xai.teams]]\nid = \"t\"\n[xai.teams.limits.\"grok-4*\"]\nrpm = 10\n[[xai.rules]]\nstatus = 403\ntext = \"*x*\"\nretry = true\n";

/// One change: a byte set, a piece dropped, doubled or put elsewhere, or a mark of the format put in.
fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    const MARKS: [&[u8]; 16] = [
        b"\n",
        b"\r\n\r\n",
        b"data:",
        b"\"",
        b"\\u",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\xff",
        b"\xef\xbb\xbf",
        b"=",
        b"1e999",
        b"null",
        b"\0",
    ];
    let at = random.usize(..=bytes.len());
    let end = (at + random.usize(..24)).min(bytes.len());
    match random.u8(..5) {
        0 if at < bytes.len() => bytes[at] = random.u8(..),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        3 => {
            let piece: Vec<u8> = bytes.drain(at..end).collect();
            let to = random.usize(..=bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let mark = MARKS[random.usize(..MARKS.len())];
            bytes.splice(at..at, mark.iter().copied());
        }
    }
}

#[test]
fn every_target_holds_for_seeds_and_mutations_of_them() {
    let mut random = fastrand::Rng::with_seed(20_260_701);
    for (name, target) in targets::TARGETS {
        for seed in ["", CHAT, STREAM, ANSWER, CONFIG] {
            target(seed.as_bytes());
            for round in 0..ROUNDS {
                let mut input = seed.as_bytes().to_vec();
                for _ in 0..random.usize(1..6) {
                    mutate(&mut random, &mut input);
                }
                let outcome = std::panic::catch_unwind(|| target(&input));
                assert!(
                    outcome.is_ok(),
                    "{name}, round {round}: {:?}",
                    String::from_utf8_lossy(&input)
                );
            }
        }
    }
}
