//! Storms: people talk, react, join, leave and rename while connections break, processes die and frames come late. When it
//! is over, everybody has the same (A-FA-11, A-GR-10, A-GR-15).
//!
//! `UNDERTONE_STORMS=500 cargo test --test engine_storm` plays more seeds than the few of an ordinary run, and
//! `UNDERTONE_STORM=17` plays one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use sim::World;
use undertone::content::Content;
use undertone::conversation::{Conversation, ConversationId, ConversationKind, ConversationState};
use undertone::engine::{Event, Input};
use undertone::identity::AccountId;
use undertone_wire::id::Seq;

/// Storms of an ordinary run.
const SEEDS: u64 = 12;
/// What happens in one.
const ACTS: u32 = 150;
/// Who makes the group; the one owner, who stays.
const OWNER: usize = 0;

struct Storm {
    world: World,
    group: ConversationId,
    said: u32,
}

impl Storm {
    /// Four people, some of whom know each other, and a group of three.
    fn calm() -> World {
        let mut world = World::of(21, &["alice", "bob", "carol", "dave"]);
        for other in 1..4 {
            world.befriend(OWNER, other);
        }
        world.run();
        let [bob, carol] = [1, 2].map(|node| world.nodes[node].client.account());
        world.call(OWNER, |client, now, rng| client.create_group("storm", &[bob, carol], now, rng)).unwrap();
        world.run();
        world
    }

    fn new(calm: &World, seed: u64) -> Self {
        let mut world = calm.fork(seed);
        let conversations = world.nodes[OWNER].client.conversations().unwrap();
        let group = conversations.iter().find(|it| it.kind == ConversationKind::Group).unwrap().id;
        world.connect_all();
        for node in 0..world.nodes.len() {
            world.nodes[node].is_lazy = world.rng.random_bool(0.5);
        }
        Self { world, group, said: 0 }
    }

    fn anybody(&mut self) -> usize {
        let count = self.world.nodes.len();
        self.world.rng.random_range(0..count)
    }

    /// A conversation in which somebody is.
    fn any_conversation(&mut self, node: usize) -> Option<Conversation> {
        let conversations = self.world.nodes[node].client.conversations().unwrap();
        let mut open: Vec<_> = conversations
            .into_iter()
            .filter(|it| matches!(it.state, ConversationState::Active | ConversationState::Opening))
            .collect();
        if open.is_empty() {
            return None;
        }
        let at = self.world.rng.random_range(0..open.len());
        Some(open.swap_remove(at))
    }

    /// One thing happens. What is refused as misuse is not done.
    fn act(&mut self) {
        let node = self.anybody();
        match self.world.rng.random_range(0..100) {
            0..25 => self.deliver(),
            25..45 => self.speak(node),
            45..50 => self.read(node),
            50..58 => self.wait(),
            58..64 => self.reconnect(node),
            64..68 => self.world.crash(node),
            68..80 => self.world.sync(node),
            80..82 => self.meet(node),
            82..84 => self.turn(node),
            84..86 => self.take_events(node),
            _ => self.change_group(node),
        }
    }

    fn deliver(&mut self) {
        for _ in 0..self.world.rng.random_range(1..8) {
            self.world.deliver_one();
        }
    }

    fn speak(&mut self, node: usize) {
        let Some(conversation) = self.any_conversation(node) else { return };
        self.said += 1;
        let text = format!("{node}.{}", self.said);
        let content = match self.world.history(node, conversation.id).last() {
            Some(last) if self.said.is_multiple_of(5) => Content::reaction(last.id, "🌧", &mut self.world.rng).unwrap(),
            _ => Content::text(&text, &mut self.world.rng).unwrap(),
        };
        let id = conversation.id;
        self.world.call(node, |client, now, rng| client.send(&id, &content, now, rng)).unwrap();
    }

