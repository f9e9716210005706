//! The primitives alone: what a message, a step of the ratchet and a handshake cannot do without, whoever builds them.

use std::hint::black_box;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use libcrux_ml_kem::mlkem768;
use ml_kem::kem::{Decapsulate, KeyExport, TryKeyInit};
use ml_kem::{B32, DecapsulationKey, EncapsulationKey, MlKem768, Seed};
use sha2::Sha256;
use undertone::crypto::kem::{KemPublic, KemSecret};
use undertone::crypto::{Secret32, aead};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::clock::{Effort, Nanos, solo, time};

/// What each primitive takes, once.
pub(crate) struct Floor {
    /// ChaCha20-Poly1305 of RustCrypto over 100 bytes, 16 of associated data.
    pub(crate) aead: Nanos,
    /// HKDF-SHA256, both steps, 32 bytes out.
    pub(crate) hkdf: Nanos,
    pub(crate) agree: Nanos,
    pub(crate) dh_keygen: Nanos,
    pub(crate) verify: Nanos,
    /// ML-KEM-768 as the library is built: keygen, encaps, decaps.
    pub(crate) kem: [Nanos; 3],
    pub(crate) kem_rustcrypto: [Nanos; 3],
    pub(crate) kem_libcrux: [Nanos; 3],
    /// ChaCha20-Poly1305 as the library is built.
    pub(crate) aead_ours: Nanos,
}

/// Times `work` as often as makes a round long enough for the clock.
fn each<T>(effort: Effort, times: usize, mut work: impl FnMut() -> T) -> Nanos {
    let times = (times * effort.messages / Effort::FULL.messages).max(1);
    solo(effort, times, || {
        time(|| {
            for _ in 0..times {
                black_box(work());
            }
        })
    })
}

impl Floor {
    pub(crate) fn measure(effort: Effort) -> Self {
        let (key, nonce, aad) = ([3; 32], [0; 12], [1; 16]);
        let ours = Secret32::from_bytes(key);
        let (secret, theirs) = (StaticSecret::from([5; 32]), PublicKey::from(&StaticSecret::from([6; 32])));
        let signing = SigningKey::from_bytes(&key);
        let signature = signing.sign(&aad);
        Self {
            aead: each(effort, 2_000, || {
                let mut text = black_box([2; 100]);
                let cipher = ChaCha20Poly1305::new(black_box(&key).into());
                cipher.encrypt_inout_detached((&nonce).into(), &aad, text.as_mut_slice().into()).unwrap()
            }),
            aead_ours: each(effort, 2_000, || {
                let mut text = Vec::with_capacity(116);
                text.extend_from_slice(&black_box([2; 100]));
                aead::seal_in_place(black_box(&ours), &nonce, &aad, &mut text, 0);
                text
            }),
            hkdf: each(effort, 2_000, || {
                let mut okm = [0; 32];
                Hkdf::<Sha256>::new(Some(black_box(&key)), black_box(&key)).expand(&aad, &mut okm).unwrap();
                okm
            }),
            agree: each(effort, 100, || black_box(&secret).diffie_hellman(black_box(&theirs))),
            dh_keygen: each(effort, 100, || PublicKey::from(black_box(&secret))),
            verify: each(effort, 100, || signing.verifying_key().verify_strict(black_box(&aad), &signature).is_ok()),
            kem: kem_as_built(effort),
            kem_rustcrypto: kem_of_rustcrypto(effort),
            kem_libcrux: kem_of_libcrux(effort),
        }
    }

    /// The curve operations of a message and its answer in a ping-pong: each side draws a key and agrees twice.
    pub(crate) fn round_trip() -> impl FnMut() {
        let (secret, theirs) = (StaticSecret::from([5; 32]), PublicKey::from(&StaticSecret::from([6; 32])));
        move || {
            for _ in 0..2 {
                black_box(PublicKey::from(black_box(&secret)));
                black_box(black_box(&secret).diffie_hellman(black_box(&theirs)));
                black_box(black_box(&secret).diffie_hellman(black_box(&theirs)));
            }
        }
    }

    /// Of a handshake: so many agreements, DH keys, signatures verified, and KEM operations.
    pub(crate) fn sum(&self, agree: f64, dh_keygen: f64, verify: f64, kem: [f64; 3]) -> Nanos {
        let curve = agree * self.agree.0 + dh_keygen * self.dh_keygen.0 + verify * self.verify.0;
        let kem = kem.iter().zip(&self.kem).map(|(times, cost)| times * cost.0).sum::<f64>();
        Nanos(curve + kem)
    }
}

fn kem_as_built(effort: Effort) -> [Nanos; 3] {
    let rng = &mut rand::rng();
    let secret = KemSecret::random(rng);
    let public: KemPublic = secret.public();
    let (ciphertext, _) = public.encapsulate(rng).unwrap();
    [
        each(effort, 100, || KemSecret::random(rng)),
        each(effort, 100, || public.encapsulate(&mut rand::rng()).unwrap()),
        each(effort, 100, || secret.decapsulate(black_box(&ciphertext))),
    ]
}

fn kem_of_rustcrypto(effort: Effort) -> [Nanos; 3] {
    let (seed, message) = ([7; 64], [9; 32]);
    let key = DecapsulationKey::<MlKem768>::from_seed(Seed::from(seed));
    let public: [u8; 1_184] = key.encapsulation_key().to_bytes().into();
    let encapsulate = |public: &[u8]| {
        EncapsulationKey::<MlKem768>::new_from_slice(public).unwrap().encapsulate_deterministic(&B32::from(message))
    };
    let (ciphertext, _) = encapsulate(&public);
    [
        each(effort, 100, || DecapsulationKey::<MlKem768>::from_seed(Seed::from(black_box(seed)))),
        each(effort, 100, || encapsulate(black_box(&public))),
        each(effort, 100, || key.decapsulate(black_box(&ciphertext))),
    ]
}

fn kem_of_libcrux(effort: Effort) -> [Nanos; 3] {
    let (seed, message) = ([7; 64], [9; 32]);
    let pair = mlkem768::generate_key_pair(seed);
    let encapsulate = || {
        assert!(mlkem768::validate_public_key(black_box(pair.public_key())));
        mlkem768::encapsulate(pair.public_key(), message)
    };
    let (ciphertext, _) = encapsulate();
    [
        each(effort, 100, || mlkem768::generate_key_pair(black_box(seed))),
        each(effort, 100, encapsulate),
        each(effort, 100, || mlkem768::decapsulate(pair.private_key(), black_box(&ciphertext))),
    ]
}
