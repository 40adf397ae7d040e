//! Paging by cursor: a page names the last row it showed, so rows that come or go meanwhile shift nothing.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The rows, in the order asked for.
    pub items: Vec<T>,
    /// Send it back as `cursor` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
    /// Rows that match the filters, over all pages.
    pub total: u64,
}

/// What rows are ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// A count or a date.
    Number(u64),
    /// A name.
    Text(String),
}

/// Where a page ended: the sort key of its last row, and the row's id to tell equal keys apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The last row's sort key.
    pub key: SortKey,
    /// The last row's id, as printed.
    pub id: String,
}

/// A text that is not a cursor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACursor;

impl fmt::Display for NotACursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cursor: send back `next_cursor` of the page before, unchanged")
    }
}

impl std::error::Error for NotACursor {}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            SortKey::Number(number) => write!(f, "n{number}")?,
            SortKey::Text(text) => {
                f.write_str("t")?;
                // Hexadecimal, so that any name is safe in a query string.
                for byte in text.as_bytes() {
                    write!(f, "{byte:02x}")?;
                }
            }
        }
        write!(f, ".{}", self.id)
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Cursor, NotACursor> {
        let (key, id) = text.split_once('.').ok_or(NotACursor)?;
        if id.is_empty() || id.len() > 64 {
            return Err(NotACursor);
        }
        let key = if let Some(number) = key.strip_prefix('n') {
            SortKey::Number(number.parse().map_err(|_| NotACursor)?)
        } else if let Some(hex) = key.strip_prefix('t') {
            SortKey::Text(text_of_hex(hex)?)
        } else {
            return Err(NotACursor);
        };
        Ok(Cursor { key, id: id.to_owned() })
    }
}

fn text_of_hex(hex: &str) -> Result<String, NotACursor> {
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| NotACursor)?;
            if pair.len() != 2 {
                return Err(NotACursor);
            }
            u8::from_str_radix(pair, 16).map_err(|_| NotACursor)
        })
        .collect::<Result<Vec<u8>, NotACursor>>()?;
    String::from_utf8(bytes).map_err(|_| NotACursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_prints_and_strangers_are_refused() {
        for key in [
            SortKey::Number(0),
            SortKey::Number(u64::MAX),
            SortKey::Text(String::new()),
            SortKey::Text("ü.\" &?".to_owned()),
        ] {
            let cursor = Cursor {
                key,
                id: "tok_1".to_owned(),
            };
            assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }
        for bad in ["", "n", "n1", "n1.", "x1.a", "n-1.a", "t0.a", "tzz.a", "tff.a", "nx.a"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NotACursor), "{bad}");
        }
    }
}
