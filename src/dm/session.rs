//! One session with a peer device, as a value: what seals and opens, without a word about where it is kept
//! (spec/dm, rules DM-20 to DM-37).
//!
//! Invariants: a call that fails has changed nothing, neither here nor among the stored seeds; after a crash the state that
//! was kept last is safe to go on from, because every message draws 16 random bytes that enter its key.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::{CryptoRng, SecretBytes};
use crate::identity::DeviceId;
use crate::store::Tx;
use crate::time::UnixMs;

use super::handshake::Handshake;
use super::pq::PqEpoch;
use super::ratchet::{Located, Ratchet, RatchetMessage};
use super::skipped::{self, Place};
use super::{DmError, SessionId, all_or_nothing};

/// With what kind of prekey a session began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Start {
    /// With a one-time pair.
    OneTime = 1,
    /// Without: until the first answer, whoever steals the responder's prekeys reads it. Its prekeys may have been
    /// drained on purpose.
    Weak = 2,
}

impl Start {
    pub(super) fn of(handshake: &Handshake) -> Self {
        if handshake.one_time.is_some() { Self::OneTime } else { Self::Weak }
    }
}

/// Whether a session still seals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Life {
    Going = 1,
    /// Its state is apart from the peer's: it opens, and seals no more (rule DM-53).
    Ended = 2,
}

/// What an app or an auditor may know of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Names the session; equal on both sides.
    pub id: SessionId,
    /// How it began.
    pub start: Start,
    /// When it began, by our clock.
    pub created: UnixMs,
    /// The post-quantum epoch that our messages name.
    pub pq_epoch: PqEpoch,
    /// Messages sealed and opened since that epoch began: a state stolen before it and the one before it reads none of them,
    /// even with a quantum computer (rule DM-102).
    pub messages_since_pq_heal: u64,
}

/// A session with one peer device.
///
/// [`sessions`](super::session) loads it, [`Session::save`] keeps it. Whoever seals keeps the session before the message
/// leaves the device.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Session {
    pub(super) id: SessionId,
    pub(super) peer: DeviceId,
    pub(super) start: Start,
    pub(super) created: UnixMs,
    /// Among the sessions with its peer: the highest seals.
    pub(super) rank: u64,
    /// Among the sessions with its peer, in the order in which they came here: it never changes.
    pub(super) number: u64,
    pub(super) life: Life,
    pub(super) ratchet: Ratchet,
}

/// What is done if a message passes over more than is kept (rule DM-34).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// The oldest seeds are given up.
    Make,
    /// The message is refused ([`DmError::JumpTooLarge`]), and can be opened later: what it passes over may be in a log that is
    /// yet to be read.
    Spare,
}

/// Whether a message was passed over before it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    InTurn,
    Late,
}

impl Session {
    /// What there is to know of it.
    pub fn info(&self) -> SessionInfo {
        let Self { id, start, created, ratchet, .. } = self;
        SessionInfo {
            id: *id,
            start: *start,
            created: *created,
            pq_epoch: ratchet.pq().epoch(),
            messages_since_pq_heal: ratchet.pq().messages_since_heal(),
        }
    }

    /// Seals one message; `ad` is what the peer must know alike.
    ///
    /// # Errors
    /// [`DmError::TooLong`], [`DmError::ChainExhausted`].
    pub fn seal(&mut self, ad: &[u8], plaintext: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, DmError> {
        self.ratchet.seal(ad, plaintext, rng)
    }

    /// Opens one message. The seeds of messages that it passes over go into `tx`, and come from there.
    ///
    /// # Errors
    /// [`DmError::Malformed`]; [`DmError::Authentication`] for what this session does not open; and, for what the peer
    /// itself sent: [`DmError::Replay`], [`DmError::Expired`], [`DmError::JumpTooLarge`], [`DmError::CounterOutOfRange`],
    /// [`DmError::UnknownPqEpoch`], [`DmError::PqMismatch`], [`DmError::WeakKey`], [`DmError::StateForked`].
    pub fn open(&mut self, tx: &mut Tx<'_>, ad: &[u8], message: &[u8], now: UnixMs) -> Result<SecretBytes, DmError> {
        let message = RatchetMessage::decode(message)?;
        let located = self.locate(&message).ok_or(DmError::Authentication)?;
        self.open_located(tx, ad, &message, &located, now, Room::Make).map(|(plaintext, _)| plaintext)
    }

    pub(super) fn locate(&self, message: &RatchetMessage<'_>) -> Option<Located> {
        self.ratchet.locate(message)
    }

    /// After an error with [`Room::Spare`] this value is not to be kept.
    pub(super) fn open_located(
        &mut self,
        tx: &mut Tx<'_>,
        ad: &[u8],
        message: &RatchetMessage<'_>,
        located: &Located,
        now: UnixMs,
        room: Room,
    ) -> Result<(SecretBytes, Came), DmError> {
        let place = self.place();
        if let Some(at) = self.ratchet.stored_at(located) {
            let opened = all_or_nothing(tx, |tx| {
                let seed = skipped::take(tx, place, at, now)?;
                self.ratchet.open_payload(seed, ad, located, message)
            });
            // A key that was given up says of a late message that it is too late, and nothing of the session.
            let opened = opened.map_err(|error| match error {
                DmError::UnknownPqEpoch { .. } => DmError::Expired,
                error => error,
            })?;
            let (plaintext, _) = self.ratchet.commit(None, opened);
            self.ratchet.forget_skipped(at.0, 1);
            return Ok((plaintext, Came::Late));
        }
        let (advance, seed) = self.ratchet.advance(located)?;
        let opened = self.ratchet.open_payload(seed, ad, located, message)?;
        let (plaintext, changes) = self.ratchet.commit(Some(advance), opened);
        let lost = changes.unkept + changes.evict.iter().map(|(_, count)| count).sum::<u32>();
        if room == Room::Spare && lost > 0 {
            let jump = changes.unkept + changes.store.len() as u32;
            return Err(DmError::JumpTooLarge { jump });
        }
        if !changes.store.is_empty() || !changes.evict.is_empty() {
            skipped::apply(tx, place, changes, now)?;
            skipped::delete_old(tx, place, &mut self.ratchet, now)?;
        }
        Ok((plaintext, Came::InTurn))
    }

    pub(super) fn place(&self) -> Place {
        Place { peer: self.peer, session: self.id }
    }
}
