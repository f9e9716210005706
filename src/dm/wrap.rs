//! What one device of a direct conversation gets: a ratchet message, and the handshake of its session until the device
//! has shown that it has it (spec/dm, rules DM-120 to DM-123).
//!
//! ```text
//! begin ──▶ unanswered ──a wrap in each log carries the handshake, and every 64th──▶ answered: a message opens in it
//! row       DeviceId 32 → u8 version | SessionId 32 | opaque handshake<V> | u32 sealed | {LogId 32, u32 sealed when it carried}<V>
//! ```
//!
//! A device reads each of its logs in order, and several logs in any order. So the first wrap for it in *each* log
//! carries the handshake, and whichever log it reads first, it can open what it reads; and later ones again, because the
//! first may have expired when the device comes.
//!
//! Everything between two devices passes through here, in whatever log or inbox it goes; so here is kept what [`Recovery`]
//! needs. Only [`refused`] is for the caller to say, because a refusal takes back everything else.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::LogId;

use crate::crypto::{CryptoRng, SecretBytes};
use crate::identity::{Device, DeviceId, LocalIdentity};
use crate::limits::{DM_HANDSHAKE_EVERY, DM_HANDSHAKE_LEN_MAX, DM_MESSAGE_LEN_MAX};
use crate::store::{Table, Tx};
use crate::time::UnixMs;

use super::handshake::Handshake;
use super::prekeys::{BundleBody, OneTimeItem};
use super::ratchet::RatchetMessage;
use super::recovery::{Opened, Recovery, Trouble};
use super::session::{Life, Room};
use super::sessions::{self, FirstMessage};
use super::{DmError, SessionId, all_or_nothing, decode, decode_row, encode};

/// One device's share of a direct message.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Wrap {
    /// The encoded [`Handshake`] of the session, or nothing.
    pub handshake: Vec<u8>,
    /// The ratchet message.
    pub message: Vec<u8>,
}

impl Wrap {
    /// The bytes that travel where a wrap stands alone, in a note (rule ENV-32).
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes one wrap, its handshake and the split of its ratchet message included. It proves nothing yet.
    ///
    /// # Errors
    /// [`DmError::Malformed`], [`DmError::UnsupportedVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DmError> {
        let wrap: Self = decode(bytes, DM_HANDSHAKE_LEN_MAX + DM_MESSAGE_LEN_MAX)?;
        if !wrap.handshake.is_empty() {
            Handshake::decode(&wrap.handshake)?;
        }
        RatchetMessage::decode(&wrap.message)?;
        Ok(wrap)
    }
}

/// A handshake that its responder has not answered.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Unanswered {
    session: SessionId,
    handshake: Vec<u8>,
    /// Messages sealed under the session.
    sealed: u32,
    /// The logs in which an entry of ours has carried it, and stands.
    carried: Vec<Carried>,
}

/// When a log last showed the handshake.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Carried {
    log: LogId,
    /// How many messages were sealed under the session by then.
    sealed: u32,
}

impl Unanswered {
    fn load(tx: &Tx<'_>, of: DeviceId) -> Result<Option<Self>, DmError> {
        tx.get(Table::Unanswered, of.as_bytes())?.map(|row| decode_row(&row)).transpose()
    }

    /// Whether the next wrap in a log, or outside of all logs, is to carry the handshake.
    fn is_due(&self, log: Option<LogId>) -> bool {
        let last = self.carried.iter().find(|carried| Some(carried.log) == log);
        last.is_none_or(|last| self.sealed - last.sealed >= DM_HANDSHAKE_EVERY)
    }

    fn save(&self, tx: &mut Tx<'_>, of: DeviceId) {
        tx.put(Table::Unanswered, of.as_bytes(), encode(self));
    }
}

/// Begins a session with `peer` from its bundle, as [`initiate`](super::initiate) does, and seals its first message. The
/// handshake is kept until the peer answers.
///
/// # Errors
/// As [`initiate`](super::initiate).
#[expect(clippy::too_many_arguments, reason = "each is another noun of the handshake, and all are needed at once")]
pub fn begin(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    body: &BundleBody,
    item: Option<&OneTimeItem>,
    ad: &[u8],
    plaintext: &[u8],
    now: UnixMs,
    rng: &mut dyn CryptoRng,
) -> Result<Wrap, DmError> {
    all_or_nothing(tx, |tx| {
        let FirstMessage { handshake, message } =
            sessions::initiate(tx, us, peer, body, item, ad, plaintext, now, rng)?;
        let session = sessions::session(tx, peer.id())?.ok_or(DmError::NoSession)?.id;
        Unanswered { session, handshake: handshake.clone(), sealed: 1, carried: Vec::new() }.save(tx, peer.id());
        let mut recovery = Recovery::load(tx, peer.id())?;
        recovery.began(session, now);
        recovery.save(tx, peer.id());
        Ok(Wrap { handshake, message })
    })
}

