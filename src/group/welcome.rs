//! How a device comes into a group: by creating it, or by a Welcome.
//!
//! Invariant: whoever joins judges the whole group first, every leaf and the context, and asks [`authorise`] whether the
//! sender of the Welcome could add it; a Welcome that fails leaves its key package unused.

use openmls::prelude::{MlsGroup, MlsMessageBodyIn, MlsMessageIn, StagedWelcome, Welcome as MlsWelcome, WelcomeError};
use openmls_traits::OpenMlsProvider as _;
use tls_codec::DeserializeBytes as _;
use undertone_wire::id::LogId;

use super::policy::{Asked, LeafOwner, Policy, Refusal, authorise};
use super::provider::{DeviceSigner, SUITE};
use super::{GroupError, Joined, drawing, epoch_of, group_id, join_config, leaf, message_windows, receiving, roster};
use crate::crypto::CryptoRng;
use crate::identity::LocalIdentity;
use crate::limits::GROUP_WELCOME_LEN_MAX;
use crate::store::{StoreError, Tx};

/// Creates a group of this device alone, at epoch 0. `policy` makes our account an owner.
///
/// # Errors
/// [`GroupError::AlreadyAMember`]; [`GroupError::Forbidden`] if the policy names another owner only;
/// [`GroupError::Store`].
pub fn create(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    log: LogId,
    policy: &Policy,
    rng: &mut dyn CryptoRng,
) -> Result<(), GroupError> {
    let own = leaf::own(us);
    authorise(policy, Asked::Join { members: &[own], us: own }, Some(own))?;
    drawing(tx, rng, |provider| {
        if MlsGroup::load(provider.storage(), &group_id(log))?.is_some() {
            return Err(GroupError::AlreadyAMember);
        }
        let config = join_config();
        MlsGroup::builder()
            .with_group_id(group_id(log))
            .ciphersuite(SUITE)
            .with_wire_format_policy(config.wire_format_policy())
            .padding_size(config.padding_size())
            .max_past_epochs(0)
            .number_of_resumption_psks(0)
            .use_ratchet_tree_extension(true)
            .sender_ratchet_configuration(message_windows())
            .lifetime(leaf::lifetime())
            .with_capabilities(leaf::capabilities())
            .with_group_context_extensions(leaf::context_of(policy))
            .build(provider, &DeviceSigner(us.signing_key()), leaf::credential_with_key(us))
            .map_err(|_| GroupError::Internal)?;
        Ok(())
    })
}

/// Joins the group of a Welcome.
///
/// # Errors
/// [`GroupError`]; the key package can still be used.
pub fn join(tx: &mut Tx<'_>, us: &LocalIdentity, welcome: &[u8]) -> Result<Joined, GroupError> {
    let welcome = parse(welcome)?;
    receiving(tx, |provider| {
        // No member's clock decides: lifetimes are constant, and checked below.
        let staged = StagedWelcome::build_from_welcome(provider, &join_config(), welcome)
            .and_then(|builder| builder.skip_lifetime_validation().build())
            .map_err(refused)?;
        let sender = staged.welcome_sender_index();
        let group = staged.into_group(provider).map_err(refused)?;
        let log = group.group_id().as_slice().try_into().map_err(|_| GroupError::Malformed)?;
        let policy = leaf::policy_of(group.extensions())?;
        let leaves = group.treesync().full_leaves().map(|(_, leaf)| leaf::check(leaf));
        let leaves: Vec<LeafOwner> = leaves.collect::<Result<_, Refusal>>()?;
        let members = roster(&group)?;
        let sender = members.iter().find(|member| member.leaf.as_u32() == sender.u32());
        let sender = *sender.ok_or(Refusal::NotAMember)?;
        authorise(&policy, Asked::Join { members: &leaves, us: leaf::own(us) }, Some(sender.owner()))?;
        Ok(Joined { log: LogId::from_bytes(log), epoch: epoch_of(&group), policy, members, sender })
    })
}

/// Whether bytes are a Welcome at all; opens nothing.
///
/// # Errors
/// [`GroupError::Malformed`].
pub fn decode_welcome(bytes: &[u8]) -> Result<(), GroupError> {
    parse(bytes).map(|_| ())
}

fn parse(bytes: &[u8]) -> Result<MlsWelcome, GroupError> {
    if bytes.len() > GROUP_WELCOME_LEN_MAX {
        return Err(GroupError::Malformed);
    }
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| GroupError::Malformed)?;
    match message.extract() {
        MlsMessageBodyIn::Welcome(welcome) if welcome.ciphersuite() == SUITE => Ok(welcome),
        _ => Err(GroupError::Malformed),
    }
}

fn refused(error: WelcomeError<StoreError>) -> GroupError {
    match error {
        WelcomeError::StorageError(error) => GroupError::Store { error },
        WelcomeError::LibraryError(_) => GroupError::Internal,
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => GroupError::NoKeyPackage,
        WelcomeError::GroupAlreadyExists => GroupError::AlreadyAMember,
        _ => GroupError::Authentication,
    }
}
