//! Envelopes, frames, extensions, receipts: round trips, bounds, and what an unknown number does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use undertone::content::CONTENT_LEN_MAX;
use undertone::envelope::extension::{EXTENSION_LEN_MAX, EXTENSIONS_MAX, is_grease};
use undertone::envelope::receipts::MISSING_MAX;
use undertone::envelope::{
    DecodeError, DedupId, Delivered, Envelope, Extension, Extensions, Frame, FrameKind, IfUnknown, ReceiptState,
    SenderSeq,
};
use undertone::time::UnixMs;
use undertone_wire::id::Seq;

/// Where the fields of [`plain`] stand: the byte map of spec/envelope.
const DEDUP_AT: usize = 1;
const SEQ_AT: usize = 17;
const SENT_AT: usize = 25;
const THROUGH_AT: usize = 33;
const MISSING_AT: usize = 41;
const FRAME_AT: usize = 58;

#[test]
fn an_envelope_has_the_bytes_of_the_spec() {
    let expected = [
        &[1][..],
        &[0xd; 16],
        &[0, 0, 0, 0, 0, 0, 0, 5],
        &[0, 0, 0, 0, 0, 0, 0x10, 0],
        &[0, 0, 0, 0, 0, 0, 0, 9],
        &[16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4],
        &[1, 0, 1, 0b0100, 2, 0xaa, 0xbb],
        &[0],
    ]
    .concat();
    assert_eq!(plain().encode(), expected);
    assert_eq!(Envelope::decode(&expected), Ok(plain()));
}

// spec ENV-70
#[test]
fn other_versions_are_told_apart_from_garbage() {
    for version in [0, 2, 255] {
        let refused = Err(DecodeError::Version { version });
        assert_eq!(Envelope::decode(&patched(0, &[version])), refused);
        assert_eq!(Envelope::decode(&patched(FRAME_AT, &[version])), refused);
        assert_eq!(Frame::decode(&[version, 0, 1, 0, 0]).map(|_| ()), Err(DecodeError::Version { version }));
    }
}

// spec ENV-71
#[test]
fn a_malformed_envelope_is_an_error() {
    let bytes = plain().encode();
    for cut in 0..bytes.len() {
        assert_eq!(Envelope::decode(&bytes[..cut]), Err(DecodeError::Malformed), "cut at {cut}");
    }
    assert_eq!(Envelope::decode(&[bytes.as_slice(), &[0]].concat()), Err(DecodeError::Malformed), "trailing byte");
    assert_eq!(Envelope::decode(&[bytes.as_slice(), &bytes].concat()), Err(DecodeError::Malformed), "two glued");
    let tail = &bytes[MISSING_AT + 1..];
    let non_minimal = [&bytes[..MISSING_AT], &[0x40, 16], tail].concat();
    assert_eq!(Envelope::decode(&non_minimal), Err(DecodeError::Malformed), "non-minimal varint");
    for len in [15, 17, 0x3f] {
        assert!(Envelope::decode(&patched(MISSING_AT, &[len])).is_err(), "length {len}");
    }
    let huge = [&bytes[..MISSING_AT], &[0xbf, 0xff, 0xff, 0xff], tail].concat();
    assert_eq!(Envelope::decode(&huge), Err(DecodeError::Malformed), "declared length 2^30 - 1");
    assert!(matches!(Envelope::decode(&[1; 70_000]), Err(DecodeError::TooLong { .. })));
}

// spec ENV-14
#[test]
fn ids_and_numbers_out_of_range_are_refused() {
    assert_eq!(Envelope::decode(&patched(DEDUP_AT, &[0; 16])), range("dedup"));
    for seq in [0, (1 << 53) + 1, u64::MAX] {
        assert_eq!(Envelope::decode(&patched(SEQ_AT, &seq.to_be_bytes())), range("seq"));
    }
    assert!(Envelope::decode(&patched(SEQ_AT, &(1u64 << 53).to_be_bytes())).is_ok());
}

// spec ENV-15
#[test]
fn a_time_of_zero_or_in_the_year_10000_is_refused() {
    for sent in [0, 253_402_300_800_000, u64::MAX] {
        assert_eq!(Envelope::decode(&patched(SENT_AT, &sent.to_be_bytes())), range("sent_ms"));
    }
    assert!(Envelope::decode(&patched(SENT_AT, &253_402_300_799_999u64.to_be_bytes())).is_ok());
}

// spec ENV-16
#[test]
fn missing_entries_rise_within_what_is_reported() {
    let missing = |first: u64, second: u64| {
        Envelope::decode(&patched(MISSING_AT + 1, &[first.to_be_bytes(), second.to_be_bytes()].concat()))
    };
    assert!(missing(1, 9).is_ok());
    for (first, second) in [(2, 2), (4, 2), (0, 4), (2, 10), (2, u64::MAX)] {
        assert_eq!(missing(first, second), range("delivered.missing"), "{first}, {second}");
    }
    assert_eq!(Envelope::decode(&patched(THROUGH_AT, &u64::MAX.to_be_bytes())), range("delivered.through"));
    let bytes = plain().encode();
    let many: Vec<u8> = (1..=65u64).flat_map(u64::to_be_bytes).collect();
    let many = [&bytes[..THROUGH_AT], &99u64.to_be_bytes(), &[0x42, 0x08], &many, &bytes[FRAME_AT..]].concat();
    assert_eq!(Envelope::decode(&many), range("delivered.missing"));
}

