//! Handing the history to another device of the account (spec/history): what is given, how it goes on, what is refused.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rand::RngExt;
use sim::{World, play_seeds};
use undertone::Error;
use undertone::content::{Content, Expiry, MessageId, TypingState};
use undertone::conversation::{ConversationId, ConversationState, MessageStatus};
use undertone::crypto::Secret32;
use undertone::dm;
use undertone::dm::wrap::Wrap;
use undertone::engine::{Event, HistoryDirection, HistoryFailure, HistoryTransfer, Signal};
use undertone::envelope::address::InboxAddress;
use undertone::envelope::history::{
    HistoryChunk, HistoryConversation, HistoryDigest, HistoryKind, HistoryLog, HistoryMessage, HistoryOffer,
    HistoryReached, HistoryRest, HistorySender, TransferKeys,
};
use undertone::envelope::inbox::{self, InboxEntry, InboxKind, InboxPlace};
use undertone::envelope::{DedupId, Extensions, SenderSeq};
use undertone::identity::{AccountId, DeviceId, IdentityError, LocalIdentity};
use undertone::store::{Overlay, Store, Table, Tx};
use undertone::time::UnixMs;
use undertone_wire::frame::{Class, EntryContent, NewEntry, SlotKind};
use undertone_wire::id::{EntryId, LogId, Seq, SlotId};

const ANN: usize = 0;
const BOB: usize = 1;
const CAT: usize = 2;
/// Ann's second device.
const NEW: usize = 3;

/// Ann, Bob and Cat, who have talked in three conversations: 3 · `rounds` messages.
fn talked(seed: u64, rounds: usize) -> (World, [ConversationId; 3]) {
    let mut world = World::of(seed, &["ann", "bob", "cat"]);
    let with_bob = world.befriend(ANN, BOB);
    let with_cat = world.befriend(CAT, ANN);
    world.run();
    let accounts = [world.account(BOB), world.account(CAT)];
    let group = world.call(ANN, |client, now, rng| client.create_group("tea", &accounts, now, rng)).unwrap();
    world.run();
    for round in 0..rounds {
        let (one, other) = if round % 2 == 0 { (ANN, CAT) } else { (BOB, ANN) };
        world.say(one, with_bob, &format!("{round} with bob"));
        world.say(other, with_cat, &format!("{round} with cat"));
        world.say([ANN, BOB, CAT][round % 3], group, &format!("{round} over tea"));
        world.now = world.now.after(Duration::from_secs(60));
        world.relay.now_ms = world.now.as_u64();
        world.run();
    }
    (world, [with_bob, with_cat, group])
}

/// Ann's second device, online, and in all conversations from now on.
fn with_new_device(world: &mut World) {
    assert_eq!(world.enlist(ANN), NEW);
    world.connect(NEW);
    world.run();
}

fn device(world: &World, node: usize) -> DeviceId {
    world.nodes[node].client.device()
}

fn give(world: &mut World) {
    let to = device(world, NEW);
    world.call(ANN, |client, now, rng| client.send_history(&to, now, rng)).unwrap();
}

/// What a device shows of a conversation: ids, texts, senders, in order.
fn shown(world: &World, node: usize, id: ConversationId) -> Vec<(String, String, String)> {
    let history = world.history_of(node, id, usize::MAX);
    let line = |message: &undertone::conversation::Message| {
        let text = message.content.plain_text().unwrap_or("?").to_owned();
        (message.id.to_string(), text, format!("{} {}", message.account, message.device))
    };
    history.iter().map(line).collect()
}

fn assert_all_given(world: &World, conversations: &[ConversationId]) {
    for id in conversations {
        assert_eq!(shown(world, NEW, *id), shown(world, ANN, *id));
    }
    world.assert_nothing_twice();
    world.assert_no_nonce_twice();
}

fn failures(world: &World, node: usize) -> Vec<HistoryFailure> {
    let because = |event: &&Event| match event {
        Event::HistoryFailed { because, .. } => Some(*because),
        _ => None,
    };
    world.nodes[node].told_once().iter().filter_map(because).collect()
}

fn completions(world: &World, node: usize) -> Vec<u64> {
    let count = |event: &&Event| match event {
        Event::HistoryComplete { count, .. } => Some(*count),
        _ => None,
    };
    world.nodes[node].told_once().iter().filter_map(count).collect()
}

fn transfers(world: &World, node: usize) -> Vec<HistoryTransfer> {
    world.nodes[node].client.history_transfers().unwrap()
}

/// The transfer log, which is the only one whose entries are of class bulk.
fn transfer_log(world: &World) -> LogId {
    let mut logs = world.relay.logs.iter().filter(|(_, log)| log.is_transfer()).map(|(id, _)| *id);
    let log = logs.next().unwrap();
    assert_eq!(logs.next(), None, "one transfer");
    log
}

/// What a device keeps of the transfer that gives, or takes: the secret in its row.
fn secret(world: &World, node: usize, word: &[u8]) -> Option<Secret32> {
    let rows = world.nodes[node].store.rows(Table::Meta);
    let row = rows.into_iter().find(|(key, _)| key.starts_with(word))?.1;
    // A version, then the secret behind its length.
    assert_eq!(row[1], 32);
    Secret32::from_slice(&row[2..34])
}

