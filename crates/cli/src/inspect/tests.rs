//! Every kind of frame is explained to its last byte, and no input panics.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use undertone_wire::VLBytes;
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right};
use undertone_wire::id::*;
use undertone_wire::refusal::Refusal;

use super::*;

const LOG: LogId = LogId::from_bytes([1; 32]);
const KEY: VerifyKey = VerifyKey::from_bytes([2; 32]);
const GATE: Gate = Gate { read: KEY, append: KEY };
const SIGNATURE: Signature = Signature::from_bytes([3; 64]);
const ENTRY: EntryId = EntryId::from_bytes([4; 16]);
const GENERATION: Generation = Generation::from_u64(7);
const HASH: PayloadHash = PayloadHash::from_bytes([5; 32]);

fn payload(len: usize) -> VLBytes {
    vec![0x55; len].into()
}

fn requests() -> Vec<Request> {
    let entry = |turn| NewEntry { id: ENTRY, class: Class::Normal, ttl_s: 0, payload: payload(200), turn };
    let tokens = vec![LaneToken { lane: Lane::Knock, token: InboxTokenHash::from_bytes([6; 32]) }];
    vec![
        Request::Create(Create { log: LOG, control: KEY, gate: GATE }),
        Request::Prove {
            proofs: vec![Proof { log: LOG, generation: GENERATION, right: Right::Read, signature: SIGNATURE }; 3],
        },
        Request::Subscribe { log: LOG, from: Seq::FIRST },
        Request::Unsubscribe { log: LOG },
        Request::Append(Append { log: LOG, generation: GENERATION, entries: vec![entry(None), entry(Some(GATE))] }),
        Request::Read { log: LOG, from: Seq::FIRST, limit: 9 },
        Request::Ephemeral { log: LOG, generation: GENERATION, payload: payload(296) },
        Request::Publish(Publish {
            owner: KEY,
            kind: SlotKind::KeyPackages,
            version: 3,
            body: payload(70),
            items: vec![payload(100), payload(20_000 / 2)],
            signature: SIGNATURE,
        }),
        Request::Take {
            slot: SlotId::from_bytes([7; 32]),
            kind: SlotKind::DeviceList,
            take: TakeId::from_bytes([8; 16]),
        },
        Request::OpenInbox(OpenInbox { owner: KEY, tokens, signature: SIGNATURE }),
        Request::Deposit(Deposit {
            log: LOG,
            token: InboxToken::from_bytes([0xee; 32]),
            id: ENTRY,
            payload: payload(1_500),
        }),
        Request::AckInbox { log: LOG, through: Seq::FIRST },
    ]
}

fn frames() -> Vec<RelayFrame> {
    let entry = |content, turn| Entry {
        seq: Seq::FIRST,
        generation: GENERATION,
        class: Class::Control,
        id: ENTRY,
        accepted_ms: 1,
        turn,
        content,
    };
    let entries = vec![entry(EntryContent::Payload(payload(300)), Some(GATE)), entry(EntryContent::Stub(HASH), None)];
    let place = Place { seq: Seq::FIRST, generation: GENERATION, payload: HASH, duplicate: Presence::New };
    let result = ProofResult { verdict: ProofVerdict::Stale, generation: GENERATION, last: Seq::FIRST };
    let refusals = vec![
        Refusal::Malformed,
        Refusal::Stale { generation: GENERATION, turned_at: Seq::FIRST },
        Refusal::VersionConflict { version: 4 },
        Refusal::RateLimited { retry_after_ms: 5 },
        Refusal::Quota { retry_after_ms: 5 },
        Refusal::Trimmed { first_seq: Seq::FIRST, head: Head::from_bytes([9; 32]) },
        Refusal::Draining { retry_after_ms: 5 },
        Refusal::Unavailable { retry_after_ms: 5 },
    ];
    let taken = |item| Reply::Taken(Taken { version: 1, body: payload(64), item });
    let replies = vec![
        Reply::Done,
        Reply::Proven { results: vec![result; 2] },
        Reply::Appended { places: vec![place; 2] },
        Reply::Page { entries: entries.clone() },
        Reply::Published { version: 1, items_left: 2 },
        taken(None),
        taken(Some(payload(63))),
    ];
    let replies = replies.into_iter().chain(refusals.iter().cloned().map(Reply::Refused));
    let mut frames: Vec<RelayFrame> =
        replies.map(|reply| RelayFrame::Reply { request: RequestId::from_u64(9), reply }).collect();
    frames.extend(refusals.into_iter().map(|reason| RelayFrame::Ended { log: LOG, reason }));
    frames.extend([
        RelayFrame::Hello(Hello {
            server: ServerId::from_bytes([1; 32]),
            nonce: ConnectionNonce::from_bytes([2; 32]),
            incarnation: Incarnation::from_bytes([3; 16]),
            now_ms: 4,
        }),
        RelayFrame::Entries { log: LOG, entries },
        RelayFrame::Turned { log: LOG, generation: GENERATION, seq: Seq::FIRST },
        RelayFrame::Ephemeral { log: LOG, generation: GENERATION, payload: payload(30) },
        RelayFrame::Draining { retry_after_ms: 4 },
    ]);
    frames
}

