//! Typed keys and one wrapper for each primitive. The only place under `src/` that names dalek or RustCrypto.
//!
//! Invariants: a secret has its own type, is wiped when dropped, and is never cloned, compared in variable time or
//! shown by `Debug`; every key derivation, hash and signature begins with a [label] and length-prefixed fields
//! (rule ENC-03); every AEAD here has a 256-bit key and a full 16-byte tag (rule ENC-06).
//!
//! Leaves out what the keys mean: the layers above say so, in types of their own over [`Secret32`].

pub mod aead;
pub mod dh;
pub mod hpke;
pub mod kdf;
pub mod kem;
pub mod label;
mod secret;
pub mod sign;

pub use rand_core::CryptoRng;
pub(crate) use secret::secret_key;
pub use secret::{Secret32, SecretBytes};

/// Draws `N` random bytes.
pub(crate) fn random_array<const N: usize>(rng: &mut dyn CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
pub(crate) mod tests;
