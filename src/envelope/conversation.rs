//! The id of a conversation.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::LogId;

use crate::crypto::label::{CONVERSATION_ID, hash};
use crate::identity::AccountId;

/// Names a conversation, 32 bytes, the same for all who are in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ConversationId([u8; 32]);

impl ConversationId {
    /// The direct conversation of two accounts: one, whoever begins it (row DM-04).
    pub fn direct(one: &AccountId, other: &AccountId) -> Self {
        let (low, high) = if one < other { (one, other) } else { (other, one) };
        Self(hash(CONVERSATION_ID, &[low.as_bytes(), high.as_bytes()]))
    }

    /// The group of a log.
    pub fn group(log: &LogId) -> Self {
        Self(*log.as_bytes())
    }

    /// Takes the raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationId({self})")
    }
}
