//! Direct conversations between accounts with several devices each: who reads what, who is taken in and who is out
//! (spec/delivery, Many devices).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use sim::World;
use undertone::content::Content;
use undertone::conversation::{ConversationId, ConversationKind, ConversationState, MessageStatus};
use undertone::engine::{Event, Reason};
use undertone::envelope::{LogKeys, shell};
use undertone::store::Table;
use undertone_wire::frame::{EntryContent, SlotKind};
use undertone_wire::id::LogId;

const ALICE: usize = 0;
const BOB: usize = 1;
const ALICE_2: usize = 2;
const BOB_2: usize = 3;
const ALL: [usize; 4] = [ALICE, BOB, ALICE_2, BOB_2];

/// Two people with two devices each, all online, who do not know each other.
fn two_and_two(seed: u64) -> World {
    let mut world = World::of(seed, &["alice", "bob"]);
    assert_eq!((world.enlist(ALICE), world.enlist(BOB)), (ALICE_2, BOB_2));
    world.connect_all();
    world.run();
    world
}

/// The same four in one conversation, every pair with a session.
fn acquainted(seed: u64) -> (World, ConversationId) {
    let mut world = two_and_two(seed);
    let id = world.befriend(ALICE, BOB);
    world.run();
    for node in ALL {
        world.say(node, id, &format!("hello from {node}"));
        world.run();
    }
    (world, id)
}

fn log_of(world: &World, node: usize, id: ConversationId) -> LogId {
    world.nodes[node].client.log_of(&id).unwrap().unwrap()
}

fn unreadable(world: &World, node: usize) -> Vec<(u64, Reason)> {
    let told = world.nodes[node].told_once();
    let aside = told.into_iter().filter_map(|event| match event {
        Event::Undecryptable { place, reason, .. } => Some((place.as_u64(), *reason)),
        _ => None,
    });
    aside.collect()
}

fn assert_all_alike(world: &World, nodes: &[usize], id: ConversationId) {
    for node in nodes {
        world.assert_same_history(nodes[0], *node, id);
    }
}

// spec DEL-70, DEL-80
#[test]
fn what_any_device_says_shows_on_all_devices_of_both() {
    let (world, id) = acquainted(1);
    let said: Vec<String> = ALL.iter().map(|node| format!("hello from {node}")).collect();
    for node in ALL {
        assert_eq!(world.texts(node, id), said, "node {node}");
        for (message, by) in world.history(node, id).iter().zip(ALL) {
            assert_eq!(message.account, world.account(by));
            assert_eq!(message.device, world.nodes[by].client.device());
        }
        // A sibling's words are told as a message, our own are not.
        let others: Vec<String> = said.iter().filter(|text| !text.ends_with(&node.to_string())).cloned().collect();
        assert_eq!(world.told(node), others, "node {node}");
    }
    // What Alice said is hers on both her devices, and Bob's have it.
    for node in [ALICE, ALICE_2] {
        let history = world.history(node, id);
        assert_eq!(history[0].status, MessageStatus::Delivered);
        assert_eq!(history[2].status, MessageStatus::Delivered);
    }
    world.assert_nothing_twice();
    world.assert_nothing_odd();
    world.assert_no_nonce_twice();
}

// spec DEL-50: both devices of both, all at once.
#[test]
fn four_first_contacts_at_once_end_in_one_conversation() {
    let mut world = two_and_two(2);
    let id = world.befriend(ALICE, BOB);
    for (one, other) in [(BOB, ALICE), (ALICE_2, BOB_2), (BOB_2, ALICE_2)] {
        assert_eq!(world.befriend(one, other), id);
    }
    for node in ALL {
        world.say(node, id, &format!("first from {node}"));
    }
    world.run();
    for node in ALL {
        world.say(node, id, &format!("then from {node}"));
        world.run();
    }
    let log = log_of(&world, ALICE, id);
    for node in ALL {
        assert_eq!(log_of(&world, node, id), log, "node {node}");
        assert_eq!(world.texts(node, id).len(), 8, "node {node}: {:?}", world.texts(node, id));
    }
    assert_all_alike(&world, &ALL, id);
    world.assert_nothing_twice();
    world.assert_no_nonce_twice();
    world.assert_nothing_odd();
}

