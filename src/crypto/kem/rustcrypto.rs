//! ML-KEM-768 of RustCrypto: the crate that HPKE brings in any case.

use ml_kem::kem::{Decapsulate, KeyExport, TryKeyInit};
use ml_kem::{B32, DecapsulationKey, EncapsulationKey, MlKem768 as Parameters, Seed};

use super::{BadKemKey, CIPHERTEXT_LEN, MlKem768, PUBLIC_LEN, SEED_LEN};
use crate::crypto::Secret32;

pub(super) struct RustCrypto;

impl MlKem768 for RustCrypto {
    type Key = DecapsulationKey<Parameters>;

    fn key(seed: &[u8; SEED_LEN]) -> Self::Key {
        DecapsulationKey::from_seed(Seed::from(*seed))
    }

    fn public(key: &Self::Key) -> [u8; PUBLIC_LEN] {
        key.encapsulation_key().to_bytes().into()
    }

    fn check(public: &[u8; PUBLIC_LEN]) -> Result<(), BadKemKey> {
        encapsulation_key(public).map(|_| ())
    }

    fn encapsulate(
        public: &[u8; PUBLIC_LEN],
        message: &[u8; 32],
    ) -> Result<([u8; CIPHERTEXT_LEN], Secret32), BadKemKey> {
        let (ciphertext, shared) = encapsulation_key(public)?.encapsulate_deterministic(&B32::from(*message));
        Ok((ciphertext.into(), Secret32::from_bytes(shared.into())))
    }

    fn decapsulate(key: &Self::Key, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret32 {
        Secret32::from_bytes(key.decapsulate(&(*ciphertext).into()).into())
    }
}

fn encapsulation_key(public: &[u8; PUBLIC_LEN]) -> Result<EncapsulationKey<Parameters>, BadKemKey> {
    EncapsulationKey::new_from_slice(public).map_err(|_| BadKemKey)
}
