//! A-GR-06, A-GR-07, A-GR-08, A-GR-09: commits, proposals, messages, Welcomes and key packages that break a rule.

use openmls::prelude::{
    ApplicationIdExtension, Capabilities, Ciphersuite, CredentialWithKey, Extension, ExtensionType, Extensions,
    ExternalSendersExtension, JoinProposal, LeafNodeParameters, Lifetime, MlsGroup, MlsMessageBodyIn, MlsMessageIn,
    NewSignerBundle, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, PreSharedKeyProposal, Proposal, RequiredCapabilitiesExtension,
    UnknownExtension,
};
use openmls::schedule::PreSharedKeyId;
use openmls::treesync::LeafNodeSource;
use openmls_traits::OpenMlsProvider as _;
use tls_codec::DeserializeBytes as _;

use super::evil::{self, Forged, commit, context, make};
use super::world::{AAD, LOG, NOW, Peer, assert_alike, commit_everywhere, group_of};
use crate::crypto::sign::SigningKey;
use crate::group::leaf::{self, POLICY_EXTENSION};
use crate::group::provider::{DeviceSigner, SUITE};
use crate::group::{self, GroupError, KeyPackageError, Policy, Refusal, Role, join_config};
use crate::store::StoreError;

/// A suite with a 128-bit AEAD.
const OTHER_SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

fn forbidden(refusal: Refusal) -> GroupError {
    GroupError::Forbidden { refusal }
}

/// Every honest peer refuses `bytes` for the same reason, and stays as it is.
fn all_refuse(peers: &mut [Peer], author: usize, name: &str, bytes: &[u8], expected: GroupError) {
    for (index, peer) in peers.iter_mut().enumerate().filter(|(index, _)| *index != author) {
        let before = peer.state();
        let refused = peer.process(bytes);
        assert_eq!(refused.unwrap_err(), expected, "{name}, refused by {index}");
        assert_eq!(peer.state(), before, "{name}, state of {index}");
    }
}

fn roles(policy: &Policy, of: &[(&Peer, Role)]) -> Policy {
    of.iter().fold(policy.clone(), |policy, (peer, role)| policy.with_role(peer.account(), *role).unwrap())
}

fn required() -> Extension {
    leaf::context_of(&Policy::new("", super::world::Peer::new("x", 1).account()).unwrap())
        .iter()
        .next()
        .unwrap()
        .clone()
}

fn policy_extension(policy: &Policy) -> Extension {
    Extension::Unknown(POLICY_EXTENSION, UnknownExtension(policy.encode()))
}

// spec GRP-22, spec GRP-23, A-GR-07: ben is a member, cem an admin, ann and dot are owners
#[test]
fn commits_that_a_role_forbids_are_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem", "dot"]);
    let policy = peers[0].policy();
    let policy = roles(&policy, &[(&peers[2], Role::Admin), (&peers[3], Role::Owner)]);
    let prepared = peers[0].set_policy(&policy).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    let mut eve = Peer::new("eve", 50);
    let package = eve.key_package().package;
    let at = |peers: &[Peer], peer: usize| {
        let account = peers[peer].account();
        peers[peer].copy().roster().unwrap().iter().find(|member| member.account == account).unwrap().leaf.as_u32()
    };
    let leaves: Vec<_> = (0..4).map(|peer| openmls::prelude::LeafNodeIndex::new(at(&peers, peer))).collect();
    let renamed = policy.clone().with_name("Mine").unwrap();
    let ben_owns = roles(&policy, &[(&peers[1], Role::Owner)]);
    let cem_owns = roles(&policy, &[(&peers[2], Role::Owner)]);
    let no_dot = roles(&policy, &[(&peers[3], Role::Member)]);

    let cases: Vec<(&str, usize, Vec<u8>)> = vec![
        ("a member adds", 1, commit(&peers[1], |builder| builder.propose_adds([package.clone()]))),
        ("a member removes", 1, commit(&peers[1], |builder| builder.propose_removals([leaves[2]]))),
        ("a member removes an owner", 1, commit(&peers[1], |builder| builder.propose_removals([leaves[0]]))),
        ("a member renames", 1, context(&peers[1], vec![required(), policy_extension(&renamed)])),
        ("a member makes itself owner", 1, context(&peers[1], vec![required(), policy_extension(&ben_owns)])),
        ("an admin makes itself owner", 2, context(&peers[2], vec![required(), policy_extension(&cem_owns)])),
        ("an admin demotes an owner", 2, context(&peers[2], vec![required(), policy_extension(&no_dot)])),
        ("an admin removes an owner", 2, commit(&peers[2], |builder| builder.propose_removals([leaves[3]]))),
        ("one bad removal among good ones", 2, {
            commit(&peers[2], |builder| builder.propose_removals([leaves[1], leaves[3]]))
        }),
        ("one bad removal beside a good add", 2, {
            commit(&peers[2], |builder| builder.propose_adds([package.clone()]).propose_removals([leaves[3]]))
        }),
    ];
    for (name, author, bytes) in cases {
        all_refuse(&mut peers, author, name, &bytes, forbidden(Refusal::NotPermitted));
    }
    assert_alike(&mut peers);

    let prepared = peers[2].add(&[eve.key_package()]).unwrap();
    commit_everywhere(&mut peers, 2, &prepared);
    eve.join(&prepared.welcomes[0].bytes).unwrap();
}