// spec DEL-71, DEL-77, A-GR-02 in a direct conversation
#[test]
fn a_new_device_is_taken_in_by_a_turn_and_reads_from_there_on() {
    let mut world = World::of(3, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.run();
    world.say(ALICE, id, "before");
    world.run();
    let log = log_of(&world, ALICE, id);
    assert_eq!(world.relay.logs[&log].generation().as_u64(), 0);
    let second = world.enlist(ALICE);
    world.connect(second);
    world.run();
    assert_eq!(world.relay.logs[&log].generation().as_u64(), 1, "the log was turned");
    let known = world.nodes[second].client.conversations().unwrap();
    assert_eq!((known.len(), known[0].id, known[0].name.as_str()), (1, id, "bob"));
    assert_eq!(known[0].state, ConversationState::Active);
    for node in [ALICE, BOB, second] {
        world.say(node, id, &format!("after, from {node}"));
        world.run();
    }
    assert_eq!(world.texts(second, id), ["after, from 0", "after, from 1", "after, from 2"]);
    for node in [ALICE, BOB] {
        assert_eq!(world.texts(node, id).len(), 4);
    }
    world.assert_nothing_odd();
    world.assert_no_nonce_twice();
}

// spec DEL-71, DEL-74, A-DM-39: the relay hides a device from somebody who asks for the first time.
#[test]
fn a_device_that_the_directory_hides_is_noticed_by_its_account() {
    let mut world = World::of(4, &["alice", "bob"]);
    let slot = world.relay.list_slot(&world.nodes[ALICE].store);
    let old = world.relay.slots[&(slot, SlotKind::DeviceList)].body.clone();
    let second = world.enlist(ALICE);
    world.connect(second);
    world.run();
    world.relay.slots.get_mut(&(slot, SlotKind::DeviceList)).unwrap().body = old;
    let id = world.befriend(BOB, ALICE);
    world.run();
    world.say(BOB, id, "to all your devices?");
    world.run();
    assert_eq!(world.texts(second, id).last().unwrap(), "to all your devices?");
    world.assert_nothing_odd();
}

// A-DM-39, spec DEL-51: and it cannot add one.
#[test]
fn a_list_with_a_device_that_its_account_did_not_sign_opens_nothing() {
    let mut world = World::of(5, &["alice", "bob", "mallory"]);
    let [alice, mallory] = [ALICE, 2].map(|node| world.relay.list_slot(&world.nodes[node].store));
    let forged = world.relay.slots[&(mallory, SlotKind::DeviceList)].body.clone();
    world.relay.slots.get_mut(&(alice, SlotKind::DeviceList)).unwrap().body = forged;
    let id = world.befriend(BOB, ALICE);
    world.run();
    assert_eq!(world.nodes[BOB].client.conversation(&id).unwrap().state, ConversationState::Failed);
    assert!(world.nodes[BOB].store.rows(Table::Sessions).is_empty());
    assert!(world.nodes[BOB].store.rows(Table::Logs).is_empty());
}

// A-DM-41, spec DEL-75, DEL-72
#[test]
fn a_removed_device_reads_and_appends_nothing_after_the_turn() {
    let (mut world, id) = acquainted(6);
    let log = log_of(&world, ALICE, id);
    // It is away, and learns of it as late as it can.
    world.disconnect(ALICE_2);
    let before = world.texts(ALICE_2, id);
    world.expel(ALICE, ALICE_2);
    world.run();
    for node in [ALICE, BOB, BOB_2] {
        world.say(node, id, &format!("without it, from {node}"));
        world.run();
    }
    assert_eq!(world.relay.logs[&log].generation().as_u64(), 1);
    // All that it has, and all that stands in the log: nothing opens.
    let turned_at = world.relay.logs[&log].entries.iter().find(|entry| entry.turn.is_some()).unwrap().seq;
    for (of, _, secret) in world.nodes[ALICE_2].direct_secrets() {
        assert_eq!(of, log);
        for entry in world.relay.logs[&log].entries.iter().filter(|entry| entry.seq > turned_at) {
            let EntryContent::Payload(payload) = &entry.content else { panic!("a payload") };
            for generation in [entry.generation, undertone_wire::id::Generation::FIRST] {
                let keys = LogKeys::derive(&secret, log, generation);
                let opened = shell::open(&keys.outer, log, generation, entry.id, entry.class, payload.as_slice());
                assert!(opened.is_err(), "entry {}", entry.seq);
            }
        }
    }
    let entries = world.relay.logs[&log].entries.len();
    world.say(ALICE_2, id, "am I still here?");
    world.connect(ALICE_2);
    world.run();
    assert_eq!(world.relay.logs[&log].entries.len(), entries, "it appended");
    let after: Vec<String> = world.texts(ALICE_2, id).into_iter().filter(|text| !text.starts_with("am I")).collect();
    assert_eq!(after, before);
    let view = world.nodes[ALICE_2].client.conversation(&id).unwrap();
    assert_eq!(view.state, ConversationState::Removed);
    assert_all_alike(&world, &[ALICE, BOB, BOB_2], id);
    world.assert_no_nonce_twice();
}

// A-DM-31, spec DEL-75: what was under way when it was removed stands in the old generation, or nowhere.
#[test]
fn a_device_that_is_removed_while_it_sends_is_read_before_the_turn_and_never_after() {
    let (base, id) = acquainted(7);
    for seed in 0..8 {
        let mut world = base.fork(seed);
        world.connect_all();
        world.run();
        let log = log_of(&world, ALICE, id);
        world.say(ALICE_2, id, "still here");
        for _ in 0..seed {
            world.deliver_one();
        }
        world.expel(ALICE, ALICE_2);
        world.say(ALICE_2, id, "and here?");
        world.run();
        world.say(BOB, id, "the end");
        world.run();
        assert_all_alike(&world, &[ALICE, BOB, BOB_2], id);
        let turned_at = world.relay.logs[&log].entries.iter().find(|entry| entry.turn.is_some()).unwrap().seq;
        let removed = world.nodes[ALICE_2].client.device();
        for message in world.history(BOB, id).iter().filter(|message| message.device == removed) {
            assert!(message.place.unwrap() < turned_at, "seed {seed}");
        }
        for node in [ALICE, BOB, BOB_2] {
            assert_eq!(unreadable(&world, node), [], "seed {seed}, node {node}");
        }
    }
}

// spec DEL-71: both accounts change at once; one turn wins, and what is still missing follows.
#[test]
fn two_turns_that_race_end_with_all_devices_in() {
    let (base, id) = acquainted(8);
    for seed in 0..8 {
        let mut world = base.fork(seed);
        world.connect_all();
        world.run();
        let third = world.enlist(ALICE);
        let fourth = world.enlist(BOB);
        for node in [third, fourth] {
            world.connect(node);
        }
        for _ in 0..seed * 3 {
            world.deliver_one();
        }
        world.say(ALICE, id, "who is there?");
        world.run();
        let all = [ALICE, BOB, ALICE_2, BOB_2, third, fourth];
        for node in all {
            world.say(node, id, &format!("me, {node}"));
            world.run();
        }
        let last = |node: usize| world.texts(node, id).split_off(world.texts(node, id).len() - 6);
        for node in all {
            assert_eq!(last(node), last(ALICE), "seed {seed}, node {node}");
        }
        world.assert_nothing_twice();
        world.assert_no_nonce_twice();
        world.assert_nothing_odd();
    }
}

// spec DEL-79: a device that has published nothing holds up nobody for long, and is taken in when it comes.
#[test]
fn a_device_without_keys_is_left_out_and_taken_in_when_it_has_some() {
    let mut world = World::of(9, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.run();
    let second = world.enlist(BOB);
    world.run();
    world.say(ALICE, id, "not for the second");
    world.run();
    assert_eq!(world.texts(BOB, id), ["not for the second"]);
    world.connect(second);
    world.run();
    world.say(ALICE, id, "for both");
    world.run();
    assert_eq!(world.texts(second, id).last().unwrap(), "for both");
    // What it was left out of it knows of, and why it cannot read it.
    let reasons: Vec<Reason> = unreadable(&world, second).into_iter().map(|(_, reason)| reason).collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| *reason == Reason::NotAddressed), "{reasons:?}");
    for node in [ALICE, BOB] {
        assert_eq!(unreadable(&world, node), []);
    }
}

