//! Handing the master key from one node to another. The key travels in a sealed box (X25519, XSalsa20-Poly1305) that only
//! the node which asked can open; who listens on the bus learns nothing.

use std::fmt;
use std::path::Path;

use crypto_box::aead::OsRng;
use crypto_box::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::key::MasterKey;
use super::{VaultError, key};

/// What a node proves itself with: a key pair of its own, kept in a 0600 file of its data directory.
pub struct NodeIdentity(SecretKey);

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeIdentity(..)")
    }
}

impl NodeIdentity {
    /// Reads the file, or makes a key pair and writes it there.
    ///
    /// # Errors
    /// As [`MasterKey::read_or_make`].
    pub fn read_or_make(file: &Path) -> Result<NodeIdentity, VaultError> {
        let raw = key::from_file(file)?;
        Ok(NodeIdentity(SecretKey::from_bytes(*raw.raw())))
    }

    /// What others seal to.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.public_key().to_bytes()
    }

    /// Opens a master key that was sealed to this node.
    ///
    /// # Errors
    /// `Unopenable`: sealed to another node, or changed on its way.
    pub fn open(&self, sealed: &[u8]) -> Result<MasterKey, VaultError> {
        let opened = Zeroizing::new(self.0.unseal(sealed).map_err(|_| VaultError::Unopenable)?);
        let mut raw = Zeroizing::new([0; 32]);
        if opened.len() != raw.len() {
            return Err(VaultError::Unopenable);
        }
        raw.copy_from_slice(&opened);
        Ok(MasterKey::of_raw(raw))
    }
}

impl MasterKey {
    /// Seals the key to a node.
    ///
    /// # Errors
    /// `Unopenable`, if the box cannot be made; no key of 32 bytes comes to that.
    pub fn seal_to(&self, public_key: [u8; 32]) -> Result<Vec<u8>, VaultError> {
        PublicKey::from_bytes(public_key)
            .seal(&mut OsRng, self.raw())
            .map_err(|_| VaultError::Unopenable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_that_asked_opens_the_box() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let master = MasterKey::read_or_make(&file("master.key")).unwrap();
        let node = NodeIdentity::read_or_make(&file("a/node.key")).unwrap();
        let other = NodeIdentity::read_or_make(&file("b/node.key")).unwrap();
        let sealed = master.seal_to(node.public_key()).unwrap();
        assert_eq!(node.open(&sealed).unwrap().id(), master.id());
        assert!(other.open(&sealed).is_err());
        let mut changed = sealed.clone();
        changed[40] ^= 1;
        assert!(node.open(&changed).is_err() && node.open(&[]).is_err());
        assert!(!sealed.windows(8).any(|window| window == &master.raw()[..8]));
        assert_eq!(
            NodeIdentity::read_or_make(&file("a/node.key")).unwrap().public_key(),
            node.public_key(),
            "a restarted node is the same node"
        );
    }
}
