//! Parcels and their shell: what opens where, how long it is, and what the keys are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone::content::{Content, MessageId, MessageStatus, Status, StatusList, Typing, TypingCounter, TypingState};
use undertone::crypto::Secret32;
use undertone::envelope::padding::{BUCKET_LEN_MIN, bucket};
use undertone::envelope::parcel::BODY_LEN_MAX;
use undertone::envelope::shell::{self, ShellError};
use undertone::envelope::{
    ConversationId, DecodeError, DedupId, Delivered, Envelope, EpochEvidence, Evidence, Extensions, Frame, FrameKind,
    IfUnknown, LogKeys, LogOrder, LogRoot, OuterKey, Parcel, ParcelKind, SenderSeq,
};
use undertone::time::UnixMs;
use undertone_wire::frame::Class;
use undertone_wire::id::{EntryId, Generation, Head, LogId, Seq};
use undertone_wire::limits::{PARCEL_LEN_MAX, PAYLOAD_LEN_MAX, SHELL_OVERHEAD_LEN};

const LOG: LogId = LogId::from_bytes([7; 32]);
const ENTRY: EntryId = EntryId::from_bytes([8; 16]);
const GENERATION: Generation = Generation::from_u64(3);

// spec ENV-01
#[test]
fn keys_differ_by_purpose_generation_log_and_secret() {
    let secret = Secret32::from_bytes([1; 32]);
    let base = LogKeys::derive(&secret, LOG, GENERATION);
    let again = LogKeys::derive(&secret, LOG, GENERATION);
    assert_eq!(base.gate(), again.gate());
    assert!(base.outer == again.outer && base.ephemeral == again.ephemeral);

    let others = [
        LogKeys::derive(&secret, LOG, GENERATION.next()),
        LogKeys::derive(&secret, LogId::from_bytes([9; 32]), GENERATION),
        LogKeys::derive(&Secret32::from_bytes([2; 32]), LOG, GENERATION),
    ];
    let mut seeds = BTreeSet::new();
    for keys in others.iter().chain([&base]) {
        seeds.insert(*keys.read.to_seed().expose());
        seeds.insert(*keys.append.to_seed().expose());
        seeds.insert(*keys.outer.as_secret().expose());
        seeds.insert(*keys.ephemeral.as_secret().expose());
    }
    assert_eq!(seeds.len(), 16);
}

// spec ENV-02
#[test]
fn the_gate_holds_the_public_keys_only() {
    let keys = LogKeys::derive(&Secret32::from_bytes([1; 32]), LOG, GENERATION);
    assert_eq!(keys.gate().read, keys.read.verify_key());
    assert_eq!(keys.gate().append, keys.append.verify_key());
    assert!(format!("{keys:?}").contains("outer: OuterKey(…), ephemeral: EphemeralKey(…)"));
}

// spec ENV-03
#[test]
fn a_direct_log_is_named_by_its_first_secret_its_conversation_and_its_order() {
    let id = |secret: u8, conversation: u8, lists: u64, round: u32| {
        let root = LogRoot::of_first(&Secret32::from_bytes([secret; 32]));
        let (conversation, order) = (ConversationId::from_bytes([conversation; 32]), LogOrder { lists, round });
        let id = root.log_id(&conversation, order);
        assert_eq!(id, LogId::of_control_key(&root.control_key(&conversation, order).verify_key()));
        id
    };
    let ids = [id(1, 1, 2, 0), id(2, 1, 2, 0), id(1, 2, 2, 0), id(1, 1, 3, 0), id(1, 1, 2, 1)];
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    let (newer, later) = (LogOrder { lists: 3, round: 0 }, LogOrder { lists: 2, round: u32::MAX });
    assert!(newer > later, "newer lists outweigh any round");
}

// spec ENV-07
#[test]
fn a_sealed_parcel_opens_in_its_place() {
    let parcel = parcel(ParcelKind::GroupMessage, vec![1, 2, 3]);
    let sealed = seal(&parcel);
    assert_eq!(sealed.len(), BUCKET_LEN_MIN + SHELL_OVERHEAD_LEN);
    assert_eq!(open(&sealed), Ok(parcel));
}