// spec GRP-11, A-GR-06, A-GR-08: even by the owner
#[test]
fn a_group_context_without_its_policy_is_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let policy = peers[0].policy();
    let extensions = [ExtensionType::Unknown(POLICY_EXTENSION)];
    let fewer = Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(&extensions, &[], &[]));
    let external = openmls::prelude::ExternalSender::new(
        peers[0].us.device().signing().as_bytes().as_slice().into(),
        leaf::credential_with_key(&peers[0].us).credential,
    );
    let mut garbage = policy.encode();
    garbage[0] = 9;
    let empty = Extension::Unknown(POLICY_EXTENSION, UnknownExtension(Vec::new()));
    let garbage = Extension::Unknown(POLICY_EXTENSION, UnknownExtension(garbage));
    let senders: ExternalSendersExtension = vec![external];
    let cases = [
        ("policy stripped", vec![required()]),
        ("capabilities weakened", vec![fewer, policy_extension(&policy)]),
        ("policy of a newer version", vec![required(), garbage]),
        ("policy empty", vec![required(), empty]),
        ("external senders", vec![required(), policy_extension(&policy), Extension::ExternalSenders(senders)]),
    ];
    for (name, extensions) in cases {
        let bytes = context(&peers[0], extensions);
        all_refuse(&mut peers, 0, name, &bytes, forbidden(Refusal::BadContext));
    }
    let nobody = roles(&policy, &[(&peers[0], Role::Admin)]);
    let bytes = context(&peers[0], vec![required(), policy_extension(&nobody)]);
    all_refuse(&mut peers, 0, "no owner", &bytes, forbidden(Refusal::NoOwnerLeft));
    let absent = Policy::new("Walkers", Peer::new("absent", 70).account()).unwrap();
    let bytes = context(&peers[0], vec![required(), policy_extension(&absent)]);
    all_refuse(&mut peers, 0, "an owner without a leaf", &bytes, forbidden(Refusal::NoOwnerLeft));
    assert_alike(&mut peers);
}

