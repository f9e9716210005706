//! Undertone behind the shape that the cases need: the ratchet in memory, which is what the peer has, and the ratchet with its
//! rows in a store, which is what an application runs.

use undertone::crypto::{Secret32, SecretBytes};
use undertone::dm::fanout::SealedPayload;
use undertone::dm::{self, BundleBody, FirstMessage, OneTimeItem, Session};
use undertone::envelope::direct::{DirectWrap, Fanout, ListName, NamedLists};
use undertone::envelope::keys::OuterKey;
use undertone::envelope::{
    DevicePlace, DirectBody, DirectForm, EpochEvidence, Evidence, Parcel, ParcelKind, Side, shell,
};
use undertone::identity::{DeviceListHash, ListVersion, LocalIdentity};
use undertone::store::{MemoryStore, Overlay, Store, Table, Tx};
use undertone::time::UnixMs;
use undertone_wire::frame::{Checkpoint, Class};
use undertone_wire::id::{EntryId, Generation, Head, LogId, Seq};

/// As many bytes as the evidence and the hash that the envelope binds.
const AD: &[u8] = &[7; 72];

fn now() -> UnixMs {
    UnixMs::from_u64(1_767_225_600_000)
}

/// A device with its store.
pub(crate) struct Person {
    store: MemoryStore,
    us: LocalIdentity,
}

impl Person {
    pub(crate) fn new(name: &str) -> Self {
        let (store, overlay) = (MemoryStore::new(), Overlay::default());
        let mut tx = Tx::new(&store, &overlay);
        let us = LocalIdentity::create(&mut tx, name, now(), &mut rand::rng()).unwrap();
        store.commit(&tx.into_batch()).unwrap();
        Self { store, us }
    }

    /// One step, durable at its end.
    fn step<T>(&self, call: impl FnOnce(&mut Tx<'_>) -> Result<T, dm::DmError>) -> T {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&self.store, &overlay);
        let result = call(&mut tx).unwrap();
        let batch = tx.into_batch();
        if !batch.is_empty() {
            self.store.commit(&batch).unwrap();
        }
        result
    }

    pub(crate) fn publish(&self, count: usize) -> (BundleBody, Vec<OneTimeItem>) {
        let publication = self.step(|tx| dm::replenish(tx, &self.us, count, now(), &mut rand::rng()));
        let items = publication.items.iter().map(|item| OneTimeItem::decode(item).unwrap()).collect();
        (BundleBody::decode(&publication.body).unwrap(), items)
    }

    /// Begins a session from a bundle, verifies its signatures, and seals the first message.
    pub(crate) fn initiate(&self, peer: &Self, body: &BundleBody, item: &OneTimeItem) -> FirstMessage {
        let (device, rng) = (peer.us.device(), &mut rand::rng());
        self.step(|tx| dm::initiate(tx, &self.us, device, body, Some(item), AD, &[1; 100], now(), rng))
    }

    pub(crate) fn accept(&self, peer: &Self, first: &FirstMessage) -> SecretBytes {
        self.step(|tx| dm::accept(tx, &self.us, peer.us.device(), first, AD, now()))
    }

    /// Seals with the session's row: read, decoded, encoded and written.
    pub(crate) fn seal_with_rows(&self, peer: &Self, plaintext: &[u8]) -> Vec<u8> {
        self.step(|tx| dm::seal(tx, peer.us.device().id(), AD, plaintext, &mut rand::rng()))
    }

    /// Opens with the session's row: read, decoded, encoded and written.
    pub(crate) fn open_with_rows(&self, peer: &Self, message: &[u8]) -> SecretBytes {
        self.step(|tx| dm::open(tx, peer.us.device().id(), AD, message, now()))
    }

    fn session(&self, peer: &Self) -> Session {
        self.step(|tx| dm::session(tx, peer.us.device().id())).unwrap()
    }

    /// The same rows in a store of their own.
    pub(crate) fn snapshot(&self) -> Self {
        let store = self.store.snapshot();
        let us = LocalIdentity::load(&Tx::new(&store, &Overlay::default())).unwrap().unwrap();
        Self { store, us }
    }
}

/// One side of a conversation, its session in memory; the seeds of skipped messages are rows.
pub(crate) struct End {
    person: Person,
    session: Session,
}

impl End {
    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.session.seal(AD, plaintext, &mut rand::rng()).unwrap()
    }

    pub(crate) fn open(&mut self, message: &[u8]) -> SecretBytes {
        let Self { person, session } = self;
        person.step(|tx| session.open(tx, AD, message, now()))
    }

    /// How many seeds of skipped messages are stored.
    pub(crate) fn skipped_count(&self) -> usize {
        self.person.store.rows(Table::SkippedKeys).len()
    }

    pub(crate) fn pq_epoch(&self) -> u32 {
        self.session.info().pq_epoch.as_u32()
    }
}

/// Two ends of one conversation, both with a chain of their own.
pub(crate) struct Pair {
    pub(crate) alice: End,
    pub(crate) bob: End,
}

/// Two people who have a session with each other in their stores.
pub(crate) fn acquainted() -> (Person, Person) {
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let (body, items) = bob.publish(1);
    let first = alice.initiate(&bob, &body, &items[0]);
    bob.accept(&alice, &first);
    let back = bob.seal_with_rows(&alice, &[1; 100]);
    alice.open_with_rows(&bob, &back);
    (alice, bob)
}

impl Pair {
    pub(crate) fn new() -> Self {
        let (alice, bob) = acquainted();
        let (for_alice, for_bob) = (alice.session(&bob), bob.session(&alice));
        let mut pair =
            Self { alice: End { person: alice, session: for_alice }, bob: End { person: bob, session: for_bob } };
        pair.turn();
        pair
    }

    /// One message each way: both sides have a new chain.
    pub(crate) fn turn(&mut self) {
        let there = self.alice.seal(&[1; 100]);
        self.bob.open(&there);
        let back = self.bob.seal(&[1; 100]);
        self.alice.open(&back);
    }
}

/// Bytes of what the relay gets when a payload goes to so many devices, all with sessions: the parcel in its shell.
pub(crate) fn parcel_len(end: &mut End, payload: &[u8], devices: u16) -> usize {
    let rng = &mut rand::rng();
    let mut wrap = |index, plaintext: &[u8]| DirectWrap {
        recipient: DevicePlace { side: Side::Higher, index },
        handshake: Vec::new(),
        message: end.seal(plaintext),
    };
    let form = if devices == 1 {
        DirectForm::Inline(wrap(0, payload))
    } else {
        let (key, SealedPayload { commitment, ciphertext }) = SealedPayload::seal(payload, rng);
        let wraps = (0..devices).map(|index| wrap(index, key.expose())).collect();
        DirectForm::Fanout(Fanout { commitment, wraps, ciphertext })
    };
    let list = ListName { version: ListVersion::FIRST, hash: DeviceListHash::from_bytes([4; 32]) };
    let sender = DevicePlace { side: Side::Lower, index: 0 };
    let body = DirectBody { lists: NamedLists { lower: list, higher: list }, sender, form }.encode();
    let evidence =
        Evidence::at(Checkpoint { seq: Seq::from_u64(0), head: Head::from_bytes([0; 32]) }, EpochEvidence::NONE);
    let parcel = Parcel { kind: ParcelKind::DirectMessage, evidence, body };
    let key = OuterKey::from_secret(Secret32::from_bytes([1; 32]));
    let (log, entry) = (LogId::from_bytes([2; 32]), EntryId::from_bytes([3; 16]));
    shell::seal(&key, log, Generation::FIRST, entry, Class::Normal, &parcel, rng).unwrap().len()
}
