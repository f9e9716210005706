//! Every frame: its byte map, one encoding, and an answer for every other input.

use proptest::prelude::*;
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right};
use undertone_wire::id::*;
use undertone_wire::limits::FRAME_LEN_MAX;
use undertone_wire::refusal::Refusal;

use crate::arb::{client_frame, relay_frame};

proptest! {
    // spec ENC-01
    #[test]
    fn a_client_frame_decodes_to_itself_and_has_one_encoding(frame in client_frame()) {
        let bytes = frame.encode();
        prop_assert!(bytes.len() <= FRAME_LEN_MAX);
        prop_assert_eq!(ClientFrame::decode(&bytes), Ok(frame.clone()));
        prop_assert_eq!(ClientFrame::peek_request(&bytes), Some(frame.request));
    }

    #[test]
    fn a_relay_frame_decodes_to_itself_and_has_one_encoding(frame in relay_frame()) {
        let bytes = frame.encode();
        prop_assert!(bytes.len() <= FRAME_LEN_MAX);
        prop_assert_eq!(RelayFrame::decode(&bytes), Ok(frame));
    }

    // spec RELAY-04
    #[test]
    fn a_frame_cut_anywhere_is_none(client in client_frame(), relay in relay_frame(), at in any::<prop::sample::Index>()) {
        let bytes = client.encode();
        let near_the_start = 0..bytes.len().min(400);
        for cut in near_the_start.chain([at.index(bytes.len()), bytes.len() - 1]) {
            prop_assert_eq!(ClientFrame::decode(&bytes[..cut]), Err(DecodeError::Malformed), "cut at {}", cut);
        }
        let bytes = relay.encode();
        let near_the_start = 0..bytes.len().min(400);
        for cut in near_the_start.chain([at.index(bytes.len()), bytes.len() - 1]) {
            prop_assert_eq!(RelayFrame::decode(&bytes[..cut]), Err(DecodeError::Malformed), "cut at {}", cut);
        }
    }

    #[test]
    fn a_frame_with_something_behind_it_is_none(client in client_frame(), relay in relay_frame(), byte in any::<u8>()) {
        for behind in [vec![byte], vec![byte; 9], client.encode()] {
            let glued = [client.encode(), behind.clone()].concat();
            prop_assert_eq!(ClientFrame::decode(&glued), Err(DecodeError::Malformed));
            let glued = [relay.encode(), behind].concat();
            prop_assert_eq!(RelayFrame::decode(&glued), Err(DecodeError::Malformed));
        }
    }

    #[test]
    fn a_changed_byte_gives_another_frame_or_none(frame in client_frame(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = frame.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = ClientFrame::decode(&bytes) {
            prop_assert_ne!(&other, &frame);
            prop_assert_eq!(other.encode(), bytes, "no two encodings of one frame");
        }
    }

    // A-FL-05
    #[test]
    fn arbitrary_bytes_never_panic(version in 0..3_u8, rest in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = [vec![version], rest].concat();
        if let Ok(frame) = ClientFrame::decode(&bytes) {
            prop_assert_eq!(frame.encode(), bytes.clone());
        }
        if let Ok(frame) = RelayFrame::decode(&bytes) {
            prop_assert_eq!(frame.encode(), bytes.clone());
        }
        let _ = ClientFrame::peek_request(&bytes);
    }

    #[test]
    fn arbitrary_bodies_of_every_kind_never_panic(kind in 0..20_u8, rest in prop::collection::vec(any::<u8>(), 0..600)) {
        let client = [&[1, 0, 0, 0, 0, 0, 0, 0, 9, kind], &rest[..]].concat();
        if let Ok(frame) = ClientFrame::decode(&client) {
            prop_assert_eq!(frame.encode(), client);
        }
        let relay = [&[1, kind], &rest[..]].concat();
        if let Ok(frame) = RelayFrame::decode(&relay) {
            prop_assert_eq!(frame.encode(), relay);
        }
    }
}

// spec ENC-02, ENC-09
#[test]
fn another_version_or_a_frame_too_long_is_told_apart() {
    let good = ClientFrame { request: RequestId::FIRST, body: Request::Unsubscribe { log: log() } }.encode();
    for version in [0, 2, 255] {
        let mut bytes = good.clone();
        bytes[0] = version;
        assert_eq!(ClientFrame::decode(&bytes), Err(DecodeError::Version { version }));
        assert_eq!(RelayFrame::decode(&bytes), Err(DecodeError::Version { version }));
        assert_eq!(ClientFrame::peek_request(&bytes), None);
    }
    let long = vec![1; FRAME_LEN_MAX + 1];
    let too_long = DecodeError::TooLong { frame_len: FRAME_LEN_MAX + 1 };
    assert_eq!(ClientFrame::decode(&long), Err(too_long));
    assert_eq!(RelayFrame::decode(&long), Err(too_long));
    assert_eq!(ClientFrame::decode(&[]), Err(DecodeError::Malformed));
}

// spec ENC-01: a length written in more bytes than it needs, or one far past the end.
#[test]
fn a_length_that_is_not_minimal_or_reaches_past_the_end_is_refused() {
    let head = [&[1][..], &[0; 8], &[7], &[3; 32], &[0; 8]].concat();
    let good = [&head[..], &[2, 0xaa, 0xbb]].concat();
    assert!(ClientFrame::decode(&good).is_ok());
    for length in [&[0x40, 2][..], &[0x80, 0, 0, 2], &[0xc0, 0, 0, 0, 0, 0, 0, 2], &[3], &[0xbf, 0xff, 0xff, 0xff]] {
        let bytes = [&head[..], length, &[0xaa, 0xbb]].concat();
        assert_eq!(ClientFrame::decode(&bytes), Err(DecodeError::Malformed), "{length:x?}");
    }
}

fn log() -> LogId {
    LogId::from_bytes([3; 32])
}

fn seq(seq: u64) -> Seq {
    Seq::from_u64(seq)
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

const GATE: Gate = Gate { read: VerifyKey::from_bytes([4; 32]), append: VerifyKey::from_bytes([5; 32]) };

// The byte maps of the chapter, written out by hand.
#[test]
fn requests_have_the_bytes_of_the_chapter() {
    let key = VerifyKey::from_bytes([6; 32]);
    let signature = Signature::from_bytes([7; 64]);
    let id = EntryId::from_bytes([8; 16]);
    let generation = Generation::from_u64(0x0102);
    let proof = Proof { log: log(), generation, right: Right::Append, signature };
    let plain = NewEntry { id, class: Class::Normal, ttl_s: 9, payload: b"p".to_vec().into(), turn: None };
    let turn = NewEntry { class: Class::Control, ttl_s: 0, turn: Some(GATE), ..plain.clone() };
    let lane_token = LaneToken { lane: Lane::Contacts, token: InboxTokenHash::from_bytes([9; 32]) };
    let (slot, take) = (SlotId::from_bytes([10; 32]), TakeId::from_bytes([11; 16]));
    let token = InboxToken::from_bytes([12; 32]);
    let body: &[u8] = &[13; 64];
    let (l, k, s): (&[u8], &[u8], &[u8]) = (&[3; 32], &[6; 32], &[7; 64]);
    let (e, g): (&[u8], &[u8]) = (&[8; 16], &[0, 0, 0, 0, 0, 0, 1, 2]);
    let gate: &[u8] = &join(&[&[4; 32], &[5; 32]]);
    let maps: Vec<(Request, Vec<u8>)> = vec![
        (Request::Create(Create { log: log(), control: key, gate: GATE }), join(&[&[1], l, k, gate])),
        (Request::Prove { proofs: vec![proof] }, join(&[&[2], &[0x40, 105], l, g, &[2], s])),
        (Request::Subscribe { log: log(), from: seq(5) }, join(&[&[3], l, &[0, 0, 0, 0, 0, 0, 0, 5]])),
        (Request::Unsubscribe { log: log() }, join(&[&[4], l])),
        (
            Request::Append(Append { log: log(), generation, entries: vec![plain, turn] }),
            join(&[&[5], l, g, &[0x40, 112], e, &[3, 0, 0, 0, 9, 1, b'p', 0], e, &[1, 0, 0, 0, 0, 1, b'p', 1], gate]),
        ),
        (Request::Read { log: log(), from: seq(1), limit: 300 }, join(&[&[6], l, &[0, 0, 0, 0, 0, 0, 0, 1, 1, 44]])),
        (
            Request::Ephemeral { log: log(), generation, payload: b"xy".to_vec().into() },
            join(&[&[7], l, g, &[2, b'x', b'y']]),
        ),
        (
            Request::Publish(Publish {
                owner: key,
                kind: SlotKind::KeyPackages,
                version: 2,
                body: body.to_vec().into(),
                items: vec![b"i".to_vec().into(), b"jk".to_vec().into()],
                signature,
            }),
            join(&[&[8], k, &[0, 3], &[0, 0, 0, 0, 0, 0, 0, 2], &[0x40, 64], body, &[5, 1, b'i', 2, b'j', b'k'], s]),
        ),
        (Request::Take { slot, kind: SlotKind::DeviceList, take }, join(&[&[9], &[10; 32], &[0, 1], &[11; 16]])),
        (
            Request::OpenInbox(OpenInbox { owner: key, tokens: vec![lane_token], signature }),
            join(&[&[10], k, &[33, 2], &[9; 32], s]),
        ),
        (
            Request::Deposit(Deposit { log: log(), token, id, payload: b"d".to_vec().into() }),
            join(&[&[11], l, &[12; 32], e, &[1, b'd']]),
        ),
        (Request::AckInbox { log: log(), through: seq(0x0a0b) }, join(&[&[12], l, &[0, 0, 0, 0, 0, 0, 10, 11]])),
    ];
    for (body, bytes) in maps {
        let frame = ClientFrame { request: RequestId::from_u64(0x0506), body };
        let expected = join(&[&[1, 0, 0, 0, 0, 0, 0, 5, 6], &bytes]);
        assert_eq!(frame.encode(), expected, "{frame:?}");
        assert_eq!(ClientFrame::decode(&expected), Ok(frame));
    }
}

#[test]
fn frames_of_the_relay_have_the_bytes_of_the_chapter() {
    let request = RequestId::from_u64(0x0506);
    let generation = Generation::from_u64(2);
    let l: &[u8] = &[3; 32];
    let (g, n): (&[u8], &[u8]) = (&[0, 0, 0, 0, 0, 0, 0, 2], &[0, 0, 0, 0, 0, 0, 0, 9]);
    let gate: &[u8] = &join(&[&[4; 32], &[5; 32]]);
    let entry = Entry {
        seq: seq(9),
        generation,
        class: Class::Bulk,
        id: EntryId::from_bytes([8; 16]),
        accepted_ms: 9,
        turn: None,
        content: EntryContent::Payload(b"p".to_vec().into()),
    };
    let stub =
        Entry { turn: Some(GATE), content: EntryContent::Stub(PayloadHash::from_bytes([7; 32])), ..entry.clone() };
    let entries: &[u8] = &join(&[
        &[0x40, 184],
        n,
        g,
        &[4],
        &[8; 16],
        n,
        &[0, 1, 1, b'p'],
        n,
        g,
        &[4],
        &[8; 16],
        n,
        &[1],
        gate,
        &[2],
        &[7; 32],
    ]);
    let place =
        Place { seq: seq(9), generation, payload: PayloadHash::from_bytes([7; 32]), duplicate: Presence::Duplicate };
    let result = ProofResult { verdict: ProofVerdict::Stale, generation, last: seq(9) };
    let taken = Taken { version: 9, body: b"b".to_vec().into(), item: Some(b"i".to_vec().into()) };
    let reply = |reply| RelayFrame::Reply { request, reply };
    let answered = |bytes: &[&[u8]]| join(&[&[2, 0, 0, 0, 0, 0, 0, 5, 6], &bytes.concat()]);
    let hello = Hello {
        server: ServerId::from_bytes([1; 32]),
        nonce: ConnectionNonce::from_bytes([2; 32]),
        incarnation: Incarnation::from_bytes([3; 16]),
        now_ms: 9,
    };
    let maps: Vec<(RelayFrame, Vec<u8>)> = vec![
        (RelayFrame::Hello(hello), join(&[&[1], &[1; 32], &[2; 32], &[3; 16], n])),
        (reply(Reply::Done), answered(&[&[1]])),
        (reply(Reply::Refused(Refusal::NotProven)), answered(&[&[2, 0, 3]])),
        (reply(Reply::Proven { results: vec![result] }), answered(&[&[3, 17, 4], g, n])),
        (reply(Reply::Appended { places: vec![place] }), answered(&[&[4, 49], n, g, &[7; 32], &[2]])),
        (reply(Reply::Page { entries: vec![entry.clone(), stub.clone()] }), answered(&[&[5], entries])),
        (reply(Reply::Published { version: 9, items_left: 3 }), answered(&[&[6], n, &[0, 0, 0, 3]])),
        (reply(Reply::Taken(taken)), answered(&[&[7], n, &[1, b'b', 1, 1, b'i']])),
        (RelayFrame::Entries { log: log(), entries: vec![entry, stub] }, join(&[&[3], l, entries])),
        (RelayFrame::Turned { log: log(), generation, seq: seq(9) }, join(&[&[4], l, g, n])),
        (
            RelayFrame::Ephemeral { log: log(), generation, payload: b"e".to_vec().into() },
            join(&[&[5], l, g, &[1, b'e']]),
        ),
        (RelayFrame::Ended { log: log(), reason: Refusal::Unknown }, join(&[&[6], l, &[0, 2]])),
        (RelayFrame::Draining { retry_after_ms: 258 }, vec![7, 0, 0, 1, 2]),
    ];
    for (frame, bytes) in maps {
        let expected = join(&[&[1], &bytes]);
        assert_eq!(frame.encode(), expected, "{frame:?}");
        assert_eq!(RelayFrame::decode(&expected), Ok(frame));
    }
}

#[test]
fn refusals_have_the_numbers_and_bytes_of_the_chapter() {
    let (generation, at) = (Generation::from_u64(2), seq(9));
    let (g, n): (&[u8], &[u8]) = (&[0, 0, 0, 0, 0, 0, 0, 2], &[0, 0, 0, 0, 0, 0, 0, 9]);
    let retry_after_ms = 258;
    let ms: &[u8] = &[0, 0, 1, 2];
    let head = Head::from_bytes([6; 32]);
    let maps = [
        (Refusal::Malformed, vec![]),
        (Refusal::Unknown, vec![]),
        (Refusal::NotProven, vec![]),
        (Refusal::Stale { generation, turned_at: at }, join(&[g, n])),
        (Refusal::BadSignature, vec![]),
        (Refusal::Exists, vec![]),
        (Refusal::VersionConflict { version: 9 }, n.to_vec()),
        (Refusal::RateLimited { retry_after_ms }, ms.to_vec()),
        (Refusal::Quota { retry_after_ms }, ms.to_vec()),
        (Refusal::Trimmed { first_seq: at, head }, join(&[n, &[6; 32]])),
        (Refusal::Draining { retry_after_ms }, ms.to_vec()),
        (Refusal::Unsupported, vec![]),
        (Refusal::Unavailable { retry_after_ms }, ms.to_vec()),
    ];
    for ((refusal, carried), number) in maps.into_iter().zip(1..) {
        assert_eq!(refusal.code(), number);
        let bytes = RelayFrame::Ended { log: log(), reason: refusal }.encode();
        assert_eq!(bytes[34..], join(&[&number.to_be_bytes(), &carried]));
    }
}
