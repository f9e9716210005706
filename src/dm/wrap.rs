//! What one device of a direct conversation gets: a ratchet message, and the handshake of its session until the device
//! has shown that it has it (spec/dm, rules DM-120 to DM-123).
//!
//! ```text
//! begin ──▶ unanswered ──a wrap in each log carries the handshake──▶ answered: the device has sent something
//! row       DeviceId 32 → u8 version | opaque handshake<V> | LogId<V> logs that have carried it
//! ```
//!
//! A device reads each of its logs in order, and several logs in any order. So the first wrap for it in *each* log
//! carries the handshake, and whichever log it reads first, it can open what it reads.
//!
//! Everything between two devices passes through here, in whatever log or inbox it goes; so here is kept what [`Recovery`]
//! needs. Only [`refused`] is for the caller to say, because a refusal takes back everything else.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::LogId;

use crate::crypto::{CryptoRng, SecretBytes};
use crate::identity::{Device, DeviceId, LocalIdentity};
use crate::limits::{DM_HANDSHAKE_LEN_MAX, DM_MESSAGE_LEN_MAX};
use crate::store::{Table, Tx};
use crate::time::UnixMs;

use super::handshake::Handshake;
use super::prekeys::{BundleBody, OneTimeItem};
use super::ratchet::RatchetMessage;
use super::recovery::{Opened, Recovery, Trouble};
use super::session::Life;
use super::sessions::{self, FirstMessage};
use super::{DmError, all_or_nothing, decode, decode_row, encode};

/// One device's share of a direct message.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Wrap {
    /// The encoded [`Handshake`](super::Handshake) of the session, or nothing.
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
    handshake: Vec<u8>,
    /// The logs in which an entry of ours has carried it, and stands.
    carried: Vec<LogId>,
}

impl Unanswered {
    fn load(tx: &Tx<'_>, of: DeviceId) -> Result<Option<Self>, DmError> {
        tx.get(Table::Unanswered, of.as_bytes())?.map(|row| decode_row(&row)).transpose()
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
        Unanswered { handshake: handshake.clone(), carried: Vec::new() }.save(tx, peer.id());
        let session = sessions::session(tx, peer.id())?.ok_or(DmError::NoSession)?.id;
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
        let message = sessions::seal(tx, peer, ad, plaintext, rng)?;
        let unanswered = Unanswered::load(tx, peer)?.filter(|row| log.is_none_or(|log| !row.carried.contains(&log)));
        let mut recovery = Recovery::load(tx, peer)?;
        recovery.sealed();
        recovery.save(tx, peer);
        Ok(Wrap { handshake: unanswered.map(|row| row.handshake).unwrap_or_default(), message })
    })
}

/// Takes note that an entry of ours with the handshake of `peer` stands in `log`: later ones need not carry it.
///
/// # Errors
/// [`DmError::Store`].
pub fn carried(tx: &mut Tx<'_>, log: LogId, peer: DeviceId) -> Result<(), DmError> {
    if let Some(mut row) = Unanswered::load(tx, peer)?
        && !row.carried.contains(&log)
    {
        row.carried.push(log);
        row.save(tx, peer);
    }
    Ok(())
}

/// Opens what `peer` sealed for us: under a session that we have, or else under the one that its handshake begins. What
/// opens shows that the peer has the session under which we send to it.
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
    all_or_nothing(tx, |tx| {
        let mut recovery = Recovery::load(tx, peer.id())?;
        let opened = sessions::open_in(tx, peer.id(), ad, &wrap.message, now);
        // A device outside the dates of its certificate goes on in its sessions, and begins none (rule DM-123).
        let may_begin = !wrap.handshake.is_empty() && peer.check_dates(now).is_ok();
        let (plaintext, session) = match opened {
            Err(DmError::NoSession | DmError::Authentication) if may_begin => {
                let (handshake, message) = (wrap.handshake.clone(), wrap.message.clone());
                let first = FirstMessage { handshake, message };
                let accepted = sessions::accept_in(tx, us, peer, &first, ad, now)?;
                recovery.accepted();
                accepted
            }
            opened => opened?,
        };
        recovery.opened(Opened::of(&plaintext), session);
        recovery.save(tx, peer.id());
        tx.delete(Table::Unanswered, peer.id().as_bytes());
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
