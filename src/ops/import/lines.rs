//! Lines of a text that comes in chunks.

use bytes::{Bytes, BytesMut};

use super::LONGEST_LINE;

/// Cuts chunks into lines; never holds more than one chunk and one line.
#[derive(Default)]
pub struct Lines {
    rest: BytesMut,
    /// The line under way is over the limit: the rest of it is thrown away.
    skipping: bool,
}

/// A line.
pub enum Line {
    /// All of it.
    Whole(Bytes),
    /// More than is read.
    TooLong,
}

impl Lines {
    /// Takes the next chunk.
    pub fn push(&mut self, chunk: Bytes) {
        self.rest.extend_from_slice(&chunk);
    }

    /// The next whole line of what has come.
    pub fn whole(&mut self) -> Option<Line> {
        match memchr::memchr(b'\n', &self.rest) {
            Some(at) => {
                let line = self.rest.split_to(at + 1).freeze();
                if std::mem::take(&mut self.skipping) || line.len() > LONGEST_LINE {
                    return Some(Line::TooLong);
                }
                Some(Line::Whole(line))
            }
            None => {
                if self.rest.len() > LONGEST_LINE {
                    self.skipping = true;
                    self.rest.clear();
                }
                None
            }
        }
    }

    /// What came after the last line break.
    pub fn last(&mut self) -> Option<Line> {
        if std::mem::take(&mut self.skipping) {
            return Some(Line::TooLong);
        }
        let line = std::mem::take(&mut self.rest).freeze();
        (!line.is_empty()).then_some(Line::Whole(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut keep = |line: Line| match line {
            Line::Whole(line) => out.push(Some(line.trim_ascii_end().to_vec())),
            Line::TooLong => out.push(None),
        };
        for chunk in text.chunks(size) {
            lines.push(Bytes::copy_from_slice(chunk));
            while let Some(line) = lines.whole() {
                keep(line);
            }
            assert!(lines.rest.len() <= LONGEST_LINE + size);
        }
        if let Some(line) = lines.last() {
            keep(line);
        }
        out
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let long = vec![b'x'; LONGEST_LINE * 3];
        let mut text = b"one\r\n\ntwo\n".to_vec();
        text.extend_from_slice(&long);
        text.extend_from_slice(b"\nthree");
        let expected = vec![
            Some(b"one".to_vec()),
            Some(Vec::new()),
            Some(b"two".to_vec()),
            None,
            Some(b"three".to_vec()),
        ];
        for size in [1, 2, 3, 1_000, LONGEST_LINE, text.len()] {
            assert_eq!(cut(&text, size), expected, "chunks of {size}");
        }
        assert_eq!(cut(&long, 4_096), [None]);
    }
}
