//! Passwords: argon2id, off the async workers, a bounded number at a time.

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::engine::error::{ErrorKind, GatewayError};

/// Hashes at a time: each takes 19 MiB and some tens of milliseconds of a core.
const AT_A_TIME: usize = 2;
/// Who may wait for one; more are sent away.
const WAITING: usize = 32;

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
            Argon2::default()
                .hash_password(password.as_bytes(), &salt)
                .map(|hash| hash.to_string())
                .map_err(|error| error.to_string())
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
            let right = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(right && counts)
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
        params: argon2::Params,
    ) -> Result<Zeroizing<[u8; 32]>, GatewayError> {
        self.off_thread(move || {
            let mut key = Zeroizing::new([0u8; 32]);
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
                .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut())
                .map_err(|error| error.to_string())?;
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
