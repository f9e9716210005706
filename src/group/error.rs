//! Why a group call did nothing.

use std::fmt;

use super::policy::Refusal;
use super::{Epoch, KeyPackageError};
use crate::store::StoreError;

/// Nothing was changed: the step's writes are as they were before the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GroupError {
    /// The bytes are no such message, or are longer than one can be.
    Malformed,
    /// This device has no such group, or has been removed from it.
    NotAMember,
    /// This device has the group already.
    AlreadyAMember,
    /// The message belongs to another epoch.
    WrongEpoch {
        /// The epoch in force here.
        ours: Epoch,
        /// The epoch of the message.
        theirs: Epoch,
    },
    /// The message does not open, its signature or tag does not verify, it was opened before, or its associated data is
    /// not what the caller expected. Nobody can tell which.
    Authentication,
    /// The message is one of ours: it is known by its entry id, and a pending commit is merged, not processed.
    OwnMessage,
    /// The sender may not do this; every member refuses it alike.
    Forbidden {
        /// Why.
        refusal: Refusal,
    },
    /// MLS itself refuses the commit or proposal (RFC 9420 §12).
    InvalidCommit,
    /// Somebody asked to leave: commit that first ([`commit_pending`](super::commit_pending)).
    PendingProposals,
    /// A commit of ours waits for the log's word: merge or discard it first.
    PendingCommit,
    /// There is no commit of ours to merge or read.
    NoPendingCommit,
    /// The call names nobody, or somebody without a leaf.
    NoTarget,
    /// The Welcome is for none of our key packages; a one-time key package was used already.
    NoKeyPackage,
    /// The key package cannot be used to add its device.
    KeyPackage {
        /// Why.
        error: KeyPackageError,
    },
    /// The store failed; the client is poisoned.
    Store {
        /// What failed.
        error: StoreError,
    },
    /// openmls failed where it should not: a bug.
    Internal,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the bytes are no group message"),
            Self::NotAMember => f.write_str("this device is not in the group"),
            Self::AlreadyAMember => f.write_str("this device is in the group already"),
            Self::WrongEpoch { ours, theirs } => write!(f, "the message is of epoch {theirs}, the group at {ours}"),
            Self::Authentication => f.write_str("the message does not open"),
            Self::OwnMessage => f.write_str("the message is one of ours"),
            Self::Forbidden { refusal } => write!(f, "forbidden: {refusal}"),
            Self::InvalidCommit => f.write_str("the commit or proposal is invalid"),
            Self::PendingProposals => f.write_str("a proposal is to be committed first"),
            Self::PendingCommit => f.write_str("a commit of ours is pending"),
            Self::NoPendingCommit => f.write_str("no commit of ours is pending"),
            Self::NoTarget => f.write_str("nobody in the group is meant"),
            Self::NoKeyPackage => f.write_str("the Welcome is for none of our key packages"),
            Self::KeyPackage { error } => write!(f, "the key package cannot be used: {error}"),
            Self::Store { error } => error.fmt(f),
            Self::Internal => f.write_str("openmls failed unexpectedly"),
        }
    }
}

impl std::error::Error for GroupError {}

impl From<StoreError> for GroupError {
    fn from(error: StoreError) -> Self {
        Self::Store { error }
    }
}

impl From<Refusal> for GroupError {
    fn from(refusal: Refusal) -> Self {
        Self::Forbidden { refusal }
    }
}

impl From<KeyPackageError> for GroupError {
    fn from(error: KeyPackageError) -> Self {
        Self::KeyPackage { error }
    }
}
