//! Secrets at rest: the master key of this installation, what is sealed with it, and keyed hashes that find a secret
//! without storing it.
//!
//! Sealed bytes are a version byte ++ nonce (24 bytes) ++ ciphertext and tag of XChaCha20-Poly1305. The context (which
//! record, which field) is authenticated with them, so a sealed secret cannot be moved to another record.

mod error;
mod handover;
mod key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::SecretString;
use zeroize::Zeroizing;

pub use error::VaultError;
pub use handover::NodeIdentity;
pub use key::MasterKey;

/// How sealed bytes are laid out.
const LAYOUT: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Seals and fingerprints with keys derived from the master key. Prints nothing; its keys are wiped when it is dropped.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    fingerprint_key: Zeroizing<[u8; 32]>,
    key_id: [u8; 8],
}

impl Vault {
    /// Takes the configured master key (at least 16 characters; 64 hexadecimal digits are the key itself), else the one
    /// in `key_file`, else makes a random one and writes it there, readable by its owner alone.
    ///
    /// # Errors
    /// A key that is too short; a key file that others can read, that cannot be read or written, or that holds no key.
    /// The message names the file and the mend, never the key.
    pub fn open(configured: Option<SecretString>, key_file: &Path) -> Result<Vault, VaultError> {
        let master = match configured {
            Some(text) => MasterKey::configured(&text)?,
            None => key::from_file(key_file)?,
        };
        Ok(Vault::of(&master))
    }

    /// The vault of a master key.
    pub fn of(master: &MasterKey) -> Vault {
        // The contexts name the purpose for ever: changing one makes every stored secret unreadable.
        let sealing = master.derive("grok2api 2026-11 vault: sealing records");
        let fingerprint_key = master.derive("grok2api 2026-11 vault: fingerprints of secrets");
        Vault {
            cipher: XChaCha20Poly1305::new((&*sealing).into()),
            fingerprint_key,
            key_id: master.id(),
        }
    }

    /// Encrypts for a context. Equal secrets seal to different bytes.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = random();
        let payload = Payload {
            msg: plain,
            aad: context,
        };
        #[expect(
            clippy::expect_used,
            reason = "fails only for a plain text over 256 GiB, which no caller can hold"
        )]
        let ciphertext = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .expect("a secret that fits in memory");
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + ciphertext.len());
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Decrypts what was sealed for the same context.
    ///
    /// # Errors
    /// `Unopenable`: another master key or context, or bytes that were changed. Which of them is not known.
    pub fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (nonce, ciphertext) = sealed
            .strip_prefix(&[LAYOUT])
            .and_then(|rest| rest.split_at_checked(NONCE_BYTES))
            .ok_or(VaultError::Unopenable)?;
        let payload = Payload {
            msg: ciphertext,
            aad: context,
        };
        self.cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| VaultError::Unopenable)
    }

    /// A keyed hash: the same for the same secret and master key, and of no use without the master key. Finds a pasted
    /// credential among the stored ones and compares client keys.
    pub fn fingerprint(&self, secret: &str) -> [u8; 32] {
        blake3::keyed_hash(&self.fingerprint_key, secret.as_bytes()).into()
    }

    /// Tells master keys apart without saying anything about them. A store remembers it, so that a start with another
    /// key is noticed before anything is written.
    pub fn key_id(&self) -> [u8; 8] {
        self.key_id
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// A new secret: `prefix` and so many random bytes as URL-safe base64 without padding. 24 bytes (32 characters) are out of
/// reach of guessing.
pub fn random_secret(prefix: &str, bytes: usize) -> String {
    let mut random = Zeroizing::new(vec![0; bytes]);
    fill(&mut random);
    let mut secret = String::with_capacity(prefix.len() + bytes.div_ceil(3) * 4);
    secret.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(&*random, &mut secret);
    secret
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

#[expect(
    clippy::expect_used,
    reason = "a system without randomness must not hand out secrets; the kernel's source does not fail once it is up"
)]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system's random source works");
}
