//! A payload sealed once for many devices, and the wraps that bring its key: what opens, what does not, what it costs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dm_scene;

use dm_scene::{AD, Person, begin, days, flips, round_trip};
use proptest::prelude::*;
use undertone::crypto::label::{DIRECT_PAYLOAD, DIRECT_WRAP, hash};
use undertone::crypto::{Secret32, aead, kdf};
use undertone::dm::fanout::{PayloadKey, SealedPayload};
use undertone::dm::wrap::{self, Wrap};
use undertone::dm::{DmError, RatchetMessage};
use undertone::envelope::{
    Commitment, DevicePlace, DirectBody, DirectForm, DirectWrap, EpochEvidence, Evidence, Fanout, ListName, NamedLists,
    Parcel, ParcelKind, Side,
};
use undertone::identity::LocalIdentity;
use undertone::store::Tx;
use undertone_wire::id::{Head, LogId, Seq};

const PAYLOAD: &[u8] = b"the same for all of you";
const LOG: LogId = LogId::from_bytes([1; 32]);
const OTHER_LOG: LogId = LogId::from_bytes([2; 32]);

/// Alice, who has a session with each of `count` others.
fn alice_and(count: usize) -> (Person, Vec<Person>) {
    let alice = Person::new("Alice");
    let others: Vec<Person> = (0..count).map(|_| Person::new("other")).collect();
    for other in &others {
        begin(&alice, other);
        round_trip(&alice, other);
    }
    (alice, others)
}

impl Person {
    /// Seals a payload once and wraps its key for each recipient.
    fn fan_out(&self, recipients: &[&Person], payload: &[u8]) -> (SealedPayload, Vec<Wrap>) {
        let (key, sealed) = SealedPayload::seal(payload, &mut rand::rng());
        let binding = sealed.bind(AD);
        let wraps = recipients.iter().map(|to| self.wrap_for(to, binding.as_bytes(), key.expose())).collect();
        (sealed, wraps)
    }

    fn wrap_for(&self, to: &Person, ad: &[u8], plaintext: &[u8]) -> Wrap {
        self.step(|tx, _| wrap::seal(tx, Some(LOG), to.id(), ad, plaintext, &mut rand::rng())).unwrap()
    }

    fn unwrap(&self, from: &Person, ad: &[u8], wrap: &Wrap) -> Result<Vec<u8>, DmError> {
        let open = |tx: &mut Tx<'_>, us: &LocalIdentity| wrap::open(tx, us, from.device(), ad, wrap, self.now);
        self.step(open).map(|plaintext| plaintext.to_vec())
    }

    /// Opens as an engine does: wrap and payload in one step.
    fn read(&self, from: &Person, sealed: &SealedPayload, wrap: &Wrap) -> Result<Vec<u8>, DmError> {
        self.read_with(from, AD, sealed, wrap)
    }

    fn read_with(&self, from: &Person, ad: &[u8], sealed: &SealedPayload, wrap: &Wrap) -> Result<Vec<u8>, DmError> {
        let binding = sealed.bind(ad);
        self.step(|tx, us| {
            let mark = tx.mark();
            let key = wrap::open(tx, us, from.device(), binding.as_bytes(), wrap, self.now)?;
            let opened = PayloadKey::from_wrap(&key).and_then(|key| sealed.open(&key));
            if opened.is_err() {
                tx.undo_to(mark);
            }
            opened
        })
        .map(|payload| payload.to_vec())
    }
}

// spec DM-110, DM-112, DM-113
#[test]
fn every_device_reads_the_payload_that_was_sealed_once() {
    let (alice, others) = alice_and(3);
    let (sealed, wraps) = alice.fan_out(&others.iter().collect::<Vec<_>>(), PAYLOAD);
    for (other, wrap) in others.iter().zip(&wraps) {
        assert_eq!(other.read(&alice, &sealed, wrap).as_deref(), Ok(PAYLOAD));
        assert_eq!(other.read(&alice, &sealed, wrap), Err(DmError::Replay));
    }
}

