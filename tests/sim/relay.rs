//! A relay in memory, as the specification has it: every test can make it forget, lie or fork.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::RngExt;
use rand::rngs::StdRng;
use undertone::identity::LocalIdentity;
use undertone::store::{MemoryStore, Overlay, Tx};
use undertone_wire::VLBytes;
use undertone_wire::chain;
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right};
use undertone_wire::id::*;
use undertone_wire::limits::{READ_ENTRIES_MAX, READ_LEN_MAX};
use undertone_wire::refusal::Refusal;

/// Names a connection.
pub type Connection = usize;

/// A relay in memory.
pub struct SimRelay {
    server: ServerId,
    incarnation: Incarnation,
    next_nonce: u64,
    pub logs: BTreeMap<LogId, Log>,
    pub slots: BTreeMap<(SlotId, SlotKind), Slot>,
    taken: BTreeMap<TakeId, Taken>,
    connections: BTreeMap<Connection, Peer>,
    pub now_ms: u64,
    /// What the relay makes of the turn of the next entry that is appended, if it lies.
    pub next_turn: Option<Option<Gate>>,
    /// How many deposits the relay is too busy for.
    pub busy_for: usize,
    /// With which gate the next log is made, if somebody was faster with another one.
    pub first_gate: Option<Gate>,
}

/// A log.
#[derive(Clone)]
pub struct Log {
    gates: Vec<Gate>,
    ends: Vec<Seq>,
    control: Option<VerifyKey>,
    tokens: Vec<InboxTokenHash>,
    pub entries: Vec<Entry>,
    ids: BTreeMap<EntryId, usize>,
    acked: Seq,
}

/// What the directory holds.
#[derive(Default, Clone)]
pub struct Slot {
    version: u64,
    pub body: Vec<u8>,
    pub items: VecDeque<VLBytes>,
}

struct Peer {
    nonce: ConnectionNonce,
    rights: BTreeMap<(LogId, Right), Generation>,
    subscriptions: BTreeMap<LogId, Seq>,
    parked: BTreeSet<LogId>,
    out: VecDeque<Vec<u8>>,
}

impl SimRelay {
    pub fn new() -> Self {
        Self {
            server: ServerId::from_bytes([7; 32]),
            incarnation: Incarnation::from_bytes([1; 16]),
            next_nonce: 0,
            logs: BTreeMap::new(),
            slots: BTreeMap::new(),
            taken: BTreeMap::new(),
            connections: BTreeMap::new(),
            now_ms: 0,
            next_turn: None,
            busy_for: 0,
            first_gate: None,
        }
    }

    /// The same disk under another process: nobody is connected.
    pub fn fork(&self) -> Self {
        Self {
            server: self.server,
            incarnation: self.incarnation,
            next_nonce: self.next_nonce,
            logs: self.logs.clone(),
            slots: self.slots.clone(),
            taken: self.taken.clone(),
            connections: BTreeMap::new(),
            now_ms: self.now_ms,
            next_turn: None,
            busy_for: 0,
            first_gate: None,
        }
    }

    /// Another relay at the same address.
    pub fn become_another(&mut self) {
        self.server = ServerId::from_bytes([8; 32]);
    }

    /// The slot of the account whose device has this disk.
    pub fn list_slot(&self, store: &MemoryStore) -> SlotId {
        let us = LocalIdentity::load(&Tx::new(store, &Overlay::default())).unwrap().unwrap();
        SlotId::of_owner(us.account_certificate().key())
    }

    /// Shows a subscriber again what it may read of each of its logs, from some entry on: out of its turn, unless it is an
    /// inbox.
    pub fn repeat(&mut self, connection: Connection, rng: &mut StdRng) {
        let Some(peer) = self.connections.get_mut(&connection) else { return };
        for (id, next) in &peer.subscriptions {
            let (Some(log), shown) = (self.logs.get(id), next.as_u64() as usize - 1) else { continue };
            let first = log.acked.as_u64() as usize;
            if first < shown {
                let from = rng.random_range(first..shown);
                let entries = log.entries[from..shown].to_vec();
                let earliest = if log.control.is_some() { 0 } else { peer.out.len() };
                let at = rng.random_range(earliest..=peer.out.len());
                peer.out.insert(at, RelayFrame::Entries { log: *id, entries }.encode());
            }
        }
    }

