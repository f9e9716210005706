//! Extensions: the one joint at which a struct grows (rules ENV-11 to ENV-13).
//!
//! ```text
//! { u16 type | opaque data<V> } extensions<V>
//! ```
//!
//! Types rise strictly, so that a list has one encoding and no type twice. A type from 0x8000 is critical: who does not
//! know it refuses the struct. Any other unknown type is kept and passed over. Types 0x?A?A below 0x8000 are GREASE
//! (RFC 8701): senders may put them in, so that passing over stays possible.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::codec::{DecodeError, opaque, require};

/// Extensions in one list.
pub const EXTENSIONS_MAX: usize = 32;

/// Bytes of the data of one extension.
pub const EXTENSION_LEN_MAX: usize = 4_096;

/// The first critical type.
const CRITICAL: u16 = 0x8000;

/// One extension.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Extension {
    /// Its type.
    pub kind: u16,
    /// Its data, at most [`EXTENSION_LEN_MAX`] bytes.
    #[tls_codec(with = "opaque")]
    pub data: Vec<u8>,
}

/// A list of extensions, types rising.
#[derive(Clone, PartialEq, Eq, Default, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Extensions(Vec<Extension>);

impl Extensions {
    /// The empty list.
    pub const NONE: Self = Self(Vec::new());

    /// Puts an extension in its place, instead of one of the same type if there is one.
    ///
    /// # Errors
    /// [`DecodeError::Range`] past [`EXTENSIONS_MAX`] or [`EXTENSION_LEN_MAX`]; the list is as before.
    pub fn insert(&mut self, extension: Extension) -> Result<(), DecodeError> {
        require(extension.data.len() <= EXTENSION_LEN_MAX, "extension.data")?;
        match self.0.binary_search_by_key(&extension.kind, |present| present.kind) {
            Ok(index) => self.0[index] = extension,
            Err(index) => {
                require(self.0.len() < EXTENSIONS_MAX, "extensions")?;
                self.0.insert(index, extension);
            }
        }
        Ok(())
    }

    /// The data of one type.
    pub fn find(&self, kind: u16) -> Option<&[u8]> {
        let index = self.0.binary_search_by_key(&kind, |extension| extension.kind).ok()?;
        Some(&self.0[index].data)
    }

    /// All extensions, unknown ones too, types rising.
    pub fn iter(&self) -> impl Iterator<Item = &Extension> {
        self.0.iter()
    }

    /// Checks a decoded list: its order, its bounds, and that every critical type is in `known`.
    pub(crate) fn check(&self, known: &[u16]) -> Result<(), DecodeError> {
        require(self.0.len() <= EXTENSIONS_MAX, "extensions")?;
        require(self.0.is_sorted_by(|before, after| before.kind < after.kind), "extension.type")?;
        require(self.0.iter().all(|extension| extension.data.len() <= EXTENSION_LEN_MAX), "extension.data")?;
        let unknown = self.0.iter().find(|extension| extension.kind >= CRITICAL && !known.contains(&extension.kind));
        unknown.map_or(Ok(()), |extension| Err(DecodeError::CriticalExtension { kind: extension.kind }))
    }
}

/// Whether a number is one of the 8 GREASE values that are not critical: 0x0A0A, 0x1A1A … 0x7A7A.
pub const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 12 == (number >> 4) & 0x0f && number < CRITICAL
}
