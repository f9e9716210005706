//! Ephemeral traffic: sizes, places, signatures, freshness.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone::crypto::Secret32;
use undertone::crypto::sign::SigningKey;
use undertone::envelope::ephemeral::{
    self, Ephemeral, EphemeralCounter, EphemeralError, EphemeralTrack, Freshness, Signing, UnverifiedEphemeral,
};
use undertone::envelope::{DecodeError, EphemeralKey, Frame, FrameKind, IfUnknown};
use undertone::identity::DeviceId;
use undertone::time::UnixMs;
use undertone_wire::id::{Generation, LogId};
use undertone_wire::limits::EPHEMERAL_LEN_MAX;

const LOG: LogId = LogId::from_bytes([1; 32]);
const GENERATION: Generation = Generation::from_u64(2);
const DEVICE: DeviceId = DeviceId::from_bytes([3; 32]);

/// The longest bodies of a frame that fit into 256 and 1 024 bytes, signed.
const SHORT_BODY_MAX: usize = 256 - 4 - 2 - (1 + 32 + 8 + 8) - 4 - 2 - 65;
const LONG_BODY_MAX: usize = 1_024 - 4 - 2 - (1 + 32 + 8 + 8) - 4 - 2 - 65;

// Row EN-15, spec ENV-38
#[test]
fn a_payload_has_one_of_two_sizes() {
    for body_len in 0..=LONG_BODY_MAX {
        let padded_len = if body_len <= SHORT_BODY_MAX { 256 } else { 1_024 };
        let sealed = seal_signed(&said(1, 1, body_len)).unwrap();
        assert_eq!(sealed.len(), padded_len + 40, "{body_len}");
        assert!(sealed.len() <= EPHEMERAL_LEN_MAX);
    }
    assert_eq!(seal_signed(&said(1, 1, LONG_BODY_MAX + 1)), Err(EphemeralError::TooLong));
    assert!(matches!(open(&vec![0; EPHEMERAL_LEN_MAX + 1]), Err(EphemeralError::DoesNotOpen)));
}

// spec ENV-38
#[test]
fn other_sizes_and_paddings_are_refused() {
    let padded = padded(&said(1, 1, 0), 256);
    assert!(decode(&padded).is_ok());
    let refused = Err(DecodeError::Range { field: "padding" });
    let mut dirty = padded.clone();
    dirty[255] = 1;
    let larger = [&padded[..], &[0; 768]].concat();
    for bytes in [&dirty[..], &larger, &padded[..255], &[], &[0; 3], &[0xff; 256]] {
        assert_eq!(decode(bytes), refused);
    }
}

// A-RE-14, spec ENV-39
#[test]
fn a_payload_moved_to_another_log_or_generation_does_not_open() {
    let sealed = seal_signed(&said(1, 1, 3)).unwrap();
    assert!(open(&sealed).is_ok());
    let moved = [
        ephemeral::open(&key(4), LogId::from_bytes([9; 32]), GENERATION, &sealed),
        ephemeral::open(&key(4), LOG, GENERATION.next(), &sealed),
        ephemeral::open(&key(5), LOG, GENERATION, &sealed),
    ];
    assert!(moved.into_iter().all(|result| matches!(result, Err(EphemeralError::DoesNotOpen))));
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert!(matches!(open(&changed), Err(EphemeralError::DoesNotOpen)), "byte {index}");
        assert!(matches!(open(&sealed[..index]), Err(EphemeralError::DoesNotOpen)), "cut at {index}");
    }
}

