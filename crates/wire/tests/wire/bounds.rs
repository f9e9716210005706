//! Every bound, at it and one past it.

use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right};
use undertone_wire::id::*;
use undertone_wire::limits::*;
use undertone_wire::refusal::Refusal;

const LOG: LogId = LogId::from_bytes([1; 32]);
const KEY: VerifyKey = VerifyKey::from_bytes([2; 32]);
const SIGNATURE: Signature = Signature::from_bytes([3; 64]);
const PAST: u64 = COUNTER_MAX + 1;

fn decode(body: Request) -> Result<(), DecodeError> {
    ClientFrame::decode(&ClientFrame { request: RequestId::FIRST, body }.encode()).map(|_| ())
}

fn decode_relay(frame: RelayFrame) -> Result<(), DecodeError> {
    RelayFrame::decode(&frame.encode()).map(|_| ())
}

/// What is within its bound decodes, what is past it is refused as such.
fn assert_bound(within: Request, past: Request) {
    assert_eq!(decode(within), Ok(()));
    let refused = decode(past.clone());
    assert!(matches!(refused, Err(DecodeError::Bound | DecodeError::TooLong { .. })), "{refused:?}");
}

fn entry(payload_len: usize) -> NewEntry {
    let id = EntryId::from_bytes([4; 16]);
    NewEntry { id, class: Class::Normal, ttl_s: 0, payload: vec![0; payload_len].into(), turn: None }
}

fn append(entries: Vec<NewEntry>) -> Request {
    Request::Append(Append { log: LOG, generation: Generation::FIRST, entries })
}

// spec RELAY-09, ENC-10
#[test]
fn appends_are_bounded() {
    let turn = || NewEntry { turn: Some(Gate { read: KEY, append: KEY }), ..entry(1) };
    assert_bound(append(vec![entry(1)]), append(vec![]));
    assert_bound(append(vec![entry(1); APPEND_ENTRIES_MAX]), append(vec![entry(1); APPEND_ENTRIES_MAX + 1]));
    assert_bound(append(vec![entry(PAYLOAD_LEN_MAX)]), append(vec![entry(PAYLOAD_LEN_MAX + 1)]));
    let full = APPEND_LEN_MAX / APPEND_ENTRIES_MAX;
    let mut more = vec![entry(full); APPEND_ENTRIES_MAX];
    more[0] = entry(full + 1);
    assert_bound(append(vec![entry(full); APPEND_ENTRIES_MAX]), append(more));
    assert_bound(append(vec![entry(1), turn()]), append(vec![turn(), entry(1)]));
    assert_bound(append(vec![entry(0), entry(1)]), append(vec![entry(1), entry(0)]));
    let at = |generation| {
        let generation = Generation::from_u64(generation);
        Request::Append(Append { log: LOG, generation, entries: vec![entry(1)] })
    };
    assert_bound(at(COUNTER_MAX), at(PAST));
    assert_bound(at(0), at(u64::MAX));
}

// spec RELAY-09, ENC-10
#[test]
fn counters_of_requests_are_bounded() {
    let subscribe = |from| Request::Subscribe { log: LOG, from: Seq::from_u64(from) };
    assert_bound(subscribe(1), subscribe(0));
    assert_bound(subscribe(COUNTER_MAX), subscribe(PAST));
    let read = |from| Request::Read { log: LOG, from: Seq::from_u64(from), limit: 1 };
    assert_bound(read(1), read(0));
    assert_bound(read(COUNTER_MAX), read(u64::MAX));
    let ack = |through| Request::AckInbox { log: LOG, through: Seq::from_u64(through) };
    assert_bound(ack(COUNTER_MAX), ack(PAST));
    let proof = |generation| Proof {
        log: LOG,
        generation: Generation::from_u64(generation),
        right: Right::Read,
        signature: SIGNATURE,
    };
    let prove = |proofs| Request::Prove { proofs };
    assert_bound(prove(vec![proof(COUNTER_MAX)]), prove(vec![proof(PAST)]));
    assert_bound(prove(vec![proof(0); PROOFS_MAX]), prove(vec![proof(0); PROOFS_MAX + 1]));
    let ephemeral = |generation, payload_len| Request::Ephemeral {
        log: LOG,
        generation: Generation::from_u64(generation),
        payload: vec![0; payload_len].into(),
    };
    assert_bound(ephemeral(COUNTER_MAX, 1), ephemeral(PAST, 1));
    assert_bound(ephemeral(0, EPHEMERAL_LEN_MAX), ephemeral(0, EPHEMERAL_LEN_MAX + 1));
}

// spec RELAY-09
#[test]
fn slots_and_inboxes_are_bounded() {
    let publish = |version, body_len, items_count, item_len| {
        let items = vec![vec![0; item_len].into(); items_count];
        let (kind, body) = (SlotKind::PrekeyBundle, vec![0; body_len].into());
        Request::Publish(Publish { owner: KEY, kind, version, body, items, signature: SIGNATURE })
    };
    assert_bound(publish(COUNTER_MAX, 0, 0, 0), publish(PAST, 0, 0, 0));
    assert_bound(publish(1, SLOT_BODY_LEN_MAX, 0, 0), publish(1, SLOT_BODY_LEN_MAX + 1, 0, 0));
    assert_bound(publish(1, 0, PUBLISH_ITEMS_MAX, 1), publish(1, 0, PUBLISH_ITEMS_MAX + 1, 1));
    assert_bound(publish(1, 0, 1, ITEM_LEN_MAX), publish(1, 0, 1, ITEM_LEN_MAX + 1));
    let token = LaneToken { lane: Lane::Knock, token: InboxTokenHash::from_bytes([5; 32]) };
    let open = |count| Request::OpenInbox(OpenInbox { owner: KEY, tokens: vec![token; count], signature: SIGNATURE });
    assert_bound(open(INBOX_TOKENS_MAX), open(INBOX_TOKENS_MAX + 1));
    let deposit = |payload_len| {
        let (token, id) = (InboxToken::from_bytes([6; 32]), EntryId::from_bytes([7; 16]));
        Request::Deposit(Deposit { log: LOG, token, id, payload: vec![0; payload_len].into() })
    };
    assert_bound(deposit(PAYLOAD_LEN_MAX), deposit(PAYLOAD_LEN_MAX + 1));
}

