//! Messages: sealing ours, and taking in whatever members sent.
//!
//! Invariants: a commit is opened, judged and merged in one call and one batch, so that no crash falls in between; nothing is
//! written unless the whole message was accepted, so that a forged one changes nothing.

use std::fmt;

use openmls::prelude::{
    CreateMessageError, MlsGroup, MlsGroupStateError, MlsMessageBodyIn, MlsMessageIn, ProcessMessageError,
    ProcessedMessageContent, Proposal, ProtocolMessage, QueuedProposal, Sender, ValidationError,
};
use openmls_traits::OpenMlsProvider as _;
use tls_codec::DeserializeBytes as _;
use undertone_wire::id::LogId;
use zeroize::Zeroizing;

use super::commit::{accept, authorise_leave, sender_of};
use super::policy::{Asked, LeafOwner, Refusal, authorise};
use super::provider::{DeviceSigner, Provider};
use super::{Epoch, GroupChange, GroupError, LeafIndex, Member, drawing, epoch_of, leaf, load, receiving};
use crate::crypto::{CryptoRng, SecretBytes};
use crate::identity::LocalIdentity;
use crate::limits::GROUP_MESSAGE_LEN_MAX;
use crate::store::{StoreError, Tx};

/// What a message turned out to be. It has taken effect already.
pub enum Processed {
    /// Something that a member said.
    Application {
        /// Who.
        sender: Member,
        /// What, as it was given to [`seal`].
        plaintext: SecretBytes,
    },
    /// A commit, merged.
    Commit(GroupChange),
    /// A member asked to leave; somebody else is to commit it.
    Proposal {
        /// Who.
        sender: Member,
    },
}

/// Seals an application message to the group. `aad` is authenticated with it, in clear.
///
/// # Errors
/// [`GroupError::Forbidden`] for an observer; [`GroupError::PendingProposals`] if somebody asked to leave, which is to be
/// committed first; [`GroupError::NotAMember`]; [`GroupError::Store`].
pub fn seal(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, GroupError> {
    drawing(tx, rng, |provider| {
        let mut group = load(provider, log)?;
        authorise(&leaf::policy_of(group.extensions())?, Asked::Message, Some(leaf::own(us)))?;
        group.set_aad(aad.to_vec());
        let message = group.create_message(provider, &DeviceSigner(us.signing_key()), plaintext);
        let message = message.map_err(|error| match error {
            CreateMessageError::GroupStateError(MlsGroupStateError::PendingProposal) => GroupError::PendingProposals,
            CreateMessageError::GroupStateError(_) => GroupError::NotAMember,
            CreateMessageError::LibraryError(_) => GroupError::Internal,
        })?;
        message.to_bytes().map_err(|_| GroupError::Internal)
    })
}

/// Takes in a message of the group: opens it, checks that its associated data is `aad` and that its sender may, and lets it
/// take effect. All of it, or nothing.
///
/// # Errors
/// [`GroupError`]; the `Tx` is as it was, and the same bytes can be given again.
pub fn process(tx: &mut Tx<'_>, log: LogId, aad: &[u8], message: &[u8]) -> Result<Processed, GroupError> {
    let message = parse(message)?;
    receiving(tx, |provider| {
        let mut group = load(provider, log)?;
        belongs(&group, &message)?;
        let processed = group.process_message(provider, message).map_err(refused)?;
        if processed.aad() != aad {
            return Err(GroupError::Authentication);
        }
        let sender = processed.sender().clone();
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(application) => {
                let plaintext = Zeroizing::new(application.into_bytes());
                let owner = sender_of(&group, &sender);
                authorise(&leaf::policy_of(group.extensions())?, Asked::Message, owner)?;
                Ok(Processed::Application { sender: member(&group, &sender, owner)?, plaintext })
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                accept(provider, &mut group, *staged, &sender).map(Processed::Commit)
            }
            ProcessedMessageContent::ProposalMessage(proposal) => {
                let sender = admit(provider, &mut group, *proposal, &sender)?;
                Ok(Processed::Proposal { sender })
            }
            ProcessedMessageContent::ExternalJoinProposalMessage(_) => Err(Refusal::NotAMember.into()),
            ProcessedMessageContent::OwnPendingCommit | ProcessedMessageContent::OwnPrivateMessage => {
                Err(GroupError::OwnMessage)
            }
        }
    })
}

