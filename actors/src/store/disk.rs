//! The last step to durability.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::StoreError;

/// Forces what sled has written to the disk itself. sled's flush leaves it with the kernel: safe from the end of the
/// process, not from a power failure.
pub(super) struct DiskSync {
    log: File,
    /// sled writes large pages to files of their own in here, without syncing them.
    blobs: PathBuf,
    blobs_changed: Option<SystemTime>,
}

impl DiskSync {
    pub fn new(data: &Path) -> Result<DiskSync, StoreError> {
        let log = File::open(data.join("db")).map_err(|error| StoreError::Unusable {
            dir: data.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(DiskSync {
            log,
            blobs: data.join("blobs"),
            blobs_changed: None,
        })
    }

    /// What was flushed before the call is on the disk after it.
    pub fn sync(&mut self) -> io::Result<()> {
        let changed = std::fs::metadata(&self.blobs).and_then(|found| found.modified()).ok();
        if changed.is_some() && changed != self.blobs_changed {
            self.sync_file_system()?;
            self.blobs_changed = changed;
        }
        self.log.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.log)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self) -> io::Result<()> {
        for blob in std::fs::read_dir(&self.blobs)? {
            // A page that was rewritten meanwhile is gone; its successor is in the list or in the log.
            if let Ok(file) = File::open(blob?.path()) {
                file.sync_data()?;
            }
        }
        Ok(())
    }
}
