//! Receipts, profiles and ephemeral traffic (spec/delivery, spec/envelope).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::time::Duration;

use sim::World;
use undertone::Error;
use undertone::content::{MessageId, Profile, TypingState};
use undertone::conversation::{ConversationId, MessageStatus};
use undertone::engine::{Event, Input, Signal};
use undertone::envelope::Delivered;
use undertone::store::{MemoryStore, Overlay, Store, Table, Tx};
use undertone_wire::frame::{RelayFrame, Request};
use undertone_wire::id::{Generation, LogId, Seq};

fn friends(seed: u64) -> (World, ConversationId) {
    let mut world = World::of(seed, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.run();
    (world, id)
}

/// Alice, who knows bob and carol, and their group. Bob and carol do not know each other.
fn group(seed: u64) -> (World, ConversationId) {
    let mut world = World::of(seed, &["alice", "bob", "carol"]);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    let others = [world.account(1), world.account(2)];
    let id = world.call(0, |client, now, rng| client.create_group("walks", &others, now, rng)).unwrap();
    world.run();
    (world, id)
}

fn log_of(world: &World, id: ConversationId) -> LogId {
    world.nodes[0].client.log_of(&id).unwrap().unwrap()
}

fn entry_count(world: &World, id: ConversationId) -> usize {
    world.relay.logs[&log_of(world, id)].entries.len()
}

fn deliver_all(world: &mut World) {
    while world.deliver_one() {}
}

fn read(world: &mut World, node: usize, id: ConversationId, message: MessageId) -> Result<(), Error> {
    world.call(node, |client, now, rng| client.mark_read(&id, &message, now, rng))
}

fn statuses(world: &World, node: usize, id: ConversationId) -> Vec<MessageStatus> {
    let own = world.account(node);
    world.history(node, id).iter().filter(|message| message.account == own).map(|message| message.status).collect()
}

fn reads(world: &World, node: usize) -> Vec<(MessageId, usize)> {
    let read = |event: &Event| match event {
        Event::Read { message, by, .. } => {
            Some((*message, (0..world.nodes.len()).find(|node| world.account(*node) == *by).unwrap()))
        }
        _ => None,
    };
    world.events(node).iter().filter_map(read).collect()
}

fn names(world: &World, node: usize, id: ConversationId) -> Vec<Option<String>> {
    let members = world.nodes[node].client.conversation(&id).unwrap().members;
    let name =
        |of: usize| members.iter().find(|member| member.account == world.account(of)).and_then(|m| m.name.clone());
    (0..world.nodes.len()).map(name).collect()
}

// spec DEL-40: after 150 ms, and no sooner; and no receipt is acknowledged
#[test]
fn a_message_is_acknowledged_once_and_a_receipt_never() {
    let (mut world, id) = friends(1);
    world.say(0, id, "hello");
    deliver_all(&mut world);
    assert_eq!((entry_count(&world, id), statuses(&world, 0, id)), (1, vec![MessageStatus::Sent]));
    let due = world.nodes[1].timer.unwrap();
    assert_eq!(due, world.now.after(Duration::from_millis(150)));
    world.now = world.now.after(Duration::from_millis(149));
    world.input(1, Input::Timer);
    deliver_all(&mut world);
    assert_eq!(entry_count(&world, id), 1, "it waits for something to carry it");
    world.run();
    assert_eq!((entry_count(&world, id), statuses(&world, 0, id)), (2, vec![MessageStatus::Delivered]));
    for _ in 0..3 {
        world.run();
    }
    for node in 0..2 {
        world.crash(node);
        world.connect(node);
        world.run();
    }
    assert_eq!(entry_count(&world, id), 2, "one message, one receipt, and silence");
    for at in 0..5 {
        world.say(0, id, &format!("{at}"));
    }
    world.run();
    let messages_and_receipts = entry_count(&world, id) - 2;
    assert!(messages_and_receipts <= 5 + 1, "one receipt for all that came together: {messages_and_receipts}");
    let through = |event: &&Event| if let Event::Delivered { through, .. } = event { Some(*through) } else { None };
    let delivered: Vec<Seq> = world.nodes[0].told_once().iter().filter_map(through).collect();
    assert!(delivered.is_sorted_by(|left, right| left < right), "each told once: {delivered:?}");
}

// spec DEL-40: what is sent anyway carries the receipt
#[test]
fn an_answer_carries_the_receipt() {
    let (mut world, id) = friends(2);
    world.say(0, id, "hello");
    deliver_all(&mut world);
    world.say(1, id, "hi");
    deliver_all(&mut world);
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Delivered]);
    world.run();
    assert_eq!(entry_count(&world, id), 3, "two messages, and alice's receipt");
    assert_eq!(statuses(&world, 1, id), [MessageStatus::Delivered]);
}

