//! K3, typing: ephemeral, over after six seconds (rules ENV-68, ENV-69).
//!
//! ```text
//! {1: state, 2: counter, ? 3: topic id}
//! ```

use std::time::Duration;

use super::cbor::Value;
use super::message::{ContentError, TopicId};
use super::scanner::BODY_DEPTH_MAX;

/// After this a typing state is over, unless it comes again.
pub const TYPING_TTL: Duration = Duration::from_secs(6);

/// What somebody is doing at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Typing {
    /// What.
    pub state: TypingState,
    /// Rises with every change of state.
    pub counter: TypingCounter,
    /// In which thread.
    pub topic: Option<TopicId>,
}

/// Counts the changes of one device's typing state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypingCounter(u64);

impl TypingCounter {
    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// What somebody is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum TypingState {
    /// Nothing any more.
    Stopped = 0,
    /// Writing a text.
    Typing = 1,
    /// Recording a voice message.
    Recording = 2,
    /// Sending a file.
    Uploading = 3,
}

impl Typing {
    /// Encodes the state.
    pub fn encode(&self) -> Vec<u8> {
        let mut pairs = vec![
            (Value::Unsigned(1), Value::Unsigned(self.state as u64)),
            (Value::Unsigned(2), Value::Unsigned(self.counter.0)),
        ];
        if let Some(topic) = &self.topic {
            pairs.push((Value::Unsigned(3), Value::Bytes(topic.as_bytes().to_vec())));
        }
        Value::Map(pairs).encode()
    }

    /// Decodes one state, which must fill `bytes`; unknown fields are passed over.
    ///
    /// # Errors
    /// [`ContentError`]; the state is dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let value = Value::decode(bytes, BODY_DEPTH_MAX)?;
        let state = match value.field(1).and_then(Value::as_unsigned) {
            Some(0) => TypingState::Stopped,
            Some(1) => TypingState::Typing,
            Some(2) => TypingState::Recording,
            Some(3) => TypingState::Uploading,
            _ => return Err(ContentError::Field { field: "state" }),
        };
        let counter = value.field(2).and_then(Value::as_unsigned).ok_or(ContentError::Field { field: "counter" })?;
        let topic = match value.field(3) {
            None => None,
            Some(Value::Bytes(topic)) => Some(TopicId::new(topic.clone())?),
            Some(_) => return Err(ContentError::Field { field: "topic id" }),
        };
        Ok(Self { state, counter: TypingCounter(counter), topic })
    }
}
