//! A world of clients and one relay, with one clock and one seed. Everything that a driver does is done here: commit,
//! transmit, wake; and everything that can go wrong between two of these.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test uses a part; a broken world is a failed test"
)]

pub mod audit;
pub mod relay;

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use undertone::conversation::{ConversationId, Message};
use undertone::engine::{Client, Event, EventId, Input, Joining, Output, Signal, StepId};
use undertone::identity::linking::LINKING_MESSAGE_LEN_MAX;
use undertone::identity::{AccountId, NewDevice, Role};
use undertone::store::{Batch, MemoryStore, Store, Table};
use undertone::time::UnixMs;
use undertone_wire::frame::{ClientFrame, Request};

use relay::SimRelay;

/// A world.
pub struct World {
    pub relay: SimRelay,
    pub nodes: Vec<Node>,
    pub now: UnixMs,
    pub rng: StdRng,
}

/// A client with its disk, its connection and its app.
pub struct Node {
    pub client: Client<MemoryStore>,
    pub store: MemoryStore,
    pub is_connected: bool,
    pub timer: Option<UnixMs>,
    pub events: Vec<(EventId, Event)>,
    pub signals: Vec<Signal>,
    pub frames_sent: Vec<Vec<u8>>,
    /// Whether batches wait for [`World::sync`] instead of being committed at once.
    pub is_lazy: bool,
    uncommitted: Vec<(StepId, Arc<Batch>)>,
    /// What was ever durable of outbox rows and deposits.
    queued: Vec<Vec<u8>>,
    /// How many moments the process has had at which it could have died.
    pub moments: u32,
    /// At how many moments from now the process dies.
    pub fuse: Option<u32>,
}

impl Node {
    fn new(client: Client<MemoryStore>, store: MemoryStore) -> Self {
        Self {
            client,
            store,
            is_connected: false,
            timer: None,
            events: Vec::new(),
            signals: Vec::new(),
            frames_sent: Vec::new(),
            is_lazy: false,
            uncommitted: Vec::new(),
            queued: Vec::new(),
            moments: 0,
            fuse: None,
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let now = UnixMs::from_u64(1_800_000_000_000);
        Self { relay: SimRelay::new(), nodes: Vec::new(), now, rng: StdRng::seed_from_u64(seed) }
    }

    /// A world of people with these names, all online, who know nobody.
    pub fn of(seed: u64, names: &[&str]) -> Self {
        let mut world = Self::new(seed);
        for name in names {
            let node = world.add(name);
            world.connect(node);
        }
        world.run();
        world
    }

    /// Adds a person who is offline.
    pub fn add(&mut self, name: &str) -> usize {
        let store = MemoryStore::new();
        let client = Client::create(store.clone(), name, "ws://relay.example", self.now, &mut self.rng).unwrap();
        self.nodes.push(Node::new(client, store));
        let node = self.nodes.len() - 1;
        self.drain(node);
        node
    }

    /// Adds a device, offline, to the account of a primary one, in one moment; [`World::link`] is the way of people.
    pub fn enlist(&mut self, primary: usize) -> usize {
        let keys = NewDevice::random(&mut self.rng);
        let (request, role) = (keys.request(), Role::Linked);
        let grant = self.call(primary, |client, now, rng| client.certify_device(&request, role, now, rng)).unwrap();
        let store = MemoryStore::new();
        let client = Client::join(store.clone(), keys, grant, self.now, &mut self.rng).unwrap();
        self.nodes.push(Node::new(client, store));
        let node = self.nodes.len() - 1;
        self.drain(node);
        node
    }

    /// Takes a device off its account's list.
    pub fn expel(&mut self, primary: usize, node: usize) {
        let device = self.nodes[node].client.device();
        self.call(primary, |client, now, rng| client.remove_device(&device, now, rng)).unwrap();
    }

    /// Another world that goes on from here: same disks, same clock, everybody offline, another seed.
    pub fn fork(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut nodes = Vec::new();
        for node in &self.nodes {
            let store = node.store.snapshot();
            let client = Client::open(store.clone(), self.now, &mut rng).unwrap().unwrap();
            nodes.push(Node { events: node.events.clone(), ..Node::new(client, store) });
        }
        let mut world = Self { relay: self.relay.fork(), nodes, now: self.now, rng };
        for node in 0..world.nodes.len() {
            world.drain(node);
        }
        world
    }

    /// Everybody who is not connects.
    pub fn connect_all(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_connected {
                self.connect(node);
            }
        }
    }

