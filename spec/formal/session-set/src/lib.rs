//! The session set of two devices as a model: sessions, crossed first messages, a network that loses, repeats and reorders,
//! crashes between any two steps, an old backup that is restored (spec/dm, rules DM-31 to DM-46).
//!
//! The ratchet is modelled by what decides which key a message has: the root chain is a chain of hashes over what was drawn,
//! a header key names the root step that announced it, a place is the number of a message under its header key. A device is
//! what is on its disk and what is in its memory; a step changes the memory, and only what is persisted outlives a crash.
//!
//! Leaves out: cryptography, bounds of skipped messages, old chains beyond the fifth, the post-quantum ratchet, time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::{Model, Property};

/// One of the two devices: 0 or 1.
pub type Side = usize;

/// What was sent: every attempt to send has a number of its own, also one that a crash took back.
pub type Payload = u8;

/// What stands for a key: equal where the key is.
pub type KeyName = u64;

fn name(parts: impl Hash) -> KeyName {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// A message on the network. All of it but the payload decides where it opens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Message {
    /// Who is to open it.
    pub to: Side,
    /// The session, by the attempt that began it.
    pub session: Payload,
    /// Whether it carries the handshake.
    pub is_first: bool,
    /// The header key.
    pub header: KeyName,
    /// The root chain before the root step of its chain, and after: what the ratchet key in the header leads to.
    pub base: KeyName,
    /// The root chain after that step.
    pub root: KeyName,
    /// Its place in the chain.
    pub n: u8,
    /// How many messages the sender's chain before had.
    pub pn: u8,
    /// What it says.
    pub payload: Payload,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It opens.
    Opened,
    /// Its place was used, or its handshake was.
    Replay,
    /// No session has its header key.
    Unreadable,
    /// It answers what was never sent (DM-36).
    Forked,
    /// Its counters or its ratchet key contradict the chain (DM-30).
    OutOfRange,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Sending {
    base: KeyName,
    root: KeyName,
    header: KeyName,
    count: u8,
    pn: u8,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Receiving {
    root: KeyName,
    header: KeyName,
    count: u8,
}

/// One session as one device holds it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Session {
    /// Names the session.
    pub id: Payload,
    root: KeyName,
    /// Our chain; none while it is our turn to draw a ratchet key.
    sending: Option<Sending>,
    /// The header key of our next chain, and how many messages the one before had.
    send_header: KeyName,
    sent_before: u8,
    receiving: Option<Receiving>,
    next_header: KeyName,
    /// Messages that were passed over: header key and place.
    stored: BTreeMap<(KeyName, u8), KeyName>,
    can_seal: bool,
}

impl Session {
    fn begin(id: Payload, is_initiator: bool) -> Self {
        let (header, next) = (name((id, "header")), name((id, "next header")));
        let (send_header, next_header) = if is_initiator { (header, next) } else { (next, header) };
        let (stored, receiving) = (BTreeMap::new(), None);
        let root = name((id, "root"));
        // The responder's signed prekey stands for its first ratchet key, so that the first message is an answer to it.
        let sending = (!is_initiator).then_some(Sending { base: root, root, header: send_header, count: 0, pn: 0 });
        Self { id, root, sending, send_header, sent_before: 0, receiving, next_header, stored, can_seal: is_initiator }
    }

    fn seal(&mut self, to: Side, payload: Payload, is_first: bool) -> Message {
        let sending = self.sending.get_or_insert_with(|| {
            let base = self.root;
            self.root = name((base, payload));
            Sending { base, root: self.root, header: self.send_header, count: 0, pn: self.sent_before }
        });
        let Sending { base, root, header, count: n, pn } = *sending;
        sending.count += 1;
        Message { to, session: self.id, is_first, header, base, root, n, pn, payload }
    }

    fn knows(&self, header: KeyName) -> bool {
        self.next_header == header
            || self.receiving.as_ref().is_some_and(|chain| chain.header == header)
            || self.stored.keys().any(|(of, _)| *of == header)
    }

    /// Opens in turn (`Ok(true)`) or late (`Ok(false)`).
    fn open(&mut self, message: &Message) -> Result<bool, Outcome> {
        let Message { header, root, n, pn, .. } = *message;
        match &mut self.receiving {
            Some(chain) if chain.header == header && n >= chain.count => {
                if chain.root != root {
                    return Err(Outcome::OutOfRange);
                }
                for passed in chain.count..n {
                    self.stored.insert((header, passed), root);
                }
                chain.count = n + 1;
                Ok(true)
            }
            Some(chain) if chain.header == header => self.open_stored(message),
            _ if self.next_header == header => {
                let Some(sending) = &self.sending else { return Err(Outcome::Forked) };
                let received = self.receiving.as_ref().map_or(0, |chain| chain.count);
                if pn < received || (self.receiving.is_none() && pn > 0) {
                    return Err(Outcome::OutOfRange);
                }
                if message.base != self.root {
                    // Another secret of ours stands behind it: the payload does not open.
                    return Err(Outcome::Unreadable);
                }
                if let Some(chain) = &self.receiving {
                    for passed in chain.count..pn {
                        self.stored.insert((chain.header, passed), chain.root);
                    }
                }
                for passed in 0..n {
                    self.stored.insert((header, passed), root);
                }
                self.sent_before = if self.can_seal { sending.count } else { 0 };
                // Our last root step announced the header key of our next chain; the first keys are the handshake's.
                self.send_header = if self.can_seal { name((sending.root, "after")) } else { self.send_header };
                self.sending = None;
                self.can_seal = true;
                self.receiving = Some(Receiving { root, header, count: n + 1 });
                self.next_header = name((root, "after"));
                self.root = root;
                Ok(true)
            }
            _ => self.open_stored(message),
        }
    }

    fn open_stored(&mut self, message: &Message) -> Result<bool, Outcome> {
        match self.stored.remove(&(message.header, message.n)) {
            // The seed of another chain under the same header key: the payload does not open, and nothing changes.
            Some(root) if root != message.root => {
                self.stored.insert((message.header, message.n), root);
                Err(Outcome::Unreadable)
            }
            Some(_) => Ok(false),
            None => Err(Outcome::Replay),
        }
    }
}

/// What a device keeps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Device {
    /// The highest rank first.
    pub sessions: Vec<Session>,
    accepted: BTreeSet<Payload>,
    /// What the application was given.
    pub delivered: BTreeSet<Payload>,
    /// Sessions that no message raises any more (DM-53).
    ended: BTreeSet<Payload>,
    /// What was sealed and is not acknowledged.
    pub outbox: Vec<Message>,
}

