//! What openmls keeps, as rows of the step's own batch.
//!
//! ```text
//! key   = kind (u8) ‖ CBOR of the openmls key          value = 1 (u8) ‖ CBOR of the openmls value
//! ```
//!
//! Values are self-describing (CBOR), so that a newer openmls reads what an older one wrote. openmls writes about ten rows
//! per merge and knows no transaction: all of them go through one [`Tx`], which the facade takes back on any error.
//!
//! Invariant: a store failure is remembered even where openmls swallows it; [`Rows::failure`] wins over what openmls says.
//! Leaves out caches: a group is read from its rows for every call.

use std::cell::{Cell, RefCell};

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{StoreError, Table, Tx};

/// The rows of openmls, inside one step.
pub(super) struct Rows<'t, 's> {
    tx: RefCell<&'t mut Tx<'s>>,
    failure: Cell<Option<StoreError>>,
}

/// What a row holds. The numbers are part of every store on disk and never change.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    JoinConfig = 1,
    OwnLeafNodes = 2,
    ProposalRefs = 3,
    Proposal = 4,
    Tree = 5,
    InterimTranscriptHash = 6,
    Context = 7,
    ConfirmationTag = 8,
    GroupState = 9,
    MessageSecrets = 10,
    ResumptionPsks = 11,
    OwnLeafIndex = 12,
    EpochSecrets = 13,
    SignatureKeyPair = 14,
    EncryptionKeyPair = 15,
    EpochKeyPairs = 16,
    KeyPackage = 17,
    Psk = 18,
}

const VALUE_VERSION: u8 = 1;

impl<'t, 's> Rows<'t, 's> {
    pub(super) fn new(tx: &'t mut Tx<'s>) -> Self {
        Self { tx: RefCell::new(tx), failure: Cell::new(None) }
    }

    /// The first store failure of this step, if there was one.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.failure.get()
    }

    fn put(&self, kind: Kind, key: &impl Serialize, value: &(impl Serialize + ?Sized)) -> Result<(), StoreError> {
        let key = self.row_key(kind, key)?;
        let value = self.noted(encode(&[VALUE_VERSION], value))?;
        self.tx.borrow_mut().put(Table::Mls, &key, value);
        Ok(())
    }

    fn get<V: DeserializeOwned>(&self, kind: Kind, key: &impl Serialize) -> Result<Option<V>, StoreError> {
        let key = self.row_key(kind, key)?;
        let Some(value) = self.noted(self.tx.borrow().get(Table::Mls, &key))? else { return Ok(None) };
        self.noted(decode(&value)).map(Some)
    }

    fn list<V: DeserializeOwned>(&self, kind: Kind, key: &impl Serialize) -> Result<Vec<V>, StoreError> {
        Ok(self.get(kind, key)?.unwrap_or_default())
    }

    fn append<V: Serialize + DeserializeOwned>(
        &self,
        kind: Kind,
        key: &impl Serialize,
        value: &V,
    ) -> Result<(), StoreError> {
        let stored: Vec<ciborium::Value> = self.list(kind, key)?;
        let value = self.noted(ciborium::Value::serialized(value).map_err(|_| StoreError::Corrupt))?;
        let all: Vec<ciborium::Value> = stored.into_iter().chain([value]).collect();
        self.put(kind, key, &all)
    }

    fn delete(&self, kind: Kind, key: &impl Serialize) -> Result<(), StoreError> {
        let key = self.row_key(kind, key)?;
        self.tx.borrow_mut().delete(Table::Mls, &key);
        Ok(())
    }

    fn row_key(&self, kind: Kind, key: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        self.noted(encode(&[kind as u8], key))
    }

    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let (Err(error), None) = (&result, self.failure.get()) {
            self.failure.set(Some(*error));
        }
        result
    }
}

fn encode(prefix: &[u8], value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, StoreError> {
    let mut bytes = prefix.to_vec();
    ciborium::into_writer(value, &mut bytes).map_err(|_| StoreError::Corrupt)?;
    Ok(bytes)
}

fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, StoreError> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, cbor)) => ciborium::from_reader(cbor).map_err(|_| StoreError::Corrupt),
        Some((version, _)) if *version > VALUE_VERSION => Err(StoreError::TooNew),
        _ => Err(StoreError::Corrupt),
    }
}

