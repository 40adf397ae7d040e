//! Files that the object store does not hold, from a node that has them: piece by piece over the bus, each asked of all
//! nodes, so that one may go on where another has stopped.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use grok2api_schemas::bus::subjects::nodes;
use grok2api_schemas::media::{MediaAsk, MediaPiece};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::sync::CancellationToken;

use super::Media;
use super::disk::Incoming;
use super::error::MediaError;
use super::index::FileKey;
use crate::bus::codec;
use crate::egress::guard::too_large;

/// Bytes of a piece: half of what NATS takes in a message unless told otherwise.
const PIECE: usize = 512 * 1024;
/// How long a piece is waited for: nobody answers for a file that nobody has.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a piece is asked for.
const ATTEMPTS: u32 = 3;
const VERSION: u8 = 1;

fn unreadable(error: &codec::CodecError) -> MediaError {
    MediaError::Bus(error.to_string())
}

impl Media {
    /// Answers other nodes until `stop`.
    pub(super) async fn serve_peers(&self, stop: &CancellationToken) {
        let mut asked = self.share().bus().serve(nodes::MEDIA_ASK);
        loop {
            let request = tokio::select! {
                () = stop.cancelled() => return,
                request = asked.next() => request,
            };
            let Some(request) = request else { return };
            match self.piece(&request.payload).await {
                // Nobody waits any more if it fails.
                Ok(Some(piece)) => drop(request.reply.send(piece)),
                // Whoever has it answers.
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a piece of media could not be given to another node"),
            }
        }
    }

    /// The piece that is asked for, if the file is here.
    async fn piece(&self, asked: &[u8]) -> Result<Option<Bytes>, MediaError> {
        let asked: MediaAsk = codec::decode(asked).map_err(|error| unreadable(&error))?;
        let Some(mut opened) = self.read_here(&(asked.kind, asked.name)).await? else {
            return Ok(None);
        };
        let size = opened.entry.size;
        let mut bytes = Vec::new();
        if asked.from < size {
            opened.file.seek(std::io::SeekFrom::Start(asked.from)).await?;
            bytes.reserve(PIECE.min(usize::try_from(size - asked.from).unwrap_or(PIECE)));
            (&mut opened.file).take(PIECE as u64).read_to_end(&mut bytes).await?;
        }
        let piece = MediaPiece { size, bytes };
        codec::encode(VERSION, &piece)
            .map(Some)
            .map_err(|error| unreadable(&error))
    }

    /// Takes a file from whichever nodes have it.
    pub(super) async fn fetch_from_peers(&self, key: &FileKey) -> Result<Incoming, MediaError> {
        let most = self.limits().max_object_bytes;
        let mut incoming = self.disk().begin().await?;
        loop {
            let piece = self.ask_peers(key, incoming.size()).await?;
            if piece.size > most {
                return Err(too_large(most).into());
            }
            incoming.write(&piece.bytes).await?;
            if incoming.size() >= piece.size {
                return Ok(incoming);
            }
            if piece.bytes.is_empty() {
                return Err(MediaError::Bus("a file of another node ended early".to_owned()));
            }
        }
    }

    async fn ask_peers(&self, key: &FileKey, from: u64) -> Result<MediaPiece, MediaError> {
        let asked = MediaAsk {
            kind: key.0,
            name: key.1.clone(),
            from,
        };
        let asked = codec::encode(VERSION, &asked).map_err(|error| unreadable(&error))?;
        for _ in 0..ATTEMPTS {
            let answer = self
                .share()
                .bus()
                .request(nodes::MEDIA_ASK, asked.clone(), PATIENCE)
                .await;
            match answer {
                Ok(piece) => return codec::decode(&piece).map_err(|error| unreadable(&error)),
                Err(error) => tracing::debug!(%error, name = key.1, from, "no node gives a piece of media"),
            }
        }
        Err(MediaError::Gone)
    }
}