// spec DM-120, ENV-32
#[test]
fn a_wrap_that_stands_alone_has_one_encoding() {
    let (alice, bob) = (Person::new("alice"), Person::new("bob"));
    let first = begun(&alice, &bob);
    assert!(!first.handshake.is_empty());
    let later = Wrap { handshake: Vec::new(), ..first.clone() };
    for wrap in [&first, &later] {
        let bytes = wrap.encode();
        assert_eq!(Wrap::decode(&bytes).as_ref(), Ok(wrap));
        for len in 0..bytes.len() {
            assert!(Wrap::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(Wrap::decode(&[bytes.as_slice(), &[0]].concat()), Err(DmError::Malformed));
        let other = [&[2], &bytes[1..]].concat();
        assert_eq!(Wrap::decode(&other), Err(DmError::UnsupportedVersion { version: 2 }));
    }
    let without = Wrap { message: Vec::new(), ..later };
    assert_eq!(Wrap::decode(&without.encode()), Err(DmError::Malformed));
}

// spec DM-110, DM-112, DM-113: the formulas of the chapter, once more.
#[test]
fn a_payload_is_sealed_as_the_chapter_says() {
    let (key, sealed) = SealedPayload::seal(PAYLOAD, &mut rand::rng());
    let secret = Secret32::from_bytes(*key.expose());
    let [payload_key, commitment] = kdf::derive_many(&[0; 32], secret.expose(), DIRECT_PAYLOAD, &[]);
    assert_eq!(sealed.commitment.as_bytes(), commitment.expose());
    assert_eq!(sealed.ciphertext, aead::seal(&payload_key, &[0; 12], &[], PAYLOAD));
    let expected = hash(DIRECT_WRAP, &[AD, commitment.expose(), &sealed.ciphertext]);
    assert_eq!(sealed.bind(AD).as_bytes(), &expected);
}

// spec DM-111
#[test]
fn a_payload_that_is_sealed_again_has_another_key() {
    let ((one, first), (other, second)) =
        (SealedPayload::seal(PAYLOAD, &mut rand::rng()), SealedPayload::seal(PAYLOAD, &mut rand::rng()));
    assert_ne!(one.expose(), other.expose());
    assert!(first.commitment != second.commitment && first.ciphertext != second.ciphertext);
}

// A-DM-30, spec DM-112, DM-113, DM-115: every call is one step, which fails if a refused call changed the state.
#[test]
fn a_payload_or_a_wrap_in_anothers_place_does_not_open() {
    let (alice, others) = alice_and(2);
    let [bob, carol] = [&others[0], &others[1]];
    let (first, of_first) = alice.fan_out(&[bob, carol], b"one");
    let (second, of_second) = alice.fan_out(&[bob, carol], b"two");
    // The payload of another message, and parts of it.
    assert_eq!(bob.read(&alice, &second, &of_first[0]), Err(DmError::Authentication));
    let mixed = SealedPayload { commitment: first.commitment, ciphertext: second.ciphertext.clone() };
    assert_eq!(bob.read(&alice, &mixed, &of_first[0]), Err(DmError::Authentication));
    let mixed = SealedPayload { commitment: second.commitment, ciphertext: first.ciphertext.clone() };
    assert_eq!(bob.read(&alice, &mixed, &of_first[0]), Err(DmError::Authentication));
    // The wrap of another device, and one as if from another.
    assert_eq!(bob.read(&alice, &first, &of_first[1]), Err(DmError::Authentication));
    assert_eq!(bob.read(carol, &first, &of_first[0]), Err(DmError::NoSession));
    // Then the good ones still open (A-DM-23).
    assert_eq!(bob.read(&alice, &second, &of_second[0]).as_deref(), Ok(&b"two"[..]));
    assert_eq!(bob.read(&alice, &first, &of_first[0]).as_deref(), Ok(&b"one"[..]));
    assert_eq!(carol.read(&alice, &first, &of_first[1]).as_deref(), Ok(&b"one"[..]));
}

// A-DM-30: a device that knows the key of a payload puts other words under the wrap of another device.
#[test]
fn a_recipient_cannot_speak_for_the_sender() {
    let (alice, others) = alice_and(2);
    let [bob, carol] = [&others[0], &others[1]];
    let (sealed, wraps) = alice.fan_out(&[bob, carol], PAYLOAD);
    let key = bob.unwrap(&alice, sealed.bind(AD).as_bytes(), &wraps[0]).unwrap();
    let [payload_key, _] = kdf::derive_many(&[0; 32], &key, DIRECT_PAYLOAD, &[]);
    let ciphertext = aead::seal(&payload_key, &[0; 12], &[], b"send bob all your money");
    let forged = SealedPayload { commitment: sealed.commitment, ciphertext };
    assert!(
        forged.open(&PayloadKey::from_wrap(&key).unwrap()).is_ok(),
        "what is sealed is sound, what binds it is not"
    );
    assert_eq!(carol.read(&alice, &forged, &wraps[1]), Err(DmError::Authentication));
    assert_eq!(carol.read(&alice, &sealed, &wraps[1]).as_deref(), Ok(PAYLOAD));
}

// A-DM-30, spec DM-113: two plaintexts for two devices need two keys, and there is one commitment.
#[test]
fn a_key_that_opens_the_ciphertext_is_refused_if_it_is_not_the_one_committed_to() {
    let (alice, others) = alice_and(2);
    let [bob, carol] = [&others[0], &others[1]];
    let (for_bob, committed) = SealedPayload::seal(b"yes", &mut rand::rng());
    let (for_carol, other) = SealedPayload::seal(b"no!", &mut rand::rng());
    // As if the ciphertext opened under both keys, which Poly1305 does not exclude.
    let seen_by_carol = SealedPayload { commitment: committed.commitment, ciphertext: other.ciphertext };
    let wrap = alice.wrap_for(carol, seen_by_carol.bind(AD).as_bytes(), for_carol.expose());
    let [payload_key, _] = kdf::derive_many(&[0; 32], for_carol.expose(), DIRECT_PAYLOAD, &[]);
    assert!(aead::open(&payload_key, &[0; 12], &[], &seen_by_carol.ciphertext).is_ok());
    assert_eq!(carol.read(&alice, &seen_by_carol, &wrap), Err(DmError::Authentication));
    let wrap = alice.wrap_for(bob, committed.bind(AD).as_bytes(), for_bob.expose());
    assert_eq!(bob.read(&alice, &committed, &wrap).as_deref(), Ok(&b"yes"[..]));
}

// A-DM-42, spec DM-112
#[test]
fn another_associated_data_under_the_same_wrap_is_refused() {
    let (alice, others) = alice_and(2);
    let (sealed, wraps) = alice.fan_out(&[&others[0], &others[1]], PAYLOAD);
    for ad in [&b""[..], b"another log", &[AD, b"\0"].concat(), &AD[..AD.len() - 1]] {
        assert_eq!(others[0].read_with(&alice, ad, &sealed, &wraps[0]), Err(DmError::Authentication));
    }
    assert_eq!(others[0].read(&alice, &sealed, &wraps[0]).as_deref(), Ok(PAYLOAD));
}

// A-DM-16, A-DM-30, spec DM-113
#[test]
fn any_change_of_commitment_ciphertext_or_wrap_is_refused() {
    let (alice, others) = alice_and(2);
    let bob = &others[0];
    let (sealed, wraps) = alice.fan_out(&[bob, &others[1]], PAYLOAD);
    let wrap = wraps[0].clone();
    for commitment in flips(sealed.commitment.as_bytes()) {
        let commitment = Commitment::from_bytes(commitment.try_into().unwrap());
        let changed = SealedPayload { commitment, ..sealed.clone() };
        assert_eq!(bob.read(&alice, &changed, &wrap), Err(DmError::Authentication));
    }
    for ciphertext in flips(&sealed.ciphertext) {
        let changed = SealedPayload { ciphertext, ..sealed.clone() };
        assert_eq!(bob.read(&alice, &changed, &wrap), Err(DmError::Authentication));
    }
    for cut in 0..sealed.ciphertext.len() {
        let changed = SealedPayload { ciphertext: sealed.ciphertext[..cut].to_vec(), ..sealed.clone() };
        assert_eq!(bob.read(&alice, &changed, &wrap), Err(DmError::Authentication));
    }
    for message in flips(&wrap.message) {
        assert_eq!(bob.read(&alice, &sealed, &Wrap { message, ..wrap.clone() }), Err(DmError::Authentication));
    }
    assert_eq!(bob.read(&alice, &sealed, &wrap).as_deref(), Ok(PAYLOAD));
}

// spec DM-114
#[test]
fn a_wrap_with_another_length_than_a_keys_is_refused() {
    let (alice, others) = alice_and(1);
    let (key, sealed) = SealedPayload::seal(PAYLOAD, &mut rand::rng());
    for plaintext in [&key.expose()[..31], &[key.expose().as_slice(), &[0]].concat(), &[]] {
        let wrap = alice.wrap_for(&others[0], sealed.bind(AD).as_bytes(), plaintext);
        assert_eq!(others[0].read(&alice, &sealed, &wrap), Err(DmError::Malformed));
    }
}

fn begun(alice: &Person, bob: &Person) -> Wrap {
    let (body, items) = bob.publish(1);
    let rng = &mut rand::rng();
    alice.step(|tx, us| wrap::begin(tx, us, bob.device(), &body, items.first(), AD, b"0", alice.now, rng)).unwrap()
}

fn sealed_in(alice: &Person, log: Option<LogId>, bob: &Person, text: &[u8]) -> Wrap {
    alice.step(|tx, _| wrap::seal(tx, log, bob.id(), AD, text, &mut rand::rng())).unwrap()
}

// spec DM-120
#[test]
fn a_handshake_is_carried_again_every_sixty_four_messages() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let first = begun(&alice, &bob);
    alice.step(|tx, _| wrap::carried(tx, LOG, bob.id())).unwrap();
    for round in 0..3 {
        for n in 1..64 {
            assert!(sealed_in(&alice, Some(LOG), &bob, b"x").handshake.is_empty(), "{round}, {n}");
        }
        let carrier = sealed_in(&alice, Some(LOG), &bob, b"x");
        assert_eq!(carrier.handshake, first.handshake);
        assert_eq!(sealed_in(&alice, Some(LOG), &bob, b"x").handshake, first.handshake, "until one stands there");
        alice.step(|tx, _| wrap::carried(tx, LOG, bob.id())).unwrap();
    }
    // Whichever of them is the first that Bob sees.
    let last = sealed_in(&alice, None, &bob, b"late");
    assert_eq!(bob.unwrap(&alice, AD, &last).as_deref(), Ok(&b"late"[..]));
}

// spec DM-120
#[test]
fn what_opens_in_another_session_answers_no_handshake() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    bob.unwrap(&alice, AD, &begun(&alice, &bob)).unwrap();
    let late = sealed_in(&bob, Some(LOG), &alice, b"late");
    let answer = sealed_in(&bob, Some(LOG), &alice, b"answer");
    alice.unwrap(&bob, AD, &answer).unwrap();
    let anew = begun(&alice, &bob);
    alice.unwrap(&bob, AD, &late).unwrap();
    let next = sealed_in(&alice, Some(LOG), &bob, b"next");
    assert_eq!(next.handshake, anew.handshake);
    assert_eq!(bob.unwrap(&alice, AD, &next).as_deref(), Ok(&b"next"[..]));
    alice.unwrap(&bob, AD, &sealed_in(&bob, Some(LOG), &alice, b"here")).unwrap();
    assert!(sealed_in(&alice, Some(LOG), &bob, b"on").handshake.is_empty());
}

