//! The RFC 9420 vectors, through openmls on our provider and our rows.
//!
//! The files are not part of the project: they are read from the folder that `UNDERTONE_RFC9420_VECTORS` names, or from
//! `../shared/vectors/rfc9420`. Without one the test says so and passes.

use std::path::{Path, PathBuf};

use ciborium::Value;
use openmls::prelude::{
    KeyPackage, KeyPackageBundle, KeyPackageIn, MIXED_PLAINTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupJoinConfig,
    MlsMessageBodyIn, MlsMessageIn, ProcessedMessageContent, RatchetTreeIn, StagedWelcome,
};
use openmls::schedule::PreSharedKeyId;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::crypto::OpenMlsCrypto as _;
use openmls_traits::storage::StorageProvider as _;
use openmls_traits::types::Ciphersuite;
use rand::SeedableRng as _;
use serde::Deserialize;
use tls_codec::{DeserializeBytes as _, Serialize as _};

use super::world::Peer;
use crate::group::leaf;
use crate::group::provider::{DeviceSigner, Provider, SUITE};
use crate::store::{MemoryStore, Overlay, Tx};

// spec GRP-01: TRAPs 15 and 26
#[test]
fn passive_clients_reach_the_epochs_of_rfc_9420() {
    let Some(folder) = folder() else {
        println!("skipped: no folder of RFC 9420 vectors");
        return;
    };
    for file in files(&folder, "passive-client-") {
        let cases: Vec<PassiveClient> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let (mut passed, mut skipped) = (0, 0);
        for (index, case) in cases.iter().enumerate() {
            if is_supported(case.cipher_suite) {
                case.run(&format!("{} case {index}", file.display()));
                passed += 1;
            } else {
                skipped += 1;
            }
        }
        println!(
            "{}: {passed} passed, 0 failed, {skipped} skipped (suites that openmls does not have)",
            file.display()
        );
        assert!(passed > 0);
    }
}

// spec GRP-01
#[test]
fn the_messages_of_rfc_9420_are_read_and_written_alike() {
    let Some(folder) = folder() else {
        println!("skipped: no folder of RFC 9420 vectors");
        return;
    };
    for file in files(&folder, "messages.json") {
        let cases: Vec<Messages> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for case in &cases {
            for bytes in case.all() {
                let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap();
                assert_eq!(&message.tls_serialize_detached().unwrap(), bytes);
            }
        }
        println!("{}: {} passed", file.display(), cases.len());
        assert!(!cases.is_empty());
    }
}

fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("UNDERTONE_RFC9420_VECTORS").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors/rfc9420");
    Some(named.unwrap_or_else(beside)).filter(|folder| folder.is_dir())
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let is_meant = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(is_meant);
    files.sort();
    files
}

fn is_supported(suite: u16) -> bool {
    let crypto = openmls_rust_crypto::RustCrypto::default();
    Ciphersuite::try_from(suite).is_ok_and(|suite| crypto.supports(suite).is_ok())
}

/// One run of a client that sends nothing: it joins, and follows what it is given.
#[derive(Deserialize)]
struct PassiveClient {
    cipher_suite: u16,
    key_package: Hex,
    encryption_priv: Hex,
    init_priv: Hex,
    welcome: Hex,
    ratchet_tree: Option<Hex>,
    initial_epoch_authenticator: Hex,
    external_psks: Vec<Psk>,
    epochs: Vec<Epoch>,
}

#[derive(Deserialize)]
struct Psk {
    psk_id: Hex,
    psk: Hex,
}

#[derive(Deserialize)]
struct Epoch {
    proposals: Vec<Hex>,
    commit: Hex,
    epoch_authenticator: Hex,
}

impl PassiveClient {
    fn run(&self, name: &str) {
        let store = MemoryStore::new();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let provider = Provider::drawing(&mut tx, &mut rng);
        let bundle = self.bundle();
        let reference = bundle.key_package().hash_ref(provider.crypto()).unwrap();
        provider.storage().write_key_package(&reference, &bundle).unwrap();
        for psk in &self.external_psks {
            let id = PreSharedKeyId::external(psk.psk_id.0.clone(), Vec::new());
            id.store(&provider, &psk.psk.0).unwrap();
        }

        let MlsMessageBodyIn::Welcome(welcome) = read(&self.welcome.0) else { panic!("{name}: no Welcome") };
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
            .use_ratchet_tree_extension(true)
            .number_of_resumption_psks(16)
            .build();
        let mut builder = StagedWelcome::build_from_welcome(&provider, &config, welcome).unwrap();
        if let Some(tree) = &self.ratchet_tree {
            builder = builder.with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact_bytes(&tree.0).unwrap());
        }
        let group = builder.skip_lifetime_validation().build().unwrap().into_group(&provider).unwrap();
        assert_eq!(group.epoch_authenticator().as_slice(), self.initial_epoch_authenticator.0, "{name}");

