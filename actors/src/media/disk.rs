//! The directories: `image`, `video`, and `.incoming` for what is not whole yet.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use grok2api_schemas::media::MediaKind;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use super::index::FileKey;
use super::name;
use super::sniff::SNIFFED;

/// The directory of this node's files.
#[derive(Clone, Debug)]
pub struct Disk {
    dir: PathBuf,
}

/// A file as the file system knows it.
#[derive(Debug)]
pub struct Found {
    /// Which.
    pub key: FileKey,
    /// Its bytes.
    pub size: u64,
    /// When it was written, Unix milliseconds.
    pub modified_ms: u64,
}

impl Disk {
    /// Makes what is missing, and removes what an earlier process left half-done.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn open(dir: &Path) -> io::Result<Disk> {
        let disk = Disk { dir: dir.to_owned() };
        match fs::remove_dir_all(disk.incoming_dir()).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(disk.incoming_dir()).await?,
        }
        for kind in MediaKind::ALL {
            fs::create_dir_all(dir.join(kind.as_str())).await?;
        }
        Ok(disk)
    }

    fn incoming_dir(&self) -> PathBuf {
        self.dir.join(".incoming")
    }

    /// Where a file lies.
    pub fn path(&self, key: &FileKey) -> PathBuf {
        self.dir.join(key.0.as_str()).join(&key.1)
    }

    /// Everything that is there under a name that can be read.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn scan(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for kind in MediaKind::ALL {
            let mut entries = fs::read_dir(self.dir.join(kind.as_str())).await?;
            while let Some(entry) = entries.next_entry().await? {
                let Some(name) = entry.file_name().to_str().and_then(name::of_path) else {
                    continue;
                };
                let Ok(told) = entry.metadata().await else { continue };
                if !told.is_file() {
                    continue;
                }
                let modified = told.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                found.push(Found {
                    key: (kind, name),
                    size: told.len(),
                    modified_ms: modified.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
                });
            }
        }
        Ok(found)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn remove(&self, key: &FileKey) -> io::Result<()> {
        match fs::remove_file(self.path(key)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A file that begins to come.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn begin(&self) -> io::Result<Incoming> {
        let path = self.incoming_dir().join(uuid::Uuid::new_v4().simple().to_string());
        Ok(Incoming {
            file: File::create_new(&path).await?,
            path,
            size: 0,
            head: Vec::with_capacity(SNIFFED),
        })
    }
}

/// A file that comes. Dropped before its end it is removed.
pub struct Incoming {
    file: File,
    path: PathBuf,
    size: u64,
    head: Vec<u8>,
}

impl Incoming {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its first bytes, as many as tell what it is.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Takes more.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let room = SNIFFED.saturating_sub(self.head.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.file.write_all(piece).await?;
        self.size += piece.len() as u64;
        Ok(())
    }

    /// Begins again.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file = File::create(&self.path).await?;
        self.size = 0;
        self.head.clear();
        Ok(())
    }

    /// It is whole: it gets its place, on the disk and not only in memory.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn finish(mut self, disk: &Disk, key: &FileKey) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_data().await?;
        fs::rename(&self.path, disk.path(key)).await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name any more.
        let _ = std::fs::remove_file(&self.path);
    }
}
