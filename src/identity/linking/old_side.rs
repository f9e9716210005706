//! The side of the device that holds the account key.

use std::fmt;

use undertone_wire::id::ServerId;

use super::channel::{FirstKeys, LaterKeys, Mailbox, MessageStep, open, seal};
use super::new_side::{Opening, commitment, expire, hidden, opening_body};
use super::offer::Offer;
use super::{Abort, LINKING_TIME_MAX, LinkingCode, LinkingError, Round};
use crate::crypto::dh::DhSecret;
use crate::crypto::kem::{self, KemCiphertext, KemSecret};
use crate::crypto::{CryptoRng, Secret32, random_array};
use crate::identity::{DeviceRequest, Grant, IdentityError};
use crate::time::UnixMs;

/// An old device that has scanned an offer, and waits for the new one to answer.
pub struct OldOpened {
    first: FirstKeys,
    agreed: Secret32,
    kem: KemSecret,
    nonce: [u8; 32],
    opening: Vec<u8>,
    expires: UnixMs,
}

/// An old device that shows the code, and waits for its person.
pub struct OldComparing {
    later: LaterKeys,
    code: LinkingCode,
    request: DeviceRequest,
    /// Whether the person at the new device has said yes.
    is_confirmed: bool,
    expires: UnixMs,
}

/// An old device whose person has said yes before the one at the new device.
pub struct OldAgreed(OldComparing);

/// An old device that may sign: both have said yes.
pub struct OldReady {
    later: LaterKeys,
    request: DeviceRequest,
}

impl OldOpened {
    /// Takes an offer that was scanned, and yields message 1, for its mailbox. `own` is where this device reads; it is
    /// connected to `server`.
    ///
    /// # Errors
    /// As [`Offer::check`], and for a key in the offer with which nothing can be agreed.
    pub fn open(
        offer: &Offer,
        own: Mailbox,
        server: &ServerId,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>), LinkingError> {
        offer.check(server, now)?;
        let (secret, kem, nonce) = (DhSecret::random(rng), KemSecret::random(rng), random_array(rng));
        let agreed = secret.agree(&offer.key).map_err(IdentityError::from)?;
        let first = FirstKeys::derive(offer, &secret.public(), &agreed);
        let body = Opening { kem: kem.public(), commitment: commitment(&nonce), mailbox: own };
        let opening = seal(&first.opening, MessageStep::Opening, secret.public().as_bytes(), &opening_body(&body));
        let expires = now.after(LINKING_TIME_MAX).min(offer.expires());
        Ok((Self { first, agreed, kem, nonce, opening: opening.clone(), expires }, opening))
    }

    /// Takes message 2, and yields message 3. The code is there.
    ///
    /// # Errors
    /// [`LinkingError::Expired`]; [`LinkingError::Malformed`]; [`LinkingError::Identity`] for a request that cannot be
    /// granted.
    pub fn hear(self, message: &[u8], now: UnixMs) -> Result<Round<Self, (OldComparing, Vec<u8>)>, LinkingError> {
        expire(self.expires, now)?;
        let Some(body) = open(&self.first.answer, MessageStep::Answer, message, 0) else {
            return Ok(Round::Ignored(self));
        };
        let (ciphertext, rest) = body.split_first_chunk::<{ kem::CIPHERTEXT_LEN }>().ok_or(LinkingError::Malformed)?;
        let (theirs, request) = rest.split_first_chunk::<32>().ok_or(LinkingError::Malformed)?;
        let request = DeviceRequest::decode(request)?;
        request.verify()?;
        let shared = self.kem.decapsulate(&KemCiphertext::from_bytes(*ciphertext));
        let Self { first, agreed, nonce, opening, expires, .. } = self;
        let later = first.into_later(&agreed, &shared, &opening, message);
        let code = later.code(&nonce, theirs);
        let reveal = seal(&later.reveal, MessageStep::Reveal, &[], &nonce);
        Ok(Round::Next((OldComparing { later, code, request, is_confirmed: false, expires }, reveal)))
    }
}

impl OldComparing {
    /// What to show.
    pub fn code(&self) -> LinkingCode {
        self.code
    }

    /// Takes what may come while a person compares: the confirmation of the other one, or the end.
    ///
    /// # Errors
    /// [`LinkingError::Expired`]; [`LinkingError::Aborted`]; [`LinkingError::Malformed`].
    pub fn hear(self, message: &[u8], now: UnixMs) -> Result<Self, LinkingError> {
        expire(self.expires, now)?;
        if let Some(reason) = self.later.is_abort(MessageStep::AbortOfNew, message) {
            return Err(LinkingError::Aborted(reason));
        }
        match open(&self.later.confirmation, MessageStep::Confirmation, message, 0) {
            None => Ok(self),
            Some(body) if body.is_empty() => Ok(Self { is_confirmed: true, ..self }),
            Some(_) => Err(LinkingError::Malformed),
        }
    }

    /// A person has said that the new device shows the same code. `Ignored` means that the other one has yet to say so.
    ///
    /// # Errors
    /// [`LinkingError::Expired`].
    pub fn confirm(self, now: UnixMs) -> Result<Round<OldAgreed, OldReady>, LinkingError> {
        expire(self.expires, now)?;
        Ok(OldAgreed(self).settle())
    }

    /// Ends it, with a message for the new device.
    pub fn abort(self, reason: Abort) -> Vec<u8> {
        self.later.abort_by_old(reason)
    }
}

impl OldAgreed {
    /// Takes message 4.
    ///
    /// # Errors
    /// As [`OldComparing::hear`].
    pub fn hear(self, message: &[u8], now: UnixMs) -> Result<Round<Self, OldReady>, LinkingError> {
        Ok(Self(self.0.hear(message, now)?).settle())
    }

    /// Ends it, with a message for the new device.
    pub fn abort(self, reason: Abort) -> Vec<u8> {
        self.0.abort(reason)
    }

    fn settle(self) -> Round<Self, OldReady> {
        if !self.0.is_confirmed {
            return Round::Ignored(self);
        }
        let OldComparing { later, request, .. } = self.0;
        Round::Next(OldReady { later, request })
    }
}

impl OldReady {
    /// What is to be certified.
    pub fn request(&self) -> &DeviceRequest {
        &self.request
    }

    /// Message 5.
    pub fn grant(self, grant: &Grant) -> Vec<u8> {
        seal(&self.later.grant, MessageStep::Grant, &[], &grant.encode())
    }

    /// Ends it, with a message for the new device: the account cannot take it.
    pub fn abort(self, reason: Abort) -> Vec<u8> {
        self.later.abort_by_old(reason)
    }
}

hidden!(OldOpened, OldComparing, OldAgreed, OldReady);
