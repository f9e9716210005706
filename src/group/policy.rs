//! Who may do what in a group: the policy in the group context, and the one pure check that guards every path.
//!
//! ```text
//! u8 version = 1 ‖ opaque name<V> (UTF-8, ≤ 128 bytes) ‖ Entry roles<V>        Entry = AccountId (32 bytes) ‖ u8 role
//! ```
//!
//! Entries are sorted by account, each account once, and the default role (member) is not written, so that one policy has
//! one encoding (rule GRP-10). Invariants: [`authorise`] reads no clock, no directory and nothing local, so that all members
//! answer alike (rule GRP-21); whoever decides about a commit, proposal, message or Welcome goes through it.
//!
//! Leaves out retention, receipts, history and invite rules: a later version of the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tls_codec::{DeserializeBytes as _, Serialize as _, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::identity::{AccountId, DeviceId};
use crate::limits::{GROUP_ADDS_MAX, GROUP_DEVICES_MAX, GROUP_NAME_LEN_MAX, GROUP_ROLES_MAX};

/// What an account may do in a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Role {
    /// Everything, and the only one to make or unmake owners and admins.
    Owner = 1,
    /// Adds and removes others, and changes the settings.
    Admin = 2,
    /// A member, trusted with the messages of others (content rules).
    Moderator = 3,
    /// Sends and reads. The default.
    Member = 4,
    /// Reads only.
    Observer = 5,
}

/// The settings of a group, as they stand in its context: every member holds the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    name: String,
    roles: BTreeMap<AccountId, Role>,
}

/// Bytes or settings that are no policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PolicyError {
    /// The bytes are not the one encoding of a policy.
    Malformed,
    /// The version is newer than ours: the group needs an upgrade of this device.
    UnknownVersion,
    /// The name is longer than the bound.
    NameTooLong,
    /// More roles than the bound.
    TooManyRoles,
}

/// Why something is refused. Every member comes to the same verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The sender is no member: an external commit or proposal, or a leaf that is gone.
    NotAMember,
    /// The sender's role does not permit it.
    NotPermitted,
    /// No owner would be left in the group.
    NoOwnerLeft,
    /// A device would have two leaves.
    DuplicateDevice,
    /// More devices than a group may have.
    TooManyDevices,
    /// More adds than one commit may have.
    TooManyAdds,
    /// A proposal of a type that groups do not use, or one that may not stand where it stands.
    ProposalType,
    /// The sender has a proposal waiting already.
    TooManyProposals,
    /// The commit carries no update path, so that it would heal nothing.
    NoPath,
    /// The committer's new leaf has another credential, key or lifetime.
    LeafChanged,
    /// A leaf is not that of a certified device with our capabilities and the constant lifetime.
    BadLeaf,
    /// The group context lacks the policy or the required capabilities, or has more than these.
    BadContext,
}

/// The answer of [`authorise`].
pub type Verdict = Result<(), Refusal>;

/// A device with a leaf, its certificate checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafOwner {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
}

/// One proposal of a commit, as the check sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proposed {
    /// A device is added; refused if its leaf is not in order.
    Add(Result<LeafOwner, Refusal>),
    /// A device is removed.
    Remove(LeafOwner),
    /// A device leaves, by its own earlier proposal.
    Leave(LeafOwner),
    /// The group context is replaced.
    Context,
    /// Anything else.
    Other,
}

/// A commit, as the check sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitView {
    /// The leaves before the commit.
    pub before: Vec<LeafOwner>,
    /// What the commit proposes, its own proposals and those it refers to.
    pub proposals: Vec<Proposed>,
    /// Whether the committer's new leaf is in order.
    pub path: Verdict,
    /// The policy after the commit, if the new group context is in order.
    pub policy_after: Result<Policy, Refusal>,
}

/// What a sender asks the group to accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked<'a> {
    /// An application message.
    Message,
    /// To leave, while `waiting` have asked already.
    Leave {
        /// The leaves of the group.
        members: &'a [LeafOwner],
        /// Those who asked to leave in this epoch.
        waiting: &'a [LeafOwner],
    },
    /// A commit.
    Commit(&'a CommitView),
    /// That `us` joins a group of `members`, all leaves and the context being in order. Also asked of a new group.
    Join {
        /// The leaves of the group, ours among them.
        members: &'a [LeafOwner],
        /// Our own leaf.
        us: LeafOwner,
    },
}

/// Decides whether `sender` may do what is `asked` under `policy` (rules GRP-20 to GRP-29). Pure: the same for every member.
///
/// # Errors
/// [`Refusal`]; the caller takes back all it did.
pub fn authorise(policy: &Policy, asked: Asked<'_>, sender: Option<LeafOwner>) -> Verdict {
    let sender = sender.ok_or(Refusal::NotAMember)?;
    match asked {
        Asked::Message => permit(policy.role(&sender.account) != Role::Observer),
        Asked::Leave { members, waiting } => authorise_leave(policy, members, waiting, sender),
        Asked::Commit(commit) => authorise_commit(policy, commit, sender),
        Asked::Join { members, us } => authorise_join(policy, members, us, sender),
    }
}

