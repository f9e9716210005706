//! The same lies as in `engine_dishonest`, told in every order, in every place and in both layers, by relays and by members
//! who make what only members can make: sound commits, sound shells, gates that others can prove (spec/delivery).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use rand::{Rng, RngExt};
use sim::World;
use undertone::ErrorKind;
use undertone::conversation::ConversationId;
use undertone::dm;
use undertone::engine::{Event, Input, Reason, Suspicion};
use undertone::envelope::{
    DevicePlace, DirectBody, DirectForm, DirectWrap, EpochEvidence, Evidence, ListName, LogKeys, NamedLists, Parcel,
    ParcelKind, Side, TurnBody, shell,
};
use undertone::group;
use undertone::identity::{DeviceId, LocalIdentity};
use undertone::store::{MemoryStore, Overlay, Table, Tx};
use undertone_wire::frame::{
    Class, Entry, EntryContent, Hello, NewEntry, Place, Presence, ProofResult, ProofVerdict, RelayFrame, Reply,
};
use undertone_wire::gate::Gate;
use undertone_wire::id::*;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// Three people who know each other, offline; alice's group of all.
fn calm() -> (World, ConversationId, ConversationId) {
    let mut world = World::of(31, &["alice", "bob", "carol"]);
    let direct = world.befriend(ALICE, BOB);
    world.befriend(ALICE, CAROL);
    world.run();
    let [bob, carol] = [BOB, CAROL].map(|node| world.nodes[node].client.account());
    let group = world.call(ALICE, |client, now, rng| client.create_group("liars", &[bob, carol], now, rng)).unwrap();
    world.run();
    for id in [direct, group] {
        world.say(ALICE, id, "before");
        world.run();
    }
    for node in 0..3 {
        let last = world.nodes[node].events.last().unwrap().0;
        world.call(node, |client, now, rng| client.events_done(last, now, rng)).unwrap();
        world.disconnect(node);
        world.nodes[node].events.clear();
    }
    (world, direct, group)
}

fn log_of(world: &World, id: ConversationId) -> LogId {
    world.nodes[ALICE].client.log_of(&id).unwrap().unwrap()
}

fn online(base: &World, seed: u64) -> World {
    let mut world = base.fork(seed);
    for node in &mut world.nodes {
        node.events.clear();
    }
    world.connect_all();
    world.run();
    world
}

/// Lets a node come online that is shown nothing of a log; returns what it was not shown.
fn withhold(world: &mut World, node: usize, log: LogId) -> Vec<Entry> {
    let mut withheld = Vec::new();
    while let Some(frame) = world.relay.pop(node) {
        match RelayFrame::decode(&frame).unwrap() {
            RelayFrame::Entries { log: of, entries } if of == log => withheld.extend(entries),
            _ => world.input(node, Input::Frame(&frame)),
        }
    }
    withheld
}

fn show(world: &mut World, node: usize, log: LogId, entries: &[Entry]) {
    let frame = RelayFrame::Entries { log, entries: entries.to_vec() }.encode();
    world.input(node, Input::Frame(&frame));
}

/// Alice says some things while bob is offline; bob comes, and is not shown them yet.
fn withheld_messages(base: &World, id: ConversationId, texts: &[&str]) -> (World, LogId, Vec<Entry>) {
    let mut world = base.fork(41);
    for node in &mut world.nodes {
        node.events.clear();
    }
    let log = log_of(&world, id);
    world.connect(ALICE);
    world.run();
    for text in texts {
        world.say(ALICE, id, text);
        world.run();
    }
    world.connect(BOB);
    let entries = withhold(&mut world, BOB, log);
    assert_eq!(entries.len(), texts.len());
    (world, log, entries)
}

/// Everything that holds keys.
fn keys_of(world: &World, node: usize) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let tables =
        [Table::Sessions, Table::SkippedKeys, Table::Prekeys, Table::Mls, Table::Groups, Table::Identity, Table::Peers];
    let plain = |table| world.nodes[node].store.rows(table).into_iter().map(|(key, value)| (key, value.to_vec()));
    tables.into_iter().map(|table| plain(table).collect()).collect()
}

fn suspicions(world: &World, node: usize) -> Vec<Suspicion> {
    let suspicion = |event: &Event| match event {
        Event::Suspicion { suspicion, .. } => Some(*suspicion),
        _ => None,
    };
    world.nodes[node].told_once().into_iter().filter_map(suspicion).collect()
}

/// What could not be read, each with its place.
fn unreadable(world: &World, node: usize) -> Vec<(u64, Reason)> {
    let unreadable = |event: &Event| match event {
        Event::Undecryptable { place, reason, .. } => Some((place.as_u64(), *reason)),
        _ => None,
    };
    world.nodes[node].told_once().into_iter().filter_map(unreadable).collect()
}

fn random_bytes(world: &mut World, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    world.rng.fill_bytes(&mut bytes);
    bytes
}

fn entry_id(world: &mut World) -> EntryId {
    EntryId::from_bytes(world.rng.random())
}

