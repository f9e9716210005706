//! Random walks through the model, each step also done by the real direct layer over real stores: both must say the same of
//! every message, and hold the same session to be the one that seals.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use stateright::Model;
use undertone::dm::{self, BundleBody, DmError, FirstMessage, SessionId};
use undertone::identity::LocalIdentity;
use undertone::store::{MemoryStore, Overlay, Store, Tx};
use undertone::time::UnixMs;
use undertone_models::{Action, Bounds, Message, Order, Outcome, Payload, Side, World};

const NOW: UnixMs = UnixMs::from_u64(1_767_225_600_000);

/// A real device: its disk, and the store that its steps see.
struct Real {
    us: LocalIdentity,
    body: BundleBody,
    durable: MemoryStore,
    memory: MemoryStore,
}

impl Real {
    fn new(name: &str) -> Self {
        let memory = MemoryStore::new();
        let (us, publication) = step(&memory, |tx| {
            let us = LocalIdentity::create(tx, name, NOW, &mut rand::rng()).unwrap();
            let publication = dm::replenish(tx, &us, 0, NOW, &mut rand::rng()).unwrap();
            (us, publication)
        });
        let body = BundleBody::decode(&publication.body).unwrap();
        Self { us, body, durable: memory.snapshot(), memory }
    }

    fn top(&self, peer: &Self) -> Option<SessionId> {
        step(&self.memory, |tx| dm::session_info(tx, peer.us.device().id()).unwrap()).map(|info| info.id)
    }
}

fn step<T>(store: &MemoryStore, call: impl FnOnce(&mut Tx<'_>) -> T) -> T {
    let overlay = Overlay::default();
    let mut tx = Tx::new(store, &overlay);
    let result = call(&mut tx);
    store.commit(&tx.into_batch()).unwrap();
    result
}

/// The model and the real thing, side by side.
struct Pair {
    bounds: Bounds,
    world: World,
    real: [Real; 2],
    bytes: BTreeMap<Message, Vec<u8>>,
    ids: BTreeMap<Payload, SessionId>,
    backup: Option<MemoryStore>,
}

impl Pair {
    fn act(&mut self, action: Action) {
        match &action {
            Action::Begin(side) | Action::Seal(side) => {
                let payload = self.world.next_payload(*side);
                let bytes = self.send(*side, payload, matches!(action, Action::Begin(_)));
                self.world = self.bounds.next_state(&self.world, action.clone()).unwrap();
                let message = self.world.memory[*side].outbox.last().unwrap().clone();
                if message.is_first {
                    let id = self.real[*side].top(&self.real[1 - *side]).unwrap();
                    self.ids.insert(payload, id);
                }
                self.bytes.insert(message, bytes);
                return;
            }
            Action::Deliver(message) => {
                let says = self.world.memory[message.to].clone().open(message, self.bounds.sessions);
                assert_eq!(self.deliver(message), says, "{message:?}");
            }
            Action::Persist(side) => self.real[*side].durable = self.real[*side].memory.snapshot(),
            Action::Crash(side) => self.real[*side].memory = self.real[*side].durable.snapshot(),
            Action::Backup => self.backup = Some(self.real[0].durable.snapshot()),
            Action::Restore => {
                let backup = self.backup.take().unwrap();
                self.real[0].durable = backup.snapshot();
                self.real[0].memory = backup;
            }
            Action::Transmit(_) | Action::Acknowledge(_) => {}
        }
        if let Some(next) = self.bounds.next_state(&self.world, action) {
            self.world = next;
        }
    }

    fn send(&self, side: Side, payload: Payload, is_first: bool) -> Vec<u8> {
        let (us, peer) = (&self.real[side], &self.real[1 - side]);
        let (device, rng) = (peer.us.device(), &mut rand::rng());
        step(&us.memory, |tx| {
            if is_first {
                let first = dm::initiate(tx, &us.us, device, &peer.body, None, b"", &[payload], NOW, rng);
                first.unwrap().encode()
            } else {
                dm::seal(tx, device.id(), b"", &[payload], rng).unwrap()
            }
        })
    }

    fn deliver(&self, message: &Message) -> Outcome {
        let (us, peer) = (&self.real[message.to], &self.real[1 - message.to]);
        let (device, bytes) = (peer.us.device(), &self.bytes[message]);
        let opened = step(&us.memory, |tx| {
            if message.is_first {
                dm::accept(tx, &us.us, device, &FirstMessage::decode(bytes).unwrap(), b"", NOW)
            } else {
                dm::open(tx, device.id(), b"", bytes, NOW)
            }
        });
        match opened {
            Ok(plaintext) => {
                assert_eq!(plaintext.as_slice(), [message.payload]);
                Outcome::Opened
            }
            Err(DmError::Replay) => Outcome::Replay,
            Err(DmError::Authentication | DmError::NoSession) => Outcome::Unreadable,
            Err(DmError::StateForked) => Outcome::Forked,
            Err(DmError::CounterOutOfRange) => Outcome::OutOfRange,
            Err(other) => panic!("the model knows nothing of {other}"),
        }
    }

    fn assert_same_sessions(&self) {
        for side in [0, 1] {
            let model = self.world.memory[side].sessions.first().map(|session| self.ids[&session.id]);
            assert_eq!(self.real[side].top(&self.real[1 - side]), model, "the session that seals, of side {side}");
        }
    }
}

// spec DM-31, DM-33, DM-36, DM-41..45, A-DM-13, A-DM-15
#[test]
fn the_direct_layer_does_what_the_model_says() {
    let bounds = Bounds {
        order: Order::PersistThenSend,
        attempts: 12,
        begins: [2, 2],
        crashes: 2,
        sessions: 9,
        ends: false,
        backup: true,
    };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..60 {
        let real = [Real::new("Alice"), Real::new("Bob")];
        let (world, bytes, ids) = (World::default(), BTreeMap::new(), BTreeMap::new());
        let mut pair = Pair { bounds: bounds.clone(), world, real, bytes, ids, backup: None };
        for _ in 0..80 {
            let mut actions = Vec::new();
            bounds.actions(&pair.world, &mut actions);
            // Deliveries are many: each kind of step gets its turn.
            let mut kinds: Vec<_> = Vec::new();
            for kind in actions.iter().map(std::mem::discriminant) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            let Some(kind) = kinds.choose(&mut rng) else { break };
            let of_kind: Vec<_> = actions.into_iter().filter(|a| std::mem::discriminant(a) == *kind).collect();
            let action = of_kind.choose(&mut rng).unwrap().clone();
            if let Action::Deliver(message) = &action {
                let outcome = pair.world.memory[message.to].clone().open(message, bounds.sessions);
                *seen.entry(format!("{outcome:?}")).or_default() += 1;
            }
            pair.act(action);
            pair.assert_same_sessions();
        }
    }
    println!("{seen:?}");
    for outcome in ["Opened", "Replay", "Unreadable"] {
        assert!(seen.contains_key(outcome), "no walk came to {outcome}: {seen:?}");
    }
}
