//! Bundles and first messages: what is used, what is refused, what is consumed (spec/dm, rules DM-02 to DM-17).
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

mod dm_scene;

use dm_scene::{Person, days, flips, start};
use proptest::prelude::*;
use undertone::crypto::label::{ALL, Label, PREKEY, transcript};
use undertone::crypto::sign::{Signature, SigningKey};
use undertone::dm::wrap::Wrap;
use undertone::dm::{
    self, BundleBody, ChunkLen, DmError, FirstMessage, Handshake, OneTimeItem, PrekeyFault, Start, message_overhead_len,
};
use undertone::store::Table;

/// The byte map of a body behind its version byte (spec DM-05).
mod body_map {
    pub(super) const DH_TERMS: usize = 1;
    pub(super) const DH_KEY: usize = DH_TERMS + 26;
    pub(super) const DH_SIGNATURE: usize = DH_KEY + 32;
    pub(super) const KEM_TERMS: usize = DH_SIGNATURE + 64;
    pub(super) const KEM_KEY: usize = KEM_TERMS + 26;
    pub(super) const KEM_SIGNATURE: usize = KEM_KEY + 1_184;
    pub(super) const LEN: usize = KEM_SIGNATURE + 64;
}

/// The byte map of an item (spec DM-05).
mod item_map {
    pub(super) const TERMS: usize = 1;
    pub(super) const DH_KEY: usize = TERMS + 26;
    pub(super) const KEM_KEY: usize = DH_KEY + 32;
    pub(super) const SIGNATURE: usize = KEM_KEY + 1_184;
    pub(super) const LEN: usize = SIGNATURE + 64;
}

/// The byte map of a handshake with a one-time pair (spec DM-10).
mod handshake_map {
    pub(super) const CHUNK_LEN: usize = 1;
    pub(super) const SIGNED: usize = CHUNK_LEN + 2;
    pub(super) const PAIR: usize = SIGNED + 8;
    pub(super) const EPHEMERAL: usize = PAIR + 9;
    pub(super) const CIPHERTEXT: usize = EPHEMERAL + 32;
    pub(super) const LEN: usize = CIPHERTEXT + 1_088;
}

fn bad(fault: PrekeyFault) -> DmError {
    DmError::BadPrekey { fault }
}

fn people() -> (Person, Person) {
    (Person::new("Alice"), Person::new("Bob"))
}

/// The points of low order and the encodings past the prime (RFC 7748 §6.1, and the known list of eight).
fn weak_keys() -> Vec<[u8; 32]> {
    let hex = |text: &str| {
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn::<u8, 32, _>(byte)
    };
    let mut keys = vec![
        hex("0000000000000000000000000000000000000000000000000000000000000000"),
        hex("0100000000000000000000000000000000000000000000000000000000000000"),
        hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ];
    let mut second_encoding_of_nine = [0; 32];
    second_encoding_of_nine[0] = 9;
    second_encoding_of_nine[31] = 0x80;
    keys.push(second_encoding_of_nine);
    keys
}

/// A body whose prekey at `terms..signature` the owner signed as it now stands.
fn re_signed(owner: &SigningKey, id: &[u8], bytes: &mut [u8], terms: usize, signature: usize, label: Label) {
    let signed = owner.sign(label, &[&[1], id, &bytes[terms..signature]]);
    bytes[signature..signature + 64].copy_from_slice(signed.as_bytes());
}

fn re_signed_dh(bob: &Person, mut bytes: Vec<u8>, label: Label) -> BundleBody {
    let id = bob.id();
    re_signed(bob.us.signing_key(), id.as_bytes(), &mut bytes, body_map::DH_TERMS, body_map::DH_SIGNATURE, label);
    BundleBody::decode(&bytes).unwrap()
}

