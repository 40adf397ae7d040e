//! Takes out of an upstream's words what no client may see: team ids, keys and pieces of keys, console addresses, ids of
//! users and requests. What is taken out by mistake costs a word; what is left in by mistake tells strangers whose account
//! pays.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The most of a text that is looked at, bytes: refusals are short, bodies of unknown servers need not be.
const MAX_INPUT: usize = 8 << 10;

/// A regular expression that stands in this program.
#[expect(
    clippy::expect_used,
    reason = "a literal of ours; every one is compiled by a test of its module"
)]
pub(super) fn pattern(literal: &'static str) -> Regex {
    Regex::new(literal).expect("a valid literal")
}

static SUBSTITUTES: LazyLock<[(Regex, &str); 10]> = LazyLock::new(|| {
    [
        (
            pattern(r"(?i)(?:https?://)?\b(?:console|accounts|auth|management-api)\.x\.ai[^\s,;)]*"),
            "the provider's console",
        ),
        (pattern(r"(?i)\bbearer\s+\S+"), "[key]"),
        (pattern(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*"), "[key]"),
        (pattern(r"(?i)\b(?:xai|sk|sso)-[A-Za-z0-9_*.-]{4,}"), "[key]"),
        (pattern(r"[A-Za-z0-9_.-]*\*{2,}[A-Za-z0-9_*.-]*"), "[key]"),
        (
            pattern(
                r#"(?i)\b(api[ _-]?key|team|user|organi[sz]ation|org|account)(?:[ _-]?id)?\s*[:=]\s*["'`<]*[^\s,;]+"#,
            ),
            "$1",
        ),
        (
            pattern(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
            "[id]",
        ),
        (pattern(r"(?i)\b[0-9a-f]{32,}\b"), "[id]"),
        (pattern(r"(?i)<[a-z_-]*(?:uuid|id|key|token)>"), "[id]"),
        (pattern(r"[^\s<>@,;]+@[^\s<>@,;]+\.[A-Za-z]{2,}"), "[address]"),
    ]
});

static TEAM: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)\b(team)\s+(?:id\s+)?["'`(]*([^\s,;:"'`()]+)["'`)]*"#));

/// Words that follow "team" in a sentence; anything else there is taken for its id.
const NOT_AN_ID: [&str; 62] = [
    "has", "hasn't", "have", "had", "is", "isn't", "are", "was", "were", "does", "doesn't", "do", "did", "can",
    "can't", "cannot", "could", "may", "must", "will", "would", "should", "and", "or", "but", "to", "for", "of", "in",
    "on", "at", "by", "with", "without", "which", "that", "who", "not", "rate", "limit", "limits", "member", "members",
    "plan", "tier", "admin", "owner", "settings", "account", "model", "models", "usage", "billing", "credit",
    "credits", "lacks", "needs", "reached", "exceeded", "because", "so", "if",
];

/// `text` without identifiers, on one line, with `shown` where the upstream says `model`; at most `max_chars` characters.
pub fn clean(text: &str, model: &str, shown: &str, max_chars: usize) -> String {
    let mut cut = text.len().min(MAX_INPUT);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let one_line: Vec<&str> = text
        .get(..cut)
        .unwrap_or_default()
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let mut said = one_line.join(" ");
    for (regex, with) in SUBSTITUTES.iter() {
        if let Cow::Owned(replaced) = regex.replace_all(&said, *with) {
            said = replaced;
        }
    }
    if let Cow::Owned(replaced) = TEAM.replace_all(&said, |found: &Captures<'_>| {
        let word = |index: usize| found.get(index).map(|word| word.as_str()).unwrap_or_default();
        match NOT_AN_ID.contains(&word(2).trim_end_matches('.').to_ascii_lowercase().as_str()) {
            true => word(0).to_owned(),
            // A full stop that ended the sentence goes on ending it.
            false if word(2).ends_with('.') => format!("{}.", word(1)),
            false => word(1).to_owned(),
        }
    }) {
        said = replaced;
    }
    let mut said = rename(&said, model, shown);
    if let Some((end, _)) = said.char_indices().nth(max_chars) {
        said.truncate(end);
        said.pop();
        said.push('…');
    }
    said
}

/// `text` with the whole word `from` replaced by `to`.
fn rename(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() || from == to {
        return text.to_owned();
    }
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(from) {
        let (head, tail) = (
            rest.get(..at).unwrap_or_default(),
            rest.get(at + from.len()..).unwrap_or_default(),
        );
        let left = head.chars().next_back().or(before);
        let mut right = tail.chars();
        // A full stop ends a sentence or goes on with a version.
        let goes_on = match right.next() {
            Some('.') => right.next().is_some_and(is_part),
            Some(c) => is_part(c),
            None => false,
        };
        renamed.push_str(head);
        renamed.push_str(match left.is_some_and(|c| is_part(c) || c == '.') || goes_on {
            true => from,
            false => to,
        });
        before = from.chars().next_back();
        rest = tail;
    }
    renamed.push_str(rest);
    renamed
}

#[cfg(test)]
mod tests;
