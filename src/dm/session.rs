//! Sessions with peer devices, as rows (spec/dm, rules DM-41 to DM-46).
//!
//! ```text
//! key    DeviceId 32 | SessionId 32        value   u8 version | both parties | start | created | rank | ratchet
//! ```
//!
//! A peer device may have several sessions, because first contacts cross: all of them receive, the one of the highest
//! rank sends. Opening a new message raises a session to the top, so that the two sides meet on one.
//!
//! Invariants: every call either does all of its writes or none; a session's bytes change only after a payload opened.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::{CryptoRng, SecretBytes};
use crate::identity::{Device, DeviceId, LocalIdentity};
use crate::limits::{DM_HANDSHAKE_LEN_MAX, DM_MESSAGE_LEN_MAX, DM_SESSIONS_PER_DEVICE_MAX};
use crate::store::{Direction, Table, Tx};
use crate::time::UnixMs;

use super::handshake::{self, Chosen, Handshake, Second, Sides};
use super::prekeys::{BundleBody, OneTimeItem, PairRow, SignedRow, note_ephemeral};
use super::ratchet::{Context, Located, Ratchet, RatchetMessage};
use super::skipped::{self, Place};
use super::{DmError, Party, SessionId, all_or_nothing, decode, decode_row, encode};

/// What begins a session: `u8 version | opaque handshake<V> | opaque message<V>`.
///
/// The fields are plain vectors, because the byte vector of `tls_codec` panics on truncated input in debug builds.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct FirstMessage {
    /// An encoded [`Handshake`].
    pub handshake: Vec<u8>,
    /// A ratchet message.
    pub message: Vec<u8>,
}

impl FirstMessage {
    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a first message, its handshake and the split of its ratchet message included. It proves nothing yet.
    ///
    /// # Errors
    /// [`DmError::Malformed`], [`DmError::UnsupportedVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DmError> {
        let first: Self = decode(bytes, DM_HANDSHAKE_LEN_MAX + DM_MESSAGE_LEN_MAX)?;
        Handshake::decode(&first.handshake)?;
        RatchetMessage::decode(&first.message)?;
        Ok(first)
    }

    /// With what kind of prekey the session begins.
    ///
    /// # Errors
    /// As [`FirstMessage::decode`].
    pub fn start(&self) -> Result<Start, DmError> {
        Handshake::decode(&self.handshake).map(|handshake| Start::of(&handshake))
    }
}

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
    fn of(handshake: &Handshake) -> Self {
        if handshake.one_time.is_some() { Self::OneTime } else { Self::Weak }
    }
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
}

/// Begins a session with `peer` from its bundle, and seals its first message (rules DM-02 to DM-14).
///
/// # Errors
/// [`DmError::BadPrekey`] and [`DmError::WeakKey`] for a bundle that must not be used, [`DmError::OwnDevice`],
/// [`DmError::TooLong`], [`DmError::Store`].
#[expect(clippy::too_many_arguments, reason = "each is another noun of the handshake, and all are needed at once")]
pub fn initiate(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    body: &BundleBody,
    item: Option<&OneTimeItem>,
    ad: &[u8],
    plaintext: &[u8],
    now: UnixMs,
    rng: &mut dyn CryptoRng,
) -> Result<FirstMessage, DmError> {
    let (us_party, peer_party) = parties(us, peer)?;
    let (signed, last_resort) = body.verify(peer, now)?;
    let second = match item {
        Some(item) => {
            item.verify(peer, now)?;
            Second::Pair(item)
        }
        None => Second::LastResort(last_resort),
    };
    let sides = Sides { initiator: us_party, responder: peer_party };
    let chosen = Chosen { signed, second };
    let (handshake, id, keys) = handshake::initiate(&sides, us.dh(), peer.dh(), &chosen, rng)?;
    let ratchet = Ratchet::initiator(keys, signed.key);
    let start = Start::of(&handshake);
    let session = Session { us: us_party, peer: peer_party, start, created: now, rank: 0, ratchet };
    all_or_nothing(tx, |tx| {
        let (session, message) = session.seal(id, ad, plaintext, rng)?;
        session.add(tx, id)?;
        Ok(FirstMessage { handshake: handshake.encode(), message })
    })
}