// spec DEL-79: prekeys that are there and cannot serve, because their owner was away for too long, or because they are
// damaged, hold up nobody either, now or after a restart.
#[test]
fn a_device_whose_keys_cannot_serve_is_left_out_and_taken_in_when_they_can() {
    for is_damaged in [false, true] {
        let mut world = World::of(29, &["alice", "bob"]);
        let id = world.befriend(ALICE, BOB);
        world.run();
        let second = world.enlist(BOB);
        world.connect(second);
        world.run();
        world.disconnect(second);
        if is_damaged {
            let slot = slot_of(&world, second);
            let shelf = world.relay.slots.get_mut(&(slot, SlotKind::PrekeyBundle)).unwrap();
            shelf.items.clear();
            *shelf.body.last_mut().unwrap() ^= 1;
        } else {
            // The prekeys last 30 days; of the others, who stay connected, each has newer ones by then.
            for _ in 0..40 {
                world.now = world.now.after(std::time::Duration::from_secs(86_400));
                world.relay.now_ms = world.now.as_u64();
                world.run();
            }
        }
        // A new device of Alice's has no session with Bob's second, and cannot get one.
        let tablet = world.enlist(ALICE);
        world.connect(tablet);
        world.run();
        for text in ["not for the second", "nor is this, behind a restart"] {
            world.say(tablet, id, text);
            world.run();
            assert_eq!(world.texts(BOB, id).last().unwrap(), text, "damaged: {is_damaged}");
            world.crash(tablet);
            world.connect(tablet);
            world.run();
        }
        if is_damaged {
            continue;
        }
        world.connect(second);
        world.run();
        world.say(second, id, "here again");
        world.run();
        assert_eq!(world.texts(tablet, id).last().unwrap(), "here again");
    }
}

