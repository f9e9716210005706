//! Three devices each of two people, while entries and replies are lost with their connections, repeated and reordered,
//! processes die, clocks run on, and devices come and go. When it is over, all of them show one transcript
//! (spec/delivery, Many devices; A-FA-11).
//!
//! `UNDERTONE_FLEETS=1000 cargo test --test engine_fleet` plays more seeds than the few of an ordinary run, and
//! `UNDERTONE_FLEET=17` plays one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::time::Duration;

use rand::RngExt;
use sim::World;
use undertone::conversation::{ConversationId, ConversationState, Message};
use undertone::crypto::Secret32;
use undertone::engine::{Event, Input, Reason, Suspicion};
use undertone::envelope::LogKeys;
use undertone_wire::frame::{Class, NewEntry};
use undertone_wire::id::{EntryId, Generation, LogId};

/// Seeds of an ordinary run.
const SEEDS: u64 = 12;
/// What happens under one seed.
const ACTS: u32 = 90;
/// Alice's devices and Bob's, the primary ones first.
const ALICE: usize = 0;
const BOB: usize = 1;
const FLEET: usize = 6;

struct Story {
    world: World,
    id: ConversationId,
    said: u32,
    /// The device that a person adds in the middle, if it is there; and whether it was removed again.
    late: Option<usize>,
    is_late_removed: bool,
    /// How often somebody still turns the log to a gate of which nobody has the keys.
    garbage_left: u32,
    has_garbage: bool,
}

impl Story {
    /// Six devices that are online; nobody knows the other person.
    fn harbour() -> World {
        let mut world = World::of(31, &["alice", "bob"]);
        for _ in 0..2 {
            world.enlist(ALICE);
            world.enlist(BOB);
        }
        world.connect_all();
        world.run();
        world
    }

    fn new(harbour: &World, seed: u64) -> Self {
        let mut world = harbour.fork(seed);
        world.connect_all();
        let id = ConversationId::direct(&world.account(ALICE), &world.account(BOB));
        // From one device, or from several at once.
        for node in 0..FLEET {
            if node == ALICE || world.rng.random_bool(0.2) {
                world.befriend(node, (node + 1) % 2);
            }
        }
        for node in 0..FLEET {
            world.nodes[node].is_lazy = world.rng.random_bool(0.4);
        }
        Self { world, id, said: 0, late: None, is_late_removed: false, garbage_left: 0, has_garbage: false }
    }

    fn anybody(&mut self) -> usize {
        let count = self.world.nodes.len();
        self.world.rng.random_range(0..count)
    }

    fn act(&mut self) {
        let node = self.anybody();
        if self.garbage_left > 0 && self.world.rng.random_bool(0.05) {
            return self.turn_to_garbage(node);
        }
        match self.world.rng.random_range(0..100) {
            0..34 => self.deliver(),
            34..52 => self.speak(node),
            52..56 => self.read(node),
            56..64 => self.wait(),
            64..72 => self.reconnect(node),
            72..76 => self.world.crash(node),
            76..90 => self.world.sync(node),
            90..93 => self.turn(node),
            93..96 => self.repeat(node),
            96..98 => self.add_a_device(),
            _ => self.remove_it_again(),
        }
    }

    fn deliver(&mut self) {
        for _ in 0..self.world.rng.random_range(1..12) {
            self.world.deliver_one();
        }
    }

    fn speak(&mut self, node: usize) {
        let state = self.world.nodes[node].client.conversation(&self.id).map(|it| it.state);
        if matches!(state, Ok(ConversationState::Active | ConversationState::Opening)) {
            self.said += 1;
            let text = format!("{node}.{}", self.said);
            self.world.say(node, self.id, &text);
        }
    }

    fn read(&mut self, node: usize) {
        let id = self.id;
        let Ok(history) = self.world.nodes[node].client.history(&id, None, 10_000) else { return };
        if let Some(message) = history.iter().rfind(|message| message.place.is_some()) {
            let message = message.id;
            let _ = self.world.call(node, |client, now, rng| client.mark_read(&id, &message, now, rng));
        }
    }

    fn wait(&mut self) {
        let by = Duration::from_millis(self.world.rng.random_range(0..3_000));
        self.world.now = self.world.now.after(by);
        self.world.relay.now_ms = self.world.now.as_u64();
        for node in 0..self.world.nodes.len() {
            let is_due = self.world.nodes[node].timer.is_some_and(|at| at <= self.world.now);
            if is_due && self.world.nodes[node].is_connected {
                self.world.nodes[node].timer = None;
                self.world.input(node, Input::Timer);
            }
        }
    }

    /// What was on its way on the old connection is lost.
    fn reconnect(&mut self, node: usize) {
        if self.world.nodes[node].is_connected {
            self.world.disconnect(node);
        } else {
            self.world.connect(node);
        }
    }

    fn turn(&mut self, node: usize) {
        let id = self.id;
        let _ = self.world.call(node, |client, now, rng| client.turn_direct(&id, now, rng));
    }

    /// Somebody who has the append key turns the log of a device to garbage.
    fn turn_to_garbage(&mut self, node: usize) {
        let Ok(Some(log)) = self.world.nodes[node].client.log_of(&self.id) else { return };
        let (now_ms, rng) = (self.world.relay.now_ms, &mut self.world.rng);
        let Some(log) = self.world.relay.logs.get_mut(&log) else { return };
        let gate = LogKeys::derive(&Secret32::random(rng), LogId::from_bytes([0; 32]), Generation::FIRST).gate();
        let (id, payload) = (EntryId::from_bytes(rng.random()), vec![7; 1_100].into());
        log.push(NewEntry { id, class: Class::Control, ttl_s: 0, payload, turn: Some(gate) }, now_ms);
        self.world.relay.flow();
        self.garbage_left -= 1;
        self.has_garbage = true;
    }

