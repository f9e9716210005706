//! What stands in the store: one key and one row type per table, encoded as the frames are.
//!
//! ```text
//! key = u8 table | fields, big-endian, fixed length
//! ```
//!
//! Two fjall keyspaces hold them: `entries` the table [`Table::Entry`], `rows` all others, so that small rows stay
//! together and payloads do not push them out of the cache. Every commit is one atomic batch over both.

use tls_codec::{DeserializeBytes, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::chain;
use undertone_wire::frame::{Entry, Lane, LaneToken, SlotKind};
use undertone_wire::gate::Gate;
use undertone_wire::id::{
    EntryId, Generation, Head, Incarnation, LogId, PayloadHash, Seq, ServerId, SlotId, TakeId, VerifyKey,
};

/// The tables, and the first byte of their keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Table {
    /// [`MarkRow`], first in every batch.
    Mark = 0,
    /// [`StoreRow`], one.
    Store = 1,
    /// [`LogRow`] by log.
    Log = 2,
    /// [`GateRow`] by log and generation.
    Gate = 3,
    /// [`EntryRow`] by log and seq.
    Entry = 4,
    /// [`IdRow`] by log and entry id.
    Id = 5,
    /// [`TokensRow`] by inbox.
    Tokens = 6,
    /// [`QuotaRow`] by inbox and lane.
    Quota = 7,
    /// [`SlotRow`] by slot and kind.
    Slot = 8,
    /// The body of a slot, by slot, kind and version.
    Body = 9,
    /// One-time items, by slot, kind and number.
    Item = 10,
    /// [`TakeRow`] by slot, kind and take.
    Take = 11,
    /// Nothing, by slot, kind, version and hash of an item that was added.
    Added = 13,
    /// Nothing, by the millisecond at which something is due, and the key of what is due.
    Due = 12,
}

/// What marks a batch as ours: how many were committed before it, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct MarkRow {
    pub(crate) commit: u64,
    pub(crate) now_ms: u64,
}

/// Who this store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct StoreRow {
    pub(crate) schema: u16,
    pub(crate) server: ServerId,
    pub(crate) incarnation: Incarnation,
}

/// What a log is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(crate) enum LogKind {
    /// Its gates admit.
    Conversation = 1,
    /// Its owner reads, its tokens admit deposits.
    Inbox = 2,
}

/// One log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct LogRow {
    pub(crate) kind: LogKind,
    /// The control key, or the owner of an inbox.
    pub(crate) key: VerifyKey,
    pub(crate) generation: Generation,
    /// The entry that began the generation; 0 at generation 0.
    pub(crate) turned_at: Seq,
    /// The first entry that is still there, or will be.
    pub(crate) first: Seq,
    /// The head before `first`.
    pub(crate) first_head: Head,
    /// The last entry; 0 if there was none.
    pub(crate) last: Seq,
    /// The head behind `last`.
    pub(crate) head: Head,
}

impl LogRow {
    /// A log without entries.
    pub(crate) fn new(kind: LogKind, key: VerifyKey) -> Self {
        Self {
            kind,
            key,
            generation: Generation::FIRST,
            turned_at: Seq::from_u64(0),
            first: Seq::FIRST,
            first_head: chain::EMPTY,
            last: Seq::from_u64(0),
            head: chain::EMPTY,
        }
    }
}

/// One gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct GateRow {
    pub(crate) gate: Gate,
    /// The entry that ended the generation; none while it lasts.
    pub(crate) ended_by: Option<Seq>,
}

/// One entry, and the head behind it.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct EntryRow {
    pub(crate) entry: Entry,
    pub(crate) head: Head,
}

/// Where the entry with some id stands, kept longer than the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct IdRow {
    pub(crate) seq: Seq,
    pub(crate) generation: Generation,
    pub(crate) payload: PayloadHash,
}

/// The tokens of an inbox.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct TokensRow {
    pub(crate) tokens: Vec<LaneToken>,
}

/// What one lane took in on one day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct QuotaRow {
    /// Days since 1970-01-01.
    pub(crate) day: u64,
    pub(crate) entries_count: u32,
    pub(crate) payloads_len: u64,
}