// spec DEL-40: a receipt that was due is sent after a restart
#[test]
fn a_receipt_survives_a_restart() {
    let (mut world, id) = friends(3);
    world.say(0, id, "hello");
    deliver_all(&mut world);
    world.crash(1);
    world.connect(1);
    world.run();
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Delivered]);
    assert_eq!(entry_count(&world, id), 2);
}

// spec DEL-40: what the peer could not read is not reported as delivered
#[test]
fn what_could_not_be_read_is_not_delivered() {
    let (mut world, id) = friends(4);
    world.say(0, id, "readable");
    world.run();
    let log = log_of(&world, id);
    world.say(0, id, "broken on its way");
    // Bob's copy is broken; alice's is not.
    while let Some(frame) = world.relay.pop(1) {
        let mut decoded = RelayFrame::decode(&frame).unwrap();
        if let RelayFrame::Entries { log: of, entries } = &mut decoded
            && *of == log
        {
            entries[0].content = undertone_wire::frame::EntryContent::Payload(vec![0; 300].into());
        }
        world.input(1, Input::Frame(&decoded.encode()));
    }
    deliver_all(&mut world);
    world.say(0, id, "readable again");
    world.run();
    assert_eq!(world.told(1), ["readable", "readable again"]);
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Delivered, MessageStatus::Sent, MessageStatus::Delivered]);
}

// spec DEL-40: in a group a message is delivered when everybody has it
#[test]
fn delivered_means_all_and_read_means_all() {
    let (mut world, id) = group(5);
    world.disconnect(2);
    world.say(0, id, "hello");
    world.run();
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Sent], "carol has not got it");
    let message = world.history(0, id)[0].id;
    read(&mut world, 1, id, message).unwrap();
    world.run();
    assert_eq!(reads(&world, 0), [(message, 1)]);
    world.connect(2);
    world.run();
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Delivered]);
    read(&mut world, 2, id, message).unwrap();
    world.run();
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Read]);
    assert_eq!(reads(&world, 0), [(message, 1), (message, 2)]);
}

// A status only rises, whoever joins later (row EN-04).
#[test]
fn a_new_member_takes_no_status_back() {
    let mut world = World::of(6, &["alice", "bob", "carol"]);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    let (bob, carol) = (world.account(1), world.account(2));
    let id = world.call(0, |client, now, rng| client.create_group("two", &[bob], now, rng)).unwrap();
    world.say(0, id, "read by bob");
    world.run();
    let message = world.history(0, id)[0].id;
    world.say(0, id, "delivered to bob");
    read(&mut world, 1, id, message).unwrap();
    world.run();
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Read, MessageStatus::Delivered]);
    world.call(0, |client, now, rng| client.add_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Read, MessageStatus::Delivered]);
    world.disconnect(2);
    world.say(0, id, "for three");
    world.run();
    assert_eq!(statuses(&world, 0, id)[2], MessageStatus::Sent, "from now on she counts");
}

