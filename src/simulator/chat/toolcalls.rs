//! Whether to call a tool, which, and with what.

use serde_json::Value;

use super::compose::Gist;
use super::request::{ChatRequest, Function, Tool, ToolChoice, ToolMode};
use super::structured::{Filler, names};

/// Most calls of one turn.
const MOST_CALLS: usize = 8;
/// With more tools than this on offer, as agents have them, a prompt has to name what it wants: their long descriptions
/// speak of everything.
const FEW_TOOLS: usize = 6;

/// One call in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

/// The call that a script dictates (`name{…}`), where the tool is on offer and has not answered yet.
pub fn dictated(request: &ChatRequest, gist: &Gist, called: &str) -> Vec<Call> {
    let (name, arguments) = match called.find('{') {
        Some(at) => called.split_at(at),
        None => (called, "{}"),
    };
    let offered = request
        .tools
        .iter()
        .flatten()
        .any(|Tool::Function { function }| function.name == name);
    if !offered || !gist.results.is_empty() {
        return Vec::new();
    }
    vec![Call {
        id: call_id(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }]
}

fn call_id() -> String {
    format!("call_{:08}", fastrand::u32(10_000_000..100_000_000))
}

/// The calls that this turn makes; none: it answers in words.
pub fn decide(request: &ChatRequest, gist: &Gist) -> Vec<Call> {
    let functions: Vec<&Function> = request
        .tools
        .iter()
        .flatten()
        .map(|Tool::Function { function }| function)
        .collect();
    let parallel = request.parallel_tool_calls != Some(false);
    let chosen: Vec<&Function> = match &request.tool_choice {
        _ if functions.is_empty() => Vec::new(),
        Some(ToolChoice::Mode(ToolMode::None)) => Vec::new(),
        Some(ToolChoice::Named { function }) => functions
            .into_iter()
            .filter(|one| one.name == function.name)
            .take(1)
            .collect(),
        Some(ToolChoice::Mode(ToolMode::Required)) => {
            let fitting: Vec<&Function> = functions
                .iter()
                .copied()
                .filter(|function| concerns(function, &gist.asked))
                .collect();
            if fitting.is_empty() {
                functions.into_iter().take(1).collect()
            } else {
                fitting
            }
        }
        // With results at hand the model answers from them.
        _ if !gist.results.is_empty() => Vec::new(),
        None | Some(ToolChoice::Mode(ToolMode::Auto)) => functions
            .into_iter()
            .filter(|function| match request.tools.as_ref().map_or(0, Vec::len) {
                0..=FEW_TOOLS => concerns(function, &gist.asked),
                _ => gist.asked.split_whitespace().any(|word| word == function.name),
            })
            .collect(),
    };
    let mut calls = Vec::new();
    for function in chosen {
        for skip in 0..subjects(function, &gist.asked) {
            if calls.len() == MOST_CALLS || (!parallel && !calls.is_empty()) {
                return calls;
            }
            let arguments = match &function.parameters {
                Some(schema) => Filler::new(&gist.asked, skip).value(&as_object(schema)),
                None => Value::Object(serde_json::Map::new()),
            };
            calls.push(Call {
                id: call_id(),
                name: function.name.clone(),
                arguments: arguments.to_string(),
            });
        }
    }
    calls
}

/// Arguments are an object even where a schema forgets to say so.
fn as_object(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut()
        && !fields.contains_key("type")
        && !fields.contains_key("$ref")
    {
        fields.insert("type".to_owned(), Value::String("object".to_owned()));
    }
    schema
}

/// Whether the prompt speaks of what the function is for.
fn concerns(function: &Function, asked: &str) -> bool {
    const GENERIC: [&str; 16] = [
        "with", "from", "that", "this", "given", "current", "returns", "return", "user", "find", "call", "function",
        "tool", "name", "value", "data",
    ];
    let asked = asked.to_lowercase();
    let asked: Vec<&str> = asked.split(|char: char| !char.is_alphanumeric()).collect();
    let mut said = split_name(&function.name);
    said.extend(function.description.iter().flat_map(|text| {
        text.to_lowercase()
            .split(|char: char| !char.is_alphanumeric())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    }));
    said.iter().any(|word| {
        word.len() > 3 && !GENERIC.contains(&word.as_str()) && asked.iter().any(|other| same_stem(word, other))
    })
}

/// `getWeather_now` → get, weather, now.
fn split_name(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for char in name.chars() {
        if char.is_uppercase() || !char.is_alphanumeric() {
            words.push(String::new());
        }
        if char.is_alphanumeric()
            && let Some(last) = words.last_mut()
        {
            last.extend(char.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn same_stem(word: &str, other: &str) -> bool {
    other == word || (other.len() >= 4 && word.len() >= 4 && (other.starts_with(word) || word.starts_with(other)))
}

/// How many things the prompt names that a function of one text parameter would be called for, one by one.
fn subjects(function: &Function, asked: &str) -> usize {
    let texts = function
        .parameters
        .as_ref()
        .and_then(|schema| schema.get("properties"))
        .and_then(Value::as_object)
        .map_or(0, |properties| {
            properties
                .values()
                .filter(|property| {
                    property.get("type") == Some(&Value::from("string")) && property.get("enum").is_none()
                })
                .count()
        });
    let named = names(asked).len();
    let several = asked.contains(" and ") || asked.contains(", ");
    if texts == 1 && several && named > 1 && named <= MOST_CALLS && asked.chars().any(char::is_uppercase) {
        named
    } else {
        1
    }
}
