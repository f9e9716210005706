//! Inbox entries, introductions and Welcome notes: what opens where, who signs, what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone::crypto::Secret32;
use undertone::crypto::hpke::{ENCAPPED_LEN, SealPublic, SealSecret};
use undertone::crypto::label;
use undertone::crypto::sign::SigningKey;
use undertone::envelope::address::{ADDRESS_LEN, InboxAddress};
use undertone::envelope::first_contact::{IntroducedMember, Introduction, LogPlace, LogSecrets, NameHint, WelcomeNote};
use undertone::envelope::inbox::{self, BODY_LEN_MAX, InboxEntry, InboxError, InboxKind, InboxPlace};
use undertone::envelope::padding::bucket;
use undertone::envelope::{ConversationId, DecodeError, Extensions, LogOrder, LogRoot};
use undertone::identity::{AccountId, CREDENTIAL_LEN_MAX, DeviceId, DisplayName, RelayUrl};
use undertone_wire::frame::Checkpoint;
use undertone_wire::id::{EntryId, Generation, Head, LogId, Seq};
use undertone_wire::limits::PAYLOAD_LEN_MAX;

const PLACE: InboxPlace = InboxPlace {
    inbox: LogId::from_bytes([1; 32]),
    entry: EntryId::from_bytes([2; 16]),
    recipient: DeviceId::from_bytes([3; 32]),
};

// spec ENV-30, spec ENV-35
#[test]
fn an_entry_opens_in_its_place_and_names_its_sender() {
    let (secret, signer) = (seal_secret(), signing_key(5));
    for entry in [first_contact(), InboxEntry::welcome(vec![9; 40], vec![1, 2], &signer, &PLACE)] {
        let sealed = seal(&secret.public(), &entry);
        assert_eq!(sealed.len(), ENCAPPED_LEN + bucket(1) + 16);
        assert!(!sealed.windows(40).any(|window| window == [9; 40]));
        let opened = inbox::open(&secret, &PLACE, &sealed).unwrap();
        assert_eq!(opened, entry);
        assert_eq!((opened.sender(), opened.body()), (&[9; 40][..], &[1, 2][..]));
    }
}

// A-RE-14, A-DM-06, spec ENV-31
#[test]
fn an_entry_moved_to_another_inbox_entry_or_device_does_not_open() {
    let secret = seal_secret();
    let sealed = seal(&secret.public(), &first_contact());
    let moved = [
        InboxPlace { inbox: LogId::from_bytes([9; 32]), ..PLACE },
        InboxPlace { entry: EntryId::from_bytes([9; 16]), ..PLACE },
        InboxPlace { recipient: DeviceId::from_bytes([9; 32]), ..PLACE },
    ];
    for place in moved {
        assert_eq!(inbox::open(&secret, &place, &sealed), Err(InboxError::DoesNotOpen));
    }
    let other = SealSecret::from_seed(Secret32::from_bytes([8; 32]));
    assert_eq!(inbox::open(&other, &PLACE, &sealed), Err(InboxError::DoesNotOpen));
}

// spec ENV-31
#[test]
fn an_entry_with_any_byte_changed_cut_or_added_does_not_open() {
    let secret = seal_secret();
    let sealed = seal(&secret.public(), &first_contact());
    for index in (0..sealed.len()).step_by(61).chain([sealed.len() - 1]) {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert_eq!(inbox::open(&secret, &PLACE, &changed), Err(InboxError::DoesNotOpen), "byte {index}");
        assert_eq!(inbox::open(&secret, &PLACE, &sealed[..index]), Err(InboxError::DoesNotOpen), "cut at {index}");
    }
    assert_eq!(inbox::open(&secret, &PLACE, &[&sealed[..], &[0]].concat()), Err(InboxError::DoesNotOpen));
    assert_eq!(inbox::open(&secret, &PLACE, &vec![0; PAYLOAD_LEN_MAX + 1]), Err(InboxError::DoesNotOpen));
}

// spec ENV-32, spec ENV-33
#[test]
fn only_a_welcome_is_signed() {
    let mut contact = first_contact().encode();
    assert_eq!(contact.pop(), Some(0), "no signature");
    contact.push(1);
    contact.extend_from_slice(&[7; 64]);
    assert_eq!(InboxEntry::decode(&contact), Err(DecodeError::Range { field: "signature" }));

    let mut welcome = InboxEntry::welcome(vec![9], vec![1], &signing_key(5), &PLACE).encode();
    welcome.truncate(welcome.len() - 65);
    welcome.push(0);
    assert_eq!(InboxEntry::decode(&welcome), Err(DecodeError::Range { field: "signature" }));
    let refused = first_contact().verify_welcome(&signing_key(5).verify_key(), &PLACE);
    assert_eq!(refused, Err(InboxError::BadSignature));
}

