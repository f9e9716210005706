//! Every error says in a sentence what is wrong, and no two of one kind say the same.

use std::collections::BTreeSet;
use std::fmt;

use super::*;
use crate::crypto::dh::DhError;
use crate::crypto::kem::BadKemKey;
use crate::crypto::sign::BadSignature;
use crate::crypto::{aead, hpke};
use crate::dm::{PqEpoch, PrekeyFault};
use crate::identity::linking::{Abort, OfferError};
use crate::identity::{ListVersion, NameError};
use crate::time::UnixMs;

/// All values of an enum, one for each variant: a new one does not compile until it stands here.
macro_rules! every {
    ($enum:ident { $($variant:ident $(($inner:expr))? $({ $($field:ident: $value:expr),* })?),* $(,)? }) => {{
        let every = vec![$($enum::$variant $(($inner))? $({ $($field: $value),* })?),*];
        for value in &every {
            match value {
                $($enum::$variant $((every!(@any $inner)))? $({ $($field: _),* })? => {})*
            }
        }
        every
    }};
    (@any $inner:expr) => { _ };
}

fn assert_told<E: fmt::Display>(every: &[E]) {
    let texts: Vec<String> = every.iter().map(ToString::to_string).collect();
    for text in &texts {
        let first = text.chars().next().expect("it says something");
        // A sentence for the middle of a line, without the names of Rust.
        assert!(!first.is_uppercase() || text.starts_with("MLS"), "{text}");
        assert!(text.contains(' ') && text.len() < 120 && !text.ends_with('.'), "{text}");
        assert!(!text.contains("::") && !text.contains('{') && !text.contains("Error"), "{text}");
    }
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len(), "{texts:?}");
}

fn store_errors() -> Vec<StoreError> {
    every!(StoreError { Medium, Corrupt, TooNew, Busy })
}

#[test]
fn errors_of_primitives_say_what_is_wrong() {
    assert_told(&every!(DhError { NonCanonical, NonContributory }));
    assert_told(&[aead::DoesNotOpen]);
    assert_told(&[hpke::BadSealKey]);
    assert_told(&[BadKemKey]);
    assert_told(&[BadSignature]);
    assert_told(&store_errors());
}

#[test]
fn errors_of_direct_sessions_say_what_is_wrong() {
    let faults = every!(PrekeyFault { Unsigned, WrongKind, NotYetValid, Expired, Unknown });
    assert_told(&faults);
    assert_told(&faults.iter().map(|fault| DmError::BadPrekey { fault: *fault }).collect::<Vec<_>>());
    assert_told(&every!(DmError {
        Authentication,
        NoSession,
        BadPrekey { fault: PrekeyFault::Expired },
        Replay,
        Expired,
        JumpTooLarge { jump: 2_001 },
        CounterOutOfRange,
        UnknownPqEpoch { epoch: PqEpoch::FIRST },
        PqMismatch,
        StateForked,
        WeakKey,
        Malformed,
        UnsupportedVersion { version: 2 },
        OwnDevice,
        ChainExhausted,
        TooLong,
        TooMany,
        ReplayMemoryFull,
        Store(StoreError::Medium),
    }));
}

#[test]
fn errors_of_identity_say_what_is_wrong() {
    let names = every!(NameError { Blank, TooLong { len: 65 }, NotUtf8, OuterSpace, Control, Direction, Invisible });
    assert_told(&names);
    let (version, now) = (ListVersion::from_u64(2), UnixMs::from_u64(1));
    let identity = every!(IdentityError {
        TooLong { len: 2, len_max: 1 },
        UnknownVersion { version: 2 },
        Malformed,
        Bound,
        BadSignature,
        WrongAccount,
        BadDhKey(DhError::NonCanonical),
        NotYetValid { not_before: now },
        Expired { not_after: now },
        DuplicateDevice,
        ListRolledBack { pinned: version, offered: version },
        DeviceListForked { version: version },
        ListChainBroken,
        ListExpired { expired_at: now },
        TooManyDevices,
        NoAccountKey,
        UnknownDevice,
        OwnDevice,
        PrimaryDevice,
        NotOurKeys,
        WrongAccountKey,
        Name(NameError::Blank),
        BadRelayUrl,
        AlreadyThere,
        Store(StoreError::Medium),
    });
    assert_told(&identity);
    let one = IdentityError::Malformed;
    assert_told(&every!(InvitationError { NotAnInvitation, Alphabet, Checksum, Invalid(one) }));
    assert_told(&every!(OfferError { NotAnOffer, Alphabet, Checksum, Invalid(one) }));
    assert_told(&[
        LinkingError::from(OfferError::Alphabet),
        LinkingError::Aborted(Abort::Declined),
        LinkingError::Aborted(Abort::Failed),
    ]);
    assert_told(&every!(LinkingError {
        Offer(OfferError::Checksum),
        Expired,
        AnotherRelay,
        Commitment,
        Malformed,
        Refused,
        Identity(one),
        Aborted(Abort::Declined),
    }));
}
