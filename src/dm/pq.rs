//! The post-quantum ratchet (spec/dm, rules DM-90 to DM-102): a sparse continuous key agreement on ML-KEM-768, whose key
//! enters every message key. A pure state machine.
//!
//! ```text
//!               the side that offers in epoch e + 1             the side that answers
//!
//!   Due ──seal: draws a key──▶ Offering ══ key, in chunks ══▶ Collecting ──all there──▶ Offered
//!                                 ║                                                       │ seal: encapsulates
//!   epoch e + 1 ◀──all there──    ╚◀═ ciphertext and confirmation, in chunks ═══════ Answering
//!   Collecting                                                                            │
//!        ╚═══════════════ a message of epoch e + 1 opens ═════════════════════════▶ epoch e + 1, Due
//! ```
//!
//! The initiator offers in odd epochs, the responder in even ones. Each message carries at most one chunk, which belongs to
//! the epoch behind the one that its header names.
//!
//! Invariants: a side names an epoch only when the other has its key; nothing changes before the payload that carried the
//! chunk has opened; the key of an epoch depends on the one before it, so that one honest encapsulation heals and none
//! weakens.
//!
//! Differs from Signal's ML-KEM Braid: the key and the ciphertext travel one behind the other and whole (adr/0014), so that
//! any implementation of FIPS 203 serves.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;

use crate::crypto::CryptoRng;
use crate::crypto::kem::{self, KemCiphertext, KemPublic, KemSecret};
use crate::limits::DM_PQ_EPOCHS_KEPT;

use super::chunk::{ChunkIndex, ChunkLen, Collected, Collector, Cutter, NO_CHUNK};
use super::keys::{KemSeed, PqConfirmation, PqKey};
use super::{DmError, SessionId};

/// Bytes of an answer: the ciphertext and the confirmation.
const ANSWER_LEN: usize = kem::CIPHERTEXT_LEN + 32;

/// Counts the epochs of the post-quantum ratchet in one session. Epoch 0 has the handshake's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct PqEpoch(u32);

impl PqEpoch {
    /// The epoch of the handshake.
    pub const FIRST: Self = Self(0);

    /// Takes the number.
    pub const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// Which part a side had in the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub(super) enum Role {
    Initiator = 1,
    Responder = 2,
}

/// The state of one session's post-quantum ratchet.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct PqRatchet {
    session: SessionId,
    role: Role,
    chunk_len: ChunkLen,
    /// The epoch that our messages name.
    epoch: PqEpoch,
    /// The keys of the newest epochs, from that one back.
    keys: Vec<PqKey>,
    turn: Turn,
    /// Messages sealed and opened since the epoch began.
    messages_since_heal: u64,
}

/// What is under way to the next epoch.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
enum Turn {
    /// Ours to offer, with the next message.
    #[tls_codec(discriminant = 1)]
    Due,
    /// Our key goes out, their answer comes in.
    #[tls_codec(discriminant = 2)]
    Offering { seed: KemSeed, offer: Cutter, answer: Collector },
    /// Their key comes in.
    #[tls_codec(discriminant = 3)]
    Collecting { offer: Collector },
    /// Their key is there, and well-formed; ours to answer, with the next message.
    #[tls_codec(discriminant = 4)]
    Offered { offer: VLBytes },
    /// Our answer goes out, until they use the next key.
    #[tls_codec(discriminant = 5)]
    Answering { next: PqKey, answer: Cutter },
    /// The numbers are used up: the session goes on in its last epoch.
    #[tls_codec(discriminant = 6)]
    Ended,
}

/// What an opened payload does to the ratchet, once all else is known to be right.
#[derive(Debug)]
pub(super) struct PqChange {
    /// They use the key of our answer.
    enters: bool,
    turn: Change,
}

#[derive(Debug)]
enum Change {
    None,
    Keep { index: ChunkIndex, chunk: Vec<u8> },
    Offered { offer: Vec<u8> },
    Agreed { key: PqKey },
}

