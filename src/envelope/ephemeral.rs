//! Ephemeral traffic: typing, presence, live points, call signals (rules ENV-38 to ENV-43). It touches no ratchet and no
//! store, has one of two sizes, and may be lost.
//!
//! ```text
//! nonce[24] | XChaCha20-Poly1305( ephemeral key, nonce, aad = transcript("light shell", log, generation),
//!                                 u32 length | message | zeros up to 256 or 1 024 )
//!
//! message: opaque spoken<V> | u8 0            unsigned, in direct conversations
//!          opaque spoken<V> | u8 1 | sig[64]  signed, in groups, over ("light signature", log, generation, spoken)
//! spoken:  u8 version = 1 | device[32] | u64 session_start_ms | u64 counter | frame
//! ```
//!
//! Everybody in a group holds the key, so that only the signature tells members apart; in a direct conversation the two
//! accounts hold it, and a signature would end deniability.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tls_codec::{Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::gate;
use undertone_wire::id::{Generation, LogId, Signature, VerifyKey};
use undertone_wire::limits::{COUNTER_MAX, EPHEMERAL_LEN_MAX};

use super::codec::{self, DecodeError, opaque, require};
use super::envelope::is_plausible;
use super::frame::Frame;
use super::keys::EphemeralKey;
use super::padding;
use crate::crypto::label::{self, transcript};
use crate::crypto::sign::SigningKey;
use crate::crypto::{CryptoRng, aead};
use crate::identity::DeviceId;
use crate::time::UnixMs;

/// The version of ephemeral messages, the first byte of what is spoken.
pub const VERSION: u8 = 1;

/// Bytes of the two plaintext sizes.
pub const SIZES: [usize; 2] = [256, 1_024];

/// What a device says in passing.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Ephemeral {
    /// The device that speaks.
    pub device: DeviceId,
    /// When its present run began; a later run begins later.
    pub session_start_ms: UnixMs,
    /// Rises with every message of the run.
    pub counter: EphemeralCounter,
    /// What is said.
    pub frame: Frame,
}

/// Counts the ephemeral messages of one run of a device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct EphemeralCounter(u64);

impl EphemeralCounter {
    /// The first message.
    pub const FIRST: Self = Self(1);

    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The next message.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An ephemeral message that cannot be sealed, or a payload that is none for us. It is dropped; nothing is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EphemeralError {
    /// The message does not fit into the larger size.
    TooLong,
    /// The payload is garbage, has no size of ours, or was sealed under another key or for another log or generation.
    DoesNotOpen,
    /// The payload opens, and what is inside is not a message that we know.
    Message(DecodeError),
    /// A message of a group without a signature, or with one that is not its device's.
    BadSignature,
    /// A message of a direct conversation with a signature.
    Signed,
}

impl fmt::Display for EphemeralError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "an ephemeral message is longer than {} bytes", SIZES[1]),
            Self::DoesNotOpen => f.write_str("the light shell does not open"),
            Self::Message(error) => write!(f, "inside the light shell: {error}"),
            Self::BadSignature => f.write_str("the ephemeral message is not signed by its device"),
            Self::Signed => f.write_str("an ephemeral message of a direct conversation is signed"),
        }
    }
}

impl std::error::Error for EphemeralError {}

/// Whether a message is signed: groups sign, direct conversations do not.
#[derive(Clone, Copy, Debug)]
pub enum Signing<'a> {
    /// In a direct conversation.
    Unsigned,
    /// In a group, by the speaking device.
    By(&'a SigningKey),
}

/// A message that opened, and whose device is not yet known to be the one it names.
#[derive(Debug)]
pub struct UnverifiedEphemeral {
    ephemeral: Ephemeral,
    spoken: Vec<u8>,
    signature: Option<Signature>,
    log: LogId,
    generation: Generation,
}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Message {
    #[tls_codec(with = "opaque")]
    spoken: Vec<u8>,
    signature: Option<Signature>,
}

/// Seals a message for the present subscribers of a log.
///
/// # Errors
/// [`EphemeralError::TooLong`].
pub fn seal(
    key: &EphemeralKey,
    log: LogId,
    generation: Generation,
    ephemeral: &Ephemeral,
    signing: Signing<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, EphemeralError> {
    let spoken = codec::encode_versioned(VERSION, ephemeral);
    let signature = match signing {
        Signing::Unsigned => None,
        Signing::By(device) => Some(device.sign_transcript(&signature_input(log, generation, &spoken))),
    };
    let message = Message { spoken, signature };
    let bytes = message.tls_serialize_detached().expect("writing to a Vec does not fail");
    let padded_len = SIZES.into_iter().find(|size| bytes.len() <= padding::room(*size));
    let padded = padding::pad_to(&bytes, padded_len.ok_or(EphemeralError::TooLong)?);
    Ok(aead::seal_random(key.as_secret(), &place(log, generation), &padded, rng))
}

/// Opens a payload.
///
/// # Errors
/// [`EphemeralError::DoesNotOpen`] or [`EphemeralError::Message`]; the payload is dropped.
pub fn open(
    key: &EphemeralKey,
    log: LogId,
    generation: Generation,
    payload: &[u8],
) -> Result<UnverifiedEphemeral, EphemeralError> {
    if payload.len() > EPHEMERAL_LEN_MAX {
        return Err(EphemeralError::DoesNotOpen);
    }
    let padded = aead::open_random(key.as_secret(), &place(log, generation), payload)
        .map_err(|aead::DoesNotOpen| EphemeralError::DoesNotOpen)?;
    UnverifiedEphemeral::decode(log, generation, &padded).map_err(EphemeralError::Message)
}

impl Ephemeral {
    /// Decodes what is spoken inside an ephemeral payload.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(spoken: &[u8]) -> Result<Self, DecodeError> {
        let ephemeral: Self = codec::decode_versioned(VERSION, spoken, SIZES[1])?;
        require(is_plausible(ephemeral.session_start_ms), "session_start_ms")?;
        require((1..=COUNTER_MAX).contains(&ephemeral.counter.0), "counter")?;
        ephemeral.frame.check()?;
        Ok(ephemeral)
    }
}

