//! Texts that hold credentials: one a line, CSV with a header line, a JSON list, or an export of the older project (pool →
//! rows). What is no credential is told with its line.

use grok2api_schemas::admin::tokens::NewToken;
use grok2api_schemas::token::PoolName;
use serde_json::Value;

use super::{LONGEST_LINE, of_json, read, unknown_pool};

/// What one place of a text holds.
pub type Found = (u64, Result<NewToken, String>);

/// Names of the column that holds the credential.
const SECRETS: [&str; 5] = ["token", "secret", "key", "api_key", "sso"];

/// Everything in a text. `pool` is that of credentials that do not say.
pub fn credentials(text: &str, pool: Option<PoolName>) -> Vec<Found> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if start.starts_with(['[', '{'])
        && let Ok(value) = serde_json::from_str::<Value>(start)
        && let Some(found) = of_document(&value, pool)
    {
        return found;
    }
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let header = lines
        .clone()
        .find(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .and_then(|(at, line)| Some((at, columns(line)?)));
    if let Some((at, columns)) = header {
        return lines
            .filter(|(line, text)| *line > at && !text.trim().is_empty())
            .map(|(line, text)| (line as u64 + 1, of_row(text, &columns, pool)))
            .collect();
    }
    lines
        .by_ref()
        .map(|(at, line)| (at as u64 + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| match line.len() > LONGEST_LINE {
            true => (at, Err(format!("the line is longer than {LONGEST_LINE} bytes"))),
            false => (at, read(line.as_bytes(), pool)),
        })
        .collect()
}

/// A list of credentials, or pool → list. `None`: it is one credential, or nothing of the kind.
fn of_document(value: &Value, pool: Option<PoolName>) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    match value {
        Value::Array(rows) => found.extend(rows.iter().map(|row| of_value(row, pool))),
        Value::Object(pools) if pools.values().any(Value::is_array) => {
            for (name, rows) in pools {
                let Some(rows) = rows.as_array() else { continue };
                match PoolName::parse(name) {
                    Some(named) => found.extend(rows.iter().map(|row| of_value(row, Some(named)))),
                    // The older project's rows in a list under any other name.
                    None if matches!(name.as_str(), "tokens" | "items" | "data") => {
                        found.extend(rows.iter().map(|row| of_value(row, pool)));
                    }
                    None => found.extend(rows.iter().map(|_| Err(unknown_pool(name)))),
                }
            }
        }
        _ => return None,
    }
    let numbered = found.into_iter().zip(1..).map(|(found, at)| (at, found));
    Some(numbered.collect())
}

fn of_value(row: &Value, pool: Option<PoolName>) -> Result<NewToken, String> {
    match row {
        Value::String(text) => read(text.trim().as_bytes(), pool),
        Value::Object(_) => of_json(&row.to_string(), pool),
        _ => Err("neither a text nor an object".to_owned()),
    }
}

/// The columns of a header line, if it is one: cells of known names, one of them for the credential.
fn columns(line: &str) -> Option<Vec<String>> {
    let cells: Vec<String> = cells(line)?
        .into_iter()
        .map(|cell| cell.trim().to_ascii_lowercase())
        .collect();
    let has_secret = cells.iter().any(|cell| SECRETS.contains(&cell.as_str()));
    let is_plain = cells
        .iter()
        .all(|cell| cell.chars().all(|c| c.is_ascii_alphanumeric() || "_- ".contains(c)));
    (has_secret && is_plain).then_some(cells)
}

fn of_row(line: &str, columns: &[String], pool: Option<PoolName>) -> Result<NewToken, String> {
    let cells = cells(line).ok_or("a quote is not closed")?;
    let cell = |names: &[&str]| {
        let at = columns.iter().position(|column| names.contains(&column.as_str()))?;
        cells.get(at).map(|cell| cell.trim()).filter(|cell| !cell.is_empty())
    };
    let secret = cell(&SECRETS).ok_or("the row has no credential")?;
    let mut object = serde_json::Map::new();
    object.insert("token".to_owned(), secret.into());
    for name in ["label", "note", "proxy", "pool", "status"] {
        if let Some(text) = cell(&[name]) {
            object.insert(name.to_owned(), text.into());
        }
    }
    if let (None, Some(name)) = (cell(&["label"]), cell(&["name"])) {
        object.insert("label".to_owned(), name.into());
    }
    if let Some(tags) = cell(&["tags"]) {
        let tags: Vec<&str> = tags.split([';', '|', ' ']).filter(|tag| !tag.is_empty()).collect();
        object.insert("tags".to_owned(), tags.into());
    }
    of_json(&Value::Object(object).to_string(), pool)
}

/// The cells of a line of CSV (RFC 4180 without line breaks in cells); `None` where a quote is not closed.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.last_mut()?;
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if is_quoted || cell.trim().is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cell.push(c),
        }
    }
    (!is_quoted).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines, secrets, labels and pools; what is none with its words.
    fn all(text: &str) -> Vec<(u64, String)> {
        credentials(text, None)
            .into_iter()
            .map(|(line, found)| match found {
                Ok(token) => (
                    line,
                    format!("{} {} {}", token.secret, token.label, token.pool.as_str()),
                ),
                Err(words) => (line, words),
            })
            .collect()
    }

    fn rows(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(
            all("\u{feff}xai-one-two\n\n# note\r\nsso=abc-def\n{\"token\":\"xai-three\",\"label\":\"c\"}\nnot one"),
            rows(&[
                (1, "xai-one-two  apiKey"),
                (4, "abc-def  ssoBasic"),
                (5, "xai-three c apiKey"),
                (6, "`token` has spaces or unprintable characters inside."),
            ])
        );
        assert_eq!(
            all("name,token,tags,pool\n\"a, b\",xai-one,x;y,\n\nc,,,\nd,\"broken\ne,abc-def,,ssoSuper\n"),
            rows(&[
                (2, "xai-one a, b apiKey"),
                (4, "the row has no credential"),
                (5, "a quote is not closed"),
                (6, "abc-def e ssoSuper"),
            ])
        );
        assert_eq!(
            all(r#"["xai-one", {"secret":"xai-two","label":"b"}, 7]"#),
            rows(&[
                (1, "xai-one  apiKey"),
                (2, "xai-two b apiKey"),
                (3, "neither a text nor an object"),
            ])
        );
        // The older project's file, and one that was made by hand.
        assert_eq!(
            all(
                r#"{"ssoBasic":[{"token":"sso=abc-def","status":"active","quota":80}],"ssoSuper":["ghi-jkl"],"odd":["x"]}"#
            ),
            rows(&[(1, "x"), (2, "abc-def  ssoBasic"), (3, "ghi-jkl  ssoSuper"),])
                .into_iter()
                .map(|(line, text)| match text.as_str() {
                    "x" => (line, unknown_pool("odd")),
                    _ => (line, text),
                })
                .collect::<Vec<_>>()
        );
        assert_eq!(all(r#"{"token":"xai-one"}"#), rows(&[(1, "xai-one  apiKey")]));
        assert!(all("\n \n# nothing").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n\r\t\",;{}\\[\\]=ü]{0,200}") {
            let _ = credentials(&text, Some(PoolName::ApiKey));
        }
    }
}