// OS-03, spec HIST-01, HIST-05, HIST-11, HIST-12, HIST-13
#[test]
fn a_new_device_shows_what_the_old_one_shows() {
    let (mut world, conversations) = talked(1, 12);
    with_new_device(&mut world);
    for id in conversations {
        assert_eq!(shown(&world, NEW, id), []);
    }
    // What it reads itself is given too, and shown once.
    world.say(CAT, conversations[1], "seen by both");
    world.run();
    let told = world.nodes[NEW].events.len();
    let told_to_others = |world: &World| [BOB, CAT].map(|node| world.nodes[node].events.len());
    let before = told_to_others(&world);
    give(&mut world);
    world.run();
    assert_all_given(&world, &conversations);
    let count = conversations.iter().map(|id| shown(&world, ANN, *id).len() as u64).sum::<u64>();
    assert_eq!(count, 37);
    assert_eq!(completions(&world, NEW), [count]);
    let (old, new) = (device(&world, ANN), device(&world, NEW));
    assert!(world.events(ANN).contains(&Event::HistorySent { to: new, count }));
    assert!(world.nodes[ANN].signals.contains(&Signal::HistoryProgress { with: new, done: count, total: count }));
    assert!(world.nodes[NEW].signals.contains(&Signal::HistoryProgress { with: old, done: count, total: count }));
    // Nothing is told as new here, and nothing of it reaches anybody else.
    let is_quiet = |event: &Event| matches!(event, Event::HistoryComplete { .. });
    assert!(world.events(NEW)[told..].iter().all(is_quiet), "{:?}", &world.events(NEW)[told..]);
    assert_eq!(told_to_others(&world), before);
    world.assert_nothing_odd();
    // What is said from now on stands behind it, on both.
    world.say(BOB, conversations[0], "and on we go");
    world.say(NEW, conversations[2], "from the new one");
    world.run();
    assert_all_given(&world, &conversations);
    assert_eq!(world.texts(NEW, conversations[0]).last().unwrap(), "and on we go");
}

/// Hands out frames until a device says that so many messages are through.
fn until(world: &mut World, node: usize, done: u64) {
    let is_there = |signal: &Signal| matches!(signal, Signal::HistoryProgress { done: is, .. } if *is >= done);
    while !world.nodes[node].signals.iter().any(is_there) {
        if !world.deliver_one() {
            world.run();
            assert!(world.nodes[node].signals.iter().any(is_there), "it never comes");
        }
    }
}

// OS-03, spec HIST-05
#[test]
fn the_newest_hundred_of_all_conversations_are_usable_first() {
    let (mut world, conversations) = talked(2, 80);
    with_new_device(&mut world);
    give(&mut world);
    until(&mut world, NEW, 100);
    let of = |world: &World, node: usize| {
        let all = conversations.iter().flat_map(|id| world.history(node, *id)).collect::<Vec<_>>();
        let mut all: Vec<_> = all.iter().map(|message| (message.accepted, message.id)).collect();
        all.sort();
        all
    };
    let (old, new) = (of(&world, ANN), of(&world, NEW));
    assert_eq!(new.len(), 100);
    // Those that were accepted in one moment may stand on either side of the cut.
    assert_eq!(
        new.iter().map(|(at, _)| at).collect::<Vec<_>>(),
        old[old.len() - 100..].iter().map(|(at, _)| at).collect::<Vec<_>>()
    );
    for id in conversations {
        let (old, new) = (shown(&world, ANN, id), shown(&world, NEW, id));
        assert!(!new.is_empty() && new.len() < old.len());
        assert_eq!(new, old[old.len() - new.len()..], "the newest of each, without a gap");
    }
    let (total, device) = (240, device(&world, ANN));
    assert_eq!(
        transfers(&world, NEW),
        [HistoryTransfer { device, direction: HistoryDirection::Taking, done: 100, total }]
    );
    // Usable: it answers while the rest is still to come.
    world.say(NEW, conversations[0], "an answer");
    world.run();
    assert_all_given(&world, &conversations);
    assert_eq!(completions(&world, NEW), [240]);
    assert_eq!((transfers(&world, NEW), transfers(&world, ANN)), (vec![], vec![]));
    // The first chunk went alone, each further append held at most four.
    let log = transfer_log(&world);
    let appends = world.nodes[ANN].appends().into_iter().filter(|append| append.log == log);
    let counts: Vec<usize> = appends.map(|append| append.entries.len()).collect();
    assert_eq!(counts[0], 1);
    assert!(counts.iter().all(|count| *count <= 4), "{counts:?}");
}

/// A history of many chunks, and the new device that has nothing of it yet: 102 short messages, then 160 long ones.
fn long_story(seed: u64) -> (World, [ConversationId; 3]) {
    static STORY: LazyLock<(World, [ConversationId; 3])> = LazyLock::new(|| {
        let (mut world, conversations) = talked(3, 34);
        let long = "and so on ".repeat(400);
        for round in 0..160 {
            world.say(ANN, conversations[round % 3], &format!("{round} {long}"));
            if round % 16 == 15 {
                world.now = world.now.after(Duration::from_secs(1));
                world.relay.now_ms = world.now.as_u64();
                world.run();
            }
        }
        with_new_device(&mut world);
        (world, conversations)
    });
    let (world, conversations) = &*STORY;
    let mut world = world.fork(seed);
    world.connect_all();
    world.run();
    (world, *conversations)
}

// OS-03, spec HIST-06, HIST-09, DEL-01
#[test]
fn a_transfer_that_is_cut_anywhere_goes_on_there() {
    play_seeds("HISTORY_SEED", 6, |seed| {
        let (mut world, conversations) = long_story(seed);
        give(&mut world);
        let mut cuts = 0;
        while completions(&world, NEW).is_empty() {
            for _ in 0..world.rng.random_range(0..12) {
                world.deliver_one();
            }
            let node = if world.rng.random_bool(0.5) { ANN } else { NEW };
            match world.rng.random_range(0..5) {
                0 => world.crash(node),
                1 if world.nodes[node].is_connected => world.disconnect(node),
                2 => world.nodes[node].fuse = Some(world.rng.random_range(0..6)),
                // The relay is started again.
                3 => (0..world.nodes.len()).for_each(|node| {
                    if world.nodes[node].is_connected {
                        world.disconnect(node);
                    }
                }),
                _ => {}
            }
            cuts += 1;
            assert!(cuts < 2_000, "it gets nowhere");
            world.connect_all();
        }
        world.nodes.iter_mut().for_each(|node| node.fuse = None);
        world.connect_all();
        world.run();
        assert_all_given(&world, &conversations);
        assert_eq!((failures(&world, ANN), failures(&world, NEW)), (vec![], vec![]));
        assert_eq!(completions(&world, NEW), [34 * 3 + 160]);
        assert_eq!((transfers(&world, NEW), transfers(&world, ANN)), (vec![], vec![]));
    });
}

