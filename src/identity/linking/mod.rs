//! Linking: how a new device comes to belong to an account, by a code to scan and six digits to compare.
//!
//! ```text
//! new device                                     old device, which holds the account key
//!   NewOffering ═══ Offer, as a QR code ════════▶  OldOpened::open
//!        ◀────────────── 1 opening ───────────────    │
//!   NewAnswered ──────── 2 answer ───────────────▶  OldComparing (code)
//!        ◀────────────── 3 reveal ────────────────    │
//!   NewComparing (code)                               │
//!   confirm ──────────── 4 confirmation ─────────▶  confirm
//!   NewConfirmed ◀────── 5 grant ─────────────────  OldReady: the account key signs here, and not before
//! ```
//!
//! Each state is consumed by its next one, so that no nonce, key or offer serves twice. What does not open changes nothing
//! ([`Round::Ignored`] hands the state back); what opens and is wrong ends the linking, and with it all its keys.
//!
//! Invariants: the old device is bound to its nonce before it sees the other one, so that neither side, nor anybody
//! between them, can search for a pair of transcripts with one code; the code covers the offer and every byte sent before
//! it is shown.
//!
//! Leaves out how the messages travel (two inboxes at the relay), and who is asked whether the digits are the same.

mod channel;
mod new_side;
mod offer;
mod old_side;

pub use channel::{LINKING_MESSAGE_LEN_MAX, Mailbox};
pub use new_side::{NewAnswered, NewComparing, NewConfirmed, NewOffering};
pub use offer::{OFFER_LEN_MAX, Offer, OfferError};
pub use old_side::{OldAgreed, OldComparing, OldOpened, OldReady};

use std::fmt;
use std::time::Duration;

use super::IdentityError;

/// How long an offer is good for, and how long a linking may take: 10 minutes.
pub const LINKING_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// The six digits that both devices show (rule ID-74).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkingCode(u32);

impl LinkingCode {
    /// How many codes there are: who stands between two devices hits by chance once in as many attempts.
    const COUNT: u64 = 1_000_000;

    fn of_hash(hash: &[u8; 32]) -> Self {
        let (first, _) = hash.split_first_chunk::<8>().expect("a hash has 32 bytes");
        let code = u64::from_be_bytes(*first) % Self::COUNT;
        Self(u32::try_from(code).expect("a code is below a million"))
    }
}

impl fmt::Display for LinkingCode {
    /// Two groups of three digits, a space between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

impl fmt::Debug for LinkingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkingCode({self})")
    }
}

/// What became of a message.
#[derive(Debug)]
#[must_use]
pub enum Round<S, N> {
    /// It is not the message that this state waits for: garbage, a replay, or from somebody who saw the offer. The state
    /// is as it was.
    Ignored(S),
    /// It is, and leads here.
    Next(N),
}

/// Why a linking ended without a device. Nothing of it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkingError {
    /// The text is no offer.
    Offer(OfferError),
    /// Ten minutes have passed, or a clock is wrong.
    Expired,
    /// The new device stands at another relay than ours.
    AnotherRelay,
    /// The nonce is not the one that was committed to: somebody tries to choose the code.
    Commitment,
    /// The other device sent what no honest one sends.
    Malformed,
    /// The relay does not take the messages.
    Refused,
    /// A certificate, request or list of the other device is not right.
    Identity(IdentityError),
    /// The other device ended it.
    Aborted(Abort),
}

/// What one device tells the other when it ends a linking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Abort {
    /// A person said that the codes differ, or changed their mind.
    Declined,
    /// Something did not fit.
    Failed,
}

impl Abort {
    fn to_u8(self) -> u8 {
        match self {
            Self::Declined => 1,
            Self::Failed => 2,
        }
    }

    /// A reason of a later version is a failure as well.
    fn from_u8(reason: u8) -> Self {
        if reason == Self::Declined.to_u8() { Self::Declined } else { Self::Failed }
    }
}

impl fmt::Display for LinkingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer(error) => error.fmt(f),
            Self::Expired => f.write_str("the code of the new device has expired, or a clock is wrong"),
            Self::AnotherRelay => f.write_str("the new device uses another relay than this account"),
            Self::Commitment => f.write_str("somebody stands between the devices and tries to choose the digits"),
            Self::Malformed => f.write_str("the other device sent something malformed"),
            Self::Refused => f.write_str("the relay does not take the messages"),
            Self::Identity(error) => error.fmt(f),
            Self::Aborted(Abort::Declined) => f.write_str("it was declined on the other device"),
            Self::Aborted(Abort::Failed) => f.write_str("the other device gave up: something did not fit"),
        }
    }
}

impl std::error::Error for LinkingError {}

impl From<OfferError> for LinkingError {
    fn from(error: OfferError) -> Self {
        Self::Offer(error)
    }
}

impl From<IdentityError> for LinkingError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

#[cfg(test)]
mod tests;
