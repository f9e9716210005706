//! Accounts: a person or service, named by the hash of a certificate that its own key signs.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::encoding::{VersionOne, decode, encode};
use super::{AccountId, IdentityError};
use crate::crypto::label;
use crate::crypto::sign::{self, Signature, SigningKey, VerifyKey};
use crate::crypto::{CryptoRng, random_array};
use crate::time::UnixMs;

/// An account's self-signed certificate (rule ID-01). Decoded is not yet verified.
///
/// ```text
/// u8 version = 1 | key 32 | u64 created, ms | nonce 16 | signature 64          121 bytes
/// ```
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct AccountCertificate {
    version: VersionOne,
    key: VerifyKey,
    created: UnixMs,
    nonce: [u8; 16],
    signature: Signature,
}

/// Bytes of an encoded [`AccountCertificate`].
pub const ACCOUNT_CERTIFICATE_LEN: usize = 1 + 32 + 8 + 16 + 64;

impl AccountCertificate {
    /// Makes the certificate of a new account. The nonce makes two accounts of one key differ.
    pub(crate) fn create(key: &SigningKey, created: UnixMs, rng: &mut dyn CryptoRng) -> Self {
        let mut certificate = Self {
            version: VersionOne,
            key: key.verify_key(),
            created,
            nonce: random_array(rng),
            signature: Signature::from_bytes([0; 64]),
        };
        certificate.signature = key.sign(label::ACCOUNT_CERTIFICATE, &[&certificate.signed_part()]);
        certificate
    }

    /// Encodes the certificate.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a certificate, which must fill `bytes`.
    ///
    /// # Errors
    /// [`IdentityError`] for another length or version.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        decode(bytes, ACCOUNT_CERTIFICATE_LEN)
    }

    /// Checks that the account's key signed the certificate, and names the account.
    ///
    /// # Errors
    /// [`IdentityError::BadSignature`].
    pub fn verify(&self) -> Result<AccountId, IdentityError> {
        sign::verify(&self.key, label::ACCOUNT_CERTIFICATE, &[&self.signed_part()], &self.signature)
            .map_err(|_| IdentityError::BadSignature)?;
        Ok(self.id())
    }

    /// The name of the account: the hash of the certificate, whether or not it verifies (rule ID-02).
    pub fn id(&self) -> AccountId {
        AccountId::from_bytes(label::hash(label::ACCOUNT_ID, &[&self.encode()]))
    }

    /// The account's key.
    pub fn key(&self) -> &VerifyKey {
        &self.key
    }

    /// When the account says that it was made.
    pub fn created(&self) -> UnixMs {
        self.created
    }

    /// What makes two accounts of one key and instant differ: 16 bytes.
    pub fn nonce(&self) -> &[u8; 16] {
        &self.nonce
    }

    /// Everything in front of the signature.
    fn signed_part(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        bytes.truncate(ACCOUNT_CERTIFICATE_LEN - 64);
        bytes
    }
}
