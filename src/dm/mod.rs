//! Direct messages between two devices: prekeys, the handshake, the double ratchet with its post-quantum companion, and
//! the rows that keep them (spec/dm).
//!
//! ```text
//! replenish ──▶ directory ──▶ BundleBody, OneTimeItem ──▶ initiate ──▶ FirstMessage ──▶ accept
//!                                                        then: seal ⇄ open
//! ```
//!
//! | file | noun |
//! |---|---|
//! | `prekeys` | what a device publishes, and what it keeps of it |
//! | `handshake` | four keys and a session id from one message |
//! | `ratchet`, `skipped` | chains and headers; the seeds of messages that were passed over |
//! | `pq`, `chunk` | the post-quantum ratchet, and the pieces in which its keys travel |
//! | `session`, `sessions` | one session; all that there are with a device, as rows |
//! | `wrap`, `fanout` | what one device gets of a message for many |
//! | `recovery` | what is kept of a peer device to find back to a common session |
//! | `steps` | the key schedule in single steps, for who checks it |
//!
//! Invariants: everything is keyed by the peer's [`DeviceId`]; a call that fails leaves every row as it was; nothing
//! changes before the payload has opened.
//!
//! Leaves out who sends heartbeats and begins anew: `recovery` decides when, `wrap` keeps what it needs for that, the engine acts.

mod chunk;
pub mod fanout;
mod handshake;
mod keys;
mod pq;
mod prekeys;
mod ratchet;
mod recovery;
mod session;
mod sessions;
mod skipped;
pub mod steps;
pub mod wrap;

#[cfg(fuzzing)]
pub mod fuzzing;

pub use chunk::ChunkLen;
pub use handshake::Handshake;
pub use pq::PqEpoch;
pub use prekeys::{BundleBody, OneTimeItem, PrekeyFault, PrekeyId, Publication, is_rotation_due, replenish};
pub use ratchet::{MESSAGE_OVERHEAD_LEN_MIN, RatchetMessage, message_overhead_len};
pub use recovery::{Begin, Opened, Recovery, Trouble};
pub use session::{Room, Session, SessionInfo, Start};
pub use sessions::{
    FirstMessage, Health, accept, has_session, health, initiate, initiate_with, open, seal, session, session_info,
    sweep,
};

use std::fmt;

use tls_codec::{DeserializeBytes, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::identity::{AccountId, Device, DeviceId};
use crate::store::{StoreError, Tx};

/// The version of the direct layer, bound into every transcript and associated data (rule DM-01).
pub const VERSION: u8 = 1;

/// Why a direct operation was refused. In every case all rows are as they were before the call.
///
/// Which variant it is stays on this device: nothing is ever answered to whoever sent the bytes (rule DM-37).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DmError {
    /// The message opens under no session with this device: forged, changed, meant for another, or of a lost session.
    Authentication,
    /// There is no session with this device: initiate one, or wait for its first message.
    NoSession,
    /// A prekey cannot be used: fetch the bundle again.
    BadPrekey {
        /// What is wrong with it.
        fault: PrekeyFault,
    },
    /// The message came before, or the seed of its key was given up.
    Replay,
    /// The seed of the message's key was kept too long.
    Expired,
    /// The peer passed over more messages than the bound.
    JumpTooLarge {
        /// How many.
        jump: u32,
    },
    /// The peer's header names counters or a ratchet key that no honest sender reaches.
    CounterOutOfRange,
    /// The peer's header names a pq epoch whose key we do not have, or have given up.
    UnknownPqEpoch {
        /// The epoch.
        epoch: PqEpoch,
    },
    /// What the peer sends for the next pq epoch contradicts itself or our key: its state was rolled back or cloned, or it
    /// is broken. Initiate anew.
    PqMismatch,
    /// The peer answers a message that our state never sent: the state was rolled back or cloned. Initiate anew.
    StateForked,
    /// A public key of the peer has low order, is not canonical or fails the modulus check.
    WeakKey,
    /// The bytes are not an encoding of what was expected.
    Malformed,
    /// The bytes are of another version of this protocol.
    UnsupportedVersion {
        /// The version.
        version: u8,
    },
    /// A device holds no session with itself.
    OwnDevice,
    /// The bound of messages in one chain is reached: wait for an answer of the peer.
    ChainExhausted,
    /// The plaintext is past its bound.
    TooLong,
    /// More one-time pairs were asked for than one publication takes.
    TooMany,
    /// More first messages came for one signed prekey than are remembered against replay: it takes no more, its successor
    /// does.
    ReplayMemoryFull,
    /// The store failed; the client is poisoned.
    Store(StoreError),
}