// spec DEL-41: bob claims to have what nobody has sent yet
#[test]
fn a_claim_is_cut_to_what_it_can_be_true_of() {
    let (mut world, id) = friends(7);
    world.say(0, id, "first");
    world.run();
    // Bob's cursor is moved forward on his own disk: his next envelope claims a thousand entries.
    let through = claim_after(&mut world, id, Seq::from_u64(1_000));
    let claimed_at = world.history(0, id).last().unwrap().place.unwrap();
    assert_eq!(through, Seq::from_u64(claimed_at.as_u64() - 1), "cut to the entry before the envelope");
    world.disconnect(1);
    world.say(0, id, "not delivered");
    world.run();
    assert_eq!(*statuses(&world, 0, id).last().unwrap(), MessageStatus::Sent);
}

/// Bob sends an envelope with a claim of `through`; returns what alice was told that he has.
fn claim_after(world: &mut World, id: ConversationId, through: Seq) -> Seq {
    let own = change_log_row(world, id, SEQ_AT, through);
    world.say(1, id, "I have it all");
    // It is sealed with the lie, and then bob is himself again.
    change_log_row(world, id, SEQ_AT, own);
    world.run();
    let told = world.events(0).into_iter().rev().find_map(|event| match event {
        Event::Delivered { through, .. } => Some(through),
        _ => None,
    });
    told.unwrap()
}

/// Where the cursor stands in a row of a log: behind a version, the conversation[32] and u64 generation.
const SEQ_AT: usize = 41;

/// Where the mark of what is read stands in the row of a group's log: behind the cursor, head[32], two empty vectors, an order,
/// a byte, and two u64.
const READ_THROUGH_AT: usize = SEQ_AT + 8 + 32 + 2 + 12 + 1 + 16;

/// Changes a number on bob's own disk, and returns what it was.
fn change_log_row(world: &mut World, id: ConversationId, at: usize, to: Seq) -> Seq {
    let log = log_of(world, id);
    let rows = world.nodes[1].store.rows(Table::Logs);
    let mut row = rows.into_iter().find(|(key, _)| key == log.as_bytes()).unwrap().1.to_vec();
    let was = u64::from_be_bytes(row[at..at + 8].try_into().unwrap());
    row[at..at + 8].copy_from_slice(&to.to_be_bytes());
    put(&world.nodes[1].store, Table::Logs, log.as_bytes(), row);
    Seq::from_u64(was)
}

fn put(store: &MemoryStore, table: Table, key: &[u8], value: Vec<u8>) {
    let overlay = Overlay::default();
    let mut tx = Tx::new(store, &overlay);
    tx.put(table, key, value);
    store.commit(&tx.into_batch()).unwrap();
}

// spec DEL-41: the report itself
#[test]
fn a_report_covers_no_entry_that_it_names_missing() {
    let report = Delivered::new(Seq::from_u64(5), [Seq::from_u64(3)]);
    assert!(report.covers(Seq::from_u64(5)) && !report.covers(Seq::from_u64(3)) && !report.covers(Seq::from_u64(6)));
}

