//! A payload that is sealed once for many devices (spec/dm, rules DM-110 to DM-115).
//!
//! ```text
//! K  = 32 random bytes, for this payload only
//! payload key, commitment = HKDF(0, K, transcript("direct payload", []), 2)
//! ciphertext = ChaCha20-Poly1305(payload key, nonce 0, payload)
//! H  = hash("direct wrap", [caller's associated data, commitment, ciphertext])
//! each device: a ratchet message over K, with H as its associated data
//! ```
//!
//! Poly1305 commits to neither its key nor its associated data. The commitment, which every device checks, ties all of
//! them to one K and so to one payload; H, which enters the associated data of each wrap, ties the wrap to this
//! ciphertext at this place, so that a device that knows K cannot put other words under the wrap of another.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::crypto::label::{DIRECT_PAYLOAD, DIRECT_WRAP, hash};
use crate::crypto::{CryptoRng, Secret32, SecretBytes, aead, kdf, secret_key};

use super::DmError;
use crate::envelope::direct::Commitment;

secret_key!(
    /// Opens one payload, and travels in the wraps.
    pub PayloadKey
);

/// Bytes of a [`PayloadKey`] in a wrap.
pub const PAYLOAD_KEY_LEN: usize = 32;

/// A payload, sealed once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedPayload {
    /// To which key the payload is sealed.
    pub commitment: Commitment,
    /// The ciphertext and its tag.
    pub ciphertext: Vec<u8>,
}

/// What the wraps of a payload have as their associated data: H.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Binding([u8; 32]);

impl Binding {
    /// The bytes, for the ratchet.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl PayloadKey {
    /// The plaintext of a wrap.
    pub fn expose(&self) -> &[u8; PAYLOAD_KEY_LEN] {
        self.as_secret().expose()
    }

    /// Takes the plaintext of a wrap.
    ///
    /// # Errors
    /// [`DmError::Malformed`] if it has another length.
    pub fn from_wrap(plaintext: &[u8]) -> Result<Self, DmError> {
        Secret32::from_slice(plaintext).map(Self::from_secret).ok_or(DmError::Malformed)
    }

    fn derive(&self) -> (Secret32, Secret32) {
        let [key, commitment] = kdf::derive_many(&[0; 32], self.expose(), DIRECT_PAYLOAD, &[]);
        (key, commitment)
    }
}

impl SealedPayload {
    /// Seals a payload under a key of its own (rules DM-110, DM-111).
    pub fn seal(payload: &[u8], rng: &mut dyn CryptoRng) -> (PayloadKey, Self) {
        let key = PayloadKey::from_secret(Secret32::random(rng));
        let (payload_key, commitment) = key.derive();
        // The key is used once: the nonce says nothing.
        let ciphertext = aead::seal(&payload_key, &[0; 12], &[], payload);
        (key, Self { commitment: Commitment::from_bytes(*commitment.expose()), ciphertext })
    }

    /// What ties the wraps to this payload under the caller's associated data (rule DM-112).
    pub fn bind(&self, ad: &[u8]) -> Binding {
        Binding(hash(DIRECT_WRAP, &[ad, self.commitment.as_bytes(), &self.ciphertext]))
    }

    /// Opens the payload with the key out of a wrap (rule DM-113).
    ///
    /// # Errors
    /// [`DmError::Authentication`] if the key is not the one that the sender committed to, or the ciphertext is another.
    pub fn open(&self, key: &PayloadKey) -> Result<SecretBytes, DmError> {
        let (payload_key, commitment) = key.derive();
        if !bool::from(commitment.expose().ct_eq(self.commitment.as_bytes())) {
            return Err(DmError::Authentication);
        }
        aead::open(&payload_key, &[0; 12], &[], &self.ciphertext).map_err(|_| DmError::Authentication)
    }
}
