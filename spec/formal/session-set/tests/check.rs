//! The rules hold in every state within the bounds, and the checker finds what they are there to prevent.

use stateright::{Checker, HasDiscoveries, Model};
use undertone_models::{
    Bounds, FIRST_MESSAGES_CROSS, FORKS_ARE_MENDED, NO_PLACE_TWICE, NOTHING_ACKNOWLEDGED_IS_LOST, NOTHING_KEPT_IS_LOST,
    Order, SIDES_MEET,
};

const RULES: Bounds = Bounds {
    order: Order::PersistThenSend,
    attempts: 2,
    begins: [1, 1],
    crashes: 1,
    sessions: 4,
    ends: true,
    backup: false,
};

/// Walks every state, until a property fails of those in `sought`, or to the end; returns the properties that fail.
fn broken(bounds: Bounds, sought: &[&'static str]) -> Vec<&'static str> {
    let found = HasDiscoveries::AnyOf(sought.iter().copied().collect());
    let checker = bounds.clone().checker().threads(2).finish_when(found).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    let mut discoveries = checker.discoveries();
    let is_crossed = discoveries.remove(FIRST_MESSAGES_CROSS).is_some();
    let can_cross = bounds.begins.iter().all(|count| *count > 0);
    assert!(is_crossed || !can_cross || !discoveries.is_empty(), "the walk is too short");
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

// A-DM-25, spec DM-42, DM-53: also where the new session overtakes what the lost life had on its way, its first message too. That
// raises the lost session at the peer, and the next message in the new one raises that again.
#[test]
fn one_new_session_is_enough_where_the_peer_has_begun_none() {
    let bounds = Bounds { crashes: 0, backup: true, begins: [1, 0], ..RULES };
    assert_eq!(broken(bounds, &[FORKS_ARE_MENDED]), Vec::<&str>::new());
}

// A-DM-25. A limit that the model shows: a first message of the peer that the lost life had accepted is accepted again behind the
// new session, if it comes again, and takes the highest rank; what is sealed in it forks from what the lost life said. The peer
// cannot read that, it is trouble anew, and the next session begins an hour later.
#[test]
fn one_new_session_is_not_enough_where_a_first_message_is_accepted_a_second_time() {
    for ends in [true, false] {
        let found = broken(Bounds { crashes: 0, backup: true, ends, ..RULES }, &[FORKS_ARE_MENDED]);
        assert_eq!(found, [FORKS_ARE_MENDED]);
    }
}
