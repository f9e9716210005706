//! Invitations: one line of text that says who somebody is and where to find them.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::SlotId;

use super::account::{ACCOUNT_CERTIFICATE_LEN, AccountCertificate};
use super::encoding::{VersionOne, decode, encode};
use super::name::{DisplayName, NAME_LEN_MAX};
use super::{AccountId, IdentityError};
use crate::crypto::label;

/// What every invitation begins with.
const PREFIX: &str = "undertone1";

/// Bytes of the checksum behind the payload.
pub(super) const CHECKSUM_LEN: usize = 4;

/// Bytes of the longest payload.
const PAYLOAD_LEN_MAX: usize = 1 + ACCOUNT_CERTIFICATE_LEN + 2 + RELAY_URL_LEN_MAX + 2 + NAME_LEN_MAX;

/// Characters of the longest invitation: base32 spends 8 on 5 bytes.
pub const INVITATION_LEN_MAX: usize = PREFIX.len() + ((PAYLOAD_LEN_MAX + CHECKSUM_LEN) * 8).div_ceil(5);

/// Bytes of the longest address of a relay.
pub const RELAY_URL_LEN_MAX: usize = 512;

/// Where a relay is: 1 to 512 bytes of visible ASCII. What the address means is for the driver to say.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RelayUrl(String);

impl RelayUrl {
    /// Takes an address.
    ///
    /// # Errors
    /// [`IdentityError::BadRelayUrl`].
    pub fn new(url: &str) -> Result<Self, IdentityError> {
        let is_plain = !url.is_empty() && url.len() <= RELAY_URL_LEN_MAX && url.bytes().all(|b| b.is_ascii_graphic());
        if is_plain { Ok(Self(url.to_owned())) } else { Err(IdentityError::BadRelayUrl) }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who somebody is and where to find them (rule ID-40). The account certificate in it was verified.
///
/// The text is `undertone1` and, in lower-case base32 without padding, payload ‖ checksum of 4 bytes; the payload is
///
/// ```text
/// u8 version = 1 | account certificate | relay url<V> | name<V>
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invitation {
    certificate: AccountCertificate,
    relay: RelayUrl,
    name: DisplayName,
}

/// Why a text is no invitation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InvitationError {
    /// It does not begin with `undertone1`, or is longer than an invitation can be.
    NotAnInvitation,
    /// A character stands in it that no invitation holds, or its end is missing.
    Alphabet,
    /// It was mistyped or cut.
    Checksum,
    /// It is whole, but what it says is not valid.
    Invalid(IdentityError),
}

impl fmt::Display for InvitationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnInvitation => write!(f, "an invitation begins with {PREFIX}"),
            Self::Alphabet => f.write_str("the invitation holds a character that cannot be in one, or was cut"),
            Self::Checksum => f.write_str("the invitation was mistyped or cut"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InvitationError {}

impl From<IdentityError> for InvitationError {
    fn from(error: IdentityError) -> Self {
        Self::Invalid(error)
    }
}

/// The payload, before name and address are looked at.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Payload {
    version: VersionOne,
    certificate: AccountCertificate,
    relay: VLBytes,
    name: VLBytes,
}

impl Invitation {
    /// Invites to an account.
    ///
    /// # Errors
    /// [`IdentityError::BadSignature`] if the certificate does not verify.
    pub fn new(certificate: AccountCertificate, relay: RelayUrl, name: DisplayName) -> Result<Self, IdentityError> {
        certificate.verify()?;
        Ok(Self { certificate, relay, name })
    }

    /// The account's certificate, verified.
    pub fn certificate(&self) -> &AccountCertificate {
        &self.certificate
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.certificate.id()
    }

    /// Where the directory keeps the account's device list.
    pub fn slot(&self) -> SlotId {
        SlotId::of_owner(self.certificate.key())
    }

    /// The relay on which the account is found.
    pub fn relay(&self) -> &RelayUrl {
        &self.relay
    }

    /// What the account wants to be called.
    pub fn name(&self) -> &DisplayName {
        &self.name
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = encode(&Payload {
            version: VersionOne,
            certificate: self.certificate.clone(),
            relay: self.relay.as_str().as_bytes().into(),
            name: self.name.as_str().as_bytes().into(),
        });
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(f, "{PREFIX}{}", base32().encode(&bytes))
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    /// Reads an invitation; white space around it is ignored, and upper case is taken for lower.
    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text = text.trim();
        if text.len() > INVITATION_LEN_MAX {
            return Err(InvitationError::NotAnInvitation);
        }
        let text = text.to_ascii_lowercase();
        let digits = text.strip_prefix(PREFIX).ok_or(InvitationError::NotAnInvitation)?;
        let bytes = base32().decode(digits.as_bytes()).map_err(|_| InvitationError::Alphabet)?;
        let (payload, found) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(InvitationError::Checksum)?;
        if *found != checksum(payload) {
            return Err(InvitationError::Checksum);
        }
        let payload: Payload = decode(payload, PAYLOAD_LEN_MAX)?;
        let relay = std::str::from_utf8(payload.relay.as_slice()).map_err(|_| IdentityError::BadRelayUrl)?;
        let name = DisplayName::from_utf8(payload.name.as_slice()).map_err(IdentityError::from)?;
        Ok(Self::new(payload.certificate, RelayUrl::new(relay)?, name)?)
    }
}

/// Catches typing errors; it authenticates nothing.
pub(super) fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = label::hash(label::INVITATION, &[payload]);
    [a, b, c, d]
}

/// RFC 4648 base32 in lower case, without padding.
pub(super) fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().expect("32 distinct symbols make an encoding")
}
