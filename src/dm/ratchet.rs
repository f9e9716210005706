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
//! Message: `random 16 | sealed header 58 | sealed payload`, the header being `ratchet key 32 | n u32 | pn u32 | pq u16`.
//!
//! Invariants: transitions take the state by value, so that a caller who drops the result has changed nothing; before a
//! header opens no key is derived and no key is agreed; a message key is used once.
//!
//! Leaves out the rows (`session`), the stored seeds of skipped messages (`skipped`) and the pq ratchet: there is pq
//! epoch 0 only, whose key the handshake yields.

use tls_codec::{DeserializeBytes, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::label::{DIRECT_AAD, DIRECT_HEADER, transcript};
use crate::crypto::{CryptoRng, SecretBytes, aead, random_array};
use crate::limits::{
    DM_CHAIN_MESSAGES_MAX, DM_JUMP_MAX, DM_MESSAGE_LEN_MAX, DM_OLD_CHAINS_MAX, DM_SKIPPED_PER_CHAIN_MAX,
    DM_SKIPPED_PER_SESSION_MAX,
};

use super::handshake::HandshakeKeys;
use super::keys::{
    MessageSeed, PqKey, RatchetSecret, RecvChainKey, RecvHeaderKey, RootKey, SendChainKey, SendHeaderKey,
};
use super::{DmError, Party, SessionId, VERSION};

/// Bytes of the random part in front of every message.
const RANDOM_LEN: usize = 16;
/// Bytes of a sealed header: 42 and the tag.
const SEALED_HEADER_LEN: usize = HEADER_LEN + aead::TAG_LEN;
/// Bytes of a header in clear.
const HEADER_LEN: usize = 42;
/// Bytes in front of the sealed payload.
const PREFIX_LEN: usize = RANDOM_LEN + SEALED_HEADER_LEN;
/// The only pq epoch of this version: the handshake's.
const PQ_EPOCH: u16 = 0;
/// The payload's nonce: its key is used once.
const PAYLOAD_NONCE: [u8; 12] = [0; 12];

/// Bytes that sealing adds to a plaintext: 90.
pub const MESSAGE_OVERHEAD_LEN: usize = PREFIX_LEN + aead::TAG_LEN;

/// A ratchet message, split into its parts and not yet opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RatchetMessage<'m> {
    prefix: &'m [u8; PREFIX_LEN],
    payload: &'m [u8],
}

impl<'m> RatchetMessage<'m> {
    /// Splits `random 16 | sealed header 58 | sealed payload` (rule DM-20).
    ///
    /// # Errors
    /// [`DmError::Malformed`] for fewer bytes than [`MESSAGE_OVERHEAD_LEN`] or more than the bound.
    pub fn decode(bytes: &'m [u8]) -> Result<Self, DmError> {
        let (prefix, payload) = bytes.split_first_chunk::<PREFIX_LEN>().ok_or(DmError::Malformed)?;
        let is_bounded = (MESSAGE_OVERHEAD_LEN..=DM_MESSAGE_LEN_MAX).contains(&bytes.len());
        if is_bounded { Ok(Self { prefix, payload }) } else { Err(DmError::Malformed) }
    }

    fn random(&self) -> &'m [u8; RANDOM_LEN] {
        self.prefix.first_chunk().expect("the prefix is longer than its random part")
    }

    fn sealed_header(&self) -> &'m [u8] {
        &self.prefix[RANDOM_LEN..]
    }
}

/// What a message is bound to besides its keys: its session, who sends it to whom, and the caller's own data.
pub(super) struct Context<'c> {
    pub(super) session: SessionId,
    pub(super) sender: Party,
    pub(super) recipient: Party,
    pub(super) ad: &'c [u8],
}

impl Context<'_> {
    /// Rule DM-21.
    fn header_aad(&self, random: &[u8; RANDOM_LEN]) -> Vec<u8> {
        transcript(DIRECT_HEADER, &[&[VERSION], self.session.as_bytes(), random])
    }

    /// Rule DM-25.
    fn payload_aad(&self, prefix: &[u8; PREFIX_LEN]) -> Vec<u8> {
        let Self { session, sender, recipient, ad } = self;
        transcript(
            DIRECT_AAD,
            &[
                &[VERSION],
                session.as_bytes(),
                sender.account.as_bytes(),
                sender.device.as_bytes(),
                recipient.account.as_bytes(),
                recipient.device.as_bytes(),
                prefix,
                ad,
            ],
        )
    }
}

