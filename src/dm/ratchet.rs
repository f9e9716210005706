//! The double ratchet with header encryption (spec/dm, rules DM-20 to DM-37): a pure state machine.
//!
//! ```text
//!              seal: new ratchet key, root step
//!   Waiting ────────────────────────────────────▶ Active ──┐ seal: chain step
//!      ▲                                          │  ▲     │
//!      └──── header opens with the next key: ─────┘  └─────┘
//!            root step, old chain kept              Expecting (the responder, before the first message) ──▶ Waiting
//! ```
//!
//! Message: `random 16 | sealed header 60 | sealed payload`, the header being `ratchet key 32 | n u32 | pn u32 | pq u32`, the
//! payload `plaintext | index u8 | chunk`.
//!
//! Invariants: reading yields a candidate, which is committed once the payload has opened; sealing changes nothing before
//! all that can fail has succeeded; before a header opens no key is derived and none agreed; a message key is used once.
//!
//! Leaves out the rows (`sessions`), the stored seeds of skipped messages (`skipped`) and what the chunks mean (`pq`).

use tls_codec::{DeserializeBytes, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::label::{DIRECT_AAD, transcript};
use crate::crypto::{CryptoRng, SecretBytes, aead, random_array};
use crate::limits::{
    DM_CHAIN_MESSAGES_MAX, DM_JUMP_MAX, DM_MESSAGE_LEN_MAX, DM_OLD_CHAINS_MAX, DM_SKIPPED_PER_CHAIN_MAX,
    DM_SKIPPED_PER_SESSION_MAX,
};

use super::chunk::ChunkLen;
use super::handshake::HandshakeKeys;
use super::keys::{MessageSeed, RatchetSecret, RecvChainKey, RecvHeaderKey, RootKey, SendChainKey, SendHeaderKey};
use super::pq::{PqChange, PqEpoch, PqRatchet, Role};
use super::{DmError, SessionId, VERSION};

/// Bytes of the random part in front of every message.
pub(super) const RANDOM_LEN: usize = 16;
/// Bytes of a header in clear.
const HEADER_LEN: usize = 44;
/// Bytes in front of the sealed payload: the random part, the header and its tag.
pub(super) const PREFIX_LEN: usize = RANDOM_LEN + HEADER_LEN + aead::TAG_LEN;
/// The payload's nonce: its key is used once.
pub(super) const PAYLOAD_NONCE: [u8; 12] = [0; 12];

/// Bytes that sealing adds to a plaintext at least: 125, with the shortest chunks.
pub const MESSAGE_OVERHEAD_LEN_MIN: usize = message_overhead_len(ChunkLen::MIN);

/// Bytes that sealing adds to a plaintext in a session with chunks of this length: 130 by default.
pub const fn message_overhead_len(chunk_len: ChunkLen) -> usize {
    PREFIX_LEN + 1 + chunk_len.as_usize() + aead::TAG_LEN
}

/// A ratchet message, split into its parts and not yet opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RatchetMessage<'m> {
    pub(super) prefix: &'m [u8; PREFIX_LEN],
    pub(super) payload: &'m [u8],
}

impl<'m> RatchetMessage<'m> {
    /// Splits `random 16 | sealed header 60 | sealed payload` (rule DM-20).
    ///
    /// # Errors
    /// [`DmError::Malformed`] for fewer bytes than [`MESSAGE_OVERHEAD_LEN_MIN`] or more than the bound.
    pub fn decode(bytes: &'m [u8]) -> Result<Self, DmError> {
        let (prefix, payload) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(DmError::Malformed)?;
        let is_bounded = (MESSAGE_OVERHEAD_LEN_MIN..=DM_MESSAGE_LEN_MAX).contains(&bytes.len());
        if is_bounded { Ok(Self { prefix, payload }) } else { Err(DmError::Malformed) }
    }

    fn random(&self) -> &'m [u8; RANDOM_LEN] {
        self.prefix.first_chunk().expect("the prefix is longer than its random part")
    }

    fn sealed_header(&self) -> &'m [u8] {
        &self.prefix[RANDOM_LEN..]
    }
}

/// Rule DM-25. Who sends what to whom in which session needs no mention: every key comes from the transcript that
/// names them, and each direction has its own.
pub(super) fn payload_aad(prefix: &[u8], ad: &[u8]) -> Vec<u8> {
    transcript(DIRECT_AAD, &[&[VERSION], prefix, ad])
}

