//! The secrets of a session, one type for each meaning and direction (spec/dm, key schedule).
//!
//! Invariant: a chain key or message seed is consumed by the step that uses it. What is kept of them is kept in rows of
//! an encrypted store; the encoding here serves those rows only, never the wire.

use std::io::Write;

use tls_codec::{DeserializeBytes, Error, Serialize, Size};
use zeroize::Zeroizing;

use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::kem::{self, KemSecret};
use crate::crypto::label::{DIRECT_CHAIN, DIRECT_MESSAGE, DIRECT_PQ, DIRECT_ROOT};
use crate::crypto::{Secret32, kdf, secret_key};

use super::DmError;
use super::pq::PqEpoch;

/// Declares a secret of 32 bytes that a row can hold.
macro_rules! stored_key {
    ($(#[$doc:meta])* $name:ident) => {
        secret_key! { $(#[$doc])* pub(super) $name }

        #[allow(dead_code, reason = "not every key is taken twice")]
        impl $name {
            /// The same key, where a candidate needs it and the state keeps it until the candidate is committed.
            pub(super) fn duplicate(&self) -> Self {
                Self::from_secret(self.as_secret().duplicate())
            }
        }

        impl Size for $name {
            fn tls_serialized_len(&self) -> usize {
                32
            }
        }

        impl Serialize for $name {
            fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
                writer.write_all(self.as_secret().expose())?;
                Ok(32)
            }
        }

        impl DeserializeBytes for $name {
            fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
                let (key, rest) = bytes.split_first_chunk::<32>().ok_or(Error::EndOfStream)?;
                Ok((Self::from_secret(Secret32::from_bytes(*key)), rest))
            }
        }
    };
}

stored_key! {
    /// RK: from which every chain comes.
    RootKey
}
stored_key! {
    /// CKs: from which the seeds of our messages come.
    SendChainKey
}
stored_key! {
    /// CKr: from which the seeds of their messages come.
    RecvChainKey
}
stored_key! {
    /// HKs or NHKs: seals our headers.
    SendHeaderKey
}
stored_key! {
    /// HKr or NHKr: opens their headers.
    RecvHeaderKey
}
stored_key! {
    /// The seed of one message's key; the message's random bytes and the pq key make it the key.
    MessageSeed
}
stored_key! {
    /// The key of a pq epoch, mixed into every message key of that epoch.
    PqKey
}
stored_key! {
    /// Shows to who offered a KEM key that both sides derived the same pq key.
    PqConfirmation
}

/// The seed of a KEM prekey, 64 bytes.
pub(super) struct KemSeed(Zeroizing<[u8; kem::SEED_LEN]>);

impl std::fmt::Debug for KemSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(_) = self;
        f.write_str("KemSeed(…)")
    }
}

impl KemSeed {
    /// Keeps a key's seed.
    pub(super) fn of(secret: &KemSecret) -> Self {
        Self(Zeroizing::new(*secret.seed()))
    }

    /// The key pair.
    pub(super) fn to_kem(&self) -> KemSecret {
        KemSecret::from_seed(self.0.clone())
    }
}

impl Size for KemSeed {
    fn tls_serialized_len(&self) -> usize {
        kem::SEED_LEN
    }
}

impl Serialize for KemSeed {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        writer.write_all(self.0.as_slice())?;
        Ok(kem::SEED_LEN)
    }
}

impl DeserializeBytes for KemSeed {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (seed, rest) = bytes.split_first_chunk().ok_or(Error::EndOfStream)?;
        Ok((Self(Zeroizing::new(*seed)), rest))
    }
}

impl RootKey {
    /// One step with the shared secret of our ratchet key and theirs: the next root, a chain key, and the header key of
    /// the chain behind that one (rule DM-22).
    ///
    /// # Errors
    /// [`DmError::WeakKey`]: `theirs` is not canonical or has low order.
    pub(super) fn step(&self, ours: &DhSecret, theirs: &DhPublic) -> Result<[Secret32; 3], DmError> {
        let shared = ours.agree(theirs).map_err(|_| DmError::WeakKey)?;
        Ok(kdf::derive_many(self.as_secret().expose(), shared.expose(), DIRECT_ROOT, &[]))
    }
}

macro_rules! chain_key {
    ($name:ident) => {
        impl $name {
            /// The chain key behind this one, and the seed of this message (rule DM-23).
            pub(super) fn step(&self) -> (Self, MessageSeed) {
                let [chain, seed] = kdf::expand_many(self.as_secret(), DIRECT_CHAIN, &[]);
                (Self::from_secret(chain), MessageSeed::from_secret(seed))
            }
        }
    };
}

chain_key!(SendChainKey);
chain_key!(RecvChainKey);

impl MessageSeed {
    /// The key of the one message that carries `random` (rule DM-24).
    pub(super) fn into_message_key(self, pq: &PqKey, epoch: PqEpoch, random: &[u8; 16]) -> Secret32 {
        let epoch = epoch.as_u32().to_be_bytes();
        kdf::extract(pq.as_secret().expose(), DIRECT_MESSAGE, &[self.as_secret().expose(), random, &epoch])
    }
}

impl PqKey {
    /// The key of the epoch behind this one, from the shared secret of a KEM, and what confirms it (rule DM-98).
    pub(super) fn next(&self, shared: &Secret32, fields: &[&[u8]]) -> (Self, PqConfirmation) {
        let [key, confirmation] = kdf::derive_many(self.as_secret().expose(), shared.expose(), DIRECT_PQ, fields);
        (Self::from_secret(key), PqConfirmation::from_secret(confirmation))
    }
}

impl PqConfirmation {
    /// Whether these bytes are it, in constant time.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        Secret32::from_slice(bytes).is_some_and(|other| *self.as_secret() == other)
    }
}

/// Declares a key pair that a row can hold. The public half is kept beside the secret one: computing it costs more than
/// sealing a message.
macro_rules! stored_pair {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name(DhSecret);

        impl $name {
            /// Keeps a key pair.
            pub(super) fn new(pair: DhSecret) -> Self {
                Self(pair)
            }

            /// The key pair.
            pub(super) fn as_dh(&self) -> &DhSecret {
                &self.0
            }
        }

        impl Size for $name {
            fn tls_serialized_len(&self) -> usize {
                64
            }
        }

        impl Serialize for $name {
            fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
                writer.write_all(self.0.to_secret().expose())?;
                writer.write_all(self.0.public().as_bytes())?;
                Ok(64)
            }
        }

        impl DeserializeBytes for $name {
            fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
                let (secret, rest) = bytes.split_first_chunk::<32>().ok_or(Error::EndOfStream)?;
                let (public, rest) = rest.split_first_chunk::<32>().ok_or(Error::EndOfStream)?;
                let secret = Secret32::from_bytes(*secret);
                Ok((Self(DhSecret::from_parts(&secret, DhPublic::from_bytes(*public))), rest))
            }
        }
    };
}

stored_pair! {
    /// Our ratchet key, or the signed prekey that stands in for the first.
    RatchetSecret
}
stored_pair! {
    /// A DH prekey.
    PrekeySecret
}

impl PrekeySecret {
    /// The key pair, to be agreed with and to stand in for a ratchet key.
    pub(super) fn to_dh(&self) -> DhSecret {
        DhSecret::from_parts(&self.0.to_secret(), self.0.public())
    }
}
