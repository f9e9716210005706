//! Device lists: what an account says its devices are, and what of it a peer holds fast.
//!
//! ```text
//! list 1 ──hash──▶ list 2 ──hash──▶ list 3          each signed by the account's key
//!                                     ▲ pinned: an older one, or another of the same version, is refused
//! ```

use std::fmt;
use std::time::Duration;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::limits::COUNTER_MAX;

use super::account::AccountCertificate;
use super::device::{DEVICE_CERTIFICATE_LEN_MAX, Device, DeviceCertificate};
use super::encoding::{VersionOne, decode, encode};
use super::{AccountId, DeviceId, IdentityError};
use crate::crypto::label;
use crate::crypto::sign::{self, Signature, SigningKey};
use crate::time::UnixMs;

/// Devices of one account.
pub const DEVICES_MAX: usize = 16;

/// Bytes of the longest [`DeviceList`].
pub const DEVICE_LIST_LEN_MAX: usize = 1 + 32 + 8 + 32 + 2 + DEVICES_MAX * DEVICE_CERTIFICATE_LEN_MAX + 8 + 64;

/// How long an expired list is still used, with a warning.
pub const EXPIRED_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Counts the device lists of an account, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ListVersion(u64);

impl ListVersion {
    /// The version of an account's first list.
    pub const FIRST: Self = Self(1);

    /// Takes the number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The version behind this one; decoded versions are bounded by 2^53.
    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ListVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

super::hash_id!(
    /// The hash of a device list, 32 bytes: what the next one names, and what direct payloads bind.
    DeviceListHash
);

impl DeviceListHash {
    /// Stands before an account's first list: 32 zero bytes.
    pub const NONE: Self = Self([0; 32]);
}

/// An account's signed list of its devices (rule ID-20). Decoded is not yet verified.
///
/// ```text
/// u8 version = 1 | account 32 | u64 list version, from 1 | hash of the list before 32
///   | device certificates<V>, 1 to 16 | u64 expires, ms | signature 64
/// ```
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DeviceList {
    version: VersionOne,
    account: AccountId,
    list_version: ListVersion,
    previous: DeviceListHash,
    devices: Vec<DeviceCertificate>,
    expires: UnixMs,
    signature: Signature,
}

impl DeviceList {
    /// Signs an account's first list.
    pub(crate) fn first(
        account: AccountId,
        key: &SigningKey,
        devices: Vec<DeviceCertificate>,
        expires: UnixMs,
    ) -> Self {
        Self::sign(account, key, (ListVersion::FIRST, DeviceListHash::NONE), devices, expires)
    }

    /// Signs the list behind this one.
    pub(crate) fn next(&self, key: &SigningKey, devices: Vec<DeviceCertificate>, expires: UnixMs) -> Self {
        Self::sign(self.account, key, (self.list_version.next(), self.hash()), devices, expires)
    }

    pub(super) fn sign(
        account: AccountId,
        key: &SigningKey,
        (list_version, previous): (ListVersion, DeviceListHash),
        devices: Vec<DeviceCertificate>,
        expires: UnixMs,
    ) -> Self {
        let signature = Signature::from_bytes([0; 64]);
        let mut list = Self { version: VersionOne, account, list_version, previous, devices, expires, signature };
        list.signature = key.sign(label::DEVICE_LIST, &[&list.signed_part()]);
        list
    }

    /// Encodes the list.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a list, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let list: Self = decode(bytes, DEVICE_LIST_LEN_MAX)?;
        list.check_bounds()?;
        Ok(list)
    }

    /// Checks that the account of `certificate` signed the list and every device in it, and that no device, signing key
    /// or DH key stands in it twice. Dates are not looked at: [`Pinned::freshness`] and [`Device::check_dates`] do.
    ///
    /// # Errors
    /// [`IdentityError`]; the caller keeps what it has pinned.
    pub fn verify(&self, certificate: &AccountCertificate) -> Result<Vec<Device>, IdentityError> {
        self.check_bounds()?;
        let account = certificate.verify()?;
        if self.account != account {
            return Err(IdentityError::WrongAccount);
        }
        sign::verify(certificate.key(), label::DEVICE_LIST, &[&self.signed_part()], &self.signature)
            .map_err(|_| IdentityError::BadSignature)?;
        let has_twins = self.devices.iter().enumerate().any(|(index, device)| {
            self.devices[..index].iter().any(|other| other.signing() == device.signing() || other.dh() == device.dh())
        });
        if has_twins {
            return Err(IdentityError::DuplicateDevice);
        }
        self.devices.iter().map(|device| Device::verify_in(account, certificate, device, None)).collect()
    }

    /// The hash that the next list names.
    pub fn hash(&self) -> DeviceListHash {
        DeviceListHash(label::hash(label::DEVICE_LIST_HASH, &[&self.encode()]))
    }

