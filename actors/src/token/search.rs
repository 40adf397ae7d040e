//! Looking for a text in what operators wrote of tokens: a hundred thousand are looked through while somebody types.

use grok2api_schemas::token::TokenRecord;

/// Ids are looked for from so many letters on: shorter texts would be in every other one.
const OF_IDS: usize = 5;

/// A text that is looked for, whatever the case.
pub(super) struct Needle {
    /// In lower case.
    text: String,
    may_be_id: bool,
}

impl Needle {
    /// Nothing to look for is no needle.
    pub(super) fn of(text: &str) -> Option<Needle> {
        let text = text.to_lowercase();
        let may_be_id = text.len() >= OF_IDS && text.bytes().all(|b| b.is_ascii_hexdigit() || b"tok_".contains(&b));
        (!text.is_empty()).then_some(Needle { text, may_be_id })
    }

    /// Whether anything of a token has it.
    pub(super) fn is_of(&self, record: &TokenRecord) -> bool {
        self.is_in(&record.masked)
            || self.is_in(&record.label)
            || self.is_in(&record.note)
            || record.team.as_deref().is_some_and(|team| self.is_in(team))
            || record.tags.iter().any(|tag| self.is_in(tag))
            || (self.may_be_id && record.id.to_string().contains(&self.text))
    }

    fn is_in(&self, hay: &str) -> bool {
        // Only these two letters outside of ASCII have some of it in their lower case.
        let may_fold = || hay.contains(['\u{212a}', '\u{130}']);
        if !self.text.is_ascii() || (!hay.is_ascii() && may_fold()) {
            return hay.to_lowercase().contains(&self.text);
        }
        // Of all other text no copy is made: masked secrets have an ellipsis in them.
        let needle = self.text.as_bytes();
        let Some(first) = needle.first() else { return true };
        hay.as_bytes()
            .windows(needle.len())
            .any(|some| some[0].eq_ignore_ascii_case(first) && some.eq_ignore_ascii_case(needle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_whatever_its_case_and_script() {
        for (needle, hay, is_in) in [
            ("AB", "xaby", true),
            ("ab", "xAby", true),
            ("ab", "a b", false),
            ("ab", "a", false),
            ("ab", "", false),
            ("ünder", "WUNDER über ÜNDER", true),
            ("ü", "plain", false),
            ("团队", "一号团队", true),
            ("k", "\u{212a}elvin", true),
            ("i", "\u{130}stanbul", true),
            ("yz", "xai-AB…wxYZ", true),
            ("b…w", "xai-AB…wxYZ", true),
        ] {
            assert_eq!(Needle::of(needle).unwrap().is_in(hay), is_in, "{needle} in {hay}");
        }
        assert!(Needle::of("").is_none());
        assert!(Needle::of("tok_0").unwrap().may_be_id && Needle::of("0a1b2").unwrap().may_be_id);
        assert!(!Needle::of("0a1b").unwrap().may_be_id && !Needle::of("label").unwrap().may_be_id);
    }
}
