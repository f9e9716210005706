//! Key packages: with which others add this device while it is away.
//!
//! The MLS lifetime in a key package is a constant, because members must not judge a commit by their clocks. The real
//! validity stands in an extension that the key package's own signature covers, and only the adder looks at it:
//!
//! ```text
//! extension 0xf1d1   u8 version = 1 ‖ u64 not before, ms ‖ u64 not after, ms                          17 bytes
//! ```
//!
//! Invariant: the secrets of a one-time key package go with the Welcome that uses it; those of an unused one go
//! [`KEY_PACKAGE_GRACE`] after its validity.

use std::fmt;

use openmls::prelude::{
    Extension, ExtensionType, Extensions, KeyPackage, KeyPackageRef, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
    ProtocolVersion, UnknownExtension,
};
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::storage::StorageProvider as _;
use tls_codec::{DeserializeBytes as _, Serialize as _, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::limits::ITEM_LEN_MAX;

use super::leaf::{self, VALIDITY_EXTENSION};
use super::policy::LeafOwner;
use super::provider::{DeviceSigner, Provider, SUITE};
use super::{GroupError, Publication, drawing};
use crate::crypto::CryptoRng;
use crate::identity::LocalIdentity;
use crate::limits::{KEY_PACKAGE_GRACE, KEY_PACKAGE_SKEW, KEY_PACKAGE_VALIDITY, KEY_PACKAGES_MAX};
use crate::store::{Direction, StoreError, Table, Tx};
use crate::time::UnixMs;

/// A key package that may be used to add its device.
#[derive(Clone)]
pub struct VerifiedKeyPackage {
    pub(super) package: KeyPackage,
    pub(super) reference: KeyPackageRef,
    owner: LeafOwner,
}

/// Why a key package is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KeyPackageError {
    /// The bytes are no key package, or a signature in it does not verify.
    Malformed,
    /// It is for another suite.
    OtherSuite,
    /// The leaf is not that of a certified device with our capabilities and the constant lifetime.
    BadLeaf,
    /// The validity is missing or malformed, or longer than one may be.
    BadValidity,
    /// It is not valid yet, or a clock is wrong.
    NotYetValid,
    /// It is no longer valid, or a clock is wrong.
    Expired,
}

/// Makes `count` one-time key packages (at most [`KEY_PACKAGES_MAX`]) and one of last resort, which replace those
/// published before; those stay usable. Forgets the secrets of key packages that expired long ago.
///
/// # Errors
/// [`GroupError::Store`], [`GroupError::Internal`].
pub fn key_packages(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    count: usize,
    now: UnixMs,
    rng: &mut dyn CryptoRng,
) -> Result<Publication, GroupError> {
    let mark = tx.mark();
    let result = publish(tx, us, count.min(KEY_PACKAGES_MAX), now, rng);
    if result.is_err() {
        tx.undo_to(mark);
    }
    result
}

/// Reads and checks a key package out of the directory, before its device is added (rule GRP-05).
///
/// # Errors
/// [`GroupError::KeyPackage`]; the caller takes another one.
pub fn verify_key_package(bytes: &[u8], now: UnixMs) -> Result<VerifiedKeyPackage, GroupError> {
    let crypto = RustCrypto::default();
    let package = parse(&crypto, bytes)?;
    if package.ciphersuite() != SUITE {
        return Err(KeyPackageError::OtherSuite.into());
    }
    let owner = leaf::check(package.leaf_node()).map_err(|_| KeyPackageError::BadLeaf)?;
    Validity::of(&package)?.check(now)?;
    let reference = package.hash_ref(&crypto).map_err(|_| GroupError::Internal)?;
    Ok(VerifiedKeyPackage { package, reference, owner })
}

fn parse(crypto: &RustCrypto, bytes: &[u8]) -> Result<KeyPackage, KeyPackageError> {
    if bytes.len() > ITEM_LEN_MAX {
        return Err(KeyPackageError::Malformed);
    }
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| KeyPackageError::Malformed)?;
    match message.extract() {
        MlsMessageBodyIn::KeyPackage(package) => {
            package.validate(crypto, ProtocolVersion::Mls10).map_err(|_| KeyPackageError::Malformed)
        }
        _ => Err(KeyPackageError::Malformed),
    }
}

fn publish(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    count: usize,
    now: UnixMs,
    rng: &mut dyn CryptoRng,
) -> Result<Publication, GroupError> {
    let expired = take_expired(tx, now)?;
    let validity =
        Validity { version: 1, not_before: now.before(KEY_PACKAGE_SKEW), not_after: now.after(KEY_PACKAGE_VALIDITY) };
    let (mut packages, references) = drawing(tx, rng, |provider| {
        expired.iter().try_for_each(|reference| provider.storage().delete_key_package(reference))?;
        let last_resort = [Use::LastResort].into_iter();
        let all = last_resort.chain(std::iter::repeat_n(Use::Once, count));
        let made: Result<Vec<_>, _> = all.map(|of| make(provider, us, &validity, of)).collect();
        Ok(made?.into_iter().unzip::<_, _, Vec<_>, Vec<_>>())
    })?;
    for reference in &references {
        tx.put(Table::Groups, &secret_row(validity.not_after, reference)?, []);
    }
    let version = next_version(tx)?;
    let body = packages.remove(0);
    Ok(Publication { version, body, items: packages })
}

/// How often a key package may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Once,
    LastResort,
}

