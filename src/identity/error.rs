//! What can be wrong with a certificate, a list or a name.

use std::fmt;

use super::list::ListVersion;
use super::name::NameError;
use crate::crypto::dh::DhError;
use crate::store::StoreError;
use crate::time::UnixMs;

/// Why an identity is refused. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IdentityError {
    /// Longer than the structure can be.
    TooLong {
        /// Its length, bytes.
        len: usize,
        /// The bound, bytes.
        len_max: usize,
    },
    /// A structure of a version that this library does not know: it needs an update, or the peer made it up.
    UnknownVersion {
        /// The version byte.
        version: u8,
    },
    /// The bytes are no such structure, are not its one encoding, or bytes follow it.
    Malformed,
    /// A list or number is past its bound, or a list is not sorted.
    Bound,
    /// A signature does not verify.
    BadSignature,
    /// A certificate or list names another account than the one beside it.
    WrongAccount,
    /// A DH key with which no secret can be agreed.
    BadDhKey(DhError),
    /// The certificate is not valid yet, or a clock is wrong.
    NotYetValid {
        /// When it begins to be.
        not_before: UnixMs,
    },
    /// The certificate is no longer valid, or a clock is wrong.
    Expired {
        /// When it ended.
        not_after: UnixMs,
    },
    /// A device list names one device, or one of its keys, twice.
    DuplicateDevice,
    /// An older device list than the one pinned: somebody rolls back, or the directory is stale.
    ListRolledBack {
        /// The version pinned.
        pinned: ListVersion,
        /// The version offered.
        offered: ListVersion,
    },
    /// Two device lists of one version: the account key signed both, or is stolen. Sending to the account stops.
    DeviceListForked {
        /// The version that exists twice.
        version: ListVersion,
    },
    /// A device list does not name the one before it.
    ListChainBroken,
    /// The device list expired too long ago to be used.
    ListExpired {
        /// When it expired.
        expired_at: UnixMs,
    },
    /// The account has as many devices as it can have.
    TooManyDevices,
    /// This device does not hold the account key, or was removed: another one has to do it.
    NoAccountKey,
    /// The device is not in the account's list.
    UnknownDevice,
    /// A device does not remove itself: a holder of the account key, on another device, does.
    OwnDevice,
    /// The device holds the account key: leaving it out of a list would not remove it.
    PrimaryDevice,
    /// A grant that was made for other keys than ours.
    NotOurKeys,
    /// A grant whose account key does not fit its certificates.
    WrongAccountKey,
    /// The name cannot be shown.
    Name(NameError),
    /// The relay's address is empty, too long, or holds more than visible ASCII.
    BadRelayUrl,
    /// The store holds an identity already; there is never a second.
    AlreadyThere,
    /// The store failed, or holds what was never written.
    Store(StoreError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, len_max } => write!(f, "{len} bytes are more than the {len_max} allowed"),
            Self::UnknownVersion { version } => write!(f, "version {version} is not known"),
            Self::Malformed => f.write_str("the bytes are malformed"),
            Self::Bound => f.write_str("a list or number is past its bound or not sorted"),
            Self::BadSignature => f.write_str("a signature does not verify"),
            Self::WrongAccount => f.write_str("it belongs to another account"),
            Self::BadDhKey(error) => error.fmt(f),
            Self::NotYetValid { not_before } => write!(f, "the certificate is not valid before {not_before}"),
            Self::Expired { not_after } => write!(f, "the certificate expired at {not_after}"),
            Self::DuplicateDevice => f.write_str("the device list names a device or key twice"),
            Self::ListRolledBack { pinned, offered } => {
                write!(f, "device list {offered} is older than {pinned}, which was seen before")
            }
            Self::DeviceListForked { version } => write!(f, "two device lists of version {version} exist"),
            Self::ListChainBroken => f.write_str("the device list does not name the one before it"),
            Self::ListExpired { expired_at } => write!(f, "the device list expired at {expired_at}"),
            Self::TooManyDevices => f.write_str("the account has as many devices as it can have"),
            Self::NoAccountKey => f.write_str("this device does not hold the account key"),
            Self::UnknownDevice => f.write_str("the device is not in the account's list"),
            Self::OwnDevice => f.write_str("a device does not remove itself"),
            Self::PrimaryDevice => f.write_str("the device holds the account key, and is not removed by a list"),
            Self::NotOurKeys => f.write_str("the grant was made for other keys than ours"),
            Self::WrongAccountKey => f.write_str("the account key in the grant does not fit its certificates"),
            Self::Name(error) => error.fmt(f),
            Self::BadRelayUrl => f.write_str("the relay's address is empty, too long or not visible ASCII"),
            Self::AlreadyThere => f.write_str("the store holds an identity already"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IdentityError {}

impl From<StoreError> for IdentityError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<NameError> for IdentityError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<DhError> for IdentityError {
    fn from(error: DhError) -> Self {
        Self::BadDhKey(error)
    }
}
