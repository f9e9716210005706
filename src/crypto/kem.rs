//! ML-KEM-768 (FIPS 203), behind types of ours: the feature `libcrux` chooses who computes it (docs/adr/0013).
//!
//! Invariant: both implementations make the same bytes of the same seeds, so that nothing but the time it takes depends on
//! the choice.

#[cfg(feature = "libcrux")]
mod libcrux;
#[cfg(any(test, not(feature = "libcrux")))]
mod rustcrypto;

use std::fmt;

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

#[cfg(feature = "libcrux")]
type Chosen = libcrux::Libcrux;
#[cfg(not(feature = "libcrux"))]
type Chosen = rustcrypto::RustCrypto;

/// A decapsulation key.
pub struct KemSecret {
    seed: Zeroizing<[u8; SEED_LEN]>,
    key: <Chosen as MlKem768>::Key,
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

/// What an implementation computes (FIPS 203 §6), from bytes to bytes.
trait MlKem768 {
    /// A key pair, ready for use; wiped when dropped.
    type Key;

    /// `ML-KEM.KeyGen_internal(d, z)`.
    fn key(seed: &[u8; SEED_LEN]) -> Self::Key;

    /// The encapsulation key of a pair.
    fn public(key: &Self::Key) -> [u8; PUBLIC_LEN];

    /// The modulus check (§7.2).
    fn check(public: &[u8; PUBLIC_LEN]) -> Result<(), BadKemKey>;

    /// `ML-KEM.Encaps_internal(ek, m)`, behind the modulus check.
    fn encapsulate(
        public: &[u8; PUBLIC_LEN],
        message: &[u8; 32],
    ) -> Result<([u8; CIPHERTEXT_LEN], Secret32), BadKemKey>;

    /// `ML-KEM.Decaps_internal(dk, c)`.
    fn decapsulate(key: &Self::Key, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret32;
}

impl KemSecret {
    /// Draws a new key.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self::from_seed(Zeroizing::new(random_array(rng)))
    }

    /// The key of a seed.
    pub fn from_seed(seed: Zeroizing<[u8; SEED_LEN]>) -> Self {
        let key = Chosen::key(&seed);
        Self { seed, key }
    }

    /// The seed, to be stored encrypted.
    pub fn seed(&self) -> &[u8; SEED_LEN] {
        &self.seed
    }

    /// The public key.
    pub fn public(&self) -> KemPublic {
        KemPublic(Chosen::public(&self.key))
    }

    /// The shared secret of a ciphertext. A wrong ciphertext yields another secret, not an error (FIPS 203 §6.3):
    /// what is sealed under it then does not open.
    pub fn decapsulate(&self, ciphertext: &KemCiphertext) -> Secret32 {
        Chosen::decapsulate(&self.key, &ciphertext.0)
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
        Chosen::check(&self.0)
    }

    /// Makes a fresh shared secret and its ciphertext.
    ///
    /// # Errors
    /// [`BadKemKey`] for a malformed key; the caller refuses the bundle that brought it.
    pub fn encapsulate(&self, rng: &mut dyn CryptoRng) -> Result<(KemCiphertext, Secret32), BadKemKey> {
        let message = Zeroizing::new(random_array::<32>(rng));
        let (ciphertext, shared) = Chosen::encapsulate(&self.0, &message)?;
        Ok((KemCiphertext(ciphertext), shared))
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
