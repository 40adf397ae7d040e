//! What lies in the directories, how large it is and who reads it: pure, the disk is driven by [`super::disk`].

use std::collections::HashMap;

use grok2api_schemas::media::MediaKind;

/// Which file.
pub type FileKey = (MediaKind, String);

/// A file that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub size: u64,
    /// Its media type.
    pub mime: String,
    /// When it came, Unix milliseconds.
    pub made_ms: u64,
    /// When it was read last, Unix milliseconds.
    pub read_ms: u64,
    /// Who is reading it at the moment.
    readers: u32,
    /// It was read since it was written down last.
    unwritten: bool,
}

impl Entry {
    /// A file that nobody reads.
    pub fn new(size: u64, mime: impl Into<String>, made_ms: u64, read_ms: u64) -> Entry {
        Entry {
            size,
            mime: mime.into(),
            made_ms,
            read_ms,
            readers: 0,
            unwritten: false,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Index {
    files: HashMap<FileKey, Entry>,
    bytes: u64,
}

impl Index {
    /// Takes a file in, in place of one of that name.
    pub fn insert(&mut self, key: FileKey, size: u64, mime: String, made_ms: u64, read_ms: u64) {
        let entry = Entry::new(size, mime, made_ms, read_ms);
        self.bytes += size;
        if let Some(former) = self.files.insert(key, entry) {
            self.bytes -= former.size;
        }
    }

    /// Forgets a file; answers whether it was here.
    pub fn remove(&mut self, key: &FileKey) -> Option<Entry> {
        let entry = self.files.remove(key)?;
        self.bytes -= entry.size;
        Some(entry)
    }

    /// A file that somebody begins to read.
    pub fn begin_reading(&mut self, key: &FileKey, now_ms: u64) -> Option<Entry> {
        let entry = self.files.get_mut(key)?;
        entry.readers += 1;
        entry.read_ms = entry.read_ms.max(now_ms);
        entry.unwritten = true;
        Some(entry.clone())
    }

    /// Somebody is through with it.
    pub fn end_reading(&mut self, key: &FileKey) {
        if let Some(entry) = self.files.get_mut(key) {
            entry.readers = entry.readers.saturating_sub(1);
        }
    }

    /// A file.
    pub fn get(&self, key: &FileKey) -> Option<&Entry> {
        self.files.get(key)
    }

    /// What has to go so that `limit` bytes are kept: those read longest ago, never one that is being read. Once over the
    /// limit it goes down to four fifths of it, so that not every new file costs an old one.
    pub fn surplus(&self, limit: u64) -> Vec<FileKey> {
        if self.bytes <= limit {
            return Vec::new();
        }
        let goal = limit / 5 * 4;
        let mut idle: Vec<(&FileKey, &Entry)> = self.files.iter().filter(|(_, entry)| entry.readers == 0).collect();
        idle.sort_by(|a, b| (a.1.read_ms, &a.0.1).cmp(&(b.1.read_ms, &b.0.1)));
        let mut left = self.bytes;
        let mut going = Vec::new();
        for (key, entry) in idle {
            if left <= goal {
                break;
            }
            left -= entry.size;
            going.push(key.clone());
        }
        going
    }

    /// Files whose last reading is to be written down; they count as written then.
    pub fn take_unwritten(&mut self) -> Vec<(FileKey, Entry)> {
        let mut taken = Vec::new();
        for (key, entry) in self.files.iter_mut().filter(|(_, entry)| entry.unwritten) {
            entry.unwritten = false;
            taken.push((key.clone(), entry.clone()));
        }
        taken
    }

    /// How many files of a kind there are, and their bytes.
    pub fn totals(&self, kind: MediaKind) -> (u64, u64) {
        let of_kind = self.files.iter().filter(|((of, _), _)| *of == kind);
        of_kind.fold((0, 0), |(count, bytes), (_, entry)| (count + 1, bytes + entry.size))
    }

    /// Files of a kind, the newest first.
    pub fn list(&self, kind: MediaKind) -> Vec<(String, Entry)> {
        let of_kind = self.files.iter().filter(|((of, _), _)| *of == kind);
        let mut listed: Vec<(String, Entry)> = of_kind
            .map(|((_, name), entry)| (name.clone(), entry.clone()))
            .collect();
        listed.sort_by(|a, b| b.1.made_ms.cmp(&a.1.made_ms).then_with(|| a.0.cmp(&b.0)));
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> FileKey {
        (MediaKind::Image, name.to_owned())
    }

    fn with(files: &[(&str, u64, u64)]) -> Index {
        let mut index = Index::default();
        for (name, size, read_ms) in files {
            index.insert(key(name), *size, "image/png".to_owned(), 0, *read_ms);
        }
        index
    }

    #[test]
    fn the_longest_unread_goes_and_nobody_loses_what_he_reads() {
        let mut index = with(&[("old", 40, 1), ("newer", 40, 2), ("newest", 40, 3)]);
        assert_eq!(index.surplus(120), [] as [FileKey; 0]);
        // Over 100: down to 80, and one is enough.
        assert_eq!(index.surplus(100), [key("old")]);
        // Reading makes it the youngest.
        index.begin_reading(&key("old"), 9);
        assert_eq!(index.surplus(100), [key("newer")]);
        // And it stays while it is read, whatever the limit.
        assert_eq!(index.surplus(0), [key("newer"), key("newest")]);
        index.end_reading(&key("old"));
        assert_eq!(index.surplus(0).len(), 3);
    }

    #[test]
    fn sums_follow_what_comes_and_goes() {
        let mut index = with(&[("a", 10, 1)]);
        index.insert(key("a"), 25, "image/png".to_owned(), 0, 1);
        assert_eq!(index.totals(MediaKind::Image), (1, 25));
        assert_eq!(index.totals(MediaKind::Video), (0, 0));
        index.begin_reading(&key("a"), 5);
        assert_eq!(index.take_unwritten().len(), 1);
        assert!(index.take_unwritten().is_empty());
        assert!(index.remove(&key("a")).is_some() && index.remove(&key("a")).is_none());
        assert_eq!(index.surplus(0), [] as [FileKey; 0]);
        assert!(index.begin_reading(&key("a"), 6).is_none());
    }
}
