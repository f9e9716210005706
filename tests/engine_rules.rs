//! Steps and sending, rule by rule (spec/delivery).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sim::World;
use undertone::content::Content;
use undertone::conversation::{ConversationId, MessageStatus};
use undertone::engine::{Client, Event, EventId, Input, Output, StepId, Suspicion};
use undertone::store::{Direction, MemoryStore, Row, Store, StoreError, StoreView, Table, Value};
use undertone::{Error, ErrorKind};
use undertone_wire::frame::{Append, ClientFrame, NewEntry, RelayFrame, Reply, Request};
use undertone_wire::id::{LogId, RequestId};
use undertone_wire::refusal::Refusal;

/// Alice and bob, who know each other and have said one thing each.
fn friends(seed: u64) -> (World, ConversationId) {
    let mut world = World::of(seed, &["alice", "bob"]);
    let id = world.befriend(0, 1);
    world.say(0, id, "first of alice");
    world.run();
    world.say(1, id, "first of bob");
    world.run();
    (world, id)
}

/// A group of alice, bob and carol.
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

/// Says something without doing anything that the client wants done for it.
fn say_only(world: &mut World, node: usize, id: ConversationId, text: &str) {
    let content = Content::text(text, &mut world.rng).unwrap();
    world.nodes[node].client.send(&id, &content, world.now, &mut world.rng).unwrap();
}

fn poll_all(world: &mut World, node: usize) -> Vec<Output> {
    std::iter::from_fn(|| world.nodes[node].client.poll())
        .filter(|output| !matches!(output, Output::Timer(_)))
        .collect()
}

fn commit(world: &World, node: usize, output: &Output) -> StepId {
    let Output::Persist(step, batch) = output else { panic!("{output:?}") };
    world.nodes[node].store.commit(batch).unwrap();
    *step
}

fn input_only(world: &mut World, node: usize, input: Input<'_>) {
    world.nodes[node].client.handle(input, world.now, &mut world.rng).unwrap();
}

/// Delivers to one client everything but what `is_held` says, which is returned.
fn deliver_except(world: &mut World, node: usize, is_held: impl Fn(&RelayFrame) -> bool) -> Vec<Vec<u8>> {
    let mut held = Vec::new();
    while let Some(frame) = world.relay.pop(node) {
        if is_held(&RelayFrame::decode(&frame).unwrap()) {
            held.push(frame);
        } else {
            world.input(node, Input::Frame(&frame));
        }
    }
    held
}

fn deliver(world: &mut World, node: usize, frames: Vec<Vec<u8>>) {
    for frame in frames {
        world.input(node, Input::Frame(&frame));
    }
}

fn is_entries_of(log: LogId) -> impl Fn(&RelayFrame) -> bool {
    move |frame| matches!(frame, RelayFrame::Entries { log: of, .. } if *of == log)
}

fn appends(world: &World, node: usize) -> Vec<Append> {
    world.nodes[node].appends()
}

/// The number of the last request.
fn last_request(world: &World, node: usize) -> RequestId {
    ClientFrame::decode(world.nodes[node].frames_sent.last().unwrap()).unwrap().request
}

fn refuse_last(world: &mut World, node: usize, refusal: Refusal) {
    let request = last_request(world, node);
    let frame = RelayFrame::Reply { request, reply: Reply::Refused(refusal) }.encode();
    world.input(node, Input::Frame(&frame));
}

fn log_of(world: &World, id: ConversationId) -> LogId {
    world.nodes[0].client.log_of(&id).unwrap().unwrap()
}

fn advance(world: &mut World, ms: u64) {
    world.now = world.now.after(Duration::from_millis(ms));
    world.relay.now_ms = world.now.as_u64();
}

fn turn_count(world: &World, id: ConversationId) -> usize {
    world.relay.logs[&log_of(world, id)].entries.iter().filter(|entry| entry.turn.is_some()).count()
}

