//! Short texts that a regular expression accepts.

/// Levels of nesting at which an expression is given up.
const TOO_DEEP: usize = 64;

/// A short text that a regular expression accepts.
pub fn matching(pattern: &str) -> Option<String> {
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut text = String::new();
    spell(&hir, &mut text, 0).then_some(text)
}

fn spell(hir: &regex_syntax::hir::Hir, text: &mut String, depth: usize) -> bool {
    use regex_syntax::hir::{Class, HirKind};
    if depth > TOO_DEEP || text.len() > 10_000 {
        return false;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(literal) => {
                text.push_str(literal);
                true
            }
            Err(_) => false,
        },
        HirKind::Class(Class::Unicode(class)) => {
            let likes = ['a', 'A', '1', '-', ' '];
            let fits = |char: char| class.iter().any(|range| range.start() <= char && char <= range.end());
            let char = likes
                .into_iter()
                .find(|char| fits(*char))
                .or(class.iter().next().map(|range| range.start()));
            char.map(|char| text.push(char)).is_some()
        }
        HirKind::Class(Class::Bytes(_)) => false,
        HirKind::Repetition(repetition) => {
            let times = if repetition.min == 0 && repetition.max.is_none_or(|max| max > 0) {
                1
            } else {
                repetition.min
            };
            (0..times).all(|_| spell(&repetition.sub, text, depth + 1))
        }
        HirKind::Capture(capture) => spell(&capture.sub, text, depth + 1),
        HirKind::Concat(parts) => parts.iter().all(|part| spell(part, text, depth + 1)),
        HirKind::Alternation(parts) => parts.first().is_some_and(|part| spell(part, text, depth + 1)),
    }
}
