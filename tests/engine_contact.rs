//! First contact, invitations into groups, and what an app does with a conversation (spec/delivery).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::collections::BTreeSet;

use rand::RngExt;
use sim::World;
use sim::relay::Slot;
use undertone::Error;
use undertone::content::Content;
use undertone::conversation::{ConversationId, ConversationState, MessageStatus};
use undertone::engine::{Event, Failure, Input, Signal};
use undertone::store::Table;
use undertone_wire::frame::{EntryContent, RelayFrame, Request, SlotKind};
use undertone_wire::id::{InboxTokenHash, LogId, SlotId};
use undertone_wire::label::{Label, transcript};

/// A group of everybody, created by node 0, who knows them all.
fn group_of_all(world: &mut World, name: &str) -> ConversationId {
    for node in 1..world.nodes.len() {
        world.befriend(0, node);
    }
    world.run();
    let others: Vec<_> = (1..world.nodes.len()).map(|node| world.account(node)).collect();
    let id = world.call(0, |client, now, rng| client.create_group(name, &others, now, rng)).unwrap();
    world.run();
    id
}

fn reconnect(world: &mut World, node: usize) {
    world.disconnect(node);
    world.connect(node);
    world.run();
}

fn deposits(world: &World, node: usize) -> Vec<LogId> {
    let requests = world.requests(node).into_iter();
    requests
        .filter_map(|request| if let Request::Deposit(deposit) = request { Some(deposit.log) } else { None })
        .collect()
}

fn state(world: &World, node: usize, id: ConversationId) -> ConversationState {
    world.nodes[node].client.conversation(&id).unwrap().state
}

// spec DEL-50: both were first, over many orders of events
#[test]
fn crossed_first_contacts_lose_and_double_nothing() {
    let mut both_logs_used = 0;
    for seed in 0..12 {
        let mut world = World::of(seed, &["alice", "bob"]);
        world.disconnect(0);
        world.disconnect(1);
        let id = world.befriend(0, 1);
        assert_eq!(world.befriend(1, 0), id, "the id of a direct conversation is the same on both sides");
        for turn in 0..3 {
            world.say(0, id, &format!("a{turn}"));
            world.say(1, id, &format!("b{turn}"));
        }
        world.connect(0);
        if seed % 2 == 0 {
            // Both have sent everything before they learn of each other.
            world.connect(1);
            run_without_inboxes(&mut world);
        } else {
            // One of them is ahead, perhaps far.
            for _ in 0..world.rng.random_range(0..30) {
                world.deliver_one();
            }
            world.connect(1);
        }
        world.run();
        world.say(0, id, "a3");
        world.say(1, id, "b3");
        world.run();
        let texts = world.texts(0, id);
        assert_eq!(texts, world.texts(1, id), "the same order for both");
        let of = |name: &str| texts.iter().filter(|text| text.starts_with(name)).cloned().collect::<Vec<_>>();
        assert_eq!(of("a"), ["a0", "a1", "a2", "a3"]);
        assert_eq!(of("b"), ["b0", "b1", "b2", "b3"]);
        assert_eq!(world.told(0), ["b0", "b1", "b2", "b3"], "each is told once");
        assert_eq!(world.told(1), ["a0", "a1", "a2", "a3"], "each is told once");
        world.assert_nothing_odd();
        let logs: Vec<LogId> = created(&world, 0).union(&created(&world, 1)).copied().collect();
        for node in 0..2 {
            assert_eq!(
                world.nodes[node].client.log_of(&id).unwrap(),
                logs.iter().min().copied(),
                "the lower log lives"
            );
            for message in world.history(node, id) {
                assert_ne!(message.status, MessageStatus::Sent, "acknowledged, in whichever log it stands");
            }
        }
        both_logs_used +=
            usize::from(logs.len() == 2 && logs.iter().all(|log| !world.relay.logs[log].entries.is_empty()));
        // All of it is read, whichever log it stands in.
        let last = world.history(1, id).iter().rfind(|message| message.account == world.account(0)).unwrap().id;
        world.call(1, |client, now, rng| client.mark_read(&id, &last, now, rng)).unwrap();
        world.run();
        for message in world.history(0, id).iter().filter(|message| message.account == world.account(0)) {
            assert_eq!(message.status, MessageStatus::Read, "seed {seed}: {:?}", message.content.plain_text());
        }
    }
    assert!(both_logs_used >= 6, "both logs were filled only {both_logs_used} times");
}

