//! Groups: MLS (RFC 9420) through openmls, behind types of our own (spec/group). The only place that names openmls.
//!
//! ```text
//! create ─┐                       ┌─ merge_pending (the log took our commit) ─┐
//!         ├─▶ epoch n ─▶ add, … ──┤                                           ├─▶ epoch n + 1
//! join ───┘      │                └─ discard_pending (another won), process ──┘
//!                └─▶ seal, process: messages
//! ```
//!
//! Every call reads its group from the step's [`Tx`] and writes into it; there is no cache and no I/O. Invariants: a call
//! that fails leaves the `Tx` as it was; whoever changes a group passes [`authorise`]; nothing here reads a clock, except
//! that the adder compares a key package's validity with the instant it is given.
//!
//! Leaves out the shell, generations and turns (envelope, engine), external commits, and trees by blob.

mod commit;
mod error;
mod key_package;
mod leaf;
mod message;
mod policy;
mod provider;
mod storage;
#[cfg(test)]
mod tests;
mod welcome;

pub use commit::{
    add, commit_pending, discard_pending, has_pending_commit, has_pending_proposals, leave, merge_pending, remove,
    remove_devices, set_policy, update,
};
pub use error::GroupError;
pub use key_package::{KeyPackageError, VerifiedKeyPackage, key_packages, verify_key_package};
pub use message::{Processed, decode_message, process, seal};
pub use policy::{Asked, CommitView, LeafOwner, Policy, PolicyError, Proposed, Refusal, Role, Verdict, authorise};
pub use welcome::{create, decode_welcome, join};

use std::fmt;

use openmls::prelude::{
    GroupId, LeafNodeIndex, MlsGroup, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, SenderRatchetConfiguration,
};
use openmls_traits::OpenMlsProvider as _;
use undertone_wire::id::{Generation, LogId};
use zeroize::Zeroizing;

use self::provider::Provider;
use crate::crypto::label::{self, hash};
use crate::crypto::{CryptoRng, Secret32};
use crate::envelope::EpochEvidence;
use crate::identity::{AccountId, Device, DeviceId};
use crate::limits::{GROUP_FORWARD_MAX, GROUP_OUT_OF_ORDER_MAX};
use crate::store::Tx;

/// How many commits a group has seen. Rises by one with each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(u64);

/// The place of a leaf in the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafIndex(u32);

/// A device with a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The account's role.
    pub role: Role,
    /// Where the leaf stands.
    pub leaf: LeafIndex,
}

/// What a commit changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupChange {
    /// Who committed.
    pub actor: LeafOwner,
    /// The devices that came.
    pub added: Vec<LeafOwner>,
    /// The devices that went, removed by the actor or by their own wish.
    pub removed: Vec<LeafOwner>,
    /// The settings before and after, if they changed.
    pub policy: Option<PolicyChange>,
    /// Whether this device still has a leaf.
    pub standing: Standing,
}

/// The settings before and after a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyChange {
    /// Before.
    pub old: Policy,
    /// After.
    pub new: Policy,
}

/// Whether this device has a leaf after a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has.
    Member,
    /// It was removed; nothing of the group's secrets is left on it.
    Removed,
}

/// A commit of ours, stored as pending: it takes effect with [`merge_pending`], once the log took it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreparedCommit {
    /// The commit, an MLS PublicMessage: to be appended as a turn.
    pub commit: Vec<u8>,
    /// One Welcome for each device that is added: to be sent once the log took the commit.
    pub welcomes: Vec<Welcome>,
    /// What the commit will change.
    pub change: GroupChange,
}

/// A Welcome for one device, with that device's secrets only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The device.
    pub to: LeafOwner,
    /// An MLS Welcome message, at most [`GROUP_WELCOME_LEN_MAX`](crate::limits::GROUP_WELCOME_LEN_MAX) bytes.
    pub bytes: Vec<u8>,
}

/// What the directory is to hold of our key packages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Rises with each publication.
    pub version: u64,
    /// The key package of last resort: every `take` gets it.
    pub body: Vec<u8>,
    /// Key packages to be handed out once each.
    pub items: Vec<Vec<u8>>,
}

/// A group that this device joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The group's log.
    pub log: LogId,
    /// The epoch.
    pub epoch: Epoch,
    /// The settings.
    pub policy: Policy,
    /// Everybody in it.
    pub members: Vec<Member>,
    /// Who added us.
    pub sender: Member,
}

/// The secret of a generation in the epoch in force: gate, outer and ephemeral keys are derived from it (rule GRP-40).
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn generation_secret(tx: &mut Tx<'_>, log: LogId, generation: Generation) -> Result<Secret32, GroupError> {
    receiving(tx, |provider| {
        let group = load(provider, log)?;
        let context = generation_context(log, generation);
        let secret = group.export_secret(provider.crypto(), label::GENERATION.as_str(), &context, 32);
        to_secret(secret.map_err(|_| GroupError::Internal)?)
    })
}

/// The same for the epoch that our pending commit begins: known before the commit is uploaded.
///
/// # Errors
/// [`GroupError::NoPendingCommit`], and as [`generation_secret`].
pub fn pending_generation_secret(tx: &mut Tx<'_>, log: LogId, generation: Generation) -> Result<Secret32, GroupError> {
    receiving(tx, |provider| {
        let group = load(provider, log)?;
        let staged = group.pending_commit().ok_or(GroupError::NoPendingCommit)?;
        let context = generation_context(log, generation);
        let secret = staged.export_secret(provider.crypto(), label::GENERATION.as_str(), &context, 32);
        to_secret(secret.map_err(|_| GroupError::Internal)?)
    })
}

