//! What a client keeps: rows in tables, read through an overlay, written as one batch per step.
//!
//! ```text
//! step n:  Tx over (store ‖ batches not yet durable ‖ this step's writes)  →  Batch n  →  the driver commits it
//! ```
//!
//! A row is a key and a value, both bytes, in one of the [`Table`]s. Keys sort as bytes. Everything is secret: a store on
//! disk is encrypted (`undertone-sqlcipher`). Invariants: a batch is applied whole or not at all, in the order of steps;
//! a failed read or commit poisons the client, which is then dropped and opened again from the store.
//!
//! Leaves out what the rows mean: each layer encodes its own, with a version in front.

mod memory;
mod tx;

pub use memory::MemoryStore;
pub use tx::{Mark, Overlay, Tx};

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// Declares the tables; the number of each is part of every store on disk and never changes.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The tables of a store.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Table { $($(#[$doc])* $name = $number,)* }

        impl Table {
            /// Every table.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number by which a store on disk knows the table.
            pub fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

tables! {
    /// Single values of the client: schema, counters, the relay it knows.
    Meta = 1,
    /// The account's and the device's own keys and certificates.
    Identity = 2,
    /// What is pinned of other accounts.
    Peers = 3,
    /// Our prekeys.
    Prekeys = 4,
    /// Ratchet sessions.
    Sessions = 5,
    /// Skipped message keys, one row each.
    SkippedKeys = 6,
    /// The rows of openmls.
    Mls = 7,
    /// Our key packages and what else groups keep outside openmls.
    Groups = 8,
    /// Conversations: kind, log, cursor, generation, state.
    Conversations = 9,
    /// What is to be sent, in order.
    Outbox = 10,
    /// The timeline of each conversation.
    Messages = 11,
    /// Ids that have been seen.
    Seen = 12,
    /// Entries that could not be read, with the reason.
    Undecryptable = 13,
    /// Events not yet taken by the app.
    Events = 14,
    /// What is to be done at the relay besides appending: creating, publishing, taking, depositing.
    Intents = 15,
    /// Receipts by conversation, device and kind.
    Receipts = 16,
    /// Logs: conversation, generation, cursor.
    Logs = 17,
    /// The latest heads of each log, to check the evidence of others.
    Heads = 18,
    /// From an entry id of ours to its outbox row.
    OutboxIndex = 19,
    /// From a message id to its place.
    MessageIndex = 20,
    /// The accounts we know, and the conversation with each.
    Contacts = 21,
    /// Handshakes that their responders have not answered.
    Unanswered = 22,
    /// The device lists by which each direct log is addressed.
    Rosters = 23,
    /// Of each peer device, what is kept to find back to a common session.
    Recovery = 24,
    /// The ids of the entries of each direct log's generation.
    EntryIds = 25,
}

/// A read failed or a commit was not applied. The client that sees it is poisoned: drop it, and open the store again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The medium failed, is full or is read-only.
    Medium,
    /// What is stored cannot be what was written: a damaged page, a wrong key, a foreign file.
    Corrupt,
    /// The store was written by a newer version.
    TooNew,
    /// Another process holds the store.
    Busy,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Medium => "the store's medium failed, is full or is read-only",
            Self::Corrupt => "the store is damaged, or the key is wrong",
            Self::TooNew => "the store was written by a newer version",
            Self::Busy => "another process holds the store",
        })
    }
}

impl std::error::Error for StoreError {}

/// A value of a row: secret, wiped when dropped.
pub type Value = Zeroizing<Vec<u8>>;

/// Where a row stands: its table and its key.
type Place = (Table, Vec<u8>);

/// A row: its key and its value.
pub type Row = (Vec<u8>, Value);

/// In which order a scan yields rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// Reading what is durable.
pub trait StoreView {
    /// The value at `key`, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]; the client is then poisoned.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError>;

    /// At most `limit` rows with `from <= key < to`, in `direction`.
    ///
    /// # Errors
    /// [`StoreError`]; the client is then poisoned.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;
}

/// A store that a driver writes. Handles are cheap to clone and share one store.
pub trait Store: StoreView {
    /// Applies a batch, whole or not at all; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]; whether the batch was applied is then unknown, and the client is poisoned.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;
}

/// The writes of one step: a value to put, or none to delete.
#[derive(Default)]
pub struct Batch {
    writes: BTreeMap<Place, Option<Value>>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes, each row once, sorted by table and key.
    pub fn writes(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        self.writes.iter().map(|((table, key), value)| (*table, key.as_slice(), value.as_ref().map(|v| v.as_slice())))
    }

    /// Joins the writes of a later step into this batch: several steps in one durable commit.
    pub fn merge(&mut self, later: &Self) {
        self.writes.extend(later.writes.iter().map(|(row, value)| (row.clone(), value.clone())));
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes } = self;
        write!(f, "Batch({} rows)", writes.len())
    }
}

/// The smallest key behind all that begin with `prefix`; `None` if there is none (`prefix` is empty or all 0xff).
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}