// spec HIST-04
#[test]
fn what_is_said_after_the_question_is_no_part_of_the_answer() {
    let (mut world, conversations) = talked(4, 6);
    with_new_device(&mut world);
    world.disconnect(NEW);
    world.disconnect(ANN);
    give(&mut world);
    world.connect(ANN);
    world.say(ANN, conversations[0], "later");
    world.run();
    world.connect(NEW);
    world.run();
    assert_eq!(completions(&world, NEW), [18]);
    assert_all_given(&world, &conversations);
    assert_eq!(world.texts(NEW, conversations[0]).last().unwrap(), "later");
}

// spec HIST-04
#[test]
fn a_message_that_has_expired_is_left_out_and_no_key_is_given() {
    let (mut world, [with_bob, ..]) = talked(5, 2);
    let at = u32::try_from(world.now.as_u64() / 1_000).unwrap() + 3_600;
    let mut content = Content::text("for an hour", &mut world.rng).unwrap();
    content.expires = Some(Expiry::At { unix_s: at });
    world.call(ANN, |client, now, rng| client.send(&with_bob, &content, now, rng)).unwrap();
    world.run();
    with_new_device(&mut world);
    world.now = world.now.after(Duration::from_secs(3_700));
    let keys = given_unseen(&mut world);
    let chunk = chunk(&world, &keys, 0).encode();
    let holds = |needle: &[u8]| chunk.windows(needle.len()).any(|window| window == needle);
    assert!(holds(b"1 with bob") && !holds(b"for an hour"));
    let is_public = |bytes: &[u8]| {
        let is_named =
            |node: usize| device(&world, node).as_bytes() == bytes || world.account(node).as_bytes() == bytes;
        bytes == [0; 32] || (0..world.nodes.len()).any(is_named)
    };
    for (_, value) in [Table::Sessions, Table::Prekeys].iter().flat_map(|table| world.nodes[ANN].store.rows(*table)) {
        assert!(value.windows(32).all(|window| is_public(window) || !holds(window)));
    }
    for (log, generation, secret) in world.nodes[ANN].direct_secrets() {
        assert!(!holds(secret.expose()), "{log} {generation}");
    }
    world.connect(NEW);
    world.run();
    assert_eq!(completions(&world, NEW), [6]);
    assert!(!world.texts(NEW, with_bob).contains(&"for an hour".to_owned()));
}

/// A transfer of which the giver is through and the taker has seen nothing; its keys.
fn given_unseen(world: &mut World) -> TransferKeys {
    world.disconnect(NEW);
    give(world);
    let keys = TransferKeys::derive(secret(world, ANN, b"giving").unwrap());
    world.run();
    assert_eq!(keys.log(), transfer_log(world));
    keys
}

fn payload(world: &World, keys: &TransferKeys, number: usize) -> Vec<u8> {
    match &world.relay.logs[&keys.log()].entries[number].content {
        EntryContent::Payload(payload) => payload.as_slice().to_vec(),
        EntryContent::Stub(_) => panic!("no payload"),
    }
}

fn chunk(world: &World, keys: &TransferKeys, number: usize) -> HistoryChunk {
    keys.open(number as u64, &payload(world, keys, number)).unwrap()
}

/// Everything that a chunk could have changed.
fn state(world: &World, node: usize) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let tables =
        [Table::Messages, Table::MessageIndex, Table::Conversations, Table::Contacts, Table::Logs, Table::Receipts];
    let plain = |table: &Table| {
        let rows = world.nodes[node].store.rows(*table).into_iter();
        rows.map(|(key, value)| (key, value.to_vec())).collect()
    };
    tables.iter().map(plain).collect()
}

/// What becomes of a transfer if the relay, or a giver that lies, has something else as the chunk of this number: what the
/// taker says, and whether anything of that chunk has left a trace.
fn refused(number: usize, other: impl FnOnce(&mut World, &TransferKeys) -> EntryContent) -> HistoryFailure {
    let (mut world, _) = long_story(1);
    let keys = given_unseen(&mut world);
    let content = other(&mut world, &keys);
    let entries = &mut world.relay.logs.get_mut(&keys.log()).unwrap().entries;
    let behind = entries.split_off(number);
    // Up to there everything is as it should be.
    world.connect(NEW);
    world.run();
    let before = state(&world, NEW);
    let log = world.relay.logs.get_mut(&keys.log()).unwrap();
    log.entries.extend(behind);
    log.entries[number].content = content;
    world.relay.flow();
    world.run();
    assert!(state(&world, NEW) == before, "something of a refused chunk is left");
    assert!(completions(&world, NEW).is_empty());
    assert!(secret(&world, NEW, b"taking").is_none(), "the secret is still there");
    assert_eq!(transfers(&world, NEW), []);
    world.assert_nothing_twice();
    let failures = failures(&world, NEW);
    assert_eq!(failures.len(), 1, "{failures:?}");
    // It can be begun again, and then all is well.
    give(&mut world);
    world.run();
    assert_eq!(completions(&world, NEW).len(), 1);
    failures[0]
}

