//! Names of kept files: 128 random bits and an extension. What names can be read is decided here, too, so that no path
//! leads out of the directory.

use std::fmt::Write;

use super::sniff::FileType;

/// The longest name; the older project's were made of the upstream's paths.
const MAX_NAME: usize = 200;

/// A new name for a file of this type.
///
/// # Errors
/// When the system has no randomness.
pub fn fresh(file: &FileType) -> std::io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut name = String::with_capacity(40);
    for byte in random {
        let _ = write!(name, "{byte:02x}");
    }
    let _ = write!(name, ".{}", file.extension);
    Ok(name)
}

/// A name as a client wrote it in a path; the older project put a hyphen for every slash. Nothing for what names no file.
pub fn of_path(path: &str) -> Option<String> {
    let name = path.trim_start_matches('/').replace('/', "-");
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let can_be = !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.') && name.bytes().all(is_fine);
    can_be.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::sniff::by_extension;

    #[test]
    fn names_are_random_and_lead_nowhere_else() {
        let png = by_extension("a.png").unwrap();
        let (a, b) = (fresh(&png).unwrap(), fresh(&png).unwrap());
        assert!(a != b && a.len() == 36 && a.ends_with(".png"), "{a} {b}");
        assert_eq!(of_path(&a).as_deref(), Some(a.as_str()));
        assert_eq!(of_path("users/1/image.jpg").as_deref(), Some("users-1-image.jpg"));
        assert_eq!(of_path("a..b.png").as_deref(), Some("a..b.png"));
        for path in [
            "",
            "/",
            "..",
            "../a.png",
            ".index",
            "a\\b",
            "a\0b",
            "a b",
            "ä.png",
            &"a".repeat(201),
        ] {
            assert_eq!(of_path(path), None, "{path:?}");
        }
    }
}
