//! Our own account and device: the keys that never leave, and what is shown of them.
//!
//! One row of [`Table::Identity`] holds all of it. Creating is for a new account on its first device; a device that joins
//! an account comes with linking, and has no account key then.

use std::fmt;
use std::time::Duration;

use tls_codec::{DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::LogId;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::device::{Capability, Credential, Device, DeviceCertificate, DeviceFacts};
use super::encoding::VersionOne;
use super::list::DeviceList;
use super::name::DisplayName;
use super::peers::corrupt;
use super::{AccountCertificate, AccountId, IdentityError};
use crate::crypto::dh::DhSecret;
use crate::crypto::hpke::SealSecret;
use crate::crypto::sign::SigningKey;
use crate::crypto::{CryptoRng, Secret32, SecretBytes};
use crate::store::{StoreError, Table, Tx};
use crate::time::UnixMs;

/// How long a device certificate is valid.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 60 * 60);

/// How far before its making a certificate begins to be valid: clocks of peers may be late.
pub const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a device list is valid.
pub const LIST_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long before its expiry a device list is signed anew.
pub const LIST_RENEWAL: Duration = Duration::from_secs(45 * 24 * 60 * 60);

/// The key of the one row.
const ROW: &[u8] = b"local";

/// Our account, as this device holds it.
pub struct LocalIdentity {
    account_key: Option<SigningKey>,
    signing: SigningKey,
    dh: DhSecret,
    seal: SealSecret,
    inbox: SigningKey,
    device: Device,
    list: DeviceList,
    name: DisplayName,
}

/// The identity as it is stored: secrets first, 32 bytes each.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Row {
    version: VersionOne,
    secrets: Secrets,
    credential: Credential,
    list: DeviceList,
    name: VLBytes,
}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize, Zeroize, ZeroizeOnDrop)]
struct Secrets {
    account: Option<[u8; 32]>,
    signing: [u8; 32],
    dh: [u8; 32],
    seal: [u8; 32],
    inbox: [u8; 32],
}

impl LocalIdentity {
    /// Makes a new account with this device as its first, and writes it.
    ///
    /// # Errors
    /// [`IdentityError::Name`]; [`IdentityError::AlreadyThere`] if the store holds an identity; [`IdentityError::Store`].
    pub fn create(tx: &mut Tx<'_>, name: &str, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<Self, IdentityError> {
        let name = DisplayName::new(name)?;
        if tx.get(Table::Identity, ROW)?.is_some() {
            return Err(IdentityError::AlreadyThere);
        }
        let account_key = SigningKey::random(rng);
        let certificate = AccountCertificate::create(&account_key, now, rng);
        let account = certificate.id();
        let (signing, dh) = (SigningKey::random(rng), DhSecret::random(rng));
        let facts = DeviceFacts {
            signing: signing.verify_key(),
            dh: dh.public(),
            not_before: now.before(CLOCK_SKEW),
            not_after: now.after(CERTIFICATE_LIFETIME),
            capabilities: vec![Capability::DIRECT, Capability::GROUP],
        };
        let device = DeviceCertificate::create(account, &account_key, facts);
        let list = DeviceList::first(account, &account_key, vec![device.clone()], now.after(LIST_LIFETIME));
        let identity = Self {
            account_key: Some(account_key),
            signing,
            dh,
            seal: SealSecret::random(rng),
            inbox: SigningKey::random(rng),
            device: Device::from_verified(account, certificate, device),
            list,
            name,
        };
        identity.store(tx);
        Ok(identity)
    }

    /// Reads the identity of this store, if it has one.
    ///
    /// # Errors
    /// [`IdentityError::Store`]: a damaged row is an error, never a new identity.
    pub fn load(tx: &Tx<'_>) -> Result<Option<Self>, IdentityError> {
        let Some(value) = tx.get(Table::Identity, ROW)? else { return Ok(None) };
        let row = Row::tls_deserialize_exact_bytes(&value).map_err(|error| match error {
            tls_codec::Error::UnknownValue(_) => StoreError::TooNew,
            _ => StoreError::Corrupt,
        })?;
        row.into_identity().map(Some).map_err(|error| corrupt(error).into())
    }