/// Delivers everything but the entries of inboxes, and those only when nothing else is left.
fn run_without_inboxes(world: &mut World) {
    let mut held = Vec::new();
    loop {
        let popped = (0..world.nodes.len()).find_map(|node| world.relay.pop(node).map(|frame| (node, frame)));
        let Some((node, frame)) = popped else { break };
        match RelayFrame::decode(&frame).unwrap() {
            RelayFrame::Entries { log, .. } if (0..2).all(|node| !created(world, node).contains(&log)) => {
                held.push((node, frame));
            }
            _ => world.input(node, Input::Frame(&frame)),
        }
    }
    for (node, frame) in held {
        world.input(node, Input::Frame(&frame));
    }
}

fn created(world: &World, node: usize) -> BTreeSet<LogId> {
    let requests = world.requests(node).into_iter();
    requests.filter_map(|request| if let Request::Create(create) = request { Some(create.log) } else { None }).collect()
}

/// The first contact of alice with bob in a world where `tamper` had the directory, its slots of `kind`, for a while.
fn contact_with_tampered(kind: SlotKind, tamper: impl Fn(&mut Slot, &Slot)) -> (World, ConversationId) {
    let mut world = World::of(7, &["alice", "bob", "mallory"]);
    let owner = |world: &World, node: usize| {
        let publish = |request| match request {
            Request::Publish(publish) if publish.kind == kind => Some(publish.owner),
            _ => None,
        };
        SlotId::of_owner(&world.requests(node).into_iter().find_map(publish).unwrap())
    };
    let (bob, mallory) = (owner(&world, 1), owner(&world, 2));
    let theirs = world.relay.slots[&(mallory, kind)].clone();
    tamper(world.relay.slots.get_mut(&(bob, kind)).unwrap(), &theirs);
    let id = world.befriend(0, 1);
    world.say(0, id, "not for mallory");
    world.run();
    (world, id)
}

fn flip(bytes: &mut [u8], at: usize) {
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
}

fn assert_contact_failed(world: &World, id: ConversationId) {
    let failed = |event: &Event| matches!(event, Event::Failed { failure: Failure::BadKeys, conversation, .. } if *conversation == id);
    assert_eq!(world.events(0).iter().filter(|event| failed(event)).count(), 1, "the application is told");
    assert_eq!(state(world, 0, id), ConversationState::Failed);
    assert_eq!(world.nodes[0].client.log_of(&id).unwrap(), None);
    for table in [Table::Sessions, Table::Logs, Table::Intents] {
        assert_eq!(world.nodes[0].store.rows(table).len(), 0, "{table:?}");
    }
    for request in world.requests(0) {
        let is_contact = matches!(request, Request::Create(_) | Request::Deposit(_) | Request::Append(_));
        assert!(!is_contact, "{request:?}");
    }
}

// spec DEL-51, DEL-55: a flipped bit anywhere in what the directory hands out
#[test]
fn keys_that_do_not_verify_end_the_attempt_without_a_trace() {
    for kind in [SlotKind::DeviceList, SlotKind::InboxAddress, SlotKind::PrekeyBundle] {
        for at in [0, 1, 40, 70, 600, 1_290, usize::MAX] {
            // Without one-time pairs all of a bundle is used, and so all of it is verified.
            let (world, id) = contact_with_tampered(kind, |slot, _| {
                flip(&mut slot.body, at);
                slot.items.clear();
            });
            assert_contact_failed(&world, id);
        }
        let (world, id) = contact_with_tampered(kind, |slot, theirs| *slot = theirs.clone());
        assert_contact_failed(&world, id);
        let (world, id) = contact_with_tampered(kind, |slot, _| slot.body.clear());
        assert_contact_failed(&world, id);
    }
    for at in [0, 1, 600, usize::MAX] {
        let (world, id) = contact_with_tampered(SlotKind::PrekeyBundle, |slot, _| {
            for item in &mut slot.items {
                let mut bytes = item.as_slice().to_vec();
                flip(&mut bytes, at);
                *item = bytes.into();
            }
        });
        assert_contact_failed(&world, id);
    }
}

