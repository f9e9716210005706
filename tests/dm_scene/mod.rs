//! Two or three people with a store each, a clock, and the bytes between them.
#![allow(dead_code, reason = "each test file uses its own part of the scene")]
#![allow(unreachable_pub, reason = "shared by two test binaries")]
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

use std::time::Duration;

use undertone::crypto::SecretBytes;
use undertone::dm::{self, BundleBody, DmError, FirstMessage, OneTimeItem, SessionInfo};
use undertone::identity::{Device, DeviceId, LocalIdentity};
use undertone::store::{MemoryStore, Overlay, Row, Store, Table, Tx};
use undertone::time::UnixMs;

pub const AD: &[u8] = b"what the caller binds";
/// 2026-01-01, somewhere.
pub fn start() -> UnixMs {
    UnixMs::from_u64(1_767_225_600_000)
}

pub fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

pub struct Person {
    pub store: MemoryStore,
    pub us: LocalIdentity,
    pub now: UnixMs,
}

impl Person {
    pub fn new(name: &str) -> Self {
        let store = MemoryStore::new();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let us = LocalIdentity::create(&mut tx, name, start(), &mut rand::rng()).unwrap();
        store.commit(&tx.into_batch()).unwrap();
        Self { store, us, now: start() }
    }

    /// One step that is made durable even after an error, as an engine would: a refused call must have left no write.
    pub fn step<T>(&self, call: impl FnOnce(&mut Tx<'_>, &LocalIdentity) -> Result<T, DmError>) -> Result<T, DmError> {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&self.store, &overlay);
        let before = self.state();
        let result = call(&mut tx, &self.us);
        self.store.commit(&tx.into_batch()).unwrap();
        if result.is_err() {
            assert!(self.state() == before, "a refused call changed the state");
        }
        result
    }

    pub fn state(&self) -> [Vec<Row>; 3] {
        [Table::Sessions, Table::SkippedKeys, Table::Prekeys].map(|table| self.store.rows(table))
    }

    pub fn device(&self) -> &Device {
        self.us.device()
    }

    pub fn id(&self) -> DeviceId {
        self.us.device().id()
    }

    pub fn publish(&self, count: usize) -> (BundleBody, Vec<OneTimeItem>) {
        let publication = self.step(|tx, us| dm::replenish(tx, us, count, self.now, &mut rand::rng())).unwrap();
        let items = publication.items.iter().map(|item| OneTimeItem::decode(item).unwrap()).collect();
        (BundleBody::decode(&publication.body).unwrap(), items)
    }

    pub fn initiate(
        &self,
        peer: &Person,
        body: &BundleBody,
        item: Option<&OneTimeItem>,
        plaintext: &[u8],
    ) -> Result<FirstMessage, DmError> {
        let rng = &mut rand::rng();
        self.step(|tx, us| dm::initiate(tx, us, peer.device(), body, item, AD, plaintext, self.now, rng))
    }

    pub fn accept(&self, peer: &Person, first: &FirstMessage) -> Result<SecretBytes, DmError> {
        self.step(|tx, us| dm::accept(tx, us, peer.device(), first, AD, self.now))
    }

    pub fn seal(&self, peer: &Person, plaintext: &[u8]) -> Vec<u8> {
        self.step(|tx, _| dm::seal(tx, peer.id(), AD, plaintext, &mut rand::rng())).unwrap()
    }

    pub fn open(&self, peer: &Person, message: &[u8]) -> Result<SecretBytes, DmError> {
        self.open_with(peer, AD, message)
    }

    pub fn open_with(&self, peer: &Person, ad: &[u8], message: &[u8]) -> Result<SecretBytes, DmError> {
        self.step(|tx, _| dm::open(tx, peer.id(), ad, message, self.now))
    }

    pub fn info(&self, peer: &Person) -> SessionInfo {
        self.step(|tx, _| dm::session_info(tx, peer.id())).unwrap().unwrap()
    }

    /// The same person after a restart: everything is read from the store again.
    pub fn restarted(&self) -> Self {
        let store = self.store.snapshot();
        let overlay = Overlay::default();
        let us = LocalIdentity::load(&Tx::new(&store, &overlay)).unwrap().unwrap();
        Self { store, us, now: self.now }
    }

    /// Takes the state back to an older one, as restoring a backup would.
    pub fn restore(&mut self, snapshot: &MemoryStore) {
        self.store = snapshot.snapshot();
    }
}

/// Alice has begun a session with Bob, who has opened her first message.
pub fn alice_and_bob() -> (Person, Person) {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    begin(&alice, &bob);
    (alice, bob)
}

pub fn begin(alice: &Person, bob: &Person) {
    let (body, items) = bob.publish(1);
    let first = alice.initiate(bob, &body, items.first(), b"hello").unwrap();
    assert_eq!(bob.accept(alice, &first).unwrap().as_slice(), b"hello");
}

/// One message there and one back: each side has a new ratchet key.
pub fn round_trip(alice: &Person, bob: &Person) {
    let message = alice.seal(bob, b"ping");
    assert_eq!(bob.open(alice, &message).unwrap().as_slice(), b"ping");
    let message = bob.seal(alice, b"pong");
    assert_eq!(alice.open(bob, &message).unwrap().as_slice(), b"pong");
}

/// Every bit flipped is too many to open; one bit of each byte, another of each time.
pub fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).map(|at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << (at % 8);
        flipped
    })
}
