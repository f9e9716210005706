//! A relay that lies, and members that are no longer, or not yet, members: what they achieve, and what is noticed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use sim::World;
use undertone::conversation::ConversationId;
use undertone::engine::{Client, Event, Input, Reason, Suspicion};
use undertone::envelope::{LogKeys, shell};
use undertone::group;
use undertone::store::{MemoryStore, Overlay, Row, Table, Tx};
use undertone_wire::frame::{Class, Entry, EntryContent, NewEntry, RelayFrame};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, Generation, LogId, Seq, VerifyKey};

/// What no refused entry may change.
const CRYPTO: [Table; 4] = [Table::Sessions, Table::SkippedKeys, Table::Prekeys, Table::Mls];

fn friends(seed: u64) -> (World, ConversationId, LogId) {
    let mut world = World::of(seed, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.run();
    let log = world.nodes[0].client.log_of(&id).unwrap().unwrap();
    (world, id, log)
}

fn group_of(seed: u64, names: &[&str]) -> (World, ConversationId, LogId) {
    let mut world = World::of(seed, names);
    for other in 1..names.len() {
        world.befriend(0, other);
    }
    world.run();
    let others: Vec<_> = (1..names.len()).map(|node| world.nodes[node].client.account()).collect();
    let id = world.call(0, |client, now, rng| client.create_group("walks", &others, now, rng)).unwrap();
    world.run();
    let log = world.nodes[0].client.log_of(&id).unwrap().unwrap();
    (world, id, log)
}

fn crypto_rows(store: &MemoryStore) -> Vec<Vec<Row>> {
    CRYPTO.iter().map(|table| store.rows(*table)).collect()
}

fn garbage(id: u8, payload_len: usize, turn: Option<Gate>) -> NewEntry {
    let payload = vec![id; payload_len].into();
    NewEntry { id: EntryId::from_bytes([id; 16]), class: Class::Normal, ttl_s: 0, payload, turn }
}

fn reasons(world: &World, node: usize) -> Vec<Reason> {
    let reason = |event: &Event| match event {
        Event::Undecryptable { reason, .. } => Some(*reason),
        _ => None,
    };
    world.nodes[node].events.iter().filter_map(|(_, event)| reason(event)).collect()
}

fn suspicions(world: &World, node: usize) -> Vec<Suspicion> {
    let suspicion = |event: &Event| match event {
        Event::Suspicion { suspicion, .. } => Some(*suspicion),
        _ => None,
    };
    world.nodes[node].events.iter().filter_map(|(_, event)| suspicion(event)).collect()
}

fn entries(world: &World, log: LogId) -> Vec<Entry> {
    world.relay.logs[&log].entries.clone()
}

fn hand_over(world: &mut World, node: usize, log: LogId, entries: Vec<Entry>) {
    world.input(node, Input::Frame(&RelayFrame::Entries { log, entries }.encode()));
}

// spec DEL-30; A-RE-04
#[test]
fn an_entry_that_is_left_out_is_noticed_and_the_rest_waits_for_it() {
    let (mut world, id, log) = friends(1);
    world.disconnect(1);
    for text in ["one", "two", "three"] {
        world.say(0, id, text);
    }
    world.run();
    world.relay.connect(1);
    world.nodes[1].is_connected = true;
    world.input(1, Input::Connected);
    let hello = world.relay.pop(1).unwrap();
    world.input(1, Input::Frame(&hello));
    let mut all = entries(&world, log);
    let last = all.pop().unwrap();
    hand_over(&mut world, 1, log, vec![last]);
    assert_eq!(suspicions(&world, 1), [Suspicion::Skipped]);
    assert!(world.told(1).is_empty(), "nothing is shown before what stands in front of it");
    world.run();
    assert_eq!(world.texts(1, id), ["one", "two", "three"]);
}

// spec DEL-35, DEL-36; A-RE-03, A-RE-05, A-RE-07: repeated, reordered and after a restart.
#[test]
fn entries_that_come_again_and_in_any_order_are_shown_once_and_in_one_order() {
    let (mut world, id, log) = friends(2);
    for text in ["one", "two", "three", "four"] {
        world.say(0, id, text);
    }
    world.run();
    let all = entries(&world, log);
    for round in 0..10 {
        for from in 0..all.len() {
            let turned: Vec<Entry> = all[from..].iter().chain(&all[..from]).cloned().collect();
            hand_over(&mut world, 1, log, turned);
        }
        if round == 5 {
            world.crash(1);
            world.connect(1);
            world.run();
        }
    }
    assert_eq!(world.texts(1, id), ["one", "two", "three", "four"]);
    assert_eq!(world.told(1).iter().filter(|text| *text == "two").count(), 1, "told once for each life that took it");
    assert!(reasons(&world, 1).is_empty() && suspicions(&world, 1).is_empty());
}

// spec DEL-31; A-RE-16, A-DM-23
#[test]
fn garbage_changes_no_key_and_wedges_no_log() {
    let (mut world, id, log) = friends(3);
    world.say(0, id, "before");
    world.run();
    let before = crypto_rows(&world.nodes[1].store);
    for (at, payload_len) in [1, 39, 40, 41, 1_064, 65_576].into_iter().enumerate() {
        let entry = garbage(at as u8 + 1, payload_len, None);
        world.relay.logs.get_mut(&log).unwrap().push(entry, 0);
    }
    let mut stub = garbage(200, 1_064, None);
    stub.payload = vec![0; 1_064].into();
    world.relay.logs.get_mut(&log).unwrap().push(stub, 0);
    let last = world.relay.logs.get_mut(&log).unwrap().entries.last_mut().unwrap();
    last.content = EntryContent::Stub(last.leaf().payload);
    world.relay.flow();
    world.run();
    assert_eq!(reasons(&world, 1), [[Reason::Shell; 6].as_slice(), &[Reason::Expired]].concat());
    assert_eq!(crypto_rows(&world.nodes[1].store), before, "not one key moved");
    world.say(0, id, "after");
    world.run();
    assert_eq!(world.texts(1, id), ["before", "after"]);
}

// spec DEL-31: what is put aside is bounded.
#[test]
fn of_what_cannot_be_read_the_newest_64_are_kept() {
    let (mut world, id, log) = friends(4);
    for at in 1..=80 {
        world.relay.logs.get_mut(&log).unwrap().push(garbage(at, 100, None), 0);
        world.relay.flow();
    }
    world.run();
    assert_eq!(world.nodes[1].store.rows(Table::Undecryptable).len(), 64);
    world.say(0, id, "still here");
    world.run();
    assert_eq!(world.texts(1, id), ["still here"]);
}

// A-RE-14: an entry of one place is none of another.
#[test]
fn a_parcel_that_is_moved_does_not_open() {
    let (mut world, id, log) = friends(5);
    world.say(0, id, "here");
    world.run();
    let moved = entries(&world, log).into_iter().next().unwrap();
    let EntryContent::Payload(payload) = moved.content else { panic!("a payload") };
    for (at, (entry_id, class)) in
        [(EntryId::from_bytes([9; 16]), moved.class), (EntryId::from_bytes([10; 16]), Class::Bulk)]
            .into_iter()
            .enumerate()
    {
        let entry = NewEntry { id: entry_id, class, ttl_s: 0, payload: payload.clone(), turn: None };
        world.relay.logs.get_mut(&log).unwrap().push(entry, 0);
        world.relay.flow();
        world.run();
        assert_eq!(reasons(&world, 1), vec![Reason::Shell; at + 1]);
    }
    assert_eq!(world.texts(1, id), ["here"]);
}

// spec DEL-32
#[test]
fn a_commit_whose_entry_did_not_turn_the_log_or_brings_a_foreign_gate_has_no_effect() {
    for is_turned in [false, true] {
        let (mut world, id, log) = group_of(6, &["alice", "bob", "carol"]);
        world.disconnect(1);
        world.call(0, |client, now, rng| client.rename_group(&id, "runs", now, rng)).unwrap();
        world.run();
        let before = world.nodes[1].store.rows(Table::Mls);
        let foreign = VerifyKey::from_bytes([1; 32]);
        let gate = is_turned.then_some(Gate { read: foreign, append: foreign });
        let place = world.relay.logs[&log].entries.len() - 1;
        world.relay.logs.get_mut(&log).unwrap().forge_turn(place, gate);
        world.connect(1);
        world.run();
        let expected = if is_turned { Reason::VoidTurn } else { Reason::CommitWithoutTurn };
        assert_eq!(reasons(&world, 1).first(), Some(&expected));
        assert_eq!(world.nodes[1].client.conversation(&id).unwrap().name, "walks");
        assert_eq!(world.nodes[1].store.rows(Table::Mls), before);
    }
}

// spec DEL-32: the same for a direct turn.
#[test]
fn a_direct_turn_with_a_foreign_gate_is_void() {
    let (mut world, id, log) = friends(7);
    world.disconnect(1);
    world.call(0, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    world.run();
    let foreign = VerifyKey::from_bytes([1; 32]);
    let place = world.relay.logs[&log].entries.len() - 1;
    world.relay.logs.get_mut(&log).unwrap().forge_turn(place, Some(Gate { read: foreign, append: foreign }));
    world.connect(1);
    world.run();
    assert_eq!(reasons(&world, 1).first(), Some(&Reason::VoidTurn));
}

// spec DEL-33; A-GR-12: with a gate that the members can prove.
#[test]
fn after_a_void_turn_everybody_goes_on_in_the_same_epoch() {
    let (mut world, id, log) = group_of(8, &["alice", "bob", "carol"]);
    let generation = world.relay.logs[&log].generation();
    let next = log_keys(&world.nodes[2].store, log, generation.next()).unwrap();
    world.relay.logs.get_mut(&log).unwrap().push(garbage(1, 1_064, Some(next.gate())), 0);
    world.relay.flow();
    world.run();
    for node in 0..3 {
        assert_eq!(reasons(&world, node), [Reason::Shell]);
    }
    for (node, text) in ["alice", "bob", "carol"].into_iter().enumerate() {
        world.say(node, id, text);
        world.run();
    }
    for node in 0..3 {
        assert_eq!(world.texts(node, id), ["alice", "bob", "carol"]);
    }
}

// spec DEL-34; A-RE-01
#[test]
fn another_entry_in_the_same_place_is_a_fork_at_the_first_parcel_that_crosses() {
    let (mut world, id, log) = friends(9);
    world.disconnect(1);
    world.say(0, id, "as alice has it");
    world.run();
    let forked = world.relay.logs.get_mut(&log).unwrap().entries.last_mut().unwrap();
    forked.content = EntryContent::Payload(vec![7; 1_064].into());
    world.connect(1);
    world.run();
    assert!(suspicions(&world, 1).is_empty(), "garbage alone proves nothing");
    world.say(0, id, "the next");
    world.run();
    assert_eq!(suspicions(&world, 1), [Suspicion::Fork]);
    assert_eq!(world.texts(1, id), ["the next"]);
}

// spec DEL-34; A-RE-02
#[test]
fn entries_that_a_member_has_seen_and_the_relay_withholds_are_a_rollback() {
    let (mut world, id, log) = friends(10);
    world.disconnect(1);
    world.say(0, id, "lost by the relay");
    world.run();
    let lost = world.nodes[0].client.history(&id, None, 10).unwrap().len();
    world.relay.logs.get_mut(&log).unwrap().lose_last();
    world.say(0, id, "what follows");
    world.run();
    world.connect(1);
    world.run();
    assert_eq!(lost, 1);
    assert!(suspicions(&world, 1).contains(&Suspicion::Rollback), "{:?}", suspicions(&world, 1));
}

// A-GR-01, CR-04: the removed member has all that it ever had, and the whole log.
#[test]
fn a_removed_member_opens_nothing_that_follows() {
    let (mut world, id, log) = group_of(11, &["alice", "bob", "carol"]);
    world.say(0, id, "with carol");
    world.run();
    let stolen = world.nodes[2].store.snapshot();
    let carol = world.nodes[2].client.account();
    world.call(0, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    let end = world.relay.logs[&log].entries.len();
    for round in 0..10 {
        world.say(round % 2, id, &format!("without carol {round}"));
        world.run();
    }
    let later: Vec<Entry> = entries(&world, log).split_off(end);
    assert!(later.len() >= 10);
    assert_eq!(opened(&stolen, log, &later), 0, "no key of hers opens a shell");
    // And through the client, whatever a relay hands it.
    let mut clone = Client::open(stolen, world.now, &mut world.rng).unwrap().unwrap();
    clone.handle(Input::Connected, world.now, &mut world.rng).unwrap();
    world.relay.connect(2);
    let hello = world.relay.pop(2).unwrap();
    clone.handle(Input::Frame(&hello), world.now, &mut world.rng).unwrap();
    let frame = RelayFrame::Entries { log, entries: entries(&world, log).into_iter().take(60).collect() }.encode();
    clone.handle(Input::Frame(&frame), world.now, &mut world.rng).unwrap();
    let shown = clone.history(&id, None, 100).unwrap();
    assert!(shown.iter().all(|message| !message.content.accessible_text().contains("without")), "{shown:?}");
    assert_eq!(world.texts(2, id), ["with carol"]);
}

// A-GR-02
#[test]
fn a_new_member_opens_nothing_that_went_before() {
    let mut world = World::of(12, &["alice", "bob", "carol"]);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    let (bob, carol) = (world.nodes[1].client.account(), world.nodes[2].client.account());
    let id = world.call(0, |client, now, rng| client.create_group("walks", &[bob], now, rng)).unwrap();
    for round in 0..10 {
        world.say(round % 2, id, &format!("before carol {round}"));
        world.run();
    }
    let log = world.nodes[0].client.log_of(&id).unwrap().unwrap();
    let earlier = entries(&world, log);
    world.call(0, |client, now, rng| client.add_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    world.say(0, id, "with carol");
    world.run();
    assert!(earlier.len() >= 11);
    assert_eq!(opened(&world.nodes[2].store, log, &earlier), 0);
    assert_eq!(world.texts(2, id), ["with carol"]);
}

/// How many of these entries the keys of a store open, tried for every generation.
fn opened(store: &MemoryStore, log: LogId, entries: &[Entry]) -> usize {
    let all: Vec<LogKeys> = (0..64).filter_map(|g| log_keys(store, log, Generation::from_u64(g))).collect();
    assert!(!all.is_empty(), "the store holds a group");
    let opens = |entry: &Entry| {
        let EntryContent::Payload(payload) = &entry.content else { return false };
        all.iter().any(|keys| {
            shell::open(&keys.outer, log, entry.generation, entry.id, entry.class, payload.as_slice()).is_ok()
        })
    };
    let present = entries.iter().filter(|entry| entry.seq >= Seq::FIRST);
    present.filter(|entry| opens(entry)).count()
}

/// The keys that a store yields for one generation.
fn log_keys(store: &MemoryStore, log: LogId, generation: Generation) -> Option<LogKeys> {
    let overlay = Overlay::default();
    let secret = group::generation_secret(&mut Tx::new(store, &overlay), log, generation).ok()?;
    Some(LogKeys::derive(&secret, log, generation))
}