// spec DEL-51: and the attempt can be made again once the directory is honest
#[test]
fn a_failed_contact_can_be_tried_again() {
    let (mut world, id) = contact_with_tampered(SlotKind::InboxAddress, |slot, _| flip(&mut slot.body, 5));
    // Back to what it was: bob's. The others' are of no account here.
    let addresses = world.relay.slots.iter_mut().filter(|((_, kind), _)| *kind == SlotKind::InboxAddress);
    addresses.for_each(|(_, slot)| flip(&mut slot.body, 5));
    let content = Content::text("too soon", &mut world.rng).unwrap();
    let refused = world.call(0, |client, now, rng| client.send(&id, &content, now, rng));
    assert_eq!(refused, Err(Error::Ended));
    assert_eq!(world.befriend(0, 1), id);
    world.run();
    assert_eq!(state(&world, 0, id), ConversationState::Active);
    assert_eq!(world.texts(1, id), ["not for mallory"], "what was queued is sent");
}

// spec DEL-51: the relay, or somebody with it, puts another's key package into a slot
#[test]
fn a_group_takes_nobody_whose_key_package_is_not_of_the_device_looked_up() {
    for case in 0..4 {
        let mut world = World::of(8, &["alice", "bob", "mallory"]);
        world.befriend(0, 1);
        world.run();
        let owner = |world: &World, node: usize| {
            let publish = |request| match request {
                Request::Publish(publish) if publish.kind == SlotKind::KeyPackages => Some(publish.owner),
                _ => None,
            };
            (SlotId::of_owner(&world.requests(node).into_iter().find_map(publish).unwrap()), SlotKind::KeyPackages)
        };
        let (bob_slot, mallory_slot) = (owner(&world, 1), owner(&world, 2));
        let theirs = world.relay.slots[&mallory_slot].clone();
        let slot = world.relay.slots.get_mut(&bob_slot).unwrap();
        match case {
            0 => *slot = theirs,
            1 => {
                slot.items.clear();
                flip(&mut slot.body, 100);
            }
            2 => slot.items.iter_mut().for_each(|item| *item = theirs.body.clone().into()),
            _ => slot.items.iter_mut().for_each(|item| *item = vec![1, 2, 3].into()),
        }
        let bob = world.account(1);
        let id = world.call(0, |client, now, rng| client.create_group("two", &[bob], now, rng)).unwrap();
        world.say(0, id, "secret");
        world.run();
        let failed =
            |event: &Event| *event == Event::Failed { conversation: id, account: Some(bob), failure: Failure::BadKeys };
        assert_eq!(world.events(0).iter().filter(|event| failed(event)).count(), 1, "case {case}");
        let members = world.nodes[0].client.conversation(&id).unwrap().members;
        assert_eq!(members.len(), 1, "case {case}");
        assert!(world.nodes[2].client.conversations().unwrap().is_empty());
    }
}

// spec DEL-52
#[test]
fn a_welcome_goes_out_after_its_commit_is_in_the_log_to_each_device_alone() {
    let mut world = World::of(9, &["alice", "bob", "carol"]);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    let before = deposits(&world, 0).len();
    let others = [world.account(1), world.account(2)];
    world.call(0, |client, now, rng| client.create_group("walks", &others, now, rng)).unwrap();
    let is_in_the_log = |world: &World| world.events(0).iter().any(|event| matches!(event, Event::GroupChanged { .. }));
    let mut saw_the_commit_without_welcomes = false;
    while world.deliver_one() {
        let has_appended = world.requests(0).iter().any(|request| {
            matches!(request, Request::Append(append) if append.entries.iter().any(|entry| entry.turn.is_some()))
        });
        if !is_in_the_log(&world) {
            assert_eq!(deposits(&world, 0).len(), before, "released too early");
            saw_the_commit_without_welcomes |= has_appended;
        }
    }
    assert!(saw_the_commit_without_welcomes && is_in_the_log(&world));
    let inboxes = deposits(&world, 0).split_off(before);
    assert_eq!(inboxes.len(), 2, "one deposit for each invited device");
    assert_ne!(inboxes[0], inboxes[1]);
}

