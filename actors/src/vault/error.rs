//! What the vault refuses, in lines an operator can act on. None of them contains a key.

use std::fmt;
use std::path::PathBuf;

/// Why a vault or a sealed secret does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultError {
    /// The master key is shorter than 16 characters.
    KeyTooShort {
        /// The file it is from; `None`: the configuration.
        file: Option<PathBuf>,
    },
    /// Others may read the key file.
    KeyFileOpenToOthers {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file cannot be read or written.
    KeyFile {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Sealed with another master key, for another context, or changed since.
    Unopenable,
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VaultError::KeyTooShort { file: None } => write!(
                f,
                "security.master_key (GROK2API__SECURITY__MASTER_KEY) is too short: give at least 16 characters, best 64 random hexadecimal digits"
            ),
            VaultError::KeyTooShort { file: Some(file) } => write!(
                f,
                "the master key file {} holds no key (at least 16 characters): put the key back from a backup; delete the file only if nothing was stored with it yet",
                file.display()
            ),
            VaultError::KeyFileOpenToOthers { file, mode } => write!(
                f,
                "others can read the master key file {path} (mode {mode:04o}): chmod 600 {path}",
                path = file.display()
            ),
            VaultError::KeyFile { file, reason } => {
                write!(f, "the master key file {} cannot be used: {reason}", file.display())
            }
            VaultError::Unopenable => write!(
                f,
                "a stored secret does not open: it was sealed with another master key, or changed"
            ),
        }
    }
}

impl std::error::Error for VaultError {}