// A-RE-14, spec ENV-07
#[test]
fn a_parcel_moved_to_another_log_generation_entry_or_class_is_refused() {
    let sealed = seal(&parcel(ParcelKind::DirectMessage, vec![1]));
    let other_log = LogId::from_bytes([6; 32]);
    let other_entry = EntryId::from_bytes([9; 16]);
    let moved = [
        shell::open(&key(), other_log, GENERATION, ENTRY, Class::Normal, &sealed),
        shell::open(&key(), LOG, GENERATION.next(), ENTRY, Class::Normal, &sealed),
        shell::open(&key(), LOG, GENERATION, other_entry, Class::Normal, &sealed),
        shell::open(&key(), LOG, GENERATION, ENTRY, Class::Control, &sealed),
        shell::open(
            &OuterKey::from_secret(Secret32::from_bytes([5; 32])),
            LOG,
            GENERATION,
            ENTRY,
            Class::Normal,
            &sealed,
        ),
    ];
    assert!(moved.iter().all(|result| *result == Err(ShellError::DoesNotOpen)));
}

// A-DM-16, spec ENV-07
#[test]
fn a_shell_with_any_byte_changed_cut_or_added_does_not_open() {
    let sealed = seal(&parcel(ParcelKind::DirectMessage, vec![1]));
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert_eq!(open(&changed), Err(ShellError::DoesNotOpen), "byte {index}");
        assert_eq!(open(&sealed[..index]), Err(ShellError::DoesNotOpen), "cut at {index}");
    }
    assert_eq!(open(&[sealed.as_slice(), &[0]].concat()), Err(ShellError::DoesNotOpen));
    assert_eq!(open(&[sealed.as_slice(), &sealed].concat()), Err(ShellError::DoesNotOpen));
    assert_eq!(open(&vec![0; PAYLOAD_LEN_MAX + 1]), Err(ShellError::DoesNotOpen));
}

#[test]
fn two_seals_of_one_parcel_share_no_nonce() {
    let parcel = parcel(ParcelKind::DirectMessage, vec![1]);
    let mut rng = StdRng::seed_from_u64(1);
    let mut seal = || shell::seal(&key(), LOG, GENERATION, ENTRY, Class::Normal, &parcel, &mut rng).unwrap();
    let (first, second) = (seal(), seal());
    assert_ne!(first[..24], second[..24]);
}

// spec ENV-05
#[test]
fn the_longest_body_fits_and_one_byte_more_does_not() {
    let longest = seal(&parcel(ParcelKind::GroupCommit, vec![0; BODY_LEN_MAX]));
    assert_eq!(longest.len(), PARCEL_LEN_MAX + SHELL_OVERHEAD_LEN);
    assert!(open(&longest).is_ok());
    let too_long = parcel(ParcelKind::GroupCommit, vec![0; BODY_LEN_MAX + 1]);
    let mut rng = StdRng::seed_from_u64(1);
    let sealed = shell::seal(&key(), LOG, GENERATION, ENTRY, Class::Normal, &too_long, &mut rng);
    assert_eq!(sealed, Err(ShellError::TooLong { body_len: BODY_LEN_MAX + 1 }));
}

// spec ENV-04
#[test]
fn parcels_of_other_versions_and_kinds_are_told_apart_from_garbage() {
    let bytes = parcel(ParcelKind::DirectTurn, vec![1]).encode();
    for version in [0, 2, 255] {
        let changed = with_byte(&bytes, 0, version);
        assert_eq!(Parcel::decode(&changed), Err(DecodeError::Version { version }));
    }
    for kind in [0, 6, 255] {
        let changed = with_byte(&bytes, 1, kind);
        assert_eq!(Parcel::decode(&changed), Err(DecodeError::Kind { kind: kind.into() }));
    }
}

// spec ENV-04
#[test]
fn a_malformed_parcel_is_an_error() {
    let bytes = parcel(ParcelKind::DirectTurn, vec![1]).encode();
    assert_eq!(Parcel::decode(&[]), Err(DecodeError::Malformed));
    for cut in 1..bytes.len() {
        assert_eq!(Parcel::decode(&bytes[..cut]), Err(DecodeError::Malformed), "cut at {cut}");
    }
    assert_eq!(Parcel::decode(&[bytes.as_slice(), &[0]].concat()), Err(DecodeError::Malformed), "trailing byte");
    assert_eq!(Parcel::decode(&[bytes.as_slice(), &bytes].concat()), Err(DecodeError::Malformed), "two glued");
    let non_minimal = [&bytes[..74], &[0x40, 1, 1]].concat();
    assert_eq!(Parcel::decode(&non_minimal), Err(DecodeError::Malformed), "non-minimal varint");
    let declared = [&bytes[..74], &[0xbf, 0xff, 0xff, 0xff, 1]].concat();
    assert_eq!(Parcel::decode(&declared), Err(DecodeError::Malformed), "declared length 2^30 - 1");
    let declared = [&bytes[..74], &[0xff; 8]].concat();
    assert_eq!(Parcel::decode(&declared), Err(DecodeError::Malformed), "declared length 2^62 - 1");
    assert!(matches!(Parcel::decode(&[1; PARCEL_LEN_MAX]), Err(DecodeError::TooLong { .. })));
}

