//! K2, states of messages: the MIMI status list, with states of ours (rules ENV-66, ENV-67).
//!
//! ```text
//! [[message id, state], …]
//! ```

use super::cbor::Value;
use super::message::{ContentError, MessageId};
use super::scanner::BODY_DEPTH_MAX;

/// Messages in one list.
pub const STATUSES_MAX: usize = 256;

/// States of messages, as their receiver tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusList(Vec<MessageStatus>);

/// The state of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageStatus {
    /// The message.
    pub message: MessageId,
    /// Its state.
    pub status: Status,
}

/// A state. Unknown ones are passed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Status(u64);

impl Status {
    /// Marked as not read.
    pub const UNREAD: Self = Self(0);
    /// Received.
    pub const DELIVERED: Self = Self(1);
    /// Shown.
    pub const READ: Self = Self(2);
    /// Forgotten, its time was over.
    pub const EXPIRED: Self = Self(3);
    /// Deleted by the receiver.
    pub const DELETED: Self = Self(4);
    /// Hidden by the receiver.
    pub const HIDDEN: Self = Self(5);
    /// Cannot be read.
    pub const ERROR: Self = Self(6);
    /// Played to the end (ours).
    pub const PLAYED: Self = Self(0x80);
    /// Acknowledged by a person (ours).
    pub const ACKNOWLEDGED: Self = Self(0x81);
    /// Of a kind that the receiver does not know (ours).
    pub const UNSUPPORTED: Self = Self(0x82);

    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl StatusList {
    /// A list of 1 to [`STATUSES_MAX`] states.
    ///
    /// # Errors
    /// [`ContentError::Field`] for none or too many.
    pub fn new(statuses: Vec<MessageStatus>) -> Result<Self, ContentError> {
        if (1..=STATUSES_MAX).contains(&statuses.len()) { Ok(Self(statuses)) } else { Err(LIST) }
    }

    /// The states.
    pub fn as_slice(&self) -> &[MessageStatus] {
        &self.0
    }

    /// Encodes the list.
    pub fn encode(&self) -> Vec<u8> {
        let status = |MessageStatus { message, status }: &MessageStatus| {
            Value::Array(vec![Value::Bytes(message.as_bytes().to_vec()), Value::Unsigned(status.0)])
        };
        Value::Array(self.0.iter().map(status).collect()).encode()
    }

    /// Decodes one list, which must fill `bytes`.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let Value::Array(items) = Value::decode(bytes, BODY_DEPTH_MAX)? else {
            return Err(LIST);
        };
        let status = |item: &Value| match item {
            Value::Array(fields) => match fields.as_slice() {
                [Value::Bytes(id), Value::Unsigned(status)] => {
                    let id = id.as_slice().try_into().map_err(|_| LIST)?;
                    Ok(MessageStatus { message: MessageId::from_bytes(id), status: Status(*status) })
                }
                _ => Err(LIST),
            },
            _ => Err(LIST),
        };
        Self::new(items.iter().map(status).collect::<Result<_, _>>()?)
    }
}

const LIST: ContentError = ContentError::Field { field: "status list" };
