//! Receipts: what a device has received, and how far a message has come (rules ENV-23 to ENV-25). Values that only grow.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::Seq;
use undertone_wire::limits::COUNTER_MAX;

use super::codec::{DecodeError, require};

/// Missing entries that one report can name.
pub const MISSING_MAX: usize = 64;

/// What one device has received of a log: everything up to and including `through`, except `missing`.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Delivered {
    through: Seq,
    missing: Vec<Seq>,
}

/// How far a message has come at one recipient. Only forward: the order of the variants is the order of the states.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum ReceiptState {
    /// In the outbox.
    Pending = 1,
    /// Durable in the log.
    Sent = 2,
    /// Opened by a device of the recipient, and durable there.
    Delivered = 3,
    /// Shown to the recipient.
    Read = 4,
}

impl ReceiptState {
    /// The state after a report of `reported`: the later one of the two.
    #[must_use]
    pub fn advance(self, reported: Self) -> Self {
        self.max(reported)
    }
}

impl Delivered {
    /// Nothing yet.
    pub const NONE: Self = Self { through: Seq::from_u64(0), missing: Vec::new() };

    /// Everything up to and including `through` (0 is nothing), except `missing`, in any order. Past [`MISSING_MAX`]
    /// missing ones `through` is lowered to what can be told.
    pub fn new(through: Seq, missing: impl IntoIterator<Item = Seq>) -> Self {
        let in_range = |seq: &Seq| *seq >= Seq::FIRST && *seq <= through;
        let mut missing: Vec<Seq> = missing.into_iter().filter(in_range).collect();
        missing.sort_unstable();
        missing.dedup();
        let through = match missing.get(MISSING_MAX) {
            Some(untold) => Seq::from_u64(untold.as_u64() - 1),
            None => through,
        };
        missing.truncate(MISSING_MAX);
        Self { through, missing }
    }

    /// The last entry that the report is about.
    pub fn through(&self) -> Seq {
        self.through
    }

    /// The entries up to it that have not been received, rising.
    pub fn missing(&self) -> &[Seq] {
        &self.missing
    }

    /// Whether the entry has been received.
    pub fn covers(&self, seq: Seq) -> bool {
        seq >= Seq::FIRST && seq <= self.through && self.missing.binary_search(&seq).is_err()
    }

    /// What two reports of one device say together: an entry is received if either says so.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let (low, high) = if self.through <= other.through { (self, other) } else { (other, self) };
        let missing = high.missing.iter().copied().filter(|seq| !low.covers(*seq));
        Self { through: high.through, missing: missing.collect() }
    }

    /// Checks a decoded report.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        require(self.through.as_u64() <= COUNTER_MAX, "delivered.through")?;
        let first_ok = self.missing.first().is_none_or(|first| *first >= Seq::FIRST);
        let last_ok = self.missing.last().is_none_or(|last| *last <= self.through);
        let is_sound = self.missing.len() <= MISSING_MAX && self.missing.is_sorted_by(|a, b| a < b);
        require(first_ok && last_ok && is_sound, "delivered.missing")
    }
}