fn stored(seq: u64, generation: u64, payload_len: usize) -> Entry {
    Entry {
        seq: Seq::from_u64(seq),
        generation: Generation::from_u64(generation),
        class: Class::Normal,
        id: EntryId::from_bytes([8; 16]),
        accepted_ms: u64::MAX,
        turn: None,
        content: EntryContent::Payload(vec![0; payload_len].into()),
    }
}

// spec RELAY-09, RELAY-50, ENC-10
#[test]
fn frames_of_the_relay_are_bounded() {
    let reply = |reply| RelayFrame::Reply { request: RequestId::FIRST, reply };
    let entries = |entries| RelayFrame::Entries { log: LOG, entries };
    let (generation, seq) = (Generation::from_u64(PAST), Seq::from_u64(PAST));
    let place = Place {
        seq: Seq::FIRST,
        generation: Generation::FIRST,
        payload: PayloadHash::of(b""),
        duplicate: Presence::New,
    };
    let result = ProofResult { verdict: ProofVerdict::Granted, generation: Generation::FIRST, last: Seq::FIRST };
    let taken = |body_len, item_len| {
        let item = Some(vec![0; item_len].into());
        reply(Reply::Taken(Taken { version: 1, body: vec![0; body_len].into(), item }))
    };
    let fine = [
        entries(vec![stored(1, 0, PAYLOAD_LEN_MAX)]),
        entries(vec![stored(1, 0, 1); READ_ENTRIES_MAX]),
        entries(vec![stored(COUNTER_MAX, COUNTER_MAX, 1)]),
        reply(Reply::Page { entries: vec![] }),
        reply(Reply::Appended { places: vec![place; APPEND_ENTRIES_MAX] }),
        reply(Reply::Proven { results: vec![result; PROOFS_MAX] }),
        taken(SLOT_BODY_LEN_MAX, ITEM_LEN_MAX),
    ];
    for frame in fine {
        assert_eq!(decode_relay(frame), Ok(()));
    }
    let past = [
        entries(vec![]),
        entries(vec![stored(1, 0, PAYLOAD_LEN_MAX + 1)]),
        entries(vec![stored(1, 0, 1); READ_ENTRIES_MAX + 1]),
        entries(vec![stored(0, 0, 1)]),
        entries(vec![stored(PAST, 0, 1)]),
        entries(vec![stored(1, PAST, 1)]),
        reply(Reply::Page { entries: vec![stored(1, 0, 1); READ_ENTRIES_MAX + 1] }),
        reply(Reply::Page { entries: vec![stored(0, 0, 1)] }),
        reply(Reply::Appended { places: vec![place; APPEND_ENTRIES_MAX + 1] }),
        reply(Reply::Appended { places: vec![Place { seq, ..place }] }),
        reply(Reply::Proven { results: vec![result; PROOFS_MAX + 1] }),
        reply(Reply::Proven { results: vec![ProofResult { generation, ..result }] }),
        reply(Reply::Refused(Refusal::Stale { generation, turned_at: Seq::FIRST })),
        reply(Reply::Refused(Refusal::Trimmed { first_seq: seq, head: Head::from_bytes([0; 32]) })),
        RelayFrame::Ended { log: LOG, reason: Refusal::Stale { generation: Generation::FIRST, turned_at: seq } },
        RelayFrame::Turned { log: LOG, generation, seq: Seq::FIRST },
        RelayFrame::Ephemeral { log: LOG, generation, payload: vec![].into() },
        RelayFrame::Ephemeral {
            log: LOG,
            generation: Generation::FIRST,
            payload: vec![0; EPHEMERAL_LEN_MAX + 1].into(),
        },
        taken(SLOT_BODY_LEN_MAX + 1, 0),
        taken(0, ITEM_LEN_MAX + 1),
    ];
    for frame in past {
        let name = format!("{frame:?}").chars().take(120).collect::<String>();
        assert_eq!(decode_relay(frame), Err(DecodeError::Bound), "{name}");
    }
}

#[test]
fn the_largest_frames_of_every_kind_fit() {
    let full = APPEND_LEN_MAX / APPEND_ENTRIES_MAX;
    let request = |body| ClientFrame { request: RequestId::FIRST, body }.encode().len();
    let turn = NewEntry { turn: Some(Gate { read: KEY, append: KEY }), ..entry(full) };
    let mut entries = vec![entry(full); APPEND_ENTRIES_MAX - 1];
    entries.push(turn);
    assert!(request(append(entries)) <= FRAME_LEN_MAX);
    let turned = Entry { turn: Some(Gate { read: KEY, append: KEY }), ..stored(1, 0, READ_LEN_MAX / READ_ENTRIES_MAX) };
    let page = RelayFrame::Entries { log: LOG, entries: vec![turned; READ_ENTRIES_MAX] };
    assert!(page.encode().len() <= FRAME_LEN_MAX);
}
