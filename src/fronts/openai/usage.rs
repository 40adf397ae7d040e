//! What an answer says about itself: usage, the model that answered, whether it came to its end. Read off the bytes as they
//! pass; JSON is only parsed where a search for the member's name says that it is there.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::fronts::json::{Cursor, Kind, MAX_DEPTH, Span};

/// What a call used, as the upstream counts it. `None` = the upstream did not say, which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub prompt: Option<u64>,
    /// Tokens written. xAI leaves those of reasoning out on chat; OpenAI counts them in.
    pub completion: Option<u64>,
    /// Tokens of reasoning.
    pub reasoning: Option<u64>,
    /// Tokens read from a cache, among `prompt`.
    pub cached: Option<u64>,
    /// All tokens: what a limit in tokens counts.
    pub total: Option<u64>,
    /// What it cost, 1e-10 USD.
    pub cost_in_usd_ticks: Option<u64>,
}

impl Usage {
    /// All tokens, summed up where the upstream gives no total. The sum may count reasoning twice for an upstream that
    /// includes it in `completion` and gives no total; better too many than too few.
    pub fn total_tokens(&self) -> Option<u64> {
        self.total.or_else(|| {
            let (prompt, completion) = (self.prompt?, self.completion?);
            Some(
                prompt
                    .saturating_add(completion)
                    .saturating_add(self.reasoning.unwrap_or(0)),
            )
        })
    }

    /// Whether the upstream said anything at all.
    pub fn is_known(&self) -> bool {
        *self != Usage::default()
    }

    /// Reads the value of a `usage` member; `None` if it is not an object or tells nothing.
    pub fn parse(json: &[u8]) -> Option<Usage> {
        let wire: WireUsage = serde_json::from_slice(json).ok()?;
        Some(wire.into()).filter(Usage::is_known)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    cost_in_usd_ticks: Count,
    prompt_tokens_details: Option<WireDetails>,
    completion_tokens_details: Option<WireDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireDetails {
    cached_tokens: Count,
    reasoning_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Usage {
        Usage {
            prompt: wire.prompt_tokens.0,
            completion: wire.completion_tokens.0,
            reasoning: wire
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens.0),
            cached: wire.prompt_tokens_details.and_then(|details| details.cached_tokens.0),
            total: wire.total_tokens.0,
            cost_in_usd_ticks: wire.cost_in_usd_ticks.0,
        }
    }
}

/// A count, or nothing: a count of another type must not spoil the others.
#[derive(Clone, Copy, Default)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        struct Lenient;
        impl<'de> Visitor<'de> for Lenient {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }
            fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
                Ok(Count(Some(value)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(value).ok()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Count, E> {
                // Saturates; rounds up, so that nothing is counted too low.
                Ok(Count((value >= 0.0).then(|| value.ceil() as u64)))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_str<E>(self, _: &str) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }
        deserializer.deserialize_any(Lenient)
    }
}

// A quote inside JSON text is escaped, so a name in bare quotes is a member's name or a whole string, never prose.
static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"choices\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static USAGE_LAST: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new("\"usage\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));

/// Whether the bytes hold a member `choices`, as every chat chunk does.
pub fn has_choices(json: &[u8]) -> bool {
    CHOICES.find(json).is_some()
}

/// Whether the bytes may hold a member `error`.
pub fn may_be_error(json: &[u8]) -> bool {
    ERROR.find(json).is_some()
}

/// Whether the bytes may hold a usage that is not `null`.
pub fn may_have_usage(json: &[u8]) -> bool {
    USAGE
        .find_iter(json)
        .any(|at| matches!(value_after(json, at + 7), Some(b'{')))
}

/// Whether the data is a keep-alive of the kind `{"type":"ping"}`, which the SDKs of this dialect fail on.
pub fn is_ping(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice::<Typed<'_>>(json).is_ok_and(|typed| typed.kind == "ping")
}

/// How many choices end in these bytes: members `finish_reason` that are not `null`.
pub fn finished_choices(json: &[u8]) -> u64 {
    FINISH
        .find_iter(json)
        .filter(|&at| matches!(value_after(json, at + 15), Some(b'"')))
        .count() as u64
}

/// The first byte of a member's value, the member's name ending before `at`.
fn value_after(json: &[u8], at: usize) -> Option<u8> {
    let mut rest = json
        .get(at..)?
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace());
    match rest.next()? {
        b':' => rest.next(),
        _ => None,
    }
}