/// What a header says: 44 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Header {
    /// The sender's ratchet key: one per chain.
    pub key: DhPublic,
    /// The place of the message in its chain, from 0.
    pub n: u32,
    /// How many messages the sender's chain before this one had.
    pub pn: u32,
    /// The pq epoch whose key is mixed into the message key.
    pub pq_epoch: PqEpoch,
}

impl Header {
    /// Refuses counters that no honest sender reaches, before anything is derived from them (rule DM-30).
    fn check(&self) -> Result<(), DmError> {
        let is_in_range = self.n < DM_CHAIN_MESSAGES_MAX && self.pn <= DM_CHAIN_MESSAGES_MAX;
        if is_in_range { Ok(()) } else { Err(DmError::CounterOutOfRange) }
    }
}

/// Numbers the receiving chains of one session, from 0, in the order in which they began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ChainNumber(pub(super) u32);

/// The state of one session's ratchet.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Ratchet {
    root: RootKey,
    sending: Sending,
    receiving: Option<RecvChain>,
    next_header: RecvHeaderKey,
    next_chain: ChainNumber,
    /// Newest first; each has stored seeds.
    old: Vec<OldChain>,
    pq: PqRatchet,
}

/// Whose turn it is to bring a new ratchet key.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
enum Sending {
    /// Theirs came: our next message makes a root step.
    #[tls_codec(discriminant = 1)]
    Waiting { theirs: DhPublic, header: SendHeaderKey, previous_count: u32 },
    /// Ours is out: a header under the next key answers it.
    #[tls_codec(discriminant = 2)]
    Active(SendChain),
    /// The responder before the first message: the signed prekey stands in for a ratchet key.
    #[tls_codec(discriminant = 3)]
    Expecting { secret: RatchetSecret, next_header: SendHeaderKey },
}

#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct SendChain {
    secret: RatchetSecret,
    header: SendHeaderKey,
    key: SendChainKey,
    count: u32,
    previous_count: u32,
    next_header: SendHeaderKey,
}

#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct RecvChain {
    number: ChainNumber,
    theirs: DhPublic,
    header: RecvHeaderKey,
    key: RecvChainKey,
    /// The place of the next message.
    count: u32,
    /// How many seeds of this chain are stored.
    skipped: u32,
}

#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct OldChain {
    number: ChainNumber,
    header: RecvHeaderKey,
    skipped: u32,
}

/// A header that opened, and the chain whose key opened it. Until there is one, nothing costs more than small AEADs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    chain: Chain,
    header: Header,
}

#[derive(Clone, Copy, Debug)]
enum Chain {
    Current,
    Next,
    Old(ChainNumber),
}

/// The seed of a message that was passed over.
pub(super) struct Skipped {
    pub(super) chain: ChainNumber,
    pub(super) n: u32,
    pub(super) seed: MessageSeed,
}

/// What is to be done to the stored seeds once the payload has opened: first the evictions, oldest seeds of each chain
/// first, then the new seeds.
#[derive(Default)]
pub(super) struct SkippedChanges {
    pub(super) evict: Vec<(ChainNumber, u32)>,
    pub(super) store: Vec<Skipped>,
    /// How many seeds were passed over and never stored.
    pub(super) unkept: u32,
}

/// The way to a message whose place was not passed before: a candidate, committed once the payload has opened.
pub(super) struct Advance {
    to: AdvanceTo,
    skipped: Vec<Skipped>,
    /// How many places are passed over.
    passed: u32,
}

enum AdvanceTo {
    /// The chain key and the count behind the message.
    InChain { key: RecvChainKey, count: u32 },
    /// The peer has a new ratchet key.
    NewChain { root: RootKey, chain: RecvChain, next_header: RecvHeaderKey, closed_skipped: u32 },
}

/// An opened payload, and what its chunk does.
pub(super) struct Opened {
    pub(super) plaintext: SecretBytes,
    pq: PqChange,
}

impl Ratchet {
    /// The initiator: its first message steps against the responder's signed prekey.
    pub(super) fn initiator(
        session: SessionId,
        keys: HandshakeKeys,
        signed_prekey: DhPublic,
        chunk_len: ChunkLen,
    ) -> Self {
        let HandshakeKeys { root, header, next_header, pq } = keys;
        let header = SendHeaderKey::from_secret(header);
        let sending = Sending::Waiting { theirs: signed_prekey, header, previous_count: 0 };
        let pq = PqRatchet::new(session, Role::Initiator, chunk_len, pq);
        Self::begin(root, pq, sending, RecvHeaderKey::from_secret(next_header))
    }