// spec HIST-07, HIST-09, HIST-15
#[test]
fn a_chunk_that_the_relay_has_changed_ends_the_transfer_and_leaves_no_trace() {
    let sealed = |bytes: Vec<u8>| EntryContent::Payload(bytes.into());
    let flipped = |world: &mut World, keys: &TransferKeys| {
        let mut bytes = payload(world, keys, 1);
        let at = world.rng.random_range(0..bytes.len());
        bytes[at] ^= 1;
        sealed(bytes)
    };
    assert_eq!(refused(1, flipped), HistoryFailure::Damaged);
    let cut = |world: &mut World, keys: &TransferKeys| sealed(payload(world, keys, 1)[..500].to_vec());
    assert_eq!(refused(1, cut), HistoryFailure::Damaged);
    // One chunk in the place of another.
    let moved = |world: &mut World, keys: &TransferKeys| sealed(payload(world, keys, 2));
    assert_eq!(refused(1, moved), HistoryFailure::Damaged);
    let first = |world: &mut World, keys: &TransferKeys| sealed(payload(world, keys, 1));
    assert_eq!(refused(0, first), HistoryFailure::Damaged);
    let deleted = |world: &mut World, keys: &TransferKeys| {
        EntryContent::Stub(world.relay.logs[&keys.log()].entries[2].leaf().payload)
    };
    assert_eq!(refused(2, deleted), HistoryFailure::Expired);
}

// spec HIST-10, HIST-13, HIST-09
#[test]
fn a_chunk_that_contradicts_what_is_known_ends_the_transfer_and_leaves_no_trace() {
    let (world, conversations) = long_story(7);
    let stranger = {
        let other = World::of(8, &["dan"]);
        other.nodes[0].client.invitation().unwrap().certificate().encode()
    };
    let foreign = world.nodes[ANN].client.log_of(&conversations[2]).unwrap().unwrap();
    type Change<'c> = Box<dyn Fn(&mut HistoryChunk) + 'c>;
    let nobody = AccountId::from_bytes([9; 32]);
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("no content", Box::new(|chunk| chunk.messages[0].content = vec![1, 2, 3])),
        ("walked falls", Box::new(|chunk| chunk.walked = 1)),
        ("walked past the total", Box::new(|chunk| chunk.walked = 100_000)),
        ("a third sender", Box::new(|chunk| chunk.senders.iter_mut().for_each(|sender| sender.account = nobody))),
        (
            "the log of a group",
            Box::new(|chunk| {
                let direct = chunk.conversations.iter_mut().find(|of| matches!(of.kind, HistoryKind::Direct { .. }));
                direct.unwrap().logs[0].log = foreign;
            }),
        ),
        (
            "a peer without a certificate",
            Box::new(|chunk| {
                let peers = chunk.conversations.iter_mut().filter_map(|of| match &mut of.kind {
                    HistoryKind::Direct { peer } => Some(peer),
                    HistoryKind::Group { .. } => None,
                });
                peers.for_each(|peer| *peer = nobody);
            }),
        ),
        (
            "with oneself",
            Box::new(|chunk| {
                let own = world.account(ANN);
                let peers = chunk.conversations.iter_mut().filter_map(|of| match &mut of.kind {
                    HistoryKind::Direct { peer } => Some(peer),
                    HistoryKind::Group { .. } => None,
                });
                peers.for_each(|peer| *peer = own);
            }),
        ),
        (
            "a certificate that does not verify",
            Box::new(|chunk| {
                let mut certificate = stranger.clone();
                *certificate.last_mut().unwrap() ^= 1;
                chunk.contacts[0].certificate = certificate;
            }),
        ),
    ];
    for (what, change) in &changes {
        let because = refused(1, |world, keys| {
            let mut told = chunk(world, keys, 1);
            change(&mut told);
            EntryContent::Payload(keys.seal(1, &told, &mut world.rng).unwrap().into())
        });
        assert_eq!(because, HistoryFailure::Differs, "{what}");
    }
}

// spec HIST-13
#[test]
fn a_history_that_is_not_what_was_given_is_not_called_complete() {
    let (base, _) = talked(9, 6);
    let end = |change: fn(&mut HistoryChunk)| {
        let mut world = base.fork(1);
        world.connect_all();
        world.run();
        with_new_device(&mut world);
        let keys = given_unseen(&mut world);
        let mut told = chunk(&world, &keys, 0);
        change(&mut told);
        let payload = keys.seal(0, &told, &mut world.rng).unwrap();
        world.relay.logs.get_mut(&keys.log()).unwrap().entries[0].content = EntryContent::Payload(payload.into());
        world.connect(NEW);
        world.run();
        (completions(&world, NEW), failures(&world, NEW))
    };
    assert_eq!(end(|_| {}), (vec![18], vec![]));
    let swapped = |chunk: &mut HistoryChunk| chunk.messages.swap(0, 1);
    assert_eq!(end(swapped), (vec![], vec![HistoryFailure::Differs]));
    let fewer = |chunk: &mut HistoryChunk| drop(chunk.messages.pop());
    assert_eq!(end(fewer), (vec![], vec![HistoryFailure::Differs]));
    let count = |chunk: &mut HistoryChunk| {
        if let HistoryRest::Done { count, .. } = &mut chunk.rest {
            *count += 1;
        }
    };
    assert_eq!(end(count), (vec![], vec![HistoryFailure::Differs]));
}

// spec HIST-09: whoever holds the append key can put in more entries; they are passed over.
#[test]
fn entries_that_are_no_chunks_are_passed_over() {
    let (mut world, conversations) = long_story(10);
    let keys = given_unseen(&mut world);
    let entries = &mut world.relay.logs.get_mut(&keys.log()).unwrap().entries;
    let mut garbage = entries[1].clone();
    garbage.id = EntryId::from_bytes([7; 16]);
    garbage.content = EntryContent::Payload(vec![1, 2, 3].into());
    entries.insert(1, garbage);
    // The first chunk once more, behind the others.
    let again = entries[0].clone();
    entries.push(again);
    for (seq, entry) in (1..).zip(entries.iter_mut()) {
        entry.seq = Seq::from_u64(seq);
    }
    world.connect(NEW);
    world.run();
    assert_eq!(failures(&world, NEW), []);
    assert_all_given(&world, &conversations);
}