    /// Signs the next device list if the present one nears its expiry, and writes it. Says whether it did: the new list
    /// is then to be published. Does nothing on a device without the account key.
    pub fn renew_list(&mut self, tx: &mut Tx<'_>, now: UnixMs) -> Renewal {
        let Some(key) = &self.account_key else { return Renewal::NotDue };
        if now.after(LIST_RENEWAL) < self.list.expires() {
            return Renewal::NotDue;
        }
        self.list = self.list.next(key, self.list.devices().to_vec(), now.after(LIST_LIFETIME));
        self.store(tx);
        Renewal::Signed
    }

    /// This device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Our account.
    pub fn account(&self) -> AccountId {
        self.device.account()
    }

    /// Our account's certificate.
    pub fn account_certificate(&self) -> &AccountCertificate {
        self.device.certificates().account_certificate()
    }

    /// The account's key; a linked device has none.
    pub fn account_key(&self) -> Option<&SigningKey> {
        self.account_key.as_ref()
    }

    /// This device's signing key.
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// This device's DH key.
    pub fn dh(&self) -> &DhSecret {
        &self.dh
    }

    /// Opens what is sealed to this device's inbox.
    pub fn seal(&self) -> &SealSecret {
        &self.seal
    }

    /// Reads and acknowledges this device's inbox at the relay.
    pub fn inbox_key(&self) -> &SigningKey {
        &self.inbox
    }

    /// This device's inbox.
    pub fn inbox(&self) -> LogId {
        LogId::of_inbox_key(&self.inbox.verify_key())
    }

    /// Both certificates of this device.
    pub fn credential(&self) -> &Credential {
        self.device.certificates()
    }

    /// Our newest device list.
    pub fn device_list(&self) -> &DeviceList {
        &self.list
    }

    /// What we want to be called.
    pub fn name(&self) -> &DisplayName {
        &self.name
    }

    fn store(&self, tx: &mut Tx<'_>) {
        let row = Row {
            version: VersionOne,
            secrets: Secrets {
                account: self.account_key.as_ref().map(|key| *key.to_seed().expose()),
                signing: *self.signing.to_seed().expose(),
                dh: *self.dh.to_secret().expose(),
                seal: *self.seal.seed().expose(),
                inbox: *self.inbox.to_seed().expose(),
            },
            credential: self.device.certificates().clone(),
            list: self.list.clone(),
            name: self.name.as_str().as_bytes().into(),
        };
        // Sized once, so that no shorter buffer with secrets in it is freed on the way.
        let mut value = SecretBytes::new(Vec::with_capacity(row.tls_serialized_len()));
        row.tls_serialize(&mut *value).expect("writing to a Vec does not fail, and every field is bounded");
        tx.put(Table::Identity, ROW, std::mem::take(&mut *value));
    }
}

impl Row {
    fn into_identity(self) -> Result<LocalIdentity, IdentityError> {
        let Self { version: VersionOne, secrets, credential, list, name } = self;
        let signing_key = |seed: &[u8; 32]| SigningKey::from_seed(&Secret32::from_bytes(*seed));
        let identity = LocalIdentity {
            account_key: secrets.account.as_ref().map(signing_key),
            signing: signing_key(&secrets.signing),
            dh: DhSecret::from_secret(&Secret32::from_bytes(secrets.dh)),
            seal: SealSecret::from_seed(Secret32::from_bytes(secrets.seal)),
            inbox: signing_key(&secrets.inbox),
            device: credential.verify(None)?,
            list,
            name: DisplayName::from_utf8(name.as_slice())?,
        };
        let is_whole = identity.device.signing() == &identity.signing.verify_key()
            && identity.device.dh() == &identity.dh.public()
            && identity.account_key().is_none_or(|key| key.verify_key() == *identity.device.account_key())
            && identity.list.account() == identity.account();
        if is_whole { Ok(identity) } else { Err(IdentityError::Malformed) }
    }
}

/// Whether a device list was signed anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Renewal {
    /// The present list is good for longer, or this device cannot sign.
    NotDue,
    /// A new list was signed and written; it is to be published.
    Signed,
}

impl fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account_key: _, signing: _, dh: _, seal: _, inbox: _, device, list, name: _ } = self;
        write!(f, "LocalIdentity({device:?}, device list {})", list.list_version())
    }
}