/// A chunk that was worth parsing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkFacts {
    /// The model that answers.
    pub model: Option<String>,
    /// Its usage.
    pub usage: Option<Usage>,
    /// `choices` is there and empty.
    pub no_choices: bool,
    /// Some delta says or thinks something, or calls a tool.
    pub has_content: bool,
    /// `citations` is there and not empty.
    pub has_citations: bool,
}

#[derive(Deserialize)]
struct WireChunk<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    choices: Option<Vec<WireChoice<'a>>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    citations: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct WireChoice<'a> {
    #[serde(borrow, default)]
    delta: Option<WireDelta<'a>>,
}

#[derive(Deserialize)]
struct WireDelta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
}

impl WireDelta<'_> {
    fn says_something(&self) -> bool {
        [&self.content, &self.reasoning_content, &self.refusal]
            .into_iter()
            .any(|text| text.as_deref().is_some_and(|text| !text.is_empty()))
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

/// Parses a chunk; `None` if it does not look like one.
pub fn read_chunk(data: &[u8]) -> Option<ChunkFacts> {
    let wire: WireChunk<'_> = serde_json::from_slice(data).ok()?;
    let choices = wire.choices.as_deref();
    Some(ChunkFacts {
        model: wire.model.map(Cow::into_owned),
        usage: wire.usage.map(Usage::from).filter(Usage::is_known),
        no_choices: choices.is_some_and(<[_]>::is_empty),
        has_content: choices
            .unwrap_or_default()
            .iter()
            .any(|choice| choice.delta.as_ref().is_some_and(WireDelta::says_something)),
        has_citations: wire.citations.is_some_and(|list| !list.is_empty()),
    })
}

/// What an answer that is not streamed says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// The model that answered.
    pub model: Option<String>,
    /// Its usage.
    pub usage: Option<Usage>,
    /// Choices that came to an end.
    pub finished: u64,
}

/// Reads an answer that is not streamed. Costs a search from each end where the answer is laid out as usual, one pass over
/// it where it is not.
pub fn read_answer(body: &[u8]) -> AnswerFacts {
    AnswerFacts {
        model: read_model(body),
        usage: usage_near_end(body).or_else(|| usage_by_walk(body)),
        finished: finished_choices(body),
    }
}

/// The top-level `model`, looked for no further than `choices`.
fn read_model(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut cursor = Cursor::new(text, MAX_DEPTH);
    cursor.enter().ok()?;
    let mut first = true;
    while let Some(name) = cursor.next_member(&mut first).ok()? {
        if name.is("model") && cursor.kind().ok()? == Kind::String {
            return Some(cursor.string().ok()?.decode().ok()?.into_owned());
        }
        if name.is("choices") {
            break;
        }
        cursor.skip_value().ok()?;
    }
    None
}

/// The last `usage` of the body, if what follows it shows that it is a member of the outermost object.
fn usage_near_end(body: &[u8]) -> Option<Usage> {
    let name_end = USAGE_LAST.rfind(body)? + 7;
    let tail = std::str::from_utf8(body.get(name_end..)?).ok()?;
    let colon = tail.find(|c: char| !c.is_ascii_whitespace())?;
    let tail = tail.get(colon..)?.strip_prefix(':')?;
    let mut cursor = Cursor::new(tail, MAX_DEPTH);
    let value = cursor.skip_value().ok()?;
    // Read on as if the object had been entered: its other members, its end, the body's end.
    let rest = tail.get(value.end..)?.trim_start();
    let rest = match rest.strip_prefix(',') {
        Some(members) => format!("{{{members}"),
        None => format!("{{{rest}"),
    };
    let mut cursor = Cursor::new(&rest, MAX_DEPTH);
    cursor.skip_value().ok()?;
    cursor.end().ok()?;
    Usage::parse(value.of(tail.as_bytes()))
}

/// The top-level `usage`, wherever it stands.
fn usage_by_walk(body: &[u8]) -> Option<Usage> {
    let (_, value) = top_level_member(body, "usage")?;
    Usage::parse(value.of(body))
}

/// Where a member of the outermost object stands: its name and its value. The last one, if there are several.
pub(super) fn top_level_member(body: &[u8], wanted: &str) -> Option<(Span, Span)> {
    let text = std::str::from_utf8(body).ok()?;
    let mut cursor = Cursor::new(text, MAX_DEPTH);
    cursor.enter().ok()?;
    let mut found = None;
    let mut first = true;
    while let Some(name) = cursor.next_member(&mut first).ok()? {
        let value = cursor.skip_value().ok()?;
        if name.is(wanted) {
            found = Some((name.span, value));
        }
    }
    found
}

#[cfg(test)]
mod tests;