// spec HIST-01, HIST-03
#[test]
fn only_a_listed_device_of_the_own_account_gets_it() {
    let (mut world, conversations) = long_story(11);
    let (own, bobs, new) = (device(&world, ANN), device(&world, BOB), device(&world, NEW));
    let ask = |world: &mut World, to: DeviceId| world.call(ANN, |client, now, rng| client.send_history(&to, now, rng));
    assert_eq!(ask(&mut world, own), Err(Error::Identity(IdentityError::OwnDevice)));
    assert_eq!(ask(&mut world, bobs), Err(Error::Identity(IdentityError::UnknownDevice)));
    // Removed on the way: what lies at the relay stays, nothing more comes.
    ask(&mut world, new).unwrap();
    until(&mut world, ANN, 1);
    let before = shown(&world, NEW, conversations[0]);
    world.disconnect(NEW);
    world.expel(ANN, NEW);
    world.run();
    assert_eq!(failures(&world, ANN), [HistoryFailure::Removed]);
    assert!(secret(&world, ANN, b"giving").is_none());
    let sealed = world.relay.logs[&transfer_log(&world)].entries.len();
    world.connect(NEW);
    world.run();
    assert_eq!(world.relay.logs[&transfer_log(&world)].entries.len(), sealed);
    assert!(shown(&world, NEW, conversations[0]).len() < shown(&world, ANN, conversations[0]).len());
    assert_eq!(shown(&world, NEW, conversations[0])[..before.len()].len(), before.len());
    assert_eq!(failures(&world, NEW), [HistoryFailure::Removed]);
    assert_eq!(ask(&mut world, new), Err(Error::Identity(IdentityError::UnknownDevice)));
}

/// Puts an offer into the inbox of `to`, sealed by `from` in its session with it.
fn offer(world: &mut World, from: usize, to: usize, secret: [u8; 32], total: u64) {
    let load = |world: &World, node: usize| {
        let store = &world.nodes[node].store;
        LocalIdentity::load(&Tx::new(store, &Overlay::default())).unwrap().unwrap()
    };
    let (sender, taker) = (load(world, from), load(world, to));
    let slot = SlotId::of_owner(&taker.signing_key().verify_key());
    let address = InboxAddress::decode(&world.relay.slots[&(slot, SlotKind::InboxAddress)].body).unwrap();
    let entry = EntryId::from_bytes(world.rng.random());
    let ad = [address.inbox().as_bytes().as_slice(), entry.as_bytes(), &[4]].concat();
    let recipient = device(world, to);
    let number = u64::from(secret[0]) << 32;
    let told = HistoryOffer { secret: Secret32::from_bytes(secret), number, total, extensions: Extensions::NONE };
    let (store, overlay) = (world.nodes[from].store.clone(), Overlay::default());
    let mut tx = Tx::new(&store, &overlay);
    let message = dm::seal(&mut tx, recipient, &ad, &told.encode(), &mut world.rng).unwrap();
    store.commit(&tx.into_batch()).unwrap();
    let body = Wrap { handshake: Vec::new(), message }.encode();
    let sealed = InboxEntry::note(InboxKind::History, sender.credential().encode(), body);
    let place = InboxPlace { inbox: address.inbox(), entry, recipient };
    let payload = inbox::seal(address.seal_key(), &place, &sealed, &mut world.rng).unwrap();
    let now_ms = world.relay.now_ms;
    let entry = NewEntry { id: entry, class: Class::Control, ttl_s: 0, payload: payload.into(), turn: None };
    world.relay.logs.get_mut(&address.inbox()).unwrap().push(entry, now_ms);
    world.relay.flow();
    world.run();
}

// spec HIST-02, HIST-03
#[test]
fn nobody_else_can_offer_a_history() {
    let (mut world, [with_bob, ..]) = talked(12, 4);
    with_new_device(&mut world);
    for node in [ANN, BOB, NEW] {
        world.say(node, with_bob, "so that every pair has a session");
        world.run();
    }
    offer(&mut world, BOB, NEW, [1; 32], 5);
    assert_eq!(transfers(&world, NEW), []);
    // The same from the account's own device is taken.
    offer(&mut world, ANN, NEW, [2; 32], 5);
    assert_eq!(transfers(&world, NEW).len(), 1);
    assert!(secret(&world, NEW, b"taking") == Some(Secret32::from_bytes([2; 32])));
    // An older one that was overtaken is not.
    offer(&mut world, ANN, NEW, [1; 32], 5);
    assert!(secret(&world, NEW, b"taking") == Some(Secret32::from_bytes([2; 32])));
    // From one that was removed it is not.
    let third = world.enlist(ANN);
    world.connect(third);
    world.run();
    world.say(third, with_bob, "here I am");
    world.run();
    world.disconnect(third);
    world.expel(ANN, third);
    world.run();
    offer(&mut world, third, NEW, [3; 32], 5);
    assert_eq!(transfers(&world, NEW).len(), 1);
}

// spec HIST-02, HIST-03, HIST-15
#[test]
fn a_newer_transfer_takes_the_place_of_the_older() {
    let (mut world, conversations) = long_story(13);
    give(&mut world);
    until(&mut world, ANN, 1);
    let first = secret(&world, ANN, b"giving").unwrap();
    give(&mut world);
    let second = secret(&world, ANN, b"giving").unwrap();
    assert!(first != second, "a secret stands for one transfer");
    assert_eq!(transfers(&world, ANN).len(), 1);
    world.run();
    assert_eq!(completions(&world, NEW).len(), 1);
    assert_eq!((failures(&world, ANN), failures(&world, NEW)), (vec![], vec![]));
    assert_all_given(&world, &conversations);
    for (node, word) in [(ANN, b"giving"), (NEW, b"taking")] {
        assert!(secret(&world, node, word).is_none());
    }
    // Who was introduced to a log introduces those it has not heard there, and that is all that is left to be done.
    world.now = world.now.after(std::time::Duration::from_secs(400));
    world.run();
    let intents = [ANN, NEW].map(|node| world.nodes[node].store.rows(Table::Intents).len());
    assert_eq!(intents, [0, 0], "nothing is left to be done");
}

