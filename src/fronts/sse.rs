//! Splits a byte stream into server-sent events, wherever the network cut it. An event that lies inside one chunk is a
//! slice of that chunk; only one that straddles chunks is copied. What the pieces say is kept byte for byte: all `raw()`
//! in order are the stream (without a byte order mark, which no client expects in front of its first event).
//!
//! Lines end in LF, CR or CRLF, in any mixture; an event ends at a blank line. When a chunk ends between the CR and the
//! LF of that blank line, the event is given out at once and the LF leads the raw bytes of the next one.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// An event grew over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    /// The limit, bytes.
    pub limit: usize,
}

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of the stream is larger than {} bytes", self.limit)
    }
}

impl std::error::Error for EventTooLarge {}

/// One event, comment block or the unfinished rest of a stream.
#[derive(Clone, Debug)]
pub struct Event {
    base: Bytes,
    span: Range<usize>,
    fields: Fields,
}

#[derive(Clone, Debug, Default)]
struct Fields {
    data: Data,
    name: Option<Range<usize>>,
}

/// Where the data is.
#[derive(Clone, Debug, Default)]
enum Data {
    /// No `data` line.
    #[default]
    None,
    /// One line, within `base`.
    Line(Range<usize>),
    /// Several lines, joined by LF.
    Joined(Bytes),
}

impl Event {
    /// Its bytes as they came, with the blank line that ends it.
    pub fn raw(&self) -> Bytes {
        self.base.slice(self.span.clone())
    }

    /// Its data, lines joined by LF; `None` if it has no `data` line, as a comment has none.
    pub fn data(&self) -> Option<&[u8]> {
        match &self.fields.data {
            Data::None => None,
            Data::Line(range) => Some(self.base.get(range.clone()).unwrap_or_default()),
            Data::Joined(bytes) => Some(bytes),
        }
    }

    /// Its `event` field, if it has one.
    pub fn name(&self) -> Option<&[u8]> {
        let range = self.fields.name.clone()?;
        self.base.get(range)
    }

    /// Whether `next` stands directly behind this one in the same buffer, so that one slice can hold both.
    pub fn is_followed_by(&self, next: &Event) -> bool {
        self.base.as_ptr() == next.base.as_ptr()
            && self.base.len() == next.base.len()
            && self.span.end == next.span.start
    }

    /// The bytes from this event's first to `last`'s last; both must follow each other in one buffer.
    pub fn raw_through(&self, last: &Event) -> Bytes {
        self.base.slice(self.span.start..last.span.end.max(self.span.start))
    }
}

/// The splitter. [`Splitter::feed`] a chunk, then take [`Splitter::next_event`] until it gives none, then the next chunk.
#[derive(Debug)]
pub struct Splitter {
    limit: usize,
    chunk: Bytes,
    /// Where in `chunk` the current event begins, and how far it has been looked at.
    start: usize,
    at: usize,
    /// What earlier chunks hold of the current event.
    carry: BytesMut,
    /// Nothing stands on the current line so far.
    line_is_blank: bool,
    /// The byte before was a CR: an LF belongs to it.
    after_cr: bool,
    /// The current event has a line that is not blank.
    has_lines: bool,
    /// Bytes of a byte order mark seen so far at the very start; 3 = no more to look for.
    mark: usize,
}

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

impl Splitter {
    /// For events of at most `limit` bytes.
    pub fn new(limit: usize) -> Splitter {
        Splitter {
            limit,
            chunk: Bytes::new(),
            start: 0,
            at: 0,
            carry: BytesMut::new(),
            line_is_blank: true,
            after_cr: false,
            has_lines: false,
            mark: 0,
        }
    }

    /// Takes the next chunk of the stream. What is left of the one before is kept.
    pub fn feed(&mut self, chunk: Bytes) {
        self.keep_rest();
        self.chunk = chunk;
        self.start = 0;
        self.at = 0;
        self.skip_mark();
    }

    fn keep_rest(&mut self) {
        let rest = self.chunk.get(self.start..).unwrap_or_default();
        self.carry.extend_from_slice(rest);
        self.start = self.chunk.len();
        self.at = self.start;
    }

