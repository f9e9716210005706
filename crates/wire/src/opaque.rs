//! `opaque<V>`: bytes behind their length (RFC 9420 §2.1.2).
//!
//! A type of ours and not the one of `tls_codec`, which in builds with debug assertions panics on a truncated string:
//! what a peer sends must never do that.

use std::fmt;
use std::io::Write;

use tls_codec::{DeserializeBytes, Error, Serialize, Size, TlsVarInt};

use crate::label::length_prefix;

/// Bytes of variable length, encoded behind their length in its shortest form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VLBytes(Vec<u8>);

impl VLBytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be added to.
    pub fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The bytes, owned.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for VLBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for VLBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for VLBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        write!(f, "VLBytes({} bytes)", bytes.len())
    }
}

impl Size for VLBytes {
    fn tls_serialized_len(&self) -> usize {
        length_prefix(self.0.len()).as_ref().len() + self.0.len()
    }
}

impl Serialize for VLBytes {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        writer.write_all(length_prefix(self.0.len()).as_ref())?;
        writer.write_all(&self.0)?;
        Ok(self.tls_serialized_len())
    }
}

impl DeserializeBytes for VLBytes {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (length, rest) = TlsVarInt::tls_deserialize_bytes(bytes)?;
        let length = usize::try_from(length.value()).map_err(|_| Error::InvalidVectorLength)?;
        let (taken, rest) = rest.split_at_checked(length).ok_or(Error::EndOfStream)?;
        Ok((Self(taken.to_vec()), rest))
    }
}