/// The keys of a generation of a group that a member, or who holds its disk, can derive.
fn group_keys(store: &MemoryStore, log: LogId, generation: Generation) -> Option<LogKeys> {
    let overlay = Overlay::default();
    let secret = group::generation_secret(&mut Tx::new(store, &overlay), log, generation).ok()?;
    Some(LogKeys::derive(&secret, log, generation))
}

fn direct_keys(world: &World, log: LogId) -> (LogKeys, Generation) {
    let secrets = world.nodes[ALICE].direct_secrets();
    let (_, generation, secret) = secrets.into_iter().find(|(of, ..)| *of == log).unwrap();
    (LogKeys::derive(&secret, log, generation), generation)
}

/// What an honest member would say that it had seen.
fn evidence(world: &World, node: usize, log: LogId, is_group: bool) -> Evidence {
    let entries = &world.relay.logs[&log];
    let overlay = Overlay::default();
    let epoch = match is_group {
        true => group::epoch_evidence(&mut Tx::new(&world.nodes[node].store, &overlay), log).unwrap(),
        false => EpochEvidence::NONE,
    };
    Evidence { seq: Seq::from_u64(entries.entries.len() as u64), head: entries.head(), epoch }
}

/// Puts an entry into a log, past every check, and shows it to all who are there.
fn plant(world: &mut World, log: LogId, payload: Vec<u8>, id: EntryId, turn: Option<Gate>) -> u64 {
    let now_ms = world.relay.now_ms;
    let entry = NewEntry { id, class: Class::Control, ttl_s: 0, payload: payload.into(), turn };
    let place = world.relay.logs.get_mut(&log).unwrap().push(entry, now_ms);
    world.relay.flow();
    place.seq.as_u64()
}

/// Everybody can still talk to everybody.
fn assert_goes_on(world: &mut World, id: ConversationId, members: &[usize]) {
    for node in members {
        let text = format!("{node} goes on after {}", world.now.as_u64());
        world.say(*node, id, &text);
        world.run();
        for other in members {
            assert_eq!(world.texts(*other, id).last(), Some(&text), "{other} does not hear {node}");
        }
    }
    for pair in members.windows(2) {
        world.assert_same_history(pair[0], pair[1], id);
    }
    world.assert_nothing_twice();
}

/// All orders of some numbers.
fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        let rest: Vec<usize> = [&of[..at], &of[at + 1..]].concat();
        all.extend(permutations(&rest).into_iter().map(|rest| [&[*first], rest.as_slice()].concat()));
    }
    all
}

// spec DEL-30, DEL-36; A-RE-03: every order of six entries, one by one.
#[test]
fn entries_out_of_order_are_noticed_and_shown_in_order() {
    let (base, id, _) = calm();
    let (mut world, log, entries) = withheld_messages(&base, id, &["1", "2", "3", "4", "5", "6"]);
    let mut told = Vec::new();
    for order in permutations(&[0, 1, 2, 3, 4, 5]) {
        world.crash(BOB);
        world.nodes[BOB].store = base.nodes[BOB].store.snapshot();
        world.crash(BOB);
        world.nodes[BOB].events.clear();
        world.connect(BOB);
        withhold(&mut world, BOB, log);
        let mut next = 0;
        let mut skips = 0;
        for at in &order {
            show(&mut world, BOB, log, &entries[*at..=*at]);
            match at {
                at if *at == next => next += 1,
                at if *at > next => skips += 1,
                _ => {}
            }
        }
        assert_eq!(suspicions(&world, BOB).len(), skips, "{order:?}");
        show(&mut world, BOB, log, &entries);
        told.push(world.told(BOB));
    }
    assert_eq!(told.len(), 720);
    assert!(told.iter().all(|told| *told == ["1", "2", "3", "4", "5", "6"]));
}

// spec DEL-35; A-RE-05, A-RE-07: each entry ten times, then the whole log again to a process that has restarted.
#[test]
fn what_comes_again_is_not_shown_again() {
    let (base, direct, group) = calm();
    for id in [direct, group] {
        let (mut world, log, entries) = withheld_messages(&base, id, &["1", "2", "3"]);
        for entry in &entries {
            for _ in 0..10 {
                show(&mut world, BOB, log, std::slice::from_ref(entry));
            }
        }
        world.crash(BOB);
        world.connect(BOB);
        world.run();
        let keys = keys_of(&world, BOB);
        let all = world.relay.logs[&log].entries.clone();
        show(&mut world, BOB, log, &all);
        assert_eq!(world.told(BOB), ["1", "2", "3"]);
        assert!(keys_of(&world, BOB) == keys);
        world.assert_nothing_odd();
        assert_goes_on(&mut world, id, &[ALICE, BOB]);
    }
}

// spec DEL-34; A-RE-01: bob was shown something else at one place; the next message of alice that crosses tells him.
#[test]
fn a_fork_shows_in_the_first_parcel_that_crosses_it() {
    let (base, direct, group) = calm();
    for id in [direct, group] {
        let (mut world, log, mut entries) = withheld_messages(&base, id, &["1", "2", "3"]);
        entries[1].content = EntryContent::Payload(random_bytes(&mut world, 600).into());
        let place = entries[1].seq.as_u64();
        show(&mut world, BOB, log, &entries[..2]);
        assert_eq!((unreadable(&world, BOB), suspicions(&world, BOB)), (vec![(place, Reason::Shell)], vec![]));
        show(&mut world, BOB, log, &entries[2..]);
        assert_eq!(suspicions(&world, BOB), [Suspicion::Fork]);
    }
}

