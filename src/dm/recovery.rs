//! How two devices that no longer share a session find back to one (spec/dm, rules DM-50 to DM-56): what is owed to a peer
//! device, and when a new session may begin. It decides; the engine acts.
//!
//! ```text
//!            a message that tells of trouble                      accepts, or ours is answered
//!   calm ──────────────────────────────────────▶ in trouble ──────────────────────────────────▶ calm
//!                                                  │    ▲
//!                                                  └────┘ begins a session, at most one in an hour
//! ```
//!
//! Invariants: no clock and no peer can stop recovery for longer than an hour, nor make it begin more than one session in
//! one; heartbeats answer no heartbeats.
//!
//! ```text
//! key    DeviceId 32        value   u8 version | u32 unanswered | optional u64 begun_at ms | optional u8 trouble | SessionId<V> begun
//! ```
//!
//! [`wrap`](super::wrap) keeps the row, in whatever seals, opens and is refused. Leaves out which messages are sent again:
//! those that never opened are missed by number, in the envelope.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::identity::DeviceId;
use crate::limits::{DM_HEARTBEAT_AFTER, DM_RECOVERY_INTERVAL, DM_SESSIONS_PER_DEVICE_MAX};
use crate::store::{Table, Tx};
use crate::time::UnixMs;

use super::{DmError, SessionId, decode_row, encode};

/// What is wrong between us and a peer device; the later, the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Trouble {
    /// No session opens what the peer sent, or so somebody says: one of us has lost a session, or it is garbage.
    Unreadable = 1,
    /// The peer is further ahead than we follow: what lay between has expired.
    Behind = 2,
    /// The peer sent again in a place that is used up: it was rolled back or cloned, or the seed was given up.
    PeerFork = 3,
    /// The peer holds the keys of a session, and what it says cannot be followed.
    Apart = 4,
    /// The peer answers what our state never sent: we were rolled back or cloned.
    OwnFork = 5,
}

impl Trouble {
    /// What a refused message tells; none for what is the message's own fault, or the store's.
    pub const fn of(error: &DmError) -> Option<Self> {
        match error {
            DmError::Authentication | DmError::NoSession | DmError::BadPrekey { .. } | DmError::ReplayMemoryFull => {
                Some(Self::Unreadable)
            }
            DmError::JumpTooLarge { .. } => Some(Self::Behind),
            DmError::Replay => Some(Self::PeerFork),
            DmError::CounterOutOfRange | DmError::UnknownPqEpoch { .. } | DmError::PqMismatch | DmError::WeakKey => {
                Some(Self::Apart)
            }
            DmError::StateForked => Some(Self::OwnFork),
            DmError::Expired
            | DmError::Malformed
            | DmError::UnsupportedVersion { .. }
            | DmError::OwnDevice
            | DmError::ChainExhausted
            | DmError::TooLong
            | DmError::TooMany
            | DmError::Store(_) => None,
        }
    }

    /// Whether the session that showed it, and those before it, seal no more (rule DM-53).
    pub const fn ends_sessions(self) -> bool {
        matches!(self, Self::Apart | Self::OwnFork)
    }
}

/// What a message that opened carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// Something for the application.
    Content,
    /// Nothing: the peer only lets the ratchets turn.
    Heartbeat,
}

impl Opened {
    /// A heartbeat is what is empty (rule DM-50).
    pub const fn of(plaintext: &[u8]) -> Self {
        if plaintext.is_empty() { Self::Heartbeat } else { Self::Content }
    }
}

/// Whether a session is to be begun with a peer device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// There is no trouble.
    No,
    /// At once.
    Now,
    /// Not before this instant.
    At {
        /// An hour after the last one.
        instant: UnixMs,
    },
}

/// What is kept for recovery with one peer device.
#[derive(Clone, PartialEq, Eq, Debug, Default, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Recovery {
    /// Messages that opened since we last sealed one, heartbeats not counted.
    unanswered: u32,
    /// When we last began a session out of trouble.
    begun_at: Option<UnixMs>,
    trouble: Option<Trouble>,
    /// The sessions that we began since the trouble came or became worse, newest first; at most as many as
    /// there are sessions.
    begun: Vec<SessionId>,
}

impl Recovery {
    /// What is kept of a peer device.
    ///
    /// # Errors
    /// [`DmError::Store`].
    pub fn load(tx: &Tx<'_>, of: DeviceId) -> Result<Self, DmError> {
        tx.get(Table::Recovery, of.as_bytes())?.map_or(Ok(Self::default()), |row| decode_row(&row))
    }

    pub(super) fn save(&self, tx: &mut Tx<'_>, of: DeviceId) {
        tx.put(Table::Recovery, of.as_bytes(), encode(self));
    }

    /// The trouble that there is.
    pub const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Whether a heartbeat is owed to the peer (rule DM-50).
    pub const fn owes_heartbeat(&self) -> bool {
        self.unanswered >= DM_HEARTBEAT_AFTER
    }

    /// A message was sealed to the peer, be it a heartbeat. Whether that changes anything.
    pub fn sealed(&mut self) -> bool {
        std::mem::take(&mut self.unanswered) > 0
    }

    /// A message of the peer opened, under this session (rules DM-51, DM-56).
    pub fn opened(&mut self, opened: Opened, session: SessionId) {
        if opened == Opened::Content {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        if self.begun.contains(&session) {
            self.calm();
        }
    }

    /// What the peer sent tells of trouble. Returns it if the application has to know: it is new or worse (rule DM-52).
    pub fn refused(&mut self, trouble: Trouble) -> Option<Trouble> {
        if Some(trouble) <= self.trouble {
            return None;
        }
        self.trouble = Some(trouble);
        self.begun.clear();
        Some(trouble)
    }

    /// Whether to begin a session now (rules DM-54, DM-55).
    pub fn begin(&self, now: UnixMs) -> Begin {
        let wait = self.begun_at.filter(|begun| *begun <= now).map(|begun| begun.after(DM_RECOVERY_INTERVAL));
        match (self.trouble, wait) {
            (None, _) => Begin::No,
            (Some(_), Some(instant)) if now < instant => Begin::At { instant },
            (Some(_), _) => Begin::Now,
        }
    }

    /// A session was begun with the peer, in the step that writes this.
    pub fn began(&mut self, session: SessionId, now: UnixMs) {
        self.begun_at = Some(now);
        self.unanswered = 0;
        if self.trouble.is_some() {
            self.begun.truncate(DM_SESSIONS_PER_DEVICE_MAX - 1);
            self.begun.insert(0, session);
        }
    }

    /// A session of the peer was accepted (rule DM-56).
    pub fn accepted(&mut self) {
        self.calm();
    }

    fn calm(&mut self) {
        self.trouble = None;
        self.begun.clear();
    }
}