// spec DEL-42
#[test]
fn reading_is_told_once_per_reader_and_only_of_own_messages() {
    let (mut world, id) = group(8);
    for (node, text) in [(0, "a1"), (1, "b1"), (0, "a2"), (2, "c1")] {
        world.say(node, id, text);
        world.run();
    }
    let ids: Vec<MessageId> = world.history(1, id).iter().map(|message| message.id).collect();
    let entries = entry_count(&world, id);
    read(&mut world, 1, id, ids[3]).unwrap();
    world.run();
    assert_eq!(entry_count(&world, id), entries + 1, "one list, which nobody acknowledges");
    assert_eq!(reads(&world, 0), [(ids[0], 1), (ids[2], 1)], "alice's two, not carol's");
    assert_eq!(reads(&world, 2), [(ids[3], 1)]);
    assert_eq!(reads(&world, 1), []);
    // Again, and of earlier ones: nothing new.
    for again in [ids[3], ids[0], ids[2]] {
        read(&mut world, 1, id, again).unwrap();
        world.crash(1);
        world.connect(1);
        world.run();
    }
    assert_eq!(entry_count(&world, id), entries + 1);
    assert_eq!(reads(&world, 0).len(), 2);
    // Bob forgets what he has read, and says all of it again.
    let place = world.history(1, id)[3].place.unwrap();
    assert_eq!(change_log_row(&mut world, id, READ_THROUGH_AT, Seq::from_u64(0)), place);
    read(&mut world, 1, id, ids[3]).unwrap();
    world.run();
    assert_eq!(entry_count(&world, id), entries + 2);
    assert_eq!(reads(&world, 0).len(), 2, "told once");
    read(&mut world, 2, id, ids[2]).unwrap();
    world.run();
    assert_eq!(reads(&world, 0), [(ids[0], 1), (ids[2], 1), (ids[0], 2), (ids[2], 2)]);
    assert_eq!(reads(&world, 1), [(ids[1], 2)]);
    assert_eq!(statuses(&world, 0, id), [MessageStatus::Read, MessageStatus::Read]);
    assert_eq!(statuses(&world, 2, id), [MessageStatus::Delivered], "alice has not read it");
}

// spec DEL-42: a message is read in the conversation in which it stands
#[test]
fn what_is_not_in_a_conversation_cannot_be_marked_in_it() {
    let (mut world, id) = group(9);
    let direct = world.befriend(0, 1);
    world.say(0, id, "in the group");
    world.run();
    let message = world.history(1, id)[0].id;
    assert_eq!(read(&mut world, 1, direct, message), Err(Error::UnknownMessage));
    let unknown = MessageId::of(&id, &world.account(0), b"never sent");
    assert_eq!(read(&mut world, 1, id, unknown), Err(Error::UnknownMessage));
    world.run();
    assert_eq!(reads(&world, 0), []);
}

// spec ENV-75: everybody is known by the name that it gives itself
#[test]
fn members_of_a_group_learn_each_others_names() {
    let (mut world, id) = group(10);
    let expected: Vec<_> = ["alice", "bob", "carol"].map(|name| Some(name.to_owned())).into();
    for node in 0..3 {
        assert_eq!(names(&world, node, id), expected, "node {node}");
    }
    // A member who comes later is known to those who do not know it, before it has said a word.
    let dave = world.add("dave");
    world.connect(dave);
    world.befriend(0, dave);
    world.run();
    let account = world.account(dave);
    world.call(0, |client, now, rng| client.add_members(&id, &[account], now, rng)).unwrap();
    world.run();
    let expected: Vec<_> = ["alice", "bob", "carol", "dave"].map(|name| Some(name.to_owned())).into();
    for node in 0..4 {
        assert_eq!(names(&world, node, id), expected, "node {node}");
    }
    let contacts = |node: usize| {
        let told = |event: &Event| matches!(event, Event::Contact { account: of, .. } if *of == account);
        world.events(node).iter().filter(|event| told(event)).count()
    };
    assert_eq!((contacts(1), contacts(2)), (1, 1), "told once");
    world.assert_nothing_odd();
}

// spec ENV-75: an own word goes before a hint, whichever comes first
#[test]
fn a_hint_replaces_no_name_that_somebody_gave_itself() {
    let mut world = World::of(11, &["alice", "bob", "carol"]);
    // To alice carol is what her invitation says; bob and carol know each other by their own words.
    let direct = world.befriend(1, 2);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    // What alice calls carol is spoiled on alice's disk, so that her hint is false.
    let row =
        world.nodes[0].store.rows(Table::Contacts).into_iter().find(|(key, _)| key == world.account(2).as_bytes());
    let (key, value) = row.unwrap();
    let at = value.windows(5).position(|window| window == b"carol").unwrap();
    let mut spoiled = value.to_vec();
    spoiled[at..at + 5].copy_from_slice(b"CAROL");
    put(&world.nodes[0].store, Table::Contacts, &key, spoiled);
    let others = [world.account(1), world.account(2)];
    let id = world.call(0, |client, now, rng| client.create_group("walks", &others, now, rng)).unwrap();
    world.run();
    assert_eq!(names(&world, 1, id)[2].as_deref(), Some("carol"), "her own word before alice's hint");
    assert_eq!(names(&world, 0, id)[2].as_deref(), Some("carol"), "her profile puts alice right");
    assert_eq!(world.nodes[1].client.conversation(&direct).unwrap().name, "carol");
}