/// One row per key: `K` is the type of the key, `V` of the value, in the order of the trait.
macro_rules! rows {
    ($(put $method:ident($kind:ident) [$($generic:ident: $bound:ident),*];)*) => {
        $(fn $method<$($generic: traits::$bound<CURRENT_VERSION>),*>(&self, key: &K, value: &V) -> Result<(), StoreError> {
            self.put(Kind::$kind, key, value)
        })*
    };
    ($(get $method:ident($kind:ident) [$($generic:ident: $bound:ident),*];)*) => {
        $(fn $method<$($generic: traits::$bound<CURRENT_VERSION>),*>(&self, key: &K) -> Result<Option<V>, StoreError> {
            self.get(Kind::$kind, key)
        })*
    };
    ($(delete $method:ident($kind:ident) [$bound:ident];)*) => {
        $(fn $method<K: traits::$bound<CURRENT_VERSION>>(&self, key: &K) -> Result<(), StoreError> {
            self.delete(Kind::$kind, key)
        })*
    };
}

impl StorageProvider<CURRENT_VERSION> for Rows<'_, '_> {
    type Error = StoreError;

    rows! {
        put write_mls_join_config(JoinConfig) [K: GroupId, V: MlsGroupJoinConfig];
        put write_tree(Tree) [K: GroupId, V: TreeSync];
        put write_interim_transcript_hash(InterimTranscriptHash) [K: GroupId, V: InterimTranscriptHash];
        put write_context(Context) [K: GroupId, V: GroupContext];
        put write_confirmation_tag(ConfirmationTag) [K: GroupId, V: ConfirmationTag];
        put write_group_state(GroupState) [V: GroupState, K: GroupId];
        put write_message_secrets(MessageSecrets) [K: GroupId, V: MessageSecrets];
        put write_resumption_psk_store(ResumptionPsks) [K: GroupId, V: ResumptionPskStore];
        put write_own_leaf_index(OwnLeafIndex) [K: GroupId, V: LeafNodeIndex];
        put write_group_epoch_secrets(EpochSecrets) [K: GroupId, V: GroupEpochSecrets];
        put write_signature_key_pair(SignatureKeyPair) [K: SignaturePublicKey, V: SignatureKeyPair];
        put write_encryption_key_pair(EncryptionKeyPair) [K: EncryptionKey, V: HpkeKeyPair];
        put write_key_package(KeyPackage) [K: HashReference, V: KeyPackage];
        put write_psk(Psk) [K: PskId, V: PskBundle];
    }

    rows! {
        get mls_group_join_config(JoinConfig) [K: GroupId, V: MlsGroupJoinConfig];
        get tree(Tree) [K: GroupId, V: TreeSync];
        get group_context(Context) [K: GroupId, V: GroupContext];
        get interim_transcript_hash(InterimTranscriptHash) [K: GroupId, V: InterimTranscriptHash];
        get confirmation_tag(ConfirmationTag) [K: GroupId, V: ConfirmationTag];
        get group_state(GroupState) [V: GroupState, K: GroupId];
        get message_secrets(MessageSecrets) [K: GroupId, V: MessageSecrets];
        get resumption_psk_store(ResumptionPsks) [K: GroupId, V: ResumptionPskStore];
        get own_leaf_index(OwnLeafIndex) [K: GroupId, V: LeafNodeIndex];
        get group_epoch_secrets(EpochSecrets) [K: GroupId, V: GroupEpochSecrets];
        get signature_key_pair(SignatureKeyPair) [K: SignaturePublicKey, V: SignatureKeyPair];
        get encryption_key_pair(EncryptionKeyPair) [V: HpkeKeyPair, K: EncryptionKey];
        get key_package(KeyPackage) [K: HashReference, V: KeyPackage];
        get psk(Psk) [V: PskBundle, K: PskId];
    }

