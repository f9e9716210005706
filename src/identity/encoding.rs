//! How the types of this layer become bytes: TLS presentation language, a version in front, nothing behind
//! (rules ENC-01, ENC-02).

use std::io::{Read, Write};

use tls_codec::{Deserialize, DeserializeBytes, Error, Serialize, Size};

use super::IdentityError;

/// The version byte of a structure, 1: another value does not decode, so that a value of this type is its own proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct VersionOne;

/// The number that [`VersionOne`] stands for.
const NUMBER: u8 = 1;

impl Size for VersionOne {
    fn tls_serialized_len(&self) -> usize {
        1
    }
}

impl Serialize for VersionOne {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        NUMBER.tls_serialize(writer)
    }
}

impl DeserializeBytes for VersionOne {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        match u8::tls_deserialize_bytes(bytes)? {
            (NUMBER, rest) => Ok((Self, rest)),
            (version, _) => Err(Error::UnknownValue(version.into())),
        }
    }
}

impl Deserialize for VersionOne {
    fn tls_deserialize<R: Read>(reader: &mut R) -> Result<Self, Error> {
        match u8::tls_deserialize(reader)? {
            NUMBER => Ok(Self),
            version => Err(Error::UnknownValue(version.into())),
        }
    }
}

/// Encodes a structure.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    value.tls_serialize_detached().expect("writing to a Vec does not fail, and every field is bounded")
}

/// Decodes a structure that must fill `bytes`, at most `len_max` of them, in its one encoding.
///
/// # Errors
/// [`IdentityError::TooLong`], [`IdentityError::UnknownVersion`] of the structure or of one inside it, or
/// [`IdentityError::Malformed`].
pub(crate) fn decode<T: DeserializeBytes + Serialize>(bytes: &[u8], len_max: usize) -> Result<T, IdentityError> {
    if bytes.len() > len_max {
        return Err(IdentityError::TooLong { len: bytes.len(), len_max });
    }
    let value = T::tls_deserialize_exact_bytes(bytes).map_err(|error| match error {
        Error::UnknownValue(version) => IdentityError::UnknownVersion { version: version as u8 },
        _ => IdentityError::Malformed,
    })?;
    // A length in more bytes than it needs would be a second encoding of the same value, with another hash.
    if encode(&value) == bytes { Ok(value) } else { Err(IdentityError::Malformed) }
}
