//! Identifiers, counters and hashes: one type each, so that none can stand where another belongs.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::label::{self, hash};

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize,
        )]
        pub struct $name([u8; $len]);

        impl $name {
            /// Takes the raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }
    };
}

macro_rules! shown_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        bytes_id!($(#[$doc])* $name, $len);

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

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $first:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize,
        )]
        pub struct $name(u64);

        impl $name {
            /// The first value.
            pub const FIRST: Self = Self($first);

            /// Takes the number.
            pub const fn from_u64(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The number as 8 bytes, big-endian, as it enters a [transcript](crate::label::transcript).
            pub const fn to_be_bytes(self) -> [u8; 8] {
                self.0.to_be_bytes()
            }

            /// The value behind this one.
            ///
            /// # Panics
            /// Panics past `u64::MAX`, which no log reaches; decoded values are bounded by [`limits`](crate::limits).
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

shown_id!(
    /// Names one log: a conversation's, or a device's inbox. 32 bytes, the hash of the key that controls it.
    LogId, 32
);
shown_id!(
    /// Names one entry of a log: 16 random bytes, drawn once per envelope and kept across retries and re-seals.
    EntryId, 16
);
shown_id!(
    /// Names one slot of the directory: 32 bytes, the hash of its owner's key.
    SlotId, 32
);
shown_id!(
    /// Names one `take` from the directory, so that a repeated request gets the same answer. 16 random bytes.
    TakeId, 16
);
shown_id!(
    /// The head of an entry chain, 32 bytes ([`chain`](crate::chain)).
    Head, 32
);
shown_id!(
    /// The hash of a payload, 32 bytes.
    PayloadHash, 32
);
shown_id!(
    /// Names a relay, 32 bytes. It enters every proof, so that a proof for one relay is none for another.
    ServerId, 32
);
shown_id!(
    /// The challenge of one connection, 32 random bytes, sent in `Hello`.
    ConnectionNonce, 32
);
shown_id!(
    /// One life of a relay's store, 16 random bytes: another value says that history may have been lost.
    Incarnation, 16
);
shown_id!(
    /// An Ed25519 public key (RFC 8032), 32 bytes, as the relay checks signatures against it.
    VerifyKey, 32
);
shown_id!(
    /// An Ed25519 signature (RFC 8032), 64 bytes.
    Signature, 64
);
bytes_id!(
    /// A bearer token that admits deposits to one lane of an inbox, 32 bytes.
    InboxToken, 32
);
shown_id!(
    /// The hash of an [`InboxToken`]: all that the relay keeps of it. 32 bytes.
    InboxTokenHash, 32
);

counter!(
    /// The position of an entry in its log: contiguous, from 1.
    Seq, 1
);
counter!(
    /// How often a log's gate has turned: from 0.
    Generation, 0
);
counter!(
    /// Pairs a reply with its request on one connection.
    RequestId, 0
);

impl LogId {
    /// The log that `control` controls (rule RELAY-02).
    pub fn of_control_key(control: &VerifyKey) -> Self {
        Self(hash(label::LOG_ID, &[control.as_bytes()]))
    }

    /// The inbox that the holder of `owner` reads (rule RELAY-30).
    pub fn of_inbox_key(owner: &VerifyKey) -> Self {
        Self(hash(label::INBOX_ID, &[owner.as_bytes()]))
    }
}

impl SlotId {
    /// The directory slot that the holder of `owner` writes (rule RELAY-40).
    pub fn of_owner(owner: &VerifyKey) -> Self {
        Self(hash(label::SLOT_ID, &[owner.as_bytes()]))
    }
}

impl PayloadHash {
    /// Hashes a payload as it enters a leaf (rule RELAY-20).
    pub fn of(payload: &[u8]) -> Self {
        Self(hash(label::PAYLOAD, &[payload]))
    }
}

impl fmt::Debug for InboxToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("InboxToken(…)")
    }
}

impl InboxToken {
    /// The hash that the relay keeps (rule RELAY-31).
    pub fn to_hash(&self) -> InboxTokenHash {
        InboxTokenHash(hash(label::INBOX_TOKEN, &[&self.0]))
    }
}
