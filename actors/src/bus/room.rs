//! Whether what is to be kept finds room: the operator has to mend it, so it is told once, clearly, and remembered until a
//! write succeeds again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{BusError, BusErrorKind};

/// Nothing can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// What is full, where, and how to mend it.
    pub words: String,
    /// For how long.
    pub lasts: Duration,
}

/// What the last writes said of the room there is.
#[derive(Debug, Default)]
pub(super) struct Room {
    is_refused: AtomicBool,
    refused: Mutex<Option<(Instant, String)>>,
}

impl Room {
    /// A write has ended.
    pub fn note<T>(&self, outcome: &Result<T, BusError>) {
        match outcome {
            Ok(_) if self.is_refused.load(Ordering::Relaxed) => {
                self.is_refused.store(false, Ordering::Relaxed);
                if let Some((since, _)) = self.refused.lock().take() {
                    tracing::info!(after_secs = since.elapsed().as_secs(), "the storage takes writes again");
                }
            }
            Err(error) if error.kind == BusErrorKind::Full => {
                let mut refused = self.refused.lock();
                if refused.is_none() {
                    tracing::error!("{}", error.message);
                    *refused = Some((Instant::now(), error.message.clone()));
                }
                self.is_refused.store(true, Ordering::Relaxed);
            }
            // A write that failed otherwise says nothing about room.
            Ok(_) | Err(_) => {}
        }
    }

    pub fn missing(&self) -> Option<NoRoom> {
        if !self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        let refused = self.refused.lock();
        refused.as_ref().map(|(since, words)| NoRoom {
            words: words.clone(),
            lasts: since.elapsed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn want_of_room_is_remembered_until_a_write_succeeds() {
        let room = Room::default();
        assert_eq!(room.missing(), None);
        let full = Err::<(), _>(BusError::new(BusErrorKind::Full, "no storage left"));
        room.note(&full);
        tokio::time::advance(Duration::from_secs(3)).await;
        room.note(&full);
        room.note(&Err::<(), _>(BusError::new(BusErrorKind::Timeout, "late")));
        let missing = room.missing().unwrap();
        assert_eq!(
            (missing.words.as_str(), missing.lasts),
            ("no storage left", Duration::from_secs(3))
        );
        room.note(&Ok(()));
        assert_eq!(room.missing(), None);
    }
}