    fn read(&mut self, node: usize) {
        let Some(conversation) = self.any_conversation(node) else { return };
        let history = self.world.history(node, conversation.id);
        if let Some(message) = history.iter().rfind(|message| message.place.is_some()) {
            let (id, message) = (conversation.id, message.id);
            self.world.call(node, |client, now, rng| client.mark_read(&id, &message, now, rng)).unwrap();
        }
    }

    /// Time passes, and timers fire.
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

    fn reconnect(&mut self, node: usize) {
        if self.world.nodes[node].is_connected {
            self.world.disconnect(node);
        } else {
            self.world.connect(node);
        }
    }

    fn meet(&mut self, node: usize) {
        let other = self.anybody();
        if other != node {
            self.world.befriend(node, other);
        }
    }

    fn turn(&mut self, node: usize) {
        let Some(conversation) = self.any_conversation(node) else { return };
        let _ = self.world.call(node, |client, now, rng| client.turn_direct(&conversation.id, now, rng));
    }

    fn take_events(&mut self, node: usize) {
        if let Some((last, _)) = self.world.nodes[node].events.last().cloned() {
            self.world.call(node, |client, now, rng| client.events_done(last, now, rng)).unwrap();
        }
    }

    fn change_group(&mut self, node: usize) {
        let id = self.group;
        let account = self.world.nodes[node].client.account();
        match self.world.rng.random_range(0..6) {
            0..2 => {
                let _ = self.world.call(OWNER, |client, now, rng| client.add_members(&id, &[account], now, rng));
            }
            2 => {
                let _ = self.world.call(OWNER, |client, now, rng| client.remove_members(&id, &[account], now, rng));
            }
            3 if node != OWNER => {
                let _ = self.world.call(node, |client, now, rng| client.leave_group(&id, now, rng));
            }
            4 => {
                self.said += 1;
                let name = format!("storm {}", self.said);
                let _ = self.world.call(OWNER, |client, now, rng| client.rename_group(&id, &name, now, rng));
            }
            _ => {}
        }
    }

    /// The wind goes down: everybody comes online, and what is under way arrives.
    fn subside(&mut self) {
        for node in 0..self.world.nodes.len() {
            self.world.nodes[node].is_lazy = false;
            self.world.sync(node);
        }
        self.world.connect_all();
        self.world.run();
    }

    fn check(&self) {
        let world = &self.world;
        world.assert_nothing_twice();
        world.assert_no_nonce_twice();
        for node in 0..world.nodes.len() {
            for conversation in world.nodes[node].client.conversations().unwrap() {
                assert_eq!(conversation.unsent_count, 0, "node {node}, {:?}: unsent", conversation.kind);
                if let ConversationKind::Direct { peer } = conversation.kind {
                    assert_eq!(conversation.state, ConversationState::Active, "node {node}");
                    let peer = world.nodes.iter().position(|it| it.client.account() == peer).unwrap();
                    world.assert_same_history(node, peer, conversation.id);
                }
            }
        }
        self.check_group();
        world.assert_nothing_odd();
    }

    /// Each member has exactly what stands in the log between the commits that let it in and out.
    fn check_group(&self) {
        let world = &self.world;
        let all = world.history(OWNER, self.group);
        let owner_view = world.nodes[OWNER].client.conversation(&self.group).unwrap();
        let spans = self.spans();
        for (node, it) in world.nodes.iter().enumerate() {
            let account = it.client.account();
            let spans = spans.get(&account).cloned().unwrap_or_default();
            let is_in = |place: Seq| spans.iter().any(|(from, to)| *from < place && place <= *to);
            let expected: Vec<_> = all.iter().filter(|message| is_in(message.place.unwrap())).collect();
            let Ok(view) = it.client.conversation(&self.group) else {
                assert!(spans.is_empty(), "node {node} was let in, and does not know");
                continue;
            };
            let is_member = owner_view.members.iter().any(|member| member.account == account);
            assert_eq!(view.state == ConversationState::Active, is_member, "node {node}: {:?}", view.state);
            if is_member {
                let ids = |members: &[undertone::conversation::Member]| {
                    members.iter().map(|member| member.account).collect::<Vec<_>>()
                };
                assert_eq!(ids(&view.members), ids(&owner_view.members), "node {node}");
                assert_eq!(view.name, owner_view.name, "node {node}");
            }
            let expected: Vec<_> = expected.iter().map(|message| message.id).collect();
            let shown: Vec<_> = world.history(node, self.group).iter().map(|message| message.id).collect();
            assert_eq!(shown, expected, "node {node}, in {spans:?}");
        }
    }

