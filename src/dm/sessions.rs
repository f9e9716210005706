//! The sessions with each peer device, as rows (spec/dm, rules DM-41 to DM-46).
//!
//! ```text
//! key    DeviceId 32 | SessionId 32        value   u8 version | session
//! ```
//!
//! A peer device may have several sessions, because first contacts cross: all of them receive, the one of the highest
//! rank sends. Opening a new message raises a session to the top, so that the two sides meet on one.
//!
//! Invariants: every call either does all of its writes or none; a session's bytes change only after a payload opened, but for
//! the mark that it has ended.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::{CryptoRng, SecretBytes};
use crate::identity::{Device, DeviceId, LocalIdentity};
use crate::limits::{
    DM_CHAIN_MESSAGES_MAX, DM_HANDSHAKE_LEN_MAX, DM_MESSAGE_LEN_MAX, DM_SESSIONS_PER_DEVICE_MAX,
    DM_SKIPPED_PER_DEVICE_MAX, DM_WORN_AFTER,
};
use crate::store::{Direction, StoreError, Table, Tx};
use crate::time::UnixMs;

use super::chunk::ChunkLen;
use super::handshake::{self, Chosen, Handshake, Second, Sides};
use super::prekeys::{BundleBody, OneTimeItem, PairRow, SignedRow, note_ephemeral};
use super::ratchet::{Ratchet, RatchetMessage};
use super::session::{Came, Life, Room, Session, SessionInfo, Start};
use super::skipped;
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
    initiate_with(tx, us, peer, body, item, ChunkLen::DEFAULT, ad, plaintext, now, rng)
}

/// As [`initiate`], in a session whose post-quantum chunks have another length than [`ChunkLen::DEFAULT`].
///
/// # Errors
/// As [`initiate`].
#[expect(clippy::too_many_arguments, reason = "each is another noun of the handshake, and all are needed at once")]
pub fn initiate_with(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    body: &BundleBody,
    item: Option<&OneTimeItem>,
    chunk_len: ChunkLen,
    ad: &[u8],
    plaintext: &[u8],
    now: UnixMs,
    rng: &mut dyn CryptoRng,
) -> Result<FirstMessage, DmError> {
    let sides = Sides { initiator: Party::of(us.device()), responder: Party::of(peer) };
    refuse_own(us, peer)?;
    let signed = body.verify_signed(peer, now)?;
    let second = match item {
        Some(item) => {
            item.verify(peer, now)?;
            Second::Pair(item)
        }
        None => Second::LastResort(body.verify_last_resort(peer)?),
    };
    let chosen = Chosen { chunk_len, signed, second };
    let (handshake, id, keys) = handshake::initiate(&sides, us.dh(), peer.dh(), &chosen, rng)?;
    let ratchet = Ratchet::initiator(id, keys, signed.key, chunk_len);
    let mut session = begin(id, peer, &handshake, ratchet, now);
    all_or_nothing(tx, |tx| {
        let message = session.seal(ad, plaintext, rng)?;
        session.add(tx)?;
        Ok(FirstMessage { handshake: handshake.encode(), message })
    })
}

/// Takes up a session that `peer` began, and opens its first message. The one-time pair is consumed and the ephemeral
/// key remembered, in the same step (rules DM-15 to DM-17).
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
) -> Result<SecretBytes, DmError> {
    accept_in(tx, us, peer, first, ad, now, Room::Make).map(|(plaintext, _)| plaintext)
}

/// As [`accept`], with the session that was taken up.
pub(super) fn accept_in(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    first: &FirstMessage,
    ad: &[u8],
    now: UnixMs,
    room: Room,
) -> Result<(SecretBytes, SessionId), DmError> {
    let sides = Sides { initiator: Party::of(peer), responder: Party::of(us.device()) };
    refuse_own(us, peer)?;
    let handshake = Handshake::decode(&first.handshake)?;
    let message = RatchetMessage::decode(&first.message)?;
    all_or_nothing(tx, |tx| {
        note_ephemeral(tx, handshake.signed, &handshake.ephemeral)?;
        let signed = SignedRow::load(tx, handshake.signed, now)?;
        let pair = handshake.one_time.map(|id| PairRow::take(tx, id, now)).transpose()?;
        let (id, keys) = handshake::respond(&sides, us.dh(), peer.dh(), &signed, pair.as_ref(), &handshake)?;
        let (signed_key, _) = signed.to_dh();
        let ratchet = Ratchet::responder(id, keys, signed_key, handshake.chunk_len);
        let mut session = begin(id, peer, &handshake, ratchet, now);
        let located = session.locate(&message).ok_or(DmError::Authentication)?;
        let (plaintext, _) = session.open_located(tx, ad, &message, &located, now, room)?;
        session.add(tx)?;
        let mut others = sessions(tx, peer.id())?;
        make_room(tx, &mut others.remove(0), others, room)?;
        Ok((plaintext, id))
    })
}

