//! Sealed items: what only the team that was given them can hand back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MARK: usize = 16;

fn mark(team: &str) -> [u8; MARK] {
    let mut mark = [0; MARK];
    mark.copy_from_slice(&blake3::hash(team.as_bytes()).as_bytes()[..MARK]);
    mark
}

/// The text, sealed for this team.
pub fn seal(team: &str, text: &str) -> String {
    let mut bytes = mark(team).to_vec();
    // No two items are alike, as if each were encrypted anew.
    bytes.extend_from_slice(&fastrand::u64(..).to_le_bytes());
    bytes.extend(text.bytes().map(|byte| byte ^ 0x5a));
    STANDARD.encode(bytes)
}

/// Whether the item was sealed for another team, or is none of ours.
pub fn foreign(team: &str, sealed: &str) -> bool {
    STANDARD
        .decode(sealed)
        .map_or(true, |bytes| !bytes.starts_with(&mark(team)))
}