    pub fn connect(&mut self, node: usize) {
        self.relay.connect(node);
        self.nodes[node].is_connected = true;
        self.input(node, Input::Connected);
    }

    pub fn disconnect(&mut self, node: usize) {
        self.relay.disconnect(node);
        self.nodes[node].is_connected = false;
        self.input(node, Input::Disconnected);
    }

    /// The process dies: everything that is not on its disk is gone. It comes up again offline.
    pub fn crash(&mut self, node: usize) {
        self.relay.disconnect(node);
        let store = self.nodes[node].store.clone();
        let client = Client::open(store, self.now, &mut self.rng).unwrap().expect("the account was durable");
        let this = &mut self.nodes[node];
        this.client = client;
        this.is_connected = false;
        this.timer = None;
        this.fuse = None;
        this.uncommitted.clear();
        self.drain(node);
    }

    /// A backup of its disk is restored: what came since is gone, and the app begins anew too. It comes up offline.
    pub fn restore(&mut self, node: usize, backup: &MemoryStore) {
        self.nodes[node].store = backup.snapshot();
        self.nodes[node].events.clear();
        self.crash(node);
    }

    /// Time passes, and what happens by itself happens.
    pub fn pass(&mut self, time: std::time::Duration) {
        let end = self.now.after(time);
        while self.now < end {
            self.run();
            let next = self.nodes.iter().filter(|node| node.is_connected).filter_map(|node| node.timer).min();
            self.now = next.map_or(end, |next| next.max(self.now).min(end));
            self.relay.now_ms = self.now.as_u64();
        }
        self.run();
    }

    /// Calls a client and does what it wants done.
    pub fn call<R>(&mut self, node: usize, call: impl FnOnce(&mut Client<MemoryStore>, UnixMs, &mut StdRng) -> R) -> R {
        let result = call(&mut self.nodes[node].client, self.now, &mut self.rng);
        self.drain(node);
        result
    }

