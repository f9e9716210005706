//! Commits: making ours, judging everybody's, and what they change.
//!
//! ```text
//! Draft ──prepare──▶ pending (stored) ──merge_pending──▶ merged        the log took it
//!                         └───────────discard_pending──▶ dropped       another won, or a crash before the upload
//! ```
//!
//! Invariants: our own commit passes [`authorise`] before anybody sees it, another's before it is merged, by the same view
//! of the same staged commit; every commit carries an update path; a pending commit blocks the next one.

use openmls::prelude::{
    CommitBuilder, CreateCommitError, Initial, LeafNodeIndex, MlsGroup, Proposal, ProposalOrRefType, QueuedProposal,
    Sender, StagedCommit,
};
use openmls_traits::OpenMlsProvider as _;
use tls_codec::{DeserializeBytes as _, Serialize as _, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::LogId;

use super::key_package::VerifiedKeyPackage;
use super::leaf;
use super::policy::{Asked, CommitView, LeafOwner, Policy, Proposed, Refusal, Verdict, authorise};
use super::provider::{DeviceSigner, Provider};
use super::{
    GroupChange, GroupError, PolicyChange, PreparedCommit, Standing, Welcome, drawing, leaf_owners, load, owner_at,
    receiving,
};
use crate::crypto::CryptoRng;
use crate::identity::{AccountId, DeviceId, LocalIdentity};
use crate::limits::GROUP_ADDS_MAX;
use crate::store::Tx;

/// Prepares a commit that adds devices, at most [`GROUP_ADDS_MAX`]. `aad` is authenticated with it, in clear.
///
/// # Errors
/// [`GroupError::NoTarget`] for no package; [`GroupError::Forbidden`], [`GroupError::PendingCommit`],
/// [`GroupError::InvalidCommit`] for a device that has a leaf or a package used twice; [`GroupError::NotAMember`];
/// [`GroupError::Store`].
pub fn add(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    packages: &[VerifiedKeyPackage],
    aad: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<PreparedCommit, GroupError> {
    if packages.is_empty() {
        return Err(GroupError::NoTarget);
    }
    if packages.len() > GROUP_ADDS_MAX {
        return Err(Refusal::TooManyAdds.into());
    }
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        let added = packages.iter().map(|package| package.package.clone());
        prepare(provider, us, &mut group, aad, packages, |builder| Ok(builder.propose_adds(added)))
    })
}

/// Prepares a commit that removes every device of other accounts.
///
/// # Errors
/// [`GroupError::NoTarget`] if one of them has no device in the group, or is our own account; otherwise as [`add`].
pub fn remove(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    targets: &[AccountId],
    aad: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<PreparedCommit, GroupError> {
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        let is_present = |target: &AccountId| leaves(&group, |owner| owner.account == *target).next().is_some();
        if targets.is_empty() || targets.contains(&us.account()) || !targets.iter().all(is_present) {
            return Err(GroupError::NoTarget);
        }
        let removed = to_remove(&group, |owner| targets.contains(&owner.account));
        prepare(provider, us, &mut group, aad, &[], |builder| Ok(builder.propose_removals(removed)))
    })
}

/// Prepares a commit that removes single devices, such as a lost one of our own account; not this one.
///
/// # Errors
/// [`GroupError::NoTarget`] if one of them has no leaf, or is this device; otherwise as [`add`].
pub fn remove_devices(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    targets: &[DeviceId],
    aad: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<PreparedCommit, GroupError> {
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        let is_present = |target: &DeviceId| leaves(&group, |owner| owner.device == *target).next().is_some();
        if targets.is_empty() || targets.contains(&us.device().id()) || !targets.iter().all(is_present) {
            return Err(GroupError::NoTarget);
        }
        let removed = to_remove(&group, |owner| targets.contains(&owner.device));
        prepare(provider, us, &mut group, aad, &[], |builder| Ok(builder.propose_removals(removed)))
    })
}

