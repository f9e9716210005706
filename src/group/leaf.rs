//! What every leaf and every group context must look like, and nothing that a clock decides.
//!
//! ```text
//! leaf      credential = BasicCredential(our Credential), signature key = the device's certified signing key,
//!           capabilities = ours or more, suites of 256-bit AEADs only, lifetime 0 ‥ 2^64 − 1, no extensions
//! context   required_capabilities {policy; self_remove; basic}, policy (0xf1d0), and nothing else
//! ```
//!
//! Invariant: what stands in a tree was checked by [`check`] when it came in, so that [`owner`] only reads it again.

use openmls::prelude::{
    BasicCredential, Capabilities, Credential as MlsCredential, CredentialType, CredentialWithKey, Extension,
    ExtensionType, Extensions, GroupContext, LeafNode, Lifetime, ProposalType, ProtocolVersion,
    RequiredCapabilitiesExtension, UnknownExtension,
};
use openmls::treesync::LeafNodeSource;

use super::policy::{LeafOwner, Policy, Refusal};
use super::provider::SUITE;
use crate::identity::{Capability, Credential, Device, LocalIdentity};

/// The group-context extension that holds the [`Policy`] (private use, RFC 9420 §17.3).
pub(super) const POLICY_EXTENSION: u16 = 0xf1d0;

/// The key-package extension that holds the validity (private use, RFC 9420 §17.3).
pub(super) const VALIDITY_EXTENSION: u16 = 0xf1d1;

/// The MLS lifetime of every leaf and key package. One constant for all, so that no member's clock decides about a
/// commit (rule GRP-04); any other is refused.
pub(super) fn lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// What our leaves can do. Spelled out: the defaults of openmls list suites with 128-bit AEADs and no proposals.
pub(super) fn capabilities() -> Capabilities {
    Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(vec![SUITE])
        .extensions(vec![
            ExtensionType::Unknown(POLICY_EXTENSION),
            ExtensionType::Unknown(VALIDITY_EXTENSION),
            ExtensionType::LastResort,
        ])
        .proposals(vec![ProposalType::SelfRemove])
        .credentials(vec![CredentialType::Basic])
        .build()
}

/// Our credential and key, as openmls wants them.
pub(super) fn credential_with_key(us: &LocalIdentity) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(us.credential().encode()).into(),
        signature_key: us.device().signing().as_bytes().as_slice().into(),
    }
}

/// Our own leaf's owner.
pub(super) fn own(us: &LocalIdentity) -> LeafOwner {
    LeafOwner { account: us.account(), device: us.device().id() }
}

/// Whose leaf it is, without a second look at signatures.
pub(super) fn owner(credential: &MlsCredential) -> Result<LeafOwner, Refusal> {
    let credential = decode(credential)?;
    let device = credential.device_certificate();
    Ok(LeafOwner { account: device.account(), device: device.id() })
}

/// Checks a leaf that comes in: certificates without their dates, key, capabilities, lifetime (rules GRP-03 and GRP-04).
pub(super) fn check(leaf: &LeafNode) -> Result<LeafOwner, Refusal> {
    let device = decode(leaf.credential())?.verify(None).map_err(|_| Refusal::BadLeaf)?;
    let is_lifetime_ours = match leaf.leaf_node_source() {
        LeafNodeSource::KeyPackage(theirs) => *theirs == lifetime(),
        LeafNodeSource::Commit(_) => true,
        LeafNodeSource::Update => false,
    };
    let is_in_order = device.can(Capability::GROUP)
        && leaf.signature_key().as_slice() == device.signing().as_bytes()
        && is_lifetime_ours
        && leaf.extensions().iter().next().is_none()
        && are_sufficient(leaf.capabilities());
    if is_in_order { Ok(LeafOwner { account: device.account(), device: device.id() }) } else { Err(Refusal::BadLeaf) }
}

/// The certificates in a credential whose leaf is in the group: they were verified when it came.
pub(super) fn device(credential: &MlsCredential) -> Result<Device, Refusal> {
    decode(credential)?.verify(None).map_err(|_| Refusal::BadLeaf)
}

fn decode(credential: &MlsCredential) -> Result<Credential, Refusal> {
    if credential.credential_type() != CredentialType::Basic {
        return Err(Refusal::BadLeaf);
    }
    Credential::decode(credential.serialized_content()).map_err(|_| Refusal::BadLeaf)
}

fn are_sufficient(theirs: &Capabilities) -> bool {
    let ours = capabilities();
    let is_suite_wanted = |suite: u16| ALLOWED_SUITES.contains(&suite) || is_grease(suite);
    theirs.versions().contains(&ProtocolVersion::Mls10)
        && theirs.ciphersuites().iter().all(|suite| is_suite_wanted(suite.value()))
        && ours.ciphersuites().iter().all(|suite| theirs.ciphersuites().contains(suite))
        && ours.extensions().iter().all(|extension| theirs.extensions().contains(extension))
        && ours.proposals().iter().all(|proposal| theirs.proposals().contains(proposal))
        && ours.credentials().iter().all(|credential| theirs.credentials().contains(credential))
}

/// Values that a sender lists so that receivers keep ignoring the unknown (RFC 9420 §13.5).
const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff && value != 0xfafa
}

/// The extensions of a group context with `policy`.
pub(super) fn context_of(policy: &Policy) -> Extensions<GroupContext> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        Extension::Unknown(POLICY_EXTENSION, UnknownExtension(policy.encode())),
    ])
    .expect("both extensions are allowed in a group context, and they differ")
}

/// The policy of a group context that is in order (rule GRP-11).
pub(super) fn policy_of(context: &Extensions<GroupContext>) -> Result<Policy, Refusal> {
    let mut policy = None;
    let mut has_required = false;
    for extension in context.iter() {
        match extension {
            Extension::RequiredCapabilities(theirs) if *theirs == required_capabilities() => has_required = true,
            Extension::Unknown(POLICY_EXTENSION, UnknownExtension(bytes)) => {
                policy = Some(Policy::decode(bytes).map_err(|_| Refusal::BadContext)?);
            }
            _ => return Err(Refusal::BadContext),
        }
    }
    policy.filter(|_| has_required).ok_or(Refusal::BadContext)
}

fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(POLICY_EXTENSION)],
        &[ProposalType::SelfRemove],
        &[CredentialType::Basic],
    )
}

/// Suites with a 256-bit AEAD: ours, and the hybrid one that is to come.
const ALLOWED_SUITES: [u16; 2] = [0x0003, 0x004e];