    /// The relay shows again what it has shown, in any order.
    fn repeat(&mut self, node: usize) {
        if self.world.nodes[node].is_connected {
            let World { relay, rng, .. } = &mut self.world;
            relay.repeat(node, rng);
        }
    }

    fn add_a_device(&mut self) {
        if self.late.is_none() {
            let primary = self.world.rng.random_range(0..2);
            self.world.sync(primary);
            let late = self.world.enlist(primary);
            self.world.sync(primary);
            self.world.connect(late);
            self.late = Some(late);
        }
    }

    fn remove_it_again(&mut self) {
        if let Some(late) = self.late
            && !self.is_late_removed
        {
            let account = self.world.account(late);
            let primary = if account == self.world.account(ALICE) { ALICE } else { BOB };
            self.world.expel(primary, late);
            self.is_late_removed = true;
        }
    }

    fn calm_down(&mut self) {
        for node in 0..self.world.nodes.len() {
            self.world.nodes[node].is_lazy = false;
            self.world.sync(node);
        }
        self.world.connect_all();
        self.world.run();
        self.world.run();
    }

    /// Nothing was told but that the relay showed things out of their order, which it did; and by a device that came or
    /// went in the middle, what was sent before its keys were there.
    fn assert_nothing_odd(&self) {
        for (node, it) in self.world.nodes.iter().enumerate() {
            for event in it.told_once() {
                let is_odd = match event {
                    Event::Suspicion { suspicion, .. } => *suspicion != Suspicion::Skipped,
                    Event::Undecryptable { reason: Reason::Shell, .. } => !self.has_garbage,
                    Event::Undecryptable { reason, .. } => Some(node) != self.late || *reason != Reason::NotAddressed,
                    Event::Gap { .. } => Some(node) != self.late,
                    Event::Failed { .. } => true,
                    _ => false,
                };
                assert!(!is_odd, "node {node}: {event:?}");
            }
        }
    }

    fn check(&mut self) {
        let id = self.id;
        self.world.assert_nothing_twice();
        self.world.assert_no_nonce_twice();
        self.assert_nothing_odd();
        for node in 0..FLEET {
            let view = self.world.nodes[node].client.conversation(&id).unwrap();
            assert_eq!((view.state, view.unsent_count), (ConversationState::Active, 0), "node {node}");
            self.world.assert_same_history(ALICE, node, id);
        }
        let Some(late) = self.late else { return };
        // What the late one shows is the end of the transcript; or, if it was removed, a part of it.
        let ids = |world: &World, node| world.history(node, id).iter().map(|message| message.id).collect::<Vec<_>>();
        let (all, its) = (
            ids(&self.world, ALICE),
            match self.world.nodes[late].client.conversation(&id) {
                Ok(_) => ids(&self.world, late),
                Err(_) => Vec::new(),
            },
        );
        if self.is_late_removed {
            let placed: Vec<_> = self.world.nodes[late].client.history(&id, None, 10_000).unwrap_or_default();
            // What it said into a log that it began itself, before it knew that it was removed, nobody reads.
            let its_own = self.world.nodes[late].client.device();
            let is_alone = |it: &Message| self.has_garbage && it.device == its_own && !all.contains(&it.id);
            let placed: Vec<_> =
                placed.iter().filter(|it| it.place.is_some() && !is_alone(it)).map(|it| it.id).collect();
            assert!(all.windows(placed.len().max(1)).any(|window| window == placed) || placed.is_empty());
        } else {
            assert!(all.ends_with(&its), "{its:?} does not end {all:?}");
            self.world.say(late, id, "in at last");
            self.world.run();
            for node in 0..FLEET {
                assert_eq!(self.world.texts(node, id).last().unwrap(), "in at last", "node {node}");
            }
        }
    }
}

// A-FA-11, A-DM-13, A-DM-41; spec DEL-36, DEL-50, DEL-70, DEL-71, DEL-77, DM-45, DM-120.
#[test]
fn six_devices_of_two_people_end_with_one_transcript() {
    let harbour = Story::harbour();
    sim::play_seeds("UNDERTONE_FLEET", SEEDS, |seed| {
        let mut story = Story::new(&harbour, seed);
        for _ in 0..ACTS {
            story.act();
        }
        story.calm_down();
        story.check();
    });
}

// spec DEL-50, DEL-85, DEL-86: the same, while somebody turns their logs to garbage.
#[test]
fn six_devices_whose_logs_are_turned_to_garbage_end_with_one_transcript() {
    let harbour = Story::harbour();
    sim::play_seeds("UNDERTONE_GARBAGE_FLEET", SEEDS, |seed| {
        let mut story = Story::new(&harbour, seed);
        story.garbage_left = 3;
        for _ in 0..ACTS {
            story.act();
        }
        story.garbage_left = 0;
        story.calm_down();
        story.check();
        let logs: Vec<_> = (0..FLEET).map(|node| story.world.nodes[node].client.log_of(&story.id).unwrap()).collect();
        assert!(logs.iter().all(|log| *log == logs[0]), "one log");
    });
}