        for (index, epoch) in self.epochs.iter().enumerate() {
            // Each epoch from the rows, as our layer does.
            let mut group = MlsGroup::load(provider.storage(), group.group_id()).unwrap().unwrap();
            epoch.follow(&provider, &mut group);
            let authenticator = group.epoch_authenticator();
            assert_eq!(authenticator.as_slice(), epoch.epoch_authenticator.0, "{name}, epoch {index}");
        }
    }

    /// The client's key package with its secrets. openmls makes none from given secrets, so it goes in through its own
    /// stored form, with every field of a fresh one replaced.
    fn bundle(&self) -> KeyPackageBundle {
        let MlsMessageBodyIn::KeyPackage(package) = read(&self.key_package.0) else { panic!("no key package") };
        let package: KeyPackageIn = package;
        let mut stored = Value::serialized(&fresh_bundle()).unwrap();
        for (key, value) in stored.as_map_mut().unwrap() {
            match key.as_text().unwrap() {
                "key_package" => *value = Value::serialized(&package).unwrap(),
                "private_init_key" => replace_bytes(value, &self.init_priv.0),
                "private_encryption_key" => replace_bytes(value, &self.encryption_priv.0),
                other => panic!("{other} is new"),
            }
        }
        stored.deserialized().unwrap()
    }
}

impl Epoch {
    fn follow(&self, provider: &Provider<'_, '_, '_>, group: &mut MlsGroup) {
        for proposal in &self.proposals {
            let message = MlsMessageIn::tls_deserialize_exact_bytes(&proposal.0).unwrap();
            let processed = group.process_message(provider, message.try_into_protocol_message().unwrap()).unwrap();
            let ProcessedMessageContent::ProposalMessage(proposal) = processed.into_content() else {
                panic!("no proposal");
            };
            group.store_pending_proposal(provider.storage(), *proposal).unwrap();
        }
        let message = MlsMessageIn::tls_deserialize_exact_bytes(&self.commit.0).unwrap();
        let processed = group.process_message(provider, message.try_into_protocol_message().unwrap()).unwrap();
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            panic!("no commit");
        };
        group.merge_staged_commit(provider, *staged).unwrap();
    }
}

fn fresh_bundle() -> KeyPackageBundle {
    let mut peer = Peer::new("template", 1);
    let overlay = Overlay::default();
    let mut tx = Tx::new(&peer.store, &overlay);
    let provider = Provider::drawing(&mut tx, &mut peer.rng);
    let signer = DeviceSigner(peer.us.signing_key());
    KeyPackage::builder().build(SUITE, &provider, &signer, leaf::credential_with_key(&peer.us)).unwrap()
}

/// Replaces the one string of bytes inside `value`, however deep it stands.
fn replace_bytes(value: &mut Value, bytes: &[u8]) {
    match value {
        Value::Bytes(old) => *old = bytes.to_vec(),
        Value::Array(items) if items.iter().all(Value::is_integer) => {
            *items = bytes.iter().map(|byte| Value::from(*byte)).collect();
        }
        Value::Array(items) => replace_bytes(&mut items[0], bytes),
        Value::Map(entries) => replace_bytes(&mut entries[0].1, bytes),
        other => panic!("{other:?} holds no key"),
    }
}

fn read(bytes: &[u8]) -> MlsMessageBodyIn {
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap();
    message.extract()
}

/// The messages that our layer reads, out of each case of `messages.json`.
#[derive(Deserialize)]
struct Messages {
    mls_welcome: Hex,
    mls_group_info: Hex,
    mls_key_package: Hex,
    public_message_proposal: Hex,
    public_message_commit: Hex,
    private_message: Hex,
}

impl Messages {
    fn all(&self) -> [&Vec<u8>; 6] {
        let Self { mls_welcome, mls_group_info, mls_key_package, .. } = self;
        let Self { public_message_proposal, public_message_commit, private_message, .. } = self;
        [mls_welcome, mls_group_info, mls_key_package, public_message_proposal, public_message_commit, private_message]
            .map(|hex| &hex.0)
    }
}

/// Bytes in hexadecimal.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hex(Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = data_encoding::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Self)
    }
}