fn authorise_leave(policy: &Policy, members: &[LeafOwner], waiting: &[LeafOwner], sender: LeafOwner) -> Verdict {
    if waiting.contains(&sender) {
        return Err(Refusal::TooManyProposals);
    }
    let stay = |member: &&LeafOwner| **member != sender && !waiting.contains(member);
    has_owner(policy, members.iter().filter(stay))
}

fn authorise_commit(policy: &Policy, commit: &CommitView, sender: LeafOwner) -> Verdict {
    let CommitView { before, proposals, path, policy_after } = commit;
    if !before.contains(&sender) {
        return Err(Refusal::NotAMember);
    }
    (*path)?;
    let after = policy_after.as_ref().map_err(|refusal| *refusal)?;
    if proposals.iter().filter(|proposal| matches!(proposal, Proposed::Add(_))).count() > GROUP_ADDS_MAX {
        return Err(Refusal::TooManyAdds);
    }
    let mut members: Vec<LeafOwner> = before.clone();
    for proposal in proposals {
        match *proposal {
            Proposed::Add(leaf) => {
                let leaf = leaf?;
                may_add(policy, after, before, leaf, sender)?;
                members.push(leaf);
            }
            Proposed::Remove(leaf) => {
                may_remove(policy, leaf, sender)?;
                take_one(&mut members, leaf);
            }
            Proposed::Leave(leaf) => {
                permit(leaf != sender)?;
                take_one(&mut members, leaf);
            }
            Proposed::Context => may_change(policy, after, sender)?,
            Proposed::Other => return Err(Refusal::ProposalType),
        }
    }
    if policy != after && !proposals.contains(&Proposed::Context) {
        return Err(Refusal::BadContext);
    }
    is_sound(after, &members)
}

fn authorise_join(policy: &Policy, members: &[LeafOwner], us: LeafOwner, sender: LeafOwner) -> Verdict {
    if !members.contains(&sender) || !members.contains(&us) {
        return Err(Refusal::NotAMember);
    }
    let others: Vec<LeafOwner> = members.iter().copied().filter(|member| *member != us).collect();
    may_add(policy, policy, &others, us, sender)?;
    is_sound(policy, members)
}

/// Own devices always; others by those who manage; an account that comes back with power only by an owner.
fn may_add(policy: &Policy, after: &Policy, before: &[LeafOwner], leaf: LeafOwner, sender: LeafOwner) -> Verdict {
    if leaf.account == sender.account {
        return Ok(());
    }
    permit(policy.role(&sender.account).manages())?;
    let is_new = before.iter().all(|member| member.account != leaf.account);
    permit(!is_new || !after.role(&leaf.account).manages() || policy.role(&sender.account) == Role::Owner)
}

/// Own devices always; others by those who manage; owners and admins only by an owner.
fn may_remove(policy: &Policy, leaf: LeafOwner, sender: LeafOwner) -> Verdict {
    if leaf.account == sender.account {
        return Ok(());
    }
    let role = policy.role(&sender.account);
    permit(role == Role::Owner || role.manages() && !policy.role(&leaf.account).manages())
}

/// Settings by those who manage; who is owner or admin only by an owner.
fn may_change(policy: &Policy, after: &Policy, sender: LeafOwner) -> Verdict {
    let role = policy.role(&sender.account);
    permit(role == Role::Owner || role.manages() && policy.managers().eq(after.managers()))
}

/// One leaf per device, not too many, and an owner among them.
fn is_sound(policy: &Policy, members: &[LeafOwner]) -> Verdict {
    let devices: BTreeSet<DeviceId> = members.iter().map(|member| member.device).collect();
    if devices.len() != members.len() {
        return Err(Refusal::DuplicateDevice);
    }
    if members.len() > GROUP_DEVICES_MAX {
        return Err(Refusal::TooManyDevices);
    }
    has_owner(policy, members.iter())
}

fn has_owner<'m>(policy: &Policy, mut members: impl Iterator<Item = &'m LeafOwner>) -> Verdict {
    let is_owner = |member: &LeafOwner| policy.role(&member.account) == Role::Owner;
    if members.any(is_owner) { Ok(()) } else { Err(Refusal::NoOwnerLeft) }
}

fn take_one(members: &mut Vec<LeafOwner>, leaf: LeafOwner) {
    if let Some(index) = members.iter().position(|member| *member == leaf) {
        members.swap_remove(index);
    }
}

fn permit(is_permitted: bool) -> Verdict {
    if is_permitted { Ok(()) } else { Err(Refusal::NotPermitted) }
}