// spec DEL-01
#[test]
fn frames_and_events_wait_for_their_batch_and_for_all_before_it() {
    let (mut world, id) = friends(1);
    say_only(&mut world, 0, id, "one");
    let first = poll_all(&mut world, 0);
    assert!(matches!(first[..], [Output::Persist(..)]), "{first:?}");
    say_only(&mut world, 0, id, "two");
    // A frame of the relay whose step tells something: a message of bob.
    world.say(1, id, "from bob");
    let frame = world.relay.pop(0).unwrap();
    input_only(&mut world, 0, Input::Frame(&frame));
    let later = poll_all(&mut world, 0);
    assert!(later.iter().all(|output| matches!(output, Output::Persist(..))), "{later:?}");
    assert_eq!(later.len(), 2);
    assert_eq!(poll_all(&mut world, 0).len(), 0, "nothing goes out in the meantime");
    let step = commit(&world, 0, &first[0]);
    input_only(&mut world, 0, Input::Persisted(step));
    let of_the_first = poll_all(&mut world, 0);
    assert!(matches!(of_the_first[..], [Output::Transmit(_)]), "{of_the_first:?}");
    let steps: Vec<StepId> = later.iter().map(|output| commit(&world, 0, output)).collect();
    // The last says it for both.
    input_only(&mut world, 0, Input::Persisted(steps[1]));
    let rest = poll_all(&mut world, 0);
    assert!(rest.iter().any(|output| matches!(output, Output::Event(_, Event::Message(_)))), "{rest:?}");
}

// spec DEL-01: a step that writes nothing waits for those before it that did
#[test]
fn a_step_without_a_batch_waits_for_those_before_it() {
    let (mut world, id) = friends(2);
    world.disconnect(0);
    say_only(&mut world, 0, id, "one");
    let persist = poll_all(&mut world, 0);
    world.relay.connect(0);
    let hello = world.relay.pop(0).unwrap();
    input_only(&mut world, 0, Input::Connected);
    input_only(&mut world, 0, Input::Frame(&hello));
    let early = poll_all(&mut world, 0);
    assert!(!early.iter().any(|output| matches!(output, Output::Transmit(_))), "{early:?}");
    let step = commit(&world, 0, &persist[0]);
    input_only(&mut world, 0, Input::Persisted(step));
    let outputs = poll_all(&mut world, 0);
    assert!(outputs.iter().any(|output| matches!(output, Output::Transmit(_))), "{outputs:?}");
}

// spec DEL-02
#[test]
fn what_was_held_for_a_connection_dies_with_it() {
    for is_durable_before in [true, false] {
        let (mut world, id) = friends(2);
        say_only(&mut world, 0, id, "one");
        let persist = std::iter::from_fn(|| world.nodes[0].client.poll()).next().unwrap();
        let step = commit(&world, 0, &persist);
        world.relay.disconnect(0);
        if is_durable_before {
            input_only(&mut world, 0, Input::Persisted(step));
            input_only(&mut world, 0, Input::Disconnected);
        } else {
            input_only(&mut world, 0, Input::Disconnected);
            input_only(&mut world, 0, Input::Persisted(step));
        }
        let outputs = poll_all(&mut world, 0);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Transmit(_))), "{outputs:?}");
        input_only(&mut world, 0, Input::Connected);
        let outputs = poll_all(&mut world, 0);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Transmit(_))), "before the relay has spoken");
        world.nodes[0].is_connected = false;
        world.disconnect(0);
        world.connect(0);
        world.run();
        assert_eq!(world.told(1), ["first of alice", "one"], "and it is sent on the next connection, once");
    }
}

