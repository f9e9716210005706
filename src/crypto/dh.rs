//! X25519 (RFC 7748), contributory and canonical only: anything else is an error from day one (rule ENC-07).

use std::fmt;

use rand_core::CryptoRng;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use x25519_dalek::{PublicKey, StaticSecret};

use super::Secret32;

/// An X25519 secret key. Its public key is computed once and kept.
pub struct DhSecret {
    secret: StaticSecret,
    public: DhPublic,
}

/// An X25519 public key: 32 bytes, a little-endian u-coordinate, not yet known to be canonical or of high order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DhPublic([u8; 32]);

/// A public key with which no secret can be agreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DhError {
    /// The u-coordinate is not below 2^255 − 19, so that the key has a second encoding.
    NonCanonical,
    /// The point has low order: the shared secret would not depend on ours.
    NonContributory,
}

impl fmt::Display for DhError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonCanonical => "the public key is not canonical",
            Self::NonContributory => "the public key has low order",
        })
    }
}

impl std::error::Error for DhError {}

impl DhSecret {
    /// Draws a new key.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self::from_secret(&Secret32::random(rng))
    }

    /// The key of 32 bytes, clamped when used (RFC 7748 §5).
    pub fn from_secret(secret: &Secret32) -> Self {
        let secret = StaticSecret::from(*secret.expose());
        let public = DhPublic(PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// The key pair that was stored as its two halves: the public one is believed, not computed.
    pub(crate) fn from_parts(secret: &Secret32, public: DhPublic) -> Self {
        Self { secret: StaticSecret::from(*secret.expose()), public }
    }

    /// The bytes of the key, to be stored encrypted.
    pub fn to_secret(&self) -> Secret32 {
        Secret32::from_bytes(self.secret.to_bytes())
    }

    /// The public key.
    pub fn public(&self) -> DhPublic {
        self.public
    }

    /// Agrees on a shared secret of 32 bytes.
    ///
    /// # Errors
    /// [`DhError`] for a key that is not canonical or has low order; the caller refuses the message that brought it.
    pub fn agree(&self, theirs: &DhPublic) -> Result<Secret32, DhError> {
        if !theirs.is_canonical() {
            return Err(DhError::NonCanonical);
        }
        let shared = self.secret.diffie_hellman(&PublicKey::from(theirs.0));
        if shared.was_contributory() {
            Ok(Secret32::from_bytes(shared.to_bytes()))
        } else {
            Err(DhError::NonContributory)
        }
    }
}

impl fmt::Debug for DhSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret: _, public } = self;
        write!(f, "DhSecret(…, public {public:?})")
    }
}

impl DhPublic {
    /// Takes the bytes, unchecked: [`DhSecret::agree`] checks.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether a secret can be agreed with the key: what a certificate or bundle is checked for before it is accepted.
    ///
    /// # Errors
    /// [`DhError`], the same that [`DhSecret::agree`] would give.
    pub fn check(&self) -> Result<(), DhError> {
        if !self.is_canonical() {
            Err(DhError::NonCanonical)
        } else if LOW_ORDER.contains(&self.0) {
            Err(DhError::NonContributory)
        } else {
            Ok(())
        }
    }

    /// Whether the u-coordinate is below 2^255 − 19, the top bit included.
    fn is_canonical(&self) -> bool {
        const TOP_BYTE_OF_P: u8 = 0x7f;
        let [first, middle @ .., last] = &self.0;
        let is_past_p = *last == TOP_BYTE_OF_P && middle.iter().all(|byte| *byte == 0xff) && *first >= 0xed;
        *last <= TOP_BYTE_OF_P && !is_past_p
    }
}

/// The canonical u-coordinates of the points of order 1, 2, 4 and 8, on the curve and on its twist.
const LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
];

impl fmt::Debug for DhPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DhPublic(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests;