    /// When each account was in the group: behind which place, up to which. The n-th turn of the log is the n-th change
    /// that the owner was told.
    fn spans(&self) -> BTreeMap<AccountId, Vec<(Seq, Seq)>> {
        let owner = &self.world.nodes[OWNER];
        let log = owner.client.log_of(&self.group).unwrap().unwrap();
        let turns = self.world.relay.logs[&log].entries.iter().filter(|entry| entry.turn.is_some());
        let told = owner.told_once();
        let changes = told.iter().filter_map(|event| match event {
            Event::GroupChanged { added, removed, .. } => Some((added, removed)),
            _ => None,
        });
        let mut spans: BTreeMap<AccountId, Vec<(Seq, Seq)>> = BTreeMap::new();
        spans.insert(owner.client.account(), vec![(Seq::from_u64(0), Seq::from_u64(u64::MAX))]);
        let (turns, changes): (Vec<_>, Vec<_>) = (turns.collect(), changes.collect());
        assert_eq!(turns.len(), changes.len(), "each turn changes something");
        for (turn, (added, removed)) in turns.into_iter().zip(changes) {
            for account in removed {
                spans.get_mut(account).unwrap().last_mut().unwrap().1 = turn.seq;
            }
            for account in added {
                spans.entry(*account).or_default().push((turn.seq, Seq::from_u64(u64::MAX)));
            }
        }
        spans
    }
}

// A-FA-11, A-GR-10, A-GR-15; spec DEL-13, DEL-16, DEL-18, DEL-19, DEL-36, DEL-50.
#[test]
fn after_a_storm_everybody_has_the_same() {
    let calm = Storm::calm();
    sim::play_seeds("UNDERTONE_STORM", SEEDS, |seed| {
        let mut storm = Storm::new(&calm, seed);
        for _ in 0..ACTS {
            storm.act();
        }
        storm.subside();
        storm.check();
    });
}

// A storm found it: the inbox, with the Welcome, is read before the log, with the removal.
#[test]
fn who_was_removed_and_added_again_while_away_is_in() {
    let mut world = Storm::calm();
    let id = world.nodes[OWNER].client.conversations().unwrap();
    let id = id.iter().find(|it| it.kind == ConversationKind::Group).unwrap().id;
    let bob = world.nodes[1].client.account();
    world.disconnect(1);
    for round in 0..3 {
        world.say(OWNER, id, &format!("with bob {round}"));
        world.run();
        world.call(OWNER, |client, now, rng| client.remove_members(&id, &[bob], now, rng)).unwrap();
        world.say(OWNER, id, &format!("without bob {round}"));
        world.run();
        world.call(OWNER, |client, now, rng| client.add_members(&id, &[bob], now, rng)).unwrap();
        world.run();
    }
    world.connect(1);
    world.run();
    world.say(OWNER, id, "to bob");
    world.say(1, id, "to all");
    world.run();
    let texts = world.texts(1, id);
    assert!(texts.iter().all(|text| !text.starts_with("without")));
    assert_eq!(texts.iter().filter(|text| text.starts_with("with bob")).count(), 3);
    for node in [OWNER, 2] {
        assert_eq!(world.texts(node, id).last().unwrap(), "to all");
    }
    assert_eq!(world.nodes[1].client.conversation(&id).unwrap().state, ConversationState::Active);
    world.assert_nothing_odd();
}