    /// Says that history may have been lost.
    pub fn reincarnate(&mut self) {
        self.incarnation = Incarnation::from_bytes([2; 16]);
    }

    pub fn connect(&mut self, connection: Connection) {
        self.next_nonce += 1;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.next_nonce.to_be_bytes());
        let nonce = ConnectionNonce::from_bytes(nonce);
        let hello = Hello { server: self.server, nonce, incarnation: self.incarnation, now_ms: self.now_ms };
        let out = VecDeque::from([RelayFrame::Hello(hello).encode()]);
        let (rights, subscriptions, parked) = Default::default();
        self.connections.insert(connection, Peer { nonce, rights, subscriptions, parked, out });
    }

    pub fn disconnect(&mut self, connection: Connection) {
        self.connections.remove(&connection);
    }

    /// The next frame for a connection.
    pub fn pop(&mut self, connection: Connection) -> Option<Vec<u8>> {
        self.connections.get_mut(&connection)?.out.pop_front()
    }

    pub fn take_frame(&mut self, connection: Connection, bytes: &[u8]) {
        if !self.connections.contains_key(&connection) {
            return;
        }
        let frame = ClientFrame::decode(bytes).expect("clients send sound frames");
        let reply = self.answer(connection, frame.body);
        self.push(connection, RelayFrame::Reply { request: frame.request, reply });
        self.flow();
    }

    fn push(&mut self, connection: Connection, frame: RelayFrame) {
        if let Some(peer) = self.connections.get_mut(&connection) {
            peer.out.push_back(frame.encode());
        }
    }

    fn has(&self, connection: Connection, log: LogId, right: Right) -> Option<Generation> {
        self.connections[&connection].rights.get(&(log, right)).copied()
    }

    fn answer(&mut self, connection: Connection, request: Request) -> Reply {
        match request {
            Request::Create(create) => {
                assert_eq!(create.log, LogId::of_control_key(&create.control));
                let is_new = !self.logs.contains_key(&create.log);
                let gate = self.first_gate.take_if(|_| is_new).unwrap_or(create.gate);
                let new = Log::new(gate, Some(create.control));
                let log = self.logs.entry(create.log).or_insert(new);
                if log.control == Some(create.control) && log.gates[0] == create.gate {
                    Reply::Done
                } else {
                    Reply::Refused(Refusal::Exists)
                }
            }
            Request::Prove { proofs } => {
                let results = proofs.iter().map(|proof| self.prove(connection, proof)).collect();
                Reply::Proven { results }
            }
            Request::Subscribe { log, from } => {
                if self.has(connection, log, Right::Read).is_none() {
                    return Reply::Refused(Refusal::NotProven);
                }
                let peer = self.connections.get_mut(&connection).unwrap();
                peer.subscriptions.insert(log, from);
                peer.parked.remove(&log);
                Reply::Done
            }
            Request::Unsubscribe { log } => {
                self.connections.get_mut(&connection).unwrap().subscriptions.remove(&log);
                Reply::Done
            }
            Request::Append(append) => self.append(connection, append),
            Request::Read { .. } => Reply::Refused(Refusal::Unsupported),
            Request::Ephemeral { log, generation, payload } => {
                for (other, peer) in &mut self.connections {
                    if *other != connection && peer.subscriptions.contains_key(&log) {
                        let payload = payload.clone();
                        peer.out.push_back(RelayFrame::Ephemeral { log, generation, payload }.encode());
                    }
                }
                Reply::Done
            }
            Request::Publish(publish) => {
                assert!(publish.is_signed(&self.connections[&connection].nonce, &self.server));
                let slot = self.slots.entry((SlotId::of_owner(&publish.owner), publish.kind)).or_default();
                if publish.version < slot.version
                    || (publish.version == slot.version && publish.body.as_slice() != slot.body)
                {
                    return Reply::Refused(Refusal::VersionConflict { version: slot.version });
                }
                if publish.version > slot.version {
                    slot.items.clear();
                }
                slot.version = publish.version;
                slot.body = publish.body.as_slice().to_vec();
                slot.items.extend(publish.items);
                Reply::Published { version: slot.version, items_left: slot.items.len() as u32 }
            }
            Request::Take { slot, kind, take } => {
                if let Some(taken) = self.taken.get(&take) {
                    return Reply::Taken(taken.clone());
                }
                let Some(slot) = self.slots.get_mut(&(slot, kind)) else {
                    return Reply::Refused(Refusal::Unknown);
                };
                let taken =
                    Taken { version: slot.version, body: slot.body.clone().into(), item: slot.items.pop_front() };
                self.taken.insert(take, taken.clone());
                Reply::Taken(taken)
            }
            Request::OpenInbox(open) => {
                assert!(open.is_signed(&self.connections[&connection].nonce, &self.server));
                let gate = Gate { read: open.owner, append: open.owner };
                let log = self.logs.entry(LogId::of_inbox_key(&open.owner)).or_insert(Log::new(gate, None));
                log.tokens = open.tokens.iter().map(|token| token.token).collect();
                Reply::Done
            }
            Request::Deposit(deposit) => {
                if self.busy_for > 0 {
                    self.busy_for -= 1;
                    return Reply::Refused(Refusal::RateLimited { retry_after_ms: 2_000 });
                }
                let Some(log) = self.logs.get_mut(&deposit.log) else { return Reply::Refused(Refusal::Unknown) };
                assert!(log.tokens.contains(&deposit.token.to_hash()));
                let entry =
                    NewEntry { id: deposit.id, class: Class::Control, ttl_s: 0, payload: deposit.payload, turn: None };
                let place = log.push(entry, self.now_ms);
                Reply::Appended { places: vec![place] }
            }
            Request::AckInbox { log, through } => {
                self.logs.get_mut(&log).unwrap().acked = through;
                Reply::Done
            }
            _ => Reply::Refused(Refusal::Unsupported),
        }
    }

    fn prove(&mut self, connection: Connection, proof: &Proof) -> ProofResult {
        let nonce = self.connections[&connection].nonce;
        let Some(log) = self.logs.get(&proof.log) else {
            let (generation, last) = (Generation::FIRST, Seq::from_u64(0));
            return ProofResult { verdict: ProofVerdict::Unknown, generation, last };
        };
        let (generation, last) = (log.generation(), Seq::from_u64(log.entries.len() as u64));
        let gate = log.gates.get(proof.generation.as_u64() as usize);
        let verdict = match gate {
            None => ProofVerdict::Unknown,
            Some(gate) => {
                let key = if proof.right == Right::Append { gate.append } else { gate.read };
                if !proof.is_signed_by(&key, &nonce, &self.server) {
                    ProofVerdict::BadSignature
                } else if proof.right == Right::Append && proof.generation != generation {
                    ProofVerdict::Stale
                } else {
                    let peer = self.connections.get_mut(&connection).unwrap();
                    peer.rights.insert((proof.log, proof.right), proof.generation);
                    peer.parked.remove(&proof.log);
                    ProofVerdict::Granted
                }
            }
        };
        ProofResult { verdict, generation, last }
    }

    fn append(&mut self, connection: Connection, mut append: Append) -> Reply {
        if self.has(connection, append.log, Right::Append) != Some(append.generation) {
            return Reply::Refused(Refusal::NotProven);
        }
        let now_ms = self.now_ms;
        if let Some(turn) = self.next_turn.take() {
            append.entries[0].turn = turn;
        }
        let log = self.logs.get_mut(&append.log).unwrap();
        let is_new = append.entries.iter().any(|entry| !log.ids.contains_key(&entry.id));
        if is_new && append.generation != log.generation() {
            let turned_at = log.ends.last().copied().unwrap_or(Seq::from_u64(0));
            return Reply::Refused(Refusal::Stale { generation: log.generation(), turned_at });
        }
        let places = append.entries.into_iter().map(|entry| log.push(entry, now_ms)).collect();
        Reply::Appended { places }
    }

    /// Sends every subscriber what it may read.
    pub fn flow(&mut self) {
        for peer in self.connections.values_mut() {
            for (id, next) in &mut peer.subscriptions {
                let Some(log) = self.logs.get(id) else { continue };
                let Some(proven) = peer.rights.get(&(*id, Right::Read)) else { continue };
                let end = log.ends.get(proven.as_u64() as usize).copied();
                let last = end.unwrap_or(Seq::from_u64(log.entries.len() as u64));
                let first = (*next).max(log.acked.next());
                if first <= last {
                    let range = first.as_u64() as usize - 1..last.as_u64() as usize;
                    *next = last.next();
                    for entries in pages(&log.entries[range]) {
                        peer.out.push_back(RelayFrame::Entries { log: *id, entries: entries.to_vec() }.encode());
                    }
                }
                if let Some(seq) = end
                    && *next > seq
                    && peer.parked.insert(*id)
                {
                    let generation = proven.next();
                    peer.out.push_back(RelayFrame::Turned { log: *id, generation, seq }.encode());
                }
            }
        }
    }
}

