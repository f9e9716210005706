//! K14, what an account calls itself (rule ENV-75).
//!
//! ```text
//! {1: name}
//! ```

use super::cbor::Value;
use super::message::ContentError;
use super::scanner::BODY_DEPTH_MAX;
use crate::identity::DisplayName;

/// What an account says of itself. Only its own word counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Its name.
    pub name: DisplayName,
}

impl Profile {
    /// Encodes the profile.
    pub fn encode(&self) -> Vec<u8> {
        Value::Map(vec![(Value::Unsigned(1), Value::Text(self.name.as_str().to_owned()))]).encode()
    }

    /// Decodes one profile, which must fill `bytes`; unknown fields are passed over.
    ///
    /// # Errors
    /// [`ContentError`]; the profile is dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let value = Value::decode(bytes, BODY_DEPTH_MAX)?;
        let name = value.field(1).and_then(Value::as_text).and_then(|name| DisplayName::new(name).ok());
        Ok(Self { name: name.ok_or(ContentError::Field { field: "name" })? })
    }
}
