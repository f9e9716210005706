//! A device that belongs to no account yet: the keys it draws, and what it shows of them to be certified.
//!
//! ```text
//! NewDevice ──request──▶ DeviceRequest ──▶ LocalIdentity::certify, on a device with the account key
//!     └──────────take_up(Grant)──────────▶ LocalIdentity, on the new one
//! ```

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::VerifyKey;

use super::IdentityError;
use super::device::{CAPABILITIES_MAX, Capability, are_capabilities_bounded};
use super::encoding::{VersionOne, decode, encode};
use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::hpke::SealSecret;
use crate::crypto::sign::{self, Signature, SigningKey};
use crate::crypto::{CryptoRng, label};

/// Bytes of the longest [`DeviceRequest`].
pub const DEVICE_REQUEST_LEN_MAX: usize = 1 + 2 * 32 + 1 + 2 * REQUESTED_MAX + 64;

/// Capabilities that a device can ask for: the holder of the account key may add one.
const REQUESTED_MAX: usize = CAPABILITIES_MAX - 1;

/// The keys of a device that has no account yet. They are drawn here and never leave it (rule ID-62).
pub struct NewDevice {
    pub(super) signing: SigningKey,
    pub(super) dh: DhSecret,
    pub(super) seal: SealSecret,
    pub(super) inbox: SigningKey,
}

/// What a new device asks to have certified (rule ID-63). Decoded is not yet verified.
///
/// ```text
/// u8 version = 1 | signing key 32 | DH key 32 | capabilities<V>, u16 each, rising | signature 64
/// ```
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DeviceRequest {
    version: VersionOne,
    signing: VerifyKey,
    dh: DhPublic,
    capabilities: Vec<Capability>,
    signature: Signature,
}

impl NewDevice {
    /// Draws the keys of a device.
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self {
            signing: SigningKey::random(rng),
            dh: DhSecret::random(rng),
            seal: SealSecret::random(rng),
            inbox: SigningKey::random(rng),
        }
    }

    /// What is to be certified.
    pub fn request(&self) -> DeviceRequest {
        DeviceRequest::sign(&self.signing, self.dh.public(), Self::CAPABILITIES.to_vec())
    }

    /// What this version of the library can do.
    pub(super) const CAPABILITIES: [Capability; 2] = [Capability::DIRECT, Capability::GROUP];
}

impl fmt::Debug for NewDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signing, dh: _, seal: _, inbox: _ } = self;
        write!(f, "NewDevice({})", signing.verify_key())
    }
}

impl DeviceRequest {
    pub(super) fn sign(signing: &SigningKey, dh: DhPublic, capabilities: Vec<Capability>) -> Self {
        let signature = Signature::from_bytes([0; 64]);
        let mut request = Self { version: VersionOne, signing: signing.verify_key(), dh, capabilities, signature };
        request.signature = signing.sign(label::DEVICE_REQUEST, &[&request.signed_part()]);
        request
    }

    /// Encodes the request.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a request, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let request: Self = decode(bytes, DEVICE_REQUEST_LEN_MAX)?;
        request.check_bounds()?;
        Ok(request)
    }

    /// Checks that the holder of the signing key asks, and that what it asks for can be certified.
    ///
    /// # Errors
    /// [`IdentityError`]; nothing is certified then.
    pub fn verify(&self) -> Result<(), IdentityError> {
        self.check_bounds()?;
        sign::verify(&self.signing, label::DEVICE_REQUEST, &[&self.signed_part()], &self.signature)
            .map_err(|_| IdentityError::BadSignature)?;
        Ok(self.dh.check()?)
    }

    /// The device's signing key.
    pub fn signing(&self) -> &VerifyKey {
        &self.signing
    }

    /// The device's DH key.
    pub fn dh(&self) -> &DhPublic {
        &self.dh
    }

    /// What the device can do, rising.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Capabilities rise, leave room for one more, and are without what only a holder of the account key can give.
    fn check_bounds(&self) -> Result<(), IdentityError> {
        let is_bounded = self.capabilities.len() <= REQUESTED_MAX
            && are_capabilities_bounded(&self.capabilities)
            && !self.capabilities.contains(&Capability::PRIMARY);
        if is_bounded { Ok(()) } else { Err(IdentityError::Bound) }
    }

    /// Everything in front of the signature.
    fn signed_part(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        bytes.truncate(bytes.len() - 64);
        bytes
    }
}