fn make(
    provider: &Provider<'_, '_, '_>,
    us: &LocalIdentity,
    validity: &Validity,
    of: Use,
) -> Result<(Vec<u8>, KeyPackageRef), GroupError> {
    let bytes = validity.tls_serialize_detached().map_err(|_| GroupError::Internal)?;
    let extension = Extension::Unknown(VALIDITY_EXTENSION, UnknownExtension(bytes));
    let builder = KeyPackage::builder()
        .key_package_lifetime(leaf::lifetime())
        .leaf_node_capabilities(leaf::capabilities())
        .key_package_extensions(Extensions::single(extension).map_err(|_| GroupError::Internal)?);
    let builder = if of == Use::LastResort { builder.mark_as_last_resort() } else { builder };
    let package = builder
        .build(SUITE, provider, &DeviceSigner(us.signing_key()), leaf::credential_with_key(us))
        .map_err(|_| GroupError::Internal)?
        .into_key_package();
    let reference = package.hash_ref(provider.crypto()).map_err(|_| GroupError::Internal)?;
    let bytes = MlsMessageOut::from(package).to_bytes().map_err(|_| GroupError::Internal)?;
    Ok((bytes, reference))
}

/// Deletes the rows of key packages that expired long ago, and says which they were.
fn take_expired(tx: &mut Tx<'_>, now: UnixMs) -> Result<Vec<KeyPackageRef>, StoreError> {
    let until = now.before(KEY_PACKAGE_GRACE).as_u64().to_be_bytes();
    let to = [SECRETS_PREFIX, until.as_slice()].concat();
    let rows = tx.scan(Table::Groups, SECRETS_PREFIX, &to, Direction::Ascending, EXPIRED_MAX)?;
    let mut expired = Vec::with_capacity(rows.len());
    for (key, _) in rows {
        tx.delete(Table::Groups, &key);
        let reference = KeyPackageRef::tls_deserialize_exact_bytes(&key[SECRETS_PREFIX.len() + 8..]);
        expired.push(reference.map_err(|_| StoreError::Corrupt)?);
    }
    Ok(expired)
}

fn secret_row(not_after: UnixMs, reference: &KeyPackageRef) -> Result<Vec<u8>, GroupError> {
    let reference = reference.tls_serialize_detached().map_err(|_| GroupError::Internal)?;
    Ok([SECRETS_PREFIX, &not_after.as_u64().to_be_bytes(), &reference].concat())
}

fn next_version(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    let stored = tx.get(Table::Groups, VERSION_ROW)?;
    let last = match &stored {
        Some(row) => u64::from_be_bytes(row.as_slice().try_into().map_err(|_| StoreError::Corrupt)?),
        None => 0,
    };
    tx.put(Table::Groups, VERSION_ROW, (last + 1).to_be_bytes());
    Ok(last + 1)
}

impl VerifiedKeyPackage {
    /// Whom it adds.
    pub const fn owner(&self) -> LeafOwner {
        self.owner
    }

    /// Whether it may be used more than once.
    pub fn is_last_resort(&self) -> bool {
        self.package.last_resort()
    }
}

impl fmt::Debug for VerifiedKeyPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedKeyPackage({:?})", self.owner)
    }
}

/// From when to when a key package may be used.
#[derive(Clone, Copy, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Validity {
    version: u8,
    not_before: UnixMs,
    not_after: UnixMs,
}

impl Validity {
    fn of(package: &KeyPackage) -> Result<Self, KeyPackageError> {
        let ours = package.extensions().iter().find_map(|extension| match extension {
            Extension::Unknown(VALIDITY_EXTENSION, UnknownExtension(bytes)) => Some(bytes),
            _ => None,
        });
        let is_known = |extension: &Extension| match extension.extension_type() {
            ExtensionType::Unknown(number) => number == VALIDITY_EXTENSION,
            ExtensionType::LastResort | ExtensionType::Grease(_) => true,
            _ => false,
        };
        if !package.extensions().iter().all(is_known) {
            return Err(KeyPackageError::BadValidity);
        }
        let bytes = ours.ok_or(KeyPackageError::BadValidity)?;
        let validity = Self::tls_deserialize_exact_bytes(bytes).map_err(|_| KeyPackageError::BadValidity)?;
        if validity.version == 1 { Ok(validity) } else { Err(KeyPackageError::BadValidity) }
    }

    fn check(&self, now: UnixMs) -> Result<(), KeyPackageError> {
        let Self { version: _, not_before, not_after } = *self;
        if not_after < not_before || not_after.since(not_before) > KEY_PACKAGE_SKEW + KEY_PACKAGE_VALIDITY {
            Err(KeyPackageError::BadValidity)
        } else if now < not_before {
            Err(KeyPackageError::NotYetValid)
        } else if now > not_after {
            Err(KeyPackageError::Expired)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for KeyPackageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is malformed or not signed",
            Self::OtherSuite => "it is for another suite",
            Self::BadLeaf => "its leaf is not in order",
            Self::BadValidity => "its validity is missing or too long",
            Self::NotYetValid => "it is not valid yet",
            Self::Expired => "it has expired",
        })
    }
}

impl std::error::Error for KeyPackageError {}

/// Rows `prefix ‖ u64 not after, ms ‖ reference<V>`, empty: which secrets are to go, and when.
const SECRETS_PREFIX: &[u8] = b"key package/";

/// The row with the version of the newest publication, u64, big-endian.
const VERSION_ROW: &[u8] = b"key packages";

/// Key packages that one call forgets.
const EXPIRED_MAX: usize = 1_024;