// spec DM-120
#[test]
fn a_handshake_is_carried_in_each_log_until_it_stands_there_and_nowhere_after_an_answer() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let first = begun(&alice, &bob);
    let seal = |log| sealed_in(&alice, log, &bob, b"x").handshake;
    assert!(!first.handshake.is_empty());
    for log in [Some(LOG), Some(OTHER_LOG), None] {
        assert_eq!(seal(log), first.handshake);
    }
    alice.step(|tx, _| wrap::carried(tx, LOG, bob.id())).unwrap();
    assert!(seal(Some(LOG)).is_empty());
    assert_eq!(seal(Some(OTHER_LOG)), first.handshake);
    assert_eq!(seal(None), first.handshake);
    bob.unwrap(&alice, AD, &first).unwrap();
    let answer = sealed_in(&bob, Some(LOG), &alice, b"here");
    assert!(answer.handshake.is_empty(), "who takes a session up has no handshake of it to show");
    alice.unwrap(&bob, AD, &answer).unwrap();
    for log in [Some(LOG), Some(OTHER_LOG), None] {
        assert!(seal(log).is_empty());
    }
    // A log that carried one that is answered is no new row.
    alice.step(|tx, _| wrap::carried(tx, OTHER_LOG, bob.id())).unwrap();
    assert!(seal(Some(OTHER_LOG)).is_empty());
}

