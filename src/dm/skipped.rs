//! The stored seeds of messages that were passed over (spec/dm, rules DM-33 to DM-35): one row each.
//!
//! ```text
//! key    DeviceId 32 | SessionId 32 | u32 chain | u32 n        value   u8 version | u64 stored_at ms | seed 32
//! ```
//!
//! Invariants: rows of a session sort by age, chain before chain and message before message, so that the first are the
//! oldest; how many rows a chain has stands in the ratchet's state, and both are written in one step.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::identity::DeviceId;
use crate::limits::DM_SKIPPED_AGE_MAX;
use crate::store::{Direction, Table, Tx};
use crate::time::UnixMs;

use super::keys::MessageSeed;
use super::ratchet::{ChainNumber, Ratchet, Skipped, SkippedChanges};
use super::{DmError, SessionId, decode_row, encode};

/// How many rows are read at once when old ones are looked for.
const PAGE: usize = 64;

/// The place of one session's rows.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) peer: DeviceId,
    pub(super) session: SessionId,
}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Row {
    stored_at: UnixMs,
    seed: MessageSeed,
}

impl Row {
    fn is_old(&self, now: UnixMs) -> bool {
        now.since(self.stored_at) > DM_SKIPPED_AGE_MAX
    }
}

impl Place {
    fn prefix(&self) -> Vec<u8> {
        [self.peer.as_bytes().as_slice(), self.session.as_bytes()].concat()
    }

    fn chain(&self, chain: ChainNumber) -> Vec<u8> {
        [self.prefix(), chain.0.to_be_bytes().to_vec()].concat()
    }

    fn key(&self, chain: ChainNumber, n: u32) -> Vec<u8> {
        [self.chain(chain), n.to_be_bytes().to_vec()].concat()
    }
}

/// Takes the seed of a message out of the store.
///
/// # Errors
/// [`DmError::Replay`] if there is none (any more), [`DmError::Expired`] if it is too old.
pub(super) fn take(
    tx: &mut Tx<'_>,
    place: Place,
    (chain, n): (ChainNumber, u32),
    now: UnixMs,
) -> Result<MessageSeed, DmError> {
    let key = place.key(chain, n);
    let row: Row = decode_row(&tx.get(Table::SkippedKeys, &key)?.ok_or(DmError::Replay)?)?;
    if row.is_old(now) {
        return Err(DmError::Expired);
    }
    tx.delete(Table::SkippedKeys, &key);
    Ok(row.seed)
}

/// Applies what a ratchet step does to the stored seeds.
pub(super) fn apply(tx: &mut Tx<'_>, place: Place, changes: SkippedChanges, now: UnixMs) -> Result<(), DmError> {
    let SkippedChanges { evict, store, unkept: _ } = changes;
    delete_oldest(tx, place, &evict)?;
    for Skipped { chain, n, seed } in store {
        tx.put(Table::SkippedKeys, &place.key(chain, n), encode(&Row { stored_at: now, seed }));
    }
    Ok(())
}

/// Deletes as many of the oldest seeds of chains as is said.
pub(super) fn delete_oldest(tx: &mut Tx<'_>, place: Place, evict: &[(ChainNumber, u32)]) -> Result<(), DmError> {
    for (chain, count) in evict {
        let rows = tx.scan_prefix(Table::SkippedKeys, &place.chain(*chain), Direction::Ascending, *count as usize)?;
        for (key, _) in &rows {
            tx.delete(Table::SkippedKeys, key);
        }
    }
    Ok(())
}

/// Deletes the seeds of a session that are past their age, oldest first until one is not.
pub(super) fn delete_old(tx: &mut Tx<'_>, place: Place, ratchet: &mut Ratchet, now: UnixMs) -> Result<(), DmError> {
    let prefix = place.prefix();
    loop {
        let rows = tx.scan_prefix(Table::SkippedKeys, &prefix, Direction::Ascending, PAGE)?;
        for (key, row) in &rows {
            if !decode_row::<Row>(row)?.is_old(now) {
                return Ok(());
            }
            if let Some(chain) = key.get(prefix.len()..).and_then(|rest| rest.first_chunk()) {
                ratchet.forget_skipped(ChainNumber(u32::from_be_bytes(*chain)), 1);
            }
            tx.delete(Table::SkippedKeys, key);
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

/// Deletes every seed of a session.
pub(super) fn delete_all(tx: &mut Tx<'_>, place: Place) -> Result<(), DmError> {
    loop {
        let rows = tx.scan_prefix(Table::SkippedKeys, &place.prefix(), Direction::Ascending, PAGE)?;
        if rows.is_empty() {
            return Ok(());
        }
        for (key, _) in &rows {
            tx.delete(Table::SkippedKeys, key);
        }
    }
}
