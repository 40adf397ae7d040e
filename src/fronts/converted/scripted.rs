//! A provider that follows a script, in a dialect of its own: a JSON object an event. It proves that whoever is read into the
//! neutral form is answered for in every dialect that clients speak, and asked by all of them in one.

use serde::Deserialize;
use serde_json::{Value, json};

use super::tests::{TARGETS, golden, in_order, meaning, relayed};
use super::*;
use crate::engine::usage::Usage;

/// What an event says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Begun {
        id: String,
        model: String,
        at: u64,
    },
    Thought(String),
    Text(String),
    Call {
        id: String,
        name: String,
        with: Value,
    },
    Ended {
        why: String,
        read: u64,
        written: u64,
        thought: u64,
    },
    /// The provider could not go on.
    Broken {},
}

/// The scripts, each by what a user has to say to get it.
const SCRIPTS: [(&str, &[&str]); 5] = [
    (
        "greet",
        &[
            r#"{"begun": {"id": "s1", "model": "script-1", "at": 1790000000}}"#,
            r#"{"thought": "They greet"}"#,
            r#"{"thought": ": so do I."}"#,
            r#"{"text": "Good "}"#,
            r#"{"text": "day 🙂\n"}"#,
            r#"{"ended": {"why": "complete", "read": 21, "written": 4, "thought": 12}}"#,
        ],
    ),
    (
        "look it up",
        &[
            r#"{"begun": {"id": "s2", "model": "script-1", "at": 1790000000}}"#,
            r#"{"text": "Wait. "}"#,
            r#"{"call": {"id": "call_7", "name": "get_weather", "with": {"city": "Ås"}}}"#,
            r#"{"call": {"id": "call_8", "name": "get_time", "with": {}}}"#,
            r#"{"ended": {"why": "calls", "read": 30, "written": 20, "thought": 0}}"#,
        ],
    ),
    (
        "go on and on",
        &[
            r#"{"begun": {"id": "s3", "model": "script-1", "at": 1790000000}}"#,
            r#"{"text": "on and"}"#,
            r#"{"ended": {"why": "limit", "read": 5, "written": 2, "thought": 0}}"#,
        ],
    ),
    (
        "say what may not be said",
        &[
            r#"{"begun": {"id": "s4", "model": "script-1", "at": 1790000000}}"#,
            r#"{"ended": {"why": "withheld", "read": 5, "written": 0, "thought": 0}}"#,
        ],
    ),
    (
        "break",
        &[
            r#"{"begun": {"id": "s5", "model": "script-1", "at": 1790000000}}"#,
            r#"{"text": "So far"}"#,
            r#"{"broken": {}}"#,
        ],
    ),
];

/// The provider's dialect.
#[derive(Clone, Copy)]
struct Script;

#[derive(Default)]
struct Following {
    told: Told,
}

impl Following {
    fn line(&mut self, line: Line) -> Option<Said> {
        Some(match line {
            Line::Begun { id, model, at } => {
                self.told.model = Some(model.clone());
                Said::Begun { id, model, created: at }
            }
            Line::Thought(text) => Said::Thought(text),
            Line::Text(text) => Said::Text(text),
            Line::Call { id, name, with } => Said::Called {
                id,
                name,
                arguments: with.to_string(),
            },
            Line::Ended {
                why,
                read,
                written,
                thought,
            } => {
                let usage = Usage {
                    prompt: Some(read),
                    completion: Some(written),
                    reasoning: Some(thought),
                    ..Usage::default()
                };
                self.told.usage = Some(usage);
                let why = match why.as_str() {
                    "calls" => Why::Calls,
                    "limit" => Why::Limit,
                    "withheld" => Why::Withheld,
                    _ => Why::Complete,
                };
                Said::Ended(why, usage)
            }
            Line::Broken {} => return None,
        })
    }
}

impl Hear for Following {
    fn event(&mut self, data: &[u8], said: &mut Vec<Said>) -> Meaning {
        let Ok(line) = serde_json::from_slice::<Line>(data) else {
            return Meaning::Suspect;
        };
        match self.line(line) {
            None => Meaning::Failed,
            Some(last @ Said::Ended(..)) => {
                said.push(last);
                Meaning::Last
            }
            Some(one) => {
                said.push(one);
                Meaning::Part
            }
        }
    }