// spec DM-120, spec DM-121, spec DM-122: the order of several logs is anybody's.
#[test]
fn whichever_wrap_comes_first_begins_the_session_and_the_others_open_in_it() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let mut wraps = vec![begun(&alice, &bob)];
    wraps.extend((1..6u8).map(|number| sealed_in(&alice, Some(LOG), &bob, &[b'0' + number])));
    for at in [4, 0, 5, 1, 3, 2] {
        assert_eq!(bob.unwrap(&alice, AD, &wraps[at]).unwrap(), [b'0' + at as u8]);
    }
    for wrap in &wraps {
        assert_eq!(bob.unwrap(&alice, AD, wrap), Err(DmError::Replay));
    }
}

// spec DM-121, A-DM-13: both begin at once, in wraps.
#[test]
fn crossed_first_wraps_both_open_and_the_next_ones_need_no_handshake() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let (from_alice, from_bob) = (begun(&alice, &bob), begun(&bob, &alice));
    assert_eq!(bob.unwrap(&alice, AD, &from_alice).unwrap(), b"0");
    assert_eq!(alice.unwrap(&bob, AD, &from_bob).unwrap(), b"0");
    for _ in 0..3 {
        for (from, to) in [(&alice, &bob), (&bob, &alice)] {
            let wrap = sealed_in(from, Some(LOG), to, b"and on");
            assert!(wrap.handshake.is_empty());
            assert_eq!(to.unwrap(from, AD, &wrap).unwrap(), b"and on");
        }
    }
}

