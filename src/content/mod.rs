//! What frames say, in deterministic CBOR (spec/envelope, rules ENV-50 to ENV-69): messages in the IETF MIMI content
//! format, states of messages, typing.
//!
//! Invariants: bytes of a peer pass the strict [scanner] before anything else reads them; what decodes encodes to the same
//! bytes, parts that this release does not know included; every content has a text that can be read aloud.
//!
//! Leaves out who said it, in which order, and what an edit does to its target: that is `conversation`.

pub mod cbor;
pub mod message;
mod part;
mod profile;
pub mod scanner;
pub mod status;
pub mod typing;

pub use crate::limits::CONTENT_LEN_MAX;
pub use cbor::Value;
pub use message::{Content, ContentError, Expiry, Intent, MessageId, Salt, TopicId};
pub use part::{Body, Disposition, External, Part, Semantics};
pub use profile::Profile;
pub use scanner::{ScanError, scan};
pub use status::{MessageStatus, Status, StatusList};
pub use typing::{TYPING_TTL, Typing, TypingCounter, TypingState};