impl UnverifiedEphemeral {
    /// Decodes the padded plaintext of a payload that opened for `log` and `generation`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(log: LogId, generation: Generation, padded: &[u8]) -> Result<Self, DecodeError> {
        let bytes = padding::unpad_from(padded)?;
        // The smaller size is used where it fits, so that a message has one encoding.
        let padded_len = SIZES.into_iter().find(|size| bytes.len() <= padding::room(*size));
        require(padded_len == Some(padded.len()), "padding")?;
        let Message { spoken, signature } = codec::decode(bytes, SIZES[1])?;
        let ephemeral = Ephemeral::decode(&spoken)?;
        Ok(Self { ephemeral, spoken, signature, log, generation })
    }

    /// The device that the message names: in a group its key is looked up for [`UnverifiedEphemeral::verify`].
    pub fn device(&self) -> DeviceId {
        self.ephemeral.device
    }

    /// Takes the message as one of a group, signed by its device.
    ///
    /// # Errors
    /// [`EphemeralError::BadSignature`]; the message is dropped.
    pub fn verify(self, device_key: &VerifyKey) -> Result<Ephemeral, EphemeralError> {
        let signature = self.signature.as_ref().ok_or(EphemeralError::BadSignature)?;
        let input = signature_input(self.log, self.generation, &self.spoken);
        if gate::verify(device_key, &input, signature) { Ok(self.ephemeral) } else { Err(EphemeralError::BadSignature) }
    }

    /// Takes the message as one of a direct conversation, which has no signature. The caller checks that the device is
    /// one of the peer's; both accounts can make such a message, and nobody can prove who did.
    ///
    /// # Errors
    /// [`EphemeralError::Signed`]; the message is dropped.
    pub fn unsigned(self) -> Result<Ephemeral, EphemeralError> {
        if self.signature.is_none() { Ok(self.ephemeral) } else { Err(EphemeralError::Signed) }
    }
}

/// The newest ephemeral message of each device in one conversation; in memory only.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EphemeralTrack {
    devices: BTreeMap<DeviceId, Newest>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Newest {
    session_start_ms: UnixMs,
    counter: EphemeralCounter,
    received_at: UnixMs,
}

/// Devices of which one track remembers the newest message; a group has at most so many.
pub const TRACKED_DEVICES_MAX: usize = 1_000;

impl EphemeralTrack {
    /// Takes note of a verified message: fresh if it is newer than all of its device before it.
    #[must_use]
    pub fn accept(&mut self, ephemeral: &Ephemeral, now: UnixMs) -> Freshness {
        let newest =
            Newest { session_start_ms: ephemeral.session_start_ms, counter: ephemeral.counter, received_at: now };
        let is_fresh = match self.devices.get(&ephemeral.device) {
            Some(known) => newest.order() > known.order(),
            None => self.devices.len() < TRACKED_DEVICES_MAX,
        };
        if is_fresh {
            self.devices.insert(ephemeral.device, newest);
            Freshness::Fresh
        } else {
            Freshness::Stale
        }
    }

    /// Whether what the device said last still holds, `ttl` after it came at the most; the receiver's clock alone counts.
    pub fn is_live(&self, device: &DeviceId, now: UnixMs, ttl: Duration) -> bool {
        self.devices.get(device).is_some_and(|newest| now.since(newest.received_at) < ttl)
    }
}

/// Whether an ephemeral message goes to the app.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Newer than all before it.
    Fresh,
    /// Older, or the same again: dropped.
    Stale,
}

impl Newest {
    fn order(&self) -> (UnixMs, EphemeralCounter) {
        (self.session_start_ms, self.counter)
    }
}

fn place(log: LogId, generation: Generation) -> Vec<u8> {
    transcript(label::EPHEMERAL_SHELL, &[log.as_bytes(), &generation.to_be_bytes()])
}

fn signature_input(log: LogId, generation: Generation, spoken: &[u8]) -> Vec<u8> {
    transcript(label::EPHEMERAL_SIGNATURE, &[log.as_bytes(), &generation.to_be_bytes(), spoken])
}
