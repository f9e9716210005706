//! The process dies at every moment of every story: before a commit, behind it, before a frame goes out, behind it. What
//! it had promised is there when it comes back, nothing is shown twice, no nonce is used twice (spec/delivery).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use sim::World;
use undertone::content::Content;
use undertone::conversation::{ConversationId, ConversationKind, ConversationState};
use undertone::engine::{Client, Input, Output};
use undertone::store::{MemoryStore, Store};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// Three people; alice knows the others.
fn three() -> World {
    let mut world = World::of(11, &["alice", "bob", "carol"]);
    world.befriend(ALICE, BOB);
    world.befriend(ALICE, CAROL);
    world.run();
    world
}

/// The same, with a group of alice and bob.
fn group_of_two() -> World {
    let mut world = three();
    let bob = world.nodes[BOB].client.account();
    let id = world.call(ALICE, |client, now, rng| client.create_group("walks", &[bob], now, rng)).unwrap();
    world.say(ALICE, id, "first");
    world.run();
    world
}

/// The same, with carol.
fn group_of_three() -> World {
    let mut world = group_of_two();
    let (id, carol) = (group(&world, ALICE).unwrap(), world.nodes[CAROL].client.account());
    world.call(ALICE, |client, now, rng| client.add_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    world
}

fn group(world: &World, node: usize) -> Option<ConversationId> {
    let conversations = world.nodes[node].client.conversations().unwrap();
    conversations.into_iter().find(|it| it.kind == ConversationKind::Group).map(|it| it.id)
}

fn direct(world: &World, one: usize, other: usize) -> ConversationId {
    let account = |node: usize| world.nodes[node].client.account();
    ConversationId::direct(&account(one), &account(other))
}

/// Says something, unless it was said and is kept: what a user does who sees after a crash that it is not there.
fn say_once(world: &mut World, node: usize, id: ConversationId, text: &str) {
    if !world.texts(node, id).iter().any(|known| known == text) {
        world.say(node, id, text);
    }
}

/// Plays a story once for each moment at which `victim` could die in it, and lets it die there.
fn die_at_every_moment(base: &World, victim: usize, act: impl Fn(&mut World), check: impl Fn(&World)) {
    let play = |fuse: Option<u32>| {
        let mut world = base.fork(5);
        world.connect_all();
        world.run();
        let start = world.nodes[victim].moments;
        world.nodes[victim].fuse = fuse;
        act(&mut world);
        world.run();
        let passed = world.nodes[victim].moments - start;
        assert!(world.nodes[victim].fuse.is_none(), "it lived");
        world.connect_all();
        world.run();
        act(&mut world);
        world.run();
        check(&world);
        world.assert_nothing_twice();
        world.assert_nothing_odd();
        world.assert_no_nonce_twice();
        passed
    };
    let moments = play(None);
    assert!(moments > 0, "the victim has no part in the story");
    for moment in 0..moments {
        println!("victim {victim} dies at moment {moment} of {moments}");
        play(Some(moment));
    }
}

// A-FA-01, A-FA-02, A-DM-24; spec DEL-01, DEL-10, DEL-11.
#[test]
fn a_direct_message_survives_every_death() {
    let base = three();
    let id = direct(&base, ALICE, BOB);
    let act = |world: &mut World| {
        for (node, text) in [(ALICE, "one"), (ALICE, "two"), (BOB, "three")] {
            say_once(world, node, id, text);
        }
    };
    for victim in [ALICE, BOB] {
        die_at_every_moment(&base, victim, act, |world| {
            world.assert_same_history(ALICE, BOB, id);
            let mut texts = world.texts(BOB, id);
            texts.sort_unstable();
            assert_eq!(texts, ["one", "three", "two"]);
            assert_eq!((world.told(BOB).len(), world.told(ALICE).len()), (2, 1));
        });
    }
}

// A-FA-01, A-FA-02.
#[test]
fn first_contact_survives_every_death() {
    let base = World::of(12, &["alice", "bob"]);
    let id = direct(&base, ALICE, BOB);
    let act = |world: &mut World| {
        world.befriend(ALICE, BOB);
        if world.nodes[ALICE].client.conversation(&id).is_ok() {
            say_once(world, ALICE, id, "hello");
        }
    };
    for victim in [ALICE, BOB] {
        die_at_every_moment(&base, victim, act, |world| {
            assert_eq!(world.texts(BOB, id), ["hello"]);
            assert_eq!(world.texts(ALICE, id), ["hello"]);
        });
    }
}

// A-FA-03, A-GR-14; spec DEL-52.
#[test]
fn making_a_group_survives_every_death() {
    let base = three();
    let act = |world: &mut World| {
        let bob = world.nodes[BOB].client.account();
        if group(world, ALICE).is_none() {
            world.call(ALICE, |client, now, rng| client.create_group("walks", &[bob], now, rng)).unwrap();
        }
        if let Some(id) = group(world, ALICE) {
            say_once(world, ALICE, id, "welcome");
        }
    };
    for victim in [ALICE, BOB] {
        die_at_every_moment(&base, victim, act, |world| {
            let id = group(world, ALICE).unwrap();
            assert_eq!(group(world, BOB), Some(id));
            assert_eq!(world.texts(BOB, id), ["welcome"]);
        });
    }
}

// A-FA-03, A-GR-14.
#[test]
fn adding_a_member_survives_every_death() {
    let base = group_of_two();
    let id = group(&base, ALICE).unwrap();
    let act = |world: &mut World| {
        let carol = world.nodes[CAROL].client.account();
        world.call(ALICE, |client, now, rng| client.add_members(&id, &[carol], now, rng)).unwrap();
        // Who died asks again first, and speaks then.
        if world.nodes[ALICE].is_connected {
            say_once(world, ALICE, id, "hello carol");
        }
    };
    for victim in [ALICE, BOB, CAROL] {
        die_at_every_moment(&base, victim, act, |world| {
            assert_eq!(world.texts(ALICE, id), ["first", "hello carol"]);
            assert_eq!(world.texts(BOB, id), ["first", "hello carol"]);
            assert_eq!(world.texts(CAROL, id).last().unwrap(), "hello carol");
            assert!(!world.texts(CAROL, id).contains(&"first".to_owned()));
        });
    }
}

// A-FA-03, A-GR-14.
#[test]
fn removing_a_member_survives_every_death() {
    let base = group_of_three();
    let id = group(&base, ALICE).unwrap();
    let act = |world: &mut World| {
        let carol = world.nodes[CAROL].client.account();
        let members = world.nodes[ALICE].client.conversation(&id).unwrap().members;
        if members.iter().any(|member| member.account == carol) {
            world.call(ALICE, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
        }
        say_once(world, ALICE, id, "without carol");
    };
    for victim in [ALICE, BOB, CAROL] {
        die_at_every_moment(&base, victim, act, |world| {
            world.assert_same_history(ALICE, BOB, id);
            assert_eq!(world.texts(BOB, id).last().unwrap(), "without carol");
            assert_eq!(world.nodes[CAROL].client.conversation(&id).unwrap().state, ConversationState::Removed);
            let members = world.nodes[BOB].client.conversation(&id).unwrap().members;
            assert_eq!(members.len(), 2);
        });
    }
}

// A-FA-03, A-GR-14; spec DEL-19.
#[test]
fn leaving_survives_every_death() {
    let base = group_of_three();
    let id = group(&base, ALICE).unwrap();
    let act = |world: &mut World| {
        if world.nodes[CAROL].client.conversation(&id).unwrap().state == ConversationState::Active {
            world.call(CAROL, |client, now, rng| client.leave_group(&id, now, rng)).unwrap();
        }
    };
    for victim in [ALICE, BOB, CAROL] {
        die_at_every_moment(&base, victim, act, |world| {
            for node in [ALICE, BOB] {
                assert_eq!(world.nodes[node].client.conversation(&id).unwrap().members.len(), 2, "node {node}");
            }
            assert_eq!(world.nodes[CAROL].client.conversation(&id).unwrap().state, ConversationState::Left);
        });
    }
}

// A-FA-01: an account whose making is cut off is either not there, or can be reached.
#[test]
fn an_account_survives_every_death_of_its_making() {
    let base = World::of(13, &["alice", "bob"]);
    for commits in 0..3 {
        let mut world = base.fork(6);
        world.connect_all();
        let store = MemoryStore::new();
        let mut carol =
            Client::create(store.clone(), "carol", "ws://relay.example", world.now, &mut world.rng).unwrap();
        let mut batches = std::iter::from_fn(|| carol.poll()).filter_map(|output| match output {
            Output::Persist(_, batch) => Some(batch),
            _ => None,
        });
        for _ in 0..commits {
            if let Some(batch) = batches.next() {
                store.commit(&batch).unwrap();
            }
        }
        drop(carol);
        if Client::open(store.clone(), world.now, &mut world.rng).unwrap().is_none() {
            assert_eq!(commits, 0);
            continue;
        }
        let carol = world.add("carol again");
        world.nodes[carol].store = store;
        world.crash(carol);
        world.connect(carol);
        world.run();
        let id = world.befriend(ALICE, carol);
        world.say(ALICE, id, "hello");
        world.run();
        assert_eq!(world.texts(carol, id), ["hello"], "after {commits} commits");
    }
}

// spec DEL-03
#[test]
fn an_event_is_told_again_until_it_is_taken() {
    let mut world = three();
    let id = direct(&world, ALICE, BOB);
    world.say(ALICE, id, "one");
    world.run();
    let told = |world: &World| world.nodes[BOB].events.clone();
    let before = told(&world);
    world.nodes[BOB].events.clear();
    world.crash(BOB);
    assert_eq!(told(&world), before);
    let (half, _) = before[before.len() / 2];
    world.call(BOB, |client, now, rng| client.events_done(half, now, rng)).unwrap();
    world.nodes[BOB].events.clear();
    world.crash(BOB);
    assert_eq!(told(&world), before[before.len() / 2 + 1..]);
}

// spec DEL-02
#[test]
fn a_frame_is_not_sent_on_another_connection() {
    let mut world = three().fork(7);
    let id = direct(&world, ALICE, BOB);
    world.connect_all();
    world.run();
    world.nodes[ALICE].is_lazy = true;
    let content = Content::text("held", &mut world.rng).unwrap();
    world.call(ALICE, |client, now, rng| client.send(&id, &content, now, rng)).unwrap();
    let frames_before = world.nodes[ALICE].frames_sent.len();
    world.disconnect(ALICE);
    world.relay.connect(ALICE);
    world.nodes[ALICE].is_connected = true;
    world.input(ALICE, Input::Connected);
    world.sync(ALICE);
    assert_eq!(world.nodes[ALICE].frames_sent.len(), frames_before, "before Hello nothing can be asked");
    world.nodes[ALICE].is_lazy = false;
    world.run();
    assert_eq!(world.texts(BOB, id), ["held"]);
}

// A-FA-04: steps whose batches wait are lost together, and nothing of them has left the device.
#[test]
fn power_loss_takes_back_whole_steps() {
    let base = three();
    let id = direct(&base, ALICE, BOB);
    for synced in 0..3 {
        let mut world = base.fork(8);
        world.connect_all();
        world.run();
        world.nodes[ALICE].is_lazy = true;
        for number in 0..3 {
            world.say(ALICE, id, &number.to_string());
            if number < synced {
                world.sync(ALICE);
            }
        }
        world.crash(ALICE);
        world.nodes[ALICE].is_lazy = false;
        world.connect_all();
        world.run();
        for node in [ALICE, BOB] {
            assert_eq!(world.texts(node, id).len(), synced, "node {node}");
        }
        world.say(ALICE, id, "after");
        world.run();
        assert_eq!(world.texts(BOB, id).last().unwrap(), "after");
        world.assert_nothing_odd();
        world.assert_nothing_twice();
        world.assert_no_nonce_twice();
    }
}
