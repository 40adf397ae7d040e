//! Log lines for whoever watches: nothing is kept, and nobody who watches costs nothing.

use std::sync::Arc;

use tokio::sync::broadcast;

/// Lines that one watcher may be behind.
const BEHIND: usize = 2_048;

/// Where lines can be watched as they are written. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogTap(broadcast::Sender<Arc<str>>);

impl Default for LogTap {
    fn default() -> LogTap {
        LogTap(broadcast::Sender::new(BEHIND))
    }
}

impl LogTap {
    /// A line was written.
    pub(super) fn line(&self, line: &str) {
        if self.0.receiver_count() > 0 {
            // Nobody listens any more: fine.
            let _ = self.0.send(line.trim_end().into());
        }
    }

    /// Lines from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<str>> {
        self.0.subscribe()
    }
}
