//! The offer: what a new device shows to be scanned.

use std::fmt;
use std::str::FromStr;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::ServerId;

use super::LinkingError;
use super::channel::Mailbox;
use crate::crypto::dh::DhPublic;
use crate::crypto::label;
use crate::identity::IdentityError;
use crate::identity::encoding::{VersionOne, decode, encode};
use crate::identity::invitation::{CHECKSUM_LEN, RELAY_URL_LEN_MAX, RelayUrl, base32};
use crate::time::UnixMs;

/// What every offer begins with.
const PREFIX: &str = "undertonelink1";

/// Bytes of the longest payload.
const PAYLOAD_LEN_MAX: usize = 1 + 32 + 64 + 32 + 8 + 2 + RELAY_URL_LEN_MAX;

/// Characters of the longest offer.
pub const OFFER_LEN_MAX: usize = PREFIX.len() + ((PAYLOAD_LEN_MAX + CHECKSUM_LEN) * 8).div_ceil(5);

/// What a new device shows, as text or as a QR code (rule ID-70): good for one linking, for ten minutes. Whoever sees it
/// can begin a linking, and cannot finish one: the code would differ.
///
/// ```text
/// u8 version = 1 | X25519 key 32 | inbox 32 | token 32 | server 32 | u64 expires, ms | relay url<V>
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    pub(super) key: DhPublic,
    pub(super) mailbox: Mailbox,
    pub(super) server: ServerId,
    pub(super) expires: UnixMs,
    pub(super) relay: RelayUrl,
}

/// Why a text is no offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OfferError {
    /// It does not begin as one, or is longer than one can be.
    NotAnOffer,
    /// A character stands in it that no offer holds, or its end is missing.
    Alphabet,
    /// It was mistyped or cut.
    Checksum,
    /// It is whole, but what it says is not valid.
    Invalid(IdentityError),
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnOffer => write!(f, "the code of a new device begins with {PREFIX}"),
            Self::Alphabet => f.write_str("the code holds a character that cannot be in one, or was cut"),
            Self::Checksum => f.write_str("the code was mistyped or cut"),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OfferError {}

impl From<IdentityError> for OfferError {
    fn from(error: IdentityError) -> Self {
        Self::Invalid(error)
    }
}

/// The payload, before the address is looked at.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Payload {
    version: VersionOne,
    key: DhPublic,
    mailbox: Mailbox,
    server: ServerId,
    expires: UnixMs,
    relay: VLBytes,
}

impl Offer {
    /// The relay at which the new device waits.
    pub fn relay(&self) -> &RelayUrl {
        &self.relay
    }

    /// When it ends to be good.
    pub fn expires(&self) -> UnixMs {
        self.expires
    }

    /// Where the new device reads.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Whether the offer can be taken now, at this relay.
    ///
    /// # Errors
    /// [`LinkingError::Expired`], [`LinkingError::AnotherRelay`].
    pub fn check(&self, server: &ServerId, now: UnixMs) -> Result<(), LinkingError> {
        if now > self.expires {
            Err(LinkingError::Expired)
        } else if *server != self.server {
            Err(LinkingError::AnotherRelay)
        } else {
            Ok(())
        }
    }

    /// The payload: what both sides hash.
    pub(super) fn payload(&self) -> Vec<u8> {
        encode(&Payload {
            version: VersionOne,
            key: self.key,
            mailbox: self.mailbox,
            server: self.server,
            expires: self.expires,
            relay: self.relay.as_str().as_bytes().into(),
        })
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.payload();
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(f, "{PREFIX}{}", base32().encode(&bytes))
    }
}

impl FromStr for Offer {
    type Err = OfferError;

    /// Reads an offer; white space around it is ignored, and upper case is taken for lower.
    fn from_str(text: &str) -> Result<Self, OfferError> {
        let text = text.trim();
        if text.len() > OFFER_LEN_MAX {
            return Err(OfferError::NotAnOffer);
        }
        let text = text.to_ascii_lowercase();
        let digits = text.strip_prefix(PREFIX).ok_or(OfferError::NotAnOffer)?;
        let bytes = base32().decode(digits.as_bytes()).map_err(|_| OfferError::Alphabet)?;
        let (payload, found) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(OfferError::Checksum)?;
        if *found != checksum(payload) {
            return Err(OfferError::Checksum);
        }
        let Payload { version: VersionOne, key, mailbox, server, expires, relay } = decode(payload, PAYLOAD_LEN_MAX)?;
        key.check().map_err(IdentityError::from)?;
        let relay = std::str::from_utf8(relay.as_slice()).map_err(|_| IdentityError::BadRelayUrl)?;
        Ok(Self { key, mailbox, server, expires, relay: RelayUrl::new(relay)? })
    }
}

/// Catches typing errors; it authenticates nothing.
pub(in crate::identity) fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = label::hash(label::LINKING_OFFER, &[payload]);
    [a, b, c, d]
}
