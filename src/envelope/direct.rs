//! The body of a direct parcel: which device speaks to which, in front of the ratchet message (rules ENV-36, ENV-37).
//!
//! ```text
//! u8 version = 1 | place sender | u8 form = 1 | place recipient | opaque ratchet message<V>
//!
//! place: u8 side (0 the lower account id, 1 the higher) | u16 index in that account's device list, from 0
//! ```
//!
//! Places only find the session: what authenticates is the ratchet message. They spare a receiver with many devices and
//! sessions the trial of each header key.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::codec::{self, DecodeError, opaque};
use super::parcel::BODY_LEN_MAX;
use crate::identity::AccountId;

/// The version of direct bodies, their first byte.
pub const VERSION: u8 = 1;

/// Bytes of a direct body around its ratchet message: version, two places, form, length.
pub const DIRECT_OVERHEAD_LEN: usize = 1 + 3 + 1 + 3 + 4;

/// The body of a direct parcel.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DirectBody {
    /// The sending device.
    pub sender: DevicePlace,
    /// To whom it is sealed, and how.
    pub form: DirectForm,
}

/// How a payload is sealed. The form that seals it once for many devices is not defined yet.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum DirectForm {
    /// As one ratchet message to one device.
    #[tls_codec(discriminant = 1)]
    Inline(InlineForm),
}

/// One ratchet message to one device.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct InlineForm {
    /// The device.
    pub recipient: DevicePlace,
    /// The ratchet message.
    #[tls_codec(with = "opaque")]
    pub message: Vec<u8>,
}

/// Names a device of one of the two accounts by its place in the account's newest device list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DevicePlace {
    /// Whose device.
    pub side: Side,
    /// Its index in the list, from 0.
    pub index: u16,
}

/// One of the two accounts of a direct conversation, by the order of their ids: both see the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Side {
    /// The account with the lower id; the only side of a conversation with oneself.
    Lower = 0,
    /// The account with the higher id.
    Higher = 1,
}

impl Side {
    /// The side of `account` in its conversation with `other`.
    pub fn of(account: &AccountId, other: &AccountId) -> Self {
        if account <= other { Self::Lower } else { Self::Higher }
    }
}

impl DirectBody {
    /// A body with one ratchet message to one device.
    pub fn inline(sender: DevicePlace, recipient: DevicePlace, message: Vec<u8>) -> Self {
        Self { sender, form: DirectForm::Inline(InlineForm { recipient, message }) }
    }

    /// Encodes the body.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one body, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; an unknown form is [`DecodeError::Kind`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)
    }
}
