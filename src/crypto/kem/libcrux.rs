//! ML-KEM-768 of libcrux: verified, and with code for vector units that is chosen when the program runs.

use libcrux_ml_kem::mlkem768::{self, MlKem768KeyPair, MlKem768PrivateKey, MlKem768PublicKey};
use zeroize::Zeroize;

use super::{BadKemKey, CIPHERTEXT_LEN, MlKem768, PUBLIC_LEN, SEED_LEN};
use crate::crypto::Secret32;

pub(super) struct Libcrux;

/// A key pair. libcrux wipes nothing, so that this does.
pub(super) struct Key {
    secret: MlKem768PrivateKey,
    public: MlKem768PublicKey,
}

impl Drop for Key {
    fn drop(&mut self) {
        (0..MlKem768PrivateKey::len()).for_each(|at| self.secret[at].zeroize());
    }
}

impl MlKem768 for Libcrux {
    type Key = Key;

    fn key(seed: &[u8; SEED_LEN]) -> Key {
        let (secret, public) = MlKem768KeyPair::into_parts(mlkem768::generate_key_pair(*seed));
        Key { secret, public }
    }

    fn public(key: &Key) -> [u8; PUBLIC_LEN] {
        *key.public.as_slice()
    }

    fn check(public: &[u8; PUBLIC_LEN]) -> Result<(), BadKemKey> {
        encapsulation_key(public).map(|_| ())
    }

    fn encapsulate(
        public: &[u8; PUBLIC_LEN],
        message: &[u8; 32],
    ) -> Result<([u8; CIPHERTEXT_LEN], Secret32), BadKemKey> {
        let (ciphertext, shared) = mlkem768::encapsulate(&encapsulation_key(public)?, *message);
        Ok((ciphertext.into(), Secret32::from_bytes(shared)))
    }

    fn decapsulate(key: &Key, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret32 {
        Secret32::from_bytes(mlkem768::decapsulate(&key.secret, &ciphertext.into()))
    }
}

fn encapsulation_key(public: &[u8; PUBLIC_LEN]) -> Result<MlKem768PublicKey, BadKemKey> {
    let key = MlKem768PublicKey::from(public);
    if mlkem768::validate_public_key(&key) { Ok(key) } else { Err(BadKemKey) }
}
