//! Handing our history to another device of our account (spec/history): what an app asks for, and what both sides share.
//!
//! ```text
//! send_history ─▶ giving: chunk ─▶ chunk ─▶ … ─▶ last ─▶ HistorySent         through a log of its own, and its offer
//! an offer ─────▶ taking: chunk ─▶ chunk ─▶ … ─▶ last ─▶ HistoryComplete     through the inbox of the new device
//! ```
//!
//! Each side keeps one row for each device at the other end, and an intent that goes on where the row says, on whatever
//! connection: a transfer that is cut anywhere goes on there.

use super::client::Client;
use super::event::{EventRow, HistoryFailure, Signal};
use super::giving::GivingRow;
use super::query::Query;
use super::step::Step;
use super::taking::TakingRow;
use crate::crypto::CryptoRng;
use crate::error::Error;
use crate::identity::{DeviceId, IdentityError};
use crate::limits::HISTORY_LIFETIME;
use crate::store::{Direction, StoreError, StoreView, Table, Tx};
use crate::time::UnixMs;

/// A transfer of history that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryTransfer {
    /// The device at the other end.
    pub device: DeviceId,
    /// Which way it goes.
    pub direction: HistoryDirection,
    /// Messages that are through.
    pub done: u64,
    /// Messages that are to be.
    pub total: u64,
}

/// Which way a history goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryDirection {
    /// From us.
    Giving,
    /// To us.
    Taking,
}

impl<S: StoreView> Client<S> {
    /// Begins to give another device of our account all messages that we have, the newest first. It goes on by itself, also
    /// after a restart, until [`Event::HistorySent`](super::Event::HistorySent) or
    /// [`Event::HistoryFailed`](super::Event::HistoryFailed); a transfer to that device that is under way ends. Ask a person
    /// before: whoever holds that device reads everything.
    ///
    /// # Errors
    /// `Misuse` for a device that is not on our account's list, and for this one; `Storage`.
    pub fn send_history(&mut self, device: &DeviceId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.send_history(device), None)
    }

    /// Ends the transfers to and from another device. What has come of them stays.
    ///
    /// # Errors
    /// `Misuse` if there is none; `Storage`.
    pub fn cancel_history(&mut self, device: &DeviceId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.cancel_history(device), None)
    }

    /// The transfers that are under way, to us and from us.
    ///
    /// # Errors
    /// `Storage`.
    pub fn history_transfers(&self) -> Result<Vec<HistoryTransfer>, Error> {
        self.read(|query| query.history_transfers())
    }
}

impl Query<'_, '_> {
    fn history_transfers(&mut self) -> Result<Vec<HistoryTransfer>, Error> {
        let mut transfers = Vec::new();
        for (device, row) in GivingRow::all(self.rows())? {
            if !row.is_cancelled() {
                let (done, total) = (row.walked, row.total);
                transfers.push(HistoryTransfer { device, direction: HistoryDirection::Giving, done, total });
            }
        }
        for (device, row) in TakingRow::all(self.rows())? {
            let (done, total) = (row.walked, row.total);
            transfers.push(HistoryTransfer { device, direction: HistoryDirection::Taking, done, total });
        }
        Ok(transfers)
    }
}

impl Step<'_> {
    fn send_history(&mut self, device: &DeviceId) -> Result<(), Error> {
        if *device == self.us.device().id() {
            return Err(IdentityError::OwnDevice.into());
        }
        if !self.may_share_history(device) {
            return Err(IdentityError::UnknownDevice.into());
        }
        self.begin_giving(device)
    }

    fn cancel_history(&mut self, device: &DeviceId) -> Result<(), Error> {
        let was_given = self.cancel_giving(device)?;
        let was_taken = self.drop_taking(device)?;
        if was_given || was_taken { Ok(()) } else { Err(Error::NoTransfer) }
    }

    /// Whether we and the device at the other end are both of our account (rules HIST-01, HIST-03).
    pub(super) fn may_share_history(&self, with: &DeviceId) -> bool {
        self.is_listed() && *with != self.us.device().id() && self.us.own_devices().device(with).is_some()
    }

    /// Ends what has taken too long, and what has lost its other end (rules HIST-03, HIST-16).
    pub(super) fn expire_history(&mut self) -> Result<(), Error> {
        for (device, row) in GivingRow::all(&self.tx)? {
            if let Some(because) = self.history_fault(&device, row.begun_ms) {
                self.fail_giving(&device, because)?;
            }
        }
        for (device, row) in TakingRow::all(&self.tx)? {
            if let Some(because) = self.history_fault(&device, row.begun_ms) {
                self.fail_taking(&device, because)?;
            }
        }
        Ok(())
    }

    fn history_fault(&self, with: &DeviceId, begun_ms: UnixMs) -> Option<HistoryFailure> {
        if !self.may_share_history(with) {
            return Some(HistoryFailure::Removed);
        }
        (self.now > begun_ms.after(HISTORY_LIFETIME)).then_some(HistoryFailure::Expired)
    }

    pub(super) fn history_progress(&mut self, with: DeviceId, done: u64, total: u64) {
        self.signal(Signal::HistoryProgress { with, done, total });
    }

    pub(super) fn history_failed(&mut self, with: DeviceId, because: HistoryFailure) -> Result<(), Error> {
        self.event(EventRow::HistoryFailed { with, because })
    }

    /// The relay may have lost chunks that we no longer have: what is unfinished begins anew (rule HIST-16).
    pub(super) fn give_history_again(&mut self) -> Result<(), Error> {
        for (device, row) in GivingRow::all(&self.tx)? {
            if row.is_cancelled() || !self.may_share_history(&device) {
                self.forget_giving(&device)?;
            } else {
                self.begin_giving(&device)?;
            }
        }
        Ok(())
    }
}

/// The key of the row about a device.
pub(super) fn row_key(word: &[u8], device: &DeviceId) -> Vec<u8> {
    [word, device.as_bytes()].concat()
}

/// The devices about which there are rows, with what stands in them.
pub(super) fn all_rows(tx: &Tx<'_>, word: &[u8]) -> Result<Vec<(DeviceId, crate::store::Value)>, StoreError> {
    let rows = tx.scan_prefix(Table::Meta, word, Direction::Ascending, usize::MAX)?;
    let of = |key: &[u8]| key[word.len()..].try_into().map(DeviceId::from_bytes).map_err(|_| StoreError::Corrupt);
    rows.into_iter().map(|(key, value)| Ok((of(&key)?, value))).collect()
}
