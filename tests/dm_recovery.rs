//! How two devices find back to a common session: heartbeats, forks, and how often a session may begin anew.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

mod dm_scene;

use std::time::Duration;

use dm_scene::{Person, alice_and_bob, begin, round_trip, start};
use undertone::dm::{self, Begin, DmError, Opened, PrekeyFault, Recovery, SessionId, Trouble};
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

// A-DM-25, spec DM-36, DM-52, DM-53, DM-54
#[test]
fn who_was_rolled_back_notices_and_one_new_session_mends_it() {
    let (alice, bob, answer) = fork();
    let (mut alices, mut bobs) = (Recovery::default(), Recovery::default());
    let refused = alice.open(&bob, &answer).unwrap_err();
    let trouble = alices.refused(&refused).unwrap();
    assert_eq!((refused, trouble), (DmError::StateForked, Trouble::OwnFork));
    assert!(trouble.ends_sessions());
    alice.step(|tx, _| dm::end_sessions(tx, bob.id())).unwrap();
    let sealed = alice.step(|tx, _| dm::seal(tx, bob.id(), dm_scene::AD, b"waits", &mut rand::rng()));
    assert_eq!(sealed.unwrap_err(), DmError::NoSession, "an ended session seals no more");
    assert!(!alice.step(|tx, _| dm::has_session(tx, bob.id())).unwrap(), "another is to be begun");

    assert_eq!(alices.begin(start()), Begin::Now);
    begin(&alice, &bob);
    alices.began(session_of(&alice, &bob), start());
    bobs.accepted();
    assert_eq!(alices.begin(start()), Begin::At { instant: start().after(HOUR) });
    assert_eq!(bobs.begin(start()), Begin::No, "who accepted does not begin another");

    let answer = bob.seal(&alice, b"here we are");
    alice.open(&bob, &answer).unwrap();
    alices.opened(Opened::Content, session_of(&alice, &bob));
    assert_eq!((alices.trouble(), alices.begin(start())), (None, Begin::No));
    round_trip(&alice, &bob);
}

// A-DM-25, spec DM-52, DM-56
#[test]
fn whose_peer_was_rolled_back_notices_and_accepts_its_new_session() {
    let (alice, bob, _) = fork();
    let mut bobs = Recovery::default();
    let second = alice.seal(&bob, b"in a place that Bob has seen used");
    let refused = bob.open(&alice, &second).unwrap_err();
    assert_eq!(bobs.refused(&refused), Some(Trouble::PeerFork));
    assert!(!Trouble::PeerFork.ends_sessions(), "Bob's own state is sound");
    assert_eq!(bobs.begin(start()), Begin::Now);
    begin(&alice, &bob);
    bobs.accepted();
    assert_eq!((bobs.trouble(), bobs.begin(start())), (None, Begin::No));
    round_trip(&bob, &alice);
}

// spec DM-53, DM-42
#[test]
fn a_late_message_opens_under_an_ended_session_and_does_not_raise_it() {
    let (alice, bob) = alice_and_bob();
    round_trip(&alice, &bob);
    let late = bob.seal(&alice, b"late");
    alice.step(|tx, _| dm::end_sessions(tx, bob.id())).unwrap();
    begin(&alice, &bob);
    let anew = session_of(&alice, &bob);
    assert_eq!(alice.open(&bob, &late).unwrap().as_slice(), b"late");
    assert_eq!(session_of(&alice, &bob), anew);
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
    assert_eq!(recovery.refused(&DmError::Authentication), Some(Trouble::Unreadable));
    assert_eq!(recovery.refused(&DmError::NoSession), None);
    assert_eq!(recovery.refused(&DmError::JumpTooLarge { jump: 2_001 }), Some(Trouble::Apart));
    assert_eq!(recovery.refused(&DmError::Replay), None);
    assert_eq!(recovery.refused(&DmError::StateForked), Some(Trouble::OwnFork));
    assert_eq!(recovery.refused(&DmError::PqMismatch), None);
    let mut calm = Recovery::default();
    let faults = [
        DmError::Expired,
        DmError::Malformed,
        DmError::TooLong,
        DmError::OwnDevice,
        DmError::ChainExhausted,
        DmError::UnsupportedVersion { version: 2 },
        DmError::BadPrekey { fault: PrekeyFault::Expired },
        DmError::ReplayMemoryFull,
    ];
    for fault in faults {
        assert_eq!(calm.refused(&fault), None, "{fault}");
    }
    assert_eq!(calm, Recovery::default());
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
        for error in [DmError::Authentication, DmError::Replay, DmError::StateForked] {
            recovery.refused(&error);
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
    recovery.refused(&DmError::Authentication);
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
    recovery.refused(&DmError::Authentication);
    recovery.opened(Opened::Content, old);
    assert_eq!(recovery.trouble(), Some(Trouble::Unreadable), "an old session opens what it always did");
    recovery.began(new, start());
    recovery.refused(&DmError::StateForked);
    recovery.opened(Opened::Content, new);
    assert_eq!(recovery.trouble(), Some(Trouble::OwnFork), "what came after it is not mended by it");
    recovery.began(new, start().after(HOUR));
    recovery.opened(Opened::Heartbeat, new);
    assert_eq!(recovery.trouble(), None);
}
