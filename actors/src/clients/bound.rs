//! Keys that live and die with an admin session: what the panel's chat calls with. The session's own token says which key it
//! is and what its secret is, so that every node and every tab comes to the same one, and nothing more is stored of it than
//! of any other key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grok2api_schemas::ids::KeyId;
use zeroize::Zeroizing;

/// Tells the secret apart from all else that is made of a session's token.
const SECRET_CONTEXT: &str = "grok2api 2026 client key of an admin session";
/// Bytes of a secret: as many as a made-up one has.
const SECRET_BYTES: usize = 24;
/// The version of ids that are made in a way of one's own (RFC 9562); ids of other keys are of version 7.
const VERSION: u8 = 8;

/// The id of a session's key, from the hash under which the session is kept. It begins with the time at which the session
/// was opened: ids order keys by the time they were made.
pub fn id_of(session_hash: &[u8; 32], opened_ms: u64) -> KeyId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&opened_ms.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&blake3::hash(session_hash).as_bytes()[..10]);
    bytes[6] = bytes[6] & 0x0f | VERSION << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    KeyId::from_bytes(bytes)
}

/// Whether a key is a session's.
pub fn is_bound(id: KeyId) -> bool {
    id.as_bytes()[6] >> 4 == VERSION
}

/// Its secret, from the session's token.
pub fn secret_of(token: &str) -> Zeroizing<String> {
    let derived = Zeroizing::new(blake3::derive_key(SECRET_CONTEXT, token.as_bytes()));
    let mut secret = Zeroizing::new(String::with_capacity(3 + 32));
    secret.push_str("sk-");
    URL_SAFE_NO_PAD.encode_string(&derived[..SECRET_BYTES], &mut secret);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::secret::refuse;

    #[test]
    fn the_key_of_a_session_follows_from_it_and_is_told_from_others() {
        let (early, late) = (id_of(&[1; 32], 1_700_000_000_000), id_of(&[2; 32], 1_700_000_000_001));
        assert_eq!(early, id_of(&[1; 32], 1_700_000_000_000));
        assert!(early < late && early != id_of(&[3; 32], 1_700_000_000_000));
        assert!(is_bound(early) && is_bound(late) && !is_bound(KeyId::generate()));
        assert_eq!(early.to_string().parse::<KeyId>().unwrap(), early);
        assert_eq!(secret_of("adm_one"), secret_of("adm_one"));
        assert_ne!(secret_of("adm_one"), secret_of("adm_two"));
        assert_eq!((secret_of("adm_one").len(), refuse(&secret_of("adm_one"))), (35, None));
    }
}