// spec DEL-52: a crash in between; the deposit is found again
#[test]
fn a_welcome_survives_a_crash_of_its_sender() {
    let mut world = World::of(10, &["alice", "bob"]);
    world.befriend(0, 1);
    world.run();
    let bob = world.account(1);
    let id = world.call(0, |client, now, rng| client.create_group("walks", &[bob], now, rng)).unwrap();
    while !world.events(0).iter().any(|event| matches!(event, Event::GroupChanged { .. })) {
        assert!(world.deliver_one());
    }
    world.crash(0);
    world.connect(0);
    world.run();
    assert_eq!(state(&world, 1, id), ConversationState::Active);
    assert_eq!(world.events(1).iter().filter(|event| **event == Event::Ready { conversation: id }).count(), 1);
}

// spec DEL-53: mallory knows bob by his invitation, and bob does not know mallory
#[test]
fn a_welcome_of_a_stranger_is_dropped() {
    for is_stranger in [false, true] {
        let mut world = World::of(11, &["bob", "mallory"]);
        world.disconnect(0);
        world.befriend(1, 0);
        world.run();
        let inbox = deposits(&world, 1)[0];
        let bob = world.account(0);
        world.call(1, |client, now, rng| client.create_group("free money", &[bob], now, rng)).unwrap();
        world.run();
        let entries = &mut world.relay.logs.get_mut(&inbox).unwrap().entries;
        assert_eq!(entries.len(), 2, "an introduction and a Welcome");
        if is_stranger {
            entries[0].content = EntryContent::Payload(vec![0; 100].into());
        }
        world.connect(0);
        world.run();
        let conversations = world.nodes[0].client.conversations().unwrap();
        if is_stranger {
            assert!(conversations.is_empty(), "{conversations:?}");
            assert!(world.nodes[0].events.is_empty());
            for table in [Table::Conversations, Table::Logs, Table::Contacts] {
                assert!(world.nodes[0].store.rows(table).is_empty());
            }
        } else {
            assert_eq!(conversations.len(), 2, "the same Welcome is taken from somebody who is known");
        }
    }
}