/// The directory slot of a device.
fn slot_of(world: &World, node: usize) -> undertone_wire::id::SlotId {
    let client = &world.nodes[node].client;
    let devices = client.devices(&client.account()).unwrap();
    let device = devices.iter().find(|device| device.id() == client.device()).unwrap();
    undertone_wire::id::SlotId::of_owner(device.signing())
}

// spec DEL-79
#[test]
fn what_no_device_of_the_peer_could_read_waits() {
    let mut world = two_and_two(19);
    world.disconnect(BOB_2);
    let id = world.befriend(ALICE, BOB);
    world.run();
    // Alice's second device knows the conversation, and has no session with any device of Bob's.
    let slots: Vec<_> = world.relay.slots.iter().map(|(key, slot)| (*key, slot.clone())).collect();
    world.relay.slots.retain(|(_, kind), _| *kind != SlotKind::PrekeyBundle);
    let entries = world.relay.logs[&log_of(&world, ALICE, id)].entries.len();
    world.say(ALICE_2, id, "for nobody?");
    world.run();
    assert_eq!(world.relay.logs[&log_of(&world, ALICE, id)].entries.len(), entries);
    assert_eq!(world.nodes[ALICE_2].client.conversation(&id).unwrap().unsent_count, 1);
    world.relay.slots.extend(slots);
    world.connect(BOB_2);
    world.run();
    for node in ALL {
        assert_eq!(world.texts(node, id), ["for nobody?"], "node {node}");
    }
    world.assert_nothing_odd();
}