// spec GRP-25, spec GRP-26, A-GR-06
#[test]
fn commits_of_a_wrong_shape_are_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let mut eve = Peer::new("eve", 50);
    let package = eve.key_package().package;

    let pathless = make(&peers[0], |provider, group, signer| {
        let adds = group.commit_builder().propose_adds([package.clone()]);
        let built = adds.load_psks(provider.storage()).unwrap();
        let built = built.build(provider.rand(), provider.crypto(), signer, |_| true).unwrap();
        built.stage_commit(provider).unwrap().into_messages().0
    });
    all_refuse(&mut peers, 0, "no path", &pathless, forbidden(Refusal::NoPath));

    let psk = make(&peers[0], |provider, group, signer| {
        let id = PreSharedKeyId::external(b"known to all?".to_vec(), vec![1; 32]);
        id.store(provider, &[2; 32]).unwrap();
        let with_psk = Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(id)));
        let built = group.commit_builder().add_proposal(with_psk).load_psks(provider.storage()).unwrap();
        let built = built.build(provider.rand(), provider.crypto(), signer, |_| true).unwrap();
        built.stage_commit(provider).unwrap().into_messages().0
    });
    all_refuse(&mut peers, 0, "a pre-shared key", &psk, GroupError::InvalidCommit);

    let encrypted = make(&peers[0], |provider, group, signer| {
        let config = openmls::prelude::MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .build();
        group.set_configuration(provider.storage(), &config).unwrap();
        group.self_update(provider, signer, LeafNodeParameters::default()).unwrap().into_commit()
    });
    all_refuse(&mut peers, 0, "an encrypted commit", &encrypted, GroupError::Malformed);

    let unknown_reference = make(&peers[0], |provider, group, signer| {
        let cem = group.members().last().unwrap().index;
        group.propose_remove_member(provider, signer, cem).unwrap();
        group.set_aad(AAD.to_vec());
        group.commit_to_pending_proposals(provider, signer).unwrap().0
    });
    all_refuse(&mut peers, 0, "a reference to nothing", &unknown_reference, GroupError::InvalidCommit);
    assert_alike(&mut peers);
}

// spec GRP-26, A-GR-05: one clone cannot change what the leaf says
#[test]
fn a_leaf_that_changes_its_credential_key_or_capabilities_is_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let other = Peer::new("other", 50);
    let own = leaf::credential_with_key(&peers[1].us);
    let others = leaf::credential_with_key(&other.us);
    let of = |parameters: LeafNodeParameters| commit(&peers[1], |builder| builder.leaf_node_parameters(parameters));

    let mixed = CredentialWithKey { credential: others.credential.clone(), signature_key: own.signature_key.clone() };
    let mixed = of(LeafNodeParameters::builder().with_credential_with_key(mixed).build());
    let weak = evil::capabilities(&[SUITE, OTHER_SUITE]);
    let weak = of(LeafNodeParameters::builder().with_capabilities(weak).build());
    let application = Extension::ApplicationId(ApplicationIdExtension::new(b"1"));
    let extended = of(LeafNodeParameters::builder().with_extensions(Extensions::single(application).unwrap()).build());
    let other_key = |credential: CredentialWithKey, signer: &SigningKey| {
        make(&peers[1], |provider, group, old| {
            let bundle = NewSignerBundle { signer: &DeviceSigner(signer), credential_with_key: credential };
            group
                .self_update_with_new_signer(provider, old, bundle, LeafNodeParameters::default())
                .unwrap()
                .into_commit()
        })
    };
    let stolen_leaf = other_key(others.clone(), other.us.signing_key());
    let fresh = SigningKey::from_seed(&crate::crypto::Secret32::from_bytes([5; 32]));
    let fresh_key = fresh.verify_key().as_bytes().as_slice().into();
    let fresh = other_key(CredentialWithKey { credential: own.credential.clone(), signature_key: fresh_key }, &fresh);

    for (name, bytes, refusal) in [
        ("another's credential", mixed, Refusal::BadLeaf),
        ("a suite with a 128-bit AEAD", weak, Refusal::BadLeaf),
        ("a leaf extension", extended, Refusal::BadLeaf),
        ("another certified device", stolen_leaf, Refusal::LeafChanged),
        ("an uncertified key", fresh, Refusal::BadLeaf),
    ] {
        all_refuse(&mut peers, 1, name, &bytes, forbidden(refusal));
    }
    assert_alike(&mut peers);
}