// spec ENV-11
#[test]
fn extensions_out_of_order_or_twice_are_refused() {
    for types in [[1, 1], [2, 1]] {
        let list = types.map(|kind| [0, kind, 0]).concat();
        assert_eq!(Envelope::decode(&with_extensions(&list)), range("extension.type"), "{types:?}");
    }
    let mut list = Extensions::NONE;
    list.insert(extension(7)).unwrap();
    list.insert(extension(3)).unwrap();
    list.insert(Extension { kind: 7, data: vec![1] }).unwrap();
    assert_eq!(list.iter().map(|extension| extension.kind).collect::<Vec<_>>(), [3, 7]);
    assert_eq!((list.find(7), list.find(5)), (Some(&[1][..]), None));
}

// spec ENV-12, spec ENV-17
#[test]
fn an_unknown_critical_extension_is_refused_by_its_number() {
    for kind in [0x8000, 0x8a8a, 0xffff] {
        let envelope = Envelope { extensions: list([1, kind]), ..plain() };
        assert_eq!(Envelope::decode(&envelope.encode()), Err(DecodeError::CriticalExtension { kind }));
    }
}

// spec ENV-13
#[test]
fn other_unknown_extensions_and_grease_are_kept() {
    let grease: Vec<u16> = (0..=u16::MAX).filter(|number| is_grease(*number)).collect();
    assert_eq!(grease, [0x0a0a, 0x1a1a, 0x2a2a, 0x3a3a, 0x4a4a, 0x5a5a, 0x6a6a, 0x7a7a]);
    let envelope = Envelope { extensions: list(grease.into_iter().chain([1, 0x7fff])), ..plain() };
    assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
}

#[test]
fn extensions_are_bounded() {
    let mut full = list(0..EXTENSIONS_MAX as u16);
    assert_eq!(full.insert(extension(0x100)), Err(DecodeError::Range { field: "extensions" }));
    let too_long = Extension { kind: 1, data: vec![0; EXTENSION_LEN_MAX + 1] };
    assert_eq!(full.insert(too_long), Err(DecodeError::Range { field: "extension.data" }));
    let many: Vec<u8> = (0..=EXTENSIONS_MAX as u8).flat_map(|kind| [0, kind, 0]).collect();
    assert_eq!(Envelope::decode(&with_extensions(&many)), range("extensions"));
}

// spec ENV-18
#[test]
fn a_body_past_the_bound_is_refused() {
    let frame = |len| Frame::new(FrameKind::MESSAGE, IfUnknown::Ignore, vec![0; len]);
    let longest = Envelope { frame: frame(CONTENT_LEN_MAX), ..plain() };
    assert_eq!(Envelope::decode(&longest.encode()), Ok(longest));
    let longer = Envelope { frame: frame(CONTENT_LEN_MAX + 1), ..plain() };
    assert_eq!(Envelope::decode(&longer.encode()), range("frame.body"));
    assert!(Frame::decode(&frame(CONTENT_LEN_MAX + 1).encode()).is_err());
}

// spec ENV-19, spec ENV-20
#[test]
fn misplaced_kinds_reserved_flags_and_compression_are_refused() {
    for kind in [0u8, 13] {
        assert_eq!(Frame::decode(&[1, 0, kind, 0, 0]), range_of("frame.kind"));
    }
    for bit in 4..8 {
        assert_eq!(Frame::decode(&[1, 0, 1, 1 << bit, 0]), range_of("frame.flags"));
    }
    for compression in 1..=3 {
        assert_eq!(Frame::decode(&[1, 0, 1, compression, 0]), range_of("frame.compression"));
    }
}

// spec ENV-21, spec ENV-22
#[test]
fn an_unknown_kind_is_decoded_and_says_what_to_do() {
    let answers = [IfUnknown::Ignore, IfUnknown::ShowFallback, IfUnknown::Keep, IfUnknown::TellSender];
    for (kind, is_app) in
        [(0x0a0a, false), (0x7a7a, false), (14, false), (0x3fff, false), (0x4000, true), (0xffff, true)]
    {
        for if_unknown in answers {
            let frame = Frame::new(FrameKind::from_u16(kind), if_unknown, vec![1]);
            let decoded = Frame::decode(&frame.encode()).unwrap();
            assert_eq!((decoded.kind().as_u16(), decoded.if_unknown()), (kind, if_unknown));
            assert_eq!((decoded.kind().is_known(), decoded.kind().is_app()), (false, is_app));
        }
    }
    assert!(FrameKind::from_u16(0x4a4a).is_grease());
    assert!(FrameKind::MESSAGE.is_known());
}

