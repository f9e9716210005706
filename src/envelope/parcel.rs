//! Parcels: what stands inside a shell (rules ENV-04 to ENV-06).
//!
//! ```text
//! u8 version = 1 | u8 kind | u64 seq | head[32] | epoch[32] | opaque body<V>
//! ```

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::frame::Checkpoint;
use undertone_wire::id::{Head, Seq};
use undertone_wire::limits::{COUNTER_MAX, PARCEL_LEN_MAX};

use super::codec::{self, DecodeError, opaque, require};
use super::padding;

/// The version of parcels, their first byte.
pub const VERSION: u8 = 1;

/// Bytes of the body that fit into one parcel: its fields, their lengths and the padding's length are taken off.
pub const BODY_LEN_MAX: usize = padding::room(PARCEL_LEN_MAX) - (2 + EVIDENCE_LEN + 4);

/// Bytes of an encoded [`Evidence`].
pub const EVIDENCE_LEN: usize = 72;

/// What a log entry holds once its shell is open.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Parcel {
    /// Which layer opens the body.
    pub kind: ParcelKind,
    /// What the sender had seen of the log.
    pub evidence: Evidence,
    /// For that layer, at most [`BODY_LEN_MAX`] bytes.
    #[tls_codec(with = "opaque")]
    pub body: Vec<u8>,
}

/// Which layer opens the body of a parcel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum ParcelKind {
    /// A [`DirectBody`](super::DirectBody) with an envelope.
    DirectMessage = 1,
    /// A [`DirectBody`](super::DirectBody) with the secret of the next generation.
    DirectTurn = 2,
    /// An MLS application message with an envelope.
    GroupMessage = 3,
    /// An MLS commit.
    GroupCommit = 4,
    /// An MLS proposal.
    GroupProposal = 5,
}

/// What a sender had seen of the log when it sealed: makes a relay that drops, reorders or forks noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Evidence {
    /// The last entry processed; 0 before the first.
    pub seq: Seq,
    /// The head of the chain behind it.
    pub head: Head,
    /// The group's epoch; zero in direct conversations.
    pub epoch: EpochEvidence,
}

/// The hash of an MLS epoch authenticator, 32 bytes; zero in direct conversations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct EpochEvidence([u8; 32]);

impl EpochEvidence {
    /// The evidence of a direct conversation, which has no epochs.
    pub const NONE: Self = Self([0; 32]);

    /// Takes the hash.
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EpochEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochEvidence(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl Evidence {
    /// The evidence of a sender that stands at `checkpoint`.
    pub const fn at(checkpoint: Checkpoint, epoch: EpochEvidence) -> Self {
        Self { seq: checkpoint.seq, head: checkpoint.head, epoch }
    }

    /// The bytes that enter the associated data of the ratchet message or MLS message in the same parcel (rule ENV-06):
    /// `u64 seq | head[32] | epoch[32]`.
    pub fn to_bytes(&self) -> [u8; EVIDENCE_LEN] {
        let mut bytes = [0; EVIDENCE_LEN];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..40].copy_from_slice(self.head.as_bytes());
        bytes[40..].copy_from_slice(self.epoch.as_bytes());
        bytes
    }
}

impl Parcel {
    /// Encodes the parcel, without padding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one parcel, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]: the entry becomes a row that says why it cannot be read; the cursor moves on.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let parcel: Self = codec::decode_versioned(VERSION, bytes, padding::room(PARCEL_LEN_MAX))?;
        require(parcel.evidence.seq.as_u64() <= COUNTER_MAX, "evidence.seq")?;
        let is_direct = matches!(parcel.kind, ParcelKind::DirectMessage | ParcelKind::DirectTurn);
        require(!is_direct || parcel.evidence.epoch == EpochEvidence::NONE, "evidence.epoch")?;
        Ok(parcel)
    }
}