/// Entries as they are handed out: so many and so long a frame may be.
fn pages(mut entries: &[Entry]) -> Vec<&[Entry]> {
    let mut pages = Vec::new();
    while !entries.is_empty() {
        let mut payloads_len = 0;
        let fits = |entry: &&Entry| {
            if let EntryContent::Payload(payload) = &entry.content {
                payloads_len += payload.as_slice().len();
            }
            payloads_len <= READ_LEN_MAX
        };
        let count = entries.iter().take(READ_ENTRIES_MAX).take_while(fits).count().max(1);
        let (page, rest) = entries.split_at(count);
        pages.push(page);
        entries = rest;
    }
    pages
}

impl Log {
    pub fn new(gate: Gate, control: Option<VerifyKey>) -> Self {
        Self {
            gates: vec![gate],
            ends: Vec::new(),
            control,
            tokens: Vec::new(),
            entries: Vec::new(),
            ids: BTreeMap::new(),
            acked: Seq::from_u64(0),
        }
    }

    pub fn generation(&self) -> Generation {
        Generation::from_u64(self.gates.len() as u64 - 1)
    }

    /// Says of the last entry that it turned the log in another way, or not at all.
    pub fn forge_turn(&mut self, at: usize, gate: Option<Gate>) {
        assert_eq!(at, self.entries.len() - 1, "the last entry");
        if self.entries[at].turn.take().is_some() {
            self.gates.pop();
            self.ends.pop();
        }
        if let Some(gate) = gate {
            self.gates.push(gate);
            self.ends.push(self.entries[at].seq);
        }
        self.entries[at].turn = gate;
    }

