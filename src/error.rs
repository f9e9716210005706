//! The one public error of the library: who is at fault, a stable number, and what helps.

use std::fmt;

use undertone_wire::frame::DecodeError;

use crate::content::ContentError;
use crate::dm::DmError;
use crate::group::{GroupError, PolicyError};
use crate::identity::linking::LinkingError;
use crate::identity::{IdentityError, InvitationError};
use crate::store::StoreError;

/// Why a call did nothing. Except after [`ErrorKind::Storage`], the client goes on as if the call had not been made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    Store(StoreError),
    /// An earlier call failed in the store: drop the client and open it again.
    Poisoned,
    /// The store holds an account already.
    AlreadyCreated,
    /// There is no such conversation.
    UnknownConversation,
    /// There is no such message.
    UnknownMessage,
    /// We know no such account, or it is not in the group.
    UnknownAccount,
    /// The conversation is not a group.
    NotAGroup,
    /// The conversation is not a direct one.
    NotADirect,
    /// The conversation has ended for us.
    Ended,
    /// The policy of the group does not allow us.
    Forbidden,
    /// The only owner of a group cannot leave it: make somebody else an owner first.
    LastOwner,
    /// One leaves a group, and does not remove oneself from it.
    RemovingOurselves,
    /// The invitation is our own.
    OwnInvitation,
    /// There is no connection to the relay, and this cannot wait for one.
    Offline,
    /// Another device is being linked.
    LinkingUnderWay,
    /// No device is being linked, or nothing is to be confirmed.
    NoLinking,
    /// Nothing is held back from the account.
    NothingHeld,
    /// No history is given to that device, and none taken from it.
    NoTransfer,
    /// The content is larger than a message may be: send it as an attachment.
    TooLarge {
        /// Its length, bytes.
        len: usize,
        /// The length allowed, bytes.
        len_max: usize,
    },
    /// A content is not right.
    Content(ContentError),
    /// A certificate, list or name is not right.
    Identity(IdentityError),
    /// A text is no invitation.
    Invitation(InvitationError),
    /// A device cannot be linked.
    Linking(LinkingError),
    /// The name or the roles of a group are not right.
    Policy(PolicyError),
    /// Keys that the relay handed out do not verify.
    BadKeys,
    /// The direct layer refused.
    Direct(DmError),
    /// The group layer refused.
    Group(GroupError),
    /// The relay sent bytes that are no frame: close the connection.
    BadFrame {
        /// What is wrong with them.
        reason: DecodeError,
    },
    /// The relay answered what was not asked: close the connection.
    UnaskedReply,
}

/// Who is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller: the call cannot be right in this state.
    Misuse,
    /// The relay, or somebody behind it.
    Peer,
    /// The store. The client is poisoned.
    Storage,
    /// Two versions that do not understand each other.
    Incompatible,
}