fn begin(id: SessionId, peer: &Device, handshake: &Handshake, ratchet: Ratchet, now: UnixMs) -> Session {
    let (peer, start) = (peer.id(), Start::of(handshake));
    Session { id, peer, start, created: now, rank: 0, number: 0, life: Life::Going, ratchet }
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
    let mut session = session(tx, peer)?.ok_or(DmError::NoSession)?;
    let message = session.seal(ad, plaintext, rng)?;
    session.save(tx);
    Ok(message)
}

/// Opens one message of `peer` (rules DM-31, DM-42).
///
/// # Errors
/// [`DmError::NoSession`]; [`DmError::Authentication`] for what no session opens; else as [`Session::open`].
pub fn open(tx: &mut Tx<'_>, peer: DeviceId, ad: &[u8], message: &[u8], now: UnixMs) -> Result<SecretBytes, DmError> {
    open_in(tx, peer, ad, message, now, Room::Make).map(|(plaintext, _)| plaintext)
}

/// As [`open`], with the session that opened it. The caller takes back what an error leaves.
pub(super) fn open_in(
    tx: &mut Tx<'_>,
    peer: DeviceId,
    ad: &[u8],
    message: &[u8],
    now: UnixMs,
    room: Room,
) -> Result<(SecretBytes, SessionId), DmError> {
    let message = RatchetMessage::decode(message)?;
    let mut sessions = sessions(tx, peer)?;
    let rank_max = sessions.first().map(|session| session.rank).ok_or(DmError::NoSession)?;
    let found = sessions.iter().enumerate().find_map(|(at, session)| Some((at, session.locate(&message)?)));
    let (at, located) = found.ok_or(DmError::Authentication)?;
    let mut session = sessions.swap_remove(at);
    let (plaintext, came) = session.open_located(tx, ad, &message, &located, now, room)?;
    if came == Came::InTurn && session.life == Life::Going && session.rank < rank_max {
        session.rank = rank_max + 1;
    }
    make_room(tx, &mut session, sessions, room)?;
    session.save(tx);
    Ok((plaintext, session.id))
}

/// Brings the seeds of all sessions with one device under their common bound, those of the lowest rank first (rule DM-34).
fn make_room(tx: &mut Tx<'_>, session: &mut Session, mut others: Vec<Session>, room: Room) -> Result<(), DmError> {
    let count_of = |session: &Session| session.ratchet.skipped_count();
    let total = count_of(session) + others.iter().map(count_of).sum::<u32>();
    let mut excess = total.saturating_sub(DM_SKIPPED_PER_DEVICE_MAX);
    if room == Room::Spare && excess > 0 {
        return Err(DmError::JumpTooLarge { jump: excess });
    }
    others.sort_by_key(|other| other.rank);
    for other in others.iter_mut().chain([session]) {
        let count = excess.min(count_of(other));
        if count > 0 {
            let evict = other.ratchet.give_up(count);
            skipped::delete_oldest(tx, other.place(), &evict)?;
            other.save(tx);
            excess -= count;
        }
    }
    Ok(())
}

/// How it stands with sealing to a peer device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// There is no session that seals.
    Missing,
    /// There is one, and the peer has not answered it for long: another is to be begun, if it can be (rule DM-57).
    Worn,
    /// There is one.
    Good,
}

/// How it stands with sealing to `peer`.
///
/// # Errors
/// [`DmError::Store`].
pub fn health(tx: &Tx<'_>, peer: DeviceId) -> Result<Health, DmError> {
    Ok(match session(tx, peer)? {
        None => Health::Missing,
        Some(session) if session.ratchet.unanswered_count() >= DM_WORN_AFTER => Health::Worn,
        Some(_) => Health::Good,
    })
}

/// Whether there is a session that seals to `peer`: one that has not ended.
///
/// # Errors
/// [`DmError::Store`].
pub fn has_session(tx: &Tx<'_>, peer: DeviceId) -> Result<bool, DmError> {
    Ok(session(tx, peer)?.is_some())
}