// spec ENV-33
#[test]
fn a_welcome_signed_for_another_place_body_or_by_another_is_refused() {
    let key = signing_key(5);
    let welcome = InboxEntry::welcome(vec![9], vec![1, 2], &key, &PLACE);
    assert_eq!(welcome.verify_welcome(&key.verify_key(), &PLACE), Ok(()));
    let moved = [
        InboxPlace { inbox: LogId::from_bytes([9; 32]), ..PLACE },
        InboxPlace { entry: EntryId::from_bytes([9; 16]), ..PLACE },
        InboxPlace { recipient: DeviceId::from_bytes([9; 32]), ..PLACE },
    ];
    for place in moved {
        assert_eq!(welcome.verify_welcome(&key.verify_key(), &place), Err(InboxError::BadSignature));
    }
    let stranger = signing_key(6).verify_key();
    assert_eq!(welcome.verify_welcome(&stranger, &PLACE), Err(InboxError::BadSignature));
    let mut changed = welcome.encode();
    let body_at = 1 + 1 + 2 + 1;
    changed[body_at] ^= 1;
    let changed = InboxEntry::decode(&changed).unwrap();
    assert_eq!(changed.body(), [0, 2]);
    assert_eq!(changed.verify_welcome(&key.verify_key(), &PLACE), Err(InboxError::BadSignature));
}

// spec ENV-34
#[test]
fn an_entry_out_of_bounds_is_refused() {
    let secret = seal_secret();
    let entry =
        |sender_len, body_len| InboxEntry::note(InboxKind::Introduction, vec![9; sender_len], vec![1; body_len]);
    let largest = entry(CREDENTIAL_LEN_MAX, BODY_LEN_MAX);
    let sealed = seal(&secret.public(), &largest);
    assert!(sealed.len() <= PAYLOAD_LEN_MAX);
    assert_eq!(inbox::open(&secret, &PLACE, &sealed), Ok(largest));
    for entry in [entry(0, 1), entry(CREDENTIAL_LEN_MAX + 1, 1), entry(1, BODY_LEN_MAX + 1)] {
        assert_eq!(InboxEntry::decode(&entry.encode()), Err(DecodeError::Range { field: "inbox entry" }));
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(inbox::seal(&secret.public(), &PLACE, &entry, &mut rng), Err(InboxError::TooLong));
    }
}