// spec DM-05, spec DM-10
#[test]
fn structures_have_the_lengths_of_their_byte_maps_and_one_encoding() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    assert_eq!(body.encode().len(), body_map::LEN);
    assert_eq!(items[0].encode().len(), item_map::LEN);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    assert_eq!(first.handshake.as_slice().len(), handshake_map::LEN);
    assert_eq!(Handshake::decode(first.handshake.as_slice()).unwrap().encode(), first.handshake.as_slice());
    assert_eq!(FirstMessage::decode(&first.encode()).unwrap(), first);
    for bytes in [body.encode(), items[0].encode(), first.encode()] {
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(BundleBody::decode(&longer).is_err());
        assert!(OneTimeItem::decode(&longer).is_err());
        assert!(FirstMessage::decode(&longer).is_err());
    }
    // A length in four bytes where two suffice.
    let encoded = first.encode();
    let second = [&encoded[..1], &[0x80, 0, encoded[1] & 0x3f, encoded[2]], &encoded[3..]].concat();
    assert_eq!(FirstMessage::decode(&second).unwrap_err(), DmError::Malformed);
}

// A-DM-12, spec DM-01
#[test]
fn another_version_is_refused_by_its_number() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    for version in [0, 2, 255] {
        let error = DmError::UnsupportedVersion { version };
        let with = |mut bytes: Vec<u8>| {
            bytes[0] = version;
            bytes
        };
        assert_eq!(BundleBody::decode(&with(body.encode())).unwrap_err(), error);
        assert_eq!(OneTimeItem::decode(&with(items[0].encode())).unwrap_err(), error);
        assert_eq!(FirstMessage::decode(&with(first.encode())).unwrap_err(), error);
        let handshake = with(first.handshake.clone());
        let lowered = FirstMessage { handshake, message: first.message.clone() };
        assert_eq!(bob.accept(&alice, &lowered).unwrap_err(), error);
    }
}

// A-DM-12, spec DM-10, spec DM-14: the length of the chunks is fixed by the handshake, within its bounds.
#[test]
fn a_chunk_length_is_bounded_and_bound() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    let with = |chunk_len: u16| {
        let mut handshake = first.handshake.clone();
        handshake[handshake_map::CHUNK_LEN..handshake_map::SIGNED].copy_from_slice(&chunk_len.to_be_bytes());
        FirstMessage { handshake, message: first.message.clone() }
    };
    for chunk_len in [0, 31, 1_185, u16::MAX] {
        assert_eq!(bob.accept(&alice, &with(chunk_len)).unwrap_err(), DmError::Malformed);
        assert_eq!(ChunkLen::new(chunk_len), None);
    }
    for chunk_len in [32, 36, 38, 1_184] {
        assert_eq!(bob.accept(&alice, &with(chunk_len)).unwrap_err(), DmError::Authentication);
    }
    assert!(bob.accept(&alice, &with(37)).is_ok());
}

// spec DM-10, spec DM-20: a session with chunks of another length.
#[test]
fn a_session_has_the_chunks_that_its_initiator_chose() {
    for chunk_len in [ChunkLen::MIN, ChunkLen::WHOLE] {
        let (alice, bob) = people();
        let (body, items) = bob.publish(1);
        let (item, rng) = (items.first(), &mut rand::rng());
        let first = alice.step(|tx, us| {
            dm::initiate_with(tx, us, bob.device(), &body, item, chunk_len, dm_scene::AD, b"x", alice.now, rng)
        });
        bob.accept(&alice, &first.unwrap()).unwrap();
        for _ in 0..4 {
            assert_eq!(bob.seal(&alice, b"").len(), message_overhead_len(chunk_len));
            dm_scene::round_trip(&alice, &bob);
        }
        let epoch = alice.info(&bob).pq_epoch.as_u32();
        assert_eq!(epoch > 0, chunk_len == ChunkLen::WHOLE, "{chunk_len:?}: epoch {epoch}");
    }
}

// A-DM-14, spec DM-17, spec DM-44: a thousand first messages at once, all with the prekey of last resort.
#[test]
fn a_thousand_first_messages_leave_nine_sessions_and_a_thousand_hashes() {
    let (alice, bob) = people();
    let (body, _) = bob.publish(0);
    let before = bob.store.rows(Table::Prekeys).len();
    for _ in 0..1_000 {
        let first = alice.initiate(&bob, &body, None, b"x").unwrap();
        bob.accept(&alice, &first).unwrap();
    }
    assert_eq!(bob.store.rows(Table::Sessions).len(), 9);
    assert_eq!(bob.store.rows(Table::SkippedKeys).len(), 0);
    assert_eq!(bob.store.rows(Table::Prekeys).len(), before + 1_000 + 1, "and their count");
    let row_len = |rows: &[undertone::store::Row]| rows.iter().map(|(key, value)| key.len() + value.len()).max();
    assert!(row_len(&bob.store.rows(Table::Sessions)).unwrap() < 4_096);
}