// spec HIST-15
#[test]
fn either_side_can_end_it() {
    for by in [ANN, NEW] {
        let (mut world, conversations) = long_story(14);
        give(&mut world);
        until(&mut world, by, 1);
        let other = device(&world, ANN + NEW - by);
        world.call(by, |client, now, rng| client.cancel_history(&other, now, rng)).unwrap();
        let again = world.call(by, |client, now, rng| client.cancel_history(&other, now, rng));
        assert_eq!(again, Err(Error::NoTransfer));
        world.run();
        assert!(completions(&world, NEW).is_empty());
        assert_eq!(failures(&world, ANN), []);
        let told: &[HistoryFailure] = if by == ANN { &[HistoryFailure::Cancelled] } else { &[] };
        assert_eq!(failures(&world, NEW), told);
        assert_eq!((transfers(&world, ANN), transfers(&world, NEW)), (vec![], vec![]));
        assert!(secret(&world, ANN, b"giving").is_none() && secret(&world, NEW, b"taking").is_none());
        let (old, new) = (shown(&world, ANN, conversations[1]), shown(&world, NEW, conversations[1]));
        assert!(!new.is_empty() && new.len() < old.len());
        assert_eq!(new, old[old.len() - new.len()..]);
    }
}

// spec HIST-11, HIST-12: a sibling that lies, and one that has read further than we have.
#[test]
fn what_a_device_reads_itself_takes_the_place_of_what_it_was_told() {
    let (mut world, [with_bob, ..]) = talked(21, 4);
    with_new_device(&mut world);
    for node in [ANN, NEW] {
        world.say(node, with_bob, "so that there is a session");
        world.run();
    }
    let log = world.nodes[ANN].client.log_of(&with_bob).unwrap().unwrap();
    let next = world.relay.logs[&log].entries.len() as u64 + 1;
    let told = |world: &mut World, seq: u64, content: Vec<u8>, reached: HistoryReached| {
        let keys = TransferKeys::derive(Secret32::from_bytes([u8::try_from(seq).unwrap(); 32]));
        let (account, of) = (world.account(ANN), device(world, ANN));
        let id = MessageId::of(&with_bob, &account, &content);
        let chunk = HistoryChunk {
            walked: 1,
            conversations: vec![HistoryConversation {
                kind: HistoryKind::Direct { peer: world.account(BOB) },
                created_ms: world.now,
                logs: vec![HistoryLog { log, read_through: Seq::from_u64(0) }],
            }],
            senders: vec![HistorySender { account, device: of }],
            messages: vec![HistoryMessage {
                log: 0,
                sender: 0,
                seq: Seq::from_u64(seq),
                sender_seq: SenderSeq::FIRST,
                dedup: DedupId::from_bytes([1; 16]),
                sent_ms: world.now,
                accepted_ms: world.now,
                reached,
                content,
            }],
            rest: HistoryRest::Done {
                count: 1,
                digest: HistoryDigest::EMPTY.with(&log, Seq::from_u64(seq), id.as_bytes()),
            },
            ..HistoryChunk::empty()
        };
        let payload = keys.seal(0, &chunk, &mut world.rng).unwrap().into();
        let mut transfer = sim::relay::Log::new(keys.gate(), Some(keys.control().verify_key()));
        let entry = NewEntry { id: keys.entry(0), class: Class::Bulk, ttl_s: 0, payload, turn: None };
        transfer.push(entry, world.now.as_u64());
        world.relay.logs.insert(keys.log(), transfer);
        offer(world, ANN, NEW, [u8::try_from(seq).unwrap(); 32], 1);
        id
    };
    // What was never said, at a place that the log has yet to reach.
    let lie = Content::text("a lie", &mut world.rng).unwrap().encode().unwrap();
    let lie = told(&mut world, next, lie, HistoryReached::Read);
    assert_eq!(world.texts(NEW, with_bob), ["so that there is a session", "so that there is a session", "a lie"]);
    world.say(ANN, with_bob, "the truth");
    world.run();
    assert_eq!(world.texts(NEW, with_bob)[2..], ["the truth".to_owned()]);
    assert!(world.told(NEW).contains(&"the truth".to_owned()));
    let of_lie = world.call(NEW, |client, now, rng| client.mark_read(&with_bob, &lie, now, rng));
    assert_eq!(of_lie, Err(Error::UnknownMessage));
    assert_eq!(world.history(NEW, with_bob)[2].status, MessageStatus::Delivered, "of the lie nothing is left");
    // Of what is really said there, the state that is known already does not go back.
    let next = world.relay.logs[&log].entries.len() as u64 + 1;
    let content = Content::text("read already", &mut world.rng).unwrap();
    let encoded = content.encode().unwrap();
    let id = told(&mut world, next, encoded, HistoryReached::Read);
    assert_eq!(world.history(NEW, with_bob)[3].status, MessageStatus::Read);
    world.call(ANN, |client, now, rng| client.send(&with_bob, &content, now, rng)).unwrap();
    world.run();
    let ours = &world.history(NEW, with_bob)[3];
    assert_eq!((ours.id, ours.place), (id, Some(Seq::from_u64(next))));
    assert_eq!(ours.status, MessageStatus::Read);
    assert!(world.told(NEW).contains(&"read already".to_owned()));
    world.assert_nothing_twice();
}

