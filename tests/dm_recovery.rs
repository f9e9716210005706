//! How two devices find back to a common session: heartbeats, forks, and how often a session may begin anew.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

mod dm_scene;

use std::time::Duration;

use dm_scene::{Person, alice_and_bob, begin, round_trip, start};
use undertone::dm::wrap::{self, Wrap};
use undertone::dm::{self, Begin, DmError, Opened, Recovery, SessionId, Trouble};
use undertone::time::UnixMs;

const HOUR: Duration = Duration::from_secs(3_600);

fn session_of(person: &Person, peer: &Person) -> SessionId {
    person.info(peer).id
}

/// Alice has taken her state back to before an answer that she sent; Bob has her answer. Returns what Bob said to it.
fn fork() -> (Person, Person, Vec<u8>) {
    let (mut alice, bob) = alice_and_bob();
    round_trip(&alice, &bob);
    let snapshot = alice.store.snapshot();
    let lost = alice.seal(&bob, b"said before the backup came back");
    bob.open(&alice, &lost).unwrap();
    let answer = bob.seal(&alice, b"an answer");
    alice.restore(&snapshot);
    (alice, bob, answer)
}

fn trouble(person: &Person, peer: &Person) -> Option<Trouble> {
    person.step(|tx, _| Recovery::load(tx, peer.id())).unwrap().trouble()
}

fn begins(person: &Person, peer: &Person) -> Begin {
    person.step(|tx, _| Recovery::load(tx, peer.id())).unwrap().begin(person.now)
}

/// A wrap without a handshake.
fn bare(message: Vec<u8>) -> Wrap {
    Wrap { handshake: Vec::new(), message }
}

/// Opens as the engine does: what is refused is written down when the rest is taken back.
fn open(person: &Person, peer: &Person, wrap: &Wrap) -> Result<Vec<u8>, (DmError, Option<Trouble>)> {
    match person.step(|tx, us| wrap::open(tx, us, peer.device(), dm_scene::AD, wrap, person.now)) {
        Ok(plaintext) => Ok(plaintext.to_vec()),
        Err(error) => {
            let told = person.step(|tx, _| wrap::refused(tx, peer.id(), wrap, &error)).unwrap();
            Err((error, told))
        }
    }
}

/// Begins a session, as who is in trouble does.
fn begin_anew(person: &Person, peer: &Person) -> Wrap {
    let (body, items) = peer.publish(1);
    let (item, rng) = (items.first(), &mut rand::rng());
    let ad = dm_scene::AD;
    person.step(|tx, us| wrap::begin(tx, us, peer.device(), &body, item, ad, b"", person.now, rng)).unwrap()
}

fn seal(person: &Person, peer: &Person, text: &[u8]) -> Wrap {
    person.step(|tx, _| wrap::seal(tx, None, peer.id(), dm_scene::AD, text, &mut rand::rng())).unwrap()
}

// A-DM-25, spec DM-36, DM-52, DM-53, DM-54, DM-56
#[test]
fn who_was_rolled_back_notices_and_one_new_session_mends_it() {
    let (alice, bob, answer) = fork();
    let refused = open(&alice, &bob, &bare(answer.clone()));
    assert_eq!(refused, Err((DmError::StateForked, Some(Trouble::OwnFork))));
    assert_eq!(open(&alice, &bob, &bare(answer)), Err((DmError::StateForked, None)), "told once");
    let sealed = alice.step(|tx, _| wrap::seal(tx, None, bob.id(), dm_scene::AD, b"waits", &mut rand::rng()));
    assert_eq!(sealed.unwrap_err(), DmError::NoSession, "an ended session seals no more");
    assert!(!alice.step(|tx, _| dm::has_session(tx, bob.id())).unwrap(), "another is to be begun");

    assert_eq!(begins(&alice, &bob), Begin::Now);
    let first = begin_anew(&alice, &bob);
    assert_eq!(begins(&alice, &bob), Begin::At { instant: start().after(HOUR) });
    open(&bob, &alice, &first).unwrap();
    assert_eq!(begins(&bob, &alice), Begin::No, "who accepted does not begin another");
    open(&alice, &bob, &seal(&bob, &alice, b"here we are")).unwrap();
    assert_eq!((trouble(&alice, &bob), begins(&alice, &bob)), (None, Begin::No));
    round_trip(&alice, &bob);
}