impl PqRatchet {
    pub(super) fn new(session: SessionId, role: Role, chunk_len: ChunkLen, key: PqKey) -> Self {
        let mut ratchet = Self {
            session,
            role,
            chunk_len,
            epoch: PqEpoch::FIRST,
            keys: vec![key],
            turn: Turn::Ended,
            messages_since_heal: 0,
        };
        ratchet.turn = ratchet.first_turn();
        ratchet
    }

    pub(super) fn epoch(&self) -> PqEpoch {
        self.epoch
    }

    pub(super) fn chunk_len(&self) -> ChunkLen {
        self.chunk_len
    }

    pub(super) fn messages_since_heal(&self) -> u64 {
        self.messages_since_heal
    }

    /// The key of our messages.
    pub(super) fn sending_key(&self) -> &PqKey {
        self.keys.first().expect("there is a key from the handshake on")
    }

    /// The key of a message that names `epoch`.
    ///
    /// # Errors
    /// [`DmError::UnknownPqEpoch`] for an epoch that was not agreed on, or whose key was given up.
    pub(super) fn receiving_key(&self, epoch: PqEpoch) -> Result<&PqKey, DmError> {
        if self.is_answered(epoch)
            && let Turn::Answering { next, .. } = &self.turn
        {
            return Ok(next);
        }
        let back = self.epoch.0.checked_sub(epoch.0).and_then(|back| usize::try_from(back).ok());
        back.and_then(|back| self.keys.get(back)).ok_or(DmError::UnknownPqEpoch { epoch })
    }

    /// Appends what a message carries: `u8 index | chunk`, zeros behind [`NO_CHUNK`] (rule DM-93). Draws a key or encapsulates
    /// if it is time.
    pub(super) fn send(&mut self, into: &mut Vec<u8>, rng: &mut dyn CryptoRng) {
        match std::mem::replace(&mut self.turn, Turn::Ended) {
            Turn::Due => {
                let secret = KemSecret::random(rng);
                let offer = Cutter::new(secret.public().as_bytes().to_vec());
                self.turn = Turn::Offering { seed: KemSeed::of(&secret), offer, answer: Collector::new() };
            }
            Turn::Offered { offer } => self.turn = self.answer(offer.as_slice(), rng),
            other => self.turn = other,
        }
        let (index_at, end) = (into.len(), into.len() + 1 + self.chunk_len.as_usize());
        into.push(NO_CHUNK);
        let cutter = match &mut self.turn {
            // Once they answer, they have it.
            Turn::Offering { offer, answer, .. } if answer.is_empty() => Some(offer),
            Turn::Answering { answer, .. } => Some(answer),
            _ => None,
        };
        if let Some(cutter) = cutter {
            into[index_at] = cutter.cut(self.chunk_len, into).as_u8();
        }
        into.resize(end, 0);
        self.messages_since_heal += 1;
    }

    /// What a chunk does that came with a message which named `epoch` (rules DM-96 to DM-100).
    ///
    /// # Errors
    /// [`DmError::PqMismatch`] for chunks that are not pieces of one value, or an answer that does not confirm our key;
    /// [`DmError::WeakKey`] for an offer that is no encapsulation key. The peer, not a stranger, sent it.
    pub(super) fn receive(&self, epoch: PqEpoch, index: u8, chunk: &[u8]) -> Result<PqChange, DmError> {
        let enters = self.is_answered(epoch);
        let unchanged = Ok(PqChange { enters, turn: Change::None });
        // A message that enters the next epoch is of the side that collects now, and carries nothing.
        let (Some(index), false) = (ChunkIndex::from_u8(index), enters || epoch != self.epoch) else {
            return unchanged;
        };
        let (collector, value_len) = match &self.turn {
            Turn::Offering { answer, .. } => (answer, ANSWER_LEN),
            Turn::Collecting { offer } => (offer, kem::PUBLIC_LEN),
            _ => return unchanged,
        };
        let turn = match collector.examine(index, chunk, value_len, self.chunk_len) {
            Collected::Known => Change::None,
            Collected::Contradiction => return Err(DmError::PqMismatch),
            Collected::More => Change::Keep { index, chunk: chunk.to_vec() },
            Collected::Whole(value) => match &self.turn {
                Turn::Offering { seed, offer, .. } => Change::Agreed { key: self.agree(seed, offer.value(), &value)? },
                _ => {
                    public_key(&value).check().map_err(|_| DmError::WeakKey)?;
                    Change::Offered { offer: value }
                }
            },
        };
        Ok(PqChange { enters, turn })
    }

