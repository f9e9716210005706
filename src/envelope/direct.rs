//! The body of a direct parcel: which device speaks to which, by which device lists, in front of the ratchet messages
//! (rules ENV-36, ENV-37, ENV-80 to ENV-85).
//!
//! ```text
//! direct body   u8 version = 1 | named list lower | named list higher | place sender | u8 form | the form
//!   form 1      wrap                                                                  exactly one recipient
//!   form 2      commitment[32] | wrap wraps<V> | opaque ciphertext<V>                 none, or 2 to 31 recipients
//! named list    u64 version | hash[32]
//! wrap          place recipient | opaque handshake<V> | opaque ratchet message<V>
//! place         u8 side (0 the lower account id, 1 the higher) | u16 index in that account's list as named, from 0
//!
//! turn body     u8 version = 1 | opaque lower list<V> | opaque higher list<V> | direct body
//! ```
//!
//! Places only find the session: what authenticates is the ratchet message, and the named lists are part of its
//! associated data. They spare a receiver with many devices and sessions the trial of each header key.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::limits::COUNTER_MAX;

use super::codec::{self, DecodeError, opaque, require};
use super::parcel::BODY_LEN_MAX;
use crate::identity::{AccountId, DEVICE_LIST_LEN_MAX, DEVICES_MAX, DeviceList, DeviceListHash, ListVersion};

/// The version of direct bodies and of turn bodies, their first byte.
pub const VERSION: u8 = 1;

/// Wraps in one body: all devices of both accounts but the sending one.
pub const WRAPS_MAX: usize = 2 * DEVICES_MAX - 1;

/// The body of a direct parcel.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DirectBody {
    /// The device lists by which the body is addressed.
    pub lists: NamedLists,
    /// The sending device.
    pub sender: DevicePlace,
    /// To whom it is sealed, and how.
    pub form: DirectForm,
}

/// The device lists of both accounts, by name: the lower account id first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct NamedLists {
    /// Of the account with the lower id.
    pub lower: ListName,
    /// Of the account with the higher id.
    pub higher: ListName,
}

/// Names one device list of an account: 40 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ListName {
    /// Which of the account's lists.
    pub version: ListVersion,
    /// Its hash: the account may have signed two of one version.
    pub hash: DeviceListHash,
}

/// How a payload is sealed.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
#[non_exhaustive]
pub enum DirectForm {
    /// As the ratchet message to the one recipient.
    #[tls_codec(discriminant = 1)]
    Inline(DirectWrap),
    /// Once, under a key that each recipient gets.
    #[tls_codec(discriminant = 2)]
    Fanout(Fanout),
}

/// A payload that is sealed once for many devices.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Fanout {
    /// To which key the payload is sealed.
    pub commitment: Commitment,
    /// One for each recipient, by rising place.
    pub wraps: Vec<DirectWrap>,
    /// The sealed payload.
    #[tls_codec(with = "opaque")]
    pub ciphertext: Vec<u8>,
}

/// What one device gets of a direct body.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DirectWrap {
    /// The device.
    pub recipient: DevicePlace,
    /// The handshake of the session, as long as the device may not have it; empty then.
    #[tls_codec(with = "opaque")]
    pub handshake: Vec<u8>,
    /// The ratchet message.
    #[tls_codec(with = "opaque")]
    pub message: Vec<u8>,
}

/// The commitment to the key of a payload, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Commitment([u8; 32]);

/// Names a device of one of the two accounts by its place in the account's device list, as the body names it.
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

/// The body of a direct turn: the device lists that begin with the next generation, and the sealed secret.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct TurnBody {
    /// The encoded list of the account with the lower id, empty if it stays.
    #[tls_codec(with = "opaque")]
    pub lower: Vec<u8>,
    /// The encoded list of the account with the higher id, empty if it stays.
    #[tls_codec(with = "opaque")]
    pub higher: Vec<u8>,
    /// The version of the direct body inside.
    direct_version: u8,
    /// The sealed secret, addressed by the lists that begin.
    pub direct: DirectBody,
}

impl Side {
    /// The side of `account` in its conversation with `other`.
    pub fn of(account: &AccountId, other: &AccountId) -> Self {
        if account <= other { Self::Lower } else { Self::Higher }
    }

    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Lower => Self::Higher,
            Self::Higher => Self::Lower,
        }
    }
}

impl ListName {
    /// The name of a list.
    pub fn of(list: &DeviceList) -> Self {
        Self { version: list.list_version(), hash: list.hash() }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let version = self.version.as_u64();
        require((1..=COUNTER_MAX).contains(&version) && self.hash != DeviceListHash::NONE, "list")
    }
}

impl NamedLists {
    /// The list of one side.
    pub fn of(&self, side: Side) -> ListName {
        match side {
            Side::Lower => self.lower,
            Side::Higher => self.higher,
        }
    }
}

impl Commitment {
    /// Takes the bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commitment(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl DirectForm {
    /// The wraps, one for each recipient.
    pub fn wraps(&self) -> &[DirectWrap] {
        match self {
            Self::Inline(wrap) => std::slice::from_ref(wrap),
            Self::Fanout(fanout) => &fanout.wraps,
        }
    }
}

impl DirectBody {
    /// Encodes the body.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one body, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; an unknown form is [`DecodeError::Kind`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body: Self = codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)?;
        body.check()?;
        Ok(body)
    }

    /// The wrap for one device, if there is one.
    pub fn wrap_for(&self, recipient: DevicePlace) -> Option<&DirectWrap> {
        self.form.wraps().iter().find(|wrap| wrap.recipient == recipient)
    }

    fn check(&self) -> Result<(), DecodeError> {
        self.lists.lower.check()?;
        self.lists.higher.check()?;
        let wraps = self.form.wraps();
        let is_sound = |place: DevicePlace| usize::from(place.index) < DEVICES_MAX;
        require(is_sound(self.sender) && wraps.iter().all(|wrap| is_sound(wrap.recipient)), "place")?;
        require(wraps.iter().all(|wrap| wrap.recipient != self.sender), "recipient")?;
        require(wraps.is_sorted_by(|before, after| before.recipient < after.recipient), "wraps")?;
        match &self.form {
            DirectForm::Inline(_) => Ok(()),
            // One recipient has one form.
            DirectForm::Fanout(_) => require(wraps.len() != 1 && wraps.len() <= WRAPS_MAX, "wraps"),
        }
    }
}

impl TurnBody {
    /// A turn that begins with these encoded lists, each empty if it stays.
    pub fn new(lower: Vec<u8>, higher: Vec<u8>, direct: DirectBody) -> Self {
        Self { lower, higher, direct_version: VERSION, direct }
    }

    /// The encoded list that a turn brings for one side; empty if it stays.
    pub fn list(&self, side: Side) -> &[u8] {
        match side {
            Side::Lower => &self.lower,
            Side::Higher => &self.higher,
        }
    }

    /// Encodes the body.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one body, which must fill `bytes`. The lists in it are decoded by whoever verifies them.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let turn: Self = codec::decode_versioned(VERSION, bytes, BODY_LEN_MAX)?;
        if turn.direct_version != VERSION {
            return Err(DecodeError::Version { version: turn.direct_version });
        }
        require(turn.lower.len().max(turn.higher.len()) <= DEVICE_LIST_LEN_MAX, "list")?;
        turn.direct.check()?;
        Ok(turn)
    }
}
