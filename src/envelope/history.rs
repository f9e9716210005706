//! What passes when one device hands its history to another of its account (spec/history): the offer, the chunks, and the
//! keys under which they lie in a log of their own.
//!
//! ```text
//! offer         u8 version = 1 | transfer secret[32] | u64 number | u64 total | extensions
//! payload       nonce[24] | XChaCha20-Poly1305( outer key, nonce, aad = transcript("history chunk", log, u64 number),
//!                                               padded chunk )
//! chunk         u8 version = 1 | u64 walked | contact<V> | conversation<V> | sender<V> | message<V> | rest
//! ```
//!
//! A chunk names its logs and senders once and points at them. Leaves out what is given, and what a taker does with it.

use std::fmt;

use tls_codec::{Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, Generation, LogId, Seq};
use undertone_wire::limits::{COUNTER_MAX, PARCEL_LEN_MAX, PAYLOAD_LEN_MAX};
use zeroize::Zeroizing;

use super::codec::{self, DecodeError, opaque, require, secret};
use super::envelope::{DedupId, SenderSeq, is_plausible};
use super::extension::Extensions;
use super::keys::LogKeys;
use super::padding;
use crate::crypto::label::{self, hash, transcript};
use crate::crypto::sign::SigningKey;
use crate::crypto::{CryptoRng, Secret32, SecretBytes, aead, kdf};
use crate::identity::{ACCOUNT_CERTIFICATE_LEN, AccountId, DeviceId, DisplayName};
use crate::limits::{GROUP_NAME_LEN_MAX, HISTORY_ELEMENTS_MAX, HISTORY_LOGS_MAX};
use crate::time::UnixMs;

/// The version of offers and chunks, their first byte.
pub const VERSION: u8 = 1;

/// Bytes of an encoded chunk.
pub const CHUNK_LEN_MAX: usize = padding::room(PARCEL_LEN_MAX);

/// Bytes of an encoded offer, its extensions included.
const OFFER_LEN_MAX: usize = 8 << 10;

/// Tells a device of its own account where its history will lie. It holds the transfer secret.
#[derive(PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryOffer {
    /// From which everything about the transfer is derived.
    #[tls_codec(with = "secret")]
    pub secret: Secret32,
    /// Rises with every transfer of the giver.
    pub number: u64,
    /// Messages that are to be walked through.
    pub total: u64,
    /// Room for later versions; no critical type is defined yet.
    pub extensions: Extensions,
}

impl HistoryOffer {
    /// Encodes the offer. It holds a secret.
    pub fn encode(&self) -> SecretBytes {
        Zeroizing::new(codec::encode_versioned(VERSION, self))
    }

    /// Decodes one offer, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let offer: Self = codec::decode_versioned(VERSION, bytes, OFFER_LEN_MAX)?;
        require(offer.number <= COUNTER_MAX, "number")?;
        require(offer.total <= COUNTER_MAX, "total")?;
        offer.extensions.check(&[])?;
        Ok(offer)
    }
}

/// Everything that follows from a transfer secret (rule HIST-02).
pub struct TransferKeys {
    secret: Secret32,
    log: LogId,
    keys: LogKeys,
}

impl TransferKeys {
    /// Derives them.
    pub fn derive(secret: Secret32) -> Self {
        let log = LogId::of_control_key(&control_key(&secret).verify_key());
        let keys = LogKeys::derive(&secret, log, Generation::FIRST);
        Self { secret, log, keys }
    }

    /// The transfer log.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Its control key.
    pub fn control(&self) -> SigningKey {
        control_key(&self.secret)
    }

    /// The public keys that the relay gets.
    pub fn gate(&self) -> Gate {
        self.keys.gate()
    }

    /// Proves the right to read.
    pub fn read(&self) -> &SigningKey {
        &self.keys.read
    }

    /// Proves the right to append.
    pub fn append(&self) -> &SigningKey {
        &self.keys.append
    }

    /// The entry that carries a chunk.
    pub fn entry(&self, number: u64) -> EntryId {
        let derived = kdf::derive(&self.secret, label::HISTORY_ENTRY, &[&number.to_be_bytes()]);
        let (first, _) = derived.expose().split_first_chunk().expect("32 bytes are more than 16");
        EntryId::from_bytes(*first)
    }

    /// Pads and seals a chunk for its place.
    ///
    /// # Errors
    /// [`HistoryError::TooLong`].
    pub fn seal(&self, number: u64, chunk: &HistoryChunk, rng: &mut dyn CryptoRng) -> Result<Vec<u8>, HistoryError> {
        let encoded = Zeroizing::new(codec::encode_versioned(VERSION, chunk));
        let padded = padding::pad(&encoded, PARCEL_LEN_MAX).map(Zeroizing::new).ok_or(HistoryError::TooLong)?;
        Ok(aead::seal_random(self.keys.outer.as_secret(), &self.place(number), &padded, rng))
    }

