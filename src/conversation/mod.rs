//! What an app shows of a conversation: pure values, computed from rows; no I/O, no clock.
//!
//! The order of messages is the order of the log (rule DEL-36). What is not in the log yet stands behind it, in the order
//! of the outbox.

mod message;

pub use crate::envelope::ConversationId;
pub use message::{Conversation, ConversationKind, ConversationState, LocalId, Member, Message, MessageStatus};
