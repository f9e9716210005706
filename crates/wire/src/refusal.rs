//! Why a relay refuses, as numbers: each says what the client does next and carries what it needs for that.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::id::{Generation, Head, Seq};

/// A refused request. The request changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u16)]
#[non_exhaustive]
pub enum Refusal {
    /// The frame does not decode, or breaks a bound. Fatal: a client that is sound never sends it.
    #[tls_codec(discriminant = 1)]
    Malformed,
    /// There is no such log, inbox, slot or item. Refresh.
    #[tls_codec(discriminant = 2)]
    Unknown,
    /// The connection has not proven the right that the request needs. Refresh.
    #[tls_codec(discriminant = 3)]
    NotProven,
    /// The append is for another generation than the log's. Refresh: read up to `turned_at`, then seal anew.
    #[tls_codec(discriminant = 4)]
    Stale {
        /// The log's generation.
        generation: Generation,
        /// The entry that began it.
        turned_at: Seq,
    },
    /// The signature of a `publish` or `open inbox` does not verify. Fatal.
    #[tls_codec(discriminant = 5)]
    BadSignature,
    /// What is to be created exists with other keys. Fatal.
    #[tls_codec(discriminant = 6)]
    Exists,
    /// The slot holds a newer version, or the same one with another body. Refresh.
    #[tls_codec(discriminant = 7)]
    VersionConflict {
        /// The version that the slot holds.
        version: u64,
    },
    /// Too much at once. Retry after the time given.
    #[tls_codec(discriminant = 8)]
    RateLimited {
        /// Milliseconds until a retry has a chance.
        retry_after_ms: u32,
    },
    /// A quota is full (inbox lane, slot items, subscriptions). Retry after the time given.
    #[tls_codec(discriminant = 9)]
    Quota {
        /// Milliseconds until a retry has a chance.
        retry_after_ms: u32,
    },
    /// Entries before `first_seq` are gone. Refresh from there.
    #[tls_codec(discriminant = 10)]
    Trimmed {
        /// The first entry that can still be read.
        first_seq: Seq,
        /// The head before it.
        head: Head,
    },
    /// The relay is about to stop. Retry elsewhere, or later.
    #[tls_codec(discriminant = 11)]
    Draining {
        /// Milliseconds until a retry has a chance.
        retry_after_ms: u32,
    },
    /// The relay does not know this request. Fatal for this request.
    #[tls_codec(discriminant = 12)]
    Unsupported,
    /// The relay cannot store. Retry after the time given.
    #[tls_codec(discriminant = 13)]
    Unavailable {
        /// Milliseconds until a retry has a chance.
        retry_after_ms: u32,
    },
}

/// What a refused client does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// The same request again, after this many milliseconds at the least.
    Retry {
        /// Milliseconds.
        after_ms: u32,
    },
    /// Learn what changed (read, prove, take), then decide anew.
    Refresh,
    /// Stop: the request will never be accepted.
    Fatal,
}

impl Refusal {
    /// The stable number of this refusal, as on the wire.
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed => 1,
            Self::Unknown => 2,
            Self::NotProven => 3,
            Self::Stale { .. } => 4,
            Self::BadSignature => 5,
            Self::Exists => 6,
            Self::VersionConflict { .. } => 7,
            Self::RateLimited { .. } => 8,
            Self::Quota { .. } => 9,
            Self::Trimmed { .. } => 10,
            Self::Draining { .. } => 11,
            Self::Unsupported => 12,
            Self::Unavailable { .. } => 13,
        }
    }

    /// What the client does next.
    pub fn action(&self) -> Action {
        match *self {
            Self::Malformed | Self::BadSignature | Self::Exists | Self::Unsupported => Action::Fatal,
            Self::Unknown
            | Self::NotProven
            | Self::Stale { .. }
            | Self::VersionConflict { .. }
            | Self::Trimmed { .. } => Action::Refresh,
            Self::RateLimited { retry_after_ms }
            | Self::Quota { retry_after_ms }
            | Self::Draining { retry_after_ms }
            | Self::Unavailable { retry_after_ms } => Action::Retry { after_ms: retry_after_ms },
        }
    }
}
