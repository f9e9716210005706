//! The secrets of a session, one type for each meaning and direction (spec/dm, key schedule).
//!
//! Invariant: a chain key or message seed is consumed by the step that uses it. What is kept of them is kept in rows of
//! an encrypted store; the encoding here serves those rows only, never the wire.

use std::io::Write;

use tls_codec::{DeserializeBytes, Error, Serialize, Size};
use zeroize::Zeroizing;

use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::kem::{self, KemSecret};
use crate::crypto::label::{DIRECT_CHAIN, DIRECT_MESSAGE, DIRECT_ROOT};
use crate::crypto::{Secret32, kdf, secret_key};

use super::DmError;

/// Declares a secret of 32 bytes that a row can hold.
macro_rules! stored_key {
    ($(#[$doc:meta])* $name:ident) => {
        secret_key! { $(#[$doc])* pub(super) $name }

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
    /// The secret half of our ratchet key, or of the signed prekey that stands in for the first.
    RatchetSecret
}

stored_key! {
    /// The secret half of a DH prekey.
    PrekeySecret
}

/// The seed of a KEM prekey, 64 bytes.
pub(super) struct KemSeed(Zeroizing<[u8; kem::SEED_LEN]>);

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
    pub(super) fn step(self, ours: &DhSecret, theirs: &DhPublic) -> Result<[Secret32; 3], DmError> {
        let shared = ours.agree(theirs).map_err(|_| DmError::WeakKey)?;
        Ok(kdf::derive_many(self.as_secret().expose(), shared.expose(), DIRECT_ROOT, &[]))
    }
}

impl SendChainKey {
    /// The chain key behind this one, and the seed of this message (rule DM-23).
    pub(super) fn step(self) -> (Self, MessageSeed) {
        let [chain, seed] = kdf::derive_many(&[0; 32], self.as_secret().expose(), DIRECT_CHAIN, &[]);
        (Self::from_secret(chain), MessageSeed::from_secret(seed))
    }
}

impl RecvChainKey {
    /// The chain key behind this one, and the seed of this message (rule DM-23).
    pub(super) fn step(self) -> (Self, MessageSeed) {
        let (chain, seed) = SendChainKey(self.0).step();
        (Self(chain.0), seed)
    }
}

impl MessageSeed {
    /// The key of the one message that carries `random` (rule DM-24).
    pub(super) fn into_message_key(self, pq: &PqKey, pq_epoch: u16, random: &[u8; 16]) -> Secret32 {
        let fields: [&[u8]; 2] = [random, &pq_epoch.to_be_bytes()];
        let [key] = kdf::derive_many(pq.as_secret().expose(), self.as_secret().expose(), DIRECT_MESSAGE, &fields);
        key
    }
}

macro_rules! dh_secret {
    ($name:ident) => {
        impl $name {
            /// Keeps a key pair's secret half.
            pub(super) fn of(secret: &DhSecret) -> Self {
                Self::from_secret(secret.to_secret())
            }

            /// The key pair.
            pub(super) fn to_dh(&self) -> DhSecret {
                DhSecret::from_secret(self.as_secret())
            }
        }
    };
}

dh_secret!(RatchetSecret);
dh_secret!(PrekeySecret);
