//! That no secret shows itself; and the randomness of tests.

use std::convert::Infallible;
use std::fmt::Debug;

use data_encoding::HEXLOWER;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use super::dh::DhSecret;
use super::hpke::SealSecret;
use super::kem::{KemSecret, SEED_LEN};
use super::sign::SigningKey;
use super::{Secret32, random_array, secret_key};

/// Randomness that a test chose: yields the given bytes once, then panics.
pub(crate) struct Replay(Vec<u8>);

impl Replay {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        assert!(self.0.len() >= target.len(), "the test chose fewer bytes than the code draws");
        let rest = self.0.split_off(target.len());
        target.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Replay {}

/// Asserts that no four consecutive bytes of `secret` show in the debug text of `value`, in hex or as a list of numbers.
pub(crate) fn assert_hidden(value: &impl Debug, secret: &[u8]) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        let shown: String = shown.to_lowercase().split_whitespace().collect();
        for window in secret.windows(4) {
            let numbers: Vec<String> = window.iter().map(u8::to_string).collect();
            assert!(!shown.contains(&HEXLOWER.encode(window)), "{shown}");
            assert!(!shown.contains(&numbers.join(",")), "{shown}");
        }
    }
}

#[test]
fn long_public_values_show_how_they_begin() {
    let kem = KemSecret::from_seed(Zeroizing::new([1; SEED_LEN])).public();
    let (ciphertext, _) = kem.encapsulate(&mut StdRng::seed_from_u64(1)).expect("a key of ours");
    let seal = SealSecret::from_seed(Secret32::from_bytes([1; 32])).public();
    let beginning = |bytes: &[u8]| HEXLOWER.encode(&bytes[..4]);
    assert_eq!(format!("{kem:?}"), format!("KemPublic({}…)", beginning(kem.as_bytes())));
    assert_eq!(format!("{ciphertext:?}"), format!("KemCiphertext({}…)", beginning(ciphertext.as_bytes())));
    assert_eq!(format!("{seal:?}"), format!("SealPublic({}…)", beginning(seal.as_bytes())));
}

secret_key!(
    /// Stands for every type that the macro makes.
    NamedSecret
);

// spec ENC-13
#[test]
fn debug_shows_no_secret() {
    let mut rng = StdRng::seed_from_u64(4);
    let bytes: [u8; 32] = random_array(&mut rng);
    let secret = || Secret32::from_bytes(bytes);
    assert_hidden(&secret(), &bytes);
    assert_hidden(&NamedSecret::from_secret(secret()), &bytes);
    assert_hidden(&DhSecret::from_secret(&secret()), &bytes);
    assert_hidden(&SigningKey::from_seed(&secret()), &bytes);
    assert_hidden(&SealSecret::from_seed(secret()), &bytes);
    let seed: [u8; SEED_LEN] = random_array(&mut rng);
    assert_hidden(&KemSecret::from_seed(Zeroizing::new(seed)), &seed);
}

#[test]
#[should_panic(expected = "[")]
fn the_harness_sees_what_is_not_hidden() {
    assert_hidden(&[1u8, 2, 3, 4, 5], &[1, 2, 3, 4, 5]);
}

#[test]
fn named_secrets_compare_by_value() {
    let of = |byte| NamedSecret::from_secret(Secret32::from_bytes([byte; 32]));
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_eq!(of(1).as_secret(), &Secret32::from_bytes([1; 32]));
}