    /// Makes a change that [`PqRatchet::receive`] found.
    pub(super) fn commit(&mut self, change: PqChange) {
        let PqChange { enters, turn } = change;
        self.messages_since_heal += 1;
        if enters && let Turn::Answering { next, .. } = std::mem::replace(&mut self.turn, Turn::Ended) {
            self.enter(next);
        }
        match (turn, &mut self.turn) {
            (Change::Keep { index, chunk }, Turn::Offering { answer: into, .. } | Turn::Collecting { offer: into }) => {
                into.keep(index, &chunk);
            }
            (Change::Offered { offer }, turn) => *turn = Turn::Offered { offer: offer.into() },
            (Change::Agreed { key }, _) => self.enter(key),
            _ => {}
        }
    }

    /// Whether `epoch` is the one that our answer brings.
    fn is_answered(&self, epoch: PqEpoch) -> bool {
        matches!(self.turn, Turn::Answering { .. }) && self.epoch.next() == Some(epoch)
    }

    fn enter(&mut self, key: PqKey) {
        self.epoch = self.epoch.next().expect("a side that ended its turns agrees on nothing");
        self.keys.insert(0, key);
        self.keys.truncate(DM_PQ_EPOCHS_KEPT);
        self.messages_since_heal = 0;
        self.turn = self.first_turn();
    }

    /// What an epoch begins with: the initiator offers in odd epochs, the responder in even ones.
    fn first_turn(&self) -> Turn {
        match self.epoch.next() {
            None => Turn::Ended,
            Some(next) if (next.0 % 2 == 1) == (self.role == Role::Initiator) => Turn::Due,
            Some(_) => Turn::Collecting { offer: Collector::new() },
        }
    }

    fn answer(&self, offer: &[u8], rng: &mut dyn CryptoRng) -> Turn {
        let (ciphertext, shared) =
            public_key(offer).encapsulate(rng).expect("the key was checked when its last chunk came");
        let (next, confirmation) = self.next_key(&shared, offer, ciphertext.as_bytes());
        let answer = [ciphertext.as_bytes(), confirmation.as_secret().expose().as_slice()].concat();
        Turn::Answering { next, answer: Cutter::new(answer) }
    }

    fn agree(&self, seed: &KemSeed, offer: &[u8], answer: &[u8]) -> Result<PqKey, DmError> {
        let (ciphertext, confirmation) = answer.split_first_chunk().expect("an answer is collected to its length");
        let shared = seed.to_kem().decapsulate(&KemCiphertext::from_bytes(*ciphertext));
        let (next, expected) = self.next_key(&shared, offer, ciphertext);
        if expected.is(confirmation) { Ok(next) } else { Err(DmError::PqMismatch) }
    }

    fn next_key(&self, shared: &crate::crypto::Secret32, offer: &[u8], ciphertext: &[u8]) -> (PqKey, PqConfirmation) {
        let epoch = self.epoch.0.wrapping_add(1);
        self.sending_key().next(shared, &[self.session.as_bytes(), &epoch.to_be_bytes(), offer, ciphertext])
    }
}

fn public_key(bytes: &[u8]) -> KemPublic {
    KemPublic::from_bytes(bytes.try_into().expect("an offer is collected to its length"))
}

#[cfg(test)]
mod tests;