// spec GRP-03, spec GRP-04, A-GR-06, A-GR-09, A-GR-13: the members check what the adder should have
#[test]
fn adds_of_leaves_out_of_order_are_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let mut eve = Peer::new("eve", 50);
    let now = NOW.as_u64();
    let ann = leaf::credential_with_key(&peers[0].us);
    let key = leaf::credential_with_key(&eve.us).signature_key;
    let weak = evil::capabilities(&[SUITE, OTHER_SUITE]);
    let cases = [
        ("84 days", Forged { lifetime: Lifetime::new(84 * 86_400), ..Forged::of(&eve, now) }),
        ("no credential", Forged { credential: evil::uncertified(&eve), ..Forged::of(&eve, now) }),
        (
            "the credential of another",
            Forged {
                credential: CredentialWithKey { credential: ann.credential, signature_key: key },
                ..Forged::of(&eve, now)
            },
        ),
        ("a suite with a 128-bit AEAD", Forged { capabilities: weak, ..Forged::of(&eve, now) }),
    ];
    for (name, forged) in cases {
        let package = forged.build(&mut eve);
        let refused = group::verify_key_package(&evil::published(package.clone()), NOW);
        assert_eq!(refused.unwrap_err(), KeyPackageError::BadLeaf.into(), "{name}");
        let (bytes, welcome) = evil::commit_and_welcome(&peers[0], |builder| builder.propose_adds([package]));
        all_refuse(&mut peers, 0, name, &bytes, forbidden(Refusal::BadLeaf));
        let before = eve.state();
        assert_eq!(eve.join(&welcome.unwrap()).unwrap_err(), forbidden(Refusal::BadLeaf), "{name}");
        assert_eq!(eve.state(), before);
    }
    assert_alike(&mut peers);
}

// spec GRP-05, A-GR-09, A-GR-13
#[test]
fn the_adder_refuses_key_packages_that_the_members_could_not_judge() {
    let mut eve = Peer::new("eve", 50);
    let now = NOW.as_u64();
    let century_ms = 100 * 365 * 86_400_000;
    let other = OTHER_SUITE;
    let both = evil::capabilities(&[SUITE, other]);
    let fewer =
        Capabilities::builder().ciphersuites(vec![SUITE]).extensions(leaf::capabilities().extensions().to_vec());
    let cases = [
        (Forged { validity: Some((now, now + century_ms)), ..Forged::of(&eve, now) }, KeyPackageError::BadValidity),
        (Forged { validity: Some((now, now - 1)), ..Forged::of(&eve, now) }, KeyPackageError::BadValidity),
        (Forged { validity: None, ..Forged::of(&eve, now) }, KeyPackageError::BadValidity),
        (Forged { lifetime: Lifetime::init(0, century_ms), ..Forged::of(&eve, now) }, KeyPackageError::BadLeaf),
        (Forged { suite: other, capabilities: both, ..Forged::of(&eve, now) }, KeyPackageError::OtherSuite),
        (Forged { capabilities: fewer.build(), ..Forged::of(&eve, now) }, KeyPackageError::BadLeaf),
    ];
    for (index, (forged, expected)) in cases.into_iter().enumerate() {
        let bytes = evil::published(forged.build(&mut eve));
        assert_eq!(group::verify_key_package(&bytes, NOW).unwrap_err(), expected.into(), "case {index}");
    }
    let honest = evil::published(Forged::of(&eve, now).build(&mut eve));
    assert!(group::verify_key_package(&honest, NOW).is_ok());
}

// spec GRP-27, A-GR-06: TRAP 4
#[test]
fn standalone_proposals_other_than_leaving_are_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let mut eve = Peer::new("eve", 50);
    let package = eve.key_package().package;
    let renamed = leaf::context_of(&peers[0].policy().with_name("Mine").unwrap());
    let cases = [
        (
            "add",
            make(&peers[0], |provider, group, signer| group.propose_add_member(provider, signer, &package).unwrap().0),
        ),
        (
            "remove",
            make(&peers[0], |provider, group, signer| {
                let last = group.members().last().unwrap().index;
                group.propose_remove_member(provider, signer, last).unwrap().0
            }),
        ),
        ("remove itself", make(&peers[0], |provider, group, signer| group.leave_group(provider, signer).unwrap())),
        (
            "update",
            make(&peers[0], |provider, group, signer| {
                group.propose_self_update(provider, signer, LeafNodeParameters::default()).unwrap().0
            }),
        ),
        (
            "context",
            make(&peers[0], |provider, group, signer| {
                group.propose_group_context_extensions(provider, renamed, signer).unwrap().0
            }),
        ),
        (
            "pre-shared key",
            make(&peers[0], |provider, group, signer| {
                let id = PreSharedKeyId::external(b"id".to_vec(), vec![1; 32]);
                id.store(provider, &[2; 32]).unwrap();
                group.propose_pre_shared_key(provider, signer, id).unwrap().0
            }),
        ),
    ];
    for (name, bytes) in cases {
        all_refuse(&mut peers, 0, name, &bytes, forbidden(Refusal::ProposalType));
        assert!(peers[1].seal(b"not silenced").is_ok());
    }
}

