//! Ed25519 (RFC 8032), always over a label and length-prefixed fields, always verified strictly (rule ENC-05).

use std::fmt;

use ed25519_dalek::{Signer, SigningKey as DalekSigningKey};
use rand_core::CryptoRng;
use undertone_wire::gate;
pub use undertone_wire::id::{Signature, VerifyKey};

use super::Secret32;
use super::label::{Label, transcript};

/// An Ed25519 secret key, with its public key beside it.
pub struct SigningKey(DalekSigningKey);

/// A signature that does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSignature;

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signature does not verify")
    }
}

impl std::error::Error for BadSignature {}

impl SigningKey {
    /// Draws a new key.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self::from_seed(&Secret32::random(rng))
    }

    /// The key of a seed of 32 bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &Secret32) -> Self {
        Self(DalekSigningKey::from_bytes(seed.expose()))
    }

    /// The seed, to be stored encrypted.
    pub fn to_seed(&self) -> Secret32 {
        Secret32::from_bytes(self.0.to_bytes())
    }

    /// The public key.
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs transcript(`label`, `fields`).
    pub fn sign(&self, label: Label, fields: &[&[u8]]) -> Signature {
        self.sign_transcript(&transcript(label, fields))
    }

    /// Signs bytes that begin with a label already: the inputs that `undertone_wire` builds.
    pub fn sign_transcript(&self, transcript: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(transcript).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        write!(f, "SigningKey(…, public {})", self.verify_key())
    }
}

/// Verifies a signature over transcript(`label`, `fields`): strict, so small-order keys and non-canonical scalars fail.
///
/// # Errors
/// [`BadSignature`].
pub fn verify(key: &VerifyKey, label: Label, fields: &[&[u8]], signature: &Signature) -> Result<(), BadSignature> {
    verify_transcript(key, &transcript(label, fields), signature)
}

/// Verifies a signature over bytes that begin with a label already: what [`SigningKey::sign_transcript`] signed.
///
/// # Errors
/// [`BadSignature`].
pub fn verify_transcript(key: &VerifyKey, transcript: &[u8], signature: &Signature) -> Result<(), BadSignature> {
    if gate::verify(key, transcript, signature) { Ok(()) } else { Err(BadSignature) }
}

#[cfg(test)]
mod tests;
