//! What a member can make that holds the group's real secrets and obeys nobody.

use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CommitBuilder, CredentialWithKey, Extension, Extensions, GroupContext,
    Initial, KeyPackage, KeyPackageBuilder, Lifetime, MlsGroup, MlsMessageOut, UnknownExtension,
};
use openmls_traits::OpenMlsProvider as _;
use tls_codec::Serialize as _;

use super::world::{AAD, LOG, Peer};
use crate::group::leaf::{self, VALIDITY_EXTENSION};
use crate::group::provider::{DeviceSigner, Provider, SUITE};
use crate::group::{group_id, load};
use crate::store::{Overlay, Store as _, Tx};

/// Lets a copy of `peer` do as it likes; the peer itself stays as it is.
pub(super) fn make(
    peer: &Peer,
    make: impl FnOnce(&Provider<'_, '_, '_>, &mut MlsGroup, &DeviceSigner<'_>) -> MlsMessageOut,
) -> Vec<u8> {
    let mut copy = peer.copy();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&copy.store, &overlay);
    let provider = Provider::drawing(&mut tx, &mut copy.rng);
    let mut group = load(&provider, LOG).unwrap();
    group.set_aad(AAD.to_vec());
    make(&provider, &mut group, &DeviceSigner(copy.us.signing_key())).to_bytes().unwrap()
}

/// A commit of whatever `propose` puts into it, and its Welcome.
pub(super) fn commit_and_welcome(
    peer: &Peer,
    propose: impl FnOnce(CommitBuilder<'_, Initial>) -> CommitBuilder<'_, Initial>,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut welcome = None;
    let commit = make(peer, |provider, group, signer| {
        let (commit, for_new, _) = propose(group.commit_builder().force_self_update(true))
            .load_psks(provider.storage())
            .unwrap()
            .build(provider.rand(), provider.crypto(), signer, |_| true)
            .unwrap()
            .stage_commit(provider)
            .unwrap()
            .into_messages();
        welcome = for_new.map(|welcome| welcome.to_bytes().unwrap());
        commit
    });
    (commit, welcome)
}

/// A commit of whatever `propose` puts into it.
pub(super) fn commit(
    peer: &Peer,
    propose: impl FnOnce(CommitBuilder<'_, Initial>) -> CommitBuilder<'_, Initial>,
) -> Vec<u8> {
    commit_and_welcome(peer, propose).0
}

/// A commit that replaces the group context.
pub(super) fn context(peer: &Peer, extensions: Vec<Extension>) -> Vec<u8> {
    let extensions: Extensions<GroupContext> = Extensions::from_vec(extensions).unwrap();
    commit(peer, |builder| builder.propose_group_context_extensions(extensions).unwrap())
}

/// How a key package differs from an honest one.
pub(super) struct Forged {
    pub(super) suite: Ciphersuite,
    pub(super) lifetime: Lifetime,
    pub(super) capabilities: Capabilities,
    pub(super) credential: CredentialWithKey,
    pub(super) validity: Option<(u64, u64)>,
}

impl Forged {
    /// An honest one, to be spoiled in one place.
    pub(super) fn of(peer: &Peer, now: u64) -> Self {
        Self {
            suite: SUITE,
            lifetime: leaf::lifetime(),
            capabilities: leaf::capabilities(),
            credential: leaf::credential_with_key(&peer.us),
            validity: Some((now, now + 1_000)),
        }
    }

    /// Signs it with the device's own key, and stores its secrets, so that the device could join with it.
    pub(super) fn build(self, peer: &mut Peer) -> KeyPackage {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&peer.store, &overlay);
        let provider = Provider::drawing(&mut tx, &mut peer.rng);
        let builder = KeyPackageBuilder::new()
            .key_package_lifetime(self.lifetime)
            .leaf_node_capabilities(self.capabilities)
            .key_package_extensions(match self.validity {
                Some((not_before, not_after)) => {
                    let bytes = [&[1][..], &not_before.to_be_bytes(), &not_after.to_be_bytes()].concat();
                    Extensions::single(Extension::Unknown(VALIDITY_EXTENSION, UnknownExtension(bytes))).unwrap()
                }
                None => Extensions::default(),
            });
        let signer = DeviceSigner(peer.us.signing_key());
        let package = builder.build(self.suite, &provider, &signer, self.credential).unwrap().into_key_package();
        peer.store.commit(&tx.into_batch()).unwrap();
        package
    }
}

/// Our capabilities with other suites.
pub(super) fn capabilities(suites: &[Ciphersuite]) -> Capabilities {
    let ours = leaf::capabilities();
    Capabilities::builder()
        .ciphersuites(suites.to_vec())
        .extensions(ours.extensions().to_vec())
        .proposals(ours.proposals().to_vec())
        .build()
}

/// A key package as the directory hands it out.
pub(super) fn published(package: KeyPackage) -> Vec<u8> {
    MlsMessageOut::from(package).tls_serialize_detached().unwrap()
}

/// A credential that nobody certified, over the key of `peer`.
pub(super) fn uncertified(peer: &Peer) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(b"I am ann".to_vec()).into(),
        signature_key: peer.us.device().signing().as_bytes().as_slice().into(),
    }
}

/// A group that a member makes without our rules, and a Welcome into it.
pub(super) fn lawless_welcome(peer: &Peer, extensions: Vec<Extension>, package: KeyPackage) -> Vec<u8> {
    let mut copy = peer.copy();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&copy.store, &overlay);
    let provider = Provider::drawing(&mut tx, &mut copy.rng);
    let signer = DeviceSigner(copy.us.signing_key());
    let mut group = MlsGroup::builder()
        .with_group_id(group_id(LOG))
        .replace_old_group()
        .ciphersuite(SUITE)
        .use_ratchet_tree_extension(true)
        .lifetime(leaf::lifetime())
        .with_capabilities(leaf::capabilities())
        .with_group_context_extensions(Extensions::from_vec(extensions).unwrap())
        .build(&provider, &signer, leaf::credential_with_key(&copy.us))
        .unwrap();
    let (_, welcome, _) = group.add_members(&provider, &signer, &[package]).unwrap();
    welcome.to_bytes().unwrap()
}