// A-DM-25, spec DM-52, DM-56
#[test]
fn whose_peer_was_rolled_back_notices_and_accepts_its_new_session() {
    let (alice, bob, _) = fork();
    let second = bare(alice.seal(&bob, b"in a place that Bob has seen used"));
    assert_eq!(open(&bob, &alice, &second), Err((DmError::Replay, Some(Trouble::PeerFork))));
    assert!(bob.step(|tx, _| dm::has_session(tx, alice.id())).unwrap(), "Bob's own state is sound");
    assert_eq!(begins(&bob, &alice), Begin::Now);
    open(&bob, &alice, &begin_anew(&alice, &bob)).unwrap();
    assert_eq!((trouble(&bob, &alice), begins(&bob, &alice)), (None, Begin::No));
    round_trip(&bob, &alice);
}

// spec DM-53, DM-42
#[test]
fn a_late_message_opens_under_an_ended_session_and_does_not_raise_it() {
    let (mut alice, bob) = alice_and_bob();
    round_trip(&alice, &bob);
    let late = bob.seal(&alice, b"late");
    let snapshot = alice.store.snapshot();
    bob.open(&alice, &alice.seal(&bob, b"said before the backup came back")).unwrap();
    let answer = bob.seal(&alice, b"an answer");
    alice.restore(&snapshot);
    open(&alice, &bob, &bare(answer)).unwrap_err();
    begin_anew(&alice, &bob);
    let anew = session_of(&alice, &bob);
    assert_eq!(open(&alice, &bob, &bare(late)).unwrap(), b"late");
    assert_eq!(session_of(&alice, &bob), anew);
    assert_eq!(trouble(&alice, &bob), Some(Trouble::OwnFork), "nor does it answer the new one");
}

// spec DM-53: a wrap in the name of the peer, by whoever reads the log, with a handshake that cannot be.
#[test]
fn what_opens_under_no_header_key_ends_no_session() {
    let (alice, bob) = alice_and_bob();
    let session = session_of(&bob, &alice);
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, items.first(), b"of another").unwrap();
    let mut weak = Wrap { handshake: first.handshake, message: first.message };
    // The ephemeral key stands in front of the ciphertext: zero has low order.
    let at = weak.handshake.len() - 1_088 - 32;
    weak.handshake[at..at + 32].fill(0);
    let refused = open(&bob, &alice, &weak);
    assert_eq!(refused, Err((DmError::WeakKey, Some(Trouble::Unreadable))));
    assert_eq!(session_of(&bob, &alice), session, "it seals on");
}

// spec DM-50, DM-51
#[test]
fn who_only_listens_owes_a_heartbeat_after_fifty_messages_and_none_for_heartbeats() {
    let (alice, bob) = alice_and_bob();
    let mut bobs = Recovery::default();
    let session = session_of(&bob, &alice);
    for n in 0..50 {
        assert!(!bobs.owes_heartbeat(), "after {n}");
        let message = alice.seal(&bob, b"news");
        let opened = Opened::of(bob.open(&alice, &message).unwrap().as_slice());
        bobs.opened(opened, session);
    }
    assert!(bobs.owes_heartbeat());
    let mut alices = Recovery::default();
    for _ in 0..200 {
        let heartbeat = bob.seal(&alice, b"");
        bobs.sealed();
        let opened = Opened::of(alice.open(&bob, &heartbeat).unwrap().as_slice());
        assert_eq!(opened, Opened::Heartbeat);
        alices.opened(opened, session);
    }
    assert!(!bobs.owes_heartbeat());
    assert!(!alices.owes_heartbeat(), "a heartbeat answers no heartbeats");
}

