//! Grants: what a device with the account key hands to a new one, so that it belongs to the account.

use std::fmt;

use tls_codec::{DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::IdentityError;
use super::device::{CREDENTIAL_LEN_MAX, Credential};
use super::encoding::VersionOne;
use super::invitation::{RELAY_URL_LEN_MAX, RelayUrl};
use super::list::{DEVICE_LIST_LEN_MAX, DeviceList};
use super::name::{DisplayName, NAME_LEN_MAX};
use crate::crypto::sign::SigningKey;
use crate::crypto::{Secret32, SecretBytes};

/// Bytes of the longest [`Grant`].
pub const GRANT_LEN_MAX: usize =
    1 + CREDENTIAL_LEN_MAX + DEVICE_LIST_LEN_MAX + 1 + 32 + 2 + NAME_LEN_MAX + 2 + RELAY_URL_LEN_MAX;

/// What a device of an account may do besides sending and receiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It holds the account key: it certifies and removes devices.
    Primary,
    /// It holds no key but its own.
    Linked,
}

/// What makes a new device one of an account: certificates, the list with it in, the name, and for a primary device the
/// account key. Secret, and for the one device that asked (rule ID-67). Decoded is not yet verified.
///
/// ```text
/// u8 version = 1 | credential | device list | optional seed of the account key 32 | name<V> | relay url<V>
/// ```
pub struct Grant {
    pub(super) credential: Credential,
    pub(super) list: DeviceList,
    pub(super) account_key: Option<SigningKey>,
    pub(super) name: DisplayName,
    pub(super) relay: RelayUrl,
}

/// A grant as it is encoded.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Encoded {
    version: VersionOne,
    credential: Credential,
    list: DeviceList,
    account_key: Seed,
    name: VLBytes,
    relay: VLBytes,
}

/// The account key's, perhaps.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize, Zeroize, ZeroizeOnDrop)]
struct Seed(Option<[u8; 32]>);

impl Grant {
    /// Encodes the grant.
    pub fn encode(&self) -> SecretBytes {
        let encoded = Encoded {
            version: VersionOne,
            credential: self.credential.clone(),
            list: self.list.clone(),
            account_key: Seed(self.account_key.as_ref().map(|key| *key.to_seed().expose())),
            name: self.name.as_str().as_bytes().into(),
            relay: self.relay.as_str().as_bytes().into(),
        };
        encoded.to_bytes()
    }

    /// Decodes a grant, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        if bytes.len() > GRANT_LEN_MAX {
            return Err(IdentityError::TooLong { len: bytes.len(), len_max: GRANT_LEN_MAX });
        }
        let encoded = Encoded::tls_deserialize_exact_bytes(bytes).map_err(|error| match error {
            tls_codec::Error::UnknownValue(version) => IdentityError::UnknownVersion { version: version as u8 },
            _ => IdentityError::Malformed,
        })?;
        if *encoded.to_bytes() != bytes {
            return Err(IdentityError::Malformed);
        }
        let Encoded { version: VersionOne, credential, list, account_key, name, relay } = encoded;
        credential.device_certificate().check_bounds()?;
        list.check_bounds()?;
        let relay = std::str::from_utf8(relay.as_slice()).map_err(|_| IdentityError::BadRelayUrl)?;
        Ok(Self {
            credential,
            list,
            account_key: account_key.0.map(|seed| SigningKey::from_seed(&Secret32::from_bytes(seed))),
            name: DisplayName::from_utf8(name.as_slice())?,
            relay: RelayUrl::new(relay)?,
        })
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

impl Encoded {
    /// Sized once, so that no shorter buffer with a secret in it is freed on the way.
    fn to_bytes(&self) -> SecretBytes {
        let mut bytes = SecretBytes::new(Vec::with_capacity(self.tls_serialized_len()));
        self.tls_serialize(&mut *bytes).expect("writing to a Vec does not fail, and every field is bounded");
        bytes
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credential, list, account_key: _, name: _, relay: _ } = self;
        write!(f, "Grant({}, device list {})", credential.device_certificate().id(), list.list_version())
    }
}
