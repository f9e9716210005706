//! Safety numbers: what two people compare to know that nobody stands between them.
//!
//! Each account has a fingerprint of 30 digits, hashed so often that searching for a look-alike costs thousands of times
//! more; the number of a pair is both fingerprints, the smaller first, so that both sides see the same.

use std::fmt;

use subtle::ConstantTimeEq;

use super::account::AccountCertificate;
use crate::crypto::label;

/// How often a fingerprint is hashed.
const ROUNDS: usize = 5_200;

/// Bytes of a fingerprint: six groups of five, each of which gives five digits.
const FINGERPRINT_LEN: usize = 30;

/// Bytes of a group, and digits that it gives.
const GROUP_LEN: usize = 5;

/// Bytes of the payload of the QR code: a version and both fingerprints.
pub const QR_LEN: usize = 1 + 2 * FINGERPRINT_LEN;

/// The version in front of the payload of the QR code.
const QR_VERSION: u8 = 1;

/// The safety number of two accounts (rule ID-30): 60 digits, the same on both sides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SafetyNumber {
    fingerprints: [[u8; FINGERPRINT_LEN]; 2],
}

/// What a scanned code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Scan {
    /// It is the code of the same two accounts: nobody stands between.
    Matches,
    /// It is the code of other accounts.
    Differs,
    /// It is no such code, or one of another version.
    Unreadable,
}

impl SafetyNumber {
    /// The safety number of two accounts, in whichever order. Takes some milliseconds.
    pub fn of(one: &AccountCertificate, other: &AccountCertificate) -> Self {
        let mut fingerprints = [fingerprint(one), fingerprint(other)];
        fingerprints.sort_unstable();
        Self { fingerprints }
    }

    /// The payload of the QR code: version 1 and both fingerprints, 61 bytes.
    pub fn to_qr(&self) -> [u8; QR_LEN] {
        let mut bytes = [QR_VERSION; QR_LEN];
        bytes[1..].copy_from_slice(self.fingerprints.as_flattened());
        bytes
    }

    /// The number of a payload that [`SafetyNumber::to_qr`] made and we have stored.
    pub(super) fn from_qr(payload: &[u8]) -> Option<Self> {
        let (&QR_VERSION, fingerprints) = payload.split_first()? else { return None };
        let (one, other) = fingerprints.split_at_checked(FINGERPRINT_LEN)?;
        Some(Self { fingerprints: [one.try_into().ok()?, other.try_into().ok()?] })
    }

    /// Compares with the payload of a scanned code.
    pub fn scan(&self, payload: &[u8]) -> Scan {
        match payload.split_first() {
            Some((&QR_VERSION, theirs)) if payload.len() == QR_LEN => {
                let matches: bool = self.fingerprints.as_flattened().ct_eq(theirs).into();
                if matches { Scan::Matches } else { Scan::Differs }
            }
            _ => Scan::Unreadable,
        }
    }
}

/// Whether a person has made sure of an account (rule ID-32).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verification {
    /// Nobody has compared the number.
    Unverified,
    /// Somebody has, and it is the same.
    Verified,
    /// Somebody has, and it was another one: a key has changed since.
    Changed,
}

impl fmt::Display for SafetyNumber {
    /// 12 groups of 5 digits, a space between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.fingerprints.as_flattened().chunks_exact(GROUP_LEN).enumerate() {
            let number = group.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{:05}", number % 100_000)?;
        }
        Ok(())
    }
}

impl fmt::Debug for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fingerprints: _ } = self;
        write!(f, "SafetyNumber({self})")
    }
}

/// The fingerprint of an account: `h = H(label, id, key)`, then 5 199 times `h = H(label, h, key)`; its first 30 bytes.
fn fingerprint(certificate: &AccountCertificate) -> [u8; FINGERPRINT_LEN] {
    let key = certificate.key().as_bytes();
    let first = label::hash(label::SAFETY_NUMBER, &[certificate.id().as_bytes(), key]);
    let last = (1..ROUNDS).fold(first, |hash, _| label::hash(label::SAFETY_NUMBER, &[&hash, key]));
    let (fingerprint, _) = last.split_first_chunk().expect("a hash has more bytes than a fingerprint");
    *fingerprint
}