// spec GRP-29, A-GR-06, A-GR-07, A-GR-17
#[test]
fn nobody_comes_in_from_outside() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let mut eve = Peer::new("eve", 50);
    let package = eve.key_package().package;
    let epoch = openmls::prelude::GroupEpoch::from(peers[0].step(|tx, _, _| group::epoch(tx, LOG)).unwrap().as_u64());
    let signer = DeviceSigner(eve.us.signing_key());
    let asks = JoinProposal::new::<crate::group::storage::Rows<'_, '_>>(package, group::group_id(LOG), epoch, &signer)
        .unwrap();
    all_refuse(&mut peers, 3, "an external proposal", &asks.to_bytes().unwrap(), forbidden(Refusal::NotAMember));

    let info =
        make(&peers[0], |provider, group, signer| group.export_group_info(provider.crypto(), signer, true).unwrap());
    let info = MlsMessageIn::tls_deserialize_exact_bytes(&info).unwrap();
    let MlsMessageBodyIn::GroupInfo(info) = info.extract() else { panic!("no group info") };
    let overlay = crate::store::Overlay::default();
    let mut tx = crate::store::Tx::new(&eve.store, &overlay);
    let provider = crate::group::provider::Provider::drawing(&mut tx, &mut eve.rng);
    let (_, bundle) = MlsGroup::external_commit_builder()
        .with_config(join_config())
        .with_aad(AAD.to_vec())
        .build_group(&provider, info, leaf::credential_with_key(&eve.us))
        .unwrap()
        .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(leaf::capabilities()).build())
        .load_psks(provider.storage())
        .unwrap()
        .build(provider.rand(), provider.crypto(), &signer, |_| true)
        .unwrap()
        .finalize(&provider)
        .unwrap();
    let commit = bundle.into_commit().to_bytes().unwrap();
    all_refuse(&mut peers, 3, "an external commit", &commit, forbidden(Refusal::NotAMember));
    assert_alike(&mut peers);
}

// spec GRP-20, A-GR-07
#[test]
fn a_message_of_an_observer_is_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let policy = peers[0].policy().with_role(peers[1].account(), Role::Observer).unwrap();
    let prepared = peers[0].set_policy(&policy).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    let message = make(&peers[1], |provider, group, signer| group.create_message(provider, signer, b"psst").unwrap());
    all_refuse(&mut peers, 1, "an observer speaks", &message, forbidden(Refusal::NotPermitted));
}

// spec GRP-29, A-GR-07
#[test]
fn a_welcome_is_judged_like_a_commit() {
    let mut peers = group_of(&["ann", "ben"]);
    let mut eve = Peer::new("eve", 50);
    let package = eve.key_package().package;
    let (_, welcome) = evil::commit_and_welcome(&peers[1], |builder| builder.propose_adds([package]));
    refused_welcome(&mut eve, &welcome.unwrap(), forbidden(Refusal::NotPermitted));

    let (account, ben) = (eve.account(), peers[1].account());
    let policy = Policy::new("Trap", ben).unwrap();
    let owned_by_eve = Policy::new("Trap", account).unwrap();
    let elevated = policy.clone().with_role(ben, Role::Admin).unwrap().with_role(account, Role::Owner).unwrap();
    let cases = [
        (vec![], forbidden(Refusal::BadContext)),
        (vec![required()], forbidden(Refusal::BadContext)),
        (vec![required(), policy_extension(&owned_by_eve)], forbidden(Refusal::NotPermitted)),
        (vec![required(), policy_extension(&elevated)], forbidden(Refusal::NotPermitted)),
        (vec![required(), policy_extension(&Policy::new("", Peer::new("gone", 9).account()).unwrap())], {
            forbidden(Refusal::NotPermitted)
        }),
    ];
    for (extensions, expected) in cases {
        let package = eve.key_package().package;
        let welcome = evil::lawless_welcome(&peers[1], extensions, package);
        refused_welcome(&mut eve, &welcome, expected);
    }
    let package = eve.key_package().package;
    let fine = evil::lawless_welcome(&peers[1], vec![required(), policy_extension(&policy)], package);
    eve.join(&fine).unwrap();

    // Somebody else's own device is no reason to be let in.
    let mut dot = Peer::new("dot", 60);
    let package = dot.key_package();
    let prepared = peers[0].add(&[package]).unwrap();
    refused_welcome(&mut eve, &prepared.welcomes[0].bytes, GroupError::NoKeyPackage);
}