impl From<StoreError> for DmError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for DmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authentication => f.write_str("the message does not open under any session with this device"),
            Self::NoSession => f.write_str("there is no session with this device"),
            Self::BadPrekey { fault } => write!(f, "the prekey cannot be used: {fault}"),
            Self::Replay => f.write_str("the message came before, or its key was given up"),
            Self::Expired => f.write_str("the key of the message was kept too long"),
            Self::JumpTooLarge { jump } => write!(f, "the peer passed over {jump} messages"),
            Self::CounterOutOfRange => f.write_str("the peer's header is out of range"),
            Self::UnknownPqEpoch { epoch } => write!(f, "the pq epoch {} is unknown", epoch.as_u32()),
            Self::PqMismatch => f.write_str("the peer's post-quantum chunks contradict each other or our key"),
            Self::StateForked => f.write_str("the peer answers a message that this state never sent"),
            Self::WeakKey => f.write_str("a public key of the peer is weak or malformed"),
            Self::Malformed => f.write_str("the bytes are malformed"),
            Self::UnsupportedVersion { version } => write!(f, "the version {version} is not supported"),
            Self::OwnDevice => f.write_str("a device holds no session with itself"),
            Self::ChainExhausted => f.write_str("the sending chain is exhausted until the peer answers"),
            Self::TooLong => f.write_str("the plaintext is too long"),
            Self::TooMany => f.write_str("too many one-time pairs were asked for"),
            Self::ReplayMemoryFull => f.write_str("the signed prekey has taken all the first messages that it may"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DmError {}

/// Names a session: the hash of its handshake's transcript, 32 bytes (rule DM-14).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// One side of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Party {
    account: AccountId,
    device: DeviceId,
}

impl Party {
    fn of(device: &Device) -> Self {
        Self { account: device.account(), device: device.id() }
    }
}

/// Runs `step`; if it fails, takes back what it wrote.
fn all_or_nothing<T>(tx: &mut Tx<'_>, step: impl FnOnce(&mut Tx<'_>) -> Result<T, DmError>) -> Result<T, DmError> {
    let mark = tx.mark();
    let result = step(tx);
    if result.is_err() {
        tx.undo_to(mark);
    }
    result
}

/// Encodes a structure behind its version byte.
fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + value.tls_serialized_len());
    bytes.push(VERSION);
    value.tls_serialize(&mut bytes).expect("writing to a Vec does not fail, and every field is bounded");
    bytes
}

/// Decodes what [`encode`] made: the version, the one encoding of the value, nothing behind it.
fn decode<T: DeserializeBytes + Serialize>(bytes: &[u8], len_max: usize) -> Result<T, DmError> {
    let (version, body) = bytes.split_first().ok_or(DmError::Malformed)?;
    if *version != VERSION {
        return Err(DmError::UnsupportedVersion { version: *version });
    }
    let is_bounded = bytes.len() <= len_max;
    let value = is_bounded.then(|| T::tls_deserialize_exact_bytes(body).ok()).flatten().ok_or(DmError::Malformed)?;
    // A length in more bytes than it needs would be a second encoding of the same value.
    if encode(&value) == bytes { Ok(value) } else { Err(DmError::Malformed) }
}

/// Reads a row that [`encode`] wrote. Rows are ours: what does not decode is damage, or of a newer version.
fn decode_row<T: DeserializeBytes>(bytes: &[u8]) -> Result<T, DmError> {
    match bytes.split_first() {
        Some((&VERSION, body)) => T::tls_deserialize_exact_bytes(body).map_err(|_| StoreError::Corrupt.into()),
        Some((version, _)) if *version > VERSION => Err(StoreError::TooNew.into()),
        _ => Err(StoreError::Corrupt.into()),
    }
}
