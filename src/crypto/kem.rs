//! ML-KEM-768 (FIPS 203), behind types of ours so that the implementation can be changed.

use std::fmt;

use ml_kem::kem::{Decapsulate, KeyExport, TryKeyInit};
use ml_kem::{B32, DecapsulationKey, EncapsulationKey, MlKem768, Seed};
use rand_core::CryptoRng;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use super::{Secret32, random_array};

/// Bytes of an encapsulation key.
pub const PUBLIC_LEN: usize = 1_184;
/// Bytes of a ciphertext.
pub const CIPHERTEXT_LEN: usize = 1_088;
/// Bytes of the seed that is kept of a secret key: `d ‖ z` (FIPS 203 §6.1).
pub const SEED_LEN: usize = 64;

/// A decapsulation key.
pub struct KemSecret {
    seed: Zeroizing<[u8; SEED_LEN]>,
    key: DecapsulationKey<MlKem768>,
}

/// An encapsulation key, 1 184 bytes, not yet known to be well-formed.
#[derive(Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct KemPublic([u8; PUBLIC_LEN]);

/// A ciphertext, 1 088 bytes.
#[derive(Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct KemCiphertext([u8; CIPHERTEXT_LEN]);

/// An encapsulation key that fails the modulus check (FIPS 203 §7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadKemKey;

impl fmt::Display for BadKemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the encapsulation key is malformed")
    }
}

impl std::error::Error for BadKemKey {}

impl KemSecret {
    /// Draws a new key.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self::from_seed(Zeroizing::new(random_array(rng)))
    }

    /// The key of a seed.
    pub fn from_seed(seed: Zeroizing<[u8; SEED_LEN]>) -> Self {
        let key = DecapsulationKey::from_seed(Seed::from(*seed));
        Self { seed, key }
    }

    /// The seed, to be stored encrypted.
    pub fn seed(&self) -> &[u8; SEED_LEN] {
        &self.seed
    }

    /// The public key.
    pub fn public(&self) -> KemPublic {
        KemPublic(self.key.encapsulation_key().to_bytes().into())
    }

    /// The shared secret of a ciphertext. A wrong ciphertext yields another secret, not an error (FIPS 203 §6.3):
    /// what is sealed under it then does not open.
    pub fn decapsulate(&self, ciphertext: &KemCiphertext) -> Secret32 {
        Secret32::from_bytes(self.key.decapsulate(&ciphertext.0.into()).into())
    }
}

impl fmt::Debug for KemSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed: _, key: _ } = self;
        f.write_str("KemSecret(…)")
    }
}

impl KemPublic {
    /// Takes the bytes, unchecked: [`KemPublic::encapsulate`] checks.
    pub fn from_bytes(bytes: [u8; PUBLIC_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        &self.0
    }

    /// Whether the key passes the modulus check: what [`KemPublic::encapsulate`] would find.
    ///
    /// # Errors
    /// [`BadKemKey`].
    pub fn check(&self) -> Result<(), BadKemKey> {
        EncapsulationKey::<MlKem768>::new_from_slice(&self.0).map(|_| ()).map_err(|_| BadKemKey)
    }

    /// Makes a fresh shared secret and its ciphertext.
    ///
    /// # Errors
    /// [`BadKemKey`] for a malformed key; the caller refuses the bundle that brought it.
    pub fn encapsulate(&self, rng: &mut dyn CryptoRng) -> Result<(KemCiphertext, Secret32), BadKemKey> {
        let key = EncapsulationKey::<MlKem768>::new_from_slice(&self.0).map_err(|_| BadKemKey)?;
        let message = Zeroizing::new(random_array::<32>(rng));
        let (ciphertext, shared) = key.encapsulate_deterministic(&B32::from(*message));
        Ok((KemCiphertext(ciphertext.into()), Secret32::from_bytes(shared.into())))
    }
}

impl fmt::Debug for KemPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemPublic({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

impl KemCiphertext {
    /// Takes the bytes.
    pub fn from_bytes(bytes: [u8; CIPHERTEXT_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; CIPHERTEXT_LEN] {
        &self.0
    }
}

impl fmt::Debug for KemCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KemCiphertext({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

#[cfg(test)]
mod tests;