    rows! {
        delete delete_own_leaf_nodes(OwnLeafNodes) [GroupId];
        delete delete_group_config(JoinConfig) [GroupId];
        delete delete_tree(Tree) [GroupId];
        delete delete_confirmation_tag(ConfirmationTag) [GroupId];
        delete delete_group_state(GroupState) [GroupId];
        delete delete_context(Context) [GroupId];
        delete delete_interim_transcript_hash(InterimTranscriptHash) [GroupId];
        delete delete_message_secrets(MessageSecrets) [GroupId];
        delete delete_all_resumption_psk_secrets(ResumptionPsks) [GroupId];
        delete delete_own_leaf_index(OwnLeafIndex) [GroupId];
        delete delete_group_epoch_secrets(EpochSecrets) [GroupId];
        delete delete_signature_key_pair(SignatureKeyPair) [SignaturePublicKey];
        delete delete_encryption_key_pair(EncryptionKeyPair) [EncryptionKey];
        delete delete_key_package(KeyPackage) [HashReference];
        delete delete_psk(Psk) [PskId];
    }

    fn append_own_leaf_node<K: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group: &K,
        leaf: &V,
    ) -> Result<(), StoreError> {
        self.append(Kind::OwnLeafNodes, group, leaf)
    }

    fn own_leaf_nodes<K: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        group: &K,
    ) -> Result<Vec<V>, StoreError> {
        self.list(Kind::OwnLeafNodes, group)
    }

    fn queue_proposal<
        K: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group: &K,
        reference: &R,
        proposal: &V,
    ) -> Result<(), StoreError> {
        self.put(Kind::Proposal, &(group, reference), proposal)?;
        self.append(Kind::ProposalRefs, group, reference)
    }

    fn queued_proposal_refs<K: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group: &K,
    ) -> Result<Vec<R>, StoreError> {
        self.list(Kind::ProposalRefs, group)
    }

    fn queued_proposals<
        K: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group: &K,
    ) -> Result<Vec<(R, V)>, StoreError> {
        let references: Vec<R> = self.list(Kind::ProposalRefs, group)?;
        let with_proposal = |reference| {
            let proposal = self.get(Kind::Proposal, &(group, &reference))?;
            Ok((reference, self.noted(proposal.ok_or(StoreError::Corrupt))?))
        };
        references.into_iter().map(with_proposal).collect()
    }

    fn remove_proposal<K: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group: &K,
        reference: &R,
    ) -> Result<(), StoreError> {
        self.delete(Kind::Proposal, &(group, reference))?;
        let removed = self.noted(ciborium::Value::serialized(reference).map_err(|_| StoreError::Corrupt))?;
        let mut left: Vec<ciborium::Value> = self.list(Kind::ProposalRefs, group)?;
        left.retain(|reference| *reference != removed);
        self.put(Kind::ProposalRefs, group, &left)
    }

    fn clear_proposal_queue<K: traits::GroupId<CURRENT_VERSION>, R: traits::ProposalRef<CURRENT_VERSION>>(
        &self,
        group: &K,
    ) -> Result<(), StoreError> {
        let references: Vec<R> = self.list(Kind::ProposalRefs, group)?;
        references.iter().try_for_each(|reference| self.delete(Kind::Proposal, &(group, reference)))?;
        self.delete(Kind::ProposalRefs, group)
    }

    fn write_encryption_epoch_key_pairs<
        K: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &K,
        epoch: &E,
        leaf: u32,
        pairs: &[V],
    ) -> Result<(), StoreError> {
        self.put(Kind::EpochKeyPairs, &(group, epoch, leaf), pairs)
    }

    fn encryption_epoch_key_pairs<
        K: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &K,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<V>, StoreError> {
        self.list(Kind::EpochKeyPairs, &(group, epoch, leaf))
    }

    fn delete_encryption_epoch_key_pairs<K: traits::GroupId<CURRENT_VERSION>, E: traits::EpochKey<CURRENT_VERSION>>(
        &self,
        group: &K,
        epoch: &E,
        leaf: u32,
    ) -> Result<(), StoreError> {
        self.delete(Kind::EpochKeyPairs, &(group, epoch, leaf))
    }
}
