//! What is held fast of other accounts, in [`Table::Peers`]:
//!
//! | key | row |
//! |---|---|
//! | 1, account id | version, account certificate, device list: the newest list that verified |
//! | 2, account id | the safety number that a person has compared, as its QR payload |

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::account::{ACCOUNT_CERTIFICATE_LEN, AccountCertificate};
use super::encoding::{VersionOne, decode, encode};
use super::list::{self, DEVICE_LIST_LEN_MAX, DeviceList, Pinned};
use super::safety::{SafetyNumber, Verification};
use super::{AccountId, IdentityError};
use crate::store::{StoreError, Table, Tx};
use crate::time::UnixMs;

/// The first byte of the key of a pin.
const PIN_PREFIX: u8 = 1;

/// The first byte of the key of a number that was compared.
const VERIFIED_PREFIX: u8 = 2;

/// A pin as it is stored.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Row {
    version: VersionOne,
    certificate: AccountCertificate,
    list: DeviceList,
}

/// Reads what is pinned of an account.
///
/// # Errors
/// [`IdentityError::Store`].
pub fn load(tx: &Tx<'_>, account: AccountId) -> Result<Option<Pinned>, IdentityError> {
    let Some(value) = tx.get(Table::Peers, &key(account))? else { return Ok(None) };
    let row: Row = decode(&value, 1 + ACCOUNT_CERTIFICATE_LEN + DEVICE_LIST_LEN_MAX)
        .map_err(|error| IdentityError::Store(corrupt(error)))?;
    Ok(Some(Pinned::from_verified(row.certificate, row.list)))
}

/// Verifies a list and pins it in place of what is pinned of the account.
///
/// # Errors
/// As [`list::pin`]; nothing was written then.
pub fn pin(
    tx: &mut Tx<'_>,
    certificate: &AccountCertificate,
    list: &DeviceList,
    now: UnixMs,
) -> Result<Pinned, IdentityError> {
    let old = load(tx, certificate.id())?;
    let new = list::pin(old.as_ref(), certificate, list, now)?;
    let row = Row { version: VersionOne, certificate: certificate.clone(), list: list.clone() };
    tx.put(Table::Peers, &key(new.account()), encode(&row));
    Ok(new)
}

/// A person has compared the number of an account.
pub fn set_verified(tx: &mut Tx<'_>, account: AccountId, number: &SafetyNumber) {
    tx.put(Table::Peers, &prefixed(VERIFIED_PREFIX, account), number.to_qr().to_vec());
}

/// Whether the number of an account, which is `number` now, was compared (rule ID-32).
///
/// # Errors
/// [`StoreError`].
pub fn verification(tx: &Tx<'_>, account: AccountId, number: &SafetyNumber) -> Result<Verification, StoreError> {
    let Some(value) = tx.get(Table::Peers, &prefixed(VERIFIED_PREFIX, account))? else {
        return Ok(Verification::Unverified);
    };
    let compared = SafetyNumber::from_qr(&value).ok_or(StoreError::Corrupt)?;
    Ok(if compared == *number { Verification::Verified } else { Verification::Changed })
}

fn key(account: AccountId) -> Vec<u8> {
    prefixed(PIN_PREFIX, account)
}

fn prefixed(prefix: u8, account: AccountId) -> Vec<u8> {
    [&[prefix], account.as_bytes().as_slice()].concat()
}

/// What a row that does not decode says of its store.
pub(super) fn corrupt(error: IdentityError) -> StoreError {
    match error {
        IdentityError::UnknownVersion { .. } => StoreError::TooNew,
        _ => StoreError::Corrupt,
    }
}