/// The fields of an explanation stand one behind the other, and leave nothing out.
fn check_whole(explanation: &Explanation) {
    let mut at = 0;
    for field in &explanation.fields {
        assert_eq!(field.at, at, "{explanation}");
        at += field.len;
    }
    assert_eq!(at, explanation.len, "{explanation}");
}

#[test]
fn every_request_is_explained_to_its_last_byte() {
    for body in requests() {
        let frame = ClientFrame { request: RequestId::from_u64(0x0102_0304), body };
        let explanation = explain(&HEXLOWER.encode(&frame.encode()), None).unwrap();
        assert_eq!(explanation.kind, Kind::Client, "{frame:?}");
        check_whole(&explanation);
    }
}

#[test]
fn every_frame_of_the_relay_is_explained_to_its_last_byte() {
    for frame in frames() {
        let explanation = explain(&HEXLOWER.encode(&frame.encode()), Some(Kind::Relay)).unwrap();
        check_whole(&explanation);
    }
}

#[test]
fn a_bearer_token_is_not_shown() {
    let frames = requests().into_iter().map(|body| ClientFrame { request: RequestId::from_u64(1), body });
    for frame in frames {
        let explanation = explain(&HEXLOWER.encode(&frame.encode()), None).unwrap();
        assert!(!explanation.to_string().contains("eeeeee"), "{explanation}");
        assert!(!explanation.to_json().to_string().contains("eeeeee"));
    }
}

#[test]
fn a_payload_says_where_it_is_sealed_and_nothing_else() {
    let explanation = explain(&"ab".repeat(600), None).unwrap();
    assert_eq!(explanation.kind, Kind::Payload);
    check_whole(&explanation);
    assert!(explanation.to_string().contains("only members hold the key"));
}

#[test]
fn what_cannot_be_explained_says_why() {
    assert_eq!(explain("", None), Err(Unexplained::Empty));
    assert_eq!(explain("01 0g", None), Err(Unexplained::NotHex { at: 4 }));
    assert_eq!(explain("012", None), Err(Unexplained::NotHex { at: 2 }));
    assert_eq!(explain("0102", None), Err(Unexplained::Nothing));
    let version = DecodeError::Version { version: 2 };
    assert_eq!(explain("02ff", Some(Kind::Client)), Err(Unexplained::NoFrame { reason: version }));
    assert_eq!(explain("0102", Some(Kind::Payload)), Err(Unexplained::NoPayload { len: 2 }));
    assert!(matches!(explain("undertone1aaaa", None), Err(Unexplained::NoInvitation { .. })));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..3) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let text = HEXLOWER.encode(&bytes);
        let kind = [None, Some(Kind::Client), Some(Kind::Relay)][usize::from(kind)];
        if let Ok(explanation) = explain(&text, kind) {
            check_whole(&explanation);
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        let _ = explain(&text, None);
    }
}
