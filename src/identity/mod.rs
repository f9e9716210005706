//! Accounts, devices, device lists, invitations, safety numbers (spec/identity).
//!
//! ```text
//! account key ──signs──▶ account certificate            AccountId = H(account certificate)
//!      ├────────signs──▶ device certificate, per device DeviceId  = H(device certificate)
//!      └────────signs──▶ device list, versioned, chained; peers pin the newest
//! ```
//!
//! Invariants: a decoded certificate or list is not a verified one, and only [`Device`] and [`Pinned`] say that it is;
//! every structure has one encoding, a version in front and a bound; secrets leave [`LocalIdentity`] into the store only.
//!
//! Leaves out account succession, and everything that asks the network.

mod account;
mod device;
mod encoding;
mod error;
mod grant;
mod invitation;
pub mod linking;
pub mod list;
mod local;
mod name;
mod new_device;
pub mod peers;
mod safety;

pub use account::{ACCOUNT_CERTIFICATE_LEN, AccountCertificate};
pub use device::{
    CAPABILITIES_MAX, CREDENTIAL_LEN_MAX, Capability, Credential, DEVICE_CERTIFICATE_LEN_MAX, Device, DeviceCertificate,
};
pub use error::IdentityError;
pub use grant::{GRANT_LEN_MAX, Grant, KEY_GRANT_LEN, KeyGrant, Role};
pub use invitation::{INVITATION_LEN_MAX, Invitation, InvitationError, RELAY_URL_LEN_MAX, RelayUrl};
pub use list::{
    DEVICE_LIST_LEN_MAX, DEVICES_MAX, DeviceList, DeviceListHash, EXPIRED_GRACE, Freshness, ListVersion, Pinned,
};
pub(crate) use local::IdentityMark;
pub use local::{
    Adoption, CERTIFICATE_LIFETIME, CLOCK_SKEW, LIST_LIFETIME, LIST_RENEWAL, LIST_RENEWAL_STAGGER, LocalIdentity,
    Renewal,
};
pub use name::{DisplayName, NAME_LEN_MAX, NameError};
pub use new_device::{DEVICE_REQUEST_LEN_MAX, DeviceRequest, NewDevice};
pub use safety::{QR_LEN, SafetyNumber, Scan, Verification};

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// Declares a hash of 32 bytes with a meaning.
macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize,
        )]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}
use hash_id;

hash_id!(
    /// Names an account: the hash of its certificate, 32 bytes, self-certifying.
    AccountId
);
hash_id!(
    /// Names a device: the hash of its certificate, 32 bytes, self-certifying.
    DeviceId
);

#[cfg(test)]
mod tests;