// spec ENV-35
#[test]
fn other_padding_is_refused() {
    let secret = seal_secret();
    let bytes = first_contact().encode();
    let open = |padded_len: usize, last: u8| {
        let mut padded = [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
        padded.resize(padded_len, 0);
        padded[padded_len - 1] = last;
        let fields: [&[u8]; 3] = [PLACE.inbox.as_bytes(), PLACE.entry.as_bytes(), PLACE.recipient.as_bytes()];
        let mut rng = StdRng::seed_from_u64(1);
        let sealed = secret.public().seal(label::INBOX_SEAL, &fields, &[], &padded, &mut rng).unwrap();
        inbox::open(&secret, &PLACE, &sealed)
    };
    assert!(open(bucket(1), 0).is_ok());
    let refused = Err(InboxError::Entry(DecodeError::Range { field: "padding" }));
    for (padded_len, last) in [(bucket(1), 1), (bucket(1) + 1, 0), (bucket(1) - 1, 0)] {
        assert_eq!(open(padded_len, last), refused);
    }
}

// spec ENV-70, spec ENV-71
#[test]
fn malformed_entries_introductions_and_notes_are_errors() {
    let entry = InboxEntry::welcome(vec![9], vec![1], &signing_key(5), &PLACE).encode();
    refuses_damage(&entry, |bytes| InboxEntry::decode(bytes).map(|entry| entry.encode()));
    refuses_damage(&introduction().encode(), |bytes| Introduction::decode(bytes).map(|value| value.encode().to_vec()));
    refuses_damage(&note().encode(), |bytes| WelcomeNote::decode(bytes).map(|note| note.encode()));
    let mut unknown = entry;
    unknown[1] = 6;
    assert_eq!(InboxEntry::decode(&unknown), Err(DecodeError::Kind { kind: 6 }));
    assert_eq!(first_contact().kind(), InboxKind::Introduction);
}

// spec DEL-55: the byte map, and nothing beside it.
#[test]
fn an_address_has_one_length_and_one_version() {
    let address = [vec![1], vec![7; ADDRESS_LEN - 1]].concat();
    assert_eq!(InboxAddress::decode(&address).unwrap().encode(), address);
    for len in 0..ADDRESS_LEN {
        assert!(InboxAddress::decode(&address[..len]).is_err(), "{len} bytes");
    }
    assert!(InboxAddress::decode(&[address.as_slice(), &[0]].concat()).is_err(), "a byte more");
    assert!(InboxAddress::decode(&[&[2], &address[1..]].concat()).is_err(), "another version");
}

#[test]
fn a_malformed_seal_key_is_an_error() {
    let mut rng = StdRng::seed_from_u64(1);
    let sealed = inbox::seal(&SealPublic::from_bytes([0xff; 1_216]), &PLACE, &first_contact(), &mut rng);
    assert_eq!(sealed, Err(InboxError::BadSealKey));
}

// spec ENV-03, spec ENV-44
#[test]
fn an_introduction_to_another_log_than_that_of_its_root_conversation_and_order_is_refused() {
    let introduction = introduction();
    let secret = Secret32::from_bytes([4; 32]);
    let LogPlace { conversation, order, .. } = introduction.place();
    assert_eq!(introduction.log(), LogRoot::of_first(&secret).log_id(&conversation, order));
    assert!(*introduction.generation_secret() == secret);
    let (log_at, conversation_at, lists_at, round_at) = (1, 33, 65, 73);
    let ends = [log_at, conversation_at, lists_at, round_at, ROOT_AT, ROOT_AT + 31];
    for index in ends.into_iter().chain([conversation_at - 1, lists_at - 1, round_at - 1, round_at + 3]) {
        let mut changed = introduction.encode();
        changed[index] ^= 1;
        assert_eq!(Introduction::decode(&changed).map(|_| ()), Err(DecodeError::Range { field: "log" }));
    }
}

// spec ENV-44: in the first generation the secret gives the root, and the log is empty.
#[test]
fn an_introduction_to_a_first_generation_begins_where_its_secret_says() {
    let bytes = introduction().encode();
    let (generation_at, secret_at, seq_at, head_at) = (ROOT_AT - 40, ROOT_AT - 32, ROOT_AT + 32, ROOT_AT + 40);
    for (index, field) in [(secret_at, "root"), (seq_at + 7, "checkpoint"), (head_at, "checkpoint")] {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        assert_eq!(Introduction::decode(&changed).map(|_| ()), Err(DecodeError::Range { field }));
    }
    // Behind a turn any secret serves, and any place.
    let mut later = bytes.clone();
    later[secret_at - 1] = 1;
    later[secret_at] ^= 1;
    later[seq_at + 7] = 9;
    assert_eq!(Introduction::decode(&later).unwrap().checkpoint.seq, Seq::from_u64(9));
    for (index, field) in [(generation_at, "generation"), (seq_at, "checkpoint.seq")] {
        let mut changed = later.clone();
        changed[index] = 0xff;
        assert_eq!(Introduction::decode(&changed).map(|_| ()), Err(DecodeError::Range { field }));
    }
}

// spec ENV-45
#[test]
fn names_and_urls_that_deceive_are_refused() {
    let bytes = introduction().encode();
    let name_at = NAME_AT;
    assert_eq!(&bytes[name_at..name_at + 4], b"\x03Ann");
    let named = |name: &[u8]| {
        let changed = [&bytes[..name_at], &[name.len() as u8], name, &bytes[name_at + 4..]].concat();
        Introduction::decode(&changed).map(|introduction| introduction.lower.name)
    };
    assert_eq!(named("Zoë".as_bytes()), Ok(DisplayName::new("Zoë").unwrap()));
    let nul = &b"A\0n"[..];
    let invalid = &b"A\xffn"[..];
    for name in [nul, invalid, "a\u{202e}b".as_bytes(), "a\u{200b}b".as_bytes(), b"", b" "] {
        assert_eq!(named(name), Err(DecodeError::Malformed), "{name:?}");
    }
    let long = [&bytes[..name_at], &[0x40, 65], &[b'a'; 65][..], &bytes[name_at + 4..]].concat();
    assert_eq!(Introduction::decode(&long).map(|_| ()), Err(DecodeError::Malformed));
    let url_at = bytes.len() - 2;
    let mut spaced = bytes.to_vec();
    spaced[url_at] = b' ';
    assert_eq!(Introduction::decode(&spaced).map(|_| ()), Err(DecodeError::Malformed));
}

// spec ENV-46
#[test]
fn a_note_with_numbers_out_of_range_is_refused() {
    let generation = WelcomeNote { generation: Generation::from_u64(u64::MAX), ..note() };
    assert_eq!(WelcomeNote::decode(&generation.encode()), Err(DecodeError::Range { field: "generation" }));
    let checkpoint = Checkpoint { seq: Seq::from_u64(u64::MAX), head: Head::from_bytes([0; 32]) };
    let seq = WelcomeNote { checkpoint, ..note() };
    assert_eq!(WelcomeNote::decode(&seq.encode()), Err(DecodeError::Range { field: "checkpoint.seq" }));
}

// spec ENV-47, A-FA-10
#[test]
fn an_introduction_shows_neither_secret_nor_name() {
    let shown = format!("{:?}", introduction());
    assert!(shown.contains("Secret32(…)") && !shown.contains("Ann"), "{shown}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..80usize) {
        for start in [first_contact().encode(), introduction().encode().to_vec(), note().encode()] {
            let bytes = [&start[..at.min(start.len())], &bytes].concat();
            if let Ok(entry) = InboxEntry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes.clone());
            }
            if let Ok(introduction) = Introduction::decode(&bytes) {
                prop_assert_eq!(introduction.encode().to_vec(), bytes.clone());
            }
            if let Ok(address) = InboxAddress::decode(&bytes) {
                prop_assert_eq!(address.encode(), bytes.clone());
            }
            if let Ok(note) = WelcomeNote::decode(&bytes) {
                prop_assert_eq!(note.encode(), bytes);
            }
        }
    }
}