/// Seals for one device what goes into `log`; none is a place outside of all logs, an inbox.
///
/// # Errors
/// As [`seal`](super::seal).
pub fn seal(
    tx: &mut Tx<'_>,
    log: Option<LogId>,
    peer: DeviceId,
    ad: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Wrap, DmError> {
    all_or_nothing(tx, |tx| {
        let mut session = sessions::session(tx, peer)?.ok_or(DmError::NoSession)?;
        let message = session.seal(ad, plaintext, rng)?;
        session.save(tx);
        let mut recovery = Recovery::load(tx, peer)?;
        if recovery.sealed() {
            recovery.save(tx, peer);
        }
        let Some(mut row) = Unanswered::load(tx, peer)?.filter(|row| row.session == session.id) else {
            return Ok(Wrap { handshake: Vec::new(), message });
        };
        row.sealed += 1;
        row.save(tx, peer);
        Ok(Wrap { handshake: if row.is_due(log) { row.handshake } else { Vec::new() }, message })
    })
}

/// Takes note that an entry of ours with the handshake of `peer` stands in `log`: the next ones need not carry it.
///
/// # Errors
/// [`DmError::Store`].
pub fn carried(tx: &mut Tx<'_>, log: LogId, peer: DeviceId) -> Result<(), DmError> {
    if let Some(mut row) = Unanswered::load(tx, peer)? {
        row.carried.retain(|carried| carried.log != log);
        row.carried.push(Carried { log, sealed: row.sealed });
        row.save(tx, peer);
    }
    Ok(())
}

/// Opens what `peer` sealed for us: under a session that we have, or else under the one that its handshake begins.
///
/// # Errors
/// As [`open`](super::open) and [`accept`](super::accept); every row is as it was.
pub fn open(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    ad: &[u8],
    wrap: &Wrap,
    now: UnixMs,
) -> Result<SecretBytes, DmError> {
    open_with(tx, us, peer, ad, wrap, now, Room::Make)
}

/// As [`open`], and says what is done if it passes over more than is kept.
///
/// # Errors
/// As [`open`]; every row is as it was.
pub fn open_with(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    peer: &Device,
    ad: &[u8],
    wrap: &Wrap,
    now: UnixMs,
    room: Room,
) -> Result<SecretBytes, DmError> {
    all_or_nothing(tx, |tx| {
        let mut recovery = Recovery::load(tx, peer.id())?;
        let opened = sessions::open_in(tx, peer.id(), ad, &wrap.message, now, room);
        // A device outside the dates of its certificate goes on in its sessions, and begins none (rule DM-123).
        let may_begin = !wrap.handshake.is_empty() && peer.check_dates(now).is_ok();
        let (plaintext, session) = match opened {
            Err(DmError::NoSession | DmError::Authentication) if may_begin => {
                let (handshake, message) = (wrap.handshake.clone(), wrap.message.clone());
                let first = FirstMessage { handshake, message };
                let accepted = sessions::accept_in(tx, us, peer, &first, ad, now, room)?;
                recovery.accepted();
                accepted
            }
            opened => opened?,
        };
        recovery.opened(Opened::of(&plaintext), session);
        recovery.save(tx, peer.id());
        if let Some(row) = Unanswered::load(tx, peer.id())? {
            // Another session may open what was under way; only an answer in this one shows that the peer has it.
            let seals = sessions::session(tx, peer.id())?.is_some_and(|top| top.id == row.session);
            if row.session == session || !seals {
                tx.delete(Table::Unanswered, peer.id().as_bytes());
            }
        }
        Ok(plaintext)
    })
}

/// Takes note that [`open`] refused what `peer` sent, or is said to have sent: to be called when all else that came of it is
/// taken back. Returns the trouble if the application has to know of it (rules DM-52, DM-53).
///
/// # Errors
/// [`DmError::Store`].
pub fn refused(tx: &mut Tx<'_>, peer: DeviceId, wrap: &Wrap, error: &DmError) -> Result<Option<Trouble>, DmError> {
    let Some(trouble) = Trouble::of(error) else { return Ok(None) };
    let trouble = match sessions::holder(tx, peer, &wrap.message)? {
        // Whoever reads the log can say so in the peer's name: no session that is sound ends by it.
        None => Trouble::Unreadable,
        // What it could not follow was told when it ended.
        Some((_, Life::Ended)) => return Ok(None),
        Some((session, Life::Going)) => {
            if trouble.ends_sessions() {
                sessions::end_through(tx, peer, session)?;
            }
            trouble
        }
    };
    let mut recovery = Recovery::load(tx, peer)?;
    let told = recovery.refused(trouble);
    recovery.save(tx, peer);
    Ok(told)
}