    /// Opens the payload of the entry that carries a chunk.
    ///
    /// # Errors
    /// [`HistoryError::DoesNotOpen`] or [`HistoryError::Chunk`].
    pub fn open(&self, number: u64, payload: &[u8]) -> Result<HistoryChunk, HistoryError> {
        if payload.len() > PAYLOAD_LEN_MAX {
            return Err(HistoryError::DoesNotOpen);
        }
        let padded = aead::open_random(self.keys.outer.as_secret(), &self.place(number), payload)
            .map_err(|aead::DoesNotOpen| HistoryError::DoesNotOpen)?;
        padding::unpad(&padded).and_then(HistoryChunk::decode).map_err(HistoryError::Chunk)
    }

    fn place(&self, number: u64) -> Vec<u8> {
        transcript(label::HISTORY_CHUNK, &[self.log.as_bytes(), &number.to_be_bytes()])
    }
}

fn control_key(secret: &Secret32) -> SigningKey {
    SigningKey::from_seed(&kdf::derive(secret, label::HISTORY_CONTROL, &[]))
}

impl fmt::Debug for TransferKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, log, keys } = self;
        f.debug_struct("TransferKeys").field("secret", secret).field("log", log).field("keys", keys).finish()
    }
}

/// A chunk that cannot be sealed, or a payload that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// The chunk is longer than an entry can be.
    TooLong,
    /// The payload is garbage, or was sealed for another transfer or another number.
    DoesNotOpen,
    /// The payload opens, and what is inside is no chunk that we know.
    Chunk(DecodeError),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the chunk is longer than an entry can be"),
            Self::DoesNotOpen => f.write_str("the chunk does not open"),
            Self::Chunk(error) => write!(f, "inside the chunk: {error}"),
        }
    }
}

impl std::error::Error for HistoryError {}

/// A part of a history: some messages, newest first, and whatever is needed to show them.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryChunk {
    /// How many messages have been passed up to here, those that were left out included.
    pub walked: u64,
    /// Who is among the conversations and senders.
    pub contacts: Vec<HistoryContact>,
    /// Where the messages stand.
    pub conversations: Vec<HistoryConversation>,
    /// From where the messages come.
    pub senders: Vec<HistorySender>,
    /// What was said.
    pub messages: Vec<HistoryMessage>,
    /// What follows.
    pub rest: HistoryRest,
}

/// Somebody whom the giver knows.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryContact {
    /// The encoded certificate of the account.
    #[tls_codec(with = "opaque")]
    pub certificate: Vec<u8>,
    /// What it calls itself; empty if that is not known.
    #[tls_codec(with = "opaque")]
    pub name: Vec<u8>,
}

/// A conversation in which messages of a chunk stand.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryConversation {
    /// What it is.
    pub kind: HistoryKind,
    /// When it began on the giver, for the order of a list.
    pub created_ms: UnixMs,
    /// Its logs in the order in which the giver shows them, newest first.
    pub logs: Vec<HistoryLog>,
}

/// What kind of conversation it is.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum HistoryKind {
    /// With another account.
    #[tls_codec(discriminant = 1)]
    Direct {
        /// The other one.
        peer: AccountId,
    },
    /// A group; its one log names it.
    #[tls_codec(discriminant = 2)]
    Group {
        /// What it is called.
        #[tls_codec(with = "opaque")]
        name: Vec<u8>,
    },
}

/// A log in which messages stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryLog {
    /// The log.
    pub log: LogId,
    /// The last message of others that was marked read there.
    pub read_through: Seq,
}

/// A device that sent messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistorySender {
    /// Its account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
}

/// A message as it stands in the giver's store.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryMessage {
    /// Which log of the chunk, counted through all its conversations.
    pub log: u16,
    /// Which sender of the chunk.
    pub sender: u16,
    /// Its place in the log.
    pub seq: Seq,
    /// The number of its envelope.
    pub sender_seq: SenderSeq,
    /// The dedup id of its envelope.
    pub dedup: DedupId,
    /// By the sender's clock.
    pub sent_ms: UnixMs,
    /// By the relay's clock.
    pub accepted_ms: UnixMs,
    /// How far the giver knows an own message to be.
    pub reached: HistoryReached,
    /// The body of its frame, as it was received.
    #[tls_codec(with = "opaque")]
    pub content: Vec<u8>,
}

