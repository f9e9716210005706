//! Arbitrary frames within their bounds, for the property tests beside this file.

use proptest::collection::vec;
use proptest::prelude::*;
use undertone_wire::VLBytes;
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right};
use undertone_wire::id::*;
use undertone_wire::limits::COUNTER_MAX;
use undertone_wire::refusal::Refusal;

macro_rules! bytes {
    ($($name:ident: $id:ty, $len:literal;)*) => {
        $(fn $name() -> impl Strategy<Value = $id> {
            vec(any::<u8>(), $len).prop_map(|bytes| <$id>::from_bytes(bytes.try_into().expect("so many were made")))
        })*
    };
}

bytes! {
    log: LogId, 32;
    entry_id: EntryId, 16;
    slot: SlotId, 32;
    take: TakeId, 16;
    head: Head, 32;
    hash: PayloadHash, 32;
    server: ServerId, 32;
    nonce: ConnectionNonce, 32;
    incarnation: Incarnation, 16;
    key: VerifyKey, 32;
    signature: Signature, 64;
    token: InboxToken, 32;
    token_hash: InboxTokenHash, 32;
}

fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![1..100_u64, 1..=COUNTER_MAX].prop_map(Seq::from_u64)
}

fn generation() -> impl Strategy<Value = Generation> {
    prop_oneof![0..100_u64, 0..=COUNTER_MAX].prop_map(Generation::from_u64)
}

fn blob(len_max: usize) -> impl Strategy<Value = VLBytes> {
    // Around the lengths at which the prefix grows.
    let len = prop_oneof![Just(0), Just(63), Just(64), 1..200_usize, Just(16_383), Just(16_384), Just(len_max)];
    (len, any::<u8>()).prop_map(move |(len, byte)| vec![byte; len.min(len_max)].into())
}

fn gate() -> impl Strategy<Value = Gate> {
    (key(), key()).prop_map(|(read, append)| Gate { read, append })
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Control), Just(Class::Critical), Just(Class::Normal), Just(Class::Bulk)]
}

fn slot_kind() -> impl Strategy<Value = SlotKind> {
    prop_oneof![
        Just(SlotKind::DeviceList),
        Just(SlotKind::PrekeyBundle),
        Just(SlotKind::KeyPackages),
        Just(SlotKind::InboxAddress)
    ]
}

fn proof() -> impl Strategy<Value = Proof> {
    let right = prop_oneof![Just(Right::Read), Just(Right::Append), Just(Right::Control)];
    (log(), generation(), right, signature()).prop_map(|(log, generation, right, signature)| Proof {
        log,
        generation,
        right,
        signature,
    })
}

fn new_entry() -> impl Strategy<Value = NewEntry> {
    (entry_id(), class(), any::<u32>(), blob(70)).prop_map(|(id, class, ttl_s, payload)| NewEntry {
        id,
        class,
        ttl_s,
        payload,
        turn: None,
    })
}

