//! What needs the inside: counting the work that a message causes, and headers that no honest sender makes.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

use std::cell::Cell;

use super::*;
use crate::crypto::{Secret32, kdf, label};
use crate::dm::keys::PqKey;

thread_local! {
    pub(super) static HEADER_TRIALS: Cell<usize> = const { Cell::new(0) };
}

const SESSION: SessionId = SessionId([9; 32]);
const AD: &[u8] = b"ad";

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
    ratchet: Ratchet,
    seeds: std::collections::BTreeMap<(ChainNumber, u32), MessageSeed>,
}

fn pair() -> (Side, Side) {
    let prekey = DhSecret::random(&mut rand::rng());
    let side = |ratchet| Side { ratchet, seeds: Default::default() };
    let one = side(Ratchet::initiator(SESSION, keys(), prekey.public(), ChunkLen::DEFAULT));
    (one, side(Ratchet::responder(SESSION, keys(), prekey, ChunkLen::DEFAULT)))
}

impl Side {
    fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.ratchet.seal(AD, plaintext, &mut rand::rng()).unwrap()
    }

    fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, DmError> {
        let message = RatchetMessage::decode(message)?;
        let located = self.ratchet.locate(&message).ok_or(DmError::Authentication)?;
        if let Some(at) = self.ratchet.stored_at(&located) {
            let seed = self.seeds.remove(&at).ok_or(DmError::Replay)?;
            let opened = self.ratchet.open_payload(seed, AD, &located, &message)?;
            let (plaintext, _) = self.ratchet.commit(None, opened);
            self.ratchet.forget_skipped(at.0, 1);
            return Ok(plaintext.to_vec());
        }
        let (advance, seed) = self.ratchet.advance(&located)?;
        let opened = self.ratchet.open_payload(seed, AD, &located, &message)?;
        let (plaintext, changes) = self.ratchet.commit(Some(advance), opened);
        for (chain, count) in changes.evict {
            let oldest: Vec<_> = self.seeds.keys().filter(|(of, _)| *of == chain).copied().collect();
            assert!(oldest.len() >= count as usize, "the state counts seeds that are not there");
            oldest.iter().take(count as usize).for_each(|key| drop(self.seeds.remove(key)));
        }
        self.seeds.extend(changes.store.into_iter().map(|skipped| ((skipped.chain, skipped.n), skipped.seed)));
        Ok(plaintext.to_vec())
    }

    fn copy(&self) -> Ratchet {
        let bytes = self.ratchet.tls_serialize_detached().unwrap();
        Ratchet::tls_deserialize_exact_bytes(&bytes).unwrap()
    }

    fn counted(&self) -> u32 {
        self.ratchet.skipped_count()
    }

    /// A message whose header says what no honest sender says.
    fn seal_with(&mut self, change: impl Fn(&mut Header)) -> Vec<u8> {
        self.seal(b"opens the chain");
        let ratchet = self.copy();
        let Sending::Active(chain) = ratchet.sending else { panic!("sealing makes the chain active") };
        let mut header = chain.header(ratchet.pq.epoch());
        change(&mut header);
        let random = [7; RANDOM_LEN];
        let mut message = Vec::new();
        seal_header(&chain.header, &random, &header, &mut message);
        let (_, seed) = chain.key.step();
        let key = seed.into_message_key(ratchet.pq.sending_key(), header.pq_epoch, &random);
        let aad = payload_aad(&message, AD);
        message.extend_from_slice(b"odd");
        message.resize(message.len() + 1 + ChunkLen::DEFAULT.as_usize(), 255);
        aead::seal_in_place(&key, &PAYLOAD_NONCE, &aad, &mut message, PREFIX_LEN);
        message
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
    let mut initiator = Ratchet::initiator(SESSION, keys(), prekey.public(), ChunkLen::DEFAULT);
    let message = initiator.seal(AD, b"by hand", &mut rand::rng()).unwrap();
    let (random, sealed_header, sealed_payload) = (&message[..16], &message[16..76], &message[76..]);

    let header_key = Secret32::from_bytes([2; 32]);
    let header = aead::open(&header_key, random[..12].try_into().unwrap(), random, sealed_header).unwrap();
    assert_eq!(header.len(), 44);
    assert_eq!(header[32..], [0; 12], "n, pn and the pq epoch begin at 0");
    let ratchet_key = DhPublic::from_bytes(header[..32].try_into().unwrap());

    let shared = prekey.agree(&ratchet_key).unwrap();
    let [_, chain, _] = kdf::derive_many(&[1; 32], shared.expose(), label::DIRECT_ROOT, &[]);
    let [_, seed] = kdf::expand_many(&chain, label::DIRECT_CHAIN, &[]);
    let key = kdf::extract(&[4; 32], label::DIRECT_MESSAGE, &[seed.expose(), random, &[0, 0, 0, 0]]);
    let aad = transcript(DIRECT_AAD, &[&[1], &message[..76], b"ad"]);
    let payload = aead::open(&key, &[0; 12], &aad, sealed_payload).unwrap();
    assert_eq!(payload[..7], *b"by hand");
    assert_eq!((payload[7], payload.len()), (0, 7 + 1 + 37), "chunk 0 of the initiator's offer");
}