/// What a header says: 42 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Header {
    /// The sender's ratchet key: one per chain.
    key: DhPublic,
    /// The place of the message in its chain, from 0.
    n: u32,
    /// How many messages the sender's chain before this one had.
    pn: u32,
    /// The pq epoch whose key is mixed into the message key.
    pq_epoch: u16,
}

impl Header {
    /// Refuses counters that no honest sender reaches, before anything is derived from them (rule DM-30).
    fn check(&self) -> Result<(), DmError> {
        let is_in_range = self.n < DM_CHAIN_MESSAGES_MAX && self.pn <= DM_CHAIN_MESSAGES_MAX;
        if !is_in_range {
            Err(DmError::CounterOutOfRange)
        } else if self.pq_epoch != PQ_EPOCH {
            Err(DmError::UnknownPqEpoch { epoch: self.pq_epoch })
        } else {
            Ok(())
        }
    }
}

/// Numbers the receiving chains of one session, from 0, in the order in which they began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ChainNumber(pub(super) u32);

/// The state of one session's ratchet.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Ratchet {
    root: RootKey,
    pq: PqKey,
    sending: Sending,
    receiving: Option<RecvChain>,
    next_header: RecvHeaderKey,
    next_chain: ChainNumber,
    /// Newest first; each has stored seeds.
    old: Vec<OldChain>,
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
    /// Kept beside its secret: computing it costs more than all the rest of sealing.
    public: DhPublic,
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
}

impl Ratchet {
    /// The initiator: its first message steps against the responder's signed prekey.
    pub(super) fn initiator(keys: HandshakeKeys, signed_prekey: DhPublic) -> Self {
        let HandshakeKeys { root, header, next_header, pq } = keys;
        let header = SendHeaderKey::from_secret(header);
        let sending = Sending::Waiting { theirs: signed_prekey, header, previous_count: 0 };
        Self::begin(root, pq, sending, RecvHeaderKey::from_secret(next_header))
    }

    /// The responder: the first message brings the first ratchet key.
    pub(super) fn responder(keys: HandshakeKeys, signed_prekey: &DhSecret) -> Self {
        let HandshakeKeys { root, header, next_header, pq } = keys;
        let secret = RatchetSecret::of(signed_prekey);
        let sending = Sending::Expecting { secret, next_header: SendHeaderKey::from_secret(next_header) };
        Self::begin(root, pq, sending, RecvHeaderKey::from_secret(header))
    }

    fn begin(root: RootKey, pq: PqKey, sending: Sending, next_header: RecvHeaderKey) -> Self {
        Self { root, pq, sending, receiving: None, next_header, next_chain: ChainNumber(0), old: Vec::new() }
    }

    /// Seals one message.
    ///
    /// # Errors
    /// [`DmError::TooLong`]; [`DmError::ChainExhausted`] until the peer answers; [`DmError::NoSession`] for a responder
    /// that has not received the first message.
    pub(super) fn seal(
        self,
        context: &Context<'_>,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>), DmError> {
        if plaintext.len() > DM_MESSAGE_LEN_MAX - MESSAGE_OVERHEAD_LEN {
            return Err(DmError::TooLong);
        }
        let Self { root, pq, sending, receiving, next_header, next_chain, old } = self;
        let (root, chain) = match sending {
            Sending::Active(chain) => (root, chain),
            Sending::Waiting { theirs, header, previous_count } => {
                SendChain::begin(root, &theirs, header, previous_count, rng)?
            }
            Sending::Expecting { .. } => return Err(DmError::NoSession),
        };
        let (chain, message) = chain.seal(&pq, context, plaintext, rng)?;
        Ok((Self { root, pq, sending: Sending::Active(chain), receiving, next_header, next_chain, old }, message))
    }