// spec ENV-75: the bytes, and names that are refused
#[test]
fn a_profile_is_one_name_and_a_refused_name_drops_it() {
    let profile = Profile::decode(&[0xa1, 0x01, 0x63, b'b', b'o', b'b']).unwrap();
    assert_eq!(profile.name.as_str(), "bob");
    assert_eq!(profile.encode(), [0xa1, 0x01, 0x63, b'b', b'o', b'b']);
    let mut long = vec![0xa1, 0x01, 0x78, 65];
    long.extend([b'a'; 65]);
    assert!(Profile::decode(&long).is_err(), "65 bytes");
    assert!(Profile::decode(&[0xa1, 0x01, 0x60]).is_err(), "empty");
    assert!(Profile::decode(&[0xa1, 0x01, 0x61, b'\n']).is_err(), "a control character");
    assert!(Profile::decode(&[0xa0]).is_err(), "none");
}

fn type_in(world: &mut World, node: usize, id: ConversationId, state: TypingState) {
    world.call(node, |client, now, rng| client.typing(&id, state, now, rng)).unwrap();
}

fn typing_seen(world: &World, node: usize) -> Vec<TypingState> {
    let state = |signal: &Signal| if let Signal::Typing { state, .. } = signal { Some(*state) } else { None };
    world.nodes[node].signals.iter().filter_map(state).collect()
}

fn ephemerals(world: &World, node: usize) -> Vec<(LogId, Generation)> {
    let passing = |request| match request {
        Request::Ephemeral { log, generation, .. } => Some((log, generation)),
        _ => None,
    };
    world.requests(node).into_iter().filter_map(passing).collect()
}

fn all_rows(world: &World) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let rows =
        |node: &sim::Node, table: &Table| node.store.rows(*table).into_iter().map(|(key, row)| (key, row.to_vec()));
    let nodes = world.nodes.iter();
    nodes.flat_map(|node| Table::ALL.iter().map(move |table| rows(node, table).collect())).collect()
}

// spec DEL-60: in a direct conversation and in a group; nothing of it is stored
#[test]
fn typing_passes_and_leaves_no_trace() {
    for (mut world, id) in [friends(12), group(12)] {
        world.say(0, id, "one");
        world.run();
        let before = all_rows(&world);
        let entries = entry_count(&world, id);
        type_in(&mut world, 0, id, TypingState::Typing);
        world.run();
        type_in(&mut world, 0, id, TypingState::Typing);
        world.run();
        world.now = world.now.after(Duration::from_secs(3));
        type_in(&mut world, 0, id, TypingState::Typing);
        type_in(&mut world, 0, id, TypingState::Stopped);
        world.run();
        for node in 1..world.nodes.len() {
            let expected = [TypingState::Typing, TypingState::Typing, TypingState::Stopped];
            assert_eq!(typing_seen(&world, node), expected, "at most every three seconds");
        }
        assert_eq!(typing_seen(&world, 0), [], "not told to oneself");
        assert!(all_rows(&world) == before, "no row has changed anywhere");
        assert_eq!(entry_count(&world, id), entries);
    }
}

// spec DEL-60: nobody is told who is offline, and nothing waits for a connection
#[test]
fn typing_is_for_who_is_there_now() {
    let (mut world, id) = friends(13);
    world.disconnect(1);
    type_in(&mut world, 0, id, TypingState::Typing);
    world.connect(1);
    world.run();
    assert_eq!(typing_seen(&world, 1), []);
    world.disconnect(0);
    let before = ephemerals(&world, 0).len();
    world.now = world.now.after(Duration::from_secs(10));
    type_in(&mut world, 0, id, TypingState::Typing);
    world.connect(0);
    world.run();
    assert_eq!(ephemerals(&world, 0).len(), before);
}