// spec HIST-14
#[test]
fn a_conversation_that_has_ended_is_shown_as_past_and_can_begin_again() {
    let (mut world, [with_bob, _, group]) = talked(15, 6);
    let ann = world.account(ANN);
    // Bob manages another group, and removes Ann from it.
    let other = world.call(BOB, |client, now, rng| client.create_group("chess", &[ann], now, rng)).unwrap();
    world.run();
    world.say(BOB, other, "your move");
    world.say(ANN, other, "e4");
    world.run();
    world.call(BOB, |client, now, rng| client.remove_members(&other, &[ann], now, rng)).unwrap();
    world.run();
    with_new_device(&mut world);
    give(&mut world);
    world.run();
    let past = world.nodes[NEW].client.conversation(&other).unwrap();
    assert_eq!((past.state, past.name.as_str()), (ConversationState::Past, "chess"));
    assert_all_given(&world, &[with_bob, group, other]);
    let last = world.history(NEW, other).last().unwrap().id;
    let content = Content::text("e5", &mut world.rng).unwrap();
    let sent = world.call(NEW, |client, now, rng| client.send(&other, &content, now, rng));
    assert_eq!(sent.err(), Some(Error::Ended));
    world.call(NEW, |client, now, rng| client.mark_read(&other, &last, now, rng)).unwrap();
    world.call(NEW, |client, now, rng| client.typing(&other, TypingState::Typing, now, rng)).unwrap();
    world.crash(NEW);
    world.connect(NEW);
    world.run();
    // Bob takes her in again, with both devices.
    world.call(BOB, |client, now, rng| client.add_members(&other, &[ann], now, rng)).unwrap();
    world.run();
    assert_eq!(world.nodes[NEW].client.conversation(&other).unwrap().state, ConversationState::Active);
    world.say(BOB, other, "again?");
    world.run();
    assert_eq!(world.texts(NEW, other), ["your move", "e4", "again?"]);
    world.assert_nothing_twice();
}

// spec HIST-14, HIST-11
#[test]
fn a_device_hands_on_what_was_handed_to_it() {
    let (mut world, conversations) = talked(16, 10);
    let (ann, bob) = (world.account(ANN), world.account(BOB));
    let left = world.call(BOB, |client, now, rng| client.create_group("chess", &[ann], now, rng)).unwrap();
    world.run();
    world.say(BOB, left, "your move");
    world.run();
    world.call(ANN, |client, now, rng| client.leave_group(&left, now, rng)).unwrap();
    world.run();
    with_new_device(&mut world);
    give(&mut world);
    world.run();
    let third = world.enlist(ANN);
    world.connect(third);
    world.run();
    world.disconnect(ANN);
    let to = device(&world, third);
    world.call(NEW, |client, now, rng| client.send_history(&to, now, rng)).unwrap();
    world.run();
    assert_eq!(completions(&world, third), [31]);
    for id in conversations.into_iter().chain([left]) {
        assert_eq!(shown(&world, third, id), shown(&world, ANN, id));
    }
    let name = |node: usize| world.nodes[node].client.conversation(&conversations[0]).unwrap().name;
    assert_eq!((name(third), name(NEW)), ("bob".to_owned(), "bob".to_owned()));
    let knows = world.nodes[third].client.safety_number(&bob).unwrap();
    assert_eq!(knows, world.nodes[ANN].client.safety_number(&bob).unwrap());
}

// spec HIST-12
#[test]
fn marks_and_states_come_with_it_and_nobody_hears_of_it() {
    let (mut world, [with_bob, with_cat, _]) = talked(17, 6);
    let last = |world: &World, node: usize, id: ConversationId, of: usize| {
        let account = world.account(of);
        world.history(node, id).into_iter().rfind(|message| message.account == account).unwrap().id
    };
    // Bob has read what Ann said, Ann what Bob said; Cat's words are unread.
    for (by, of) in [(BOB, ANN), (ANN, BOB)] {
        let through = last(&world, by, with_bob, of);
        world.call(by, |client, now, rng| client.mark_read(&with_bob, &through, now, rng)).unwrap();
        world.run();
    }
    with_new_device(&mut world);
    give(&mut world);
    world.run();
    let statuses = |node: usize, id: ConversationId| {
        world.history(node, id).iter().map(|message| message.status).collect::<Vec<_>>()
    };
    for id in [with_bob, with_cat] {
        assert_eq!(statuses(NEW, id), statuses(ANN, id));
    }
    assert!(statuses(NEW, with_bob).contains(&MessageStatus::Read));
    let told = [BOB, CAT].map(|node| world.nodes[node].events.len());
    // Read on the old device: nobody hears of it again.
    let through = last(&world, NEW, with_bob, BOB);
    world.call(NEW, |client, now, rng| client.mark_read(&with_bob, &through, now, rng)).unwrap();
    world.run();
    assert_eq!([BOB, CAT].map(|node| world.nodes[node].events.len()), told);
    // Unread there: whoever reads it here says so, as always.
    let through = last(&world, NEW, with_cat, CAT);
    world.call(NEW, |client, now, rng| client.mark_read(&with_cat, &through, now, rng)).unwrap();
    world.run();
    let read = |event: &&Event| matches!(event, Event::Read { by, .. } if *by == world.account(NEW));
    assert_eq!(world.nodes[CAT].told_once().into_iter().filter(read).count(), 3);
    assert_eq!(world.nodes[BOB].told_once().into_iter().filter(read).count(), 3);
}

