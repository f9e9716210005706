//! What is sealed opens for its device, label, fields and associated data, and for nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{BadSealKey, ENCAPPED_LEN, PUBLIC_LEN, SealPublic, SealSecret};
use crate::crypto::aead::{DoesNotOpen, TAG_LEN};
use crate::crypto::label;

// spec ENC-12
#[test]
fn a_sealed_text_opens_for_what_it_was_sealed_for_only() {
    let mut rng = StdRng::seed_from_u64(1);
    let (secret, other) = (SealSecret::random(&mut rng), SealSecret::random(&mut rng));
    let sealed = secret.public().seal(label::INBOX_SEAL, &[b"log"], b"aad", b"hello", &mut rng).unwrap();
    assert_eq!(sealed.len(), ENCAPPED_LEN + 5 + TAG_LEN);

    let opened = secret.open(label::INBOX_SEAL, &[b"log"], b"aad", &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"hello");
    assert_eq!(other.open(label::INBOX_SEAL, &[b"log"], b"aad", &sealed), Err(DoesNotOpen));
    assert_eq!(secret.open(label::SHELL, &[b"log"], b"aad", &sealed), Err(DoesNotOpen));
    assert_eq!(secret.open(label::INBOX_SEAL, &[b"lo", b"g"], b"aad", &sealed), Err(DoesNotOpen));
    assert_eq!(secret.open(label::INBOX_SEAL, &[b"log"], b"aae", &sealed), Err(DoesNotOpen));
    for len in 0..sealed.len() {
        assert_eq!(secret.open(label::INBOX_SEAL, &[b"log"], b"aad", &sealed[..len]), Err(DoesNotOpen));
    }
    for index in [0, ENCAPPED_LEN - 1, ENCAPPED_LEN, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert_eq!(secret.open(label::INBOX_SEAL, &[b"log"], b"aad", &changed), Err(DoesNotOpen), "byte {index}");
    }
}

#[test]
fn a_key_comes_back_from_its_seed() {
    let mut rng = StdRng::seed_from_u64(2);
    let secret = SealSecret::random(&mut rng);
    let again = SealSecret::from_seed(secret.seed().duplicate());
    assert_eq!(again.public(), secret.public());
}

// spec ENC-12: every coefficient of a key above the modulus is an encoding that FIPS 203 refuses.
#[test]
fn a_malformed_key_seals_nothing() {
    let key = SealPublic::from_bytes([0xff; PUBLIC_LEN]);
    let result = key.seal(label::INBOX_SEAL, &[], b"", b"hello", &mut StdRng::seed_from_u64(3));
    assert_eq!(result, Err(BadSealKey));
}
