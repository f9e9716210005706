//! Devices: one installation of an account, with keys of its own that the account's key certifies.
//!
//! Signing and agreement have separate keys, because one key for both has no joint security proof. The types keep what
//! was decoded ([`DeviceCertificate`], [`Credential`]) apart from what was verified ([`Device`]).

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::account::{ACCOUNT_CERTIFICATE_LEN, AccountCertificate};
use super::encoding::{VersionOne, decode, encode};
use super::{AccountId, DeviceId, IdentityError};
use crate::crypto::dh::DhPublic;
use crate::crypto::label;
use crate::crypto::sign::{self, Signature, SigningKey, VerifyKey};
use crate::time::UnixMs;

/// Something that a device can do (spec/identity, capability table). Unknown numbers are kept and ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Capability(u16);

impl Capability {
    /// Direct conversations as in spec/dm.
    pub const DIRECT: Self = Self(1);
    /// Groups as in spec/group.
    pub const GROUP: Self = Self(2);
    /// The device holds the account key (rule ID-64).
    pub const PRIMARY: Self = Self(3);

    /// Takes the number.
    pub const fn from_u16(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

/// What an account says of one of its devices (rule ID-10). Decoded is not yet verified.
///
/// ```text
/// u8 version = 1 | account 32 | signing key 32 | DH key 32 | u64 not before, ms | u64 not after, ms
///   | capabilities<V>, u16 each, rising | signature 64
/// ```
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DeviceCertificate {
    version: VersionOne,
    account: AccountId,
    signing: VerifyKey,
    dh: DhPublic,
    not_before: UnixMs,
    not_after: UnixMs,
    capabilities: Vec<Capability>,
    signature: Signature,
}

/// Capabilities of one device.
pub const CAPABILITIES_MAX: usize = 32;

/// Bytes of the longest [`DeviceCertificate`].
pub const DEVICE_CERTIFICATE_LEN_MAX: usize = 1 + 3 * 32 + 2 * 8 + 2 + 2 * CAPABILITIES_MAX + 64;

/// Bytes of the longest [`Credential`].
pub const CREDENTIAL_LEN_MAX: usize = 1 + ACCOUNT_CERTIFICATE_LEN + DEVICE_CERTIFICATE_LEN_MAX;

/// What a device certificate is to say.
#[derive(Clone, Debug)]
pub(crate) struct DeviceFacts {
    /// The device's signing key.
    pub(crate) signing: VerifyKey,
    /// The device's DH key.
    pub(crate) dh: DhPublic,
    /// The first instant at which the certificate is valid.
    pub(crate) not_before: UnixMs,
    /// The last instant at which it is.
    pub(crate) not_after: UnixMs,
    /// What the device can do; rising, at most [`CAPABILITIES_MAX`].
    pub(crate) capabilities: Vec<Capability>,
}

impl DeviceCertificate {
    /// Certifies a device of `account`, whose key is `account_key`.
    pub(crate) fn create(account: AccountId, account_key: &SigningKey, facts: DeviceFacts) -> Self {
        let DeviceFacts { signing, dh, not_before, not_after, capabilities } = facts;
        let mut certificate = Self {
            version: VersionOne,
            account,
            signing,
            dh,
            not_before,
            not_after,
            capabilities,
            signature: Signature::from_bytes([0; 64]),
        };
        certificate.signature = account_key.sign(label::DEVICE_CERTIFICATE, &[&certificate.signed_part()]);
        certificate
    }

    /// Encodes the certificate.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a certificate, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let certificate: Self = decode(bytes, DEVICE_CERTIFICATE_LEN_MAX)?;
        certificate.check_bounds()?;
        Ok(certificate)
    }

    /// The name of the device: the hash of the certificate, whether or not it verifies (rule ID-11).
    pub fn id(&self) -> DeviceId {
        DeviceId::from_bytes(label::hash(label::DEVICE_ID, &[&self.encode()]))
    }

    /// The account that the certificate names.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The device's signing key.
    pub fn signing(&self) -> &VerifyKey {
        &self.signing
    }

    /// The device's DH key.
    pub fn dh(&self) -> &DhPublic {
        &self.dh
    }

    /// The first instant at which the certificate is valid.
    pub fn not_before(&self) -> UnixMs {
        self.not_before
    }

    /// The last instant at which the certificate is valid.
    pub fn not_after(&self) -> UnixMs {
        self.not_after
    }

    /// What the device can do, rising.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Whether lists and dates are as [`DeviceCertificate::decode`] wants them; for certificates inside others.
    pub(crate) fn check_bounds(&self) -> Result<(), IdentityError> {
        let is_bounded = are_capabilities_bounded(&self.capabilities) && self.not_before <= self.not_after;
        if is_bounded { Ok(()) } else { Err(IdentityError::Bound) }
    }

    /// Everything in front of the signature.
    fn signed_part(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        bytes.truncate(bytes.len() - 64);
        bytes
    }
}

/// Whether capabilities rise strictly and are at most [`CAPABILITIES_MAX`].
pub(super) fn are_capabilities_bounded(capabilities: &[Capability]) -> bool {
    capabilities.len() <= CAPABILITIES_MAX && capabilities.is_sorted_by(|a, b| a < b)
}

/// Both certificates of a device: its MLS credential, and what an inbox entry says of its sender. Not yet verified.
///
/// ```text
/// u8 version = 1 | account certificate | device certificate
/// ```
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Credential {
    version: VersionOne,
    account: AccountCertificate,
    device: DeviceCertificate,
}

impl Credential {
    /// Puts two certificates side by side.
    pub fn new(account: AccountCertificate, device: DeviceCertificate) -> Self {
        Self { version: VersionOne, account, device }
    }