/// Takes up a session that `peer` began, and opens its first message. The one-time pair is consumed and the ephemeral
/// key remembered, in the same step (rules DM-15 to DM-17). `_rng` is for the pq ratchet.
///
/// # Errors
/// [`DmError::Authentication`] if the message is not from `peer` for us with this `ad`; [`DmError::Replay`];
/// [`DmError::BadPrekey`]; [`DmError::WeakKey`]; [`DmError::OwnDevice`]; [`DmError::Malformed`];
/// [`DmError::UnsupportedVersion`]; [`DmError::Store`].
pub fn accept(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    first: &FirstMessage,
    ad: &[u8],
    now: UnixMs,
    _rng: &mut dyn CryptoRng,
) -> Result<SecretBytes, DmError> {
    let (us_party, peer_party) = parties(us, peer)?;
    let handshake = Handshake::decode(&first.handshake)?;
    let message = RatchetMessage::decode(&first.message)?;
    all_or_nothing(tx, |tx| {
        note_ephemeral(tx, handshake.signed, &handshake.ephemeral)?;
        let signed = SignedRow::load(tx, handshake.signed, now)?;
        let pair = handshake.one_time.map(|id| PairRow::take(tx, id, now)).transpose()?;
        let sides = Sides { initiator: peer_party, responder: us_party };
        let (id, keys) = handshake::respond(&sides, us.dh(), peer.dh(), &signed, pair.as_ref(), &handshake)?;
        let (signed_key, _) = signed.to_dh();
        let ratchet = Ratchet::responder(keys, &signed_key);
        let start = Start::of(&handshake);
        let session = Session { us: us_party, peer: peer_party, start, created: now, rank: 0, ratchet };
        let located = session.locate(id, ad, &message).ok_or(DmError::Authentication)?;
        let (session, plaintext) = session.open_new(tx, id, ad, &message, &located, now)?;
        session.add(tx, id)?;
        Ok(plaintext)
    })
}

/// Seals one message to `peer` (rule DM-41).
///
/// # Errors
/// [`DmError::NoSession`], [`DmError::TooLong`], [`DmError::ChainExhausted`], [`DmError::Store`].
pub fn seal(
    tx: &mut Tx<'_>,
    peer: DeviceId,
    ad: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, DmError> {
    let (id, session) = sessions(tx, peer)?.into_iter().next().ok_or(DmError::NoSession)?;
    let (session, message) = session.seal(id, ad, plaintext, rng)?;
    session.put(tx, id);
    Ok(message)
}

/// Opens one message of `peer` (rules DM-31, DM-42). `_rng` is for the pq ratchet.
///
/// # Errors
/// [`DmError::NoSession`]; [`DmError::Malformed`]; [`DmError::Authentication`] for what no session opens; and, for what
/// the peer itself sent: [`DmError::Replay`], [`DmError::Expired`], [`DmError::JumpTooLarge`],
/// [`DmError::CounterOutOfRange`], [`DmError::UnknownPqEpoch`], [`DmError::WeakKey`], [`DmError::StateForked`].
pub fn open(
    tx: &mut Tx<'_>,
    peer: DeviceId,
    ad: &[u8],
    message: &[u8],
    now: UnixMs,
    _rng: &mut dyn CryptoRng,
) -> Result<SecretBytes, DmError> {
    let message = RatchetMessage::decode(message)?;
    let sessions = sessions(tx, peer)?;
    let rank_max = sessions.first().map(|(_, session)| session.rank).ok_or(DmError::NoSession)?;
    let found = sessions.into_iter().find_map(|(id, session)| {
        let located = session.locate(id, ad, &message)?;
        Some((id, session, located))
    });
    let (id, session, located) = found.ok_or(DmError::Authentication)?;
    all_or_nothing(tx, |tx| match session.ratchet.stored_at(&located) {
        Some(at) => session.open_stored(tx, id, ad, &message, &located, at, now),
        None => {
            let (mut session, plaintext) = session.open_new(tx, id, ad, &message, &located, now)?;
            if session.rank < rank_max {
                session.rank = rank_max + 1;
            }
            session.put(tx, id);
            Ok(plaintext)
        }
    })
}

/// Whether there is a session with `peer`.
///
/// # Errors
/// [`DmError::Store`].
pub fn has_session(tx: &Tx<'_>, peer: DeviceId) -> Result<bool, DmError> {
    Ok(!tx.scan_prefix(Table::Sessions, peer.as_bytes(), Direction::Ascending, 1)?.is_empty())
}

/// What there is to know of the session that sends to `peer`, if there is one.
///
/// # Errors
/// [`DmError::Store`].
pub fn session_info(tx: &Tx<'_>, peer: DeviceId) -> Result<Option<SessionInfo>, DmError> {
    let newest = sessions(tx, peer)?.into_iter().next();
    Ok(newest.map(|(id, Session { start, created, .. })| SessionInfo { id, start, created }))
}

/// Deletes the seeds of skipped messages that are past their age, in all sessions: once a day is enough (rule DM-35).
///
/// # Errors
/// [`DmError::Store`].
pub fn sweep(tx: &mut Tx<'_>, now: UnixMs) -> Result<(), DmError> {
    let mut from = Vec::new();
    let end = [0xff; 65];
    while let Some((key, row)) = tx.scan(Table::Sessions, &from, &end, Direction::Ascending, 1)?.pop() {
        let mut session: Session = decode_row(&row)?;
        let id = session_id_of(&key)?;
        skipped::delete_old(tx, session.place(id), &mut session.ratchet, now)?;
        session.put(tx, id);
        from = [key, vec![0]].concat();
    }
    Ok(())
}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Session {
    us: Party,
    peer: Party,
    start: Start,
    created: UnixMs,
    rank: u64,
    ratchet: Ratchet,
}

impl Session {
    fn place(&self, session: SessionId) -> Place {
        Place { peer: self.peer.device, session }
    }

    fn seal(
        self,
        session: SessionId,
        ad: &[u8],
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>), DmError> {
        let Self { us, peer, start, created, rank, ratchet } = self;
        let context = Context { session, sender: us, recipient: peer, ad };
        let (ratchet, message) = ratchet.seal(&context, plaintext, rng)?;
        Ok((Self { us, peer, start, created, rank, ratchet }, message))
    }

    fn incoming<'c>(&self, session: SessionId, ad: &'c [u8]) -> Context<'c> {
        Context { session, sender: self.peer, recipient: self.us, ad }
    }

    fn locate(&self, id: SessionId, ad: &[u8], message: &RatchetMessage<'_>) -> Option<Located> {
        self.ratchet.locate(&self.incoming(id, ad), message)
    }

    /// Opens a message whose place was not passed before. The candidate is the caller's to write.
    fn open_new(
        self,
        tx: &mut Tx<'_>,
        id: SessionId,
        ad: &[u8],
        message: &RatchetMessage<'_>,
        located: &Located,
        now: UnixMs,
    ) -> Result<(Self, SecretBytes), DmError> {
        let (context, place) = (self.incoming(id, ad), self.place(id));
        let Self { us, peer, start, created, rank, ratchet } = self;
        let (mut ratchet, seed, changes) = ratchet.advance(located)?;
        let plaintext = ratchet.open_payload(seed, &context, located, message)?;
        skipped::apply(tx, place, changes, now)?;
        skipped::delete_old(tx, place, &mut ratchet, now)?;
        Ok((Self { us, peer, start, created, rank, ratchet }, plaintext))
    }

    /// Opens a message that was passed over, with its stored seed.
    #[expect(clippy::too_many_arguments, reason = "one call, where the parts of a message meet its place")]
    fn open_stored(
        mut self,
        tx: &mut Tx<'_>,
        id: SessionId,
        ad: &[u8],
        message: &RatchetMessage<'_>,
        located: &Located,
        at: (super::ratchet::ChainNumber, u32),
        now: UnixMs,
    ) -> Result<SecretBytes, DmError> {
        let seed = skipped::take(tx, self.place(id), at, now)?;
        let plaintext = self.ratchet.open_payload(seed, &self.incoming(id, ad), located, message)?;
        self.ratchet.forget_skipped(at.0, 1);
        skipped::delete_old(tx, self.place(id), &mut self.ratchet, now)?;
        self.put(tx, id);
        Ok(plaintext)
    }

    fn put(&self, tx: &mut Tx<'_>, id: SessionId) {
        tx.put(Table::Sessions, &row_key(self.peer.device, id), encode(self));
    }

    /// Writes a new session above all others with its peer; the lowest goes if they are too many (rule DM-44).
    fn add(mut self, tx: &mut Tx<'_>, id: SessionId) -> Result<(), DmError> {
        let others = sessions(tx, self.peer.device)?;
        self.rank = others.first().map_or(0, |(_, top)| top.rank + 1);
        for (old, session) in others.iter().skip(DM_SESSIONS_PER_DEVICE_MAX - 1) {
            skipped::delete_all(tx, session.place(*old))?;
            tx.delete(Table::Sessions, &row_key(self.peer.device, *old));
        }
        self.put(tx, id);
        Ok(())
    }
}