    fn skip_mark(&mut self) {
        while let Some(expected) = BYTE_ORDER_MARK.get(self.mark)
            && let Some(&byte) = self.chunk.get(self.at)
        {
            if byte != *expected {
                // Not a mark after all: what looked like the start of one belongs to the first line.
                let held = BYTE_ORDER_MARK.get(..self.mark).unwrap_or_default();
                self.carry.extend_from_slice(held);
                self.line_is_blank &= held.is_empty();
                self.has_lines |= !held.is_empty();
                self.start = self.at;
                self.mark = BYTE_ORDER_MARK.len();
                return;
            }
            self.at += 1;
            self.start = self.at;
            self.mark += 1;
        }
        // A false start within one chunk has its bytes in `carry` and not in `start..`, as above.
    }

    /// The next complete event of the chunk; `None` asks for more. After an error the stream cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(&byte) = self.chunk.get(self.at) {
            if byte == b'\n' && self.after_cr {
                // The second half of a CRLF.
                self.after_cr = false;
                self.at += 1;
                continue;
            }
            self.after_cr = false;
            let rest = self.chunk.get(self.at..).unwrap_or_default();
            let Some(line) = memchr2(b'\n', b'\r', rest) else {
                self.line_is_blank = false;
                self.has_lines = true;
                self.at = self.chunk.len();
                break;
            };
            let blank = self.line_is_blank && line == 0;
            self.after_cr = rest.get(line) == Some(&b'\r');
            self.at += line + 1;
            self.line_is_blank = true;
            if !blank {
                self.has_lines = true;
            } else if self.has_lines {
                if self.after_cr && self.chunk.get(self.at) == Some(&b'\n') {
                    self.after_cr = false;
                    self.at += 1;
                }
                return self.cut().map(Some);
            }
        }
        match self.carry.len() + (self.chunk.len() - self.start) > self.limit {
            true => Err(EventTooLarge { limit: self.limit }),
            false => Ok(None),
        }
    }

    /// The event that ends at `at`.
    fn cut(&mut self) -> Result<Event, EventTooLarge> {
        let range = self.start..self.at;
        self.start = self.at;
        self.has_lines = false;
        if self.carry.len() + range.len() > self.limit {
            return Err(EventTooLarge { limit: self.limit });
        }
        let (base, span) = if self.carry.is_empty() {
            (self.chunk.clone(), range)
        } else {
            self.carry.extend_from_slice(self.chunk.get(range).unwrap_or_default());
            let joined = self.carry.split().freeze();
            let all = 0..joined.len();
            (joined, all)
        };
        let fields = read_fields(&base, span.clone());
        Ok(Event { base, span, fields })
    }

    /// What stands behind the last blank line when the stream has ended: an event that was cut, or one whose sender leaves
    /// out the last blank line. The standard drops it; its raw bytes do not end in a blank line.
    pub fn finish(&mut self) -> Option<Event> {
        self.keep_rest();
        if !std::mem::take(&mut self.has_lines) {
            return None;
        }
        let base = self.carry.split().freeze();
        let span = 0..base.len();
        let fields = read_fields(&base, span.clone());
        Some(Event { base, span, fields })
    }
}

/// The fields of the event in `base[span]`.
fn read_fields(base: &Bytes, span: Range<usize>) -> Fields {
    let mut fields = Fields::default();
    let mut joined: Option<BytesMut> = None;
    let mut at = span.start;
    while at < span.end {
        let rest = base.get(at..span.end).unwrap_or_default();
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        let value = |name: &[u8]| -> Option<Range<usize>> {
            let after = line.strip_prefix(name)?;
            let skipped = match after {
                [] => 0,
                [b':', b' ', ..] => 2,
                [b':', ..] => 1,
                _ => return None,
            };
            Some(at + name.len() + skipped..at + length)
        };
        if let Some(range) = value(b"data") {
            match (&mut fields.data, &mut joined) {
                (Data::None, _) => fields.data = Data::Line(range),
                (_, Some(joined)) => {
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(base.get(range).unwrap_or_default());
                }
                (Data::Line(first), none) => {
                    let mut text = BytesMut::from(base.get(first.clone()).unwrap_or_default());
                    text.extend_from_slice(b"\n");
                    text.extend_from_slice(base.get(range).unwrap_or_default());
                    *none = Some(text);
                }
                (Data::Joined(_), None) => {}
            }
        } else if let Some(range) = value(b"event") {
            fields.name = Some(range);
        }
        at += length + 1;
    }
    if let Some(joined) = joined {
        fields.data = Data::Joined(joined.freeze());
    }
    fields
}

#[cfg(test)]
mod tests;