// spec DM-123, A-DM-11
#[test]
fn a_device_past_its_certificate_goes_on_in_its_sessions_and_begins_none() {
    let (alice, mut bob, mut carol) = (Person::new("Alice"), Person::new("Bob"), Person::new("Carol"));
    let first = begun(&alice, &bob);
    bob.unwrap(&alice, AD, &first).unwrap();
    let (to_bob, to_carol) = (sealed_in(&alice, Some(LOG), &bob, b"on"), begun(&alice, &carol));
    for person in [&mut bob, &mut carol] {
        person.now = person.now.after(days(6 * 365));
    }
    assert_eq!(bob.unwrap(&alice, AD, &to_bob).unwrap(), b"on");
    // Not that its own prekey has expired too: it comes as far as no session.
    assert_eq!(carol.unwrap(&alice, AD, &to_carol), Err(DmError::NoSession));
}

// A-DM-08, A-DM-16
#[test]
fn a_handshake_that_is_changed_or_anothers_begins_nothing() {
    let (alice, bob, carol) = (Person::new("Alice"), Person::new("Bob"), Person::new("Carol"));
    let wrap = begun(&alice, &bob);
    for handshake in flips(&wrap.handshake).step_by(7) {
        assert!(bob.unwrap(&alice, AD, &Wrap { handshake, ..wrap.clone() }).is_err());
    }
    assert_eq!(bob.unwrap(&carol, AD, &wrap), Err(DmError::Authentication), "as if from another");
    assert_eq!(bob.unwrap(&alice, b"elsewhere", &wrap), Err(DmError::Authentication));
    assert_eq!(bob.unwrap(&alice, AD, &wrap).unwrap(), b"0");
}

// FIGURES: 10 kB to 5 devices take at most 11.2 kB in front of the shell's padding.
#[test]
fn ten_kilobytes_for_five_devices_are_no_more_than_the_figure() {
    let (alice, others) = alice_and(5);
    let (sealed, wraps) = alice.fan_out(&others.iter().collect::<Vec<_>>(), &vec![b'x'; 10_000]);
    let places = (0..5).map(|index| DevicePlace { side: Side::Higher, index });
    let wraps: Vec<DirectWrap> = places
        .zip(wraps)
        .map(|(recipient, Wrap { handshake, message })| DirectWrap { recipient, handshake, message })
        .collect();
    let list = ListName::of(alice.us.device_list());
    let SealedPayload { commitment, ciphertext } = sealed;
    let body = DirectBody {
        lists: NamedLists { lower: list, higher: list },
        sender: DevicePlace { side: Side::Lower, index: 0 },
        form: DirectForm::Fanout(Fanout { commitment, wraps: wraps.clone(), ciphertext }),
    };
    let evidence = Evidence { seq: Seq::from_u64(9), head: Head::from_bytes([3; 32]), epoch: EpochEvidence::NONE };
    let parcel = Parcel { kind: ParcelKind::DirectMessage, evidence, body: body.encode() };
    let (len, wrap_len) = (parcel.encode().len(), wraps[0].message.len());
    println!("10 000 bytes for 5 devices: {len} bytes, of which {wrap_len} for each device's ratchet message");
    assert!(len <= 11_200, "{len} bytes");
    assert!(RatchetMessage::decode(&wraps[0].message).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    // spec DM-113
    #[test]
    fn any_payload_opens_with_its_key_and_no_other(
        payload in prop::collection::vec(any::<u8>(), 0..2_000),
        other in any::<[u8; 32]>(),
    ) {
        let (key, sealed) = SealedPayload::seal(&payload, &mut rand::rng());
        let opened = sealed.open(&key).unwrap().to_vec();
        prop_assert_eq!(opened, payload);
        let other = PayloadKey::from_wrap(&other).unwrap();
        prop_assert_eq!(sealed.open(&other).map(|_| ()), Err(DmError::Authentication));
    }
}