// spec ENV-06
#[test]
fn evidence_is_bounded_and_has_no_epoch_in_directs() {
    let mut far = parcel(ParcelKind::GroupMessage, vec![]);
    far.evidence.seq = Seq::from_u64(u64::MAX);
    assert_eq!(Parcel::decode(&far.encode()), Err(DecodeError::Range { field: "evidence.seq" }));
    for kind in [ParcelKind::DirectMessage, ParcelKind::DirectTurn] {
        let mut direct = parcel(kind, vec![]);
        direct.evidence.epoch = EpochEvidence::from_bytes([1; 32]);
        assert_eq!(Parcel::decode(&direct.encode()), Err(DecodeError::Range { field: "evidence.epoch" }));
    }
}

// spec ENV-06
#[test]
fn evidence_enters_the_associated_data_as_72_bytes() {
    let epoch = EpochEvidence::from_bytes([2; 32]);
    let evidence = Evidence { seq: Seq::from_u64(0x0102), head: Head::from_bytes([1; 32]), epoch };
    let expected = [&[0, 0, 0, 0, 0, 0, 1, 2][..], &[1; 32], &[2; 32]].concat();
    assert_eq!(evidence.to_bytes().as_slice(), expected);
}

// spec ENV-08, spec ENV-09
#[test]
fn padding_other_than_zeros_to_the_bucket_is_refused() {
    use undertone::crypto::aead::seal_random;
    use undertone::crypto::label::{SHELL, transcript};

    let bytes = parcel(ParcelKind::DirectTurn, vec![1]).encode();
    let length = u32::try_from(bytes.len()).unwrap();
    let padded = |length: u32, padded_len: usize, last: u8| {
        let mut padded = [&length.to_be_bytes()[..], &bytes].concat();
        padded.resize(padded_len, 0);
        *padded.last_mut().unwrap() = last;
        let place = [LOG.as_bytes().as_slice(), &GENERATION.to_be_bytes(), ENTRY.as_bytes(), &[Class::Normal as u8]];
        let mut rng = StdRng::seed_from_u64(1);
        open(&seal_random(key().as_secret(), &transcript(SHELL, &place), &padded, &mut rng))
    };
    assert!(padded(length, BUCKET_LEN_MIN, 0).is_ok());
    let refused = Err(ShellError::Parcel(DecodeError::Range { field: "padding" }));
    assert_eq!(padded(length, BUCKET_LEN_MIN, 1), refused, "padding not zero");
    assert_eq!(padded(length, BUCKET_LEN_MIN - 1, 0), refused, "below the bucket");
    assert_eq!(padded(length, BUCKET_LEN_MIN + 1, 0), refused, "above the bucket");
    assert_eq!(padded(u32::MAX, BUCKET_LEN_MIN, 0), refused, "length past the end");
    assert_eq!(padded(length - 1, BUCKET_LEN_MIN, 0), refused, "length one less leaves a byte of the parcel");
    assert_eq!(padded(length + 1, BUCKET_LEN_MIN, 0), Err(ShellError::Parcel(DecodeError::Malformed)));
}

