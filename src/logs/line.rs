//! One line of the log, as it stands in the file: a JSON object.

use serde_json::{Map, Value};

/// Levels, the most serious first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Width of a level in a line for people.
const LEVEL_WIDTH: usize = 8;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Line(Map<String, Value>);

impl Line {
    /// A line, if it is one of ours.
    pub fn parse(text: &str) -> Option<Line> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Some(Line(fields)),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its level, lower case.
    pub fn level(&self) -> String {
        self.text("level").to_ascii_lowercase()
    }

    /// The fields, with the node's name in them.
    pub fn of_node(mut self, node: &str) -> Value {
        if !node.is_empty() {
            self.0.insert("node".to_owned(), node.into());
        }
        Value::Object(self.0)
    }

    /// `2026-11-26 18:00:00 | INFO     | target - message field=value`.
    pub fn for_people(&self) -> String {
        let time: String = self
            .text("ts")
            .chars()
            .take(19)
            .map(|c| if c == 'T' { ' ' } else { c })
            .collect();
        let level = self.text("level").to_ascii_uppercase();
        let mut line = format!(
            "{time} | {level:<LEVEL_WIDTH$} | {} - {}",
            self.text("target"),
            self.text("message")
        );
        for (name, value) in &self.0 {
            if matches!(name.as_str(), "ts" | "level" | "target" | "message") {
                continue;
            }
            let value = match value {
                Value::String(text) => text.replace(['\n', '\r'], " "),
                other => other.to_string(),
            };
            line.push_str(&format!(" {name}={value}"));
        }
        line
    }
}

/// How serious a level is at least; `None` for what is no level.
pub fn least(level: &str) -> Option<usize> {
    let level = level.trim().to_ascii_lowercase();
    LEVELS.iter().position(|known| *known == level)
}

/// Whether a line of this level is shown where those of `least` and worse are.
pub fn is_shown(level: &str, least: usize) -> bool {
    self::least(level).is_none_or(|level| level <= least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_filtered_and_told() {
        let line = Line::parse(r#"{"ts":"2026-11-26T18:00:00.123Z","level":"WARN","message":"it { rests }","target":"grok2api","token":"tok_1","n":3}"#).unwrap();
        let said = line.for_people();
        assert!(
            said.starts_with("2026-11-26 18:00:00 | WARN     | grok2api - it { rests }"),
            "{said}"
        );
        assert!(said.contains(" token=tok_1") && said.contains(" n=3"), "{said}");
        assert!(is_shown(&line.level(), least("info").unwrap()));
        assert!(!is_shown(&line.level(), least("ERROR").unwrap()));
        assert_eq!(least("loud"), None);
        assert_eq!(line.of_node("one")["node"], "one");
        assert!(Line::parse("plain text").is_none());
    }
}
