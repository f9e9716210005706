//! Offers and chunks of history: what opens where, what is refused (spec/history).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone::crypto::Secret32;
use undertone::crypto::sign::SigningKey;
use undertone::crypto::{kdf, label};
use undertone::envelope::history::{
    CHUNK_LEN_MAX, HistoryChunk, HistoryContact, HistoryConversation, HistoryDigest, HistoryError, HistoryKind,
    HistoryLog, HistoryMessage, HistoryOffer, HistoryReached, HistoryRest, HistorySender, TransferKeys,
};
use undertone::envelope::keys::LogKeys;
use undertone::envelope::padding::bucket;
use undertone::envelope::{DecodeError, DedupId, Extensions, SenderSeq};
use undertone::identity::{ACCOUNT_CERTIFICATE_LEN, AccountId, DeviceId};
use undertone::limits::{HISTORY_ELEMENTS_MAX, HISTORY_LOGS_MAX};
use undertone::time::UnixMs;
use undertone_wire::id::{Generation, LogId, Seq};
use undertone_wire::limits::{COUNTER_MAX, PARCEL_LEN_MAX, PAYLOAD_LEN_MAX};

fn keys(byte: u8) -> TransferKeys {
    TransferKeys::derive(Secret32::from_bytes([byte; 32]))
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn log(byte: u8) -> HistoryLog {
    HistoryLog { log: LogId::from_bytes([byte; 32]), read_through: Seq::from_u64(3) }
}

/// A chunk with one of everything.
fn plain() -> HistoryChunk {
    let peer = AccountId::from_bytes([2; 32]);
    let direct = HistoryConversation {
        kind: HistoryKind::Direct { peer },
        created_ms: UnixMs::from_u64(9),
        logs: vec![log(3), log(4)],
    };
    let group = HistoryConversation {
        kind: HistoryKind::Group { name: "tea".into() },
        created_ms: UnixMs::from_u64(10),
        logs: vec![log(5)],
    };
    let message = HistoryMessage {
        log: 2,
        sender: 0,
        seq: Seq::from_u64(7),
        sender_seq: SenderSeq::from_u64(1),
        dedup: DedupId::from_bytes([6; 16]),
        sent_ms: UnixMs::from_u64(1_000),
        accepted_ms: UnixMs::from_u64(2_000),
        reached: HistoryReached::Delivered,
        content: b"words".to_vec(),
    };
    HistoryChunk {
        walked: 1,
        contacts: vec![HistoryContact { certificate: vec![1; ACCOUNT_CERTIFICATE_LEN], name: "Bob".into() }],
        conversations: vec![direct, group],
        senders: vec![HistorySender { account: peer, device: DeviceId::from_bytes([8; 32]) }],
        messages: vec![message],
        rest: HistoryRest::Done { count: 1, digest: HistoryDigest::EMPTY },
    }
}

#[test]
fn the_transfer_log_follows_from_its_secret() {
    let secret = Secret32::from_bytes([7; 32]);
    let (one, other) = (keys(7), keys(8));
    let control = SigningKey::from_seed(&kdf::derive(&secret, label::HISTORY_CONTROL, &[])).verify_key();
    assert_eq!((one.control().verify_key(), one.log()), (control, LogId::of_control_key(&control)));
    assert_eq!(one.gate(), LogKeys::derive(&secret, one.log(), Generation::FIRST).gate());
    assert_eq!((one.read().verify_key(), one.append().verify_key()), (one.gate().read, one.gate().append));
    let entries = [one.entry(0), one.entry(1), other.entry(0)];
    assert!(entries[0] != entries[1] && entries[0] != entries[2] && one.log() != other.log());
    assert_eq!(keys(7).entry(1), entries[1]);
    assert_eq!(format!("{one:?}").matches("Secret32(…)").count(), 1);
}

// spec HIST-07
#[test]
fn a_chunk_opens_in_its_place_only() {
    let (keys, chunk) = (keys(7), plain());
    let sealed = keys.seal(3, &chunk, &mut rng()).unwrap();
    assert_eq!(sealed.len(), 24 + bucket(4 + chunk.encode().len()) + 16);
    assert!(!sealed.windows(5).any(|window| window == b"words"));
    assert_eq!(keys.open(3, &sealed), Ok(chunk));
    let refused = Err(HistoryError::DoesNotOpen);
    assert_eq!(keys.open(2, &sealed), refused);
    assert_eq!(self::keys(8).open(3, &sealed), refused);
    for at in (0..sealed.len()).step_by(37) {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(keys.open(3, &changed), refused, "byte {at}");
        assert_eq!(keys.open(3, &sealed[..at]), refused, "cut at {at}");
    }
    assert_eq!(keys.open(3, &vec![0; PAYLOAD_LEN_MAX + 1]), refused);
}

// spec HIST-08
#[test]
fn the_longest_chunk_fits_and_a_longer_one_does_not() {
    let mut chunk = plain();
    let rest = CHUNK_LEN_MAX - chunk.encode().len();
    // The lengths in front of the content and of the list take six bytes more.
    chunk.messages[0].content = vec![1; rest + 5 - 6];
    assert!(chunk.encode().len() <= CHUNK_LEN_MAX && chunk.encode().len() > CHUNK_LEN_MAX - 4);
    let sealed = keys(7).seal(0, &chunk, &mut rng()).unwrap();
    assert_eq!(sealed.len(), 24 + PARCEL_LEN_MAX + 16);
    assert_eq!(keys(7).open(0, &sealed), Ok(chunk.clone()));
    chunk.messages[0].content.extend_from_slice(&[1; 8]);
    assert_eq!(keys(7).seal(0, &chunk, &mut rng()), Err(HistoryError::TooLong));
    assert!(matches!(HistoryChunk::decode(&chunk.encode()), Err(DecodeError::TooLong { .. })));
}

/// A change of a chunk that makes it one to be refused, and the field that is named then.
type Defect = (&'static str, fn(&mut HistoryChunk));

// spec HIST-08
#[test]
fn a_chunk_out_of_bounds_is_refused_by_the_name_of_the_field() {
    let defects: &[Defect] = &[
        ("log", |chunk| chunk.messages[0].log = 3),
        ("sender", |chunk| chunk.messages[0].sender = 1),
        ("seq", |chunk| chunk.messages[0].seq = Seq::from_u64(0)),
        ("seq", |chunk| chunk.messages[0].seq = Seq::from_u64(COUNTER_MAX + 1)),
        ("sender_seq", |chunk| chunk.messages[0].sender_seq = SenderSeq::from_u64(0)),
        ("dedup", |chunk| chunk.messages[0].dedup = DedupId::from_bytes([0; 16])),
        ("sent_ms", |chunk| chunk.messages[0].sent_ms = UnixMs::from_u64(0)),
        ("sent_ms", |chunk| chunk.messages[0].sent_ms = UnixMs::MAX),
        ("walked", |chunk| chunk.walked = COUNTER_MAX + 1),
        ("count", |chunk| chunk.rest = HistoryRest::Done { count: COUNTER_MAX + 1, digest: HistoryDigest::EMPTY }),
        ("certificate", |chunk| chunk.contacts[0].certificate.truncate(120)),
        ("name", |chunk| chunk.contacts[0].name = b" Bob".to_vec()),
        ("name", |chunk| chunk.contacts[0].name = vec![0xff]),
        ("name", |chunk| chunk.conversations[1].kind = HistoryKind::Group { name: vec![b'n'; 129] }),
        ("name", |chunk| chunk.conversations[1].kind = HistoryKind::Group { name: vec![0xff] }),
        ("logs", |chunk| chunk.conversations[0].logs.clear()),
        ("logs", |chunk| chunk.conversations[1].logs.push(log(6))),
        ("logs", |chunk| chunk.conversations[0].logs = vec![log(6); HISTORY_LOGS_MAX + 1]),
        ("read_through", |chunk| chunk.conversations[0].logs[0].read_through = Seq::from_u64(COUNTER_MAX + 1)),
        ("list", |chunk| chunk.senders = vec![chunk.senders[0]; HISTORY_ELEMENTS_MAX + 1]),
    ];
    assert_eq!(HistoryChunk::decode(&plain().encode()), Ok(plain()));
    for (field, change) in defects {
        let mut chunk = plain();
        change(&mut chunk);
        let refused = HistoryChunk::decode(&chunk.encode());
        let is_too_long = matches!(refused, Err(DecodeError::TooLong { .. }));
        assert!(
            is_too_long && *field == "list" || refused == Err(DecodeError::Range { field }),
            "{field}: {refused:?}"
        );
        // Sealed by whoever has the secret, it is refused just so.
        if !is_too_long {
            let sealed = keys(7).seal(0, &chunk, &mut rng()).unwrap();
            assert_eq!(keys(7).open(0, &sealed), Err(HistoryError::Chunk(DecodeError::Range { field })), "{field}");
        }
    }
    // A name may be missing.
    let mut nameless = plain();
    nameless.contacts[0].name.clear();
    assert_eq!(HistoryChunk::decode(&nameless.encode()), Ok(nameless));
    let mut many = HistoryChunk::empty();
    many.conversations
        .push(HistoryConversation { logs: vec![log(1); HISTORY_LOGS_MAX], ..plain().conversations[0].clone() });
    assert_eq!(HistoryChunk::decode(&many.encode()), Ok(many));
}

#[test]
fn an_offer_holds_a_secret_and_shows_none() {
    let secret = || Secret32::from_bytes([0xab; 32]);
    let offer = |number, total| HistoryOffer { secret: secret(), number, total, extensions: Extensions::NONE };
    let bytes = offer(3, 5).encode();
    assert_eq!(bytes.len(), 1 + 32 + 8 + 8 + 1);
    assert_eq!(HistoryOffer::decode(&bytes), Ok(offer(3, 5)));
    let shown = format!("{:?}", offer(3, 5));
    assert!(!shown.contains("ab") && !shown.contains("171"));
    let out_of_range = |offer: HistoryOffer| HistoryOffer::decode(&offer.encode()).err();
    assert_eq!(out_of_range(offer(3, COUNTER_MAX + 1)), Some(DecodeError::Range { field: "total" }));
    assert_eq!(out_of_range(offer(COUNTER_MAX + 1, 5)), Some(DecodeError::Range { field: "number" }));
    assert!(HistoryOffer::decode(&bytes[..bytes.len() - 1]).is_err());
    assert_eq!(HistoryOffer::decode(&[2; 50]), Err(DecodeError::Version { version: 2 }));
}

// spec HIST-13
#[test]
fn the_digest_depends_on_every_place_id_and_on_their_order() {
    let at = |log: u8, seq: u64, id: u8| (LogId::from_bytes([log; 32]), Seq::from_u64(seq), [id; 32]);
    let digest = |of: &[(LogId, Seq, [u8; 32])]| {
        of.iter().fold(HistoryDigest::EMPTY, |digest, (log, seq, id)| digest.with(log, *seq, id))
    };
    let all = [at(1, 1, 1), at(1, 2, 2)];
    for other in [
        vec![at(1, 2, 2), at(1, 1, 1)],
        vec![at(1, 1, 1)],
        vec![at(1, 1, 1), at(2, 2, 2)],
        vec![at(1, 1, 1), at(1, 3, 2)],
        vec![at(1, 1, 1), at(1, 2, 3)],
    ] {
        assert!(digest(&other) != digest(&all));
    }
}

proptest! {
    // spec HIST-08
    #[test]
    fn a_chunk_survives_its_encoding(chunk in arb_chunk()) {
        let bytes = chunk.encode();
        prop_assert_eq!(HistoryChunk::decode(&bytes), Ok(chunk));
        prop_assert!(HistoryChunk::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        prop_assert!(HistoryChunk::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn what_decodes_has_one_encoding(bytes in vec(any::<u8>(), 0..300), at in 0..400_usize, to: u8) {
        let mut changed = plain().encode();
        if let Some(byte) = changed.get_mut(at) {
            *byte = to;
        }
        for bytes in [bytes, changed] {
            if let Ok(chunk) = HistoryChunk::decode(&bytes) {
                prop_assert_eq!(chunk.encode(), bytes.as_slice());
            }
            if let Ok(offer) = HistoryOffer::decode(&bytes) {
                prop_assert_eq!(&*offer.encode(), &bytes);
            }
        }
    }
}

fn arb_chunk() -> impl Strategy<Value = HistoryChunk> {
    let contact = ("[a-z]{0,20}", any::<u8>()).prop_map(|(name, byte)| HistoryContact {
        certificate: vec![byte; ACCOUNT_CERTIFICATE_LEN],
        name: name.into(),
    });
    let log = (any::<[u8; 32]>(), 0..=COUNTER_MAX)
        .prop_map(|(log, read)| HistoryLog { log: LogId::from_bytes(log), read_through: Seq::from_u64(read) });
    let conversation = (any::<[u8; 32]>(), ".{0,30}", any::<u64>(), vec(log, 1..6), any::<bool>());
    let conversation = conversation.prop_map(|(peer, name, created, mut logs, is_group)| {
        let kind = if is_group {
            logs.truncate(1);
            HistoryKind::Group { name: name.into() }
        } else {
            HistoryKind::Direct { peer: AccountId::from_bytes(peer) }
        };
        HistoryConversation { kind, created_ms: UnixMs::from_u64(created), logs }
    });
    let sender = any::<([u8; 32], [u8; 32])>().prop_map(|(account, device)| HistorySender {
        account: AccountId::from_bytes(account),
        device: DeviceId::from_bytes(device),
    });
    let numbers = (1..=COUNTER_MAX, 1..=COUNTER_MAX, 1..253_402_300_800_000_u64, any::<u64>());
    let message = (any::<[prop::sample::Index; 2]>(), numbers, any::<[u8; 16]>(), 0..3_u8, vec(any::<u8>(), 0..200));
    let rest = (0..3_u8, 0..=COUNTER_MAX);
    let lists = (vec(contact, 0..4), vec(conversation, 1..5), vec(sender, 1..5), vec(message, 0..20));
    (lists, 0..=COUNTER_MAX, rest).prop_map(|((contacts, conversations, senders, drafts), walked, (rest, count))| {
        let logs_count = conversations.iter().map(|of| of.logs.len()).sum();
        let messages = drafts.into_iter().map(
            |([log, sender], (seq, sender_seq, sent, accepted), mut dedup, reached, content)| {
                dedup[0] |= 1;
                HistoryMessage {
                    log: u16::try_from(log.index(logs_count)).unwrap(),
                    sender: u16::try_from(sender.index(senders.len())).unwrap(),
                    seq: Seq::from_u64(seq),
                    sender_seq: SenderSeq::from_u64(sender_seq),
                    dedup: DedupId::from_bytes(dedup),
                    sent_ms: UnixMs::from_u64(sent),
                    accepted_ms: UnixMs::from_u64(accepted),
                    reached: [HistoryReached::Untold, HistoryReached::Delivered, HistoryReached::Read]
                        [usize::from(reached)],
                    content,
                }
            },
        );
        let messages = messages.collect();
        let digest = HistoryDigest::EMPTY;
        let rest =
            [HistoryRest::Follows, HistoryRest::Done { count, digest }, HistoryRest::Cancelled][usize::from(rest)];
        HistoryChunk { walked, contacts, conversations, senders, messages, rest }
    })
}
