//! A conversation and its messages, as an app shows them.

use undertone_wire::id::Seq;

use super::ConversationId;
use crate::content::{Content, MessageId};
use crate::identity::{AccountId, DeviceId};
use crate::time::UnixMs;

/// A conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// What kind it is.
    pub kind: ConversationKind,
    /// The name of the peer, or of the group.
    pub name: String,
    /// How far it is.
    pub state: ConversationState,
    /// Everybody in it, ourselves included, sorted by account.
    pub members: Vec<Member>,
    /// Our own entries that the relay has not accepted yet.
    pub unsent_count: usize,
}

/// What kind of conversation it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConversationKind {
    /// Between two accounts.
    Direct {
        /// The other account.
        peer: AccountId,
    },
    /// A group.
    Group,
}

/// How far a conversation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConversationState {
    /// The peer's keys are being fetched; what is sent waits.
    Opening,
    /// Messages flow.
    Active,
    /// We left; nothing can be sent.
    Left,
    /// We were removed; nothing can be sent.
    Removed,
    /// The peer's keys are missing or do not verify; nothing can be sent.
    Failed,
    /// Another device of ours has given us its history, and nobody has brought us into it; nothing can be sent.
    Past,
}

/// Somebody in a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// What it calls itself, if we know.
    pub name: Option<String>,
}

/// Names a message of ours before and after it has a place in the log: the row of the outbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocalId(u64);

impl LocalId {
    pub(crate) const fn from_u64(ordinal: u64) -> Self {
        Self(ordinal)
    }

    /// The number, rising with each thing sent by this client.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The hash of its content: what replies, reactions and receipts name.
    pub id: MessageId,
    /// The conversation.
    pub conversation: ConversationId,
    /// Its place in the log; none while it is on its way.
    pub place: Option<Seq>,
    /// Who sent it.
    pub account: AccountId,
    /// From which device.
    pub device: DeviceId,
    /// When, by the sender's clock; never trusted for order.
    pub sent: UnixMs,
    /// When the relay accepted it, by its clock; none while it is on its way.
    pub accepted: Option<UnixMs>,
    /// What it says.
    pub content: Content,
    /// How far it is; always `Delivered` or `Read` for messages of others.
    pub status: MessageStatus,
}

/// How far a message is. It only ever rises (row EN-04).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum MessageStatus {
    /// In the outbox.
    Pending,
    /// The relay has made it durable.
    Sent,
    /// Every device of the other members has it.
    Delivered,
    /// Every other member has read it.
    Read,
}
