//! Writing what has to last: a record is written over the revision that it was made from. Where another node was faster,
//! what it wrote is merged in first (see [`super::merge`]), so of two that change one record at a time neither is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grok2api_schemas::bus::subjects::buckets;
use grok2api_schemas::token::{TeamRecord, TokenRecord};

use super::actor::RECORD_VERSION;
use super::entry::Token;
use super::pool::Pool;
use super::team::Team;
use crate::bus::{BusError, BusErrorKind, Expect, codec};

/// Others are faster at most this often in a row.
const ATTEMPTS: u32 = 24;

fn corrupt(error: &codec::CodecError) -> BusError {
    BusError::new(BusErrorKind::Corrupt, error.to_string())
}

/// A short rest between two attempts, longer each time, and not the same for all.
async fn back_off(attempt: u32) {
    if attempt > 1 {
        let most = 1_u64 << attempt.min(6);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..=most))).await;
    }
}

impl Pool {
    /// Writes what the store lacks of a token.
    pub(super) async fn save_token(&self, token: &Arc<Token>) -> Result<(), BusError> {
        self.write_token(token, None).await
    }

    /// Changes a token's record; memory follows once that is durable, so a change that could not be written is not in
    /// force. The change may be made several times, each time to what another node has written meanwhile.
    pub(super) async fn edit_token(
        &self,
        token: &Arc<Token>,
        edit: &(dyn Fn(&mut TokenRecord) + Sync),
    ) -> Result<(), BusError> {
        self.write_token(token, Some(edit)).await
    }

    async fn write_token(
        &self,
        token: &Arc<Token>,
        edit: Option<&(dyn Fn(&mut TokenRecord) + Sync)>,
    ) -> Result<(), BusError> {
        let key = Bytes::copy_from_slice(token.id.as_bytes());
        for attempt in 0..ATTEMPTS {
            back_off(attempt).await;
            if token.is_gone() {
                return Ok(());
            }
            let uses = token.unsaved_uses.load(Ordering::Acquire);
            let (record, revision) = token.stored();
            if edit.is_none() && uses == 0 && record.version <= token.saved_version.load(Ordering::Acquire) {
                return Ok(());
            }
            let mut next = TokenRecord::clone(&record);
            if let Some(edit) = edit {
                edit(&mut next);
                next.version += 1;
            }
            if uses > 0 {
                next.use_count += u64::from(uses);
                let last_used = token.last_used_ms.load(Ordering::Relaxed);
                next.last_used_ms = next.last_used_ms.max(Some(last_used).filter(|ms| *ms > 0));
            }
            let value = codec::encode(RECORD_VERSION, &next).map_err(|error| corrupt(&error))?;
            let expect = Expect::Revision(revision);
            match self.0.bus.kv_put(buckets::TOKENS, key.clone(), value, expect).await {
                Ok(revision) => {
                    token.unsaved_uses.fetch_sub(uses, Ordering::AcqRel);
                    self.merge_token(token, &next, Some(revision));
                    if edit.is_some() && token.is_unsaved() {
                        self.0.actors.save(self, token);
                    }
                    return Ok(());
                }
                Err(error) if error.kind == BusErrorKind::Conflict => self.reread_token(token).await?,
                Err(error) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Takes in what another node wrote.
    async fn reread_token(&self, token: &Arc<Token>) -> Result<(), BusError> {
        match self.0.bus.kv_get(buckets::TOKENS, token.id.as_bytes()).await? {
            Some(entry) => {
                let record = codec::decode(&entry.value).map_err(|error| corrupt(&error))?;
                self.merge_token(token, &record, Some(entry.revision));
            }
            None => self.drop_token(token),
        }
        Ok(())
    }

    /// Writes what the store lacks of a team.
    pub(super) async fn save_team(&self, team: &Arc<Team>) -> Result<(), BusError> {
        self.write_team(team, None).await
    }

    /// Changes a team's record; memory follows once that is durable.
    pub(super) async fn edit_team(
        &self,
        team: &Arc<Team>,
        edit: &(dyn Fn(&mut TeamRecord) + Sync),
    ) -> Result<(), BusError> {
        self.write_team(team, Some(edit)).await
    }

    async fn write_team(
        &self,
        team: &Arc<Team>,
        edit: Option<&(dyn Fn(&mut TeamRecord) + Sync)>,
    ) -> Result<(), BusError> {
        let key = Bytes::copy_from_slice(team.id.as_bytes());
        for attempt in 0..ATTEMPTS {
            back_off(attempt).await;
            let (record, revision) = team.stored();
            if edit.is_none() && !team.is_unsaved() {
                return Ok(());
            }
            let mut next = TeamRecord::clone(&record);
            if let Some(edit) = edit {
                edit(&mut next);
                next.version += 1;
            }
            let value = codec::encode(RECORD_VERSION, &next).map_err(|error| corrupt(&error))?;
            let expect = match revision {
                0 => Expect::Absent,
                revision => Expect::Revision(revision),
            };
            match self.0.bus.kv_put(buckets::TEAMS, key.clone(), value, expect).await {
                Ok(revision) => {
                    self.merge_team(team, &next, Some(revision));
                    if edit.is_some() && team.is_unsaved() {
                        self.0.actors.save_team(self, team);
                    }
                    return Ok(());
                }
                Err(error) if error.kind == BusErrorKind::Conflict => self.reread_team(team).await?,
                Err(error) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Takes in what another node wrote, or that nothing is written.
    pub(super) async fn reread_team(&self, team: &Arc<Team>) -> Result<(), BusError> {
        match self.0.bus.kv_get(buckets::TEAMS, team.id.as_bytes()).await? {
            Some(entry) => {
                let record = codec::decode(&entry.value).map_err(|error| corrupt(&error))?;
                self.merge_team(team, &record, Some(entry.revision));
            }
            None => team.forget_stored(),
        }
        Ok(())
    }
}

fn contended() -> BusError {
    BusError::new(
        BusErrorKind::Conflict,
        format!("the record changed {ATTEMPTS} times while it was being written"),
    )
}