// spec ENV-40
#[test]
fn a_group_takes_only_what_the_device_signed_for_this_log_and_generation() {
    let message = said(1, 1, 3);
    let sealed = seal_signed(&message).unwrap();
    let opened = open(&sealed).unwrap();
    assert_eq!(opened.device(), DEVICE);
    assert_eq!(opened.verify(&signer(6).verify_key()), Ok(message.clone()));

    let by_another = open(&sealed).unwrap().verify(&signer(7).verify_key());
    assert_eq!(by_another, Err(EphemeralError::BadSignature));
    let unsigned = open(&seal(&message, Signing::Unsigned).unwrap()).unwrap();
    assert_eq!(unsigned.verify(&signer(6).verify_key()), Err(EphemeralError::BadSignature));

    // A member holds the keys of both generations and moves what another signed.
    let mut rng = StdRng::seed_from_u64(1);
    let device = signer(6);
    let next = Generation::from_u64(3);
    let signed = ephemeral::seal(&key(4), LOG, next, &message, Signing::By(&device), &mut rng).unwrap();
    assert!(ephemeral::open(&key(4), LOG, next, &signed).unwrap().verify(&device.verify_key()).is_ok());
    let plaintext = signed_padded(&message, next);
    let moved = UnverifiedEphemeral::decode(LOG, GENERATION, &plaintext).unwrap();
    assert_eq!(moved.verify(&device.verify_key()), Err(EphemeralError::BadSignature));
    let kept = UnverifiedEphemeral::decode(LOG, next, &plaintext).unwrap();
    assert_eq!(kept.verify(&device.verify_key()), Ok(message));
}

// spec ENV-41
#[test]
fn a_direct_conversation_takes_only_what_is_unsigned() {
    let message = said(1, 1, 3);
    let unsigned = open(&seal(&message, Signing::Unsigned).unwrap()).unwrap();
    assert_eq!(unsigned.unsigned(), Ok(message.clone()));
    assert_eq!(open(&seal_signed(&message).unwrap()).unwrap().unsigned(), Err(EphemeralError::Signed));
}

// Row EN-10, spec ENV-42
#[test]
fn what_is_older_or_the_same_is_dropped() {
    let mut track = EphemeralTrack::default();
    let now = UnixMs::from_u64(1_000);
    let mut accept = |session, counter| track.accept(&said(session, counter, 0), now);
    assert_eq!(accept(10, 5), Freshness::Fresh);
    for (session, counter) in [(10, 5), (10, 4), (9, 6)] {
        assert_eq!(accept(session, counter), Freshness::Stale, "{session}, {counter}");
    }
    assert_eq!(accept(10, 6), Freshness::Fresh);
    assert_eq!(accept(11, 1), Freshness::Fresh, "a new run counts from 1");
    let other = Ephemeral { device: DeviceId::from_bytes([9; 32]), ..said(1, 1, 0) };
    assert_eq!(track.accept(&other, now), Freshness::Fresh, "each device counts for itself");
}

// Row EN-10, spec ENV-43
#[test]
fn what_was_said_is_over_after_its_time() {
    let mut track = EphemeralTrack::default();
    let (came, ttl) = (UnixMs::from_u64(1_000), Duration::from_secs(6));
    assert!(!track.is_live(&DEVICE, came, ttl));
    assert_eq!(track.accept(&said(253_402_300_799_999, 1, 0), came), Freshness::Fresh);
    assert!(track.is_live(&DEVICE, UnixMs::from_u64(6_999), ttl));
    assert!(!track.is_live(&DEVICE, UnixMs::from_u64(7_000), ttl), "the sender's clock does not matter");
}

// A-FL-01
#[test]
fn the_track_is_bounded() {
    let mut track = EphemeralTrack::default();
    let mut accept = |number: u16| {
        let mut device = [0; 32];
        device[..2].copy_from_slice(&number.to_be_bytes());
        track.accept(&Ephemeral { device: DeviceId::from_bytes(device), ..said(1, 1, 0) }, UnixMs::from_u64(1))
    };
    assert!((0..1_000).all(|number| accept(number) == Freshness::Fresh));
    assert_eq!(accept(1_000), Freshness::Stale);
}