// A-DM-12, spec DM-13: without its KEM part a handshake is no handshake, and with another KEM part it opens nothing.
#[test]
fn the_post_quantum_part_cannot_be_stripped_or_replaced() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    let handshake = first.handshake.as_slice();
    let with = |handshake: Vec<u8>| FirstMessage { handshake, message: first.message.clone() };
    let stripped = with(handshake[..handshake_map::CIPHERTEXT].to_vec());
    assert_eq!(bob.accept(&alice, &stripped).unwrap_err(), DmError::Malformed);
    let mut zeroed = handshake.to_vec();
    zeroed[handshake_map::CIPHERTEXT..].fill(0);
    assert_eq!(bob.accept(&alice, &with(zeroed)).unwrap_err(), DmError::Authentication);
    assert!(bob.accept(&alice, &first).is_ok());
}

// A-DM-01, spec DM-12
#[test]
fn weak_and_non_canonical_keys_are_refused_in_every_place() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    for key in weak_keys() {
        let mut bytes = body.encode();
        bytes[body_map::DH_KEY..body_map::DH_SIGNATURE].copy_from_slice(&key);
        let weak = re_signed_dh(&bob, bytes, PREKEY);
        assert_eq!(alice.initiate(&bob, &weak, None, b"x").unwrap_err(), DmError::WeakKey, "signed prekey");

        let mut bytes = items[0].encode();
        bytes[item_map::DH_KEY..item_map::KEM_KEY].copy_from_slice(&key);
        let id = bob.id();
        let signer = bob.us.signing_key();
        re_signed(signer, id.as_bytes(), &mut bytes, item_map::TERMS, item_map::SIGNATURE, PREKEY);
        let weak = OneTimeItem::decode(&bytes).unwrap();
        assert_eq!(alice.initiate(&bob, &body, Some(&weak), b"x").unwrap_err(), DmError::WeakKey, "one-time prekey");

        let mut handshake = first.handshake.clone();
        handshake[handshake_map::EPHEMERAL..handshake_map::CIPHERTEXT].copy_from_slice(&key);
        let weak = FirstMessage { handshake, message: first.message.clone() };
        assert_eq!(bob.accept(&alice, &weak).unwrap_err(), DmError::WeakKey, "base key");
    }
    assert!(bob.accept(&alice, &first).is_ok());
}

// A-DM-01, spec DM-12
#[test]
fn a_malformed_kem_prekey_is_refused() {
    let (alice, bob) = people();
    let (body, _) = bob.publish(0);
    let mut bytes = body.encode();
    bytes[body_map::KEM_KEY..body_map::KEM_KEY + 3].fill(0xff);
    let id = bob.id();
    let signer = bob.us.signing_key();
    re_signed(signer, id.as_bytes(), &mut bytes, body_map::KEM_TERMS, body_map::KEM_SIGNATURE, PREKEY);
    let malformed = BundleBody::decode(&bytes).unwrap();
    assert_eq!(alice.initiate(&bob, &malformed, None, b"x").unwrap_err(), DmError::WeakKey);
}