// spec DEL-78, DEL-79: a turn that left a device out keeps it out only until it is introduced.
#[test]
fn a_device_that_a_turn_left_out_comes_back() {
    let (mut world, id) = acquainted(10);
    let log = log_of(&world, ALICE, id);
    // A third device of Bob's comes, with whom Alice's second has no session and gets none.
    let third = world.enlist(BOB);
    world.connect(third);
    world.run();
    world.disconnect(ALICE);
    world.disconnect(BOB);
    world.disconnect(BOB_2);
    let slots: Vec<_> = world.relay.slots.iter().map(|(key, slot)| (*key, slot.clone())).collect();
    world.relay.slots.retain(|(_, kind), _| *kind != SlotKind::PrekeyBundle);
    world.call(ALICE_2, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    world.run();
    assert_eq!(world.relay.logs[&log].generation().as_u64(), 2);
    assert_eq!(unreadable(&world, third).last().map(|(_, reason)| *reason), Some(Reason::NotAddressed));
    world.relay.slots.extend(slots);
    world.connect_all();
    world.run();
    world.say(ALICE_2, id, "back?");
    world.say(third, id, "back!");
    world.run();
    for node in [ALICE, BOB, ALICE_2, BOB_2, third] {
        let texts = world.texts(node, id);
        assert!(texts.contains(&"back!".to_owned()) && texts.contains(&"back?".to_owned()), "node {node}: {texts:?}");
    }
    world.assert_no_nonce_twice();
}

// A-DM-40: 2 500 messages written offline, to an account whose log turns meanwhile.
#[test]
fn two_thousand_five_hundred_messages_written_offline_all_arrive_behind_a_turn() {
    let mut world = World::of(11, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.run();
    world.say(BOB, id, "go");
    world.run();
    world.disconnect(ALICE);
    for number in 0..2_500 {
        world.say(ALICE, id, &number.to_string());
    }
    let second = world.enlist(BOB);
    world.connect(second);
    world.run();
    world.connect(ALICE);
    for _ in 0..20 {
        world.run();
    }
    for node in [ALICE, BOB, second] {
        let texts: Vec<String> = world.texts(node, id).into_iter().filter(|text| text != "go").collect();
        assert_eq!(texts.len(), 2_500, "node {node}");
        assert!(texts.iter().enumerate().all(|(at, text)| *text == at.to_string()), "node {node}");
    }
    world.assert_nothing_odd();
}

// spec DEL-79, DM-120: a message that leaves no room for the handshakes of many new sessions goes behind them.
#[test]
fn a_large_message_to_many_silent_devices_arrives() {
    let mut world = World::of(12, &["alice", "bob"]);
    let mut nodes = vec![ALICE, BOB];
    for _ in 0..7 {
        nodes.push(world.enlist(ALICE));
        nodes.push(world.enlist(BOB));
    }
    world.connect_all();
    world.run();
    let id = world.befriend(ALICE, BOB);
    world.run();
    let large = "x".repeat(48_000);
    // Bob has a session with the device that introduced him, and with no other.
    world.say(BOB, id, &large);
    world.run();
    for node in nodes {
        assert!(world.texts(node, id) == [large.as_str()], "node {node}");
    }
    world.assert_nothing_odd();
}

// spec DEL-83
#[test]
fn a_device_learns_its_accounts_newest_list_when_it_connects() {
    let mut world = World::of(18, &["alice", "bob"]);
    let second = world.enlist(ALICE);
    assert_eq!(world.nodes[second].client.devices(&world.account(second)).unwrap().len(), 2);
    let third = world.enlist(ALICE);
    world.run();
    for node in [second, third] {
        world.connect(node);
    }
    world.run();
    for node in [ALICE, second, third] {
        assert_eq!(world.nodes[node].client.devices(&world.account(node)).unwrap().len(), 3, "node {node}");
    }
    // Before it begins a conversation, too: the others are in from its first word on.
    let fourth = world.enlist(ALICE);
    world.connect(fourth);
    world.run();
    let id = world.befriend(second, BOB);
    world.say(second, id, "to all of us");
    world.run();
    for node in [ALICE, BOB, third, fourth] {
        assert_eq!(world.texts(node, id), ["to all of us"], "node {node}");
    }
}

// spec DEL-81
#[test]
fn what_one_device_has_read_the_others_of_its_account_have_read() {
    let (mut world, id) = acquainted(13);
    world.say(ALICE, id, "one");
    world.say(ALICE, id, "two");
    world.run();
    let history = world.history(BOB, id);
    let read = history.last().unwrap().id;
    world.call(BOB, |client, now, rng| client.mark_read(&id, &read, now, rng)).unwrap();
    world.run();
    let bob = world.account(BOB);
    let told_to = |node: usize| {
        let told = world.nodes[node].told_once();
        told.into_iter().any(|event| matches!(event, Event::Read { message, by, .. } if *message == read && *by == bob))
    };
    assert!(told_to(ALICE) && told_to(ALICE_2) && told_to(BOB_2) && !told_to(BOB));
    for node in [ALICE, ALICE_2] {
        assert_eq!(world.history(node, id).last().unwrap().status, MessageStatus::Read);
    }
    // Bob's other device has nothing left to report.
    let before = world.nodes[BOB_2].frames_sent.len();
    world.call(BOB_2, |client, now, rng| client.mark_read(&id, &read, now, rng)).unwrap();
    world.run();
    assert_eq!(world.nodes[BOB_2].frames_sent.len(), before);
}

// spec DEL-80: a message has reached an account when one of its devices has it.
#[test]
fn one_device_of_the_peer_is_enough_for_delivered() {
    let (mut world, id) = acquainted(14);
    world.disconnect(BOB_2);
    world.say(ALICE, id, "for one of you");
    world.run();
    assert_eq!(world.history(ALICE, id).last().unwrap().status, MessageStatus::Delivered);
    world.disconnect(BOB);
    world.say(ALICE, id, "for none of you");
    world.run();
    assert_eq!(world.history(ALICE, id).last().unwrap().status, MessageStatus::Sent);
    assert!(world.history(ALICE, id).last().unwrap().place.is_some());
}

// spec DEL-82
#[test]
fn a_group_takes_in_all_devices_of_an_account_and_those_that_come_later() {
    let mut world = two_and_two(15);
    world.befriend(ALICE, BOB);
    world.run();
    let bob = world.account(BOB);
    let id = world.call(ALICE, |client, now, rng| client.create_group("all", &[bob], now, rng)).unwrap();
    world.run();
    for node in [ALICE, BOB, BOB_2] {
        world.say(node, id, &format!("from {node}"));
        world.run();
    }
    assert_eq!(world.texts(BOB_2, id), ["from 0", "from 1", "from 3"]);
    let third = world.enlist(BOB);
    world.connect(third);
    world.run();
    world.say(third, id, "late");
    world.run();
    for node in [ALICE, BOB, BOB_2, third] {
        assert_eq!(world.texts(node, id).last().unwrap(), "late", "node {node}");
        let view = world.nodes[node].client.conversation(&id).unwrap();
        assert_eq!((view.kind, view.members.len()), (ConversationKind::Group, 2));
    }
    // The account was there before: nobody is told that it came.
    let changes = world.nodes[ALICE].told_once();
    let came =
        changes.iter().filter(|event| matches!(event, Event::GroupChanged { added, .. } if added.contains(&bob)));
    assert_eq!(came.count(), 1);
    world.expel(BOB, third);
    world.run();
    world.say(ALICE, id, "without the third");
    world.run();
    assert_eq!(world.texts(BOB_2, id).last().unwrap(), "without the third");
    assert_eq!(world.texts(third, id).last().unwrap(), "late");
}

// Row EN-01: a process that dies at any moment of a first contact or turn with several devices loses nothing.
#[test]
fn linking_and_talking_survive_deaths() {
    let (base, id) = acquainted(16);
    for fuse in (0..120).step_by(11) {
        let mut world = base.fork(u64::from(fuse));
        world.connect_all();
        world.run();
        world.nodes[ALICE].fuse = Some(fuse);
        let third = world.enlist(BOB);
        world.connect(third);
        world.say(ALICE, id, "through all of it");
        world.run();
        world.nodes[ALICE].fuse = None;
        world.connect_all();
        world.run();
        world.say(third, id, "and I");
        world.run();
        for node in [ALICE, BOB, ALICE_2, BOB_2, third] {
            assert_eq!(world.texts(node, id).last().unwrap(), "and I", "fuse {fuse}, node {node}");
        }
        assert_all_alike(&world, &ALL, id);
        world.assert_nothing_twice();
        world.assert_no_nonce_twice();
    }
}

#[test]
fn content_of_any_kind_can_be_sent_by_any_device() {
    let (mut world, id) = acquainted(17);
    let target = world.history(BOB, id)[0].id;
    let reaction = Content::reaction(target, "🌧", &mut world.rng).unwrap();
    world.call(BOB_2, |client, now, rng| client.send(&id, &reaction, now, rng)).unwrap();
    world.run();
    assert_all_alike(&world, &ALL, id);
    assert_eq!(world.history(ALICE_2, id).len(), 5);
}