/// Prepares a commit that only renews our own keys. Everybody may.
///
/// # Errors
/// As [`add`].
pub fn update(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    aad: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<PreparedCommit, GroupError> {
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        prepare(provider, us, &mut group, aad, &[], |builder| Ok(builder))
    })
}

/// Prepares a commit that replaces the settings.
///
/// # Errors
/// As [`add`].
pub fn set_policy(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    policy: &Policy,
    aad: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<PreparedCommit, GroupError> {
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        prepare(provider, us, &mut group, aad, &[], |builder| {
            builder.propose_group_context_extensions(leaf::context_of(policy)).map_err(|_| GroupError::Internal)
        })
    })
}

/// Prepares a commit of what others have proposed: those who asked to leave go. Everybody may.
///
/// # Errors
/// [`GroupError::NoTarget`] if nobody has; otherwise as [`add`].
pub fn commit_pending(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    aad: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<PreparedCommit, GroupError> {
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        if !group.has_pending_proposals() {
            return Err(GroupError::NoTarget);
        }
        prepare(provider, us, &mut group, aad, &[], |builder| Ok(builder))
    })
}

/// Asks to leave: a proposal, which any other member commits. Afterwards this device sends nothing more in the epoch.
///
/// # Errors
/// [`GroupError::Forbidden`] for the last owner and for a second wish in one epoch; [`GroupError::PendingCommit`];
/// [`GroupError::NotAMember`]; [`GroupError::Store`].
pub fn leave(tx: &mut Tx<'_>, us: &LocalIdentity, log: LogId, aad: &[u8]) -> Result<Vec<u8>, GroupError> {
    receiving(tx, |provider| {
        let mut group = load(provider, log)?;
        is_free(&group)?;
        authorise_leave(&group, Some(leaf::own(us)))?;
        group.set_aad(aad.to_vec());
        let proposal = group
            .leave_group_via_self_remove(provider, &DeviceSigner(us.signing_key()))
            .map_err(|_| GroupError::Internal)?;
        proposal.to_bytes().map_err(|_| GroupError::Internal)
    })
}

/// Whether somebody asked to leave in this epoch, us included: to be committed before anything else is sent.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn has_pending_proposals(tx: &mut Tx<'_>, log: LogId) -> Result<bool, GroupError> {
    receiving(tx, |provider| Ok(load(provider, log)?.has_pending_proposals()))
}

/// Whether a commit of ours waits for the log's word.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn has_pending_commit(tx: &mut Tx<'_>, log: LogId) -> Result<bool, GroupError> {
    receiving(tx, |provider| Ok(load(provider, log)?.pending_commit().is_some()))
}

/// Makes our pending commit the truth: the log took it.
///
/// # Errors
/// [`GroupError::NoPendingCommit`], [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn merge_pending(tx: &mut Tx<'_>, log: LogId) -> Result<GroupChange, GroupError> {
    receiving(tx, |provider| {
        let mut group = load(provider, log)?;
        let staged = group.pending_commit().ok_or(GroupError::NoPendingCommit)?;
        let change = judge(&group, staged, Some(group.own_leaf_index()))?;
        group.merge_pending_commit(provider).map_err(|_| GroupError::Internal)?;
        Ok(change)
    })
}

/// Drops our pending commit: another won, or it was never uploaded. Does nothing if there is none.
///
/// # Errors
/// [`GroupError::NotAMember`], [`GroupError::Store`].
pub fn discard_pending(tx: &mut Tx<'_>, log: LogId) -> Result<(), GroupError> {
    receiving(tx, |provider| Ok(load(provider, log)?.clear_pending_commit(provider.storage())?))
}

/// Judges a commit of another member, and merges it. If it removes this device, all of the group's rows go instead.
pub(super) fn accept(
    provider: &Provider<'_, '_, '_>,
    group: &mut MlsGroup,
    staged: StagedCommit,
    sender: &Sender,
) -> Result<GroupChange, GroupError> {
    let committer = match sender {
        Sender::Member(index) => Some(*index),
        _ => None,
    };
    let change = judge(group, &staged, committer)?;
    match change.standing {
        Standing::Member => group.merge_staged_commit(provider, staged).map_err(|_| GroupError::Internal)?,
        Standing::Removed => group.delete(provider.storage())?,
    }
    Ok(change)
}