fn refused_welcome(peer: &mut Peer, welcome: &[u8], expected: GroupError) {
    let before = peer.state();
    assert_eq!(peer.join(welcome).unwrap_err(), expected);
    assert_eq!(peer.state(), before);
}

// spec GRP-32
#[test]
fn a_welcome_with_one_changed_bit_is_refused_and_its_key_package_stays() {
    let mut ann = Peer::new("ann", 1);
    ann.create();
    let mut ben = Peer::new("ben", 2);
    let welcome = ann.add(&[ben.key_package()]).unwrap().welcomes.remove(0).bytes;
    let before = ben.state();
    for at in (0..welcome.len()).step_by(41) {
        let mut changed = welcome.clone();
        changed[at] ^= 0x10;
        assert!(ben.join(&changed).is_err(), "byte {at}");
    }
    assert_eq!(ben.state(), before);
    ben.join(&welcome).unwrap();
}

// spec GRP-28, A-GR-06
#[test]
fn a_commit_with_too_many_adds_is_refused_by_every_member() {
    let mut peers = group_of(&["ann", "ben"]);
    let packages: Vec<_> = (0..33).map(|n| Peer::new("new", 100 + n).key_package().package).collect();
    let bytes = commit(&peers[0], |builder| builder.propose_adds(packages));
    all_refuse(&mut peers, 0, "33 adds", &bytes, forbidden(Refusal::TooManyAdds));
}

// spec GRP-06: TRAPs 6, 7, 23
#[test]
fn a_group_is_set_up_as_the_spec_says() {
    let peers = group_of(&["ann", "ben"]);
    for peer in &peers {
        make(peer, |provider, group, signer| {
            assert_eq!(group.ciphersuite(), SUITE);
            assert_eq!(group.configuration(), &join_config());
            assert_eq!(group.configuration().padding_size(), 0);
            for (_, leaf) in group.treesync().full_leaves() {
                assert_eq!(leaf.capabilities(), &leaf::capabilities());
                assert!(!matches!(leaf.leaf_node_source(), LeafNodeSource::Update));
            }
            group.create_message(provider, signer, b"").unwrap()
        });
    }
}

// TRAP 8: what the store says goes before what openmls makes of it
#[test]
fn a_store_that_fails_is_reported_and_nothing_is_written() {
    let mut peers = group_of(&["ann", "ben"]);
    let message = peers[0].seal(b"hello").unwrap();
    let commit = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap().commit;
    for bytes in [message, commit] {
        let mut outcomes = Vec::new();
        for reads in 0..60 {
            let store = super::stores::Failing::after(&peers[1].store, reads);
            let overlay = crate::store::Overlay::default();
            let mut tx = crate::store::Tx::new(&store, &overlay);
            let result = group::process(&mut tx, LOG, AAD, &bytes);
            outcomes.push(result.is_ok());
            if let Err(error) = result {
                assert_eq!(error, GroupError::Store { error: StoreError::Medium }, "after {reads} reads");
                assert!(tx.into_batch().is_empty());
            }
        }
        assert!(!outcomes[0] && outcomes[59]);
        assert!(outcomes.is_sorted());
    }
    assert!(matches!(peers[1].process(b""), Err(GroupError::Malformed)));
}