// A-DM-02, A-DM-36, spec DM-02, spec DM-03
#[test]
fn a_prekey_is_refused_unless_its_device_signed_it_as_a_prekey() {
    let (alice, bob) = people();
    let carol = Person::new("Carol");
    let (body, items) = bob.publish(1);
    let bytes = body.encode();
    for at in [body_map::DH_SIGNATURE, body_map::KEM_SIGNATURE] {
        let mut missing = bytes.clone();
        missing[at..at + 64].fill(0);
        let body = BundleBody::decode(&missing).unwrap();
        assert_eq!(alice.initiate(&bob, &body, None, b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
    }
    let by_another = re_signed_dh(&Person { us: carol.us, ..Person::new("x") }, bytes.clone(), PREKEY);
    assert_eq!(alice.initiate(&bob, &by_another, None, b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
    // The right key, for another device: the device stands inside.
    let mut for_another = bytes.clone();
    let signer = bob.us.signing_key();
    re_signed(signer, alice.id().as_bytes(), &mut for_another, body_map::DH_TERMS, body_map::DH_SIGNATURE, PREKEY);
    let for_another = BundleBody::decode(&for_another).unwrap();
    assert_eq!(alice.initiate(&bob, &for_another, None, b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
    for label in ALL.iter().filter(|label| **label != PREKEY) {
        let in_another_domain = re_signed_dh(&bob, bytes.clone(), *label);
        let refused = alice.initiate(&bob, &in_another_domain, None, b"x").unwrap_err();
        assert_eq!(refused, bad(PrekeyFault::Unsigned), "{label:?}");
    }
    let mut unsigned = items[0].encode();
    unsigned[item_map::SIGNATURE] ^= 1;
    let unsigned = OneTimeItem::decode(&unsigned).unwrap();
    assert_eq!(alice.initiate(&bob, &body, Some(&unsigned), b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
    assert!(
        alice.initiate(&bob, &re_signed_dh(&bob, bytes, PREKEY), None, b"x").is_ok(),
        "the harness signs as Bob does"
    );
}

// A-DM-16, spec DM-02: every field of a bundle is signed.
#[test]
fn a_bundle_with_any_byte_changed_is_refused() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    for (at, changed) in flips(&body.encode()).enumerate() {
        let Ok(body) = BundleBody::decode(&changed) else { continue };
        if at % 16 == 0 || at < 200 {
            assert!(alice.initiate(&bob, &body, None, b"x").is_err(), "byte {at}");
        }
    }
    for (at, changed) in flips(&items[0].encode()).enumerate().filter(|(at, _)| at % 16 == 0 || *at < 100) {
        let Ok(item) = OneTimeItem::decode(&changed) else { continue };
        assert!(alice.initiate(&bob, &body, Some(&item), b"x").is_err(), "byte {at}");
    }
}

// A-DM-03, A-DM-36, spec DM-04
#[test]
fn a_prekey_serves_only_where_its_kind_belongs() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    // All signed by the right key under the right label; only the kind, or the flag that contradicts it, is wrong.
    for (offset, value) in [(0, 2), (0, 3), (25, 0)] {
        let mut bytes = body.encode();
        bytes[body_map::DH_TERMS + offset] = value;
        let odd = re_signed_dh(&bob, bytes, PREKEY);
        assert_eq!(alice.initiate(&bob, &odd, None, b"x").unwrap_err(), bad(PrekeyFault::WrongKind));
    }
    for (offset, value) in [(0, 1), (0, 2), (25, 1)] {
        let mut bytes = items[0].encode();
        bytes[item_map::TERMS + offset] = value;
        let id = bob.id();
        let signer = bob.us.signing_key();
        re_signed(signer, id.as_bytes(), &mut bytes, item_map::TERMS, item_map::SIGNATURE, PREKEY);
        let odd = OneTimeItem::decode(&bytes).unwrap();
        assert_eq!(alice.initiate(&bob, &body, Some(&odd), b"x").unwrap_err(), bad(PrekeyFault::WrongKind));
    }
    // The prekeys of two bodies, each signed, joined: the handshake could not name both.
    let mut later = Person { now: start().after(days(8)), ..bob };
    let (newer, _) = later.publish(0);
    later.now = start();
    let joined = [&body.encode()[..body_map::KEM_TERMS], &newer.encode()[body_map::KEM_TERMS..]].concat();
    let joined = BundleBody::decode(&joined).unwrap();
    let alice = Person { now: start().after(days(8)), ..alice };
    assert_eq!(alice.initiate(&later, &joined, None, b"x").unwrap_err(), bad(PrekeyFault::WrongKind));
    // The bytes of a signing key are no DH prekey: nothing here takes a key without terms and signature of its kind.
    let mut bytes = newer.encode();
    let signing = *later.device().signing();
    bytes[body_map::DH_KEY..body_map::DH_SIGNATURE].copy_from_slice(signing.as_bytes());
    let foreign = BundleBody::decode(&bytes).unwrap();
    assert_eq!(alice.initiate(&later, &foreign, None, b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
}

// A-DM-11, spec DM-06
#[test]
fn prekeys_are_used_within_their_dates_and_a_day_of_skew() {
    let (mut alice, bob) = people();
    let (body, items) = bob.publish(1);
    let mut at = |now| {
        alice.now = now;
        (alice.initiate(&bob, &body, None, b"x").map(drop), alice.initiate(&bob, &body, items.first(), b"x").map(drop))
    };
    assert_eq!(at(start().before(days(1))), (Ok(()), Ok(())));
    let early = Err(bad(PrekeyFault::NotYetValid));
    assert_eq!(at(start().before(days(2))), (early, early));
    assert_eq!(at(start().after(days(30))), (Ok(()), Ok(())));
    let expired = Err(bad(PrekeyFault::Expired));
    assert_eq!(at(start().after(days(31))), (expired, expired));
}

// A-DM-11, spec DM-06: a pair of its own, because a newer body may stand beside an older item.
#[test]
fn a_one_time_pair_expires_after_90_days() {
    let (mut alice, mut bob) = people();
    let (_, items) = bob.publish(1);
    for (day, expected) in [(90, Ok(())), (91, Err(bad(PrekeyFault::Expired)))] {
        (alice.now, bob.now) = (start().after(days(day)), start().after(days(day)));
        let (body, _) = bob.publish(0);
        assert_eq!(alice.initiate(&bob, &body, items.first(), b"x").map(drop), expected);
    }
}

// A-DM-11, spec DM-08, spec DM-15
#[test]
fn a_first_message_is_accepted_as_long_as_it_may_wait_and_not_longer() {
    let (mut alice, mut bob) = people();
    let (body, _) = bob.publish(0);
    alice.now = start().after(days(30));
    let one = alice.initiate(&bob, &body, None, b"waited").unwrap();
    let two = alice.initiate(&bob, &body, None, b"waited").unwrap();
    bob.now = start().after(days(60));
    assert_eq!(bob.accept(&alice, &one).unwrap().as_slice(), b"waited");
    bob.now = start().after(days(61));
    assert_eq!(bob.accept(&alice, &two).unwrap_err(), bad(PrekeyFault::Expired));
}

// spec DM-07, spec DM-08, spec DM-09
#[test]
fn the_signed_prekey_turns_weekly_and_the_old_one_goes_when_no_first_message_can_be_on_its_way() {
    let (alice, mut bob) = people();
    let publish =
        |bob: &Person, count| bob.step(|tx, us| dm::replenish(tx, us, count, bob.now, &mut rand::rng())).unwrap();
    let first = publish(&bob, 2);
    assert_eq!((first.version, first.items.len()), (1, 2));
    bob.now = start().after(days(6));
    let same = publish(&bob, 1);
    assert_eq!((same.version, &same.body), (1, &first.body));
    let old = BundleBody::decode(&first.body).unwrap();
    let messages = [(); 2].map(|()| alice.initiate(&bob, &old, None, b"to the old prekey").unwrap());
    bob.now = start().after(days(7));
    let turned = publish(&bob, 0);
    assert_eq!(turned.version, 2);
    assert_ne!(turned.body, first.body);
    // It may be used for 30 days, and what is sent then may wait for 30 more.
    bob.now = start().after(days(60));
    publish(&bob, 0);
    assert!(bob.accept(&alice, &messages[0]).is_ok());
    bob.now = start().after(days(61));
    publish(&bob, 0);
    assert_eq!(bob.accept(&alice, &messages[1]).unwrap_err(), bad(PrekeyFault::Unknown));
    assert_eq!(bob.accept(&alice, &messages[0]).unwrap_err(), bad(PrekeyFault::Unknown), "and no replay opens");
    bob.now = start().after(days(121));
    let before = bob.store.rows(Table::Prekeys).len();
    publish(&bob, 0);
    assert!(bob.store.rows(Table::Prekeys).len() < before, "the one-time pairs went after 90 and 30 days");
}

// spec DM-09
#[test]
fn a_publication_has_at_most_128_new_pairs() {
    let bob = Person::new("Bob");
    let asked = bob.step(|tx, us| dm::replenish(tx, us, 129, bob.now, &mut rand::rng()));
    assert_eq!(asked.unwrap_err(), DmError::TooMany);
}

// A-DM-04, spec DM-14: the KEM key stands in the transcript, so that the same secret under another key is another session.
#[test]
fn a_handshake_moved_to_another_prekey_does_not_open() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(2);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    let other = alice.initiate(&bob, &body, items.get(1), b"hello").unwrap();
    let (one, two) = (first.handshake.as_slice(), other.handshake.as_slice());
    for cut in [handshake_map::EPHEMERAL, handshake_map::CIPHERTEXT] {
        let mixed = FirstMessage { handshake: [&one[..cut], &two[cut..]].concat(), message: first.message.clone() };
        assert_eq!(bob.accept(&alice, &mixed).unwrap_err(), DmError::Authentication);
    }
    let without_pair = [&one[..handshake_map::PAIR], &[0], &one[handshake_map::EPHEMERAL..]].concat();
    let without_pair = FirstMessage { handshake: without_pair, message: first.message.clone() };
    assert_eq!(bob.accept(&alice, &without_pair).unwrap_err(), DmError::Authentication);
    assert!(bob.accept(&alice, &first).is_ok());
}

// A-DM-05, A-DM-06, spec DM-14, spec DM-16
#[test]
fn a_first_message_opens_only_at_its_device_and_only_as_from_its_sender() {
    let (alice, bob) = people();
    let carol = Person::new("Carol");
    let (body, items) = bob.publish(1);
    carol.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    assert_eq!(bob.accept(&carol, &first).unwrap_err(), DmError::Authentication, "as from another");
    assert!(carol.accept(&alice, &first).is_err(), "at another");
    let overlay = undertone::store::Overlay::default();
    let mut tx = undertone::store::Tx::new(&bob.store, &overlay);
    let refused = dm::accept(&mut tx, &bob.us, alice.device(), &first, b"another ad", bob.now).unwrap_err();
    assert_eq!(refused, DmError::Authentication, "in another context");
    assert!(tx.into_batch().is_empty(), "not even a write that says nothing");
    assert!(bob.accept(&alice, &first).is_ok());
}

// A-DM-05: Carol's bundle cannot pass for Bob's, nor Bob's prekeys under Carol's identity.
// spec DM-02
#[test]
fn a_bundle_under_another_identity_is_refused() {
    let (alice, bob) = people();
    let carol = Person::new("Carol");
    let (body, items) = bob.publish(1);
    assert_eq!(alice.initiate(&carol, &body, items.first(), b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
    let (own, _) = carol.publish(0);
    assert_eq!(alice.initiate(&carol, &own, items.first(), b"x").unwrap_err(), bad(PrekeyFault::Unsigned));
}

// A-DM-07, spec DM-46
#[test]
fn a_device_begins_no_session_with_itself() {
    let (alice, bob) = people();
    let (own, _) = alice.publish(0);
    assert_eq!(alice.initiate(&alice, &own, None, b"x").unwrap_err(), DmError::OwnDevice);
    let (body, _) = bob.publish(0);
    let first = alice.initiate(&bob, &body, None, b"x").unwrap();
    assert_eq!(alice.accept(&alice, &first).unwrap_err(), DmError::OwnDevice);
    assert!(alice.accept(&bob, &first).is_err(), "reflected");
}

// A-DM-08, spec DM-17
#[test]
fn a_first_message_is_accepted_once() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    for item in [items.first(), None] {
        let first = alice.initiate(&bob, &body, item, b"hello").unwrap();
        assert!(bob.accept(&alice, &first).is_ok());
        assert_eq!(bob.accept(&alice, &first).unwrap_err(), DmError::Replay);
        // After the session was pushed out by newer ones, and after a restart: the memory is a row.
        for _ in 0..10 {
            let newer = alice.initiate(&bob, &body, None, b"newer").unwrap();
            bob.accept(&alice, &newer).unwrap();
        }
        assert_eq!(bob.accept(&alice, &first).unwrap_err(), DmError::Replay);
        assert_eq!(bob.restarted().accept(&alice, &first).unwrap_err(), DmError::Replay);
    }
}

// A-DM-09, spec DM-17
#[test]
fn a_one_time_pair_serves_one_initiator() {
    let (alice, bob) = people();
    let carol = Person::new("Carol");
    let (body, items) = bob.publish(1);
    let from_alice = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    let from_carol = carol.initiate(&bob, &body, items.first(), b"hello").unwrap();
    assert!(bob.accept(&alice, &from_alice).is_ok());
    assert_eq!(bob.accept(&carol, &from_carol).unwrap_err(), bad(PrekeyFault::Unknown));
}

// A-DM-10, spec DM-11
#[test]
fn a_session_without_a_one_time_pair_is_flagged_on_both_sides() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    for (item, start) in [(items.first(), Start::OneTime), (None, Start::Weak)] {
        let first = alice.initiate(&bob, &body, item, b"hello").unwrap();
        bob.accept(&alice, &first).unwrap();
        assert_eq!(first.start().unwrap(), start);
        assert_eq!((alice.info(&bob).start, bob.info(&alice).start), (start, start));
    }
}

// A-DM-16, A-DM-23, spec DM-43
#[test]
fn a_changed_first_message_is_refused_consumes_nothing_and_the_good_one_still_opens() {
    let (alice, bob) = people();
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"hello").unwrap();
    let encoded = first.encode();
    // The ciphertext's thousand bytes cost a decapsulation each; every seventeenth will do for them.
    let sampled = |at: &usize| !(70..1_100).contains(at) || at.is_multiple_of(17);
    for (at, changed) in flips(&encoded).enumerate().filter(|(at, _)| sampled(at)) {
        let Ok(changed) = FirstMessage::decode(&changed) else { continue };
        assert!(bob.accept(&alice, &changed).is_err(), "byte {at}");
    }
    for len in 0..encoded.len() {
        assert!(FirstMessage::decode(&encoded[..len]).is_err());
    }
    assert_eq!(bob.accept(&alice, &first).unwrap().as_slice(), b"hello");
}

// A-DM-35, spec DM-13: fields carry their lengths, so that no two lists of fields have the same bytes.
#[test]
fn fields_moved_over_their_borders_are_another_input() {
    let whole = transcript(PREKEY, &[b"ab", b"c"]);
    for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"", b"ab", b"c"]] {
        assert_ne!(transcript(PREKEY, other), whole);
    }
}

// A-DM-36: the signature of one structure is none of another.
// spec DM-03
#[test]
fn signatures_of_the_bundle_are_not_exchangeable() {
    let (alice, bob) = people();
    let (body, _) = bob.publish(0);
    let bytes = body.encode();
    let places = [body_map::DH_SIGNATURE, body_map::KEM_SIGNATURE];
    for to in places {
        for from in places.into_iter().filter(|from| *from != to) {
            let mut moved = bytes.clone();
            moved.copy_within(from..from + 64, to);
            let moved = BundleBody::decode(&moved).unwrap();
            assert!(alice.initiate(&bob, &moved, None, b"x").is_err());
        }
    }
    assert_ne!(Signature::from_bytes(bytes[places[0]..places[0] + 64].try_into().unwrap()).as_bytes(), &[0; 64]);
}

// A failing store step: what was written before the failure is taken back.
// spec DM-43
#[test]
fn a_refused_first_plaintext_leaves_no_session() {
    let (alice, bob) = people();
    let (body, _) = bob.publish(0);
    let too_long = vec![0; undertone::limits::DM_MESSAGE_LEN_MAX];
    assert_eq!(alice.initiate(&bob, &body, None, &too_long).unwrap_err(), DmError::TooLong);
    assert!(!alice.step(|tx, _| dm::has_session(tx, bob.id())).unwrap());
}

proptest! {
    // spec DM-05, spec DM-10
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..3_000), is_versioned: bool) {
        if let (true, Some(first)) = (is_versioned, bytes.first_mut()) {
            *first = 1;
        }
        if let Ok(value) = BundleBody::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes.clone());
        }
        if let Ok(value) = OneTimeItem::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes.clone());
        }
        if let Ok(value) = FirstMessage::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes.clone());
        }
        if let Ok(value) = Wrap::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes.clone());
        }
        if let Ok(value) = Handshake::decode(&bytes) {
            prop_assert_eq!(value.encode(), bytes);
        }
    }
}