// spec DEL-54
#[test]
fn a_relay_with_another_identity_is_told_nothing() {
    let mut world = World::of(12, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.run();
    world.disconnect(0);
    world.say(0, id, "for the relay that we know");
    world.relay.become_another();
    for restart in [false, true] {
        if restart {
            world.crash(0);
        }
        let before = world.nodes[0].frames_sent.len();
        let signals_before = world.nodes[0].signals.len();
        world.connect(0);
        world.run();
        world.say(0, id, "and this");
        world.input(0, Input::Timer);
        world.run();
        assert_eq!(world.nodes[0].frames_sent.len(), before, "nothing is transmitted");
        assert_eq!(world.nodes[0].signals[signals_before..], [Signal::RelayChanged]);
        world.disconnect(0);
    }
}

// spec DEL-55
#[test]
fn an_inbox_address_has_the_layout_of_the_specification() {
    let world = World::of(13, &["bob"]);
    let mut publications = world.requests(0).into_iter().filter_map(|request| match request {
        Request::Publish(publish) if publish.kind == SlotKind::InboxAddress => Some(publish),
        _ => None,
    });
    let publish = publications.next().unwrap();
    let body = publish.body.as_slice();
    assert_eq!(body.len(), 1 + 32 + 32 + 1_216 + 64);
    let (version, inbox, token, key, signature) =
        (&body[..1], &body[1..33], &body[33..65], &body[65..1_281], &body[1_281..]);
    assert_eq!(version, [1]);
    let opened = world.requests(0).into_iter().find_map(|request| match request {
        Request::OpenInbox(open) => Some(open),
        _ => None,
    });
    let opened = opened.unwrap();
    assert_eq!(inbox, LogId::of_inbox_key(&opened.owner).as_bytes());
    let token = <[u8; 32]>::try_from(token).unwrap();
    let hash: InboxTokenHash = undertone_wire::id::InboxToken::from_bytes(token).to_hash();
    assert_eq!(opened.tokens[0].token, hash);
    let device = world.nodes[0].client.device();
    let input = transcript(Label::new("undertone/v1/inbox address"), &[version, device.as_bytes(), inbox, &token, key]);
    let signature = undertone_wire::id::Signature::from_bytes(signature.try_into().unwrap());
    assert!(undertone_wire::gate::verify(&publish.owner, &input, &signature), "signed by its device");
}

// spec DEL-50: a relay that shows an introduction or a Welcome twice starts nothing anew
#[test]
fn an_inbox_entry_that_comes_again_has_no_effect() {
    let mut world = World::of(14, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.say(0, id, "one");
    world.run();
    let inbox = deposits(&world, 0)[0];
    let bob = world.account(1);
    let group = world.call(0, |client, now, rng| client.create_group("walks", &[bob], now, rng)).unwrap();
    world.say(0, group, "two");
    world.run();
    world.call(0, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    world.run();
    world.disconnect(1);
    let entries = &mut world.relay.logs.get_mut(&inbox).unwrap().entries;
    for at in 0..entries.len() {
        let mut again = entries[at].clone();
        again.seq = entries.last().unwrap().seq.next();
        entries.push(again);
    }
    world.connect(1);
    world.run();
    world.say(0, id, "three");
    world.say(1, id, "four");
    world.say(1, group, "five");
    world.run();
    for node in 0..2 {
        assert_eq!(world.texts(node, id), ["one", "three", "four"]);
        assert_eq!(world.texts(node, group), ["two", "five"]);
    }
    assert_eq!(world.told(1), ["one", "two", "three"]);
    world.assert_nothing_odd();
}

#[test]
fn adding_a_contact_twice_is_adding_it_once() {
    let mut world = World::of(20, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    assert_eq!(world.befriend(0, 1), id);
    world.run();
    assert_eq!(world.befriend(0, 1), id);
    world.run();
    assert_eq!(created(&world, 0).len(), 1);
    assert_eq!(deposits(&world, 0).len(), 1);
    assert_eq!(world.befriend(1, 0), id, "from the other side too");
    world.run();
    assert_eq!(deposits(&world, 1).len(), 0);
    let invitation = world.nodes[0].client.invitation().unwrap();
    let own = world.call(0, |client, now, rng| client.add_contact(&invitation, now, rng));
    assert_eq!(own, Err(Error::OwnInvitation));
    world.assert_nothing_odd();
}

#[test]
fn what_was_written_offline_survives_restarts() {
    let mut world = World::of(21, &["alice", "bob"]);
    world.disconnect(0);
    let id = world.befriend(0, 1);
    world.say(0, id, "one");
    world.crash(0);
    world.say(0, id, "two");
    world.crash(0);
    assert_eq!(world.texts(0, id), ["one", "two"]);
    assert_eq!(world.nodes[0].client.conversation(&id).unwrap().unsent_count, 2);
    world.connect(0);
    world.run();
    assert_eq!(world.texts(1, id), ["one", "two"]);
    assert_eq!(world.nodes[0].client.conversation(&id).unwrap().unsent_count, 0);
    world.assert_nothing_odd();
}

#[test]
fn a_long_backlog_of_large_messages_arrives_whole() {
    let mut world = World::of(22, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.run();
    world.disconnect(0);
    let texts: Vec<String> = (0..90).map(|at| format!("{at} {}", "x".repeat(40_000))).collect();
    for text in &texts {
        world.say(0, id, text);
    }
    world.connect(0);
    world.run();
    assert_eq!(world.texts(1, id), texts);
    world.assert_nothing_odd();
}

#[test]
fn history_is_paged_through_what_is_on_its_way_and_what_is_placed() {
    let mut world = World::of(23, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.run();
    for at in 0..5 {
        world.say(at % 2, id, &format!("{at}"));
        world.run();
    }
    world.disconnect(0);
    for at in 5..8 {
        world.say(0, id, &format!("{at}"));
    }
    let all = world.texts(0, id);
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    let client = &world.nodes[0].client;
    for limit in 1..=9 {
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = client.history(&id, before.as_ref(), limit).unwrap();
            let Some(first) = page.first() else { break };
            assert!(page.len() <= limit);
            before = Some(first.clone());
            pages.splice(0..0, page);
        }
        let texts: Vec<_> = pages.iter().map(|message| message.content.plain_text().unwrap().to_owned()).collect();
        assert_eq!(texts, all, "in pages of {limit}");
    }
    // A page that began with a message on its way goes on when it has arrived.
    let pending = world.history(0, id)[6].clone();
    world.connect(0);
    world.run();
    let page = world.nodes[0].client.history(&id, Some(&pending), 3).unwrap();
    let texts: Vec<_> = page.iter().map(|message| message.content.plain_text().unwrap().to_owned()).collect();
    assert_eq!(texts, ["3", "4", "5"]);
}

#[test]
fn a_group_is_renamed_for_all() {
    let mut world = World::of(24, &["alice", "bob", "carol"]);
    let id = group_of_all(&mut world, "walks");
    world.call(0, |client, now, rng| client.rename_group(&id, "long walks", now, rng)).unwrap();
    world.run();
    for node in 0..3 {
        assert_eq!(world.nodes[node].client.conversation(&id).unwrap().name, "long walks");
        let renamed =
            |event: &Event| matches!(event, Event::GroupChanged { name: Some(name), .. } if name == "long walks");
        assert_eq!(world.events(node).iter().filter(|event| renamed(event)).count(), 1);
    }
    let refused = world.call(1, |client, now, rng| client.rename_group(&id, "bob's", now, rng));
    assert_eq!(refused, Err(Error::Forbidden));
    world.assert_nothing_odd();
}

#[test]
fn who_was_removed_goes_on_elsewhere_and_can_be_added_again() {
    let mut world = World::of(25, &["alice", "bob", "carol"]);
    let id = group_of_all(&mut world, "walks");
    for node in 0..3 {
        world.say(node, id, &format!("first of {node}"));
        world.run();
    }
    let carol = world.account(2);
    world.call(0, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    assert_eq!(state(&world, 2, id), ConversationState::Removed);
    let content = Content::text("still here", &mut world.rng).unwrap();
    assert_eq!(world.call(2, |client, now, rng| client.send(&id, &content, now, rng)), Err(Error::Ended));
    world.say(1, id, "not for carol");
    world.run();
    // She comes back, by reconnecting and by restarting, and her other conversations go on.
    reconnect(&mut world, 2);
    world.crash(2);
    world.connect(2);
    world.run();
    assert!(world.nodes[2].signals.contains(&Signal::CaughtUp));
    let direct = world.befriend(2, 0);
    world.say(2, direct, "may I come back?");
    world.run();
    assert_eq!(world.texts(0, direct), ["may I come back?"]);
    world.call(0, |client, now, rng| client.add_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    assert_eq!(state(&world, 2, id), ConversationState::Active);
    for node in 0..3 {
        world.say(node, id, &format!("second of {node}"));
        world.run();
    }
    let second = ["second of 0", "second of 1", "second of 2"];
    for node in 0..3 {
        let texts = world.texts(node, id);
        assert_eq!(texts[texts.len() - 3..], second, "node {node}");
    }
    assert!(!world.texts(2, id).contains(&"not for carol".to_owned()));
    world.assert_nothing_odd();
}

#[test]
fn who_leaves_is_gone_and_may_come_back() {
    let mut world = World::of(26, &["alice", "bob", "carol"]);
    let id = group_of_all(&mut world, "walks");
    let leave = |world: &mut World, node: usize| world.call(node, |client, now, rng| client.leave_group(&id, now, rng));
    assert_eq!(leave(&mut world, 0), Err(Error::LastOwner));
    leave(&mut world, 2).unwrap();
    assert_eq!(leave(&mut world, 2), Err(Error::Ended));
    world.run();
    let carol = world.account(2);
    for node in 0..2 {
        assert_eq!(world.nodes[node].client.conversation(&id).unwrap().members.len(), 2, "node {node}");
        let left = |event: &Event| matches!(event, Event::GroupChanged { removed, .. } if *removed == [carol]);
        assert_eq!(world.events(node).iter().filter(|event| left(event)).count(), 1);
    }
    assert_eq!(state(&world, 2, id), ConversationState::Left);
    assert!(world.events(2).contains(&Event::Removed { conversation: id, by: carol }), "ended by herself");
    reconnect(&mut world, 2);
    world.call(0, |client, now, rng| client.add_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    world.say(2, id, "back");
    world.run();
    assert_eq!(world.texts(1, id), ["back"]);
    world.assert_nothing_odd();
}

// The wish to leave is of one epoch; a commit that crosses it ends that epoch, and not the wish.
#[test]
fn a_wish_to_leave_survives_a_commit_that_crosses_it() {
    for seed in 0..6 {
        let mut world = World::of(seed, &["alice", "bob", "carol"]);
        let id = group_of_all(&mut world, "walks");
        world.call(0, |client, now, rng| client.rename_group(&id, "other walks", now, rng)).unwrap();
        world.call(2, |client, now, rng| client.leave_group(&id, now, rng)).unwrap();
        world.run();
        let mut world_of_both_orders = World::of(seed, &["alice", "bob", "carol"]);
        let other = group_of_all(&mut world_of_both_orders, "walks");
        world_of_both_orders.call(2, |client, now, rng| client.leave_group(&other, now, rng)).unwrap();
        world_of_both_orders.call(0, |client, now, rng| client.rename_group(&other, "b", now, rng)).unwrap();
        world_of_both_orders.run();
        for (world, id) in [(&world, id), (&world_of_both_orders, other)] {
            let members = world.nodes[1].client.conversation(&id).unwrap().members;
            assert_eq!(members.len(), 2, "carol is gone");
            assert!(!world.nodes[1].client.conversation(&id).unwrap().name.eq("walks"), "and the name is new");
            assert_eq!(state(world, 2, id), ConversationState::Left);
        }
    }
}

#[test]
fn a_proposal_is_committed_after_a_restart_too() {
    let mut world = World::of(28, &["alice", "bob"]);
    let id = group_of_all(&mut world, "two");
    world.call(1, |client, now, rng| client.leave_group(&id, now, rng)).unwrap();
    while world.deliver_one() {}
    assert_eq!(world.nodes[0].client.conversation(&id).unwrap().members.len(), 2, "it waits");
    world.crash(0);
    world.connect(0);
    world.run();
    assert_eq!(world.nodes[0].client.conversation(&id).unwrap().members.len(), 1);
}

#[test]
fn somebody_without_keys_holds_up_nobody() {
    let mut world = World::of(29, &["alice", "bob"]);
    world.befriend(0, 1);
    world.run();
    // Carol has made her account and never been online.
    let carol = world.add("carol");
    let direct = world.befriend(0, carol);
    let accounts = [world.account(1), world.account(carol)];
    let id = world.call(0, |client, now, rng| client.create_group("walks", &accounts, now, rng)).unwrap();
    world.say(0, id, "hello");
    world.run();
    assert_eq!(world.texts(1, id), ["hello"]);
    let failed = Event::Failed { conversation: id, account: Some(accounts[1]), failure: Failure::NoKeys };
    assert!(world.events(0).contains(&failed));
    // The direct conversation goes on trying.
    world.say(0, direct, "there?");
    world.connect(carol);
    world.run();
    assert_eq!(world.texts(carol, direct), ["there?"]);
}

#[test]
fn a_direct_conversation_turns_by_itself_when_it_is_old() {
    let mut world = World::of(30, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.say(0, id, "one");
    world.run();
    world.now = world.now.after(std::time::Duration::from_secs(31 * 86_400));
    world.say(0, id, "two");
    world.say(1, id, "three");
    world.run();
    let log = world.nodes[0].client.log_of(&id).unwrap().unwrap();
    let turns = world.relay.logs[&log].entries.iter().filter(|entry| entry.turn.is_some()).count();
    assert!(turns > 0, "it turned");
    assert!(turns <= 2, "once for each at the most: {turns}");
    assert_eq!(world.texts(0, id), world.texts(1, id));
    assert_eq!(world.texts(0, id).len(), 3);
    world.assert_nothing_odd();
}
