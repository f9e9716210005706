//! HPKE (RFC 9180) in base mode with X-Wing, HKDF-SHA256 and ChaCha20-Poly1305: what seals an inbox entry to a device.
//!
//! The sender is not authenticated here; an inbox entry carries its sender inside (rule ENV-30).

use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use super::aead::DoesNotOpen;
use super::label::{Label, transcript};
use super::{Secret32, SecretBytes};

/// Bytes of a public key: ML-KEM-768 and X25519 (draft-connolly-cfrg-xwing-kem).
pub const PUBLIC_LEN: usize = 1_216;
/// Bytes of an encapsulated key.
pub const ENCAPPED_LEN: usize = 1_120;

/// An X-Wing secret key, kept as its seed of 32 bytes.
pub struct SealSecret {
    seed: Secret32,
}

/// An X-Wing public key, 1 216 bytes.
#[derive(Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct SealPublic([u8; PUBLIC_LEN]);

/// A public key that is malformed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSealKey;

impl fmt::Display for BadSealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the X-Wing key is malformed")
    }
}

impl std::error::Error for BadSealKey {}

impl SealSecret {
    /// Draws a new key.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self { seed: Secret32::random(rng) }
    }

    /// The key of a seed.
    pub fn from_seed(seed: Secret32) -> Self {
        Self { seed }
    }

    /// The seed, to be stored encrypted.
    pub fn seed(&self) -> &Secret32 {
        &self.seed
    }

    /// The public key.
    pub fn public(&self) -> SealPublic {
        let bytes = XWing::sk_to_pk(&self.private_key()).to_bytes();
        SealPublic(<[u8; PUBLIC_LEN]>::try_from(&bytes[..]).expect("an X-Wing public key has 1 216 bytes"))
    }

    /// Opens what [`SealPublic::seal`] made: `encapsulated key ‖ ciphertext`.
    ///
    /// # Errors
    /// [`DoesNotOpen`].
    pub fn open(&self, label: Label, fields: &[&[u8]], aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, DoesNotOpen> {
        let (encapped, ciphertext) = sealed.split_at_checked(ENCAPPED_LEN).ok_or(DoesNotOpen)?;
        let encapped = <XWing as Kem>::EncappedKey::from_bytes(encapped).map_err(|_| DoesNotOpen)?;
        let info = transcript(label, fields);
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.private_key(),
            &encapped,
            &info,
            ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| DoesNotOpen)
    }

    fn private_key(&self) -> <XWing as Kem>::PrivateKey {
        <XWing as Kem>::PrivateKey::from_bytes(self.seed.expose()).expect("every 32 bytes are an X-Wing seed")
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed: _ } = self;
        f.write_str("SealSecret(…)")
    }
}

impl SealPublic {
    /// Takes the bytes, unchecked: [`SealPublic::seal`] checks.
    pub fn from_bytes(bytes: [u8; PUBLIC_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.0
    }

    /// Seals to the holder of the secret key, with info = transcript(`label`, `fields`). Yields `encapsulated key ‖
    /// ciphertext`.
    ///
    /// # Errors
    /// [`BadSealKey`].
    pub fn seal(
        &self,
        label: Label,
        fields: &[&[u8]],
        aad: &[u8],
        plaintext: &[u8],
        mut rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, BadSealKey> {
        let key = <XWing as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| BadSealKey)?;
        let info = transcript(label, fields);
        let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeS::Base,
            &key,
            &info,
            plaintext,
            aad,
            &mut rng,
        )
        .map_err(|_| BadSealKey)?;
        Ok([&encapped.to_bytes()[..], &ciphertext].concat())
    }
}

impl fmt::Debug for SealPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealPublic({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

#[cfg(test)]
mod tests;