    /// Finds the chain of a message: the current header key, the next one, then those of old chains (rule DM-31).
    pub(super) fn locate(&self, context: &Context<'_>, message: &RatchetMessage<'_>) -> Option<Located> {
        let aad = context.header_aad(message.random());
        let current = self.receiving.iter().map(|chain| (Chain::Current, &chain.header));
        let next = std::iter::once((Chain::Next, &self.next_header));
        let old = self.old.iter().map(|chain| (Chain::Old(chain.number), &chain.header));
        current.chain(next).chain(old).find_map(|(chain, key)| {
            let header = open_header(key, &aad, message)?;
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

    /// Takes note that a stored seed was used, or that `count` of them were deleted.
    pub(super) fn forget_skipped(&mut self, chain: ChainNumber, count: u32) {
        if let Some(current) = self.receiving.as_mut().filter(|current| current.number == chain) {
            current.skipped = current.skipped.saturating_sub(count);
        }
        if let Some(old) = self.old.iter_mut().find(|old| old.number == chain) {
            old.skipped = old.skipped.saturating_sub(count);
        }
        self.old.retain(|old| old.skipped > 0);
    }

    /// Walks to a located message whose place was not passed before: the candidate state, the message's seed, and
    /// what becomes of the stored seeds.
    ///
    /// # Errors
    /// [`DmError::CounterOutOfRange`], [`DmError::UnknownPqEpoch`], [`DmError::JumpTooLarge`], [`DmError::WeakKey`],
    /// [`DmError::StateForked`]: each of them means that the peer, not a stranger, sent it.
    pub(super) fn advance(self, located: &Located) -> Result<(Self, MessageSeed, SkippedChanges), DmError> {
        let header = &located.header;
        header.check()?;
        match located.chain {
            Chain::Current => self.advance_in_chain(header),
            Chain::Next => self.advance_to_next_chain(header),
            Chain::Old(_) => Err(DmError::CounterOutOfRange),
        }
    }

    /// Opens the payload of a message with its seed.
    ///
    /// # Errors
    /// [`DmError::Authentication`].
    pub(super) fn open_payload(
        &self,
        seed: MessageSeed,
        context: &Context<'_>,
        located: &Located,
        message: &RatchetMessage<'_>,
    ) -> Result<SecretBytes, DmError> {
        let key = seed.into_message_key(&self.pq, located.header.pq_epoch, message.random());
        aead::open(&key, &PAYLOAD_NONCE, &context.payload_aad(message.prefix), message.payload)
            .map_err(|_| DmError::Authentication)
    }

    fn advance_in_chain(mut self, header: &Header) -> Result<(Self, MessageSeed, SkippedChanges), DmError> {
        let chain = self.receiving.take().expect("a header was located in the current chain");
        if chain.theirs != header.key {
            return Err(DmError::CounterOutOfRange);
        }
        check_jump(chain.count, header.n)?;
        let mut store = Vec::new();
        let (chain, seed) = chain.skip_to(header.n, &mut store).step();
        self.receiving = Some(chain);
        let evict = self.make_room();
        Ok((self, seed, SkippedChanges { evict, store }))
    }

    fn advance_to_next_chain(self, header: &Header) -> Result<(Self, MessageSeed, SkippedChanges), DmError> {
        let Self { root, pq, sending, receiving, next_header, next_chain, mut old } = self;
        let (secret, send_header, previous_count) = match sending {
            Sending::Active(SendChain { secret, next_header, count, .. }) => (secret, next_header, count),
            Sending::Expecting { secret, next_header } => (secret, next_header, 0),
            Sending::Waiting { .. } => return Err(DmError::StateForked),
        };
        let received_count = receiving.as_ref().map_or(0, |chain| chain.count);
        let is_plausible = if receiving.is_some() { header.pn >= received_count } else { header.pn == 0 };
        if !is_plausible {
            return Err(DmError::CounterOutOfRange);
        }
        check_jump(received_count, header.pn)?;
        check_jump(0, header.n)?;
        let [root, chain, after] = root.step(&secret.to_dh(), &header.key)?;

        let mut store = Vec::new();
        if let Some(chain) = receiving {
            let RecvChain { number, header, skipped, .. } = chain.skip_to(header.pn, &mut store);
            old.insert(0, OldChain { number, header, skipped });
        }
        let chain = RecvChain {
            number: next_chain,
            theirs: header.key,
            header: next_header,
            key: RecvChainKey::from_secret(chain),
            count: 0,
            skipped: 0,
        };
        let (chain, seed) = chain.skip_to(header.n, &mut store).step();
        let mut ratchet = Self {
            root: RootKey::from_secret(root),
            pq,
            sending: Sending::Waiting { theirs: header.key, header: send_header, previous_count },
            receiving: Some(chain),
            next_header: RecvHeaderKey::from_secret(after),
            next_chain: ChainNumber(next_chain.0.checked_add(1).ok_or(DmError::CounterOutOfRange)?),
            old,
        };
        let evict = ratchet.make_room();
        Ok((ratchet, seed, SkippedChanges { evict, store }))
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
        let mut chains: Vec<(ChainNumber, &mut u32)> = oldest_first.chain(current).collect();
        let mut drop_from = |number: ChainNumber, skipped: &mut u32, count: u32| {
            if count > 0 {
                *skipped -= count;
                evict.push((number, count));
            }
        };
        for (number, skipped) in &mut chains {
            let excess = skipped.saturating_sub(DM_SKIPPED_PER_CHAIN_MAX);
            drop_from(*number, skipped, excess);
        }
        let total: u32 = chains.iter().map(|(_, skipped)| **skipped).sum();
        let mut excess = total.saturating_sub(DM_SKIPPED_PER_SESSION_MAX);
        for (number, skipped) in &mut chains {
            let count = excess.min(**skipped);
            excess -= count;
            drop_from(*number, skipped, count);
        }
        self.old.retain(|chain| chain.skipped > 0);
        evict
    }
}

impl SendChain {
    /// A new ratchet key and its chain (rule DM-22).
    fn begin(
        root: RootKey,
        theirs: &DhPublic,
        header: SendHeaderKey,
        previous_count: u32,
        rng: &mut dyn CryptoRng,
    ) -> Result<(RootKey, Self), DmError> {
        let ours = DhSecret::random(rng);
        let [root, key, next_header] = root.step(&ours, theirs)?;
        let chain = Self {
            secret: RatchetSecret::of(&ours),
            public: ours.public(),
            header,
            key: SendChainKey::from_secret(key),
            count: 0,
            previous_count,
            next_header: SendHeaderKey::from_secret(next_header),
        };
        Ok((RootKey::from_secret(root), chain))
    }

    fn seal(
        self,
        pq: &PqKey,
        context: &Context<'_>,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<u8>), DmError> {
        let Self { secret, public, header, key, count, previous_count, next_header } = self;
        if count >= DM_CHAIN_MESSAGES_MAX {
            return Err(DmError::ChainExhausted);
        }
        let (key, seed) = key.step();
        let random: [u8; RANDOM_LEN] = random_array(rng);
        let clear = Header { key: public, n: count, pn: previous_count, pq_epoch: PQ_EPOCH };
        let prefix = seal_header(&header, &context.header_aad(&random), &random, &clear);
        let message_key = seed.into_message_key(pq, PQ_EPOCH, &random);
        let payload = aead::seal(&message_key, &PAYLOAD_NONCE, &context.payload_aad(&prefix), plaintext);
        let chain = Self { secret, public, header, key, count: count + 1, previous_count, next_header };
        Ok((chain, [prefix.as_slice(), &payload].concat()))
    }
}

impl RecvChain {
    /// The chain before message `until`; the newest seeds of those passed over go to `store`. The caller has checked the
    /// jump.
    fn skip_to(self, until: u32, store: &mut Vec<Skipped>) -> Self {
        let mut chain = self;
        while chain.count < until {
            let n = chain.count;
            let is_kept = until - n <= DM_SKIPPED_PER_CHAIN_MAX;
            let (next, seed) = chain.step();
            chain = next;
            if is_kept {
                store.push(Skipped { chain: chain.number, n, seed });
                chain.skipped += 1;
            }
        }
        chain
    }

    fn step(self) -> (Self, MessageSeed) {
        let Self { number, theirs, header, key, count, skipped } = self;
        let (key, seed) = key.step();
        (Self { number, theirs, header, key, count: count + 1, skipped }, seed)
    }
}

fn check_jump(from: u32, to: u32) -> Result<(), DmError> {
    let jump = to.saturating_sub(from);
    if jump > DM_JUMP_MAX { Err(DmError::JumpTooLarge { jump }) } else { Ok(()) }
}

/// `random 16 | sealed header 58`: the header's nonce is the first 12 of the random bytes (rule DM-21).
fn seal_header(key: &SendHeaderKey, aad: &[u8], random: &[u8; RANDOM_LEN], header: &Header) -> [u8; PREFIX_LEN] {
    let clear = header.tls_serialize_detached().expect("a header has a fixed size");
    let sealed = aead::seal(key.as_secret(), header_nonce(random), aad, &clear);
    let mut prefix = [0; PREFIX_LEN];
    prefix[..RANDOM_LEN].copy_from_slice(random);
    prefix[RANDOM_LEN..].copy_from_slice(&sealed);
    prefix
}

fn open_header(key: &RecvHeaderKey, aad: &[u8], message: &RatchetMessage<'_>) -> Option<Header> {
    #[cfg(test)]
    tests::HEADER_TRIALS.with(|trials| trials.set(trials.get() + 1));
    let clear = aead::open(key.as_secret(), header_nonce(message.random()), aad, message.sealed_header()).ok()?;
    Header::tls_deserialize_exact_bytes(&clear).ok()
}

fn header_nonce(random: &[u8; RANDOM_LEN]) -> &[u8; 12] {
    random.first_chunk().expect("a nonce is shorter than the random bytes")
}

#[cfg(test)]
mod tests {
    //! What needs the inside: counting the work that a message causes, and headers that no honest sender makes.
    #![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

    use std::cell::Cell;

    use super::*;
    use crate::crypto::{Secret32, kdf, label};
    use crate::identity::{AccountId, DeviceId};

    thread_local! {
        pub(super) static HEADER_TRIALS: Cell<usize> = const { Cell::new(0) };
    }

    const ONE: Party = party(1);
    const TWO: Party = party(2);

    const fn party(byte: u8) -> Party {
        Party { account: AccountId::from_bytes([byte; 32]), device: DeviceId::from_bytes([byte + 100; 32]) }
    }

    fn context(sender: Party, recipient: Party) -> Context<'static> {
        Context { session: SessionId([9; 32]), sender, recipient, ad: b"ad" }
    }

    fn keys() -> HandshakeKeys {
        let secret = |byte| Secret32::from_bytes([byte; 32]);
        HandshakeKeys {
            root: RootKey::from_secret(secret(1)),
            header: secret(2),
            next_header: secret(3),
            pq: PqKey::from_secret(secret(4)),
        }
    }

    /// One side of a pair of ratchets; the seeds that a store would hold are kept beside it.
    struct Side {
        ratchet: Option<Ratchet>,
        seeds: std::collections::BTreeMap<(ChainNumber, u32), MessageSeed>,
        us: Party,
        them: Party,
    }

    fn pair() -> (Side, Side) {
        let prekey = DhSecret::random(&mut rand::rng());
        let side = |ratchet, us, them| Side { ratchet: Some(ratchet), seeds: Default::default(), us, them };
        let one = side(Ratchet::initiator(keys(), prekey.public()), ONE, TWO);
        (one, side(Ratchet::responder(keys(), &prekey), TWO, ONE))
    }

    impl Side {
        fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
            let context = context(self.us, self.them);
            let (ratchet, message) = self.take().seal(&context, plaintext, &mut rand::rng()).unwrap();
            self.ratchet = Some(ratchet);
            message
        }

        /// Opens without a store: errors leave the state, because it is encoded and decoded first.
        fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, DmError> {
            let message = RatchetMessage::decode(message)?;
            let context = context(self.them, self.us);
            let ratchet = self.copy();
            let located = ratchet.locate(&context, &message).ok_or(DmError::Authentication)?;
            if let Some(at) = ratchet.stored_at(&located) {
                let seed = self.seeds.remove(&at).ok_or(DmError::Replay)?;
                let mut ratchet = ratchet;
                let plaintext = ratchet.open_payload(seed, &context, &located, &message)?;
                ratchet.forget_skipped(at.0, 1);
                self.ratchet = Some(ratchet);
                return Ok(plaintext.to_vec());
            }
            let (ratchet, seed, changes) = ratchet.advance(&located)?;
            let plaintext = ratchet.open_payload(seed, &context, &located, &message)?;
            for (chain, count) in changes.evict {
                let oldest: Vec<_> = self.seeds.keys().filter(|(of, _)| *of == chain).copied().collect();
                assert!(oldest.len() >= count as usize, "the state counts seeds that are not there");
                oldest.iter().take(count as usize).for_each(|key| drop(self.seeds.remove(key)));
            }
            self.seeds.extend(changes.store.into_iter().map(|skipped| ((skipped.chain, skipped.n), skipped.seed)));
            self.ratchet = Some(ratchet);
            Ok(plaintext.to_vec())
        }

        fn take(&mut self) -> Ratchet {
            self.ratchet.take().unwrap()
        }

        fn copy(&self) -> Ratchet {
            let bytes = self.ratchet.as_ref().unwrap().tls_serialize_detached().unwrap();
            Ratchet::tls_deserialize_exact_bytes(&bytes).unwrap()
        }

        fn counted(&self) -> u32 {
            let ratchet = self.ratchet.as_ref().unwrap();
            ratchet
                .old
                .iter()
                .map(|chain| chain.skipped)
                .chain(ratchet.receiving.iter().map(|chain| chain.skipped))
                .sum()
        }

        /// A message whose header says what no honest sender says.
        fn seal_with(&mut self, change: impl Fn(&mut Header)) -> Vec<u8> {
            self.seal(b"opens the chain");
            let context = context(self.us, self.them);
            let ratchet = self.copy();
            let Sending::Active(chain) = ratchet.sending else { panic!("sealing makes the chain active") };
            let mut header = Header { key: chain.public, n: chain.count, pn: chain.previous_count, pq_epoch: PQ_EPOCH };
            change(&mut header);
            let random = [7; RANDOM_LEN];
            let prefix = seal_header(&chain.header, &context.header_aad(&random), &random, &header);
            let (_, seed) = chain.key.step();
            let key = seed.into_message_key(&ratchet.pq, header.pq_epoch, &random);
            let payload = aead::seal(&key, &PAYLOAD_NONCE, &context.payload_aad(&prefix), b"odd");
            [prefix.as_slice(), &payload].concat()
        }
    }

    fn one_round_trip(one: &mut Side, two: &mut Side) {
        let message = one.seal(b"there");
        assert_eq!(two.open(&message).unwrap(), b"there");
        let message = two.seal(b"and back");
        assert_eq!(one.open(&message).unwrap(), b"and back");
    }

    // spec DM-20, spec DM-21, spec DM-22, spec DM-23, spec DM-24, spec DM-25: the chapter's formulas, step by step.
    #[test]
    fn a_first_message_opens_by_the_formulas_of_the_chapter() {
        let prekey = DhSecret::random(&mut rand::rng());
        let initiator = Ratchet::initiator(keys(), prekey.public());
        let (_, message) = initiator.seal(&context(ONE, TWO), b"by hand", &mut rand::rng()).unwrap();
        let (random, sealed_header, sealed_payload) = (&message[..16], &message[16..74], &message[74..]);
        let (version, session): (&[u8], &[u8]) = (&[1], &[9; 32]);

        let header_key = Secret32::from_bytes([2; 32]);
        let aad = transcript(DIRECT_HEADER, &[version, session, random]);
        let header = aead::open(&header_key, random[..12].try_into().unwrap(), &aad, sealed_header).unwrap();
        assert_eq!(header.len(), 42);
        assert_eq!(header[32..], [0; 10], "n, pn and the pq epoch begin at 0");
        let ratchet_key = DhPublic::from_bytes(header[..32].try_into().unwrap());

        let shared = prekey.agree(&ratchet_key).unwrap();
        let [_, chain, _] = kdf::derive_many(&[1; 32], shared.expose(), label::DIRECT_ROOT, &[]);
        let [_, seed] = kdf::derive_many(&[0; 32], chain.expose(), label::DIRECT_CHAIN, &[]);
        let [key] = kdf::derive_many(&[4; 32], seed.expose(), label::DIRECT_MESSAGE, &[random, &[0, 0]]);
        let (one, two) = ((&[1; 32], &[101; 32]), (&[2; 32], &[102; 32]));
        let aad = transcript(DIRECT_AAD, &[version, session, one.0, one.1, two.0, two.1, &message[..74], b"ad"]);
        assert_eq!(aead::open(&key, &[0; 12], &aad, sealed_payload).unwrap().as_slice(), b"by hand");
    }

    // A-DM-29 and its reverse, spec DM-24: the seed (all of it from DH) or the pq key alone is not enough.
    #[test]
    fn a_message_key_needs_the_seed_and_the_pq_key() {
        let key = |seed: u8, pq: u8, epoch: u16| {
            let (seed, pq) = (Secret32::from_bytes([seed; 32]), Secret32::from_bytes([pq; 32]));
            MessageSeed::from_secret(seed).into_message_key(&PqKey::from_secret(pq), epoch, &[5; 16])
        };
        assert_eq!(key(1, 2, 0), key(1, 2, 0));
        assert_ne!(key(1, 2, 0), key(1, 3, 0), "the seed known, the pq key not");
        assert_ne!(key(1, 2, 0), key(4, 2, 0), "the pq key known, the seed not");
        assert_ne!(key(1, 2, 0), key(1, 2, 1));
    }

    // A-DM-19, spec DM-31
    #[test]
    fn a_forged_message_costs_one_small_aead_for_each_live_header_key_and_nothing_else() {
        let (mut one, mut two) = pair();
        for _ in 0..8 {
            let _lost = one.seal(b"lost");
            one_round_trip(&mut one, &mut two);
        }
        assert_eq!(two.ratchet.as_ref().unwrap().old.len(), DM_OLD_CHAINS_MAX, "more old chains than the bound");
        let before = two.copy().tls_serialize_detached().unwrap();
        HEADER_TRIALS.with(|trials| trials.set(0));
        let forged = [0x5a; 4_000];
        assert_eq!(two.open(&forged).unwrap_err(), DmError::Authentication);
        // `locate` returned nothing, so that `advance`, the only place that derives or agrees, was never entered.
        assert_eq!(HEADER_TRIALS.with(Cell::get), 2 + DM_OLD_CHAINS_MAX);
        assert_eq!(two.copy().tls_serialize_detached().unwrap(), before);
    }

    // A-DM-12, A-DM-18, spec DM-26, spec DM-30
    #[test]
    fn counters_that_no_honest_sender_reaches_are_refused_before_anything_is_derived() {
        let refused = |change: fn(&mut Header), expected: DmError| {
            for is_new_chain in [true, false] {
                let (mut one, mut two) = pair();
                one_round_trip(&mut one, &mut two);
                if !is_new_chain {
                    let message = one.seal(b"begins the chain at the receiver");
                    two.open(&message).unwrap();
                }
                let before = two.copy().tls_serialize_detached().unwrap();
                let message = one.seal_with(change);
                assert_eq!(two.open(&message).unwrap_err(), expected);
                assert_eq!(two.copy().tls_serialize_detached().unwrap(), before);
            }
        };
        refused(|header| header.n = u32::MAX, DmError::CounterOutOfRange);
        refused(|header| header.n = DM_CHAIN_MESSAGES_MAX, DmError::CounterOutOfRange);
        refused(|header| header.pn = u32::MAX, DmError::CounterOutOfRange);
        refused(|header| header.pq_epoch = 1, DmError::UnknownPqEpoch { epoch: 1 });
    }

    // A-DM-18, A-DM-01, spec DM-30, spec DM-32
    #[test]
    fn a_first_header_of_a_chain_is_refused_for_a_huge_or_small_pn_a_jump_or_a_weak_key() {
        let refused = |change: fn(&mut Header), expected: DmError| {
            let (mut one, mut two) = pair();
            one_round_trip(&mut one, &mut two);
            let before = two.copy().tls_serialize_detached().unwrap();
            let message = one.seal_with(change);
            assert_eq!(two.open(&message).unwrap_err(), expected);
            assert_eq!(two.copy().tls_serialize_detached().unwrap(), before);
        };
        refused(|header| header.pn = 0, DmError::CounterOutOfRange);
        refused(|header| header.pn = 2_002, DmError::JumpTooLarge { jump: 2_001 });
        refused(|header| header.n = 2_001, DmError::JumpTooLarge { jump: 2_001 });
        refused(|header| header.key = DhPublic::from_bytes([0; 32]), DmError::WeakKey);
        refused(|header| header.key = DhPublic::from_bytes([0xff; 32]), DmError::WeakKey);
    }

    // A-DM-18, spec DM-30
    #[test]
    fn a_chain_keeps_its_ratchet_key() {
        let (mut one, mut two) = pair();
        let message = one.seal(b"begins the chain");
        two.open(&message).unwrap();
        let message = one.seal_with(|header| header.key = DhPublic::from_bytes([9; 32]));
        assert_eq!(two.open(&message).unwrap_err(), DmError::CounterOutOfRange);
    }

    // spec DM-28
    #[test]
    fn a_chain_ends_at_its_bound() {
        let (mut one, mut two) = pair();
        one_round_trip(&mut one, &mut two);
        one.seal(b"begins the chain");
        let Some(Ratchet { sending: Sending::Active(chain), .. }) = &mut one.ratchet else { panic!("active") };
        chain.count = DM_CHAIN_MESSAGES_MAX - 1;
        one.seal(b"the last");
        let refused = one.take().seal(&context(ONE, TWO), b"one more", &mut rand::rng());
        assert_eq!(refused.unwrap_err(), DmError::ChainExhausted);
    }

    // spec DM-36: a state that was rolled back to before our newest ratchet key sees an answer to that key.
    #[test]
    fn an_answer_to_what_this_state_never_sent_is_a_fork() {
        let (mut one, mut two) = pair();
        one_round_trip(&mut one, &mut two);
        let older = one.copy();
        let message = one.seal(b"steps");
        two.open(&message).unwrap();
        let answer = two.seal(b"answers the step");
        one.ratchet = Some(older);
        assert_eq!(one.open(&answer).unwrap_err(), DmError::StateForked);
    }

    // A-DM-20, spec DM-34
    #[test]
    fn a_flood_of_skipped_messages_stays_under_its_bounds_and_the_oldest_go_first() {
        let (mut one, mut two) = pair();
        one_round_trip(&mut one, &mut two);
        let mut first_of_chain = Vec::new();
        for _ in 0..4 {
            let mut lost: Vec<Vec<u8>> = (0..1_500u32).map(|n| one.seal(&n.to_be_bytes())).collect();
            one_round_trip(&mut one, &mut two);
            assert!(two.counted() <= DM_SKIPPED_PER_SESSION_MAX);
            assert_eq!(two.counted() as usize, two.seeds.len());
            first_of_chain.push((lost.swap_remove(499), lost.swap_remove(500)));
        }
        let (given_up, _) = &first_of_chain[0];
        assert_eq!(two.open(given_up).unwrap_err(), DmError::Authentication, "the oldest chain is given up whole");
        let (given_up, kept) = &first_of_chain[3];
        assert_eq!(two.open(given_up).unwrap_err(), DmError::Replay, "of a chain the newest 1 000 are kept");
        assert_eq!(two.open(kept).unwrap(), 500u32.to_be_bytes());
        assert_eq!(two.open(kept).unwrap_err(), DmError::Replay);
    }

    // spec DM-34
    #[test]
    fn a_chain_that_is_extended_again_gives_up_its_own_oldest() {
        let (mut one, mut two) = pair();
        one_round_trip(&mut one, &mut two);
        let messages: Vec<Vec<u8>> = (0..1_602u32).map(|n| one.seal(&n.to_be_bytes())).collect();
        two.open(&messages[800]).unwrap();
        two.open(&messages[1_601]).unwrap();
        assert_eq!((two.counted(), two.seeds.len()), (1_000, 1_000));
        assert_eq!(two.open(&messages[599]).unwrap_err(), DmError::Replay);
        assert_eq!(two.open(&messages[600]).unwrap(), 600u32.to_be_bytes());
    }
}