/// The evidence of the epoch in force (rule GRP-41).
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn epoch_evidence(tx: &mut Tx<'_>, log: LogId) -> Result<EpochEvidence, GroupError> {
    receiving(tx, |provider| {
        let group = load(provider, log)?;
        Ok(EpochEvidence::from_bytes(hash(label::EPOCH_EVIDENCE, &[group.epoch_authenticator().as_slice()])))
    })
}

/// The epoch in force.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn epoch(tx: &mut Tx<'_>, log: LogId) -> Result<Epoch, GroupError> {
    receiving(tx, |provider| Ok(epoch_of(&load(provider, log)?)))
}

/// Every device in the group, by leaf.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn members(tx: &mut Tx<'_>, log: LogId) -> Result<Vec<Member>, GroupError> {
    receiving(tx, |provider| roster(&load(provider, log)?))
}

/// The certificates of every device in the group, by leaf.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn devices(tx: &mut Tx<'_>, log: LogId) -> Result<Vec<Device>, GroupError> {
    receiving(tx, |provider| {
        let group = load(provider, log)?;
        group.members().map(|member| Ok(leaf::device(&member.credential)?)).collect()
    })
}

/// The certificates of one device, if it is in the group. The others' signatures are not looked at.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn device(tx: &mut Tx<'_>, log: LogId, id: &DeviceId) -> Result<Option<Device>, GroupError> {
    receiving(tx, |provider| {
        let group = load(provider, log)?;
        let is_it =
            |member: &openmls::prelude::Member| leaf::owner(&member.credential).is_ok_and(|it| it.device == *id);
        group.members().find(is_it).map(|member| Ok(leaf::device(&member.credential)?)).transpose()
    })
}

/// The settings in force.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn policy(tx: &mut Tx<'_>, log: LogId) -> Result<Policy, GroupError> {
    receiving(tx, |provider| Ok(leaf::policy_of(load(provider, log)?.extensions())?))
}

/// Runs a step that makes something new; takes back its writes if it fails.
fn drawing<T>(
    tx: &mut Tx<'_>,
    rng: &mut dyn CryptoRng,
    step: impl FnOnce(&Provider<'_, '_, '_>) -> Result<T, GroupError>,
) -> Result<T, GroupError> {
    let mark = tx.mark();
    let result = run(&Provider::drawing(tx, rng), step);
    result.inspect_err(|_| tx.undo_to(mark))
}

/// Runs a step that reads or receives; takes back its writes if it fails.
fn receiving<T>(
    tx: &mut Tx<'_>,
    step: impl FnOnce(&Provider<'_, '_, '_>) -> Result<T, GroupError>,
) -> Result<T, GroupError> {
    let mark = tx.mark();
    let result = run(&Provider::receiving(tx), step);
    result.inspect_err(|_| tx.undo_to(mark))
}

/// Runs a step; what the store said goes before what openmls made of it.
fn run<T>(
    provider: &Provider<'_, '_, '_>,
    step: impl FnOnce(&Provider<'_, '_, '_>) -> Result<T, GroupError>,
) -> Result<T, GroupError> {
    let result = step(provider);
    provider.store_failure().map_or(result, |error| Err(GroupError::Store { error }))
}

fn load(provider: &Provider<'_, '_, '_>, log: LogId) -> Result<MlsGroup, GroupError> {
    MlsGroup::load(provider.storage(), &group_id(log))?.ok_or(GroupError::NotAMember)
}

fn group_id(log: LogId) -> GroupId {
    GroupId::from_slice(log.as_bytes())
}

fn epoch_of(group: &MlsGroup) -> Epoch {
    Epoch(group.epoch().as_u64())
}

fn leaf_owners(group: &MlsGroup) -> Result<Vec<LeafOwner>, Refusal> {
    group.members().map(|member| leaf::owner(&member.credential)).collect()
}

fn owner_at(group: &MlsGroup, index: LeafNodeIndex) -> Option<LeafOwner> {
    group.member(index).and_then(|credential| leaf::owner(credential).ok())
}

fn roster(group: &MlsGroup) -> Result<Vec<Member>, GroupError> {
    let policy = leaf::policy_of(group.extensions())?;
    let member = |member: openmls::prelude::Member| {
        let LeafOwner { account, device } = leaf::owner(&member.credential)?;
        Ok(Member { account, device, role: policy.role(&account), leaf: LeafIndex(member.index.u32()) })
    };
    group.members().map(member).collect()
}

/// How our groups receive: handshakes in the clear of the shell, no padding, no past epochs, wide message windows.
fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(0)
        .max_past_epochs(0)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(true)
        .sender_ratchet_configuration(message_windows())
        .build()
}

fn message_windows() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(GROUP_OUT_OF_ORDER_MAX, GROUP_FORWARD_MAX)
}

fn generation_context(log: LogId, generation: Generation) -> Vec<u8> {
    [log.as_bytes().as_slice(), &generation.to_be_bytes()].concat()
}

fn to_secret(bytes: Vec<u8>) -> Result<Secret32, GroupError> {
    Secret32::from_slice(&Zeroizing::new(bytes)).ok_or(GroupError::Internal)
}

impl Epoch {
    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl LeafIndex {
    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl Member {
    /// The device, without role and place.
    pub const fn owner(&self) -> LeafOwner {
        LeafOwner { account: self.account, device: self.device }
    }
}