// spec HIST-16
#[test]
fn a_relay_that_may_have_lost_chunks_gets_the_transfer_anew() {
    let (mut world, conversations) = long_story(18);
    give(&mut world);
    until(&mut world, ANN, 1);
    let log = transfer_log(&world);
    for node in [ANN, NEW] {
        world.disconnect(node);
    }
    world.relay.logs.get_mut(&log).unwrap().lose_last();
    world.relay.reincarnate();
    for node in [NEW, ANN] {
        world.connect(node);
    }
    world.run();
    let begun_anew = world.relay.logs.iter().filter(|(id, of)| **id != log && of.is_transfer());
    assert_eq!(begun_anew.count(), 1);
    assert_eq!(completions(&world, NEW).len(), 1);
    for id in conversations {
        assert_eq!(shown(&world, NEW, id), shown(&world, ANN, id));
    }
}

// spec HIST-16
#[test]
fn a_transfer_that_takes_too_long_has_failed() {
    let (mut world, _) = long_story(19);
    give(&mut world);
    until(&mut world, ANN, 1);
    for node in [ANN, NEW] {
        world.disconnect(node);
    }
    world.now = world.now.after(Duration::from_secs(14 * 86_400 + 1));
    world.relay.now_ms = world.now.as_u64();
    for node in [ANN, NEW] {
        world.connect(node);
        world.run();
        assert_eq!(failures(&world, node), [HistoryFailure::Expired], "node {node}");
        assert_eq!(transfers(&world, node), []);
    }
    assert!(secret(&world, ANN, b"giving").is_none() && secret(&world, NEW, b"taking").is_none());
}

/// Fills Ann's store with so many notes to herself, by way of a transfer from her third device.
fn many_notes(world: &mut World, count: u64) -> ConversationId {
    let notes = world.call(ANN, |client, now, rng| client.create_group("notes", &[], now, rng)).unwrap();
    world.run();
    let third = world.enlist(ANN);
    world.connect(third);
    world.run();
    let friend = world.nodes[ANN].client.conversations().unwrap().pop().unwrap().id;
    world.say(third, friend, "so that there is a session");
    world.say(ANN, friend, "on both sides");
    world.run();
    let keys = TransferKeys::derive(Secret32::from_bytes([5; 32]));
    let mut transfer = sim::relay::Log::new(keys.gate(), Some(keys.control().verify_key()));
    let log = world.nodes[ANN].client.log_of(&notes).unwrap().unwrap();
    let sender = HistorySender { account: world.account(ANN), device: device(world, ANN) };
    let conversation = HistoryConversation {
        kind: HistoryKind::Group { name: b"notes".to_vec() },
        created_ms: world.now,
        logs: vec![HistoryLog { log, read_through: Seq::from_u64(0) }],
    };
    let mut digest = HistoryDigest::EMPTY;
    let numbers: Vec<u64> = (1..=count).collect();
    for (number, page) in (0..).zip(numbers.chunks(250)) {
        let mut chunk = HistoryChunk { walked: *page.last().unwrap(), ..HistoryChunk::empty() };
        chunk.conversations.push(conversation.clone());
        chunk.senders.push(sender);
        for seq in page.iter().map(|number| 10 + *number) {
            let text = format!("note {seq}, and a little more so that it is as long as what people write");
            let content = Content::text(&text, &mut world.rng).unwrap().encode().unwrap();
            let id = MessageId::of(&notes, &sender.account, &content);
            digest = digest.with(&log, Seq::from_u64(seq), id.as_bytes());
            let at = UnixMs::from_u64(1_700_000_000_000 + seq);
            chunk.messages.push(HistoryMessage {
                log: 0,
                sender: 0,
                seq: Seq::from_u64(seq),
                sender_seq: SenderSeq::from_u64(seq),
                dedup: DedupId::from_bytes([1; 16]),
                sent_ms: at,
                accepted_ms: at,
                reached: HistoryReached::Untold,
                content,
            });
        }
        if chunk.walked == count {
            chunk.rest = HistoryRest::Done { count, digest };
        }
        let payload = keys.seal(number, &chunk, &mut world.rng).unwrap().into();
        let entry = NewEntry { id: keys.entry(number), class: Class::Normal, ttl_s: 0, payload, turn: None };
        transfer.push(entry, world.now.as_u64());
    }
    world.relay.logs.insert(keys.log(), transfer);
    offer(world, third, ANN, [5; 32], count);
    assert_eq!(completions(world, ANN), [count]);
    world.expel(ANN, third);
    world.disconnect(third);
    world.run();
    notes
}

// OS-03: `HISTORY_COUNT` says how many messages; 5 000 if nothing does.
#[test]
fn a_long_history_arrives_whole() {
    let count: u64 = std::env::var("HISTORY_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000);
    let (mut world, conversations) = talked(20, 20);
    let notes = many_notes(&mut world, count - 62);
    let new = world.enlist(ANN);
    world.connect(new);
    world.run();
    let (to, begun) = (device(&world, new), Instant::now());
    world.call(ANN, |client, now, rng| client.send_history(&to, now, rng)).unwrap();
    let mut cuts = 0;
    let mut first = None;
    while completions(&world, new).is_empty() {
        for _ in 0..10 {
            world.deliver_one();
            let has_come = |signal: &Signal| matches!(signal, Signal::HistoryProgress { done: 1.., .. });
            if first.is_none() && world.nodes[new].signals.iter().any(has_come) {
                first = Some(begun.elapsed());
            }
        }
        let node = [ANN, new][cuts % 2];
        world.crash(node);
        world.connect(node);
        cuts += 1;
        assert!(cuts < 100_000, "it gets nowhere");
        if cuts % 8 == 0 {
            world.run();
        }
    }
    world.connect_all();
    world.run();
    println!("{count} messages, {cuts} crashes: the first hundred after {first:?}, all after {:?}", begun.elapsed());
    println!("{} chunks", world.relay.logs[&transfer_log(&world)].entries.len());
    assert_eq!(completions(&world, new), [count]);
    for id in conversations.into_iter().chain([notes]) {
        assert!(shown(&world, new, id) == shown(&world, ANN, id));
    }
}