    /// Encodes the credential.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a credential, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let credential: Self = decode(bytes, CREDENTIAL_LEN_MAX)?;
        credential.device.check_bounds()?;
        Ok(credential)
    }

    /// Checks both signatures, that the certificates belong together, the DH key, and the dates against `now`.
    ///
    /// With `None` the dates are not looked at: what is valid in a group is the same for every member, whatever its
    /// clock says.
    ///
    /// # Errors
    /// [`IdentityError`]; the caller refuses what the credential came with.
    pub fn verify(&self, now: Option<UnixMs>) -> Result<Device, IdentityError> {
        let account = self.account.verify()?;
        Device::verify_in(account, &self.account, &self.device, now)
    }

    /// The account's certificate.
    pub fn account_certificate(&self) -> &AccountCertificate {
        &self.account
    }

    /// The device's certificate.
    pub fn device_certificate(&self) -> &DeviceCertificate {
        &self.device
    }
}

/// A device whose certificates were verified. There is no other way to one.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    account: AccountId,
    id: DeviceId,
    certificates: Credential,
}

impl Device {
    /// Verifies a pair of certificates at `now`.
    ///
    /// # Errors
    /// As [`Credential::verify`].
    pub fn verify(
        account: &AccountCertificate,
        device: &DeviceCertificate,
        now: UnixMs,
    ) -> Result<Self, IdentityError> {
        Self::verify_in(account.verify()?, account, device, Some(now))
    }

    /// Verifies a device certificate beside an account certificate that was verified and is named `id` (rule ID-12).
    pub(crate) fn verify_in(
        id: AccountId,
        account: &AccountCertificate,
        device: &DeviceCertificate,
        now: Option<UnixMs>,
    ) -> Result<Self, IdentityError> {
        device.check_bounds()?;
        if device.account != id {
            return Err(IdentityError::WrongAccount);
        }
        sign::verify(account.key(), label::DEVICE_CERTIFICATE, &[&device.signed_part()], &device.signature)
            .map_err(|_| IdentityError::BadSignature)?;
        device.dh.check()?;
        let verified = Self::from_verified(id, account.clone(), device.clone());
        match now {
            Some(now) => verified.check_dates(now).map(|()| verified),
            None => Ok(verified),
        }
    }

    /// A device that was verified before it was written into our own store.
    pub(crate) fn from_verified(account: AccountId, of: AccountCertificate, device: DeviceCertificate) -> Self {
        Self { account, id: device.id(), certificates: Credential::new(of, device) }
    }

    /// Whether the certificate is valid at `now`.
    ///
    /// # Errors
    /// [`IdentityError::NotYetValid`] or [`IdentityError::Expired`].
    pub fn check_dates(&self, now: UnixMs) -> Result<(), IdentityError> {
        let DeviceCertificate { not_before, not_after, .. } = self.certificates.device;
        if now < not_before {
            Err(IdentityError::NotYetValid { not_before })
        } else if now > not_after {
            Err(IdentityError::Expired { not_after })
        } else {
            Ok(())
        }
    }

    /// The account to which the device belongs.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The account's key.
    pub fn account_key(&self) -> &VerifyKey {
        self.certificates.account.key()
    }

    /// The name of the device.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Verifies what the device signs.
    pub fn signing(&self) -> &VerifyKey {
        &self.certificates.device.signing
    }

    /// The key with which a secret is agreed with the device.
    pub fn dh(&self) -> &DhPublic {
        &self.certificates.device.dh
    }

    /// Both certificates.
    pub fn certificates(&self) -> &Credential {
        &self.certificates
    }

    /// Whether the device can do something, or holds something: [`Capability::PRIMARY`].
    pub fn can(&self, capability: Capability) -> bool {
        self.certificates.device.capabilities.contains(&capability)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, id, certificates: _ } = self;
        write!(f, "Device({id} of {account})")
    }
}
