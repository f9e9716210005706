//! Two people and a group talk through the relay, and nothing is lost (spec/delivery).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use sim::World;
use undertone::conversation::{ConversationState, MessageStatus};
use undertone::engine::Event;

#[test]
fn two_people_talk() {
    let mut world = World::of(1, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.say(0, id, "hello bob");
    world.run();
    assert_eq!(world.texts(1, id), ["hello bob"]);
    world.say(1, id, "hello alice");
    world.run();
    for node in 0..2 {
        assert_eq!(world.texts(node, id), ["hello bob", "hello alice"]);
    }
    assert_eq!(world.history(0, id)[0].status, MessageStatus::Delivered);
}

#[test]
fn a_first_message_waits_for_a_peer_who_is_offline() {
    let mut world = World::of(2, &["alice", "bob"]);
    world.disconnect(1);
    let id = world.befriend(0, 1);
    world.say(0, id, "are you there?");
    world.run();
    world.connect(1);
    world.run();
    assert_eq!(world.texts(1, id), ["are you there?"]);
}

#[test]
fn a_group_of_three_talks_and_shrinks() {
    let mut world = World::of(3, &["alice", "bob", "carol"]);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    let (bob, carol) = (world.nodes[1].client.account(), world.nodes[2].client.account());
    let id = world.call(0, |client, now, rng| client.create_group("walks", &[bob, carol], now, rng)).unwrap();
    world.say(0, id, "welcome");
    world.run();
    world.say(1, id, "hi from bob");
    world.run();
    world.say(2, id, "hi from carol");
    world.run();
    for node in 0..3 {
        assert_eq!(world.texts(node, id), ["welcome", "hi from bob", "hi from carol"][..], "node {node}");
    }
    world.call(0, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
    world.say(0, id, "without carol");
    world.run();
    world.say(1, id, "yes");
    world.run();
    assert_eq!(world.texts(1, id).len(), 5);
    assert_eq!(world.texts(2, id).len(), 3);
    assert!(world.nodes[2].events.iter().any(|(_, event)| matches!(event, Event::Removed { .. })));
    let left_behind = world.nodes[2].client.conversation(&id).unwrap();
    assert_eq!((left_behind.name.as_str(), left_behind.state), ("walks", ConversationState::Removed));
}