// spec DEL-34; A-RE-02: the relay withholds an entry and renumbers, so that it seems that alice has seen the future.
#[test]
fn a_rollback_shows_in_the_first_parcel_that_crosses_it() {
    let (base, direct, group) = calm();
    for id in [direct, group] {
        let (mut world, log, mut entries) = withheld_messages(&base, id, &["1", "2", "3"]);
        entries.remove(1);
        entries[1].seq = entries[0].seq.next();
        show(&mut world, BOB, log, &entries);
        assert_eq!(suspicions(&world, BOB), [Suspicion::Rollback]);
        assert_eq!(world.told(BOB)[0], "1");
    }
}

// spec DEL-31; A-RE-14, A-RE-15, A-RE-16, A-DM-23: whatever is put in the place of a message, no key moves, and the
// message opens when it comes.
#[test]
fn garbage_in_a_log_changes_no_key_and_wedges_nothing() {
    let (base, direct, group) = calm();
    for (id, other) in [(direct, group), (group, direct)] {
        let (mut world, log, entries) = withheld_messages(&base, id, &["1", "2", "3"]);
        let good = entries[0].clone();
        let EntryContent::Payload(payload) = good.content.clone() else { panic!("a stub") };
        let payload = payload.as_slice().to_vec();
        let foreign = world.relay.logs[&log_of(&world, other)].entries.last().unwrap().clone();
        let with = |payload: &[u8]| Entry { content: EntryContent::Payload(payload.to_vec().into()), ..good.clone() };

        let mut bad: Vec<(Entry, Reason)> = Vec::new();
        for len in [0, 1, 23, 24, 40, payload.len() - 1] {
            bad.push((with(&payload[..len]), Reason::Shell));
        }
        for at in [0, 23, 24, payload.len() / 2, payload.len() - 1] {
            let mut flipped = payload.clone();
            flipped[at] ^= 1;
            bad.push((with(&flipped), Reason::Shell));
        }
        bad.push((with(&[payload.clone(), vec![0]].concat()), Reason::Shell));
        let garbage = random_bytes(&mut world, 4_000);
        bad.push((with(&garbage), Reason::Shell));
        bad.push((Entry { id: entry_id(&mut world), ..good.clone() }, Reason::Shell));
        bad.push((Entry { class: Class::Critical, ..good.clone() }, Reason::Shell));
        bad.push((Entry { content: EntryContent::Stub(PayloadHash::of(&payload)), ..good.clone() }, Reason::Expired));
        bad.push((
            Entry { id: foreign.id, class: foreign.class, content: foreign.content, ..good.clone() },
            Reason::Shell,
        ));
        for (body, kind, reason) in inside_the_shell(&mut world, id == group) {
            let entry = entry_id(&mut world);
            let parcel = Parcel { kind, evidence: evidence(&world, ALICE, log, id == group), body };
            let parcel = Parcel { evidence: Evidence { seq: Seq::from_u64(0), ..parcel.evidence }, ..parcel };
            let keys = match id == group {
                true => group_keys(&world.nodes[BOB].store, log, good.generation).unwrap(),
                false => direct_keys(&world, log).0,
            };
            let payload =
                shell::seal(&keys.outer, log, good.generation, entry, good.class, &parcel, &mut world.rng).unwrap();
            bad.push((Entry { id: entry, ..with(&payload) }, reason));
        }

        let keys = keys_of(&world, BOB);
        let mut seq = good.seq;
        let mut expected = Vec::new();
        for (entry, reason) in &bad {
            show(&mut world, BOB, log, &[Entry { seq, ..entry.clone() }]);
            expected.push((seq.as_u64(), *reason));
            seq = seq.next();
        }
        assert_eq!(unreadable(&world, BOB), expected);
        assert!(keys_of(&world, BOB) == keys, "a key moved");
        for entry in &entries {
            show(&mut world, BOB, log, &[Entry { seq, ..entry.clone() }]);
            seq = seq.next();
        }
        assert_eq!(world.told(BOB), ["1", "2", "3"]);
        // And what was received once does not open again under another place.
        let keys = keys_of(&world, BOB);
        show(&mut world, BOB, log, &[Entry { seq, ..good.clone() }]);
        let (_, reason) = *unreadable(&world, BOB).last().unwrap();
        assert!(matches!(reason, Reason::Replayed | Reason::Authentication), "{reason:?}");
        assert!(keys_of(&world, BOB) == keys, "a key moved");
        assert_eq!(world.told(BOB).len(), 3);
    }
}

/// Where Alice's device and Bob's stand in their lists.
fn places(world: &World) -> (DevicePlace, DevicePlace) {
    let [alice, bob] = [ALICE, BOB].map(|node| world.nodes[node].client.account());
    let place = |side| DevicePlace { side, index: 0 };
    (place(Side::of(&alice, &bob)), place(Side::of(&bob, &alice)))
}