/// The session that seals to `peer`, if there is one: for who keeps it in memory, and [saves](Session::save) it.
///
/// # Errors
/// [`DmError::Store`].
pub fn session(tx: &Tx<'_>, peer: DeviceId) -> Result<Option<Session>, DmError> {
    let top = sessions(tx, peer)?.into_iter().find(|session| session.life == Life::Going);
    // A chain that is exhausted before another session could be begun seals no more (rule DM-28).
    Ok(top.filter(|session| session.ratchet.unanswered_count() < DM_CHAIN_MESSAGES_MAX))
}

/// The session under which the header of a message opens, if there is one, and whether it still seals.
pub(super) fn holder(tx: &Tx<'_>, peer: DeviceId, message: &[u8]) -> Result<Option<(SessionId, Life)>, DmError> {
    let Ok(message) = RatchetMessage::decode(message) else { return Ok(None) };
    let found = sessions(tx, peer)?.into_iter().find(|session| session.locate(&message).is_some());
    Ok(found.map(|session| (session.id, session.life)))
}

/// Ends a session with `peer` and those that came before it: they open what comes, and seal no more (rule DM-53).
pub(super) fn end_through(tx: &mut Tx<'_>, peer: DeviceId, last: SessionId) -> Result<(), DmError> {
    let mut all = sessions(tx, peer)?;
    let number = all.iter().find(|session| session.id == last).map(|session| session.number);
    for session in all.iter_mut().filter(|session| Some(session.number) <= number) {
        session.life = Life::Ended;
        session.save(tx);
    }
    Ok(())
}

/// What there is to know of the session that seals to `peer`, if there is one.
///
/// # Errors
/// [`DmError::Store`].
pub fn session_info(tx: &Tx<'_>, peer: DeviceId) -> Result<Option<SessionInfo>, DmError> {
    Ok(session(tx, peer)?.map(|session| session.info()))
}

/// Deletes the seeds of skipped messages that are past their age, in all sessions: once a day is enough (rule DM-35).
///
/// # Errors
/// [`DmError::Store`].
pub fn sweep(tx: &mut Tx<'_>, now: UnixMs) -> Result<(), DmError> {
    let mut from = Vec::new();
    let end = [0xff; 65];
    while let Some((key, row)) = tx.scan(Table::Sessions, &from, &end, Direction::Ascending, 1)?.pop() {
        let mut session = decode_session(&key, &row)?;
        skipped::delete_old(tx, session.place(), &mut session.ratchet, now)?;
        session.save(tx);
        from = [key, vec![0]].concat();
    }
    Ok(())
}

impl Session {
    /// Writes the session where it stands among those with its peer.
    pub fn save(&self, tx: &mut Tx<'_>) {
        tx.put(Table::Sessions, &row_key(self.peer, self.id), encode(self));
    }

    /// Writes a new session above all others with its peer; the lowest goes if they are too many (rule DM-44).
    fn add(mut self, tx: &mut Tx<'_>) -> Result<(), DmError> {
        let others = sessions(tx, self.peer)?;
        self.rank = others.first().map_or(0, |top| top.rank + 1);
        self.number = others.iter().map(|other| other.number + 1).max().unwrap_or(0);
        for old in others.iter().skip(DM_SESSIONS_PER_DEVICE_MAX - 1) {
            skipped::delete_all(tx, old.place())?;
            tx.delete(Table::Sessions, &row_key(old.peer, old.id));
        }
        self.save(tx);
        Ok(())
    }
}

fn refuse_own(us: &LocalIdentity, peer: &Device) -> Result<(), DmError> {
    if us.device().id() == peer.id() { Err(DmError::OwnDevice) } else { Ok(()) }
}

fn row_key(peer: DeviceId, session: SessionId) -> Vec<u8> {
    [peer.as_bytes().as_slice(), session.as_bytes()].concat()
}

/// A row, if it stands where it belongs.
fn decode_session(key: &[u8], row: &[u8]) -> Result<Session, DmError> {
    let session: Session = decode_row(row)?;
    if row_key(session.peer, session.id) == key { Ok(session) } else { Err(StoreError::Corrupt.into()) }
}

/// All sessions with `peer`, the highest rank first.
fn sessions(tx: &Tx<'_>, peer: DeviceId) -> Result<Vec<Session>, DmError> {
    let rows = tx.scan_prefix(Table::Sessions, peer.as_bytes(), Direction::Ascending, DM_SESSIONS_PER_DEVICE_MAX)?;
    let mut sessions =
        rows.iter().map(|(key, row)| decode_session(key, row)).collect::<Result<Vec<Session>, DmError>>()?;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.rank));
    Ok(sessions)
}
