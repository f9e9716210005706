//! What is due by age alone, once a day: old seeds go, prekeys and key packages are replaced before they expire.
//!
//! Runs when a connection begins and, on one that lasts, by the timer. The day is counted from a row, so that neither a
//! restart nor a reconnect makes it more often.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::frame::SlotKind;

use super::rows;
use super::step::Step;
use crate::dm;
use crate::error::Error;
use crate::limits::{ITEMS_STOCK, KEY_PACKAGE_ROTATION, UPKEEP_INTERVAL};
use crate::store::Table;
use crate::time::UnixMs;

/// Where the row stands, in [`Table::Meta`].
const KEY: &[u8] = b"upkeep";

/// When what was done last.
#[derive(Clone, Copy, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct UpkeepRow {
    all_ms: UnixMs,
    key_packages_ms: UnixMs,
}

impl Step<'_> {
    /// Does what is due, if a day has passed, and sets the timer for the next one (rules DM-07, DM-35).
    pub(super) fn upkeep(&mut self) -> Result<(), Error> {
        self.expire_history()?;
        let last = rows::load::<UpkeepRow>(&self.tx, Table::Meta, KEY)?;
        let mut row = last.unwrap_or(UpkeepRow { all_ms: self.now, key_packages_ms: self.now });
        // A clock that was set back must not put it off for years.
        let is_due = |at: UnixMs, interval| self.now.since(at) >= interval || at > self.now.after(interval);
        if last.is_none() || is_due(row.all_ms, UPKEEP_INTERVAL) {
            let renews_packages = is_due(row.key_packages_ms, KEY_PACKAGE_ROTATION);
            row.all_ms = self.now;
            dm::sweep(&mut self.tx, self.now)?;
            if last.is_some() {
                self.ask_expired_lists()?;
            }
            if dm::is_rotation_due(&self.tx, self.now)? {
                self.replenish(SlotKind::PrekeyBundle, ITEMS_STOCK)?;
            }
            if renews_packages {
                row.key_packages_ms = self.now;
                self.replenish(SlotKind::KeyPackages, ITEMS_STOCK)?;
            }
            rows::save(&mut self.tx, Table::Meta, KEY, &row);
        }
        self.link.upkeep_at = Some(row.all_ms.after(UPKEEP_INTERVAL));
        Ok(())
    }
}
