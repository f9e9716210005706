//! The new device's side of a linking.

use std::fmt;

use tls_codec::{DeserializeBytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::ServerId;

use super::channel::{FirstKeys, LaterKeys, Mailbox, MessageStep, open, opening_key, seal};
use super::offer::Offer;
use super::{Abort, LINKING_TIME_MAX, LinkingCode, LinkingError, Round};
use crate::crypto::dh::DhSecret;
use crate::crypto::kem::KemPublic;
use crate::crypto::{CryptoRng, label, random_array};
use crate::identity::encoding::encode;
use crate::identity::{Grant, NewDevice, RelayUrl};
use crate::time::UnixMs;

/// What the old device says first.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Opening {
    pub(super) kem: KemPublic,
    pub(super) commitment: [u8; 32],
    pub(super) mailbox: Mailbox,
}

/// A new device that shows its offer, and waits for whoever scans it.
pub struct NewOffering {
    keys: NewDevice,
    pub(super) secret: DhSecret,
    offer: Offer,
}

/// A new device that has answered, and waits for the nonce of the old one.
pub struct NewAnswered {
    keys: NewDevice,
    later: LaterKeys,
    commitment: [u8; 32],
    nonce: [u8; 32],
    old: Mailbox,
    expires: UnixMs,
}

/// A new device that shows the code, and waits for its person.
pub struct NewComparing {
    keys: NewDevice,
    later: LaterKeys,
    code: LinkingCode,
    old: Mailbox,
    expires: UnixMs,
}

/// A new device whose person has said that the codes are the same. It waits for the grant.
pub struct NewConfirmed {
    keys: NewDevice,
    later: LaterKeys,
    old: Mailbox,
    expires: UnixMs,
}

impl NewOffering {
    /// Draws the keys of a device and of one linking. `mailbox` is read by this device at the relay `server`, whose
    /// address is `relay`.
    pub fn new(mailbox: Mailbox, server: ServerId, relay: RelayUrl, now: UnixMs, rng: &mut dyn CryptoRng) -> Self {
        let secret = DhSecret::random(rng);
        let offer = Offer { key: secret.public(), mailbox, server, expires: now.after(LINKING_TIME_MAX), relay };
        Self { keys: NewDevice::random(rng), secret, offer }
    }

    /// What to show.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Takes message 1, and yields message 2 and where to send it.
    ///
    /// # Errors
    /// [`LinkingError::Expired`]; [`LinkingError::Malformed`].
    pub fn hear(
        self,
        message: &[u8],
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<Round<Self, (NewAnswered, Vec<u8>)>, LinkingError> {
        expire(self.offer.expires, now)?;
        let Some(old_key) = opening_key(message) else { return Ok(Round::Ignored(self)) };
        let Ok(agreed) = self.secret.agree(&old_key) else { return Ok(Round::Ignored(self)) };
        let first = FirstKeys::derive(&self.offer, &old_key, &agreed);
        let Some(body) = open(&first.opening, MessageStep::Opening, message, 32) else {
            return Ok(Round::Ignored(self));
        };
        let opening = Opening::tls_deserialize_exact_bytes(&body).map_err(|_| LinkingError::Malformed)?;
        let (ciphertext, shared) = opening.kem.encapsulate(rng).map_err(|_| LinkingError::Malformed)?;
        let Self { keys, offer, .. } = self;
        let nonce = random_array(rng);
        let body = [ciphertext.as_bytes(), nonce.as_slice(), &keys.request().encode()].concat();
        let answer = seal(&first.answer, MessageStep::Answer, &[], &body);
        let later = first.into_later(&agreed, &shared, message, &answer);
        let Opening { commitment, mailbox: old, .. } = opening;
        Ok(Round::Next((NewAnswered { keys, later, commitment, nonce, old, expires: offer.expires }, answer)))
    }
}

impl NewAnswered {
    /// Where the old device reads.
    pub fn old_mailbox(&self) -> &Mailbox {
        &self.old
    }

