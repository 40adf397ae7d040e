//! A validating cursor over JSON bytes: one pass, no tree, no allocation. It finds where values begin and end, so that a
//! front reads what it needs and every other byte travels on as it came.
//!
//! What it accepts is RFC 8259 JSON in UTF-8 up to a nesting depth; the caller checks UTF-8 once, beforehand. Only
//! numbers out of any machine's range and unpaired surrogates inside text that nobody here reads are left to the upstream.

mod cursor;

use std::borrow::Cow;
use std::fmt;

pub use cursor::Cursor;

/// The deepest nesting that [`Cursor`] can follow, in arrays and objects.
pub const MAX_DEPTH: u32 = 128;

/// Where a value stands in the body: byte offsets, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Span {
    /// How many bytes it takes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it takes none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Its bytes within the body that it was found in; empty if that is another body.
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start..self.end).unwrap_or_default()
    }
}

/// Why a body is not the JSON it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Byte offset of what is wrong.
    pub at: usize,
    /// What is wrong, after "the body is not valid JSON: ".
    pub what: &'static str,
    /// It is well-formed so far, and nested deeper than allowed.
    pub too_deep: bool,
}

impl Fault {
    /// Line and column of the fault, both from 1; the column counts bytes.
    pub fn line_and_column(&self, body: &[u8]) -> (usize, usize) {
        let before = body.get(..self.at.min(body.len())).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        (line, column)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// What a value is, as its first byte tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Object => "an object",
            Kind::Array => "an array",
            Kind::String => "a string",
            Kind::Number => "a number",
            Kind::Bool => "a boolean",
            Kind::Null => "null",
        }
    }
}

/// A string as it stands in the body.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// With its quotes.
    pub span: Span,
    /// Without its quotes, escapes as they came.
    pub raw: &'a str,
    /// Whether it holds escapes.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// What it says; an unpaired surrogate is a fault.
    pub fn decode(&self) -> Result<Cow<'a, str>, Fault> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        serde_json::from_str::<String>(&format!("\"{}\"", self.raw))
            .map(Cow::Owned)
            .map_err(|_| Fault {
                at: self.span.start,
                what: "unpaired surrogate in a \\u escape",
                too_deep: false,
            })
    }

    /// Whether it says exactly this.
    pub fn is(&self, word: &str) -> bool {
        match self.escaped {
            false => self.raw == word,
            true => self.decode().is_ok_and(|text| text == word),
        }
    }
}

#[cfg(test)]
mod tests;
