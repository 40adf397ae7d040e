//! Passwords: argon2id, off the async workers, a bounded number at a time.

use argon2::password_hash::{Output, ParamsString, PasswordHash, Salt, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::engine::error::{ErrorKind, GatewayError};

/// Hashes at a time: each takes 19 MiB and some tens of milliseconds of a core.
const AT_A_TIME: usize = 2;
/// Who may wait for one; more are sent away.
const WAITING: usize = 32;
/// Room that is asked for at least, in blocks of 1 KiB, whatever is used of it: glibc maps what is over 32 MiB by itself and
/// gives it back at once, while 19 MiB would stay with the process for good (measured, at every start).
const BLOCKS_MAPPED: usize = 33 * 1024;

/// The one place that hashes passwords.
pub struct Hasher {
    slots: Semaphore,
    queue: Semaphore,
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher {
            slots: Semaphore::new(AT_A_TIME),
            queue: Semaphore::new(AT_A_TIME + WAITING),
        }
    }
}

impl Hasher {
    /// The PHC form of a password, with a new salt.
    ///
    /// # Errors
    /// `Overloaded`, `Internal`.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, GatewayError> {
        self.off_thread(move || {
            let mut salt = [0u8; 16];
            getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
            let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
            let params = Params::default();
            let hash = digest(&params, password.as_bytes(), salt.as_salt(), Params::DEFAULT_OUTPUT_LEN);
            let phc = PasswordHash {
                algorithm: ARGON2ID_IDENT,
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params).map_err(|error| error.to_string())?,
                salt: Some(salt.as_salt()),
                hash: Some(hash?),
            };
            Ok(phc.to_string())
        })
        .await
    }

    /// Whether a password is the one behind a PHC form. Without one it does the same work and says no, so that the time
    /// does not tell whether an account exists.
    ///
    /// # Errors
    /// `Overloaded`, `Internal`.
    pub async fn verify(&self, password: Zeroizing<String>, hash: Option<String>) -> Result<bool, GatewayError> {
        self.off_thread(move || {
            let (phc, counts) = match &hash {
                Some(phc) => (phc.as_str(), true),
                None => (NOBODY, false),
            };
            let parsed = PasswordHash::new(phc).map_err(|error| error.to_string())?;
            let params = Params::try_from(&parsed).map_err(|error| error.to_string())?;
            let (Some(salt), Some(right)) = (parsed.salt, parsed.hash) else {
                return Err("a stored hash lacks its salt or its digest".to_owned());
            };
            if parsed.algorithm != ARGON2ID_IDENT || parsed.version != Some(Version::V0x13.into()) {
                return Err("a stored hash is not of argon2id, version 19".to_owned());
            }
            // Outputs compare in constant time.
            Ok(digest(&params, password.as_bytes(), salt, right.len())? == right && counts)
        })
        .await
    }

    /// Derives `N` bytes of key from a passphrase.
    ///
    /// # Errors
    /// `Overloaded`, `Internal`.
    pub async fn derive(
        &self,
        passphrase: Zeroizing<String>,
        salt: [u8; 16],
        params: Params,
    ) -> Result<Zeroizing<[u8; 32]>, GatewayError> {
        self.off_thread(move || {
            let mut key = Zeroizing::new([0u8; 32]);
            hash_into(&params, passphrase.as_bytes(), &salt, key.as_mut()).map_err(|error| error.to_string())?;
            Ok(key)
        })
        .await
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let _place = self.queue.try_acquire().map_err(|_| {
            GatewayError::new(ErrorKind::Overloaded, "Too many logins at the same time.").retry_after(Some(1_000))
        })?;
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| GatewayError::new(ErrorKind::ShuttingDown, "This node is shutting down."))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| error.to_string())
            .and_then(|done| done)
            .map_err(|error| GatewayError::internal(format!("password hashing: {error}")))
    }
}

/// The digest of a password.
fn digest(params: &Params, password: &[u8], salt: Salt<'_>, length: usize) -> Result<Output, String> {
    let mut bytes = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut bytes).map_err(|error| error.to_string())?;
    Output::init_with(length, |out| Ok(hash_into(params, password, salt, out)?)).map_err(|error| error.to_string())
}

fn hash_into(params: &Params, password: &[u8], salt: &[u8], out: &mut [u8]) -> argon2::Result<()> {
    let mut blocks: Vec<Block> = Vec::with_capacity(params.block_count().max(BLOCKS_MAPPED));
    blocks.resize(params.block_count(), Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone()).hash_password_into_with_memory(
        password,
        salt,
        out,
        &mut blocks,
    )
}

/// A hash that no password has (its digest is all zero), with the parameters of the others.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_verifies_and_others_and_nobody_do_not() {
        let hasher = Hasher::default();
        let hash = hasher.hash(text("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.verify(text("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(text("correct horsf"), Some(hash)).await.unwrap());
        assert!(!hasher.verify(text("correct horse"), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_crowd_is_sent_away() {
        let hasher = Hasher::default();
        let all = (0..AT_A_TIME + WAITING + 5).map(|_| hasher.verify(text("x"), None));
        let results = futures::future::join_all(all).await;
        let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 5);
        assert!(refused.iter().all(|error| error.kind == ErrorKind::Overloaded));
    }
}