/// The device lists of Alice and Bob.
fn named_lists(world: &World) -> NamedLists {
    let name = |node: usize| {
        let store = &world.nodes[node].store;
        let us = LocalIdentity::load(&Tx::new(store, &Overlay::default())).unwrap().unwrap();
        ListName::of(us.device_list())
    };
    let [alice, bob] = [ALICE, BOB].map(|node| world.nodes[node].client.account());
    let (one, other) = (name(ALICE), name(BOB));
    if alice < bob { NamedLists { lower: one, higher: other } } else { NamedLists { lower: other, higher: one } }
}

/// Bodies that somebody puts into a sound shell, who has its key.
fn inside_the_shell(world: &mut World, is_group: bool) -> Vec<(Vec<u8>, ParcelKind, Reason)> {
    let garbage = random_bytes(world, 300);
    let (from, to) = places(world);
    let ratchet = random_bytes(world, 400);
    let lists = named_lists(world);
    let inline = |sender, recipient, message: &[u8]| {
        let wrap = DirectWrap { recipient, handshake: Vec::new(), message: message.to_vec() };
        DirectBody { lists, sender, form: DirectForm::Inline(wrap) }
    };
    let bodies = [(Vec::new(), Reason::Malformed), (garbage, Reason::Malformed)];
    let mut all = Vec::new();
    let kinds = match is_group {
        true => [ParcelKind::GroupMessage, ParcelKind::GroupProposal],
        false => {
            let (reflected, forged) = (inline(to, from, &ratchet), inline(from, to, &ratchet));
            let strange_lists =
                DirectBody { lists: NamedLists { lower: lists.higher, higher: lists.lower }, ..forged.clone() };
            for (body, reason) in
                [(reflected, Reason::Malformed), (forged, Reason::Authentication), (strange_lists, Reason::Lists)]
            {
                all.push((body.encode(), ParcelKind::DirectMessage, reason));
            }
            [ParcelKind::DirectMessage, ParcelKind::DirectTurn]
        }
    };
    for kind in kinds {
        all.extend(bodies.iter().map(|(body, reason)| (body.clone(), kind, *reason)));
    }
    // A kind of the other layer.
    let strange = if is_group { ParcelKind::GroupCommit } else { ParcelKind::DirectTurn };
    all.push((vec![1, 2, 3], strange, if is_group { Reason::CommitWithoutTurn } else { Reason::Malformed }));
    all
}

// spec DEL-30: an entry that says it is of another generation is not even looked at.
#[test]
fn an_entry_of_another_generation_is_not_handled() {
    let (base, id, _) = calm();
    let (mut world, log, entries) = withheld_messages(&base, id, &["1"]);
    let keys = keys_of(&world, BOB);
    let moved = Entry { generation: entries[0].generation.next(), ..entries[0].clone() };
    show(&mut world, BOB, log, &[moved]);
    assert_eq!((suspicions(&world, BOB), unreadable(&world, BOB)), (vec![Suspicion::Skipped], vec![]));
    assert!(keys_of(&world, BOB) == keys);
    world.run();
    assert_eq!(world.told(BOB), ["1"]);
}

// spec DEL-31: after a turn, what was sealed before it does not open (A-RE-14).
#[test]
fn what_was_sealed_for_an_earlier_generation_does_not_open() {
    let (base, id, _) = calm();
    let mut world = online(&base, 42);
    let log = log_of(&world, id);
    world.say(ALICE, id, "old");
    world.run();
    let old = world.relay.logs[&log].entries.last().unwrap().clone();
    world.call(ALICE, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    world.run();
    let EntryContent::Payload(payload) = old.content else { panic!("a stub") };
    let id_again = entry_id(&mut world);
    for entry in [old.id, id_again] {
        // The relay's own log refuses an id twice; a lying one does not.
        world.relay.logs.get_mut(&log).unwrap().forget_ids();
        let place = plant(&mut world, log, payload.as_slice().to_vec(), entry, None);
        world.run();
        assert_eq!(unreadable(&world, BOB).last(), Some(&(place, Reason::Shell)));
    }
    assert_goes_on(&mut world, id, &[ALICE, BOB]);
}

/// A commit of a member that only renews its keys, made behind its client's back; and the gate that belongs to it.
fn rogue_commit(world: &mut World, node: usize, log: LogId, id: EntryId) -> (Vec<u8>, Gate) {
    let generation = world.relay.logs[&log].generation();
    let store = world.nodes[node].store.snapshot();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&store, &overlay);
    let us = LocalIdentity::load(&tx).unwrap().unwrap();
    let evidence = evidence(world, node, log, true);
    let commit = group::update(&mut tx, &us, log, &evidence.to_bytes(), &mut world.rng).unwrap().commit;
    let next = group::pending_generation_secret(&mut tx, log, generation.next()).unwrap();
    let parcel = Parcel { kind: ParcelKind::GroupCommit, evidence, body: commit };
    let keys = group_keys(&store, log, generation).unwrap();
    let payload = shell::seal(&keys.outer, log, generation, id, Class::Control, &parcel, &mut world.rng).unwrap();
    (payload, LogKeys::derive(&next, log, generation.next()).gate())
}