// Row EN-15, spec ENV-08
#[test]
fn lengths_on_the_wire_do_not_tell_what_is_said() {
    let mut rng = StdRng::seed_from_u64(1);
    let target = MessageId::from_bytes([1; 32]);
    let mut lens = BTreeSet::new();
    let mut add = |kind, body: Vec<u8>| {
        let envelope = envelope(Frame::new(kind, IfUnknown::Ignore, body)).encode();
        // What MLS adds to a message: its framing with a group id of 32 bytes, our evidence, a signature, a tag.
        for kind in [ParcelKind::DirectMessage, ParcelKind::GroupMessage] {
            let body = [envelope.as_slice(), &[0; 260]].concat();
            lens.insert(seal(&parcel(kind, body)).len());
        }
    };
    for text_len in [1, 10, 100, 300] {
        add(FrameKind::MESSAGE, Content::text(&"x".repeat(text_len), &mut rng).unwrap().encode().unwrap());
    }
    add(FrameKind::MESSAGE, Content::reaction(target, "👍", &mut rng).unwrap().encode().unwrap());
    add(FrameKind::MESSAGE, Content::delete(target, &mut rng).encode().unwrap());
    for count in [1, 5] {
        let statuses = vec![MessageStatus { message: target, status: Status::READ }; count];
        add(FrameKind::STATUS, StatusList::new(statuses).unwrap().encode());
    }
    let typing = Typing { state: TypingState::Typing, counter: TypingCounter::from_u64(1), topic: None };
    add(FrameKind::TYPING, typing.encode());
    assert_eq!(lens, BTreeSet::from([BUCKET_LEN_MIN + SHELL_OVERHEAD_LEN]));
}

// Row EN-15, spec ENV-08
#[test]
fn there_are_few_buckets_and_they_waste_little() {
    let buckets: BTreeSet<usize> = (1..=PARCEL_LEN_MAX).map(bucket).collect();
    assert_eq!(buckets.len(), 1 + 6 * 16, "the smallest, and 16 for each doubling up to 65 536");
    for bytes_len in BUCKET_LEN_MIN..=PARCEL_LEN_MAX {
        let padded_len = bucket(bytes_len);
        assert!(padded_len >= bytes_len && (padded_len - bytes_len) * 16 <= bytes_len, "{bytes_len}");
        assert_eq!(bucket(padded_len), padded_len);
    }
    assert_eq!(bucket(PARCEL_LEN_MAX), PARCEL_LEN_MAX);
}

proptest! {
    #[test]
    fn every_sealed_length_is_a_bucket(body in prop::collection::vec(any::<u8>(), 0..4_000)) {
        let sealed = seal(&parcel(ParcelKind::GroupMessage, body));
        let padded_len = sealed.len() - SHELL_OVERHEAD_LEN;
        prop_assert_eq!(bucket(padded_len), padded_len);
    }

    #[test]
    fn parcels_round_trip(kind in 1..=5u8, seq in 0..1u64 << 53, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = parcel(ParcelKind::GroupMessage, body).encode();
        bytes[1] = kind;
        bytes[2..10].copy_from_slice(&seq.to_be_bytes());
        bytes[42..74].fill(0);
        let decoded = Parcel::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.encode(), bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(parcel) = Parcel::decode(&bytes) {
            prop_assert_eq!(parcel.encode(), bytes.clone());
        }
        let _ = open(&bytes);
        let mut plausible = parcel(ParcelKind::GroupMessage, vec![]).encode();
        plausible.truncate(74);
        plausible.extend_from_slice(&bytes);
        if let Ok(parcel) = Parcel::decode(&plausible) {
            prop_assert_eq!(parcel.encode(), plausible);
        }
    }
}

fn key() -> OuterKey {
    OuterKey::from_secret(Secret32::from_bytes([4; 32]))
}

fn parcel(kind: ParcelKind, body: Vec<u8>) -> Parcel {
    let evidence = Evidence { seq: Seq::from_u64(2), head: Head::from_bytes([1; 32]), epoch: EpochEvidence::NONE };
    Parcel { kind, evidence, body }
}

fn seal(parcel: &Parcel) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(1);
    shell::seal(&key(), LOG, GENERATION, ENTRY, Class::Normal, parcel, &mut rng).unwrap()
}

fn open(payload: &[u8]) -> Result<Parcel, ShellError> {
    shell::open(&key(), LOG, GENERATION, ENTRY, Class::Normal, payload)
}

fn envelope(frame: Frame) -> Envelope {
    Envelope {
        dedup: DedupId::from_bytes([1; 16]),
        seq: SenderSeq::FIRST,
        sent_ms: UnixMs::from_u64(1),
        delivered: Delivered::new(Seq::from_u64(9), [Seq::from_u64(4)]),
        frame,
        extensions: Extensions::NONE,
    }
}

fn with_byte(bytes: &[u8], index: usize, byte: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index] = byte;
    bytes
}