fn append() -> impl Strategy<Value = Append> {
    let last = (new_entry(), blob(65_576), proptest::option::of(gate()));
    (log(), generation(), vec(new_entry(), 0..5), last).prop_map(
        |(log, generation, mut entries, (last, payload, turn))| {
            let payload = if payload.as_slice().is_empty() { vec![1].into() } else { payload };
            entries.push(NewEntry { payload, turn, ..last });
            Append { log, generation, entries }
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let content = prop_oneof![blob(65_576).prop_map(EntryContent::Payload), hash().prop_map(EntryContent::Stub)];
    (seq(), generation(), class(), entry_id(), any::<u64>(), proptest::option::of(gate()), content).prop_map(
        |(seq, generation, class, id, accepted_ms, turn, content)| Entry {
            seq,
            generation,
            class,
            id,
            accepted_ms,
            turn,
            content,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let lane_token = (prop_oneof![Just(Lane::Knock), Just(Lane::Contacts)], token_hash())
        .prop_map(|(lane, token)| LaneToken { lane, token });
    let publish = (key(), slot_kind(), 0..=COUNTER_MAX, blob(65_536), vec(blob(100), 0..6), signature());
    prop_oneof![
        (log(), key(), gate()).prop_map(|(log, control, gate)| Request::Create(Create { log, control, gate })),
        vec(proof(), 0..5).prop_map(|proofs| Request::Prove { proofs }),
        (log(), seq()).prop_map(|(log, from)| Request::Subscribe { log, from }),
        log().prop_map(|log| Request::Unsubscribe { log }),
        append().prop_map(Request::Append),
        (log(), seq(), any::<u16>()).prop_map(|(log, from, limit)| Request::Read { log, from, limit }),
        (log(), generation(), blob(1_064)).prop_map(|(log, generation, payload)| Request::Ephemeral {
            log,
            generation,
            payload
        }),
        publish.prop_map(|(owner, kind, version, body, items, signature)| {
            Request::Publish(Publish { owner, kind, version, body, items, signature })
        }),
        (slot(), slot_kind(), take()).prop_map(|(slot, kind, take)| Request::Take { slot, kind, take }),
        (key(), vec(lane_token, 0..6), signature())
            .prop_map(|(owner, tokens, signature)| Request::OpenInbox(OpenInbox { owner, tokens, signature })),
        (log(), token(), entry_id(), blob(65_576)).prop_map(|(log, token, id, payload)| Request::Deposit(Deposit {
            log,
            token,
            id,
            payload
        })),
        (log(), seq()).prop_map(|(log, through)| Request::AckInbox { log, through }),
    ]
}

/// Any request of a client.
pub(crate) fn client_frame() -> impl Strategy<Value = ClientFrame> {
    (any::<u64>(), request()).prop_map(|(request, body)| ClientFrame { request: RequestId::from_u64(request), body })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let retry_after_ms = any::<u32>();
    prop_oneof![
        Just(Refusal::Malformed),
        Just(Refusal::Unknown),
        Just(Refusal::NotProven),
        (generation(), seq()).prop_map(|(generation, turned_at)| Refusal::Stale { generation, turned_at }),
        Just(Refusal::BadSignature),
        Just(Refusal::Exists),
        any::<u64>().prop_map(|version| Refusal::VersionConflict { version }),
        retry_after_ms.prop_map(|retry_after_ms| Refusal::RateLimited { retry_after_ms }),
        retry_after_ms.prop_map(|retry_after_ms| Refusal::Quota { retry_after_ms }),
        (seq(), head()).prop_map(|(first_seq, head)| Refusal::Trimmed { first_seq, head }),
        retry_after_ms.prop_map(|retry_after_ms| Refusal::Draining { retry_after_ms }),
        Just(Refusal::Unsupported),
        retry_after_ms.prop_map(|retry_after_ms| Refusal::Unavailable { retry_after_ms }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let verdict = prop_oneof![
        Just(ProofVerdict::Granted),
        Just(ProofVerdict::Unknown),
        Just(ProofVerdict::BadSignature),
        Just(ProofVerdict::Stale)
    ];
    let result = (verdict, generation(), seq()).prop_map(|(verdict, generation, last)| ProofResult {
        verdict,
        generation,
        last,
    });
    let duplicate = prop_oneof![Just(Presence::New), Just(Presence::Duplicate)];
    let place = (seq(), generation(), hash(), duplicate).prop_map(|(seq, generation, payload, duplicate)| Place {
        seq,
        generation,
        payload,
        duplicate,
    });
    prop_oneof![
        Just(Reply::Done),
        refusal().prop_map(Reply::Refused),
        vec(result, 0..5).prop_map(|results| Reply::Proven { results }),
        vec(place, 0..5).prop_map(|places| Reply::Appended { places }),
        vec(entry(), 0..4).prop_map(|entries| Reply::Page { entries }),
        (any::<u64>(), any::<u32>()).prop_map(|(version, items_left)| Reply::Published { version, items_left }),
        (any::<u64>(), blob(65_536), proptest::option::of(blob(16_384)))
            .prop_map(|(version, body, item)| Reply::Taken(Taken { version, body, item })),
    ]
}

/// Any frame of a relay.
pub(crate) fn relay_frame() -> impl Strategy<Value = RelayFrame> {
    let hello = (server(), nonce(), incarnation(), any::<u64>())
        .prop_map(|(server, nonce, incarnation, now_ms)| Hello { server, nonce, incarnation, now_ms });
    prop_oneof![
        hello.prop_map(RelayFrame::Hello),
        (any::<u64>(), reply())
            .prop_map(|(request, reply)| RelayFrame::Reply { request: RequestId::from_u64(request), reply }),
        (log(), vec(entry(), 1..4)).prop_map(|(log, entries)| RelayFrame::Entries { log, entries }),
        (log(), generation(), seq()).prop_map(|(log, generation, seq)| RelayFrame::Turned { log, generation, seq }),
        (log(), generation(), blob(1_064)).prop_map(|(log, generation, payload)| RelayFrame::Ephemeral {
            log,
            generation,
            payload
        }),
        (log(), refusal()).prop_map(|(log, reason)| RelayFrame::Ended { log, reason }),
        any::<u32>().prop_map(|retry_after_ms| RelayFrame::Draining { retry_after_ms }),
    ]
}

/// Entries that a chain is made of.
pub(crate) fn chained() -> impl Strategy<Value = Entry> {
    entry()
}