/// How far a message is, besides what receipts say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum HistoryReached {
    /// Nothing is told.
    Untold = 0,
    /// All the others have it.
    Delivered = 1,
    /// All the others have read it.
    Read = 2,
}

/// What follows a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum HistoryRest {
    /// Another chunk.
    #[tls_codec(discriminant = 1)]
    Follows,
    /// Nothing: this is all.
    #[tls_codec(discriminant = 2)]
    Done {
        /// Messages given.
        count: u64,
        /// Over all of them.
        digest: HistoryDigest,
    },
    /// Nothing: the giver has thought better of it.
    #[tls_codec(discriminant = 3)]
    Cancelled,
}

/// A hash over all messages given so far, 32 bytes (rule HIST-13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct HistoryDigest([u8; 32]);

impl HistoryDigest {
    /// Of nothing.
    pub const EMPTY: Self = Self([0; 32]);

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// With one message more, given by its place and its id.
    #[must_use]
    pub fn with(&self, log: &LogId, seq: Seq, message: &[u8; 32]) -> Self {
        Self(hash(label::HISTORY_DIGEST, &[&self.0, log.as_bytes(), &seq.to_be_bytes(), message]))
    }
}

impl HistoryChunk {
    /// A chunk without anything in it.
    pub fn empty() -> Self {
        let (contacts, conversations, senders, messages) = Default::default();
        Self { walked: 0, contacts, conversations, senders, messages, rest: HistoryRest::Follows }
    }

    /// Bytes of a chunk that has nothing in it yet, with room for the lengths of its lists and for its end.
    pub const LEN_EMPTY: usize = 1 + 8 + 4 * 4 + 1 + 8 + 32;

    /// The logs of all conversations, in the order in which messages count them.
    pub fn logs(&self) -> impl Iterator<Item = (&HistoryConversation, &HistoryLog)> {
        self.conversations.iter().flat_map(|of| of.logs.iter().map(move |log| (of, log)))
    }

    /// Encodes the chunk, without padding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one chunk, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let chunk: Self = codec::decode_versioned(VERSION, bytes, CHUNK_LEN_MAX)?;
        chunk.check()?;
        Ok(chunk)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let counts = [self.contacts.len(), self.conversations.len(), self.senders.len(), self.messages.len()];
        require(counts.iter().all(|count| *count <= HISTORY_ELEMENTS_MAX), "list")?;
        require(self.walked <= COUNTER_MAX, "walked")?;
        for contact in &self.contacts {
            require(contact.certificate.len() == ACCOUNT_CERTIFICATE_LEN, "certificate")?;
            require(contact.name.is_empty() || DisplayName::from_utf8(&contact.name).is_ok(), "name")?;
        }
        for conversation in &self.conversations {
            conversation.check()?;
        }
        let logs_count = self.conversations.iter().map(|of| of.logs.len()).sum::<usize>();
        for message in &self.messages {
            require(usize::from(message.log) < logs_count, "log")?;
            require(usize::from(message.sender) < self.senders.len(), "sender")?;
            require((1..=COUNTER_MAX).contains(&message.seq.as_u64()), "seq")?;
            require(message.sender_seq.is_bounded(), "sender_seq")?;
            require(message.dedup != DedupId::from_bytes([0; 16]), "dedup")?;
            require(is_plausible(message.sent_ms), "sent_ms")?;
        }
        match self.rest {
            HistoryRest::Done { count, .. } => require(count <= COUNTER_MAX, "count"),
            HistoryRest::Follows | HistoryRest::Cancelled => Ok(()),
        }
    }
}

impl HistoryConversation {
    fn check(&self) -> Result<(), DecodeError> {
        require((1..=HISTORY_LOGS_MAX).contains(&self.logs.len()), "logs")?;
        require(self.logs.iter().all(|log| log.read_through.as_u64() <= COUNTER_MAX), "read_through")?;
        if let HistoryKind::Group { name } = &self.kind {
            require(self.logs.len() == 1, "logs")?;
            require(name.len() <= GROUP_NAME_LEN_MAX && std::str::from_utf8(name).is_ok(), "name")?;
        }
        Ok(())
    }

    /// Bytes that it takes in a chunk.
    pub fn encoded_len(&self) -> usize {
        self.tls_serialized_len()
    }
}

impl HistoryContact {
    /// Bytes that it takes in a chunk.
    pub fn encoded_len(&self) -> usize {
        self.tls_serialized_len()
    }
}

impl HistorySender {
    /// Bytes that it takes in a chunk.
    pub const ENCODED_LEN: usize = 64;
}

impl HistoryMessage {
    /// Bytes that it takes in a chunk.
    pub fn encoded_len(&self) -> usize {
        self.tls_serialized_len()
    }
}