    /// Whether it carries the history of one device to another.
    pub fn is_transfer(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.class == Class::Bulk)
    }

    /// The head of the chain.
    pub fn head(&self) -> Head {
        self.entries.iter().fold(chain::EMPTY, |head, entry| entry.leaf().extend(&head))
    }

    /// What was accepted up to and including some entry expires: of each payload its hash is left.
    pub fn expire(&mut self, through: usize) {
        for entry in &mut self.entries[..through] {
            entry.content = EntryContent::Stub(entry.leaf().payload);
        }
    }

    /// The disk loses the last entry.
    pub fn lose_last(&mut self) -> Option<Entry> {
        let lost = self.entries.pop()?;
        self.ids.remove(&lost.id);
        Some(lost)
    }

    /// Lets an id stand twice.
    pub fn forget_ids(&mut self) {
        self.ids.clear();
    }

    pub fn push(&mut self, entry: NewEntry, accepted_ms: u64) -> Place {
        if let Some(at) = self.ids.get(&entry.id) {
            let known = &self.entries[*at];
            let payload = known.leaf().payload;
            return Place { seq: known.seq, generation: known.generation, payload, duplicate: Presence::Duplicate };
        }
        let seq = Seq::from_u64(self.entries.len() as u64 + 1);
        let generation = self.generation();
        let payload = PayloadHash::of(entry.payload.as_slice());
        self.ids.insert(entry.id, self.entries.len());
        self.entries.push(Entry {
            seq,
            generation,
            class: entry.class,
            id: entry.id,
            accepted_ms,
            turn: entry.turn,
            content: EntryContent::Payload(entry.payload),
        });
        if let Some(gate) = entry.turn {
            self.gates.push(gate);
            self.ends.push(seq);
        }
        Place { seq, generation, payload, duplicate: Presence::New }
    }
}