impl Device {
    fn begin(&mut self, side: Side, payload: Payload, bound: usize) {
        let mut session = Session::begin(payload, true);
        let message = session.seal(1 - side, payload, true);
        self.add(session, bound);
        self.outbox.push(message);
    }

    fn seal(&mut self, side: Side, payload: Payload) {
        if let Some(session) = self.sessions.first_mut() {
            let message = session.seal(1 - side, payload, false);
            self.outbox.push(message);
        }
    }

    fn add(&mut self, session: Session, bound: usize) {
        self.sessions.insert(0, session);
        self.sessions.truncate(bound);
    }

    /// Opens a message; what does not open changes nothing.
    pub fn open(&mut self, message: &Message, bound: usize) -> Outcome {
        let mut candidate = self.clone();
        let outcome = candidate.try_open(message, bound);
        if outcome == Outcome::Opened {
            candidate.delivered.insert(message.payload);
            *self = candidate;
        }
        outcome
    }

    fn try_open(&mut self, message: &Message, bound: usize) -> Outcome {
        if message.is_first {
            if !self.accepted.insert(message.session) {
                return Outcome::Replay;
            }
            let mut session = Session::begin(message.session, false);
            let opened = session.open(message);
            self.add(session, bound);
            return opened.map_or_else(|refused| refused, |_| Outcome::Opened);
        }
        let Some(at) = self.sessions.iter().position(|session| session.knows(message.header)) else {
            return Outcome::Unreadable;
        };
        match self.sessions[at].open(message) {
            Ok(in_turn) => {
                if in_turn && !self.ended.contains(&self.sessions[at].id) {
                    let session = self.sessions.remove(at);
                    self.sessions.insert(0, session);
                }
                Outcome::Opened
            }
            Err(refused) => refused,
        }
    }
}

/// When a message may leave a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// When the state that sealed it is on disk: the rule.
    PersistThenSend,
    /// At once: what the rule is for.
    SendThenPersist,
}

