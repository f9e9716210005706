//! The entry chain: what makes a dishonest relay noticed (rules RELAY-20 to RELAY-23).
//!
//! ```text
//! leaf = H("entry leaf", seq, generation, class, entry id, turn, payload hash)
//! head = H("entry head", head before, leaf)
//! ```
//!
//! `turn` is the gate of the next generation (read key ‖ append key, 64 bytes) if the entry ended its own, else empty:
//! whether a commit turned the log is as much a fact of the log as its payload.
//!
//! The head before the first entry is 32 zero bytes. Whoever holds the head at some `seq` can check every later entry,
//! a stub included: a stub keeps all fields of its leaf and lacks only the payload.

use crate::frame::Class;
use crate::gate::Gate;
use crate::id::{EntryId, Generation, Head, PayloadHash, Seq};
use crate::label::{self, hash};

/// The head of a log without entries.
pub const EMPTY: Head = Head::from_bytes([0; 32]);

/// The fields of one entry that enter the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Position in the log.
    pub seq: Seq,
    /// The generation in which the relay accepted the entry.
    pub generation: Generation,
    /// The priority class.
    pub class: Class,
    /// The random id of the entry.
    pub id: EntryId,
    /// The gate of the next generation, if the entry ended its own.
    pub turn: Option<Gate>,
    /// The hash of its payload.
    pub payload: PayloadHash,
}

impl Leaf {
    /// The hash of the fields, 32 bytes (rule RELAY-20).
    pub fn hash(&self) -> [u8; 32] {
        let turn = self.turn.map(|gate| [*gate.read.as_bytes(), *gate.append.as_bytes()].concat()).unwrap_or_default();
        hash(
            label::ENTRY_LEAF,
            &[
                &self.seq.to_be_bytes(),
                &self.generation.to_be_bytes(),
                &[self.class as u8],
                self.id.as_bytes(),
                &turn,
                self.payload.as_bytes(),
            ],
        )
    }

    /// The head behind this entry, given the head before it.
    pub fn extend(&self, before: &Head) -> Head {
        Head::from_bytes(hash(label::ENTRY_HEAD, &[before.as_bytes(), &self.hash()]))
    }
}