// spec DEL-60: sealed for the generation that the log is in, dropped in another; older counters are dropped
#[test]
fn typing_of_another_generation_or_out_of_order_is_dropped() {
    for (mut world, id) in [friends(14), group(14)] {
        let log = log_of(&world, id);
        let generation = world.relay.logs[&log].generation();
        type_in(&mut world, 0, id, TypingState::Typing);
        assert_eq!(ephemerals(&world, 0), [(log, generation)]);
        let passing = |frame: &Vec<u8>| matches!(RelayFrame::decode(frame).unwrap(), RelayFrame::Ephemeral { .. });
        let mut frames = Vec::new();
        while let Some(frame) = world.relay.pop(1) {
            if passing(&frame) { frames.push(frame) } else { world.input(1, Input::Frame(&frame)) }
        }
        type_in(&mut world, 0, id, TypingState::Stopped);
        deliver_all(&mut world);
        assert_eq!(typing_seen(&world, 1), [TypingState::Stopped]);
        world.input(1, Input::Frame(&frames[0]));
        assert_eq!(typing_seen(&world, 1), [TypingState::Stopped], "an older counter, whatever the relay does");
        // The log turns; what was sealed before is of no use, under either number.
        world.now = world.now.after(Duration::from_secs(5));
        type_in(&mut world, 0, id, TypingState::Recording);
        let late = std::iter::from_fn(|| world.relay.pop(1)).find(passing).unwrap();
        if world.nodes.len() == 2 {
            world.call(0, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
        } else {
            world.call(0, |client, now, rng| client.rename_group(&id, "turned", now, rng)).unwrap();
        }
        world.run();
        assert_eq!(world.relay.logs[&log].generation(), generation.next());
        world.input(1, Input::Frame(&late));
        let RelayFrame::Ephemeral { log, payload, .. } = RelayFrame::decode(&late).unwrap() else { unreachable!() };
        let relabelled = RelayFrame::Ephemeral { log, generation: generation.next(), payload }.encode();
        world.input(1, Input::Frame(&relabelled));
        assert_eq!(typing_seen(&world, 1), [TypingState::Stopped]);
        type_in(&mut world, 0, id, TypingState::Typing);
        deliver_all(&mut world);
        assert_eq!(typing_seen(&world, 1), [TypingState::Stopped, TypingState::Typing]);
        assert_eq!(ephemerals(&world, 0).last().unwrap(), &(log, generation.next()));
    }
}

// spec DEL-60: a counter that begins anew with the process is not taken for an old one
#[test]
fn typing_goes_on_after_a_restart() {
    let (mut world, id) = friends(15);
    type_in(&mut world, 0, id, TypingState::Typing);
    type_in(&mut world, 0, id, TypingState::Stopped);
    world.run();
    world.now = world.now.after(Duration::from_secs(1));
    world.crash(0);
    world.connect(0);
    world.run();
    type_in(&mut world, 0, id, TypingState::Typing);
    world.run();
    assert_eq!(typing_seen(&world, 1), [TypingState::Typing, TypingState::Stopped, TypingState::Typing]);
}

// spec DEL-60: who was removed neither shows nor tells
#[test]
fn typing_ends_with_membership() {
    let (mut world, id) = group(16);
    let carol = world.account(2);
    world.call(0, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    type_in(&mut world, 2, id, TypingState::Typing);
    type_in(&mut world, 0, id, TypingState::Typing);
    world.run();
    assert_eq!(ephemerals(&world, 2), []);
    assert_eq!(typing_seen(&world, 2), []);
    assert_eq!(typing_seen(&world, 1), [TypingState::Typing]);
}
