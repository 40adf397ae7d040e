//! Writing the file: whole or not at all, and for its owner's eyes only, because it may hold secrets.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a file that may hold secrets.
const OWNER_ONLY: u32 = 0o600;

/// Makes the directory, for its owner only, unless it is there.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Puts `text` in place of `file` by a rename, so that a reader or a crash never meets half of it. The mode of an
/// existing file stays.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let (Some(dir), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let temporary = target.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_durably(&temporary, text, &target).and_then(|()| std::fs::rename(&temporary, &target));
    if let Err(error) = written {
        // Best effort: the fault that matters is the first one.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)?.sync_all()
}

fn write_durably(temporary: &Path, text: &str, target: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OWNER_ONLY)
        .open(temporary)?;
    let mode = target
        .metadata()
        .map_or(OWNER_ONLY, |old| old.permissions().mode() & 0o777);
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether others than its owner may read the file.
pub(super) fn is_readable_by_others(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0)
}
