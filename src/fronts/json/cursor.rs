//! The cursor itself.

use super::{Fault, Kind, MAX_DEPTH, Span, Text};

/// The cursor. Every method leaves it behind what it read.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    max_depth: u32,
}

type Outcome<T> = Result<T, Fault>;

impl<'a> Cursor<'a> {
    /// At the start of `text`; `max_depth` is cut at [`MAX_DEPTH`].
    pub fn new(text: &'a str, max_depth: u32) -> Cursor<'a> {
        Cursor {
            text,
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
            max_depth: max_depth.min(MAX_DEPTH),
        }
    }

    /// The offset of the next byte to be read.
    pub fn position(&self) -> usize {
        self.at
    }

    fn fault<T>(&self, what: &'static str) -> Outcome<T> {
        Err(Fault {
            at: self.at,
            what,
            too_deep: false,
        })
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// What the next value is; it is not read yet.
    pub fn kind(&mut self) -> Outcome<Kind> {
        self.skip_whitespace();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => self.fault("expected a value"),
            None => self.fault("unexpected end"),
        }
    }

    /// Steps into an array or object, whichever stands next.
    pub fn enter(&mut self) -> Outcome<()> {
        self.skip_whitespace();
        if !matches!(self.byte(), Some(b'{' | b'[')) {
            return self.fault("expected an array or an object");
        }
        if self.depth >= self.max_depth {
            return Err(Fault {
                at: self.at,
                what: "nested too deeply",
                too_deep: true,
            });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// The next member's name, with the cursor before its value; `None` when the object has ended. `first` is true for
    /// the first call after [`Cursor::enter`] and is kept by this method.
    pub fn next_member(&mut self, first: &mut bool) -> Outcome<Option<Text<'a>>> {
        self.skip_whitespace();
        match (self.byte(), *first) {
            (Some(b'}'), _) => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                return Ok(None);
            }
            (Some(b','), false) => {
                self.at += 1;
                self.skip_whitespace();
            }
            (Some(_), true) => {}
            (Some(_), false) => return self.fault("expected `,` or `}`"),
            (None, _) => return self.fault("unexpected end inside an object"),
        }
        *first = false;
        if self.byte() != Some(b'"') {
            return self.fault("expected a member's name in double quotes");
        }
        let name = self.string()?;
        self.skip_whitespace();
        if self.byte() != Some(b':') {
            return self.fault("expected `:`");
        }
        self.at += 1;
        self.skip_whitespace();
        Ok(Some(name))
    }

    /// Whether another element follows, with the cursor before it; at the array's end it steps out. `first` as in
    /// [`Cursor::next_member`].
    pub fn next_element(&mut self, first: &mut bool) -> Outcome<bool> {
        self.skip_whitespace();
        match (self.byte(), *first) {
            (Some(b']'), _) => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                Ok(false)
            }
            (Some(b','), false) => {
                self.at += 1;
                self.skip_whitespace();
                Ok(true)
            }
            (Some(_), true) => {
                *first = false;
                Ok(true)
            }
            (Some(_), false) => self.fault("expected `,` or `]`"),
            (None, _) => self.fault("unexpected end inside an array"),
        }
    }

    /// Reads a string.
    pub fn string(&mut self) -> Outcome<Text<'a>> {
        self.skip_whitespace();
        let start = self.at;
        if self.byte() != Some(b'"') {
            return self.fault("expected a string");
        }
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = plain_run(self.bytes, self.at);
            match self.byte() {
                Some(b'"') => {
                    let inner = (start + 1, self.at);
                    self.at += 1;
                    return Ok(Text {
                        span: Span { start, end: self.at },
                        // Both ends stand beside ASCII quotes, so they are character boundaries.
                        raw: self.text.get(inner.0..inner.1).unwrap_or_default(),
                        escaped,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fault("control character inside a string"),
                None => return self.fault("unexpected end inside a string"),
            }
        }
    }

    #[inline]
    fn escape(&mut self) -> Outcome<()> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                if digits.len() != 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return self.fault("invalid \\u escape");
                }
                self.at += 6;
            }
            Some(_) => return self.fault("invalid escape"),
            None => return self.fault("unexpected end inside a string"),
        }
        Ok(())
    }

    fn number(&mut self) -> Outcome<()> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.fault("invalid number"),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Outcome<()> {
        let before = self.at;
        self.digits();
        match self.at > before {
            true => Ok(()),
            false => self.fault("invalid number"),
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Outcome<()> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.fault("expected a value");
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads any value and says where it stood.
    pub fn skip_value(&mut self) -> Outcome<Span> {
        self.skip_whitespace();
        let start = self.at;
        // Bit i: whether level i below `base` is an object. `MAX_DEPTH` levels fit.
        let mut objects = 0u128;
        let base = self.depth;
        loop {
            // A value stands here.
            let mut first = false;
            match self.kind()? {
                Kind::String => {
                    self.string()?;
                }
                Kind::Number => self.number()?,
                Kind::Bool if self.byte() == Some(b't') => self.literal(b"true")?,
                Kind::Bool => self.literal(b"false")?,
                Kind::Null => self.literal(b"null")?,
                opened => {
                    self.enter()?;
                    objects = objects << 1 | u128::from(opened == Kind::Object);
                    first = true;
                }
            }
            // On to the next value, closing what ends before it.
            while self.depth > base {
                let more = match objects & 1 == 1 {
                    true => self.next_member(&mut first)?.is_some(),
                    false => self.next_element(&mut first)?,
                };
                if more {
                    break;
                }
                objects >>= 1;
                first = false;
            }
            if self.depth == base {
                return Ok(Span { start, end: self.at });
            }
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Outcome<()> {
        self.skip_whitespace();
        match self.byte() {
            None => Ok(()),
            Some(_) => self.fault("unexpected text after the value"),
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The offset, from `at` on, of the first byte that ends a run of plain string text: a quote, a backslash or a control
/// character. Eight bytes at a time: prompts are long strings, and this loop is most of what reading a request costs.
#[inline]
pub(super) fn plain_run(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // The top bit of a byte is set where it is zero (`quote`, `backslash`) or below 0x20; false positives only occur
        // above a true one, so the lowest is right.
        let found = (quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash
            | word.wrapping_sub(ONES * 0x20) & !word)
            & TOPS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes
        .get(at)
        .is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20)
    {
        at += 1;
    }
    at
}