    /// The responder: the first message brings the first ratchet key.
    pub(super) fn responder(
        session: SessionId,
        keys: HandshakeKeys,
        signed_prekey: DhSecret,
        chunk_len: ChunkLen,
    ) -> Self {
        let HandshakeKeys { root, header, next_header, pq } = keys;
        let secret = RatchetSecret::new(signed_prekey);
        let sending = Sending::Expecting { secret, next_header: SendHeaderKey::from_secret(next_header) };
        let pq = PqRatchet::new(session, Role::Responder, chunk_len, pq);
        Self::begin(root, pq, sending, RecvHeaderKey::from_secret(header))
    }

    fn begin(root: RootKey, pq: PqRatchet, sending: Sending, next_header: RecvHeaderKey) -> Self {
        Self { root, sending, receiving: None, next_header, next_chain: ChainNumber(0), old: Vec::new(), pq }
    }

    pub(super) fn pq(&self) -> &PqRatchet {
        &self.pq
    }

    /// How many messages the sending chain has: since the peer's last answer.
    pub(super) fn unanswered_count(&self) -> u32 {
        match &self.sending {
            Sending::Active(chain) => chain.count,
            Sending::Waiting { .. } | Sending::Expecting { .. } => 0,
        }
    }

    /// Seals one message.
    ///
    /// # Errors
    /// [`DmError::TooLong`]; [`DmError::ChainExhausted`] until the peer answers; [`DmError::NoSession`] for a responder
    /// that has not received the first message. Nothing has changed then.
    pub(super) fn seal(&mut self, ad: &[u8], plaintext: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>, DmError> {
        let overhead_len = message_overhead_len(self.pq.chunk_len());
        if plaintext.len() > DM_MESSAGE_LEN_MAX - overhead_len {
            return Err(DmError::TooLong);
        }
        if let Some((root, chain)) = self.sending.begin_chain(&self.root, rng)? {
            self.root = root;
            self.sending = Sending::Active(chain);
        }
        let Sending::Active(chain) = &mut self.sending else { return Err(DmError::NoSession) };
        if chain.count >= DM_CHAIN_MESSAGES_MAX {
            return Err(DmError::ChainExhausted);
        }
        let (key, seed) = chain.key.step();
        let header = chain.header(self.pq.epoch());
        let random: [u8; RANDOM_LEN] = random_array(rng);
        let mut message = Vec::with_capacity(overhead_len + plaintext.len());
        seal_header(&chain.header, &random, &header, &mut message);
        chain.key = key;
        chain.count += 1;

        let message_key = seed.into_message_key(self.pq.sending_key(), header.pq_epoch, &random);
        let aad = payload_aad(&message, ad);
        message.extend_from_slice(plaintext);
        self.pq.send(&mut message, rng);
        aead::seal_in_place(&message_key, &PAYLOAD_NONCE, &aad, &mut message, PREFIX_LEN);
        Ok(message)
    }

    /// Finds the chain of a message: the current header key, the next one, then those of old chains (rule DM-31).
    pub(super) fn locate(&self, message: &RatchetMessage<'_>) -> Option<Located> {
        let current = self.receiving.iter().map(|chain| (Chain::Current, &chain.header));
        let next = std::iter::once((Chain::Next, &self.next_header));
        let old = self.old.iter().map(|chain| (Chain::Old(chain.number), &chain.header));
        current.chain(next).chain(old).find_map(|(chain, key)| {
            let header = open_header(key, message)?;
            Some(Located { chain, header })
        })
    }

    /// Where the seed of a located message is stored, if its place was passed before.
    pub(super) fn stored_at(&self, located: &Located) -> Option<(ChainNumber, u32)> {
        let n = located.header.n;
        match (located.chain, &self.receiving) {
            (Chain::Old(number), _) => Some((number, n)),
            (Chain::Current, Some(chain)) if n < chain.count => Some((chain.number, n)),
            _ => None,
        }
    }

    /// Takes note that `count` stored seeds of a chain were deleted.
    pub(super) fn forget_skipped(&mut self, chain: ChainNumber, count: u32) {
        if let Some(current) = self.receiving.as_mut().filter(|current| current.number == chain) {
            current.skipped = current.skipped.saturating_sub(count);
        }
        if let Some(old) = self.old.iter_mut().find(|old| old.number == chain) {
            old.skipped = old.skipped.saturating_sub(count);
        }
        self.old.retain(|old| old.skipped > 0);
    }

    /// How many seeds of its skipped messages are stored.
    pub(super) fn skipped_count(&self) -> u32 {
        let old = self.old.iter().map(|chain| chain.skipped);
        old.chain(self.receiving.iter().map(|chain| chain.skipped)).sum()
    }

    /// Gives up the `count` oldest stored seeds: which chains lose how many.
    pub(super) fn give_up(&mut self, count: u32) -> Vec<(ChainNumber, u32)> {
        let mut evict = Vec::new();
        self.drop_oldest(count, &mut evict);
        evict
    }

    /// The way to a located message whose place was not passed before, and the message's seed.
    ///
    /// # Errors
    /// [`DmError::CounterOutOfRange`], [`DmError::JumpTooLarge`], [`DmError::WeakKey`], [`DmError::StateForked`]: each of
    /// them means that the peer, not a stranger, sent it.
    pub(super) fn advance(&self, located: &Located) -> Result<(Advance, MessageSeed), DmError> {
        let header = &located.header;
        header.check()?;
        match (located.chain, &self.receiving) {
            (Chain::Current, Some(chain)) => chain.advance(header),
            (Chain::Next, receiving) => self.advance_to_next_chain(receiving.as_ref(), header),
            _ => Err(DmError::CounterOutOfRange),
        }
    }

    /// Opens the payload of a message with its seed.
    ///
    /// # Errors
    /// [`DmError::Authentication`]; [`DmError::UnknownPqEpoch`], [`DmError::PqMismatch`] and [`DmError::WeakKey`] mean that
    /// the peer sent it.
    pub(super) fn open_payload(
        &self,
        seed: MessageSeed,
        ad: &[u8],
        located: &Located,
        message: &RatchetMessage<'_>,
    ) -> Result<Opened, DmError> {
        let epoch = located.header.pq_epoch;
        let key = seed.into_message_key(self.pq.receiving_key(epoch)?, epoch, message.random());
        let mut plaintext = aead::open(&key, &PAYLOAD_NONCE, &payload_aad(message.prefix, ad), message.payload)
            .map_err(|_| DmError::Authentication)?;
        let Payload { text, chunk_index, chunk } = split_payload(&plaintext, self.pq.chunk_len())?;
        let (text_len, pq) = (text.len(), self.pq.receive(epoch, chunk_index, chunk)?);
        plaintext.truncate(text_len);
        Ok(Opened { plaintext, pq })
    }

    /// Goes on behind a message that has opened: its way, if it was not passed before, and its chunk.
    pub(super) fn commit(&mut self, advance: Option<Advance>, opened: Opened) -> (SecretBytes, SkippedChanges) {
        let Opened { plaintext, pq } = opened;
        self.pq.commit(pq);
        let Some(Advance { to, skipped, passed }) = advance else { return (plaintext, SkippedChanges::default()) };
        match to {
            AdvanceTo::InChain { key, count } => {
                if let Some(chain) = &mut self.receiving {
                    chain.key = key;
                    chain.count = count;
                    chain.skipped += kept_count(&skipped, chain.number);
                }
            }
            AdvanceTo::NewChain { root, chain, next_header, closed_skipped } => {
                self.begin_receiving(root, chain, next_header, closed_skipped);
            }
        }
        let (evict, unkept) = (self.make_room(), passed - skipped.len() as u32);
        (plaintext, SkippedChanges { evict, store: skipped, unkept })
    }

    fn advance_to_next_chain(
        &self,
        receiving: Option<&RecvChain>,
        header: &Header,
    ) -> Result<(Advance, MessageSeed), DmError> {
        let secret = match &self.sending {
            Sending::Active(SendChain { secret, .. }) | Sending::Expecting { secret, .. } => secret,
            Sending::Waiting { .. } => return Err(DmError::StateForked),
        };
        let received_count = receiving.map_or(0, |chain| chain.count);
        let is_plausible = if receiving.is_some() { header.pn >= received_count } else { header.pn == 0 };
        if !is_plausible {
            return Err(DmError::CounterOutOfRange);
        }
        check_jump(received_count, header.pn)?;
        check_jump(0, header.n)?;
        let number = self.next_chain;
        number.0.checked_add(1).ok_or(DmError::CounterOutOfRange)?;
        let [root, chain, next_header] = self.root.step(secret.as_dh(), &header.key)?;

        let mut skipped = Vec::new();
        if let Some(closed) = receiving {
            walk(closed.number, closed.count, closed.key.duplicate(), header.pn, &mut skipped);
        }
        let closed_skipped = receiving.map_or(0, |closed| closed.skipped + kept_count(&skipped, closed.number));
        let key = walk(number, 0, RecvChainKey::from_secret(chain), header.n, &mut skipped);
        let (key, seed) = key.step();
        let chain = RecvChain {
            number,
            theirs: header.key,
            header: self.next_header.duplicate(),
            key,
            count: header.n + 1,
            skipped: kept_count(&skipped, number),
        };
        let (root, next_header) = (RootKey::from_secret(root), RecvHeaderKey::from_secret(next_header));
        let passed = header.n + receiving.map_or(0, |closed| header.pn - closed.count);
        Ok((Advance { to: AdvanceTo::NewChain { root, chain, next_header, closed_skipped }, skipped, passed }, seed))
    }

    fn begin_receiving(&mut self, root: RootKey, chain: RecvChain, next_header: RecvHeaderKey, closed_skipped: u32) {
        self.root = root;
        self.next_chain = ChainNumber(chain.number.0 + 1);
        self.next_header = next_header;
        let theirs = chain.theirs;
        let closed = self.receiving.replace(chain);
        if let Some(RecvChain { number, header, .. }) = closed.filter(|_| closed_skipped > 0) {
            self.old.insert(0, OldChain { number, header, skipped: closed_skipped });
        }
        let ours = match &self.sending {
            Sending::Active(SendChain { next_header, count, .. }) => Some((next_header.duplicate(), *count)),
            Sending::Expecting { next_header, .. } => Some((next_header.duplicate(), 0)),
            Sending::Waiting { .. } => None,
        };
        if let Some((header, previous_count)) = ours {
            self.sending = Sending::Waiting { theirs, header, previous_count };
        }
    }

    /// Brings the counts of stored seeds back under their bounds: which chains lose how many of their oldest (rule
    /// DM-34). What this step stores is never among them: at most 2 000 seeds, and newer than all others.
    fn make_room(&mut self) -> Vec<(ChainNumber, u32)> {
        let mut evict = Vec::new();
        while self.old.len() > DM_OLD_CHAINS_MAX {
            evict.extend(self.old.pop().map(|chain| (chain.number, chain.skipped)));
        }
        let oldest_first = self.old.iter_mut().rev().map(|chain| (chain.number, &mut chain.skipped));
        let current = self.receiving.iter_mut().map(|chain| (chain.number, &mut chain.skipped));
        for (number, skipped) in oldest_first.chain(current) {
            let excess = skipped.saturating_sub(DM_SKIPPED_PER_CHAIN_MAX);
            *skipped -= excess;
            evict.extend((excess > 0).then_some((number, excess)));
        }
        let excess = self.skipped_count().saturating_sub(DM_SKIPPED_PER_SESSION_MAX);
        self.drop_oldest(excess, &mut evict);
        evict
    }

    /// Takes `excess` off the counts of stored seeds, the oldest chain first, and notes it in `evict`.
    fn drop_oldest(&mut self, mut excess: u32, evict: &mut Vec<(ChainNumber, u32)>) {
        let oldest_first = self.old.iter_mut().rev().map(|chain| (chain.number, &mut chain.skipped));
        let current = self.receiving.iter_mut().map(|chain| (chain.number, &mut chain.skipped));
        for (number, skipped) in oldest_first.chain(current) {
            let count = excess.min(*skipped);
            excess -= count;
            *skipped -= count;
            evict.extend((count > 0).then_some((number, count)));
        }
        self.old.retain(|chain| chain.skipped > 0);
    }
}

impl Sending {
    /// A new ratchet key and its chain, if it is time for one (rule DM-22), and the root behind it.
    ///
    /// # Errors
    /// [`DmError::NoSession`] for who has not received the first message.
    fn begin_chain(&self, root: &RootKey, rng: &mut dyn CryptoRng) -> Result<Option<(RootKey, SendChain)>, DmError> {
        let (theirs, header, previous_count) = match self {
            Self::Active(_) => return Ok(None),
            Self::Waiting { theirs, header, previous_count } => (theirs, header, *previous_count),
            Self::Expecting { .. } => return Err(DmError::NoSession),
        };
        let ours = DhSecret::random(rng);
        let [root, key, next_header] = root.step(&ours, theirs)?;
        let chain = SendChain {
            secret: RatchetSecret::new(ours),
            header: header.duplicate(),
            key: SendChainKey::from_secret(key),
            count: 0,
            previous_count,
            next_header: SendHeaderKey::from_secret(next_header),
        };
        Ok(Some((RootKey::from_secret(root), chain)))
    }
}

impl SendChain {
    /// The header of the next message.
    fn header(&self, pq_epoch: PqEpoch) -> Header {
        Header { key: self.secret.as_dh().public(), n: self.count, pn: self.previous_count, pq_epoch }
    }
}

impl RecvChain {
    fn advance(&self, header: &Header) -> Result<(Advance, MessageSeed), DmError> {
        if self.theirs != header.key {
            return Err(DmError::CounterOutOfRange);
        }
        check_jump(self.count, header.n)?;
        let mut skipped = Vec::new();
        let (key, seed) = if header.n == self.count {
            self.key.step()
        } else {
            walk(self.number, self.count, self.key.duplicate(), header.n, &mut skipped).step()
        };
        let passed = header.n - self.count;
        Ok((Advance { to: AdvanceTo::InChain { key, count: header.n + 1 }, skipped, passed }, seed))
    }
}

/// The chain key before message `until`; the newest seeds of those passed over go to `skipped`. The caller has checked
/// the jump.
fn walk(chain: ChainNumber, from: u32, key: RecvChainKey, until: u32, skipped: &mut Vec<Skipped>) -> RecvChainKey {
    (from..until).fold(key, |key, n| {
        let (next, seed) = key.step();
        if until - n <= DM_SKIPPED_PER_CHAIN_MAX {
            skipped.push(Skipped { chain, n, seed });
        }
        next
    })
}

fn kept_count(skipped: &[Skipped], chain: ChainNumber) -> u32 {
    skipped.iter().filter(|skipped| skipped.chain == chain).count() as u32
}

fn check_jump(from: u32, to: u32) -> Result<(), DmError> {
    let jump = to.saturating_sub(from);
    if jump > DM_JUMP_MAX { Err(DmError::JumpTooLarge { jump }) } else { Ok(()) }
}

/// The parts of an opened payload: `plaintext | index u8 | chunk`.
pub(super) struct Payload<'p> {
    pub(super) text: &'p [u8],
    pub(super) chunk_index: u8,
    pub(super) chunk: &'p [u8],
}

