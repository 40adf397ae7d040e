//! Opening: our own lock first, then sled, and a fallback for files that sled cannot read.
//!
//! `<dir>/lock` is held as long as the store is open; `<dir>/sled` holds the data. A damaged one is refused, or renamed to
//! `<dir>/sled.damaged-<UTC time>` and left there for whoever wants to look, as the options say.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::about_the_place;
use super::{IfDamaged, StoreError, StoreOptions};
use crate::clock::Clock;

/// sled's files, its lock, and where damaged files went.
pub(super) struct Opened {
    pub db: sled::Db,
    pub place: Place,
    pub recovered_from: Option<PathBuf>,
}

/// The directory and what keeps it ours. Dropped after the database.
pub(super) struct Place {
    pub dir: PathBuf,
    /// Held for its lock.
    _lock: Option<File>,
}

pub(super) fn open(dir: &Path, options: &StoreOptions) -> Result<Opened, StoreError> {
    let lock = lock(dir)?;
    enough_space(dir, options.min_free_bytes)?;
    let data = dir.join("sled");
    let (db, recovered_from) = match attempt(&data, options) {
        Ok(db) => (db, None),
        Err(Failure::Place(error)) => {
            return Err(StoreError::Unusable {
                dir: dir.to_owned(),
                reason: error,
            });
        }
        Err(Failure::Damaged(damage)) if options.if_damaged == IfDamaged::Refuse => {
            return Err(StoreError::Damaged { data, damage });
        }
        Err(Failure::Damaged(damage)) => {
            let aside = set_aside(&data).map_err(|error| StoreError::Unusable {
                dir: dir.to_owned(),
                reason: format!("it is damaged ({damage}) and could not be renamed: {error}"),
            })?;
            tracing::error!(
                damage,
                kept_as = %aside.display(),
                "the store was damaged: it was set aside and an empty one started"
            );
            let db = attempt(&data, options).map_err(|failure| StoreError::Unusable {
                dir: dir.to_owned(),
                reason: failure.into_words(),
            })?;
            (db, Some(aside))
        }
    };
    Ok(Opened {
        db,
        place: Place {
            dir: dir.to_owned(),
            _lock: Some(lock),
        },
        recovered_from,
    })
}

/// A store that lives in memory-backed or temporary files and vanishes when it is dropped.
pub(super) fn open_temporary(options: &StoreOptions) -> Result<Opened, StoreError> {
    let dir = std::env::temp_dir();
    let db = config(options)
        .temporary(true)
        .open()
        .map_err(|error| StoreError::Unusable {
            dir: dir.clone(),
            reason: error.to_string(),
        })?;
    Ok(Opened {
        db,
        place: Place { dir, _lock: None },
        recovered_from: None,
    })
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let unusable = |error: io::Error| StoreError::Unusable {
        dir: dir.to_owned(),
        reason: about_the_place(&error).unwrap_or_else(|| error.to_string()),
    };
    std::fs::create_dir_all(dir).map_err(unusable)?;
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(dir.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Refuses when less than `min` bytes are free. A file system that cannot say counts as having enough.
pub(super) fn enough_space(dir: &Path, min: u64) -> Result<(), StoreError> {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            // A few virtual file systems report no blocks at all.
            if stat.f_blocks > 0 && free < min {
                return Err(StoreError::Full {
                    dir: dir.to_owned(),
                    free,
                });
            }
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

enum Failure {
    /// The place is wrong: nothing may be touched.
    Place(String),
    /// The files are wrong.
    Damaged(String),
}

impl Failure {
    fn into_words(self) -> String {
        match self {
            Failure::Place(words) | Failure::Damaged(words) => words,
        }
    }
}

fn config(options: &StoreOptions) -> sled::Config {
    sled::Config::new()
        .cache_capacity(options.cache_bytes)
        .mode(sled::Mode::LowSpace)
        // Only this periodic thread of sled's compacts the file; without it, the file grows for ever. It is not what
        // makes writes durable.
        .flush_every_ms(Some(1_000))
}

fn attempt(data: &Path, options: &StoreOptions) -> Result<sled::Db, Failure> {
    settings_are_text(data)?;
    // Our own lock is held, so sled's can only be busy because a store in this process is still closing its files.
    const PATIENCE: u32 = 40;
    for round in 0.. {
        match guarded(|| {
            let db = config(options).path(data).open()?;
            verify(&db)?;
            Ok(db)
        }) {
            Err(Failure::Place(reason)) if reason.contains("could not acquire lock") && round < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            outcome => return outcome,
        }
    }
    Err(Failure::Place("its files stay locked".to_owned()))
}

/// Reads everything once, so that damage shows here, where there is a fallback, and not under a request.
fn verify(db: &sled::Db) -> sled::Result<()> {
    for name in db.tree_names() {
        for row in &db.open_tree(name)? {
            row?;
        }
    }
    Ok(())
}

fn guarded(open: impl FnOnce() -> sled::Result<sled::Db>) -> Result<sled::Db, Failure> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(classify(error)),
        Err(panic) => Err(Failure::Damaged(panic_words(panic.as_ref()))),
    }
}

fn classify(error: sled::Error) -> Failure {
    match error {
        sled::Error::Io(io) if matches!(io.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
            Failure::Damaged(io.to_string())
        }
        // A disk that cannot be read is not mended by starting empty on it.
        sled::Error::Io(io) => Failure::Place(about_the_place(&io).unwrap_or_else(|| io.to_string())),
        sled::Error::Unsupported(reason) => Failure::Place(reason),
        error @ (sled::Error::Corruption { .. }
        | sled::Error::ReportableBug(_)
        | sled::Error::CollectionNotFound(_)) => Failure::Damaged(error.to_string()),
    }
}

/// sled calls a settings file that is not text the work of an older version; it is one that was damaged.
fn settings_are_text(data: &Path) -> Result<(), Failure> {
    match std::fs::read(data.join("conf")) {
        // The last four bytes are a checksum.
        Ok(bytes) if bytes.len() > 8 && std::str::from_utf8(&bytes[..bytes.len() - 4]).is_err() => {
            Err(Failure::Damaged("its settings file is not text".to_owned()))
        }
        _ => Ok(()),
    }
}

fn set_aside(data: &Path) -> io::Result<PathBuf> {
    let wall = Clock::system().wall().0;
    let mut name = data.as_os_str().to_owned();
    name.push(format!(".damaged-{}", utc_stamp(wall)));
    let mut aside = PathBuf::from(name);
    while aside.exists() {
        let mut next = aside.into_os_string();
        next.push("+");
        aside = next.into();
    }
    std::fs::rename(data, &aside)?;
    Ok(aside)
}

/// `20260102T030405Z`, from milliseconds since the epoch (Hinnant's days-to-civil).
pub(super) fn utc_stamp(wall_ms: u64) -> String {
    let seconds = wall_ms / 1000;
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// What a panic said.
pub(super) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