/// The bounds of what is explored.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// When messages leave.
    pub order: Order,
    /// Attempts to send of each side.
    pub attempts: u8,
    /// Sessions that each side begins at most.
    pub begins: [u8; 2],
    /// Crashes at most.
    pub crashes: u8,
    /// Sessions that a device keeps (DM-44).
    pub sessions: usize,
    /// Whether the sessions of who was rolled back end (DM-53): the rule.
    pub ends: bool,
    /// Whether side 0 may keep a backup once and restore it once.
    pub backup: bool,
}

/// Two devices and all that was ever on the network.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct World {
    /// What is on disk.
    pub durable: [Device; 2],
    /// What the next step sees.
    pub memory: [Device; 2],
    /// Everything that was transmitted: it may arrive now, later, again, or never.
    pub net: BTreeSet<Message>,
    /// What was acknowledged to its sender.
    pub acknowledged: BTreeSet<Payload>,
    attempts: [u8; 2],
    begins: [u8; 2],
    crashes: u8,
    backup: Option<Box<Device>>,
    /// Whether the backup was restored.
    pub is_restored: bool,
}

/// One step of the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A side begins a session with a first message.
    Begin(Side),
    /// A side seals a message.
    Seal(Side),
    /// A side's memory is on disk.
    Persist(Side),
    /// A message leaves.
    Transmit(Message),
    /// A message arrives.
    Deliver(Message),
    /// The receiver acknowledges what it delivered.
    Acknowledge(Payload),
    /// A side forgets what is not on disk.
    Crash(Side),
    /// Side 0 keeps a copy of its disk.
    Backup,
    /// Side 0 goes back to the copy.
    Restore,
}

impl World {
    /// The number of the next attempt of a side.
    pub fn next_payload(&self, side: Side) -> Payload {
        self.attempts[side] * 2 + side as u8
    }

    /// What a fair network and two devices that do not crash make of this state: everything persisted, transmitted and
    /// delivered, and then `rounds` messages each way.
    pub fn settled(&self, bound: usize, rounds: usize) -> Self {
        let mut world = self.clone();
        world.flush(bound);
        for _ in 0..rounds {
            for side in [0, 1] {
                let payload = world.next_payload(side);
                world.attempts[side] += 1;
                if world.memory[side].sessions.is_empty() {
                    world.memory[side].begin(side, payload, bound);
                } else {
                    world.memory[side].seal(side, payload);
                }
                world.flush(bound);
            }
        }
        world
    }

