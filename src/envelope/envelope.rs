//! The envelope: what a sender says, once the ratchet or MLS has opened it (rules ENV-14 to ENV-17).
//!
//! ```text
//! u8 version = 1 | dedup[16] | u64 seq | u64 sent_ms | u64 through | u64 missing<V> | frame | extension extensions<V>
//! ```

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::limits::COUNTER_MAX;

use super::codec::{self, DecodeError, require};
use super::extension::Extensions;
use super::frame::Frame;
use super::parcel::BODY_LEN_MAX;
use super::receipts::Delivered;
use crate::crypto::{CryptoRng, random_array};
use crate::time::UnixMs;

/// The version of envelopes, their first byte.
pub const VERSION: u8 = 1;

/// What a sender says.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Envelope {
    /// Names this envelope for ever, across retries, re-seals and transports.
    pub dedup: DedupId,
    /// Its place among the envelopes of the sending device in this conversation.
    pub seq: SenderSeq,
    /// When the sender says it was sent: displayed, never used for order.
    pub sent_ms: UnixMs,
    /// What the sender has received of this conversation.
    pub delivered: Delivered,
    /// What is said.
    pub frame: Frame,
    /// Room for later versions; no critical type is defined yet.
    pub extensions: Extensions,
}

/// Names one envelope: 16 random bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DedupId([u8; 16]);

impl DedupId {
    /// Draws a new id.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self(random_array(rng))
    }

    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DedupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DedupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DedupId({self})")
    }
}

/// Counts the envelopes of one device in one conversation, from 1, without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct SenderSeq(u64);

impl SenderSeq {
    /// The first envelope.
    pub const FIRST: Self = Self(1);

    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The next envelope; decoded values are below 2^53, so that counting on never overflows.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether the number is from 1 to 2^53.
    pub(crate) const fn is_bounded(self) -> bool {
        self.0 >= 1 && self.0 <= COUNTER_MAX
    }
}

impl fmt::Display for SenderSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first millisecond of the year 10000: no sound clock shows it, and no calendar behind it needs to.
const SENT_MS_END: u64 = 253_402_300_800_000;

/// Whether a device may claim this time: behind 0, before the year 10000 (rule ENV-15).
pub(super) fn is_plausible(claimed: UnixMs) -> bool {
    (1..SENT_MS_END).contains(&claimed.as_u64())
}

impl Envelope {
    /// Encodes the envelope.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one envelope, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; nothing was delivered, and the raw bytes are kept where a later release may read them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let envelope: Self = codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)?;
        require(envelope.dedup != DedupId([0; 16]), "dedup")?;
        require(envelope.seq.is_bounded(), "seq")?;
        require(is_plausible(envelope.sent_ms), "sent_ms")?;
        envelope.delivered.check()?;
        envelope.frame.check()?;
        envelope.extensions.check(&[])?;
        Ok(envelope)
    }
}