/// One kind of one slot; its items are numbered `items_from..items_to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct SlotRow {
    pub(crate) version: u64,
    pub(crate) items_from: u64,
    pub(crate) items_to: u64,
}

/// What a take got; the body stands under its version until the answer is forgotten.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct TakeRow {
    pub(crate) version: u64,
    pub(crate) item: Option<VLBytes>,
}

/// The key of a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    fn new(table: Table, fields: &[&[u8]]) -> Self {
        let mut bytes = vec![table as u8];
        fields.iter().for_each(|field| bytes.extend_from_slice(field));
        Self(bytes)
    }

    /// Takes a key out of a [`Table::Due`] key.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the row stands in the keyspace `entries`.
    pub(crate) fn is_entry(&self) -> bool {
        self.0.first() == Some(&(Table::Entry as u8))
    }

    pub(crate) fn mark(guard: &[u8; 16]) -> Self {
        Self::new(Table::Mark, &[guard])
    }

    pub(crate) fn store() -> Self {
        Self::new(Table::Store, &[])
    }

    pub(crate) fn log(log: &LogId) -> Self {
        Self::new(Table::Log, &[log.as_bytes()])
    }

    pub(crate) fn gate(log: &LogId, generation: Generation) -> Self {
        Self::new(Table::Gate, &[log.as_bytes(), &generation.to_be_bytes()])
    }

    pub(crate) fn entry(log: &LogId, seq: Seq) -> Self {
        Self::new(Table::Entry, &[log.as_bytes(), &seq.to_be_bytes()])
    }

    pub(crate) fn id(log: &LogId, id: &EntryId) -> Self {
        Self::new(Table::Id, &[log.as_bytes(), id.as_bytes()])
    }

    pub(crate) fn tokens(inbox: &LogId) -> Self {
        Self::new(Table::Tokens, &[inbox.as_bytes()])
    }

    pub(crate) fn quota(inbox: &LogId, lane: Lane) -> Self {
        Self::new(Table::Quota, &[inbox.as_bytes(), &[lane as u8]])
    }

    pub(crate) fn slot(slot: &SlotId, kind: SlotKind) -> Self {
        Self::new(Table::Slot, &[slot.as_bytes(), &(kind as u16).to_be_bytes()])
    }

    pub(crate) fn body(slot: &SlotId, kind: SlotKind, version: u64) -> Self {
        Self::new(Table::Body, &[slot.as_bytes(), &(kind as u16).to_be_bytes(), &version.to_be_bytes()])
    }

    pub(crate) fn item(slot: &SlotId, kind: SlotKind, number: u64) -> Self {
        Self::new(Table::Item, &[slot.as_bytes(), &(kind as u16).to_be_bytes(), &number.to_be_bytes()])
    }

    pub(crate) fn added(slot: &SlotId, kind: SlotKind, version: u64, item: &PayloadHash) -> Self {
        let (kind, version) = ((kind as u16).to_be_bytes(), version.to_be_bytes());
        Self::new(Table::Added, &[slot.as_bytes(), &kind, &version, item.as_bytes()])
    }

    pub(crate) fn take(slot: &SlotId, kind: SlotKind, take: &TakeId) -> Self {
        Self::new(Table::Take, &[slot.as_bytes(), &(kind as u16).to_be_bytes(), take.as_bytes()])
    }

    pub(crate) fn due(due_ms: u64, what: &Key) -> Self {
        Self::new(Table::Due, &[&due_ms.to_be_bytes(), &what.0])
    }

    /// The millisecond and the key inside a [`Table::Due`] key.
    pub(crate) fn split_due(bytes: &[u8]) -> Option<(u64, Self)> {
        let (due_ms, what) = bytes.strip_prefix(&[Table::Due as u8])?.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*due_ms), Self::from_bytes(what)))
    }
}

/// Encodes a row.
pub(crate) fn encode(row: &impl Serialize) -> Vec<u8> {
    row.tls_serialize_detached().expect("writing to a Vec does not fail, and rows are far below 2^30 bytes")
}

/// Decodes a row; none says that the store holds what this program never wrote.
pub(crate) fn decode<T: DeserializeBytes>(bytes: &[u8]) -> Option<T> {
    T::tls_deserialize_exact_bytes(bytes).ok()
}