    fn flush(&mut self, bound: usize) {
        for side in [0, 1] {
            self.durable[side] = self.memory[side].clone();
            self.net.extend(self.durable[side].outbox.iter().cloned());
        }
        // First messages go through the inbox and may come behind those that follow them: those wait, and are tried again.
        for _ in 0..2 {
            for message in self.net.clone() {
                self.memory[message.to].open(&message, bound);
            }
        }
        self.durable = self.memory.clone();
    }
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for side in [0, 1] {
            let (memory, durable) = (&world.memory[side], &world.durable[side]);
            if world.attempts[side] < self.attempts {
                if world.begins[side] < self.begins[side] {
                    actions.push(Action::Begin(side));
                }
                if !memory.sessions.is_empty() {
                    actions.push(Action::Seal(side));
                }
            }
            if memory != durable {
                actions.push(Action::Persist(side));
                if world.crashes < self.crashes {
                    actions.push(Action::Crash(side));
                }
            }
            let ready = if self.order == Order::PersistThenSend { durable } else { memory };
            actions.extend(ready.outbox.iter().filter(|m| !world.net.contains(m)).cloned().map(Action::Transmit));
            let unacknowledged = durable.delivered.difference(&world.acknowledged);
            actions.extend(unacknowledged.map(|payload| Action::Acknowledge(*payload)));
        }
        actions.extend(world.net.iter().cloned().map(Action::Deliver));
        if self.backup && !world.is_restored {
            actions.push(if world.backup.is_none() { Action::Backup } else { Action::Restore });
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Begin(side) | Action::Seal(side) => {
                let payload = world.next_payload(side);
                world.attempts[side] += 1;
                if matches!(action, Action::Begin(_)) {
                    world.begins[side] += 1;
                    world.memory[side].begin(side, payload, self.sessions);
                } else {
                    world.memory[side].seal(side, payload);
                }
            }
            Action::Persist(side) => world.durable[side] = world.memory[side].clone(),
            Action::Transmit(message) => {
                world.net.insert(message);
            }
            Action::Deliver(message) => {
                world.memory[message.to].open(&message, self.sessions);
            }
            Action::Acknowledge(payload) => {
                world.acknowledged.insert(payload);
            }
            Action::Crash(side) => {
                world.crashes += 1;
                world.memory[side] = world.durable[side].clone();
            }
            Action::Backup => world.backup = Some(Box::new(world.durable[0].clone())),
            Action::Restore => {
                let backup = world.backup.take().map(|backup| *backup).unwrap_or_default();
                world.is_restored = true;
                world.durable[0] = backup.clone();
                world.memory[0] = backup;
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NO_PLACE_TWICE, |_: &Self, world: &World| {
                let mut places = BTreeMap::new();
                world.is_restored
                    || world.net.iter().all(|m| *places.entry((m.header, m.n)).or_insert(m.payload) == m.payload)
            }),
            Property::always(NOTHING_ACKNOWLEDGED_IS_LOST, |_: &Self, world: &World| {
                let kept = |payload: &Payload| world.durable[1 - usize::from(*payload % 2)].delivered.contains(payload);
                world.is_restored || world.acknowledged.iter().all(kept)
            }),
            Property::always(NOTHING_KEPT_IS_LOST, |bounds: &Self, world: &World| {
                let settled = world.settled(bounds.sessions, 0);
                let arrives = |m: &Message| settled.durable[m.to].delivered.contains(&m.payload);
                world.is_restored || world.durable.iter().flat_map(|device| &device.outbox).all(arrives)
            }),
            Property::always(SIDES_MEET, |bounds: &Self, world: &World| {
                let settled = world.settled(bounds.sessions, 2);
                let [one, two] = &settled.memory;
                let top = |device: &Device| device.sessions.first().map(|session| session.id);
                world.is_restored || (top(one).is_some() && top(one) == top(two))
            }),
            Property::always(FORKS_ARE_MENDED, |bounds: &Self, world: &World| {
                !world.is_restored || bounds.mends(world)
            }),
            Property::sometimes(FIRST_MESSAGES_CROSS, |_: &Self, world: &World| {
                world.memory.iter().all(|d| d.sessions.len() > 1)
            }),
        ]
    }
}

impl Bounds {
    /// Whether, after a backup was restored, one new session of the side that was rolled back mends everything, whatever is
    /// still on its way (DM-53).
    fn mends(&self, world: &World) -> bool {
        [true, false].into_iter().all(|overtakes| self.mends_if(world, overtakes))
    }

    /// The same, where the first message of the new session overtakes all that is on its way, or none of it.
    fn mends_if(&self, world: &World, overtakes: bool) -> bool {
        let mut world = world.clone();
        let payload = world.next_payload(0);
        world.attempts[0] += 1;
        let device = &mut world.memory[0];
        if self.ends {
            device.ended = device.sessions.iter().map(|session| session.id).collect();
        }
        device.begin(0, payload, self.sessions);
        if let Some(first) = device.outbox.last().cloned().filter(|_| overtakes) {
            world.memory[1].open(&first, self.sessions);
        }
        let begun = [payload, world.next_payload(0), world.next_payload(1)];
        let settled = world.settled(self.sessions, 1);
        let arrives = |payload: &Payload| settled.memory[1 - usize::from(*payload % 2)].delivered.contains(payload);
        begun.iter().all(arrives)
    }
}

/// No place under a header key is used for two messages that left a device.
pub const NO_PLACE_TWICE: &str = "no place is used twice";
/// What was acknowledged is on the receiver's disk.
pub const NOTHING_ACKNOWLEDGED_IS_LOST: &str = "nothing acknowledged is lost";
/// What is in an outbox on disk arrives, once the network is fair.
pub const NOTHING_KEPT_IS_LOST: &str = "nothing kept is lost";
/// Both sides end up sealing under one session, two messages each way after the network is fair.
pub const SIDES_MEET: &str = "both sides meet on one session";
/// After a restored backup one new session is enough.
pub const FORKS_ARE_MENDED: &str = "forks are mended";
/// What makes the rest worth asking.
pub const FIRST_MESSAGES_CROSS: &str = "first messages cross";