/// The gate that the group's present secret gives for the next generation: what a void turn must bring, so that members
/// who refuse it can go on.
fn gate_of_present_epoch(world: &World, node: usize, log: LogId) -> Gate {
    let generation = world.relay.logs[&log].generation();
    group_keys(&world.nodes[node].store, log, generation.next()).unwrap().gate()
}

// spec DEL-32: a member's commit that did not turn the log.
#[test]
fn a_commit_that_did_not_turn_has_no_effect() {
    let (base, _, id) = calm();
    let mut world = online(&base, 43);
    let log = log_of(&world, id);
    let entry = entry_id(&mut world);
    let (payload, _) = rogue_commit(&mut world, CAROL, log, entry);
    let keys = [ALICE, BOB].map(|node| keys_of(&world, node));
    let place = plant(&mut world, log, payload, entry, None);
    world.run();
    for node in [ALICE, BOB] {
        assert_eq!(unreadable(&world, node), [(place, Reason::CommitWithoutTurn)]);
        assert!(keys_of(&world, node) == keys[node]);
    }
    assert_goes_on(&mut world, id, &[ALICE, BOB, CAROL]);
}

// spec DEL-32, DEL-33: a sound commit, and a gate that is not that of the epoch which it begins.
#[test]
fn a_commit_with_another_gate_is_void() {
    let (base, _, id) = calm();
    let mut world = online(&base, 44);
    let log = log_of(&world, id);
    let entry = entry_id(&mut world);
    let (payload, right) = rogue_commit(&mut world, CAROL, log, entry);
    let gate = gate_of_present_epoch(&world, CAROL, log);
    assert_ne!(gate, right);
    let keys = [ALICE, BOB].map(|node| keys_of(&world, node));
    let generation = world.relay.logs[&log].generation();
    let place = plant(&mut world, log, payload, entry, Some(gate));
    world.run();
    for node in [ALICE, BOB] {
        assert_eq!(unreadable(&world, node), [(place, Reason::VoidTurn)]);
        assert!(keys_of(&world, node) == keys[node], "the epoch stays");
    }
    assert_eq!(world.relay.logs[&log].generation(), generation.next());
    assert_goes_on(&mut world, id, &[ALICE, BOB, CAROL]);
}

