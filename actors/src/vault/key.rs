//! The master key: from the configuration or from its file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{VaultError, random};

const MIN_CHARACTERS: usize = 16;
/// Far more than a key; a wrong path (a database, a device) is not read into memory.
const MAX_FILE_BYTES: u64 = 4096;

/// 32 bytes that everything else derives from. Prints nothing; wiped when it is dropped.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    /// The configured key.
    ///
    /// # Errors
    /// Shorter than 16 characters.
    pub fn configured(text: &SecretString) -> Result<MasterKey, VaultError> {
        MasterKey::from_text(text.expose_secret()).ok_or(VaultError::KeyTooShort { file: None })
    }

    /// 64 hexadecimal digits are the key; another text of at least 16 characters is hashed to one.
    fn from_text(text: &str) -> Option<MasterKey> {
        let text = text.trim();
        if let Some(raw) = from_hex(text) {
            return Some(MasterKey(raw));
        }
        if text.chars().count() < MIN_CHARACTERS {
            return None;
        }
        let derived = blake3::derive_key("grok2api 2026-11 vault: master key from a text", text.as_bytes());
        Some(MasterKey(Zeroizing::new(derived)))
    }

    /// The key in a file; `None` where there is no file.
    ///
    /// # Errors
    /// A file that others can read, that cannot be read, or that holds no key.
    pub fn read(file: &Path) -> Result<Option<MasterKey>, VaultError> {
        match File::open(file) {
            Ok(open) => read(open, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(file)(error)),
        }
    }

    /// The key in a file, or a new random one that is written there, readable by its owner alone.
    ///
    /// # Errors
    /// As [`MasterKey::read`]; the file cannot be written.
    pub fn read_or_make(file: &Path) -> Result<MasterKey, VaultError> {
        from_file(file)
    }

    /// Writes the key to a file that is not there yet, readable by its owner alone.
    ///
    /// # Errors
    /// The file is there, or cannot be written.
    pub fn keep(&self, file: &Path) -> Result<(), VaultError> {
        place(file, &self.0).map_err(failed(file))
    }

    /// Tells master keys apart without saying anything about them. A cluster and a store remember it, so that a start
    /// with another key is noticed before anything is written.
    pub fn id(&self) -> [u8; 8] {
        let identity = self.derive("grok2api 2026-11 vault: identity of the master key");
        let mut id = [0; 8];
        id.copy_from_slice(&identity[..8]);
        id
    }

    pub(super) fn raw(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn of_raw(raw: Zeroizing<[u8; 32]>) -> MasterKey {
        MasterKey(raw)
    }

    pub(super) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(purpose, &*self.0))
    }
}

/// Reads the key file, or makes one.
pub(super) fn from_file(file: &Path) -> Result<MasterKey, VaultError> {
    let failed = failed(file);
    match File::open(file) {
        Ok(open) => read(open, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match create(file) {
            Ok(key) => Ok(key),
            // Another process was quicker: its key is the key.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(File::open(file).map_err(failed)?, file),
            Err(error) => Err(failed(error)),
        },
        Err(error) => Err(failed(error)),
    }
}

fn failed(file: &Path) -> impl Fn(io::Error) -> VaultError {
    move |error| VaultError::KeyFile {
        file: file.to_owned(),
        reason: error.to_string(),
    }
}

fn read(open: File, file: &Path) -> Result<MasterKey, VaultError> {
    let unusable = |reason: String| VaultError::KeyFile {
        file: file.to_owned(),
        reason,
    };
    let found = open.metadata().map_err(|error| unusable(error.to_string()))?;
    if !found.is_file() {
        return Err(unusable("it is not a file".to_owned()));
    }
    only_for_its_owner(&found, file)?;
    let mut text = Zeroizing::new(String::new());
    open.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unusable(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unusable(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    MasterKey::from_text(&text).ok_or_else(|| VaultError::KeyTooShort {
        file: Some(file.to_owned()),
    })
}

#[cfg(unix)]
fn only_for_its_owner(found: &std::fs::Metadata, file: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::KeyFileOpenToOthers {
            file: file.to_owned(),
            mode,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_for_its_owner(_: &std::fs::Metadata, _: &Path) -> Result<(), VaultError> {
    Ok(())
}

/// Writes a random key.
fn create(file: &Path) -> io::Result<MasterKey> {
    let raw = Zeroizing::new(random::<32>());
    place(file, &raw)?;
    Ok(MasterKey(raw))
}

/// Writes 32 secret bytes as hexadecimal digits. The file appears under its name only once it is whole and on the disk, and never replaces one.
pub(super) fn place(file: &Path, raw: &[u8; 32]) -> io::Result<()> {
    let dir = file
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".new-{:016x}", u64::from_ne_bytes(random())));
    let draft = Path::new(&draft);
    let outcome = write_draft(draft, &to_hex(raw)).and_then(|()| match std::fs::hard_link(draft, file) {
        // Some file systems have no links. Theirs is the small risk of two first starts at one instant.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !file.exists() => std::fs::rename(draft, file),
        outcome => outcome,
    });
    // The link has its own name now; after a rename there is nothing left to remove.
    drop(std::fs::remove_file(draft));
    outcome?;
    File::open(dir)?.sync_all()
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut open = options.open(draft)?;
    open.write_all(text.as_bytes())?;
    open.write_all(b"\n")?;
    open.sync_all()
}

fn to_hex(raw: &[u8; 32]) -> Zeroizing<String> {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    let digits = raw.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    let mut text = Zeroizing::new(String::with_capacity(64));
    text.extend(digits);
    text
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut raw = Zeroizing::new([0; 32]);
    for (byte, pair) in raw.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(raw)
}
