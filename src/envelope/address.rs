//! Where a device takes entries from others, signed by the device (rule DEL-55).
//!
//! ```text
//! u8 version = 1 | inbox log id [32] | knock token [32] | X-Wing key [1 216] | signature [64]
//! ```

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::{InboxToken, LogId, Signature};

use super::codec::{self, DecodeError};
use crate::crypto::hpke::SealPublic;
use crate::crypto::label;
use crate::crypto::sign::{self, BadSignature, SigningKey};
use crate::identity::{Device, DeviceId};

/// The version of addresses, their first byte.
pub const VERSION: u8 = 1;

/// Bytes of an encoded address.
pub const ADDRESS_LEN: usize = 1 + 32 + 32 + crate::crypto::hpke::PUBLIC_LEN + 64;

/// The address of a device's inbox. Decoding proves nothing: [`InboxAddress::verify`] does.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct InboxAddress {
    inbox: LogId,
    knock: InboxToken,
    seal: SealPublic,
    signature: Signature,
}

impl InboxAddress {
    /// Signs the address of our own inbox.
    pub fn sign(owner: &DeviceId, inbox: LogId, knock: InboxToken, seal: SealPublic, key: &SigningKey) -> Self {
        let signature = key.sign(label::INBOX_ADDRESS, &fields(owner, &inbox, &knock, &seal));
        Self { inbox, knock, seal, signature }
    }

    /// Checks that the device has signed it.
    ///
    /// # Errors
    /// [`BadSignature`]; nothing is sent there.
    pub fn verify(&self, owner: &Device) -> Result<(), BadSignature> {
        let owner_id = owner.id();
        let fields = fields(&owner_id, &self.inbox, &self.knock, &self.seal);
        sign::verify(owner.signing(), label::INBOX_ADDRESS, &fields, &self.signature)
    }

    /// The log of the inbox.
    pub fn inbox(&self) -> LogId {
        self.inbox
    }

    /// Admits to the lane for strangers.
    pub fn knock(&self) -> InboxToken {
        self.knock
    }

    /// To which entries are sealed.
    pub fn seal_key(&self) -> &SealPublic {
        &self.seal
    }

    /// Encodes the address.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_versioned(VERSION, self)
    }

    /// Decodes one address, which must fill `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_versioned(VERSION, bytes, ADDRESS_LEN)
    }
}

fn fields<'f>(owner: &'f DeviceId, inbox: &'f LogId, knock: &'f InboxToken, seal: &'f SealPublic) -> [&'f [u8]; 5] {
    [&[VERSION], owner.as_bytes(), inbox.as_bytes(), knock.as_bytes(), seal.as_bytes()]
}
