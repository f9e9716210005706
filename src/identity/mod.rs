//! Accounts, devices, device lists, safety numbers (spec/identity).

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

hash_id!(
    /// Names an account: the hash of its certificate, 32 bytes, self-certifying.
    AccountId
);
hash_id!(
    /// Names a device: the hash of its certificate, 32 bytes, self-certifying.
    DeviceId
);
