//! Two devices that no longer share a session find back to one, whoever has lost what (spec/dm, Recovery).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::time::Duration;

use sim::World;
use undertone::conversation::ConversationId;
use undertone::dm::Trouble;
use undertone::engine::Event;
use undertone::store::Table;
use undertone_wire::frame::{Entry, EntryContent, NewEntry, Request, SlotKind};
use undertone_wire::id::Generation;

const ALICE: usize = 0;
const BOB: usize = 1;
const HOUR: Duration = Duration::from_secs(3_600);

/// Two people who talk, an hour after they met.
fn talking(seed: u64) -> (World, ConversationId) {
    let mut world = World::of(seed, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.run();
    for text in ["one", "two"] {
        world.say(ALICE, id, text);
        world.run();
        world.say(BOB, id, &format!("{text} indeed"));
        world.run();
    }
    world.pass(HOUR);
    (world, id)
}

fn troubles(world: &World, node: usize) -> Vec<Trouble> {
    let told = world.events(node).into_iter().filter_map(|event| match event {
        Event::Trouble { trouble, .. } => Some(trouble),
        _ => None,
    });
    told.collect()
}

/// How often a device has asked for prekeys: once for each session that it began.
fn begun(world: &World, node: usize) -> usize {
    let is_for_session = |request: &Request| matches!(request, Request::Take { kind: SlotKind::PrekeyBundle, .. });
    world.requests(node).iter().filter(|request| is_for_session(request)).count()
}

/// Alice says `count` things while Bob is away, and what the relay holds of all but the last `kept` entries expires.
fn talk_to_nobody(world: &mut World, id: ConversationId, count: usize, kept: usize) {
    for number in 0..count {
        world.say(ALICE, id, &format!("number {number}"));
    }
    world.run();
    let log = world.nodes[ALICE].client.log_of(&id).unwrap().unwrap();
    let log = world.relay.logs.get_mut(&log).unwrap();
    let through = log.entries.len() - kept;
    log.expire(through);
}

/// Both say something, and both read it.
fn assert_they_talk(world: &mut World, id: ConversationId, text: &str) {
    for node in [ALICE, BOB] {
        let said = format!("{text} {node}");
        world.say(node, id, &said);
        world.run();
        for reader in [ALICE, BOB] {
            assert!(world.texts(reader, id).contains(&said), "{reader} reads what {node} says");
        }
    }
}

// A-DM-25, spec DM-52, DM-53, DM-54, DEL-95: answers to what the restored state never sent.
#[test]
fn who_restored_a_backup_notices_by_the_answers_and_the_conversation_goes_on() {
    let (mut world, id) = talking(1);
    let backup = world.nodes[ALICE].store.snapshot();
    for text in ["lost to Alice", "lost too"] {
        assert_they_talk(&mut world, id, text);
    }
    let asked = begun(&world, ALICE);
    world.restore(ALICE, &backup);
    world.connect(ALICE);
    world.run();
    assert_eq!(troubles(&world, ALICE), [Trouble::OwnFork], "told once");
    assert_eq!(begun(&world, ALICE), asked + 1, "with nothing to say herself");
    assert_they_talk(&mut world, id, "anew");
    world.pass(HOUR);
    assert_they_talk(&mut world, id, "later");
    assert_eq!(begun(&world, ALICE) + begun(&world, BOB), asked + 1, "one session was enough");
    assert_eq!(troubles(&world, ALICE).len() + troubles(&world, BOB).len(), 1);
    world.assert_no_nonce_twice();
}

// A-DM-25, spec DM-54, DM-56, DEL-95: who only reads has nothing of his own to begin with.
#[test]
fn whose_peer_restored_a_backup_notices_by_the_places_and_begins_anew() {
    let (mut world, id) = talking(2);
    // Bob's answer to what is lost is not sent before Alice is rolled back.
    world.say(ALICE, id, "mine to go on with");
    world.run();
    world.disconnect(BOB);
    let backup = world.nodes[ALICE].store.snapshot();
    world.say(ALICE, id, "lost to Alice");
    world.run();
    world.restore(ALICE, &backup);
    world.connect(ALICE);
    world.run();
    world.say(ALICE, id, "in a place that is used");
    world.run();
    let asked = begun(&world, ALICE) + begun(&world, BOB);
    world.connect(BOB);
    world.pass(Duration::from_secs(600));
    assert_eq!(world.texts(BOB, id).last().unwrap(), "lost to Alice");
    assert_eq!(troubles(&world, BOB), [Trouble::PeerFork]);
    assert_they_talk(&mut world, id, "anew");
    // Bob's receipt answers what Alice does not remember: that is how she notices.
    assert_eq!((troubles(&world, BOB), troubles(&world, ALICE)), (vec![Trouble::PeerFork], vec![Trouble::Unreadable]));
    assert!(begun(&world, ALICE) + begun(&world, BOB) <= asked + 2, "one each at most");
    world.assert_no_nonce_twice();
}

// A-DM-25, spec DM-54: two lives of one device, taking turns. Each hour brings one new session at most, and what is acknowledged
// stays.
#[test]
fn a_cloned_device_costs_one_session_an_hour_and_nothing_that_was_acknowledged() {
    let (mut world, id) = talking(3);
    let mut lives = [world.nodes[ALICE].store.snapshot(), world.nodes[ALICE].store.snapshot()];
    let asked = begun(&world, ALICE) + begun(&world, BOB);
    let mut delivered = Vec::new();
    for turn in 0..12 {
        let life = turn % 2;
        world.restore(ALICE, &lives[life]);
        world.connect(ALICE);
        world.pass(Duration::from_secs(900));
        world.say(ALICE, id, &format!("by life {life}, turn {turn}"));
        world.say(BOB, id, &format!("by Bob, turn {turn}"));
        world.pass(Duration::from_secs(900));
        let before = world.texts(BOB, id);
        assert!(delivered.iter().all(|text| before.contains(text)), "what Bob had is gone");
        delivered = before;
        lives[life] = world.nodes[ALICE].store.snapshot();
        world.disconnect(ALICE);
    }
    let hours = 12 / 2 + 1;
    assert!(begun(&world, ALICE) + begun(&world, BOB) <= asked + 2 * hours);
    // One life is given up: the other goes on.
    world.connect(ALICE);
    world.pass(2 * HOUR);
    assert_they_talk(&mut world, id, "the other life is over");
    world.assert_no_nonce_twice();
}

// spec DM-50, DM-51: the ratchets turn for a device that only listens, and its heartbeats are answered by none.
#[test]
fn a_device_that_only_listens_sends_a_heartbeat() {
    let mut world = World::of(4, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.run();
    let second = world.enlist(ALICE);
    world.connect(second);
    world.run();
    world.say(second, id, "I am here");
    world.run();
    let deposits = |world: &World| {
        let is_deposit = |request: &&Request| matches!(request, Request::Deposit(_));
        [ALICE, BOB, second].map(|node| world.requests(node).iter().filter(is_deposit).count())
    };
    let before = deposits(&world);
    // What Alice says asks her other device for no receipt, and neither do Bob's receipts: she owes each of them a heartbeat.
    for number in 0..60 {
        world.say(ALICE, id, &format!("news {number}"));
        world.run();
    }
    world.pass(HOUR);
    let after = deposits(&world);
    assert_eq!([after[0] - before[0], after[1] - before[1], after[2] - before[2]], [0, 0, 2]);
    assert_eq!(world.texts(second, id).len(), 61);
    world.assert_nothing_odd();
}

// spec DM-54: whom no list names any more gets no session, whatever is said in its name.
#[test]
fn no_session_is_begun_with_a_device_that_is_gone() {
    let (mut world, id) = talking(5);
    let second = world.enlist(BOB);
    world.connect(second);
    world.run();
    world.say(second, id, "I am Bob too");
    world.run();
    let backup = world.nodes[second].store.snapshot();
    world.say(second, id, "lost");
    world.run();
    world.pass(HOUR);
    world.disconnect(ALICE);
    world.restore(second, &backup);
    world.connect(second);
    world.run();
    world.say(second, id, "in a place that is used");
    world.run();
    world.expel(BOB, second);
    world.run();
    let asked = begun(&world, ALICE);
    world.connect(ALICE);
    world.pass(2 * HOUR);
    assert_eq!(begun(&world, ALICE), asked);
    assert_they_talk(&mut world, id, "we are still here");
    assert!(!world.nodes[ALICE].store.rows(Table::Sessions).is_empty());
}

// spec DM-57, DM-120, DM-124: more than a receiver passes over has expired when Bob comes back. He reads what is there, and both talk on,
// without trouble.
#[test]
fn who_was_away_while_thousands_expired_reads_what_is_left_and_talks_on() {
    let (mut world, id) = talking(6);
    world.disconnect(BOB);
    talk_to_nobody(&mut world, id, 2_600, 300);
    world.connect(BOB);
    world.run();
    let read = world.texts(BOB, id);
    let missing: Vec<String> =
        (2_300..2_600).map(|n| format!("number {n}")).filter(|text| !read.contains(text)).collect();
    assert_eq!(missing, Vec::<String>::new());
    assert_they_talk(&mut world, id, "on we go");
    assert_eq!([troubles(&world, ALICE), troubles(&world, BOB)], [vec![], vec![Trouble::Unreadable]]);
    world.pass(2 * HOUR);
    assert_they_talk(&mut world, id, "and on");
    world.assert_no_nonce_twice();
    world.assert_nothing_twice();
}

// spec DM-54, DM-32, DM-57: a sender that cannot begin anew, because the directory has no keys of Bob's, is further ahead than he
// follows; he begins.
#[test]
fn who_is_too_far_behind_begins_anew_himself() {
    let (mut world, id) = talking(7);
    world.disconnect(BOB);
    let bundles: Vec<_> = world.relay.slots.extract_if(.., |(_, kind), _| *kind == SlotKind::PrekeyBundle).collect();
    talk_to_nobody(&mut world, id, 2_200, 10);
    world.relay.slots.extend(bundles);
    world.connect(BOB);
    world.pass(Duration::from_secs(600));
    assert_eq!(troubles(&world, BOB), [Trouble::Behind]);
    assert_they_talk(&mut world, id, "on we go");
    assert_eq!(troubles(&world, BOB).len() + troubles(&world, ALICE).len(), 1);
}

// A-DM-40, spec DEL-96, DM-34: one session runs through the logs of two conversations, and more than is kept stands in each before
// the other goes on.
#[test]
fn thousands_of_messages_in_two_logs_of_one_session_are_all_read() {
    let mut world = World::of(8, &["alice", "bob", "carol"]);
    let carol = 2;
    let second = world.enlist(ALICE);
    world.connect(second);
    world.run();
    let ids = [world.befriend(ALICE, BOB), world.befriend(ALICE, carol)];
    world.run();
    for id in ids {
        world.say(second, id, "I am here");
        world.run();
    }
    for node in [second, BOB, carol] {
        world.disconnect(node);
    }
    for (id, count) in [(ids[0], 1_100), (ids[1], 1_600), (ids[0], 10)] {
        for number in 0..count {
            world.say(ALICE, id, &number.to_string());
        }
        world.run();
    }
    let expired = world.fork(9);
    world.connect(second);
    world.run();
    world.run();
    let read = ids.map(|id| world.texts(second, id).len());
    assert_eq!(read, [1_111, 1_601]);
    assert_eq!(troubles(&world, second), []);
    world.assert_nothing_odd();
    // Where what both logs begin with has expired, each waits for the other, and the one with less in front of it goes first.
    let mut world = expired;
    for (id, live) in [(ids[0], 30), (ids[1], 1_600)] {
        let log = world.nodes[ALICE].client.log_of(&id).unwrap().unwrap();
        let log = world.relay.logs.get_mut(&log).unwrap();
        let through = log.entries.len() - live;
        log.expire(through);
    }
    world.connect(second);
    world.run();
    world.run();
    let read = ids.map(|id| world.texts(second, id).len());
    assert_eq!(read, [30 + 1, 1_600 + 1]);
    assert_eq!(troubles(&world, second), []);
}

// A-DM-40, spec DEL-96: a turn waits as what stands before it does, and leaves out nobody for whom it was sealed.
#[test]
fn a_turn_waits_for_what_stands_in_another_log() {
    let mut world = World::of(17, &["alice", "bob", "carol"]);
    let carol = 2;
    let second = world.enlist(ALICE);
    world.connect(second);
    world.run();
    let ids = [world.befriend(ALICE, BOB), world.befriend(ALICE, carol)];
    world.run();
    for id in ids {
        world.say(second, id, "I am here");
        world.run();
    }
    for node in [second, BOB, carol] {
        world.disconnect(node);
    }
    for (id, count) in [(ids[0], 20), (ids[1], 1_400)] {
        for number in 0..count {
            world.say(ALICE, id, &number.to_string());
        }
        world.run();
    }
    let third = world.enlist(ALICE);
    world.run();
    world.connect(third);
    world.run();
    world.say(ALICE, ids[0], "behind the turn");
    world.run();
    let logs = ids.map(|id| world.nodes[ALICE].client.log_of(&id).unwrap().unwrap());
    assert!(logs.iter().all(|log| world.relay.logs[log].generation() > Generation::FIRST), "both have turned");
    world.connect(second);
    world.run();
    world.run();
    assert_eq!(ids.map(|id| world.texts(second, id).len()), [1 + 20 + 1, 1 + 1_400]);
    assert_eq!(ids.map(|id| world.nodes[second].client.log_of(&id).unwrap().unwrap()), logs);
    assert_eq!(troubles(&world, second), []);
}

// spec DEL-97: a relay that shows an entry twice makes nobody look rolled back, neither who sealed it nor who reads it.
#[test]
fn an_entry_that_the_relay_repeats_reaches_no_ratchet() {
    let (mut world, id) = talking(10);
    let said = [ALICE, BOB].map(|node| world.texts(node, id));
    let log = world.nodes[ALICE].client.log_of(&id).unwrap().unwrap();
    let now_ms = world.relay.now_ms;
    let of = world.relay.logs.get_mut(&log).unwrap();
    let entries = of.entries.clone();
    for Entry { id, class, turn, content, .. } in &entries {
        let EntryContent::Payload(payload) = content.clone() else { panic!("a payload") };
        of.forget_ids();
        of.push(NewEntry { id: *id, class: *class, ttl_s: 0, payload, turn: *turn }, now_ms);
    }
    let sessions = [ALICE, BOB].map(|node| world.nodes[node].store.rows(Table::Sessions));
    world.relay.flow();
    world.pass(HOUR);
    assert_eq!([ALICE, BOB].map(|node| world.texts(node, id)), said);
    assert_eq!([ALICE, BOB].map(|node| troubles(&world, node)), [vec![], vec![]]);
    assert!([ALICE, BOB].map(|node| world.nodes[node].store.rows(Table::Sessions)) == sessions);
    // Nor does anybody take its own words for those of a lost life.
    assert_they_talk(&mut world, id, "on we go");
    let is_gap = |event: &Event| matches!(event, Event::Gap { .. });
    assert!([ALICE, BOB].iter().all(|node| !world.events(*node).iter().any(is_gap)));
}

// spec DEL-97: what is remembered is bounded by the generation.
#[test]
fn the_ids_of_generations_that_are_over_are_forgotten() {
    let (mut world, id) = talking(11);
    let before = world.nodes[BOB].store.rows(Table::EntryIds).len();
    world.call(ALICE, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    world.run();
    for number in 0..before {
        world.say(ALICE, id, &number.to_string());
        world.run();
    }
    let log = world.nodes[ALICE].client.log_of(&id).unwrap().unwrap();
    let entries = &world.relay.logs[&log].entries;
    let last = entries.last().unwrap().generation;
    let present = entries.iter().filter(|entry| entry.generation == last).count();
    assert_eq!(world.nodes[BOB].store.rows(Table::EntryIds).len(), present);
}
