//! What openmls computes with, behind one door: rows, randomness, primitives, and our signature.
//!
//! The primitives are those of `openmls_rust_crypto` for now; nothing outside this file knows. Randomness that openmls
//! asks for is the caller's; the HPKE inside `openmls_rust_crypto` draws its own from the operating system.

use std::cell::RefCell;
use std::fmt;

use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{Ciphersuite, SignatureScheme};

use super::storage::Rows;
use crate::crypto::CryptoRng;
use crate::crypto::sign::SigningKey;
use crate::store::{StoreError, Tx};

/// The only suite of this version: X25519, ChaCha20-Poly1305, SHA-256, Ed25519 (RFC 9420 §17.1, 0x0003).
pub(super) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// One step's provider.
pub(super) struct Provider<'t, 's, 'r> {
    rows: Rows<'t, 's>,
    crypto: RustCrypto,
    rand: Draws<'r>,
}

/// The caller's randomness, if this step may draw any.
pub(super) struct Draws<'r>(Option<RefCell<&'r mut dyn CryptoRng>>);

/// A step that must not draw randomness drew some: receiving is deterministic.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRandomness;

/// The device's signature, as openmls asks for it.
pub(super) struct DeviceSigner<'k>(pub(super) &'k SigningKey);

impl<'t, 's, 'r> Provider<'t, 's, 'r> {
    /// For a step that makes something new.
    pub(super) fn drawing(tx: &'t mut Tx<'s>, rng: &'r mut dyn CryptoRng) -> Self {
        Self { rows: Rows::new(tx), crypto: RustCrypto::default(), rand: Draws(Some(RefCell::new(rng))) }
    }

    /// For a step that only reads or receives.
    pub(super) fn receiving(tx: &'t mut Tx<'s>) -> Self {
        Self { rows: Rows::new(tx), crypto: RustCrypto::default(), rand: Draws(None) }
    }

    /// The first store failure of this step, if there was one.
    pub(super) fn store_failure(&self) -> Option<StoreError> {
        self.rows.failure()
    }
}

impl<'t, 's, 'r> OpenMlsProvider for Provider<'t, 's, 'r> {
    type CryptoProvider = RustCrypto;
    type RandProvider = Draws<'r>;
    type StorageProvider = Rows<'t, 's>;

    fn storage(&self) -> &Self::StorageProvider {
        &self.rows
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        &self.crypto
    }

    fn rand(&self) -> &Self::RandProvider {
        &self.rand
    }
}

impl OpenMlsRand for Draws<'_> {
    type Error = NoRandomness;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let rng = self.0.as_ref().ok_or(NoRandomness)?;
        let mut bytes = [0; N];
        rng.borrow_mut().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, NoRandomness> {
        let rng = self.0.as_ref().ok_or(NoRandomness)?;
        let mut bytes = vec![0; len];
        rng.borrow_mut().fill_bytes(&mut bytes);
        Ok(bytes)
    }
}

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this step draws no randomness")
    }
}

impl std::error::Error for NoRandomness {}

impl Signer for DeviceSigner<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign_transcript(payload).as_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SUITE.signature_algorithm()
    }
}