// spec ENV-42, spec ENV-70, spec ENV-71
#[test]
fn what_is_spoken_is_checked() {
    let spoken = spoken(&said(1, 1, 2));
    assert_eq!(Ephemeral::decode(&spoken), Ok(said(1, 1, 2)));
    for cut in 0..spoken.len() {
        assert_eq!(Ephemeral::decode(&spoken[..cut]), Err(DecodeError::Malformed));
    }
    assert_eq!(Ephemeral::decode(&[&spoken[..], &[0]].concat()), Err(DecodeError::Malformed));
    let patched = |at: usize, bytes: &[u8]| {
        let mut changed = spoken.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        Ephemeral::decode(&changed)
    };
    for version in [0, 2, 255] {
        assert_eq!(patched(0, &[version]), Err(DecodeError::Version { version }));
    }
    assert_eq!(patched(33, &[0; 8]), Err(DecodeError::Range { field: "session_start_ms" }));
    assert_eq!(patched(33, &[0xff; 8]), Err(DecodeError::Range { field: "session_start_ms" }));
    assert_eq!(patched(41, &[0; 8]), Err(DecodeError::Range { field: "counter" }));
    assert_eq!(patched(41, &[0xff; 8]), Err(DecodeError::Range { field: "counter" }));
    assert_eq!(patched(52, &[0xf0]), Err(DecodeError::Range { field: "frame.flags" }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..250), padded_len in 250..260usize) {
        let mut padded = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        padded.extend_from_slice(&bytes);
        padded.resize(padded.len().max(padded_len), 0);
        let _ = UnverifiedEphemeral::decode(LOG, GENERATION, &padded);
        let _ = Ephemeral::decode(&bytes);
        let _ = open(&bytes);
    }

    #[test]
    fn messages_round_trip(session in 1..253_402_300_800_000u64, counter in 1..=1u64 << 53, body_len in 0..800usize) {
        let message = said(session, counter, body_len);
        let opened = open(&seal_signed(&message).unwrap()).unwrap();
        prop_assert_eq!(opened.verify(&signer(6).verify_key()), Ok(message));
    }
}

fn key(seed: u8) -> EphemeralKey {
    EphemeralKey::from_secret(Secret32::from_bytes([seed; 32]))
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Secret32::from_bytes([seed; 32]))
}

fn said(session_start_ms: u64, counter: u64, body_len: usize) -> Ephemeral {
    Ephemeral {
        device: DEVICE,
        session_start_ms: UnixMs::from_u64(session_start_ms),
        counter: EphemeralCounter::from_u64(counter),
        frame: Frame::new(FrameKind::TYPING, IfUnknown::Ignore, vec![7; body_len]),
    }
}

fn seal(message: &Ephemeral, signing: Signing<'_>) -> Result<Vec<u8>, EphemeralError> {
    ephemeral::seal(&key(4), LOG, GENERATION, message, signing, &mut StdRng::seed_from_u64(1))
}

fn seal_signed(message: &Ephemeral) -> Result<Vec<u8>, EphemeralError> {
    seal(message, Signing::By(&signer(6)))
}

fn open(payload: &[u8]) -> Result<UnverifiedEphemeral, EphemeralError> {
    ephemeral::open(&key(4), LOG, GENERATION, payload)
}

fn decode(padded: &[u8]) -> Result<(), DecodeError> {
    UnverifiedEphemeral::decode(LOG, GENERATION, padded).map(|_| ())
}

/// What the byte map of spec/envelope says, written a second time.
fn spoken(message: &Ephemeral) -> Vec<u8> {
    let counter = message.counter.as_u64().to_be_bytes();
    let session = message.session_start_ms.as_u64().to_be_bytes();
    [&[1][..], message.device.as_bytes(), &session, &counter, &message.frame.encode()].concat()
}

fn padded(message: &Ephemeral, padded_len: usize) -> Vec<u8> {
    let spoken = spoken(message);
    pad(&[&[u8::try_from(spoken.len()).unwrap()], &spoken[..], &[0]].concat(), padded_len)
}

fn signed_padded(message: &Ephemeral, generation: Generation) -> Vec<u8> {
    use undertone::crypto::label::EPHEMERAL_SIGNATURE;
    let spoken = spoken(message);
    let fields: [&[u8]; 3] = [LOG.as_bytes(), &generation.to_be_bytes(), &spoken];
    let signature = signer(6).sign(EPHEMERAL_SIGNATURE, &fields);
    pad(&[&[u8::try_from(spoken.len()).unwrap()], &spoken[..], &[1], signature.as_bytes()].concat(), 256)
}

fn pad(message: &[u8], padded_len: usize) -> Vec<u8> {
    let mut padded = [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    padded.resize(padded_len, 0);
    padded
}
