//! Inbox entries: notes in the session of two devices, and Welcomes (rules ENV-30 to ENV-35).
//!
//! ```text
//! encapsulated key[1120] | HPKE base, X-Wing ( info = transcript("inbox seal", inbox, entry id, recipient),
//!                                              padded entry )
//! entry: u8 version = 1 | u8 kind | opaque sender<V> | opaque body<V> | u8 0            a note: the body is a wrap
//!                                                                     | u8 1 | sig[64]  Welcome
//! signed: transcript("inbox sender", inbox, entry id, recipient, kind, H(body))
//! ```
//!
//! HPKE hides the sender from the relay and does not authenticate it. A note is authenticated by the session of the wrap
//! in its body, deniably; a Welcome belongs to a group, whose members sign, and is signed for this entry of this inbox,
//! so that it cannot be moved to another.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::gate;
use undertone_wire::id::{EntryId, LogId, PayloadHash, Signature, VerifyKey};
use undertone_wire::limits::PAYLOAD_LEN_MAX;

use super::codec::{self, DecodeError, opaque, require};
use super::padding;
use crate::crypto::hpke::{ENCAPPED_LEN, SealPublic, SealSecret};
use crate::crypto::label::{self, transcript};
use crate::crypto::sign::SigningKey;
use crate::crypto::{CryptoRng, aead};
use crate::identity::{CREDENTIAL_LEN_MAX, DeviceId};

/// The version of inbox entries, their first byte.
pub const VERSION: u8 = 1;

/// Bytes of a padded entry: what HPKE adds and the payload allows.
const PADDED_LEN_MAX: usize = PAYLOAD_LEN_MAX - ENCAPPED_LEN - aead::TAG_LEN;

/// Bytes of a body that fit in any case.
pub const BODY_LEN_MAX: usize = 56 << 10;

/// What a stranger or a contact puts into a device's inbox.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct InboxEntry {
    kind: InboxKind,
    #[tls_codec(with = "opaque")]
    sender: Vec<u8>,
    #[tls_codec(with = "opaque")]
    body: Vec<u8>,
    signature: Option<Signature>,
}

/// What an inbox entry is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum InboxKind {
    /// A note with an [`Introduction`](super::first_contact::Introduction) inside.
    Introduction = 1,
    /// A [`WelcomeNote`](super::first_contact::WelcomeNote) to a group.
    Welcome = 2,
    /// A note with nothing inside: the session itself is what it brings.
    Heartbeat = 3,
    /// A note with a [`HistoryOffer`](super::history::HistoryOffer) inside.
    History = 4,
    /// A note with a [`KeyGrant`](crate::identity::KeyGrant) inside.
    AccountKey = 5,
}

/// The one place for which an entry is sealed and signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InboxPlace {
    /// The inbox.
    pub inbox: LogId,
    /// The entry in it.
    pub entry: EntryId,
    /// The device that reads it.
    pub recipient: DeviceId,
}

/// An entry that cannot be sealed, or a payload that is none for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InboxError {
    /// Sender or body are too long.
    TooLong,
    /// The recipient's public key is malformed: its bundle is refused.
    BadSealKey,
    /// The payload is garbage, or was sealed to another key or for another inbox, entry or device.
    DoesNotOpen,
    /// The payload opens, and what is inside is not an entry that we know.
    Entry(DecodeError),
    /// A Welcome that its sender did not sign for this place.
    BadSignature,
}

impl fmt::Display for InboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the inbox entry is too long"),
            Self::BadSealKey => f.write_str("the recipient's key is malformed"),
            Self::DoesNotOpen => f.write_str("the inbox entry does not open"),
            Self::Entry(error) => write!(f, "inside the inbox entry: {error}"),
            Self::BadSignature => f.write_str("the Welcome is not signed by its sender for this place"),
        }
    }
}

impl std::error::Error for InboxError {}