// spec DEL-03
#[test]
fn events_are_told_again_until_they_are_taken() {
    let (mut world, id) = friends(3);
    let told: Vec<(EventId, Event)> = world.nodes[1].events.clone();
    assert!(told.len() >= 4);
    assert!(told.is_sorted_by(|(left, _), (right, _)| left < right), "rising");
    for done in 0..told.len() {
        world.nodes[1].events.clear();
        world.crash(1);
        let ids = |events: &[(EventId, Event)]| events.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(&world.nodes[1].events), ids(&told[done..]), "told again after a restart");
        let through = told[done].0;
        world.call(1, |client, now, rng| client.events_done(through, now, rng)).unwrap();
    }
    world.nodes[1].events.clear();
    world.crash(1);
    assert_eq!(world.nodes[1].events, []);
    world.connect(1);
    world.say(0, id, "another");
    world.run();
    assert!(world.nodes[1].events.iter().all(|(id, _)| *id > told.last().unwrap().0), "no id is used again");
}

/// A store that fails when it is told to.
#[derive(Clone)]
struct Flaky {
    rows: MemoryStore,
    fails: Rc<Cell<bool>>,
}

impl StoreView for Flaky {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if self.fails.get() { Err(StoreError::Medium) } else { self.rows.get(table, key) }
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if self.fails.get() { Err(StoreError::Medium) } else { self.rows.scan(table, from, to, order, limit) }
    }
}

// spec DEL-04
#[test]
fn after_a_failure_of_the_store_every_call_is_refused() {
    let (world, id) = friends(4);
    let (now, mut rng) = (world.now, StdRng::seed_from_u64(4));
    let content = Content::text("lost", &mut rng).unwrap();
    for fails_in_a_step in [true, false] {
        let rows = world.nodes[0].store.snapshot();
        let fails = Rc::new(Cell::new(false));
        let store = Flaky { rows: rows.clone(), fails: Rc::clone(&fails) };
        let mut client = Client::open(store, now, &mut rng).unwrap().unwrap();
        while client.poll().is_some() {}
        client.send(&id, &content, now, &mut rng).unwrap();
        fails.set(true);
        let failed = if fails_in_a_step {
            client.send(&id, &content, now, &mut rng).map(|_| ())
        } else {
            client.history(&id, None, 10).map(|_| ())
        };
        assert_eq!(failed, Err(Error::Store(StoreError::Medium)));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Storage);
        fails.set(false);
        let poisoned = Error::Poisoned;
        assert!(client.poll().is_none(), "nothing is handed out, not even what was queued before");
        assert_eq!(client.handle(Input::Connected, now, &mut rng), Err(poisoned));
        assert_eq!(client.handle(Input::Timer, now, &mut rng), Err(poisoned));
        assert_eq!(client.send(&id, &content, now, &mut rng), Err(poisoned));
        assert_eq!(client.conversations(), Err(poisoned));
        assert_eq!(client.history(&id, None, 1), Err(poisoned));
        assert_eq!(client.invitation().map(|_| ()), Err(poisoned));
        assert_eq!(client.relay_url(), Err(poisoned));
        let mut again = Client::open(rows, now, &mut rng).unwrap().unwrap();
        again.send(&id, &content, now, &mut rng).unwrap();
    }
}

// spec DEL-10, DEL-11: died before anything was transmitted, before it arrived, and before the answer came
#[test]
fn what_was_sealed_is_sent_again_byte_for_byte() {
    for case in 0..3 {
        let (mut world, id) = friends(5);
        let before = appends(&world, 0).len();
        if case == 0 {
            say_only(&mut world, 0, id, "one");
            let persist = poll_all(&mut world, 0);
            commit(&world, 0, &persist[0]);
        } else {
            if case == 1 {
                world.relay.disconnect(0);
            }
            world.say(0, id, "one");
        }
        let sealed_rows = world.nodes[0].store.rows(Table::Outbox);
        assert_eq!(sealed_rows.len(), 1);
        world.crash(0);
        world.connect(0);
        world.run();
        let sent = appends(&world, 0).split_off(before);
        let ours: Vec<&NewEntry> = sent.iter().flat_map(|append| &append.entries).collect();
        assert!(ours.iter().filter(|entry| entry.id == ours[0].id).all(|entry| *entry == ours[0]), "the same bytes");
        let payload = ours[0].payload.as_slice();
        let stood = sealed_rows[0].1.windows(payload.len()).any(|window| window == payload);
        assert!(stood, "what is sent is what was durable before the first attempt");
        assert_eq!(world.told(1), ["first of alice", "one"]);
        world.assert_nothing_odd();
        world.assert_no_nonce_twice();
    }
}