/// Splits an opened payload (rule DM-93).
///
/// # Errors
/// [`DmError::Malformed`] if it is shorter than an index and a chunk.
pub(super) fn split_payload(payload: &[u8], chunk_len: ChunkLen) -> Result<Payload<'_>, DmError> {
    let chunk_at = payload.len().checked_sub(chunk_len.as_usize()).ok_or(DmError::Malformed)?;
    let (front, chunk) = payload.split_at(chunk_at);
    let (&chunk_index, text) = front.split_last().ok_or(DmError::Malformed)?;
    Ok(Payload { text, chunk_index, chunk })
}

/// Appends `random 16 | sealed header 60`: the header's nonce is the first 12 of the random bytes (rule DM-21).
pub(super) fn seal_header(key: &SendHeaderKey, random: &[u8; RANDOM_LEN], header: &Header, into: &mut Vec<u8>) {
    into.extend_from_slice(random);
    let from = into.len();
    header.tls_serialize(into).expect("writing to a Vec does not fail");
    aead::seal_in_place(key.as_secret(), header_nonce(random), random, into, from);
}

pub(super) fn open_header(key: &RecvHeaderKey, message: &RatchetMessage<'_>) -> Option<Header> {
    #[cfg(test)]
    tests::HEADER_TRIALS.with(|trials| trials.set(trials.get() + 1));
    let random = message.random();
    let clear = aead::open(key.as_secret(), header_nonce(random), random, message.sealed_header()).ok()?;
    Header::tls_deserialize_exact_bytes(&clear).ok()
}

fn header_nonce(random: &[u8; RANDOM_LEN]) -> &[u8; 12] {
    random.first_chunk().expect("a nonce is shorter than the random bytes")
}

#[cfg(test)]
mod tests;