    /// Takes message 3: the code is there.
    ///
    /// # Errors
    /// [`LinkingError::Expired`]; [`LinkingError::Commitment`]; [`LinkingError::Malformed`];
    /// [`LinkingError::Aborted`].
    pub fn hear(self, message: &[u8], now: UnixMs) -> Result<Round<Self, NewComparing>, LinkingError> {
        expire(self.expires, now)?;
        aborted(&self.later, message)?;
        let Some(body) = open(&self.later.reveal, MessageStep::Reveal, message, 0) else {
            return Ok(Round::Ignored(self));
        };
        let revealed: [u8; 32] = body.as_slice().try_into().map_err(|_| LinkingError::Malformed)?;
        if commitment(&revealed) != self.commitment {
            return Err(LinkingError::Commitment);
        }
        let Self { keys, later, nonce, old, expires, .. } = self;
        let code = later.code(&revealed, &nonce);
        Ok(Round::Next(NewComparing { keys, later, code, old, expires }))
    }

    /// Ends it, with a message for the old device.
    pub fn abort(self, reason: Abort) -> Vec<u8> {
        self.later.abort_by_new(reason)
    }
}

impl NewComparing {
    /// What to show.
    pub fn code(&self) -> LinkingCode {
        self.code
    }

    /// Where the old device reads.
    pub fn old_mailbox(&self) -> &Mailbox {
        &self.old
    }

    /// Takes what may come while a person compares: only the end. A grant that comes now is none.
    ///
    /// # Errors
    /// [`LinkingError::Aborted`]; [`LinkingError::Expired`].
    pub fn hear(self, message: &[u8], now: UnixMs) -> Result<Self, LinkingError> {
        expire(self.expires, now)?;
        aborted(&self.later, message)?;
        Ok(self)
    }

    /// A person has said that the old device shows the same code. Yields message 4.
    ///
    /// # Errors
    /// [`LinkingError::Expired`].
    pub fn confirm(self, now: UnixMs) -> Result<(NewConfirmed, Vec<u8>), LinkingError> {
        expire(self.expires, now)?;
        let message = seal(&self.later.confirmation, MessageStep::Confirmation, &[], &[]);
        let Self { keys, later, old, expires, .. } = self;
        Ok((NewConfirmed { keys, later, old, expires }, message))
    }

    /// Ends it, with a message for the old device.
    pub fn abort(self, reason: Abort) -> Vec<u8> {
        self.later.abort_by_new(reason)
    }
}

impl NewConfirmed {
    /// Where the old device reads.
    pub fn old_mailbox(&self) -> &Mailbox {
        &self.old
    }

    /// Takes message 5: keys and grant, for [`LocalIdentity::take_up`](crate::identity::LocalIdentity::take_up), which
    /// verifies it.
    ///
    /// # Errors
    /// [`LinkingError::Expired`]; [`LinkingError::Aborted`]; [`LinkingError::Identity`] if it is no grant.
    pub fn hear(self, message: &[u8], now: UnixMs) -> Result<Round<Self, (NewDevice, Grant)>, LinkingError> {
        expire(self.expires, now)?;
        aborted(&self.later, message)?;
        let Some(body) = open(&self.later.grant, MessageStep::Grant, message, 0) else {
            return Ok(Round::Ignored(self));
        };
        let grant = Grant::decode(&body)?;
        Ok(Round::Next((self.keys, grant)))
    }

    /// Ends it, with a message for the old device.
    pub fn abort(self, reason: Abort) -> Vec<u8> {
        self.later.abort_by_new(reason)
    }
}

/// What binds the old device to its nonce.
pub(super) fn commitment(nonce: &[u8; 32]) -> [u8; 32] {
    label::hash(label::LINKING_COMMITMENT, &[nonce])
}

/// Whether it is too late.
pub(super) fn expire(expires: UnixMs, now: UnixMs) -> Result<(), LinkingError> {
    if now > expires { Err(LinkingError::Expired) } else { Ok(()) }
}

fn aborted(later: &LaterKeys, message: &[u8]) -> Result<(), LinkingError> {
    match later.is_abort(MessageStep::AbortOfOld, message) {
        Some(reason) => Err(LinkingError::Aborted(reason)),
        None => Ok(()),
    }
}

/// Encodes the body of an opening.
pub(super) fn opening_body(opening: &Opening) -> Vec<u8> {
    encode(opening)
}

/// Shows which state it is, and nothing in it.
macro_rules! hidden {
    ($($state:ident),*) => {
        $(impl fmt::Debug for $state {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($state), "(…)"))
            }
        })*
    };
}
pub(super) use hidden;
hidden!(NewOffering, NewAnswered, NewComparing, NewConfirmed);
