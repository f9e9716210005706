//! Rows of direct sessions that are damaged, or of a newer version, and a session that is used as a value (spec/dm).
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

mod dm_scene;

use dm_scene::{AD, Person, alice_and_bob, round_trip};
use undertone::dm::{self, DmError, Recovery};
use undertone::store::{Overlay, Store, StoreError, Table, Tx};
use undertone_wire::id::LogId;

fn put(person: &Person, table: Table, key: &[u8], value: Vec<u8>) {
    let overlay = Overlay::default();
    let mut tx = Tx::new(&person.store, &overlay);
    tx.put(table, key, value);
    person.store.commit(&tx.into_batch()).unwrap();
}

/// Runs a call over every row of a table in turn, with its version and its end changed.
fn damage(person: &Person, table: Table, call: impl Fn() -> Option<DmError>) {
    let mut rows = person.store.rows(table);
    // Of the prekeys: signed ones and pairs, not the counter of their ids.
    rows.retain(|(key, _)| table != Table::Prekeys || [1, 2].contains(&key[0]));
    assert!(!rows.is_empty(), "{table:?}");
    for (key, value) in rows {
        let with = |at: usize, byte: u8| {
            let mut changed = value.to_vec();
            changed[at] = byte;
            changed
        };
        let mut longer = value.to_vec();
        longer.push(0);
        let cases = [
            (with(0, 2), StoreError::TooNew),
            (with(0, 0), StoreError::Corrupt),
            (value[..value.len() - 1].to_vec(), StoreError::Corrupt),
            (value[..1].to_vec(), StoreError::Corrupt),
            (Vec::new(), StoreError::Corrupt),
            (longer, StoreError::Corrupt),
        ];
        for (changed, error) in cases {
            put(person, table, &key, changed);
            assert_eq!(call(), Some(DmError::Store(error)), "{table:?}");
        }
        put(person, table, &key, value.to_vec());
        assert_eq!(call(), None, "{table:?}, as it was");
    }
}

// spec DM-43, A-FA-06: damage is not taken for absence, and costs nothing that was sound.
#[test]
fn a_damaged_row_is_damage_and_one_of_a_newer_version_says_so() {
    let (alice, bob) = alice_and_bob();
    round_trip(&alice, &bob);
    let passed_over = alice.seal(&bob, b"late");
    let message = alice.seal(&bob, b"early");
    bob.open(&alice, &message).unwrap();

    damage(&bob, Table::Sessions, || bob.step(|tx, _| dm::session_info(tx, alice.id())).err());
    damage(&bob, Table::SkippedKeys, || {
        let other = bob.restarted();
        other.open(&alice, &passed_over).err()
    });

    // The prekeys that a first message names.
    let carol = Person::new("Carol");
    let (body, items) = carol.publish(1);
    let first = alice.initiate(&carol, &body, items.first(), b"hello").unwrap();
    damage(&carol, Table::Prekeys, || carol.restarted().accept(&alice, &first).err());
}

// spec DM-50, DM-54, DM-120, A-FA-06
#[test]
fn what_is_kept_beside_the_sessions_is_checked_too() {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let (body, items) = bob.publish(1);
    let rng = &mut rand::rng();
    let now = alice.now;
    alice.step(|tx, us| dm::wrap::begin(tx, us, bob.device(), &body, items.first(), AD, b"0", now, rng)).unwrap();
    let log = LogId::from_bytes([1; 32]);
    damage(&alice, Table::Unanswered, || {
        alice.restarted().step(|tx, _| dm::wrap::seal(tx, Some(log), bob.id(), AD, b"1", &mut rand::rng())).err()
    });
    damage(&alice, Table::Recovery, || alice.step(|tx, _| Recovery::load(tx, bob.id())).err());
}

// spec DM-20..22, DM-33: the value does what its rows do.
#[test]
fn a_session_in_hand_opens_what_one_in_rows_does() {
    let (alice, bob) = alice_and_bob();
    let messages: Vec<Vec<u8>> = (0..4).map(|n| alice.seal(&bob, &[n])).collect();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&bob.store, &overlay);
    let mut session = dm::session(&tx, alice.id()).unwrap().unwrap();
    for n in [2, 0, 3, 1] {
        assert_eq!(session.open(&mut tx, AD, &messages[n], bob.now).unwrap().as_slice(), [n as u8]);
        assert_eq!(session.open(&mut tx, AD, &messages[n], bob.now).unwrap_err(), DmError::Replay);
        assert_eq!(session.open(&mut tx, b"another", &messages[n], bob.now).unwrap_err(), DmError::Replay);
    }
    assert_eq!(session.open(&mut tx, AD, b"nothing", bob.now).unwrap_err(), DmError::Malformed);
    let (carol, dave) = alice_and_bob();
    let stranger = carol.seal(&dave, b"for somebody else");
    assert_eq!(session.open(&mut tx, AD, &stranger, bob.now).unwrap_err(), DmError::Authentication);
    let answer = session.seal(AD, b"and back", &mut rand::rng()).unwrap();
    assert_eq!(alice.open(&bob, &answer).unwrap().as_slice(), b"and back");
}