    pub fn input(&mut self, node: usize, input: Input<'_>) {
        self.call(node, |client, now, rng| client.handle(input, now, rng)).unwrap();
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].client.poll() {
            match output {
                Output::Persist(step, batch) => {
                    self.nodes[node].uncommitted.push((step, batch));
                    if !self.nodes[node].is_lazy && (self.dies_now(node) || !self.commit(node)) {
                        return;
                    }
                }
                Output::Transmit(bytes) => {
                    if self.dies_now(node) {
                        return;
                    }
                    self.assert_durable(node, &bytes);
                    self.nodes[node].frames_sent.push(bytes.clone());
                    self.relay.take_frame(node, &bytes);
                    if self.dies_now(node) {
                        return;
                    }
                }
                Output::Event(id, event) => self.nodes[node].events.push((id, event)),
                Output::Signal(signal) => self.nodes[node].signals.push(signal),
                Output::Timer(at) => self.nodes[node].timer = Some(at),
                _ => {}
            }
        }
    }

    /// Makes everything durable that waits, in one commit, and does what was held for it.
    pub fn sync(&mut self, node: usize) {
        while !self.nodes[node].uncommitted.is_empty() && self.commit(node) {
            self.drain(node);
        }
    }

    /// False if the process died.
    fn commit(&mut self, node: usize) -> bool {
        let mut joined = Batch::default();
        let mut last = None;
        let this = &mut self.nodes[node];
        for (step, batch) in this.uncommitted.drain(..) {
            joined.merge(&batch);
            let queues = batch.writes().filter(|(table, ..)| matches!(table, Table::Outbox | Table::Intents));
            this.queued.extend(queues.filter_map(|(.., value)| value.map(<[u8]>::to_vec)));
            last = Some(step);
        }
        self.nodes[node].store.commit(&joined).unwrap();
        if self.dies_now(node) {
            return false;
        }
        if let Some(step) = last {
            let now = self.now;
            self.nodes[node].client.handle(Input::Persisted(step), now, &mut self.rng).unwrap();
        }
        true
    }

    /// A moment at which the process may die.
    fn dies_now(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        this.moments += 1;
        match &mut this.fuse {
            None => false,
            Some(0) => {
                self.crash(node);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// Whatever is about to be appended or deposited stands on the disk already, byte for byte.
    fn assert_durable(&self, node: usize, bytes: &[u8]) {
        let payloads: Vec<Vec<u8>> = match ClientFrame::decode(bytes).unwrap().body {
            Request::Append(append) => append.entries.iter().map(|entry| entry.payload.as_slice().to_vec()).collect(),
            // Up to the grant nothing of a linking is stored, and nothing of it is used twice (spec ID-78).
            Request::Deposit(deposit) if is_before_grant(deposit.payload.as_slice()) => return,
            Request::Deposit(deposit) => vec![deposit.payload.as_slice().to_vec()],
            _ => return,
        };
        let this = &self.nodes[node];
        let stored = [Table::Outbox, Table::Intents].into_iter().flat_map(|table| this.store.rows(table));
        let stored: Vec<_> = stored.map(|(_, value)| value.to_vec()).collect();
        for payload in payloads {
            let start = &payload[..24];
            let holds = |value: &[u8]| {
                let at = value.windows(24).position(|window| window == start);
                at.is_some_and(|at| value[at..].starts_with(&payload))
            };
            let is_durable = this.queued.iter().rev().chain(&stored).any(|value| holds(value));
            assert!(is_durable, "transmitted before it was durable (spec DEL-01)");
        }
    }

    /// Delivers one frame to a random connected client that has one waiting; false if there is none.
    pub fn deliver_one(&mut self) -> bool {
        let start = self.rng.random_range(0..self.nodes.len());
        for offset in 0..self.nodes.len() {
            let node = (start + offset) % self.nodes.len();
            if let Some(frame) = self.relay.pop(node) {
                self.input(node, Input::Frame(&frame));
                return true;
            }
        }
        false
    }

    /// Lets everything happen that happens by itself within two minutes.
    pub fn run(&mut self) {
        let end = self.now.after(std::time::Duration::from_secs(120));
        for _ in 0..20_000 {
            if self.deliver_one() {
                continue;
            }
            let connected = self.nodes.iter().enumerate().filter(|(_, node)| node.is_connected);
            let next = connected.filter_map(|(at, node)| node.timer.map(|timer| (timer, at))).min();
            match next {
                Some((at, node)) if at <= end => {
                    self.now = self.now.max(at);
                    self.relay.now_ms = self.now.as_u64();
                    self.nodes[node].timer = None;
                    self.input(node, Input::Timer);
                }
                _ => return,
            }
        }
        panic!("it never comes to rest");
    }

    /// Links a device without an account, through the relay, to the account of `node`; both people say yes at once.
    pub fn link(&mut self, node: usize, role: Role) -> usize {
        let mut joiner = Joiner::connected(self);
        let offer = joiner.joining.offer().expect("connected").clone();
        self.call(node, |client, now, rng| client.link_device(&offer, role, now, rng)).unwrap();
        joiner.run(self);
        assert_eq!(joiner.joining.code(), self.nodes[node].client.linking_code());
        joiner.call(self, |joining, now, rng| joining.confirm(now, rng)).unwrap();
        self.call(node, |client, now, rng| client.confirm_link(now, rng)).unwrap();
        joiner.run(self);
        joiner.into_node(self).unwrap()
    }

    /// Makes the direct conversation of two people, `one` inviting `other`.
    pub fn befriend(&mut self, one: usize, other: usize) -> ConversationId {
        let invitation = self.nodes[other].client.invitation().unwrap();
        self.call(one, |client, now, rng| client.add_contact(&invitation, now, rng)).unwrap()
    }

    pub fn say(&mut self, node: usize, conversation: ConversationId, text: &str) {
        let content = undertone::content::Content::text(text, &mut self.rng).unwrap();
        self.call(node, |client, now, rng| client.send(&conversation, &content, now, rng)).unwrap();
    }

    pub fn history(&self, node: usize, conversation: ConversationId) -> Vec<Message> {
        self.history_of(node, conversation, 10_000)
    }

    /// The last messages of a conversation.
    pub fn history_of(&self, node: usize, conversation: ConversationId, limit: usize) -> Vec<Message> {
        self.nodes[node].client.history(&conversation, None, limit).unwrap()
    }

    /// The texts of a conversation, in the order in which they are shown.
    pub fn texts(&self, node: usize, conversation: ConversationId) -> Vec<String> {
        let history = self.history(node, conversation);
        history.iter().map(|message| message.content.plain_text().unwrap_or("?").to_owned()).collect()
    }

    /// What a client has asked the relay so far, whether it arrived or not.
    pub fn requests(&self, node: usize) -> Vec<Request> {
        let decode = |frame: &Vec<u8>| ClientFrame::decode(frame).unwrap().body;
        self.nodes[node].frames_sent.iter().map(decode).collect()
    }

    /// What the app was told, in order.
    pub fn events(&self, node: usize) -> Vec<Event> {
        self.nodes[node].events.iter().map(|(_, event)| event.clone()).collect()
    }

    pub fn account(&self, node: usize) -> AccountId {
        self.nodes[node].client.account()
    }

    /// What the app was told as messages, in order; what is told again after a restart counts once.
    pub fn told(&self, node: usize) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Message(message) => message.content.plain_text().map(str::to_owned),
            _ => None,
        };
        self.nodes[node].told_once().into_iter().filter_map(text).collect()
    }
}