    /// The account that the list names.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Which of the account's lists this is.
    pub fn list_version(&self) -> ListVersion {
        self.list_version
    }

    /// The hash of the list before it.
    pub fn previous(&self) -> DeviceListHash {
        self.previous
    }

    /// The devices, in the order that the account gave them.
    pub fn devices(&self) -> &[DeviceCertificate] {
        &self.devices
    }

    /// When the list expires.
    pub fn expires(&self) -> UnixMs {
        self.expires
    }

    pub(super) fn check_bounds(&self) -> Result<(), IdentityError> {
        let is_first = self.list_version == ListVersion::FIRST;
        let is_bounded = (1..=DEVICES_MAX).contains(&self.devices.len())
            && (ListVersion::FIRST.0..=COUNTER_MAX).contains(&self.list_version.0)
            && is_first == (self.previous == DeviceListHash::NONE);
        if !is_bounded {
            return Err(IdentityError::Bound);
        }
        self.devices.iter().try_for_each(DeviceCertificate::check_bounds)
    }

    /// Everything in front of the signature.
    fn signed_part(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        bytes.truncate(bytes.len() - 64);
        bytes
    }
}

/// The newest verified list of an account, held fast (rule ID-22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pinned {
    certificate: AccountCertificate,
    list: DeviceList,
    hash: DeviceListHash,
    devices: Vec<Device>,
}

/// How a pinned list stands to its expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Not expired.
    Fresh,
    /// Expired for at most [`EXPIRED_GRACE`]: usable, with a warning.
    Expired,
    /// Expired for longer: nothing may be sent on its word.
    Stopped,
}

/// Verifies `list` and holds it fast in place of `old`: a pure function (rules ID-22 to ID-26).
///
/// A version may be skipped, because the directory keeps the newest list only; the list behind the pinned one names it.
///
/// # Errors
/// [`IdentityError`]; the caller keeps `old`, and for [`IdentityError::DeviceListForked`] stops sending to the account.
pub fn pin(
    old: Option<&Pinned>,
    certificate: &AccountCertificate,
    list: &DeviceList,
    now: UnixMs,
) -> Result<Pinned, IdentityError> {
    let new = follow(old, certificate, list)?;
    match new.freshness(now) {
        Freshness::Fresh | Freshness::Expired => Ok(new),
        Freshness::Stopped => Err(IdentityError::ListExpired { expired_at: list.expires }),
    }
}

/// As [`pin`], whatever the age of the list: for that of our own account, which binds us also past its use (rule ID-68).
///
/// # Errors
/// As [`pin`], but for [`IdentityError::ListExpired`].
pub(super) fn follow(
    old: Option<&Pinned>,
    certificate: &AccountCertificate,
    list: &DeviceList,
) -> Result<Pinned, IdentityError> {
    let devices = list.verify(certificate)?;
    let new = Pinned { certificate: certificate.clone(), list: list.clone(), hash: list.hash(), devices };
    if let Some(old) = old {
        new.check_follows(old)?;
    }
    Ok(new)
}

impl Pinned {
    /// A list that was pinned before, out of our own store.
    pub(crate) fn from_verified(certificate: AccountCertificate, list: DeviceList) -> Self {
        let devices =
            list.devices.iter().map(|device| Device::from_verified(list.account, certificate.clone(), device.clone()));
        Self { hash: list.hash(), devices: devices.collect(), certificate, list }
    }

    /// The account's certificate.
    pub fn certificate(&self) -> &AccountCertificate {
        &self.certificate
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.list.account
    }

    /// The list.
    pub fn list(&self) -> &DeviceList {
        &self.list
    }

    /// Which of the account's lists is pinned.
    pub fn list_version(&self) -> ListVersion {
        self.list.list_version
    }

    /// The hash of the list.
    pub fn hash(&self) -> DeviceListHash {
        self.hash
    }

    /// The verified devices, in the order of the list. Their dates are to be checked where they are used.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The device of that name, if it is on the list.
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.id() == *id)
    }

    /// How the list stands to its expiry.
    pub fn freshness(&self, now: UnixMs) -> Freshness {
        let expires = self.list.expires;
        if now <= expires {
            Freshness::Fresh
        } else if now.since(expires) <= EXPIRED_GRACE {
            Freshness::Expired
        } else {
            Freshness::Stopped
        }
    }

    fn check_follows(&self, old: &Self) -> Result<(), IdentityError> {
        let (pinned, offered) = (old.list_version(), self.list_version());
        if self.account() != old.account() {
            Err(IdentityError::WrongAccount)
        } else if offered < pinned {
            Err(IdentityError::ListRolledBack { pinned, offered })
        } else if offered == pinned && self.hash != old.hash {
            Err(IdentityError::DeviceListForked { version: pinned })
        } else if offered == pinned.next() && self.list.previous != old.hash {
            Err(IdentityError::ListChainBroken)
        } else {
            Ok(())
        }
    }
}