/// Whether `sender` may ask to leave.
pub(super) fn authorise_leave(group: &MlsGroup, sender: Option<LeafOwner>) -> Result<(), GroupError> {
    let policy = leaf::policy_of(group.extensions())?;
    let members = leaf_owners(group)?;
    let waiting: Vec<LeafOwner> =
        group.pending_proposals().filter_map(|proposal| sender_of(group, proposal.sender())).collect();
    Ok(authorise(&policy, Asked::Leave { members: &members, waiting: &waiting }, sender)?)
}

/// The member behind an MLS sender.
pub(super) fn sender_of(group: &MlsGroup, sender: &Sender) -> Option<LeafOwner> {
    match sender {
        Sender::Member(index) => owner_at(group, *index),
        _ => None,
    }
}

fn prepare(
    provider: &Provider<'_, '_, '_>,
    us: &LocalIdentity,
    group: &mut MlsGroup,
    aad: &[u8],
    packages: &[VerifiedKeyPackage],
    propose: impl FnOnce(CommitBuilder<'_, Initial>) -> Result<CommitBuilder<'_, Initial>, GroupError>,
) -> Result<PreparedCommit, GroupError> {
    is_free(group)?;
    group.set_aad(aad.to_vec());
    let signer = DeviceSigner(us.signing_key());
    let (commit, welcome, _) = propose(group.commit_builder().force_self_update(true))?
        .load_psks(provider.storage())
        .map_err(refused)?
        .create_group_info(false)
        .build(provider.rand(), provider.crypto(), &signer, |_| true)
        .map_err(refused)?
        .stage_commit(provider)
        .map_err(|_| GroupError::Internal)?
        .into_messages();
    let staged = group.pending_commit().ok_or(GroupError::Internal)?;
    let change = judge(group, staged, Some(group.own_leaf_index()))?;
    let welcomes = match welcome {
        Some(welcome) => split_welcome(&welcome.to_bytes().map_err(|_| GroupError::Internal)?, packages)?,
        None => Vec::new(),
    };
    Ok(PreparedCommit { commit: commit.to_bytes().map_err(|_| GroupError::Internal)?, welcomes, change })
}

fn is_free(group: &MlsGroup) -> Result<(), GroupError> {
    if group.pending_commit().is_some() { Err(GroupError::PendingCommit) } else { Ok(()) }
}

fn leaves(group: &MlsGroup, is_meant: impl Fn(LeafOwner) -> bool) -> impl Iterator<Item = LeafNodeIndex> {
    group
        .members()
        .filter(move |member| leaf::owner(&member.credential).is_ok_and(&is_meant))
        .map(|member| member.index)
}

/// The leaves that a commit is to remove. Who asked to leave goes by that wish, which every commit takes in: a second
/// proposal for the same leaf is refused.
fn to_remove(group: &MlsGroup, is_meant: impl Fn(LeafOwner) -> bool) -> Vec<LeafNodeIndex> {
    let is_waiting = |leaf: &LeafNodeIndex| {
        group.pending_proposals().any(|proposal| matches!(proposal.sender(), Sender::Member(sender) if sender == leaf))
    };
    leaves(group, is_meant).filter(|leaf| !is_waiting(leaf)).collect()
}

/// The one choke point of commits: what a staged commit would do, and whether its committer may.
fn judge(group: &MlsGroup, staged: &StagedCommit, committer: Option<LeafNodeIndex>) -> Result<GroupChange, GroupError> {
    let policy = leaf::policy_of(group.extensions())?;
    let view = view(group, staged, committer)?;
    let actor = committer.and_then(|index| owner_at(group, index));
    authorise(&policy, Asked::Commit(&view), actor)?;
    let mut change = GroupChange {
        actor: actor.ok_or(Refusal::NotAMember)?,
        added: Vec::new(),
        removed: Vec::new(),
        policy: None,
        standing: if staged.self_removed() { Standing::Removed } else { Standing::Member },
    };
    for proposal in view.proposals {
        match proposal {
            Proposed::Add(leaf) => change.added.push(leaf?),
            Proposed::Remove(leaf) | Proposed::Leave(leaf) => change.removed.push(leaf),
            Proposed::Context | Proposed::Other => {}
        }
    }
    let new = view.policy_after?;
    if new != policy {
        change.policy = Some(PolicyChange { old: policy, new });
    }
    Ok(change)
}

fn view(group: &MlsGroup, staged: &StagedCommit, committer: Option<LeafNodeIndex>) -> Result<CommitView, Refusal> {
    Ok(CommitView {
        before: leaf_owners(group)?,
        proposals: staged.queued_proposals().map(|proposal| proposed(group, proposal)).collect(),
        path: check_path(group, staged, committer),
        policy_after: leaf::policy_of(staged.group_context().extensions()),
    })
}

fn proposed(group: &MlsGroup, queued: &QueuedProposal) -> Proposed {
    let is_reference = queued.proposal_or_ref_type() == ProposalOrRefType::Reference;
    match queued.proposal() {
        Proposal::Add(add) => Proposed::Add(leaf::check(add.key_package().leaf_node())),
        Proposal::Remove(remove) => owner_at(group, remove.removed()).map_or(Proposed::Other, Proposed::Remove),
        // Only the leaver's own earlier proposal says that it wants to leave.
        Proposal::SelfRemove if is_reference => {
            sender_of(group, queued.sender()).map_or(Proposed::Other, Proposed::Leave)
        }
        Proposal::GroupContextExtensions(_) => Proposed::Context,
        _ => Proposed::Other,
    }
}

/// The committer's new leaf keeps its credential and key, and is in order.
fn check_path(group: &MlsGroup, staged: &StagedCommit, committer: Option<LeafNodeIndex>) -> Verdict {
    let new = staged.update_path_leaf_node().ok_or(Refusal::NoPath)?;
    let old = committer.and_then(|index| group.public_group().leaf(index)).ok_or(Refusal::NotAMember)?;
    leaf::check(new)?;
    let is_kept = new.credential() == old.credential() && new.signature_key() == old.signature_key();
    if is_kept { Ok(()) } else { Err(Refusal::LeafChanged) }
}

fn refused(error: CreateCommitError) -> GroupError {
    match error {
        CreateCommitError::LibraryError(_) | CreateCommitError::SignatureError(_) => GroupError::Internal,
        // Our own wish to leave waits: another member commits it.
        CreateCommitError::CannotRemoveSelf => GroupError::PendingProposals,
        _ => GroupError::InvalidCommit,
    }
}

/// One Welcome per device, each with the secrets of that device alone: no recipient learns how many others there are from
/// more than the tree, and none holds what is sealed to another.
fn split_welcome(bytes: &[u8], packages: &[VerifiedKeyPackage]) -> Result<Vec<Welcome>, GroupError> {
    let all = WelcomeWire::tls_deserialize_exact_bytes(bytes).map_err(|_| GroupError::Internal)?;
    let for_one = |package: &VerifiedKeyPackage| {
        let is_theirs = |secrets: &&SecretsWire| secrets.new_member.as_slice() == package.reference.as_slice();
        let secrets = all.secrets.iter().find(is_theirs).cloned().ok_or(GroupError::Internal)?;
        let one = WelcomeWire { secrets: vec![secrets], ..all.clone() };
        let bytes = one.tls_serialize_detached().map_err(|_| GroupError::Internal)?;
        Ok(Welcome { to: package.owner(), bytes })
    };
    packages.iter().map(for_one).collect()
}

/// `MLSMessage { version, wire_format = welcome, Welcome }` (RFC 9420 §12.4.3.1).
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct WelcomeWire {
    version: u16,
    wire_format: u16,
    suite: u16,
    secrets: Vec<SecretsWire>,
    encrypted_group_info: VLBytes,
}

#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct SecretsWire {
    new_member: VLBytes,
    kem_output: VLBytes,
    ciphertext: VLBytes,
}
