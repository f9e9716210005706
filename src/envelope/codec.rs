//! How this layer writes and reads its structs: a version byte, the TLS presentation language, a bound, no byte left.
//!
//! `opaque<V>` is read by a reader of ours: the one of `tls_codec` 0.5 holds a debug assertion that bytes of a peer can
//! trip.

use std::fmt;

use tls_codec::{DeserializeBytes, Error as TlsError, Serialize};

/// Bytes that are no value of the type asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the type can be.
    TooLong {
        /// Bytes given.
        bytes_len: usize,
        /// Bytes at most.
        bytes_len_max: usize,
    },
    /// A version that is not ours: a later release may read these bytes.
    Version {
        /// The version byte.
        version: u8,
    },
    /// A kind, form or flag that is not known: a later release may read these bytes.
    Kind {
        /// The number.
        kind: u64,
    },
    /// An extension that is critical and not known: a later release may read these bytes.
    CriticalExtension {
        /// Its type.
        kind: u16,
    },
    /// The bytes break the encoding, end too early, or go on behind the value.
    Malformed,
    /// A field is outside its range.
    Range {
        /// The name of the field, as in spec/envelope.
        field: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes_len, bytes_len_max } => write!(f, "{bytes_len} bytes are more than {bytes_len_max}"),
            Self::Version { version } => write!(f, "version {version} is not known"),
            Self::Kind { kind } => write!(f, "kind {kind} is not known"),
            Self::CriticalExtension { kind } => {
                write!(f, "critical extension {kind:#06x} is not known")
            }
            Self::Malformed => f.write_str("the bytes are malformed"),
            Self::Range { field } => write!(f, "{field} is outside its range"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Writes `version ‖ value`.
pub(crate) fn encode_versioned(version: u8, value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + value.tls_serialized_len());
    bytes.push(version);
    value.tls_serialize(&mut bytes).expect("writing to a Vec does not fail, and vectors are far below 2^30 bytes");
    bytes
}

/// Reads `version ‖ value`, which fill `bytes`, at most `bytes_len_max` of them.
pub(crate) fn decode_versioned<T: DeserializeBytes>(
    version: u8,
    bytes: &[u8],
    bytes_len_max: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > bytes_len_max {
        return Err(DecodeError::TooLong { bytes_len: bytes.len(), bytes_len_max });
    }
    let (&first, rest) = bytes.split_first().ok_or(DecodeError::Malformed)?;
    if first != version {
        return Err(DecodeError::Version { version: first });
    }
    T::tls_deserialize_exact_bytes(rest).map_err(from_tls)
}

/// Reads a value that fills `bytes`, at most `bytes_len_max` of them.
pub(crate) fn decode<T: DeserializeBytes>(bytes: &[u8], bytes_len_max: usize) -> Result<T, DecodeError> {
    if bytes.len() > bytes_len_max {
        return Err(DecodeError::TooLong { bytes_len: bytes.len(), bytes_len_max });
    }
    T::tls_deserialize_exact_bytes(bytes).map_err(from_tls)
}

/// Requires a condition on a field.
pub(crate) fn require(holds: bool, field: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Range { field }) }
}

fn from_tls(error: TlsError) -> DecodeError {
    match error {
        TlsError::UnknownValue(kind) => DecodeError::Kind { kind },
        _ => DecodeError::Malformed,
    }
}

/// `opaque<V>` as a `Vec<u8>`, for `#[tls_codec(with = "opaque")]`.
pub(crate) mod opaque {
    use std::io::Write;

    use tls_codec::{DeserializeBytes, Error as TlsError, Serialize, Size, TlsVarInt, VLByteSlice};

    pub(crate) fn tls_serialized_len(bytes: &[u8]) -> usize {
        VLByteSlice(bytes).tls_serialized_len()
    }

    pub(crate) fn tls_serialize<W: Write>(bytes: &[u8], writer: &mut W) -> Result<usize, TlsError> {
        VLByteSlice(bytes).tls_serialize(writer)
    }

    pub(crate) fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), TlsError> {
        let (size, rest) = TlsVarInt::tls_deserialize_bytes(bytes)?;
        let field_len = usize::try_from(size.value()).map_err(|_| TlsError::InvalidVectorLength)?;
        let (field, rest) = rest.split_at_checked(field_len).ok_or(TlsError::EndOfStream)?;
        Ok((field.to_vec(), rest))
    }
}

/// UTF-8 text as `opaque<V>`, for `#[tls_codec(with = "text")]`.
pub(crate) mod text {
    use std::io::Write;

    use super::{TlsError, opaque};

    pub(crate) fn tls_serialized_len(text: &str) -> usize {
        opaque::tls_serialized_len(text.as_bytes())
    }

    pub(crate) fn tls_serialize<W: Write>(text: &str, writer: &mut W) -> Result<usize, TlsError> {
        opaque::tls_serialize(text.as_bytes(), writer)
    }

    pub(crate) fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(String, &[u8]), TlsError> {
        let (field, rest) = opaque::tls_deserialize_bytes(bytes)?;
        let text = String::from_utf8(field).map_err(|_| TlsError::InvalidInput)?;
        Ok((text, rest))
    }
}

/// A secret of 32 bytes without a length, for `#[tls_codec(with = "secret")]`.
pub(crate) mod secret {
    use std::io::Write;

    use super::TlsError;
    use crate::crypto::Secret32;

    pub(crate) fn tls_serialized_len(_: &Secret32) -> usize {
        32
    }

    pub(crate) fn tls_serialize<W: Write>(secret: &Secret32, writer: &mut W) -> Result<usize, TlsError> {
        writer.write_all(secret.expose())?;
        Ok(32)
    }

    pub(crate) fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Secret32, &[u8]), TlsError> {
        let (field, rest) = bytes.split_at_checked(32).ok_or(TlsError::EndOfStream)?;
        Ok((Secret32::from_slice(field).ok_or(TlsError::EndOfStream)?, rest))
    }
}