impl InboxEntry {
    /// A note: the session of the [`Wrap`](crate::dm::wrap::Wrap) in `body` authenticates `sender`, an encoded credential.
    pub fn note(kind: InboxKind, sender: Vec<u8>, body: Vec<u8>) -> Self {
        Self { kind, sender, body, signature: None }
    }

    /// A Welcome, signed by the key of the device whose encoded credential is `sender`, for one place.
    pub fn welcome(sender: Vec<u8>, body: Vec<u8>, key: &SigningKey, place: &InboxPlace) -> Self {
        let kind = InboxKind::Welcome;
        let signature = Some(key.sign_transcript(&signature_input(place, kind, &body)));
        Self { kind, sender, body, signature }
    }

    /// What the entry is.
    pub fn kind(&self) -> InboxKind {
        self.kind
    }

    /// The encoded credential of the sender; a claim until the handshake, or [`InboxEntry::verify_welcome`], shows it.
    pub fn sender(&self) -> &[u8] {
        &self.sender
    }

    /// The encoded wrap, or the Welcome note.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Checks that the device with `key` signed this Welcome for this place.
    ///
    /// # Errors
    /// [`InboxError::BadSignature`], also for a note; the entry is dropped.
    pub fn verify_welcome(&self, key: &VerifyKey, place: &InboxPlace) -> Result<(), InboxError> {
        let signature = self.signature.as_ref().ok_or(InboxError::BadSignature)?;
        let input = signature_input(place, self.kind, &self.body);
        if gate::verify(key, &input, signature) { Ok(()) } else { Err(InboxError::BadSignature) }
    }

    /// Encodes the entry, without padding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one entry, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; a signature where none may be, or none where one must be, is [`DecodeError::Range`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let entry: Self = codec::decode_versioned(VERSION, bytes, padding::room(PADDED_LEN_MAX))?;
        require(entry.is_bounded(), "inbox entry")?;
        require(entry.signature.is_some() == (entry.kind == InboxKind::Welcome), "signature")?;
        Ok(entry)
    }

    fn is_bounded(&self) -> bool {
        (1..=CREDENTIAL_LEN_MAX).contains(&self.sender.len()) && self.body.len() <= BODY_LEN_MAX
    }
}

/// Pads and seals an entry to the device that reads the inbox.
///
/// # Errors
/// [`InboxError::TooLong`] or [`InboxError::BadSealKey`].
pub fn seal(
    to: &SealPublic,
    place: &InboxPlace,
    entry: &InboxEntry,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, InboxError> {
    if !entry.is_bounded() {
        return Err(InboxError::TooLong);
    }
    let padded = padding::pad(&entry.encode(), PADDED_LEN_MAX).ok_or(InboxError::TooLong)?;
    to.seal(label::INBOX_SEAL, &place.fields(), &[], &padded, rng).map_err(|_| InboxError::BadSealKey)
}

/// Opens the payload of an inbox entry, as the device that reads the inbox.
///
/// # Errors
/// [`InboxError::DoesNotOpen`] or [`InboxError::Entry`]; the entry is dropped.
pub fn open(secret: &SealSecret, place: &InboxPlace, sealed: &[u8]) -> Result<InboxEntry, InboxError> {
    if sealed.len() > PAYLOAD_LEN_MAX {
        return Err(InboxError::DoesNotOpen);
    }
    let padded = secret
        .open(label::INBOX_SEAL, &place.fields(), &[], sealed)
        .map_err(|aead::DoesNotOpen| InboxError::DoesNotOpen)?;
    padding::unpad(&padded).and_then(InboxEntry::decode).map_err(InboxError::Entry)
}

impl InboxPlace {
    fn fields(&self) -> [&[u8]; 3] {
        [self.inbox.as_bytes(), self.entry.as_bytes(), self.recipient.as_bytes()]
    }
}

fn signature_input(place: &InboxPlace, kind: InboxKind, body: &[u8]) -> Vec<u8> {
    let [inbox, entry, recipient] = place.fields();
    let hash = PayloadHash::of(body);
    transcript(label::INBOX_SENDER, &[inbox, entry, recipient, &[kind as u8], hash.as_bytes()])
}
