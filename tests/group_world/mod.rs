//! Devices with a store each, for the tests of groups. No relay: a test hands the bytes on itself.

use rand::SeedableRng;
use rand::rngs::StdRng;
use undertone::group::{self, GroupChange, GroupError, Joined, Policy, PreparedCommit, Processed, VerifiedKeyPackage};
use undertone::identity::{AccountId, LocalIdentity};
use undertone::store::{MemoryStore, Overlay, Row, Store, Table, Tx};
use undertone::time::UnixMs;
use undertone_wire::id::LogId;

/// 2026-01-01T00:00Z.
pub(crate) const NOW: UnixMs = UnixMs::from_u64(1_767_225_600_000);

/// The log of the tests' group.
pub(crate) const LOG: LogId = LogId::from_bytes([7; 32]);

/// What every message of the tests carries beside it.
pub(crate) const AAD: &[u8] = b"seq 1, head, evidence";

/// One device.
pub(crate) struct Peer {
    pub(crate) us: LocalIdentity,
    pub(crate) store: MemoryStore,
    pub(crate) rng: StdRng,
}

impl Peer {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let store = MemoryStore::new();
        let mut rng = StdRng::seed_from_u64(seed);
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let us = LocalIdentity::create(&mut tx, name, NOW, &mut rng).unwrap();
        store.commit(&tx.into_batch()).unwrap();
        Self { us, store, rng }
    }

    /// The same device as it was at some moment, with a store of its own: a thief's copy, or one before a crash.
    pub(crate) fn copy(&self) -> Self {
        let store = self.store.snapshot();
        let overlay = Overlay::default();
        let us = LocalIdentity::load(&Tx::new(&store, &overlay)).unwrap().unwrap();
        Self { us, store, rng: StdRng::seed_from_u64(99) }
    }

    /// Runs one step; its batch is committed only if it succeeds. A step that fails must have written nothing.
    pub(crate) fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Tx<'_>, &LocalIdentity, &mut StdRng) -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&self.store, &overlay);
        let result = step(&mut tx, &self.us, &mut self.rng);
        let batch = tx.into_batch();
        if result.is_err() {
            assert!(batch.is_empty(), "a failed step leaves writes behind");
        }
        self.store.commit(&batch).unwrap();
        result
    }

    pub(crate) fn account(&self) -> AccountId {
        self.us.account()
    }

    pub(crate) fn create(&mut self) {
        let policy = Policy::new("Walkers", self.account()).unwrap();
        self.step(|tx, us, rng| group::create(tx, us, LOG, &policy, rng)).unwrap();
    }

    pub(crate) fn key_package(&mut self) -> VerifiedKeyPackage {
        let published = self.step(|tx, us, rng| group::key_packages(tx, us, 1, NOW, rng)).unwrap();
        group::verify_key_package(&published.items[0], NOW).unwrap()
    }

    pub(crate) fn add(&mut self, packages: &[VerifiedKeyPackage]) -> Result<PreparedCommit, GroupError> {
        self.step(|tx, us, rng| group::add(tx, us, LOG, packages, AAD, rng))
    }

    pub(crate) fn remove(&mut self, account: AccountId) -> Result<PreparedCommit, GroupError> {
        self.step(|tx, us, rng| group::remove(tx, us, LOG, &[account], AAD, rng))
    }

    pub(crate) fn set_policy(&mut self, policy: &Policy) -> Result<PreparedCommit, GroupError> {
        self.step(|tx, us, rng| group::set_policy(tx, us, LOG, policy, AAD, rng))
    }

    pub(crate) fn merge(&mut self) -> GroupChange {
        self.step(|tx, _, _| group::merge_pending(tx, LOG)).unwrap()
    }

    pub(crate) fn join(&mut self, welcome: &[u8]) -> Result<Joined, GroupError> {
        self.step(|tx, us, _| group::join(tx, us, welcome))
    }

    pub(crate) fn seal(&mut self, text: &[u8]) -> Result<Vec<u8>, GroupError> {
        self.step(|tx, us, rng| group::seal(tx, us, LOG, AAD, text, rng))
    }

    pub(crate) fn process(&mut self, message: &[u8]) -> Result<Processed, GroupError> {
        self.step(|tx, _, _| group::process(tx, LOG, AAD, message))
    }

    pub(crate) fn opens(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        match self.process(message) {
            Ok(Processed::Application { plaintext, .. }) => Some(plaintext.to_vec()),
            _ => None,
        }
    }

    pub(crate) fn policy(&mut self) -> Policy {
        self.step(|tx, _, _| group::policy(tx, LOG)).unwrap()
    }

    pub(crate) fn roster(&mut self) -> Result<Vec<group::Member>, GroupError> {
        self.step(|tx, _, _| group::members(tx, LOG))
    }

    pub(crate) fn evidence(&mut self) -> undertone::envelope::EpochEvidence {
        self.step(|tx, _, _| group::epoch_evidence(tx, LOG)).unwrap()
    }

    /// Every row that groups keep: what must not change when something is refused.
    pub(crate) fn state(&self) -> Vec<Row> {
        [self.store.rows(Table::Mls), self.store.rows(Table::Groups)].concat()
    }
}

/// A group whose first peer owns it.
pub(crate) fn group_of(names: &[&str]) -> Vec<Peer> {
    let mut peers: Vec<Peer> = names.iter().zip(1..).map(|(name, seed)| Peer::new(name, seed)).collect();
    let (owner, others) = peers.split_first_mut().unwrap();
    owner.create();
    let packages: Vec<_> = others.iter_mut().map(Peer::key_package).collect();
    if !packages.is_empty() {
        let prepared = owner.add(&packages).unwrap();
        owner.merge();
        for (peer, welcome) in others.iter_mut().zip(&prepared.welcomes) {
            peer.join(&welcome.bytes).unwrap();
        }
    }
    assert_alike(&mut peers);
    peers
}

/// Merges the commit of the peer at `author` everywhere.
pub(crate) fn commit_everywhere(peers: &mut [Peer], author: usize, prepared: &PreparedCommit) {
    for (index, peer) in peers.iter_mut().enumerate() {
        if index == author {
            assert_eq!(peer.merge(), prepared.change);
        } else {
            let processed = peer.process(&prepared.commit).unwrap();
            assert!(matches!(processed, Processed::Commit(_)));
        }
    }
}

/// All peers agree on roster, settings and keys.
pub(crate) fn assert_alike(peers: &mut [Peer]) {
    let first = (peers[0].roster().unwrap(), peers[0].policy(), peers[0].evidence());
    for peer in &mut peers[1..] {
        assert_eq!((peer.roster().unwrap(), peer.policy(), peer.evidence()), first);
    }
}