    fn told(&self) -> Told {
        self.told.clone()
    }
}

impl Source for Script {
    type Hearing = Following;

    fn whole(body: &[u8]) -> Result<Vec<Said>, String> {
        let lines: Vec<Line> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut following = Following::default();
        let said = lines.into_iter().map(|line| following.line(line));
        said.collect::<Option<Vec<Said>>>().ok_or_else(|| "it broke".to_owned())
    }

    fn told(body: &[u8]) -> Told {
        let mut following = Following::default();
        for line in serde_json::from_slice::<Vec<Line>>(body).unwrap_or_default() {
            following.line(line);
        }
        following.told
    }
}

/// What the provider answers: the script that the last thing said by the user names, in the one form it is asked in.
fn answered(request: &[u8]) -> &'static [&'static str] {
    let request: Value = serde_json::from_slice(request).unwrap();
    let last = request["input"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "user", "{request}");
    let text = last["content"]
        .as_str()
        .unwrap_or_else(|| last["content"][0]["text"].as_str().unwrap());
    SCRIPTS.iter().find(|(name, _)| *name == text).unwrap().1
}

/// What each front asks of it when a user says something.
fn requests(text: &str) -> Vec<(&'static str, Bytes)> {
    let terms = Terms {
        model: "script-1",
        stream: true,
        max_output: None,
    };
    let messages = json!([{"role": "user", "content": text}]);
    let chat = json!({"model": "script-1", "stream": true, "messages": messages}).to_string();
    let anthropic = json!({"model": "script-1", "max_tokens": 9, "messages": messages}).to_string();
    let responses = json!({"model": "script-1", "stream": true, "input": messages}).to_string();
    vec![
        ("chat", of_chat(chat.as_bytes(), terms).unwrap()),
        ("messages", of_messages(anthropic.as_bytes(), terms).unwrap()),
        ("responses", responses.into()),
    ]
}

fn stream_of(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("data: {line}\n\n")).collect()
}

#[test]
fn every_front_asks_it_and_is_answered_in_its_own_dialect() {
    for (text, script) in SCRIPTS {
        for (front, request) in requests(text) {
            assert_eq!(answered(&request), script, "{front}");
        }
        let name = text.replace(' ', "-");
        let stream = stream_of(script);
        let mut meanings = Vec::new();
        for (dialect, target) in TARGETS {
            let convert = ConvertedDialect(target, Script);
            let (made, end) = relayed(convert, &stream, stream.len());
            for piece in [1, 7, 100] {
                assert_eq!(relayed(convert, &stream, piece), (made.clone(), end), "{text}: {piece}");
            }
            golden(
                &format!("scripted-{name}.{dialect}.txt"),
                &format!("{}({end})\n", in_order(&made)),
            );
            let whole = format!("[{}]", script.join(","));
            let Ok(answer) = convert.whole(whole.as_bytes()) else {
                assert_eq!(text, "break");
                continue;
            };
            assert!(convert.read_answer(whole.as_bytes()).usage.is_some());
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            meanings.push(meaning(target, &answer));
            golden(
                &format!("scripted-{name}.{dialect}.whole.json"),
                &crate::documents::text(answer),
            );
        }
        assert!(meanings.windows(2).all(|two| two[0] == two[1]), "{text}: {meanings:?}");
    }
}

#[test]
fn a_script_that_breaks_off_is_cut_after_what_came_whole() {
    for (text, script) in SCRIPTS.iter().filter(|(text, _)| *text != "break") {
        for (_, target) in TARGETS {
            let convert = ConvertedDialect(target, Script);
            let (whole, end) = relayed(convert, &stream_of(script), usize::MAX);
            assert_eq!(end, "done");
            for kept in 0..script.len() {
                let stream = format!("{}data: {{\"text\":", stream_of(&script[..kept]));
                let (made, end) = relayed(convert, &stream, usize::MAX);
                assert_eq!(end, "cut", "{text} after {kept}");
                assert!(whole.starts_with(&made), "{text} after {kept}: {made}");
            }
        }
    }
}