// spec DEL-33; A-GR-12: garbage that turned the log, again and again, in front of messages, commits and wishes to leave.
#[test]
fn a_void_turn_of_garbage_counts_on_and_all_go_on() {
    let (base, _, id) = calm();
    let mut world = online(&base, 45);
    let log = log_of(&world, id);
    for round in 0..3 {
        // Under way when the turn falls in between.
        world.disconnect(ALICE);
        world.say(ALICE, id, &format!("written before the turn {round}"));
        world.call(ALICE, |client, now, rng| client.rename_group(&id, &format!("liars {round}"), now, rng)).unwrap();
        let gate = gate_of_present_epoch(&world, CAROL, log);
        let (payload, entry) = (random_bytes(&mut world, 700), entry_id(&mut world));
        let generation = world.relay.logs[&log].generation();
        let place = plant(&mut world, log, payload, entry, Some(gate));
        world.run();
        world.connect(ALICE);
        world.run();
        for node in [ALICE, BOB, CAROL] {
            assert_eq!(unreadable(&world, node).last(), Some(&(place, Reason::Shell)), "node {node}");
            let name = world.nodes[node].client.conversation(&id).unwrap().name;
            assert_eq!(name, format!("liars {round}"), "the commit was made anew for the next generation");
        }
        assert_eq!(world.relay.logs[&log].generation(), generation.next().next());
        assert_goes_on(&mut world, id, &[ALICE, BOB, CAROL]);
    }
    let carol = world.nodes[CAROL].client.account();
    world.call(ALICE, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
    world.run();
    assert_goes_on(&mut world, id, &[ALICE, BOB]);
}

// spec DEL-32, DEL-33: a direct turn whose gate is not that of its secret.
#[test]
fn a_direct_turn_with_another_gate_is_void() {
    let (base, id, _) = calm();
    let mut world = online(&base, 46);
    let log = log_of(&world, id);
    let (keys, generation) = direct_keys(&world, log);
    let device: DeviceId = world.nodes[BOB].client.device();
    let evidence = evidence(&world, ALICE, log, false);
    let ((from, to), lists) = (places(&world), named_lists(&world));
    let mut ad = log.as_bytes().to_vec();
    ad.push(ParcelKind::DirectTurn as u8);
    ad.extend_from_slice(&evidence.to_bytes());
    for list in [lists.lower, lists.higher] {
        ad.extend_from_slice(&list.version.as_u64().to_be_bytes());
        ad.extend_from_slice(list.hash.as_bytes());
    }
    ad.extend_from_slice(&[from.side as u8, 0, 0, to.side as u8, 0, 0]);
    let store = world.nodes[ALICE].store.snapshot();
    let overlay = Overlay::default();
    let secret: [u8; 32] = world.rng.random();
    let message = dm::seal(&mut Tx::new(&store, &overlay), device, &ad, &secret, &mut world.rng).unwrap();
    let wrap = DirectWrap { recipient: to, handshake: Vec::new(), message };
    let direct = DirectBody { lists, sender: from, form: DirectForm::Inline(wrap) };
    let body = TurnBody::new(Vec::new(), Vec::new(), direct).encode();
    let parcel = Parcel { kind: ParcelKind::DirectTurn, evidence, body };
    let present = world.nodes[ALICE].direct_secrets().into_iter().find(|(of, ..)| *of == log).unwrap().2;
    let gate = LogKeys::derive(&present, log, generation.next()).gate();
    let before = keys_of(&world, BOB);
    for (turn, reason) in [(None, Reason::CommitWithoutTurn), (Some(gate), Reason::VoidTurn)] {
        let entry = entry_id(&mut world);
        let payload =
            shell::seal(&keys.outer, log, generation, entry, Class::Control, &parcel, &mut world.rng).unwrap();
        let place = plant(&mut world, log, payload, entry, turn);
        world.run();
        assert_eq!(unreadable(&world, BOB).last(), Some(&(place, reason)));
        assert!(keys_of(&world, BOB) == before);
    }
    assert_goes_on(&mut world, id, &[ALICE, BOB]);
}

// spec DEL-17, DEL-33: the relay takes the turn off a commit of ours, or gives one to a message: nothing is wedged.
#[test]
fn a_relay_that_touches_turns_is_noticed_and_wedges_nobody() {
    let (base, _, id) = calm();
    // A message that turns.
    let mut world = online(&base, 47);
    let log = log_of(&world, id);
    let gate = gate_of_present_epoch(&world, CAROL, log);
    world.relay.next_turn = Some(Some(gate));
    world.say(ALICE, id, "hello");
    world.run();
    assert_eq!(suspicions(&world, ALICE), [Suspicion::Replaced]);
    assert_eq!(unreadable(&world, BOB)[0].1, Reason::VoidTurn);
    assert_goes_on(&mut world, id, &[ALICE, BOB, CAROL]);
    assert_eq!(world.texts(BOB, id)[1], "hello", "sent again under another id");
    // A commit that does not.
    let mut world = online(&base, 48);
    world.relay.next_turn = Some(None);
    world.call(ALICE, |client, now, rng| client.rename_group(&id, "honest", now, rng)).unwrap();
    world.run();
    assert_eq!(suspicions(&world, ALICE), [Suspicion::Replaced]);
    assert_eq!(unreadable(&world, BOB)[0].1, Reason::CommitWithoutTurn);
    for node in 0..3 {
        assert_eq!(world.nodes[node].client.conversation(&id).unwrap().name, "honest", "node {node}");
    }
    assert_goes_on(&mut world, id, &[ALICE, BOB, CAROL]);
}

/// Frames that no relay may send.
fn bad_frames(world: &mut World, log: LogId) -> Vec<Vec<u8>> {
    let entry = world.relay.logs[&log].entries[0].clone();
    let sound = RelayFrame::Entries { log, entries: vec![entry.clone()] }.encode();
    let mut frames = vec![Vec::new(), vec![1], vec![0], vec![2, 1], vec![255; 40], random_bytes(world, 500)];
    frames.extend((1..sound.len()).step_by(7).map(|len| sound[..len].to_vec()));
    frames.push([sound.as_slice(), &[0]].concat());
    frames.push([sound.as_slice(), &sound].concat());
    frames.push(RelayFrame::Entries { log, entries: vec![entry.clone(); 65] }.encode());
    frames.push(RelayFrame::Entries { log, entries: Vec::new() }.encode());
    frames.push(RelayFrame::Entries { log, entries: vec![Entry { seq: Seq::from_u64(0), ..entry.clone() }] }.encode());
    let too_far = Seq::from_u64(u64::MAX);
    frames.push(RelayFrame::Entries { log, entries: vec![Entry { seq: too_far, ..entry }] }.encode());
    frames.push(RelayFrame::Ephemeral { log, generation: Generation::FIRST, payload: vec![0; 70_000].into() }.encode());
    // Two megabytes, and a length that says more than there is.
    frames.push(vec![1; 2 << 20]);
    frames.push([&[1, 3][..], log.as_bytes(), &[0xbf, 0xff, 0xff, 0xff]].concat());
    // Replies to what was not asked.
    let request = RequestId::from_u64(1 << 40);
    let place = Place {
        seq: Seq::FIRST,
        generation: Generation::FIRST,
        payload: PayloadHash::of(b""),
        duplicate: Presence::New,
    };
    let result = ProofResult { verdict: ProofVerdict::Granted, generation: Generation::FIRST, last: Seq::FIRST };
    for reply in [
        Reply::Done,
        Reply::Appended { places: vec![place] },
        Reply::Proven { results: vec![result] },
        Reply::Page { entries: Vec::new() },
        Reply::Published { version: 1, items_left: 0 },
    ] {
        frames.push(RelayFrame::Reply { request, reply }.encode());
    }
    // A second greeting.
    let (server, nonce) = (ServerId::from_bytes([7; 32]), ConnectionNonce::from_bytes([9; 32]));
    let hello = Hello { server, nonce, incarnation: Incarnation::from_bytes([1; 16]), now_ms: 0 };
    frames.push(RelayFrame::Hello(hello).encode());
    frames
}

// A-FL-05: frames that do not decode or were not asked for: an error of the peer, and nothing has changed.
#[test]
fn a_bad_frame_is_the_relays_fault_and_changes_nothing() {
    let (base, id, _) = calm();
    let mut world = online(&base, 49);
    let log = log_of(&world, id);
    let disk = |world: &World| -> Vec<_> {
        let store = &world.nodes[BOB].store;
        Table::ALL.iter().map(|table| (*table, store.rows(*table))).collect()
    };
    let before = disk(&world);
    for frame in bad_frames(&mut world, log) {
        let begins = frame[..frame.len().min(24)].to_vec();
        let error = world.call(BOB, |client, now, rng| client.handle(Input::Frame(&frame), now, rng)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Peer, "{begins:?}: {error:?}");
        assert!(disk(&world) == before, "{begins:?}");
    }
    assert_goes_on(&mut world, id, &[ALICE, BOB]);
}

// A reply of another length, or of another kind, than what was asked.
#[test]
fn a_reply_that_does_not_fit_is_the_relays_fault() {
    let (base, id, _) = calm();
    let place = Place {
        seq: Seq::FIRST,
        generation: Generation::FIRST,
        payload: PayloadHash::of(b""),
        duplicate: Presence::New,
    };
    for reply in [Reply::Done, Reply::Appended { places: Vec::new() }, Reply::Appended { places: vec![place; 3] }] {
        let mut world = online(&base, 50);
        world.say(ALICE, id, "hello");
        let frame = world.relay.pop(ALICE).unwrap();
        let RelayFrame::Reply { request, reply: Reply::Appended { .. } } = RelayFrame::decode(&frame).unwrap() else {
            panic!("not the reply to the append")
        };
        let lie = RelayFrame::Reply { request, reply }.encode();
        let error = world.call(ALICE, |client, now, rng| client.handle(Input::Frame(&lie), now, rng)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Peer);
        // What every driver does then.
        world.disconnect(ALICE);
        world.connect(ALICE);
        world.run();
        assert_eq!(world.texts(BOB, id), ["before", "hello"]);
        assert_goes_on(&mut world, id, &[ALICE, BOB]);
    }
}

// A-DM-14, A-RE-16: strangers and the relay can write into an inbox what they like.
#[test]
fn a_flood_of_garbage_in_an_inbox_hides_nobody() {
    let (base, ..) = calm();
    let mut world = online(&base, 51);
    let overlay = Overlay::default();
    let bob = LocalIdentity::load(&Tx::new(&world.nodes[BOB].store, &overlay)).unwrap().unwrap();
    let keys = keys_of(&world, BOB);
    for number in 0..200 {
        let len = world.rng.random_range(0..3_000);
        let (payload, entry) = (random_bytes(&mut world, len), entry_id(&mut world));
        plant(&mut world, bob.inbox(), payload, entry, None);
        if number % 40 == 0 {
            world.run();
        }
    }
    world.run();
    assert!(keys_of(&world, BOB) == keys);
    assert!(world.nodes[BOB].events.is_empty());
    let id = world.befriend(CAROL, BOB);
    world.say(CAROL, id, "among the noise");
    world.run();
    assert_eq!(world.texts(BOB, id), ["among the noise"]);
}

/// Tries every key that somebody can derive from a disk on every entry; returns how many shells open.
fn shells_opened(store: &MemoryStore, log: LogId, entries: &[Entry], generations: u64) -> usize {
    let keys: Vec<LogKeys> =
        (0..generations).filter_map(|number| group_keys(store, log, Generation::from_u64(number))).collect();
    let opens = |entry: &&Entry| {
        let EntryContent::Payload(payload) = &entry.content else { return false };
        keys.iter().any(|keys| {
            shell::open(&keys.outer, log, entry.generation, entry.id, entry.class, payload.as_slice()).is_ok()
        })
    };
    entries.iter().filter(opens).count()
}

/// Opens the shells of entries for somebody with all keys that a faithful member ever had, and tries the MLS messages
/// inside with the disk of another; returns how many of them open.
fn bodies_opened(store: &MemoryStore, log: LogId, entries: &[Entry], shells: &[LogKeys]) -> usize {
    let overlay = Overlay::default();
    let mut opened = 0;
    for entry in entries {
        let EntryContent::Payload(payload) = &entry.content else { continue };
        let parcel = shells.iter().find_map(|keys| {
            shell::open(&keys.outer, log, entry.generation, entry.id, entry.class, payload.as_slice()).ok()
        });
        let Some(parcel) = parcel else { panic!("the test lacks a key") };
        let aad = parcel.evidence.to_bytes();
        let processed = group::process(&mut Tx::new(store, &overlay), log, &aad, &parcel.body);
        opened += usize::from(matches!(processed, Ok(group::Processed::Application { .. })));
    }
    opened
}

// A-GR-01, A-GR-02; issue 2, acceptance 5.
#[test]
fn who_was_removed_reads_nothing_later_and_who_is_new_nothing_earlier() {
    let (base, _, id) = calm();
    let mut world = online(&base, 52);
    let log = log_of(&world, id);
    let mut shells = Vec::new();
    let mut told_to_three = 0;
    // Before dave.
    for number in 0..4 {
        world.say(number % 3, id, &format!("before dave {number}"));
        world.run();
        told_to_three += 1;
    }
    let generation = |world: &World| world.relay.logs[&log].generation();
    shells.push(group_keys(&world.nodes[ALICE].store, log, generation(&world)).unwrap());
    let dave = world.add("dave");
    world.connect(dave);
    world.run();
    world.befriend(ALICE, dave);
    world.run();
    let (dave_account, carol_account) = (world.nodes[dave].client.account(), world.nodes[CAROL].client.account());
    world.call(ALICE, |client, now, rng| client.add_members(&id, &[dave_account], now, rng)).unwrap();
    world.run();
    let joined_at = world.relay.logs[&log].entries.iter().rposition(|entry| entry.turn.is_some()).unwrap();
    shells.push(group_keys(&world.nodes[ALICE].store, log, generation(&world)).unwrap());
    world.say(ALICE, id, "with dave");
    world.run();
    // Carol's disk, as it was last while she was in.
    let carol_disk = world.nodes[CAROL].store.snapshot();
    let in_at = world.relay.logs[&log].entries.len();
    world.call(ALICE, |client, now, rng| client.remove_members(&id, &[carol_account], now, rng)).unwrap();
    world.run();
    let removed_at = world.relay.logs[&log].entries.iter().rposition(|entry| entry.turn.is_some()).unwrap();
    shells.push(group_keys(&world.nodes[ALICE].store, log, generation(&world)).unwrap());
    for number in 0..6 {
        world.say([ALICE, BOB, dave][number % 3], id, &format!("without carol {number}"));
        world.run();
    }
    let entries = world.relay.logs[&log].entries.clone();
    let generations = generation(&world).as_u64() + 4;

    // A method that opens nothing at all would prove nothing: what carol had a right to opens to her disk.
    assert!(shells_opened(&carol_disk, log, &entries[joined_at + 1..in_at], generations) > 0);
    let earlier = entries.iter().take(joined_at).filter(|entry| entry.generation >= Generation::FIRST);
    let first_shown = world.texts(dave, id);
    assert_eq!(first_shown[0], "with dave");

    let later = &entries[removed_at + 1..];
    assert!(later.len() >= 6);
    assert_eq!(shells_opened(&carol_disk, log, later, generations), 0);
    assert_eq!(bodies_opened(&carol_disk, log, later, &shells), 0);
    // Her client, revived from that disk, with a relay that hands out everything, in every guise.
    for skips_removal in [false, true] {
        let mut revived = world.fork(53);
        revived.nodes[CAROL].store = carol_disk.snapshot();
        revived.crash(CAROL);
        revived.connect(CAROL);
        withhold(&mut revived, CAROL, log);
        let before = revived.texts(CAROL, id).len();
        let from = if skips_removal { removed_at + 1 } else { in_at };
        let mut seq = entries[in_at].seq;
        for entry in &entries[from..] {
            let generation = if skips_removal { entries[in_at].generation } else { entry.generation };
            show(&mut revived, CAROL, log, &[Entry { seq, generation, ..entry.clone() }]);
            seq = seq.next();
        }
        assert_eq!(revived.texts(CAROL, id).len(), before, "she reads what is said without her");
    }

    let dave_disk = world.nodes[dave].store.snapshot();
    let earlier: Vec<Entry> = earlier.filter(|entry| entry.turn.is_none()).cloned().collect();
    let since_all: Vec<Entry> =
        earlier.iter().filter(|entry| entry.generation == entries[joined_at].generation).cloned().collect();
    assert!(since_all.len() >= told_to_three);
    assert_eq!(shells_opened(&dave_disk, log, &earlier, generations), 0);
    assert_eq!(bodies_opened(&dave_disk, log, &since_all, &shells), 0);
    assert!(!first_shown.iter().any(|text| text.starts_with("before")));
}

// spec DEL-34; A-RE-01: a new member has a head from whoever let it in, and others compare with that.
#[test]
fn a_new_member_notices_a_fork_that_is_older_than_itself() {
    let (base, _, id) = calm();
    let mut world = base.fork(55);
    let log = log_of(&world, id);
    let dave = world.add("dave");
    for node in [ALICE, CAROL, dave] {
        world.connect(node);
    }
    world.run();
    world.befriend(ALICE, dave);
    world.say(ALICE, id, "as alice said it");
    world.run();
    // Bob is shown something else in its place.
    world.connect(BOB);
    let mut withheld = withhold(&mut world, BOB, log);
    withheld[0].content = EntryContent::Payload(random_bytes(&mut world, 500).into());
    show(&mut world, BOB, log, &withheld);
    let account = world.nodes[dave].client.account();
    world.call(ALICE, |client, now, rng| client.add_members(&id, &[account], now, rng)).unwrap();
    world.run();
    assert!(suspicions(&world, dave).is_empty());
    world.disconnect(ALICE);
    world.say(BOB, id, "from the other side");
    world.run();
    assert_eq!(suspicions(&world, dave), [Suspicion::Fork]);
}