impl Role {
    /// Whether the role adds and removes others and changes the settings.
    pub const fn manages(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

impl Policy {
    /// The policy of a new group: `owner` owns it, everybody else is a member.
    ///
    /// # Errors
    /// [`PolicyError::NameTooLong`].
    pub fn new(name: &str, owner: AccountId) -> Result<Self, PolicyError> {
        Self { name: String::new(), roles: BTreeMap::from([(owner, Role::Owner)]) }.with_name(name)
    }

    /// The same policy under another name, at most 128 bytes of UTF-8.
    ///
    /// # Errors
    /// [`PolicyError::NameTooLong`].
    pub fn with_name(mut self, name: &str) -> Result<Self, PolicyError> {
        if name.len() > GROUP_NAME_LEN_MAX {
            return Err(PolicyError::NameTooLong);
        }
        name.clone_into(&mut self.name);
        Ok(self)
    }

    /// The same policy, in which `account` has `role`.
    ///
    /// # Errors
    /// [`PolicyError::TooManyRoles`].
    pub fn with_role(mut self, account: AccountId, role: Role) -> Result<Self, PolicyError> {
        if role == Role::Member {
            self.roles.remove(&account);
        } else {
            self.roles.insert(account, role);
        }
        if self.roles.len() > GROUP_ROLES_MAX { Err(PolicyError::TooManyRoles) } else { Ok(self) }
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role of an account, whether or not it has a device in the group.
    pub fn role(&self, account: &AccountId) -> Role {
        self.roles.get(account).copied().unwrap_or(Role::Member)
    }

    /// Every account whose role is not the default, sorted.
    pub fn roles(&self) -> impl Iterator<Item = (AccountId, Role)> {
        self.roles.iter().map(|(account, role)| (*account, *role))
    }

    /// The one encoding (rule GRP-10).
    pub fn encode(&self) -> Vec<u8> {
        let roles = self.roles().map(|(account, role)| RoleEntry { account, role }).collect();
        let wire = PolicyWire { version: VERSION, name: self.name.clone().into_bytes(), roles };
        wire.tls_serialize_detached().expect("a policy is bounded far below 2^30 bytes")
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`]; the group context that carries it is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, PolicyError> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(version) if *version > VERSION => return Err(PolicyError::UnknownVersion),
            _ => return Err(PolicyError::Malformed),
        }
        if bytes.len() > ENCODED_LEN_MAX {
            return Err(PolicyError::Malformed);
        }
        let wire = PolicyWire::tls_deserialize_exact_bytes(bytes).map_err(|_| PolicyError::Malformed)?;
        if !wire.roles.is_sorted_by(|a, b| a.account < b.account) {
            return Err(PolicyError::Malformed);
        }
        if wire.roles.iter().any(|entry| entry.role == Role::Member) {
            return Err(PolicyError::Malformed);
        }
        if wire.roles.len() > GROUP_ROLES_MAX {
            return Err(PolicyError::TooManyRoles);
        }
        let name = std::str::from_utf8(&wire.name).map_err(|_| PolicyError::Malformed)?;
        let roles = wire.roles.iter().map(|entry| (entry.account, entry.role)).collect();
        Self { name: String::new(), roles }.with_name(name)
    }

    fn managers(&self) -> impl Iterator<Item = (AccountId, Role)> {
        self.roles().filter(|(_, role)| role.manages())
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the bytes are no group policy",
            Self::UnknownVersion => "the group policy has a newer version",
            Self::NameTooLong => "the group's name is too long",
            Self::TooManyRoles => "the group policy names too many accounts",
        })
    }
}

impl std::error::Error for PolicyError {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAMember => "the sender is no member",
            Self::NotPermitted => "the sender's role does not permit it",
            Self::NoOwnerLeft => "no owner would be left",
            Self::DuplicateDevice => "a device would have two leaves",
            Self::TooManyDevices => "the group would have too many devices",
            Self::TooManyAdds => "the commit adds too many devices",
            Self::ProposalType => "groups do not use this proposal",
            Self::TooManyProposals => "the sender has a proposal waiting already",
            Self::NoPath => "the commit has no update path",
            Self::LeafChanged => "the committer's leaf changed its credential or key",
            Self::BadLeaf => "a leaf is not that of a certified device",
            Self::BadContext => "the group context is not in order",
        })
    }
}

impl std::error::Error for Refusal {}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct PolicyWire {
    version: u8,
    name: Vec<u8>,
    roles: Vec<RoleEntry>,
}

#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct RoleEntry {
    account: AccountId,
    role: Role,
}

const VERSION: u8 = 1;

/// The longest name and all roles, with their length prefixes.
const ENCODED_LEN_MAX: usize = 1 + 4 + GROUP_NAME_LEN_MAX + 4 + GROUP_ROLES_MAX * 33;
