//! The rules hold in every state within the bounds, and the checker finds what they are there to prevent.

use stateright::{Checker, HasDiscoveries, Model};
use undertone_models::{
    Bounds, FIRST_MESSAGES_CROSS, FORKS_ARE_MENDED, NO_PLACE_TWICE, NOTHING_ACKNOWLEDGED_IS_LOST, NOTHING_KEPT_IS_LOST,
    Order, SIDES_MEET,
};

const RULES: Bounds = Bounds {
    order: Order::PersistThenSend,
    attempts: 2,
    begins: 1,
    crashes: 1,
    sessions: 4,
    ends: true,
    backup: false,
};

/// Walks every state, until a property fails of those in `sought`, or to the end; returns the properties that fail.
fn broken(bounds: Bounds, sought: &[&'static str]) -> Vec<&'static str> {
    let found = HasDiscoveries::AnyOf(sought.iter().copied().collect());
    let checker = bounds.checker().threads(2).finish_when(found).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    let mut discoveries = checker.discoveries();
    let is_crossed = discoveries.remove(FIRST_MESSAGES_CROSS).is_some();
    assert!(is_crossed || !discoveries.is_empty(), "the walk is too short");
    for (name, path) in &discoveries {
        println!("{name}:\n{:#?}", path.clone().into_actions());
    }
    discoveries.into_keys().collect()
}

// spec DM-41, DM-42, DM-44, DM-45, A-DM-13, A-FA-01
#[test]
fn persisting_before_sending_keeps_every_rule() {
    assert_eq!(
        broken(RULES, &[NOTHING_ACKNOWLEDGED_IS_LOST, NOTHING_KEPT_IS_LOST, SIDES_MEET, NO_PLACE_TWICE]),
        Vec::<&str>::new()
    );
}

// A-FA-01
#[test]
fn sending_before_persisting_uses_a_place_twice() {
    let found = broken(Bounds { order: Order::SendThenPersist, ..RULES }, &[NO_PLACE_TWICE]);
    assert!(found.contains(&NO_PLACE_TWICE), "{found:?}");
}

// A-DM-25. A limit that the model shows: what the rolled-back side had on its way when it was rolled back can arrive behind its
// new session, and raises the lost one at the peer (DM-42), also where sessions end (DM-53). The peer then seals what cannot
// be read, that is trouble anew, and the next session begins an hour later.
#[test]
fn one_new_session_is_not_enough_while_messages_of_the_lost_one_are_on_their_way() {
    for ends in [true, false] {
        let found = broken(Bounds { crashes: 0, backup: true, ends, ..RULES }, &[FORKS_ARE_MENDED]);
        assert_eq!(found, [FORKS_ARE_MENDED]);
    }
}