// spec DEL-12, DEL-14: bob turns the log while alice sends; her message is sealed anew under the same id and number
#[test]
fn a_row_is_sealed_anew_only_when_the_turn_has_been_read() {
    let (mut world, id) = friends(6);
    let log = log_of(&world, id);
    world.call(1, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    let before = appends(&world, 0).len();
    world.say(0, id, "crossing");
    let held = deliver_except(&mut world, 0, is_entries_of(log));
    assert!(!held.is_empty());
    let first = appends(&world, 0)[before].entries[0].clone();
    for _ in 0..20 {
        advance(&mut world, 10_000);
        world.input(0, Input::Timer);
        let more = deliver_except(&mut world, 0, is_entries_of(log));
        drop(more);
    }
    for append in &appends(&world, 0)[before..] {
        assert_eq!(append.entries[0], first, "nothing is sealed anew on the word of a refusal");
    }
    let sent = appends(&world, 0).len();
    deliver(&mut world, 0, held);
    world.run();
    let anew: Vec<Append> = appends(&world, 0).split_off(sent);
    let same: Vec<&NewEntry> =
        anew.iter().flat_map(|append| &append.entries).filter(|entry| entry.id == first.id).collect();
    assert!(!same.is_empty(), "under the same entry id");
    assert!(same.iter().all(|entry| entry.payload != first.payload), "sealed for the new generation");
    world.say(0, id, "next");
    world.run();
    assert_eq!(world.told(1), ["first of alice", "crossing", "next"]);
    world.assert_nothing_odd();
    world.assert_no_nonce_twice();
}

// spec DEL-14: many rows, turns and restarts, and no number is left out or used twice
#[test]
fn sequence_numbers_have_no_holes() {
    for seed in 0..4 {
        let (mut world, id) = friends(seed);
        let mut expected = vec!["first of alice".to_owned()];
        for round in 0..6 {
            if round % 3 == 1 {
                world.call(1, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
            }
            for at in 0..3 {
                let text = format!("{round} {at}");
                world.say(0, id, &text);
                expected.push(text);
                if at == round % 3 {
                    world.crash(0);
                    world.connect(0);
                    world.deliver_one();
                }
            }
        }
        world.run();
        assert_eq!(world.told(1), expected);
        world.assert_nothing_odd();
        world.assert_no_nonce_twice();
    }
}

// spec DEL-13: a relay that does not answer
#[test]
fn one_append_to_a_log_is_in_flight() {
    let (mut world, id) = friends(7);
    let before = appends(&world, 0).len();
    let is_appended = |frame: &RelayFrame| matches!(frame, RelayFrame::Reply { reply: Reply::Appended { .. }, .. });
    let mut held = Vec::new();
    for at in 0..5 {
        world.say(0, id, &format!("{at}"));
        held.extend(deliver_except(&mut world, 0, is_appended));
        advance(&mut world, 60_000);
        world.input(0, Input::Timer);
    }
    assert_eq!(appends(&world, 0).len() - before, 1, "however long it takes");
    deliver(&mut world, 0, held);
    let second = appends(&world, 0).split_off(before + 1);
    assert_eq!(second.iter().map(|append| append.entries.len()).collect::<Vec<_>>(), [4], "the rest in one");
    world.run();
    assert_eq!(world.told(1), ["first of alice", "0", "1", "2", "3", "4"]);
}

// spec DEL-13: neither before what the relay has named when proving, nor before what it has named when accepting
#[test]
fn nothing_is_appended_before_what_stands_is_read() {
    let (mut world, id) = friends(8);
    let log = log_of(&world, id);
    world.disconnect(0);
    world.say(1, id, "unread");
    world.say(0, id, "answer");
    let before = appends(&world, 0).len();
    world.connect(0);
    let mut held = deliver_except(&mut world, 0, is_entries_of(log));
    assert!(!held.is_empty());
    assert_eq!(appends(&world, 0).len(), before, "bob's message is not read yet");
    deliver(&mut world, 0, std::mem::take(&mut held));
    assert_eq!(appends(&world, 0).len(), before + 1);
    let held = deliver_except(&mut world, 0, is_entries_of(log));
    world.say(0, id, "and more");
    assert_eq!(appends(&world, 0).len(), before + 1, "its own entry is not read yet");
    deliver(&mut world, 0, held);
    assert_eq!(appends(&world, 0).len(), before + 2);
    world.run();
    assert_eq!(world.texts(0, id), world.texts(1, id));
}

// spec DEL-13, DEL-18: several changes at once follow each other
#[test]
fn commits_queued_together_are_all_made() {
    let (mut world, id) = group(9);
    let carol = world.account(2);
    world.call(0, |client, now, rng| client.rename_group(&id, "one", now, rng)).unwrap();
    world.call(0, |client, now, rng| client.rename_group(&id, "two", now, rng)).unwrap();
    world.say(0, id, "between");
    world.call(0, |client, now, rng| client.remove_members(&id, &[carol], now, rng)).unwrap();
    world.call(0, |client, now, rng| client.rename_group(&id, "three", now, rng)).unwrap();
    world.run();
    let conversation = world.nodes[1].client.conversation(&id).unwrap();
    assert_eq!((conversation.name.as_str(), conversation.members.len()), ("three", 2));
    assert_eq!(world.told(2), ["between"]);
    world.assert_nothing_odd();
}

// spec DEL-15
#[test]
fn delays_between_attempts_double_from_a_quarter_second_to_half_a_minute() {
    let mut shares = Vec::new();
    for seed in 0..24 {
        let (mut world, id) = friends(seed);
        world.relay.disconnect(0);
        world.say(0, id, "again and again");
        let bytes = appends(&world, 0).last().unwrap().clone();
        let asked_ms = 500 * (seed % 3);
        for attempt in 0..12 {
            let sent = appends(&world, 0).len();
            world.nodes[0].timer = None;
            refuse_last(&mut world, 0, Refusal::RateLimited { retry_after_ms: asked_ms as u32 });
            let delay_ms = world.nodes[0].timer.unwrap().as_u64() - world.now.as_u64();
            let ceiling_ms = (250 << attempt).min(30_000);
            assert!((asked_ms..=asked_ms + ceiling_ms).contains(&delay_ms), "{delay_ms} in attempt {attempt}");
            shares.push((delay_ms - asked_ms) as f64 / ceiling_ms as f64);
            if delay_ms > 0 {
                advance(&mut world, delay_ms - 1);
                world.input(0, Input::Timer);
                assert_eq!(appends(&world, 0).len(), sent, "not before its time");
                advance(&mut world, 1);
            }
            world.input(0, Input::Timer);
            assert_eq!(appends(&world, 0).len(), sent + 1);
            assert_eq!(appends(&world, 0).last().unwrap(), &bytes, "the same bytes");
        }
    }
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((0.4..0.6).contains(&mean), "drawn evenly from zero, but the mean is {mean}");
    assert!(shares.iter().any(|share| *share < 0.1) && shares.iter().any(|share| *share > 0.9));
}

// spec DEL-15: a relay that grants every right and then denies that it did, and one that names turns which are none
#[test]
fn a_relay_that_contradicts_itself_is_not_asked_without_end() {
    for is_stale in [false, true] {
        let (mut world, id) = friends(10);
        let log = log_of(&world, id);
        let (generation, turned_at) = (world.relay.logs[&log].generation(), world.relay.logs[&log].entries[0].seq);
        world.say(0, id, "never");
        let mut attempts = 0;
        let end = world.now.after(Duration::from_secs(60));
        while world.now < end {
            while let Some(frame) = world.relay.pop(0) {
                let RelayFrame::Reply { request, reply: Reply::Appended { .. } } = RelayFrame::decode(&frame).unwrap()
                else {
                    if !is_entries_of(log)(&RelayFrame::decode(&frame).unwrap()) {
                        world.input(0, Input::Frame(&frame));
                    }
                    continue;
                };
                attempts += 1;
                world.relay.logs.get_mut(&log).unwrap().lose_last();
                assert!(attempts < 1_000, "without a pause");
                let refusal = if is_stale { Refusal::Stale { generation, turned_at } } else { Refusal::NotProven };
                let frame = RelayFrame::Reply { request, reply: Reply::Refused(refusal) }.encode();
                world.input(0, Input::Frame(&frame));
            }
            world.now = world.nodes[0].timer.unwrap().max(world.now.after(Duration::from_millis(1)));
            world.input(0, Input::Timer);
        }
        assert!((3..60).contains(&attempts), "{attempts} attempts in a minute");
    }
}

// spec DEL-15: what is asked besides appending
#[test]
fn lookups_wait_between_attempts_too() {
    for seed in 0..12 {
        let mut world = World::of(seed, &["alice", "bob"]);
        world.relay.disconnect(0);
        world.befriend(0, 1);
        for attempt in 0..9 {
            assert!(matches!(world.requests(0).last(), Some(Request::Take { .. })));
            let sent = world.nodes[0].frames_sent.len();
            world.nodes[0].timer = None;
            refuse_last(&mut world, 0, Refusal::Unknown);
            assert_eq!(world.nodes[0].frames_sent.len(), sent);
            let delay_ms = world.nodes[0].timer.unwrap().as_u64() - world.now.as_u64();
            assert!(delay_ms <= (250 << attempt).min(30_000), "{delay_ms} in attempt {attempt}");
            advance(&mut world, delay_ms);
            world.input(0, Input::Timer);
            assert_eq!(world.nodes[0].frames_sent.len(), sent + 1);
        }
    }
}

// spec DEL-15: a proof that is refused is made again
#[test]
fn a_refused_proof_is_made_again_after_a_while() {
    let (mut world, id) = friends(11);
    world.disconnect(0);
    world.say(1, id, "while you were away");
    world.connect(0);
    let hello = world.relay.pop(0).unwrap();
    world.input(0, Input::Frame(&hello));
    while let Some(frame) = world.relay.pop(0) {
        match RelayFrame::decode(&frame).unwrap() {
            RelayFrame::Reply { request, reply: Reply::Proven { .. } } => {
                let refusal = Refusal::RateLimited { retry_after_ms: 100 };
                let frame = RelayFrame::Reply { request, reply: Reply::Refused(refusal) }.encode();
                world.input(0, Input::Frame(&frame));
            }
            RelayFrame::Entries { .. } => {}
            _ => world.input(0, Input::Frame(&frame)),
        }
    }
    assert_eq!(world.told(0), ["first of bob"]);
    world.run();
    assert_eq!(world.told(0), ["first of bob", "while you were away"]);
}

// spec DEL-16
#[test]
fn what_the_relay_accepted_and_lost_is_sent_again() {
    let (mut world, id) = friends(12);
    let log = log_of(&world, id);
    let before = appends(&world, 0).len();
    world.say(0, id, "accepted");
    drop(deliver_except(&mut world, 0, is_entries_of(log)));
    assert_eq!(world.nodes[0].store.rows(Table::Outbox).len(), 1, "kept until the log shows it");
    assert_eq!(world.history(0, id).last().unwrap().status, MessageStatus::Sent);
    assert_eq!(world.nodes[0].client.conversation(&id).unwrap().unsent_count, 0);
    for node in 0..2 {
        world.disconnect(node);
    }
    let lost = world.relay.logs.get_mut(&log).unwrap().lose_last().unwrap();
    world.relay.reincarnate();
    for node in 0..2 {
        world.connect(node);
    }
    world.run();
    let sent = appends(&world, 0).split_off(before);
    let again: Vec<&NewEntry> =
        sent.iter().flat_map(|append| &append.entries).filter(|entry| entry.id == lost.id).collect();
    assert!(again.len() >= 2 && again.iter().all(|entry| *entry == again[0]), "unchanged");
    assert_eq!(world.told(1), ["first of alice", "accepted"]);
    assert_eq!(world.nodes[0].store.rows(Table::Outbox).len(), 0);
}

// spec DEL-16: without a new incarnation an accepted row is not sent again, it is waited for
#[test]
fn an_accepted_row_is_waited_for() {
    let (mut world, id) = friends(13);
    let log = log_of(&world, id);
    world.say(0, id, "accepted");
    drop(deliver_except(&mut world, 0, is_entries_of(log)));
    let sent = appends(&world, 0).len();
    world.crash(0);
    world.connect(0);
    world.run();
    assert_eq!(appends(&world, 0).len(), sent);
    assert_eq!(world.texts(0, id).last().unwrap(), "accepted");
    world.assert_nothing_twice();
}

fn replaced(world: &World, node: usize) -> usize {
    let is_replaced = |event: &Event| matches!(event, Event::Suspicion { suspicion: Suspicion::Replaced, .. });
    world.events(node).iter().filter(|event| is_replaced(event)).count()
}

// spec DEL-17
#[test]
fn an_entry_under_our_id_with_other_bytes_is_not_ours() {
    let (mut world, id) = friends(14);
    let log = log_of(&world, id);
    world.relay.disconnect(0);
    world.say(0, id, "the real one");
    let mut forged = appends(&world, 0).last().unwrap().entries[0].clone();
    let name = forged.id;
    forged.payload = vec![9; forged.payload.as_slice().len()].into();
    let now_ms = world.relay.now_ms;
    world.relay.logs.get_mut(&log).unwrap().push(forged, now_ms);
    world.disconnect(0);
    world.connect(0);
    world.run();
    assert_eq!(replaced(&world, 0), 1, "the application is told");
    let last = appends(&world, 0).into_iter().rfind(|append| append.entries.iter().all(|entry| entry.id != name));
    assert!(last.is_some(), "under another id");
    assert_eq!(world.texts(0, id).last().unwrap(), "the real one");
    assert_eq!(world.told(1), ["first of alice", "the real one"]);
    world.assert_nothing_twice();
}

// spec DEL-17: the payload is ours, and the turn is not
#[test]
fn a_commit_whose_turn_was_taken_off_is_not_taken_for_ours() {
    let (mut world, id) = group(15);
    let log = log_of(&world, id);
    world.relay.disconnect(0);
    world.call(0, |client, now, rng| client.rename_group(&id, "long walks", now, rng)).unwrap();
    let mut forged = appends(&world, 0).last().unwrap().entries[0].clone();
    assert!(forged.turn.take().is_some());
    let now_ms = world.relay.now_ms;
    world.relay.logs.get_mut(&log).unwrap().push(forged, now_ms);
    world.disconnect(0);
    world.connect(0);
    world.run();
    assert_eq!(replaced(&world, 0), 1);
    for node in 0..3 {
        assert_eq!(world.nodes[node].client.conversation(&id).unwrap().name, "long walks", "made again: node {node}");
    }
    world.say(0, id, "and it goes on");
    world.run();
    assert_eq!(world.told(2), ["and it goes on"]);
}

/// Carol asks to leave, and her proposal has been read by both others.
fn carol_leaves(world: &mut World, id: ConversationId) {
    world.call(2, |client, now, rng| client.leave_group(&id, now, rng)).unwrap();
    while world.deliver_one() {}
}

// spec DEL-18: both survivors commit at once
#[test]
fn of_two_commits_one_wins_and_the_other_is_examined_anew() {
    for seed in 0..6 {
        let (mut world, id) = group(seed);
        let turns = turn_count(&world, id);
        carol_leaves(&mut world, id);
        advance(&mut world, 2_000);
        world.input(0, Input::Timer);
        world.input(1, Input::Timer);
        let commits = |world: &World, node| {
            appends(world, node)
                .iter()
                .flat_map(|append| append.entries.clone())
                .filter(|entry| entry.turn.is_some())
                .count()
        };
        assert!(commits(&world, 0) >= 1 && commits(&world, 1) == 1, "both have committed");
        world.run();
        assert_eq!(turn_count(&world, id), turns + 1, "one has won, and nothing was left to commit");
        for node in 0..2 {
            assert_eq!(world.nodes[node].client.conversation(&id).unwrap().members.len(), 2);
            assert_eq!(world.nodes[node].store.rows(Table::Outbox).len(), 0);
            world.say(node, id, &format!("{node}"));
            world.run();
        }
        assert_eq!(world.texts(0, id), ["0", "1"]);
        assert_eq!(world.texts(1, id), ["0", "1"]);
        world.assert_nothing_odd();
    }
}

// spec DEL-18: the loser wanted something else, and still gets it
#[test]
fn an_intent_survives_the_race_that_its_commit_lost() {
    let (mut world, id) = group(16);
    carol_leaves(&mut world, id);
    advance(&mut world, 2_000);
    world.input(1, Input::Timer);
    world.call(0, |client, now, rng| client.rename_group(&id, "long walks", now, rng)).unwrap();
    world.say(0, id, "hello");
    world.run();
    for node in 0..2 {
        let conversation = world.nodes[node].client.conversation(&id).unwrap();
        assert_eq!((conversation.name.as_str(), conversation.members.len()), ("long walks", 2));
    }
    assert_eq!(world.told(1), ["hello"]);
    world.assert_nothing_odd();
}

// spec DEL-19: who has something to send commits first; carol reads nothing of it
#[test]
fn no_message_is_sealed_while_a_proposal_waits() {
    let (mut world, id) = group(17);
    carol_leaves(&mut world, id);
    let before = appends(&world, 1).len();
    world.say(1, id, "after carol");
    let first = &appends(&world, 1)[before];
    assert_eq!(first.entries.len(), 1);
    assert!(first.entries[0].turn.is_some(), "the commit goes first, at once");
    world.run();
    let rest: Vec<Append> = appends(&world, 1).split_off(before + 1);
    assert!(rest.iter().all(|append| append.generation > first.generation), "the message in the next generation");
    assert_eq!(world.told(0), ["after carol"]);
    assert_eq!(world.told(2), Vec::<String>::new());
    world.assert_nothing_odd();
}

// spec DEL-19: who has nothing to send waits up to two seconds
#[test]
fn a_proposal_is_committed_after_a_jitter() {
    let mut delays = Vec::new();
    for seed in 0..16 {
        let (mut world, id) = group(seed);
        world.disconnect(0);
        carol_leaves(&mut world, id);
        let before = appends(&world, 1).len();
        let delay_ms = world.nodes[1].timer.unwrap().as_u64() - world.now.as_u64();
        assert!(delay_ms <= 2_000, "{delay_ms}");
        delays.push(delay_ms);
        world.input(1, Input::Timer);
        assert_eq!(appends(&world, 1).len(), before + usize::from(delay_ms == 0), "not before its time");
        advance(&mut world, delay_ms);
        world.input(1, Input::Timer);
        assert_eq!(appends(&world, 1).len(), before + 1);
    }
    delays.sort_unstable();
    assert!(delays[0] < 1_000 && delays[15] > 1_000, "drawn: {delays:?}");
}