impl fmt::Debug for Processed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application { sender, plaintext: _ } => write!(f, "Application {{ sender: {sender:?}, … }}"),
            Self::Commit(change) => write!(f, "Commit({change:?})"),
            Self::Proposal { sender } => write!(f, "Proposal {{ sender: {sender:?} }}"),
        }
    }
}

/// Whether bytes are a message of a group at all; opens nothing.
///
/// # Errors
/// [`GroupError::Malformed`].
pub fn decode_message(bytes: &[u8]) -> Result<(), GroupError> {
    parse(bytes).map(|_| ())
}

fn parse(bytes: &[u8]) -> Result<ProtocolMessage, GroupError> {
    if bytes.len() > GROUP_MESSAGE_LEN_MAX {
        return Err(GroupError::Malformed);
    }
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| GroupError::Malformed)?;
    match message.extract() {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message.into()),
        MlsMessageBodyIn::PrivateMessage(message) => Ok(message.into()),
        _ => Err(GroupError::Malformed),
    }
}

/// Whether the message is of this group and epoch, and claims to come from a member.
fn belongs(group: &MlsGroup, message: &ProtocolMessage) -> Result<(), GroupError> {
    if message.group_id() != group.group_id() {
        return Err(GroupError::Malformed);
    }
    let (ours, theirs) = (epoch_of(group), Epoch(message.epoch().as_u64()));
    if ours != theirs {
        return Err(GroupError::WrongEpoch { ours, theirs });
    }
    if message.is_external() { Err(Refusal::NotAMember.into()) } else { Ok(()) }
}

/// Stores a wish to leave, the only proposal that may wait: at most one of each member, so that nobody can flood.
fn admit(
    provider: &Provider<'_, '_, '_>,
    group: &mut MlsGroup,
    proposal: QueuedProposal,
    sender: &Sender,
) -> Result<Member, GroupError> {
    if !matches!(proposal.proposal(), Proposal::SelfRemove) {
        return Err(Refusal::ProposalType.into());
    }
    let owner = sender_of(group, sender);
    authorise_leave(group, owner)?;
    group.store_pending_proposal(provider.storage(), proposal)?;
    member(group, sender, owner)
}

fn member(group: &MlsGroup, sender: &Sender, owner: Option<LeafOwner>) -> Result<Member, GroupError> {
    let (Sender::Member(index), Some(LeafOwner { account, device })) = (sender, owner) else {
        return Err(Refusal::NotAMember.into());
    };
    let role = leaf::policy_of(group.extensions())?.role(&account);
    Ok(Member { account, device, role, leaf: LeafIndex(index.u32()) })
}

fn refused(error: ProcessMessageError<StoreError>) -> GroupError {
    match error {
        ProcessMessageError::LibraryError(_) => GroupError::Internal,
        ProcessMessageError::StorageError(error) => GroupError::Store { error },
        ProcessMessageError::IncompatibleWireFormat => GroupError::Malformed,
        ProcessMessageError::GroupStateError(_) => GroupError::NotAMember,
        ProcessMessageError::InvalidCommit(_) => GroupError::InvalidCommit,
        ProcessMessageError::ValidationError(error) => match error {
            ValidationError::KeyPackageVerifyError(_)
            | ValidationError::UpdatePathError(_)
            | ValidationError::InvalidLeafNodeSignature
            | ValidationError::InvalidLeafNodeSourceType
            | ValidationError::CommitterIncludedOwnUpdate
            | ValidationError::InvalidAddProposalCiphersuite
            | ValidationError::InvalidExtension(_) => GroupError::InvalidCommit,
            _ => GroupError::Authentication,
        },
        ProcessMessageError::UnauthorizedExternalApplicationMessage
        | ProcessMessageError::UnauthorizedExternalCommitMessage
        | ProcessMessageError::UnsupportedProposalType => Refusal::NotAMember.into(),
    }
}
