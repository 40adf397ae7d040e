//! A stand-in for the tokenizer: words with their leading space, long words in parts. Good enough to stream, count and
//! price believably, and the same text always gives the same tokens.

/// Longest piece in characters; English tokens of real models average about four.
const LONGEST: usize = 10;

/// The pieces of a text, in order; joined they are the text.
pub fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text }
}

/// How many tokens a text counts as.
pub fn count(text: &str) -> u64 {
    pieces(text).count() as u64
}

/// See [`pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let mut end = self.rest.len();
        let mut word_begun = false;
        for (taken, (at, char)) in self.rest.char_indices().enumerate() {
            let boundary = if char.is_whitespace() {
                word_begun
            } else {
                // Scripts without spaces: about two characters a token.
                taken >= LONGEST || (!char.is_ascii() && taken >= 2)
            };
            if boundary {
                end = at;
                break;
            }
            word_begun |= !char.is_whitespace();
        }
        let (piece, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text() {
        for text in [
            "",
            "Hello world!",
            "  two  spaces ",
            "internationalisation",
            "你好，世界。再见",
            "a\nb\n\nc",
            "🙂🙂🙂x",
        ] {
            assert_eq!(pieces(text).collect::<String>(), text);
        }
    }

    #[test]
    fn words_carry_their_leading_space() {
        assert_eq!(
            pieces("Hello brave world").collect::<Vec<_>>(),
            ["Hello", " brave", " world"]
        );
    }
}