/// Whether a deposit is a message of a linking before the grant.
fn is_before_grant(payload: &[u8]) -> bool {
    let len_min = LINKING_MESSAGE_LEN_MAX - 32;
    (len_min..=LINKING_MESSAGE_LEN_MAX).contains(&payload.len()) && payload[0] == 1 && payload[1] != 5
}

/// A device without an account, on a connection of its own.
pub struct Joiner {
    pub joining: Joining<MemoryStore>,
    pub store: MemoryStore,
    pub signals: Vec<Signal>,
    pub timer: Option<UnixMs>,
    connection: usize,
}

impl Joiner {
    /// One that shows its offer.
    pub fn connected(world: &mut World) -> Self {
        let store = MemoryStore::new();
        let joining = Joining::new(store.clone(), "ws://relay.example", &mut world.rng).unwrap();
        let connection = 1_000 + world.nodes.len();
        let mut joiner = Self { joining, store, signals: Vec::new(), timer: None, connection };
        joiner.connect(world);
        joiner
    }

    pub fn connect(&mut self, world: &mut World) {
        world.relay.connect(self.connection);
        self.input(world, Input::Connected).unwrap();
        self.run(world);
    }

    pub fn disconnect(&mut self, world: &mut World) {
        world.relay.disconnect(self.connection);
        self.input(world, Input::Disconnected).unwrap();
    }

    pub fn input(&mut self, world: &mut World, input: Input<'_>) -> Result<(), undertone::Error> {
        self.call(world, |joining, now, rng| joining.handle(input, now, rng))
    }

    pub fn call<R>(
        &mut self,
        world: &mut World,
        call: impl FnOnce(&mut Joining<MemoryStore>, UnixMs, &mut StdRng) -> R,
    ) -> R {
        let result = call(&mut self.joining, world.now, &mut world.rng);
        while let Some(output) = self.joining.poll() {
            match output {
                Output::Transmit(bytes) => world.relay.take_frame(self.connection, &bytes),
                Output::Signal(signal) => self.signals.push(signal),
                Output::Timer(at) => self.timer = Some(at),
                other => panic!("a device without an account has nothing to store or to tell: {other:?}"),
            }
        }
        result
    }

    /// Lets everything happen that happens by itself, here and in the world.
    pub fn run(&mut self, world: &mut World) {
        loop {
            world.run();
            let Some(frame) = world.relay.pop(self.connection) else { return };
            self.input(world, Input::Frame(&frame)).unwrap();
        }
    }

    /// The client that it has become, in the world and online.
    pub fn into_node(self, world: &mut World) -> Result<usize, undertone::Error> {
        let client = self.joining.into_client()?;
        world.relay.disconnect(self.connection);
        world.nodes.push(Node::new(client, self.store));
        let node = world.nodes.len() - 1;
        world.drain(node);
        world.connect(node);
        world.run();
        Ok(node)
    }
}

/// Plays a story under `count` seeds; `{variable}S` in the environment says how many instead, `{variable}` plays one seed.
/// Fails behind the last if one of them did, and says which.
pub fn play_seeds(variable: &str, count: u64, story: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number(variable) {
        Some(seed) => seed..seed + 1,
        None => 0..number(&format!("{variable}S")).unwrap_or(count),
    };
    let mut failed = Vec::new();
    for seed in seeds {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(seed))).is_err() {
            println!("seed {seed} failed");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed; play one with {variable}=<seed>");
}
