//! Our own account and device: the keys that never leave, and what is shown of them.
//!
//! One row of [`Table::Identity`] holds all of it. Creating is for a new account on its first device; a device that joins
//! an account takes up a [`Grant`] of a device that holds the account key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tls_codec::{DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;
use undertone_wire::id::{LogId, VerifyKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::device::{Capability, Credential, Device, DeviceCertificate, DeviceFacts};
use super::encoding::VersionOne;
use super::grant::{Grant, KeyGrant, Role};
use super::invitation::RelayUrl;
use super::list::{self, DeviceList, Pinned};
use super::name::DisplayName;
use super::new_device::{DeviceRequest, NewDevice};
use super::peers::corrupt;
use super::{AccountCertificate, AccountId, DEVICES_MAX, DeviceId, IdentityError};
use crate::crypto::dh::{DhPublic, DhSecret};
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

/// How much later than the primary device before it in the list a primary device signs the list anew (rule ID-61).
pub const LIST_RENEWAL_STAGGER: Duration = Duration::from_secs(24 * 60 * 60);

/// The key of the one row.
const ROW: &[u8] = b"local";

/// Our account, as this device holds it.
pub struct LocalIdentity {
    account_key: Option<Arc<SigningKey>>,
    /// Devices that were certified as primary here and have yet to get the account key.
    owed: Arc<Vec<DeviceId>>,
    signing: SigningKey,
    dh: DhSecret,
    seal: SealSecret,
    inbox: SigningKey,
    device: Device,
    /// The newest list that we have seen. Shared, so that a step can be undone.
    own: Arc<Pinned>,
    name: DisplayName,
}

/// The identity as it is stored: secrets first, 32 bytes each.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Row {
    version: VersionOne,
    secrets: Secrets,
    credential: Credential,
    list: DeviceList,
    owed: Vec<DeviceId>,
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
        let NewDevice { signing, dh, seal, inbox } = NewDevice::random(rng);
        let keys = (signing.verify_key(), dh.public());
        let device = certify(account, &account_key, keys, &NewDevice::CAPABILITIES, Role::Primary, now);
        let list = DeviceList::first(account, &account_key, vec![device.clone()], now.after(LIST_LIFETIME));
        let identity = Self {
            account_key: Some(Arc::new(account_key)),
            owed: Arc::default(),
            signing,
            dh,
            seal,
            inbox,
            device: Device::from_verified(account, certificate.clone(), device),
            own: Arc::new(Pinned::from_verified(certificate, list)),
            name,
        };
        identity.store(tx);
        Ok(identity)
    }

    /// Takes up what a device with the account key has granted to `keys`, and writes it (rule ID-67).
    ///
    /// # Errors
    /// [`IdentityError::AlreadyThere`] if the store holds an identity; [`IdentityError::NotOurKeys`] for a grant to another
    /// device; [`IdentityError::WrongAccountKey`]; [`IdentityError::UnknownDevice`] if the list is without us; otherwise what
    /// is wrong with the certificates or the list. Nothing was written then, and the keys are gone: they are for one grant.
    pub fn take_up(tx: &mut Tx<'_>, keys: NewDevice, grant: Grant, now: UnixMs) -> Result<Self, IdentityError> {
        if tx.get(Table::Identity, ROW)?.is_some() {
            return Err(IdentityError::AlreadyThere);
        }
        let NewDevice { signing, dh, seal, inbox } = keys;
        let Grant { credential, list, name, relay: _ } = grant;
        let device = credential.verify(Some(now))?;
        let capabilities = credential.device_certificate().capabilities();
        let asked = capabilities.iter().filter(|capability| **capability != Capability::PRIMARY);
        let is_ours = *device.signing() == signing.verify_key()
            && *device.dh() == dh.public()
            && asked.eq(NewDevice::CAPABILITIES.iter());
        if !is_ours {
            return Err(IdentityError::NotOurKeys);
        }
        let own = list::pin(None, credential.account_certificate(), &list, now)?;
        own.device(&device.id()).ok_or(IdentityError::UnknownDevice)?;
        let (account_key, owed) = (None, Arc::default());
        let identity = Self { account_key, owed, signing, dh, seal, inbox, device, own: Arc::new(own), name };
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

    /// Certifies another device, signs the next list with it at its end, and writes that. The grant is for that device only;
    /// the list is to be published. `relay` is where the account is reached.
    ///
    /// # Errors
    /// [`IdentityError::NoAccountKey`]; [`IdentityError::TooManyDevices`]; [`IdentityError::DuplicateDevice`]; what
    /// [`DeviceRequest::verify`] finds. Nothing was changed then.
    pub fn certify(
        &mut self,
        tx: &mut Tx<'_>,
        request: &DeviceRequest,
        role: Role,
        relay: RelayUrl,
        now: UnixMs,
    ) -> Result<Grant, IdentityError> {
        let key = self.listing_key()?;
        request.verify()?;
        let mut devices = self.device_list().devices().to_vec();
        if devices.len() >= DEVICES_MAX {
            return Err(IdentityError::TooManyDevices);
        }
        if devices.iter().any(|device| device.signing() == request.signing() || device.dh() == request.dh()) {
            return Err(IdentityError::DuplicateDevice);
        }
        let keys = (*request.signing(), *request.dh());
        let certificate = certify(self.account(), key, keys, request.capabilities(), role, now);
        devices.push(certificate.clone());
        let list = self.device_list().next(key, devices, now.after(LIST_LIFETIME));
        if role == Role::Primary {
            Arc::make_mut(&mut self.owed).push(certificate.id());
        }
        self.hold(tx, list);
        Ok(Grant {
            credential: Credential::new(self.account_certificate().clone(), certificate),
            list: self.device_list().clone(),
            name: self.name.clone(),
            relay,
        })
    }

    /// Signs the next list without a device, and writes it: it is then to be published (rule ID-66).
    ///
    /// # Errors
    /// [`IdentityError::NoAccountKey`]; [`IdentityError::OwnDevice`]; [`IdentityError::UnknownDevice`];
    /// [`IdentityError::PrimaryDevice`]. Nothing was changed then.
    pub fn remove_device(&mut self, tx: &mut Tx<'_>, device: &DeviceId, now: UnixMs) -> Result<(), IdentityError> {
        let list = self.list_without(device, now)?;
        self.hold(tx, list);
        Ok(())
    }

    /// The next list, signed, without a device; ours stays as it is until the directory has taken it (rule ID-80).
    ///
    /// # Errors
    /// As [`LocalIdentity::remove_device`].
    pub fn list_without(&self, device: &DeviceId, now: UnixMs) -> Result<DeviceList, IdentityError> {
        let key = self.listing_key()?;
        if *device == self.device.id() {
            return Err(IdentityError::OwnDevice);
        }
        let removed = self.own.device(device).ok_or(IdentityError::UnknownDevice)?;
        if removed.can(Capability::PRIMARY) && !self.owed.contains(device) {
            return Err(IdentityError::PrimaryDevice);
        }
        let rest = self.device_list().devices().iter().filter(|other| other.id() != *device).cloned().collect();
        Ok(self.device_list().next(key, rest, now.after(LIST_LIFETIME)))
    }

    /// Replaces our copy of the account's list by a newer one, signed on another device, whatever its age (rule ID-68).
    ///
    /// # Errors
    /// As [`list::pin`], but for an expired list; nothing was changed then.
    pub fn adopt_list(&mut self, tx: &mut Tx<'_>, list: &DeviceList) -> Result<Adoption, IdentityError> {
        let newer = list::follow(Some(&*self.own), self.account_certificate(), list)?;
        if newer == *self.own {
            return Ok(Adoption::Known);
        }
        let adoption = if newer.device(&self.device.id()).is_some() { Adoption::Newer } else { Adoption::WithoutUs };
        self.own = Arc::new(newer);
        self.forget_debts();
        self.store(tx);
        Ok(adoption)
    }

    /// Signs the next device list if the present one nears its expiry, and writes it. Says whether it did: the new list
    /// is then to be published. Does nothing on a device without the account key, or that was removed.
    pub fn renew_list(&mut self, tx: &mut Tx<'_>, now: UnixMs) -> Renewal {
        let Some(list) = self.renewed_list(now) else { return Renewal::NotDue };
        self.hold(tx, list);
        Renewal::Signed
    }

    /// The next list, signed, if the present one nears its expiry; ours stays as it is until the directory has taken it
    /// (rule ID-80).
    pub fn renewed_list(&self, now: UnixMs) -> Option<DeviceList> {
        let key = self.listing_key().ok().filter(|_| now >= self.renewal_due())?;
        Some(self.device_list().next(key, self.device_list().devices().to_vec(), now.after(LIST_LIFETIME)))
    }

    /// When this device is to sign the list anew, if it can: one day after each primary device that stands before it.
    fn renewal_due(&self) -> UnixMs {
        let before = self.own.devices().iter().take_while(|device| device.id() != self.device.id());
        let rank = before.filter(|device| device.can(Capability::PRIMARY)).count();
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        self.device_list().expires().before(LIST_RENEWAL).after(LIST_RENEWAL_STAGGER.saturating_mul(rank))
    }

    /// Whether this device can certify others, and sign the lists of its account.
    pub fn signs_lists(&self) -> bool {
        self.listing_key().is_ok()
    }

    /// The account key, if this device may sign lists.
    fn listing_key(&self) -> Result<&SigningKey, IdentityError> {
        let is_listed = self.own.device(&self.device.id()).is_some();
        self.account_key.as_deref().filter(|_| is_listed).ok_or(IdentityError::NoAccountKey)
    }

    /// Makes a list that we have signed ours, and writes it.
    fn hold(&mut self, tx: &mut Tx<'_>, list: DeviceList) {
        self.own = Arc::new(Pinned::from_verified(self.account_certificate().clone(), list));
        self.forget_debts();
        self.store(tx);
    }

    /// To a device that is on the list no more, nothing is owed.
    fn forget_debts(&mut self) {
        if self.owed.iter().any(|device| self.own.device(device).is_none()) {
            Arc::make_mut(&mut self.owed).retain(|device| self.own.device(device).is_some());
        }
    }

    /// Whether a device was certified as primary here, and has yet to get the account key (rule ID-79).
    pub fn owes_key(&self, device: &DeviceId) -> bool {
        self.owed.contains(device)
    }

    /// Pays what is owed to a device: the account key, which is to leave in the same step (rule ID-79).
    ///
    /// # Errors
    /// [`IdentityError::NoAccountKey`]; [`IdentityError::UnknownDevice`] if nothing is owed to it.
    pub fn grant_key(&mut self, tx: &mut Tx<'_>, device: &DeviceId) -> Result<KeyGrant, IdentityError> {
        let grant = KeyGrant::new(SigningKey::from_seed(&self.listing_key()?.to_seed()));
        if !self.owes_key(device) {
            return Err(IdentityError::UnknownDevice);
        }
        Arc::make_mut(&mut self.owed).retain(|other| other != device);
        self.store(tx);
        Ok(grant)
    }

    /// Takes the account key that another device of the account has sent (rule ID-79).
    ///
    /// # Errors
    /// [`IdentityError::WrongAccountKey`] if it is another account's, or this device was not certified as primary.
    pub fn take_key(&mut self, tx: &mut Tx<'_>, grant: KeyGrant) -> Result<(), IdentityError> {
        let key = grant.into_key();
        if key.verify_key() != *self.device.account_key() || !self.device.can(Capability::PRIMARY) {
            return Err(IdentityError::WrongAccountKey);
        }
        self.account_key = Some(Arc::new(key));
        self.store(tx);
        Ok(())
    }

    /// What is in memory besides the row: to be put back if the writes since are.
    pub(crate) fn mark(&self) -> IdentityMark {
        let (own, owed) = (Arc::clone(&self.own), Arc::clone(&self.owed));
        IdentityMark { own, owed, account_key: self.account_key.clone() }
    }

    /// Forgets in memory what was changed since `mark`.
    pub(crate) fn undo_to(&mut self, mark: &IdentityMark) {
        let IdentityMark { own, owed, account_key } = mark.clone();
        (self.own, self.owed, self.account_key) = (own, owed, account_key);
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
        self.account_key.as_deref()
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

    /// The newest list of our account's devices that we have seen.
    pub fn device_list(&self) -> &DeviceList {
        self.own.list()
    }

    /// The same, with the devices verified and the hash computed. We may have been removed from it.
    pub fn own_devices(&self) -> &Pinned {
        &self.own
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
            list: self.device_list().clone(),
            owed: self.owed.to_vec(),
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
        let Self { version: VersionOne, secrets, credential, list, owed, name } = self;
        let signing_key = |seed: &[u8; 32]| SigningKey::from_seed(&Secret32::from_bytes(*seed));
        let certificate = credential.account_certificate().clone();
        let identity = LocalIdentity {
            account_key: secrets.account.as_ref().map(signing_key).map(Arc::new),
            owed: Arc::new(owed),
            signing: signing_key(&secrets.signing),
            dh: DhSecret::from_secret(&Secret32::from_bytes(secrets.dh)),
            seal: SealSecret::from_seed(Secret32::from_bytes(secrets.seal)),
            inbox: signing_key(&secrets.inbox),
            device: credential.verify(None)?,
            own: Arc::new(Pinned::from_verified(certificate, list)),
            name: DisplayName::from_utf8(name.as_slice())?,
        };
        let is_whole = identity.device.signing() == &identity.signing.verify_key()
            && identity.device.dh() == &identity.dh.public()
            && identity.account_key().is_none_or(|key| key.verify_key() == *identity.device.account_key())
            && identity.device_list().account() == identity.account();
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

/// What our account's newer list means for this device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Adoption {
    /// It is the list that we hold.
    Known,
    /// It is held now, and we are in it.
    Newer,
    /// It is held now, and we are not in it: this device was removed.
    WithoutUs,
}

/// What [`LocalIdentity::undo_to`] goes back to.
#[derive(Clone)]
pub(crate) struct IdentityMark {
    own: Arc<Pinned>,
    owed: Arc<Vec<DeviceId>>,
    account_key: Option<Arc<SigningKey>>,
}

/// Certifies a device of an account.
fn certify(
    account: AccountId,
    account_key: &SigningKey,
    (signing, dh): (VerifyKey, DhPublic),
    capabilities: &[Capability],
    role: Role,
    now: UnixMs,
) -> DeviceCertificate {
    let mut capabilities = capabilities.to_vec();
    if role == Role::Primary {
        let at = capabilities.partition_point(|capability| *capability < Capability::PRIMARY);
        capabilities.insert(at, Capability::PRIMARY);
    }
    let (not_before, not_after) = (now.before(CLOCK_SKEW), now.after(CERTIFICATE_LIFETIME));
    DeviceCertificate::create(account, account_key, DeviceFacts { signing, dh, not_before, not_after, capabilities })
}

impl fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account_key: _, owed: _, signing: _, dh: _, seal: _, inbox: _, device, own, name: _ } = self;
        write!(f, "LocalIdentity({device:?}, device list {})", own.list_version())
    }
}
