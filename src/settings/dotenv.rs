//! `.env` files: `NAME=value` lines, `export` in front if one likes, `#` comments, quotes. Nothing is expanded.

/// The pairs with their line numbers, and the numbers of lines that are no pairs.
pub(super) fn parse(text: &str) -> (Vec<(String, String, usize)>, Vec<usize>) {
    let mut pairs = Vec::new();
    let mut bad = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match pair(line) {
            Some((name, value)) => pairs.push((name, value, at + 1)),
            None => bad.push(at + 1),
        }
    }
    (pairs, bad)
}

fn pair(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(())?;
    Some((name.to_owned(), unquote(value.trim())?))
}

/// The value without quotes and comment; nothing where a quote is left open.
fn unquote(value: &str) -> Option<String> {
    let comment_or_end = |rest: &str| rest.is_empty() || rest.trim_start().starts_with('#');
    if let Some(rest) = value.strip_prefix('\'') {
        let (inner, after) = rest.split_once('\'')?;
        return comment_or_end(after).then(|| inner.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let mut inner = String::new();
        let mut chars = rest.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    'n' => inner.push('\n'),
                    'r' => inner.push('\r'),
                    't' => inner.push('\t'),
                    other => inner.push(other),
                },
                other => inner.push(other),
            }
        }
        return comment_or_end(chars.as_str()).then_some(inner);
    }
    if value.starts_with('#') {
        return Some(String::new());
    }
    // A comment needs a space before it, for a value may hold a # of its own.
    let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    Some(value[..end].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_write_them() {
        for (line, name, value) in [
            ("A=b", "A", "b"),
            ("  export A = b c  # said", "A", "b c"),
            ("A=b#c", "A", "b#c"),
            ("A='b # \"c\"' # d", "A", "b # \"c\""),
            (r#"A="b\n\"c\" #""#, "A", "b\n\"c\" #"),
            ("A=", "A", ""),
            ("A= # nothing", "A", ""),
            ("A=b=c", "A", "b=c"),
        ] {
            let (pairs, bad) = parse(line);
            assert_eq!(pairs, [(name.to_owned(), value.to_owned(), 1)], "{line}");
            assert!(bad.is_empty());
        }
        let (pairs, bad) = parse("# c\n\nnonsense\nA=\"open\n1A=b\nA-B=c\nB=ok\r\n");
        assert_eq!(pairs, [("B".to_owned(), "ok".to_owned(), 7)]);
        assert_eq!(bad, [3, 4, 5, 6]);
    }
}