impl Error {
    /// Who is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(StoreError::TooNew) => ErrorKind::Incompatible,
            Self::Store(_) | Self::Poisoned => ErrorKind::Storage,
            Self::Direct(DmError::Store(_)) | Self::Group(GroupError::Store { .. }) => ErrorKind::Storage,
            Self::Identity(IdentityError::Store(_)) => ErrorKind::Storage,
            Self::Linking(LinkingError::Commitment | LinkingError::Malformed | LinkingError::Identity(_)) => {
                ErrorKind::Peer
            }
            Self::Direct(DmError::UnsupportedVersion { .. }) => ErrorKind::Incompatible,
            Self::BadKeys | Self::Direct(_) | Self::BadFrame { .. } | Self::UnaskedReply => ErrorKind::Peer,
            _ => ErrorKind::Misuse,
        }
    }

    /// A number that never changes its meaning.
    pub fn code(&self) -> u16 {
        match self {
            Self::Store(StoreError::Medium) => 101,
            Self::Store(StoreError::Corrupt) => 102,
            Self::Store(StoreError::TooNew) => 103,
            Self::Store(StoreError::Busy) => 104,
            Self::Poisoned => 105,
            Self::AlreadyCreated => 201,
            Self::UnknownConversation => 202,
            Self::UnknownMessage => 203,
            Self::UnknownAccount => 204,
            Self::NotAGroup => 205,
            Self::NotADirect => 206,
            Self::Ended => 207,
            Self::Forbidden => 208,
            Self::LastOwner => 209,
            Self::RemovingOurselves => 210,
            Self::OwnInvitation => 211,
            Self::TooLarge { .. } => 212,
            Self::Content(_) => 213,
            Self::Offline => 214,
            Self::LinkingUnderWay => 215,
            Self::NoLinking => 216,
            Self::NothingHeld => 217,
            Self::NoTransfer => 218,
            Self::Identity(_) => 301,
            Self::Invitation(_) => 302,
            Self::Policy(_) => 303,
            Self::BadKeys => 304,
            Self::Linking(_) => 305,
            Self::Direct(_) => 401,
            Self::Group(_) => 402,
            Self::BadFrame { .. } => 501,
            Self::UnaskedReply => 502,
        }
    }

    /// What helps, in a sentence for a person.
    pub fn recovery(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Storage => "close the client, look at the disk, and open it again",
            ErrorKind::Incompatible => "install the newer version",
            ErrorKind::Peer => "try again later; if it stays, compare safety numbers and ask the relay's operator",
            ErrorKind::Misuse => "nothing has changed; correct the call",
        }
    }

    /// Whether the client that returned it can no longer be used.
    pub(crate) fn poisons(&self) -> bool {
        self.kind() == ErrorKind::Storage || matches!(self, Self::Store(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Poisoned => f.write_str("an earlier call failed in the store"),
            Self::AlreadyCreated => f.write_str("the store holds an account already"),
            Self::UnknownConversation => f.write_str("there is no such conversation"),
            Self::UnknownMessage => f.write_str("there is no such message"),
            Self::UnknownAccount => f.write_str("no such account is known here"),
            Self::NotAGroup => f.write_str("the conversation is not a group"),
            Self::NotADirect => f.write_str("the conversation is not a direct one"),
            Self::Ended => f.write_str("the conversation has ended for us"),
            Self::Forbidden => f.write_str("the group's policy does not allow this"),
            Self::LastOwner => f.write_str("the only owner cannot leave the group"),
            Self::RemovingOurselves => f.write_str("one leaves a group, and does not remove oneself"),
            Self::OwnInvitation => f.write_str("the invitation is our own"),
            Self::Offline => f.write_str("there is no connection to the relay"),
            Self::LinkingUnderWay => f.write_str("another device is being linked"),
            Self::NoTransfer => f.write_str("no history is on its way to that device, or from it"),
            Self::NothingHeld => f.write_str("nothing is held back from the account"),
            Self::NoLinking => f.write_str("no device is being linked, or nothing is to be confirmed"),
            Self::TooLarge { len, len_max } => write!(f, "{len} bytes are more than the {len_max} of a message"),
            Self::Content(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Invitation(error) => error.fmt(f),
            Self::Linking(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
            Self::BadKeys => f.write_str("the keys that the relay handed out do not verify"),
            Self::Direct(error) => error.fmt(f),
            Self::Group(error) => error.fmt(f),
            Self::BadFrame { reason } => write!(f, "the relay sent a bad frame: {reason}"),
            Self::UnaskedReply => f.write_str("the relay answered what was not asked"),
        }
    }
}

impl std::error::Error for Error {}

macro_rules! from {
    ($($source:ty => $variant:ident,)*) => {
        $(impl From<$source> for Error {
            fn from(error: $source) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from! {
    StoreError => Store,
    ContentError => Content,
    IdentityError => Identity,
    InvitationError => Invitation,
    LinkingError => Linking,
    PolicyError => Policy,
    DmError => Direct,
    GroupError => Group,
}

#[cfg(test)]
mod tests;