// A-DM-29 and its reverse, spec DM-24: the seed (all of it from DH) or the pq key alone is not enough.
#[test]
fn a_message_key_needs_the_seed_and_the_pq_key() {
    let key = |seed: u8, pq: u8, epoch: u32| {
        let (seed, pq) = (Secret32::from_bytes([seed; 32]), Secret32::from_bytes([pq; 32]));
        MessageSeed::from_secret(seed).into_message_key(&PqKey::from_secret(pq), PqEpoch::from_u32(epoch), &[5; 16])
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
    assert_eq!(two.ratchet.old.len(), DM_OLD_CHAINS_MAX, "more old chains than the bound");
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
    let epoch = PqEpoch::from_u32(1);
    refused(|header| header.pq_epoch = PqEpoch::from_u32(1), DmError::UnknownPqEpoch { epoch });
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
    let Sending::Active(chain) = &mut one.ratchet.sending else { panic!("active") };
    chain.count = DM_CHAIN_MESSAGES_MAX - 1;
    one.seal(b"the last");
    let refused = one.ratchet.seal(AD, b"one more", &mut rand::rng());
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
    one.ratchet = older;
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

/// The classical half of `bob` as it stands, which who breaks Diffie–Hellman follows, with what a thief has of the other
/// half.
fn with_stolen_pq(bob: &Side, stolen: &PqRatchet) -> Ratchet {
    let copy = |ratchet: &PqRatchet| {
        PqRatchet::tls_deserialize_exact_bytes(&ratchet.tls_serialize_detached().unwrap()).unwrap()
    };
    Ratchet { pq: copy(stolen), ..bob.copy() }
}

/// Whether the thief, who breaks every Diffie–Hellman, opens `message`; what it carries is taken up, as Bob would.
fn quantum_thief_opens(stolen: &mut PqRatchet, bob: &Side, message: &[u8]) -> bool {
    let mut thief = with_stolen_pq(bob, stolen);
    let message = RatchetMessage::decode(message).unwrap();
    let located = thief.locate(&message).unwrap();
    let (advance, seed) = thief.advance(&located).unwrap();
    let Ok(opened) = thief.open_payload(seed, AD, &located, &message) else { return false };
    thief.commit(Some(advance), opened);
    *stolen = thief.pq;
    true
}

// A-DM-26 (PQ), A-DM-29, spec DM-102: measured from every moment of two epochs.
#[test]
fn a_stolen_state_and_all_broken_diffie_hellman_read_nothing_from_the_second_epoch_on() {
    let mut most = 0;
    let mut most_rounds = 0;
    for stolen_after in (0..140).step_by(13) {
        let (mut alice, mut bob) = pair();
        for _ in 0..stolen_after {
            one_round_trip(&mut alice, &mut bob);
        }
        let mut stolen = with_stolen_pq(&bob, &bob.ratchet.pq).pq;
        let epoch_stolen = bob.ratchet.pq.epoch().as_u32();
        let mut opened_count = 0;
        for round in 0..200 {
            let message = alice.seal(b"to Bob");
            let opened = quantum_thief_opens(&mut stolen, &bob, &message);
            let epoch = alice.ratchet.pq.epoch().as_u32();
            assert!(opened || epoch > epoch_stolen, "the thief is too weak: the test would show nothing");
            assert!(!opened || epoch < epoch_stolen + 2, "stolen in {epoch_stolen}, opened in {epoch}");
            bob.open(&message).unwrap();
            let answer = bob.seal(b"to Alice");
            alice.open(&answer).unwrap();
            if opened {
                opened_count += 1;
                most_rounds = most_rounds.max(round + 1);
            }
        }
        most = most.max(opened_count);
    }
    // The chapter's 63 messages an epoch, twice, and the messages that bring the news.
    assert!((63..=130).contains(&most), "the thief opened up to {most} messages, for up to {most_rounds} round trips");
}

// A-DM-21: chains and a pq epoch turn while messages of all of them are under way.
#[test]
fn messages_open_in_reverse_across_chains_and_a_pq_epoch() {
    let prekey = DhSecret::random(&mut rand::rng());
    let side = |ratchet| Side { ratchet, seeds: Default::default() };
    let mut one = side(Ratchet::initiator(SESSION, keys(), prekey.public(), ChunkLen::WHOLE));
    let mut two = side(Ratchet::responder(SESSION, keys(), prekey, ChunkLen::WHOLE));
    one_round_trip(&mut one, &mut two);
    let mut held = Vec::new();
    for chain in 0..3u8 {
        held.extend((0..4u8).map(|n| (one.seal(&[chain, n]), [chain, n])));
        one_round_trip(&mut one, &mut two);
    }
    assert!(two.ratchet.pq.epoch().as_u32() >= 1, "else no epoch turned");
    for (message, plaintext) in held.iter().rev() {
        assert_eq!(two.open(message).unwrap(), plaintext);
    }
    assert!(two.seeds.is_empty() && two.ratchet.old.is_empty());
}
