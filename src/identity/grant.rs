//! Grants: what a device with the account key hands to a new one, so that it belongs to the account; and the account key
//! itself, which follows when the new device has shown that it is there to stay.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::VerifyKey;

use super::IdentityError;
use super::device::{CREDENTIAL_LEN_MAX, Credential};
use super::encoding::{VersionOne, decode, encode};
use super::invitation::{RELAY_URL_LEN_MAX, RelayUrl};
use super::list::{DEVICE_LIST_LEN_MAX, DeviceList};
use super::name::{DisplayName, NAME_LEN_MAX};
use crate::crypto::sign::SigningKey;
use crate::crypto::{Secret32, SecretBytes};

/// Bytes of the longest [`Grant`].
pub const GRANT_LEN_MAX: usize =
    1 + CREDENTIAL_LEN_MAX + DEVICE_LIST_LEN_MAX + 2 + NAME_LEN_MAX + 2 + RELAY_URL_LEN_MAX;

/// The version of a [`KeyGrant`], its first byte.
const VERSION: u8 = 1;

/// Bytes of a [`KeyGrant`].
pub const KEY_GRANT_LEN: usize = 1 + 32;

/// What a device of an account may do besides sending and receiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It holds the account key: it certifies and removes devices.
    Primary,
    /// It holds no key but its own.
    Linked,
}

/// What makes a new device one of an account: certificates, the list with it in, and the name. For the one device that
/// asked (rule ID-67). Decoded is not yet verified.
///
/// ```text
/// u8 version = 1 | credential | device list | name<V> | relay url<V>
/// ```
pub struct Grant {
    pub(super) credential: Credential,
    pub(super) list: DeviceList,
    pub(super) name: DisplayName,
    pub(super) relay: RelayUrl,
}

/// A grant as it is encoded.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Encoded {
    version: VersionOne,
    credential: Credential,
    list: DeviceList,
    name: VLBytes,
    relay: VLBytes,
}

impl Grant {
    /// Encodes the grant.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = Encoded {
            version: VersionOne,
            credential: self.credential.clone(),
            list: self.list.clone(),
            name: self.name.as_str().as_bytes().into(),
            relay: self.relay.as_str().as_bytes().into(),
        };
        encode(&encoded)
    }

    /// Decodes a grant, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let Encoded { version: VersionOne, credential, list, name, relay } = decode(bytes, GRANT_LEN_MAX)?;
        credential.device_certificate().check_bounds()?;
        list.check_bounds()?;
        let relay = std::str::from_utf8(relay.as_slice()).map_err(|_| IdentityError::BadRelayUrl)?;
        Ok(Self { credential, list, name: DisplayName::from_utf8(name.as_slice())?, relay: RelayUrl::new(relay)? })
    }

    /// Both certificates of the new device.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The list that holds the new device.
    pub fn list(&self) -> &DeviceList {
        &self.list
    }

    /// What the account wants to be called.
    pub fn name(&self) -> &DisplayName {
        &self.name
    }

    /// Where the account is reached.
    pub fn relay(&self) -> &RelayUrl {
        &self.relay
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credential, list, name: _, relay: _ } = self;
        write!(f, "Grant({}, device list {})", credential.device_certificate().id(), list.list_version())
    }
}

/// The account key on its way to a device that was certified as primary (rule ID-79). Secret.
pub struct KeyGrant(SigningKey);

impl KeyGrant {
    pub(super) fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// Whose account it is, if it is what it claims to be.
    pub fn verify_key(&self) -> VerifyKey {
        self.0.verify_key()
    }

    pub(super) fn into_key(self) -> SigningKey {
        self.0
    }

    /// Encodes it: `u8 version = 1 | seed 32`.
    pub fn encode(&self) -> SecretBytes {
        // Sized once, so that no shorter buffer with a secret in it is freed on the way.
        let mut bytes = SecretBytes::new(Vec::with_capacity(KEY_GRANT_LEN));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.0.to_seed().expose());
        bytes
    }

    /// Decodes one, which must fill `bytes`. Whose key it is remains to be seen.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        if bytes.len() > KEY_GRANT_LEN {
            return Err(IdentityError::TooLong { len: bytes.len(), len_max: KEY_GRANT_LEN });
        }
        match bytes.split_first() {
            Some((&VERSION, seed)) => {
                let seed = Secret32::from_slice(seed).ok_or(IdentityError::Malformed)?;
                Ok(Self(SigningKey::from_seed(&seed)))
            }
            Some((&version, _)) => Err(IdentityError::UnknownVersion { version }),
            None => Err(IdentityError::Malformed),
        }
    }
}

impl fmt::Debug for KeyGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key) = self;
        write!(f, "KeyGrant({})", key.verify_key())
    }
}