fn refuses_damage(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<Vec<u8>, DecodeError>) {
    assert_eq!(decode(bytes).as_deref(), Ok(bytes));
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut]), Err(DecodeError::Malformed), "cut at {cut}");
    }
    assert_eq!(decode(&[bytes, &[0]].concat()), Err(DecodeError::Malformed), "trailing byte");
    assert_eq!(decode(&[bytes, bytes].concat()), Err(DecodeError::Malformed), "two glued");
    for version in [0, 2, 255] {
        assert_eq!(decode(&[&[version], &bytes[1..]].concat()), Err(DecodeError::Version { version }));
    }
    assert!(matches!(decode(&vec![1; 70_000]), Err(DecodeError::TooLong { .. })));
}

fn seal_secret() -> SealSecret {
    SealSecret::from_seed(Secret32::from_bytes([7; 32]))
}

fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Secret32::from_bytes([seed; 32]))
}

fn seal(to: &SealPublic, entry: &InboxEntry) -> Vec<u8> {
    inbox::seal(to, &PLACE, entry, &mut StdRng::seed_from_u64(1)).unwrap()
}

fn first_contact() -> InboxEntry {
    InboxEntry::note(InboxKind::Introduction, vec![9; 40], vec![1, 2])
}

/// Where the root of the log stands in [`introduction`].
const ROOT_AT: usize = 1 + 32 + 32 + (8 + 4) + 8 + 32;
/// Where the name of the first member stands.
const NAME_AT: usize = ROOT_AT + 32 + 8 + 32;

fn introduction() -> Introduction {
    let secrets = LogSecrets::first(Secret32::from_bytes([4; 32]));
    let start = Checkpoint { seq: Seq::from_u64(0), head: undertone_wire::chain::EMPTY };
    let members = [member("Ann"), member("Bob")];
    let (conversation, order) = (ConversationId::from_bytes([3; 32]), LogOrder { lists: 2, round: 1 });
    let place = LogPlace { conversation, order, generation: Generation::FIRST };
    Introduction::new(place, secrets, start, members, RelayUrl::new("ws://a").unwrap())
}

fn member(name: &str) -> IntroducedMember {
    IntroducedMember { name: DisplayName::new(name).unwrap(), certificate: vec![5; 4], device_list: vec![6; 5] }
}

fn note() -> WelcomeNote {
    WelcomeNote {
        log: LogId::from_bytes([1; 32]),
        generation: Generation::from_u64(2),
        checkpoint: Checkpoint { seq: Seq::from_u64(3), head: Head::from_bytes([4; 32]) },
        welcome: vec![5; 6],
        names: vec![NameHint { account: AccountId::from_bytes([5; 32]), name: DisplayName::new("Bob").unwrap() }],
        extensions: Extensions::NONE,
    }
}