// spec DM-52, DM-37
#[test]
fn trouble_is_told_once_and_again_only_when_it_is_worse() {
    let mut recovery = Recovery::default();
    let mut refused = |error: &DmError| Trouble::of(error).and_then(|trouble| recovery.refused(trouble));
    assert_eq!(refused(&DmError::Authentication), Some(Trouble::Unreadable));
    assert_eq!(refused(&DmError::NoSession), None);
    assert_eq!(refused(&DmError::JumpTooLarge { jump: 2_001 }), Some(Trouble::Behind));
    assert_eq!(refused(&DmError::Replay), Some(Trouble::PeerFork));
    assert_eq!(refused(&DmError::JumpTooLarge { jump: 2_001 }), None);
    assert_eq!(refused(&DmError::CounterOutOfRange), Some(Trouble::Apart));
    assert_eq!(refused(&DmError::StateForked), Some(Trouble::OwnFork));
    assert_eq!(refused(&DmError::PqMismatch), None);
    let faults = [
        DmError::Expired,
        DmError::Malformed,
        DmError::TooLong,
        DmError::OwnDevice,
        DmError::ChainExhausted,
        DmError::UnsupportedVersion { version: 2 },
    ];
    for fault in faults {
        assert_eq!(Trouble::of(&fault), None, "{fault}");
    }
}

// A-DM-25, spec DM-54
#[test]
fn however_much_trouble_there_is_one_session_begins_in_an_hour() {
    let (alice, bob) = alice_and_bob();
    let session = session_of(&alice, &bob);
    let mut recovery = Recovery::default();
    let mut begun = 0;
    for minute in 0..24 * 60 {
        let now = start().after(Duration::from_secs(minute * 60));
        for trouble in [Trouble::Unreadable, Trouble::PeerFork, Trouble::OwnFork] {
            recovery.refused(trouble);
        }
        if recovery.begin(now) == Begin::Now {
            recovery.began(session, now);
            begun += 1;
        }
        if minute % 7 == 0 {
            recovery.accepted();
        }
    }
    assert_eq!(begun, 24);
}

// A-FA-12, spec DM-55
#[test]
fn an_instant_ahead_of_the_clock_stops_nothing() {
    let (alice, bob) = alice_and_bob();
    let mut recovery = Recovery::default();
    recovery.refused(Trouble::Unreadable);
    recovery.began(session_of(&alice, &bob), UnixMs::MAX);
    assert_eq!(recovery.begin(start()), Begin::Now);
    recovery.began(session_of(&alice, &bob), start());
    assert_eq!(recovery.begin(start()), Begin::At { instant: start().after(HOUR) });
    assert_eq!(recovery.begin(start().after(HOUR)), Begin::Now);
}

// spec DM-56
#[test]
fn trouble_lasts_until_a_session_begun_since_is_answered() {
    let (alice, bob) = alice_and_bob();
    let old = session_of(&alice, &bob);
    begin(&alice, &bob);
    let new = session_of(&alice, &bob);
    let mut recovery = Recovery::default();
    recovery.refused(Trouble::Unreadable);
    recovery.opened(Opened::Content, old);
    assert_eq!(recovery.trouble(), Some(Trouble::Unreadable), "an old session opens what it always did");
    recovery.began(new, start());
    recovery.refused(Trouble::OwnFork);
    recovery.opened(Opened::Content, new);
    assert_eq!(recovery.trouble(), Some(Trouble::OwnFork), "what came after it is not mended by it");
    recovery.began(new, start().after(HOUR));
    recovery.opened(Opened::Heartbeat, new);
    assert_eq!(recovery.trouble(), None);
}

// spec DM-26, DM-53: the peer said it in an epoch whose key we have given up since, and that is all that is wrong.
#[test]
fn a_late_message_of_an_epoch_that_is_given_up_is_no_trouble() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let (body, items) = bob.publish(1);
    let whole = dm::ChunkLen::new(1_184).unwrap();
    let first = alice.step(|tx, us| {
        let (rng, ad) = (&mut rand::rng(), dm_scene::AD);
        dm::initiate_with(tx, us, bob.device(), &body, items.first(), whole, ad, b"hello", alice.now, rng)
    });
    bob.accept(&alice, &first.unwrap()).unwrap();
    round_trip(&alice, &bob);
    let late = bare(alice.seal(&bob, b"late"));
    for _ in 0..20 {
        round_trip(&alice, &bob);
    }
    assert!(bob.info(&alice).pq_epoch.as_u32() > 9);
    assert_eq!(open(&bob, &alice, &late), Err((DmError::Expired, None)));
    round_trip(&alice, &bob);
}