// Row EN-04, spec ENV-23
#[test]
fn a_receipt_state_never_regresses() {
    use ReceiptState::{Delivered, Pending, Read, Sent};
    let states = [Pending, Sent, Delivered, Read];
    for (before, state) in states.into_iter().enumerate() {
        for (reported, report) in states.into_iter().enumerate() {
            assert_eq!(state.advance(report), states[before.max(reported)]);
        }
    }
}

// spec ENV-25
#[test]
fn a_report_with_too_many_missing_ends_before_the_first_untold() {
    let missing: Vec<Seq> = (1..=100).map(|half| Seq::from_u64(half * 2)).collect();
    let report = Delivered::new(Seq::from_u64(1_000), missing);
    assert_eq!(report.missing().len(), MISSING_MAX);
    assert_eq!(report.through(), Seq::from_u64(129));
    assert!(report.covers(Seq::from_u64(129)) && !report.covers(Seq::from_u64(130)));
}

proptest! {
    #[test]
    fn envelopes_round_trip(envelope in arb_envelope()) {
        prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }

    // spec ENV-71
    #[test]
    fn arbitrary_bytes_never_panic_and_have_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..80usize) {
        let start = plain().encode();
        let behind_a_start = [&start[..at.min(start.len())], &bytes].concat();
        for bytes in [bytes, behind_a_start] {
            if let Ok(envelope) = Envelope::decode(&bytes) {
                prop_assert_eq!(envelope.encode(), bytes.clone());
            }
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }
    }

    // spec ENV-24
    #[test]
    fn merged_reports_cover_what_either_covers(one in arb_delivered(), other in arb_delivered()) {
        let merged = one.merge(&other);
        for seq in (0..200).map(Seq::from_u64) {
            prop_assert_eq!(merged.covers(seq), one.covers(seq) || other.covers(seq), "{}", seq);
        }
        prop_assert_eq!(other.merge(&one), merged);
    }
}

fn arb_delivered() -> impl Strategy<Value = Delivered> {
    (0..150u64, prop::collection::vec(0..150u64, 0..40))
        .prop_map(|(through, missing)| Delivered::new(Seq::from_u64(through), missing.into_iter().map(Seq::from_u64)))
}

fn arb_envelope() -> impl Strategy<Value = Envelope> {
    let frame = (1..13u16, 0..4usize, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, answer, body)| {
        let answers = [IfUnknown::Ignore, IfUnknown::ShowFallback, IfUnknown::Keep, IfUnknown::TellSender];
        Frame::new(FrameKind::from_u16(kind), answers[answer], body)
    });
    let extensions = prop::collection::btree_set(0..0x8000u16, 0..5).prop_map(list);
    let ids = (any::<[u8; 16]>(), 1..=1u64 << 53, 1..253_402_300_800_000u64);
    (ids, arb_delivered(), frame, extensions).prop_map(|((mut dedup, seq, sent), delivered, frame, extensions)| {
        dedup[0] |= 1;
        Envelope {
            dedup: DedupId::from_bytes(dedup),
            seq: SenderSeq::from_u64(seq),
            sent_ms: UnixMs::from_u64(sent),
            delivered,
            frame,
            extensions,
        }
    })
}

fn plain() -> Envelope {
    Envelope {
        dedup: DedupId::from_bytes([0xd; 16]),
        seq: SenderSeq::from_u64(5),
        sent_ms: UnixMs::from_u64(0x1000),
        delivered: Delivered::new(Seq::from_u64(9), [Seq::from_u64(4), Seq::from_u64(2)]),
        frame: Frame::new(FrameKind::MESSAGE, IfUnknown::ShowFallback, vec![0xaa, 0xbb]),
        extensions: Extensions::NONE,
    }
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut envelope = plain().encode();
    envelope[at..at + bytes.len()].copy_from_slice(bytes);
    envelope
}

fn with_extensions(list: &[u8]) -> Vec<u8> {
    let mut bytes = plain().encode();
    bytes.pop();
    assert!(list.len() < 1 << 14);
    if list.len() < 64 {
        bytes.push(list.len() as u8);
    } else {
        bytes.extend_from_slice(&(list.len() as u16 | 0x4000).to_be_bytes());
    }
    [bytes.as_slice(), list].concat()
}

fn list(kinds: impl IntoIterator<Item = u16>) -> Extensions {
    let mut list = Extensions::NONE;
    kinds.into_iter().for_each(|kind| list.insert(extension(kind)).unwrap());
    list
}

fn extension(kind: u16) -> Extension {
    Extension { kind, data: kind.to_be_bytes().to_vec() }
}

fn range(field: &'static str) -> Result<Envelope, DecodeError> {
    Err(DecodeError::Range { field })
}

fn range_of(field: &'static str) -> Result<Frame, DecodeError> {
    Err(DecodeError::Range { field })
}