fn parties(us: &LocalIdentity, peer: &Device) -> Result<(Party, Party), DmError> {
    let (us, peer) = (Party::of(us.device()), Party::of(peer));
    if us.device == peer.device { Err(DmError::OwnDevice) } else { Ok((us, peer)) }
}

fn row_key(peer: DeviceId, session: SessionId) -> Vec<u8> {
    [peer.as_bytes().as_slice(), session.as_bytes()].concat()
}

fn session_id_of(key: &[u8]) -> Result<SessionId, DmError> {
    key.last_chunk().map(|id| SessionId(*id)).ok_or(DmError::Store(crate::store::StoreError::Corrupt))
}

/// All sessions with `peer`, the highest rank first.
fn sessions(tx: &Tx<'_>, peer: DeviceId) -> Result<Vec<(SessionId, Session)>, DmError> {
    let rows = tx.scan_prefix(Table::Sessions, peer.as_bytes(), Direction::Ascending, DM_SESSIONS_PER_DEVICE_MAX)?;
    let mut sessions: Vec<(SessionId, Session)> = Vec::with_capacity(rows.len());
    for (key, row) in &rows {
        sessions.push((session_id_of(key)?, decode_row(row)?));
    }
    sessions.sort_by_key(|(_, session)| std::cmp::Reverse(session.rank));
    Ok(sessions)
}
