//! The post-quantum ratchet by itself: chunks in every order, lost, doubled, wrong, and of other epochs.
#![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

use proptest::prelude::*;
use tls_codec::{DeserializeBytes, Serialize};

use super::*;
use crate::crypto::Secret32;

const SESSION: SessionId = SessionId([9; 32]);

/// What a message says of the post-quantum ratchet.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    epoch: PqEpoch,
    index: u8,
    chunk: Vec<u8>,
}

fn pair(chunk_len: ChunkLen) -> (PqRatchet, PqRatchet) {
    let side = |role| PqRatchet::new(SESSION, role, chunk_len, PqKey::from_secret(Secret32::from_bytes([4; 32])));
    (side(Role::Initiator), side(Role::Responder))
}

impl PqRatchet {
    fn say(&mut self) -> Said {
        let mut bytes = Vec::new();
        let epoch = self.epoch();
        self.send(&mut bytes, &mut rand::rng());
        Said { epoch, index: bytes[0], chunk: bytes[1..].to_vec() }
    }

    fn hear(&mut self, said: &Said) -> Result<(), DmError> {
        self.receiving_key(said.epoch)?;
        let change = self.receive(said.epoch, said.index, &said.chunk)?;
        self.commit(change);
        Ok(())
    }

    fn stored(&self) -> Vec<u8> {
        self.tls_serialize_detached().unwrap()
    }

    /// The same after a restart.
    fn restarted(&self) -> Self {
        Self::tls_deserialize_exact_bytes(&self.stored()).unwrap()
    }
}

/// Sends to and fro until both name `epoch`; how many messages each side took.
fn turn_to(one: &mut PqRatchet, two: &mut PqRatchet, epoch: u32) -> usize {
    for count in 0.. {
        if one.epoch().as_u32() >= epoch && two.epoch().as_u32() >= epoch {
            return count;
        }
        let said = one.say();
        two.hear(&said).unwrap();
        let said = two.say();
        one.hear(&said).unwrap();
        assert!(count < 1_000, "the epochs stand still");
    }
    unreachable!()
}

// spec DM-94, spec DM-95, spec DM-98, spec DM-100
#[test]
fn epochs_turn_and_both_sides_have_their_keys() {
    let (mut one, mut two) = pair(ChunkLen::DEFAULT);
    let mut seen = vec![one.sending_key().duplicate()];
    for epoch in 1..5 {
        turn_to(&mut one, &mut two, epoch);
        assert_eq!(one.epoch(), two.epoch());
        assert_eq!(one.sending_key(), two.sending_key());
        assert!(seen.iter().all(|key| key != one.sending_key()), "a key came again");
        seen.push(one.sending_key().duplicate());
    }
}

// spec DM-95, spec DM-102: the figures of the chapter.
#[test]
fn an_epoch_takes_the_messages_that_the_chapter_says() {
    let count = |chunk_len| {
        let (mut one, mut two) = pair(chunk_len);
        turn_to(&mut one, &mut two, 2);
        (3..7).map(|epoch| turn_to(&mut one, &mut two, epoch)).collect::<Vec<usize>>()
    };
    // In ping-pong, counted in messages of each side: the key, the answer, and the message that names the new epoch.
    assert!(count(ChunkLen::DEFAULT).iter().all(|rounds| (62..=63).contains(rounds)), "{:?}", count(ChunkLen::DEFAULT));
    assert!(count(ChunkLen::WHOLE).iter().all(|rounds| (1..=2).contains(rounds)), "{:?}", count(ChunkLen::WHOLE));
}

// spec DM-91, spec DM-93
#[test]
fn every_message_is_equally_long_and_who_has_nothing_to_send_says_so() {
    let (mut one, mut two) = pair(ChunkLen::DEFAULT);
    let said = two.say();
    assert_eq!((said.index, said.chunk), (NO_CHUNK, vec![0; 37]), "the responder waits for the offer");
    for expected in (0..NO_CHUNK).chain(0..2) {
        let said = one.say();
        assert_eq!((said.index, said.chunk.len()), (expected, 37));
    }
    for _ in 0..32 {
        let said = one.say();
        two.hear(&said).unwrap();
    }
    let answer = two.say();
    assert_eq!(answer.index, 0);
    one.hear(&answer).unwrap();
    assert_eq!(one.say().index, NO_CHUNK, "the offer has arrived");
}

// A-DM-28, spec DM-99: pieces of two keys, as of a side that was rolled back between them.
#[test]
fn chunks_that_contradict_each_other_are_refused_and_change_nothing() {
    let (mut one, mut two) = pair(ChunkLen::DEFAULT);
    let mut rolled_back = one.restarted();
    let said = one.say();
    two.hear(&said).unwrap();
    let before = two.stored();
    let other = rolled_back.say();
    assert_ne!(said, other, "else the test shows nothing");
    assert_eq!(two.hear(&other), Err(DmError::PqMismatch));
    assert_eq!(two.stored(), before);
    two.hear(&said).unwrap();
}

// A-DM-01, A-DM-28, spec DM-97
#[test]
fn an_offer_that_is_no_key_is_refused_with_its_last_chunk() {
    let (mut one, mut two) = pair(ChunkLen::WHOLE);
    let mut said = one.say();
    said.chunk[..3].fill(0xff);
    let before = two.stored();
    assert_eq!(two.hear(&said), Err(DmError::WeakKey));
    assert_eq!(two.stored(), before);
}

// A-DM-28, spec DM-99: an answer to another key, or changed under way by a peer that seals what it likes.
#[test]
fn an_answer_that_does_not_confirm_the_key_is_refused() {
    let (mut one, mut two) = pair(ChunkLen::WHOLE);
    let said = one.say();
    two.hear(&said).unwrap();
    let answer = two.say();
    for at in [0, 500, kem::CIPHERTEXT_LEN - 1, kem::CIPHERTEXT_LEN, ANSWER_LEN - 1] {
        let mut changed = answer.clone();
        changed.chunk[at] ^= 1;
        let before = one.stored();
        assert_eq!(one.hear(&changed), Err(DmError::PqMismatch), "byte {at}");
        assert_eq!(one.stored(), before);
    }
    one.hear(&answer).unwrap();
    assert_eq!(one.epoch(), PqEpoch::from_u32(1));
}

// A-DM-28, spec DM-96: what belongs to another epoch, or to nobody, is heard and does nothing.
#[test]
fn chunks_of_other_epochs_do_nothing() {
    let (mut one, mut two) = pair(ChunkLen::DEFAULT);
    let early: Vec<Said> = (0..3).map(|_| one.say()).collect();
    turn_to(&mut one, &mut two, 3);
    let (before_one, before_two) =
        (one.turn.tls_serialize_detached().unwrap(), two.turn.tls_serialize_detached().unwrap());
    for said in &early {
        two.hear(said).unwrap();
        one.hear(said).unwrap();
    }
    assert_eq!(one.turn.tls_serialize_detached().unwrap(), before_one);
    assert_eq!(two.turn.tls_serialize_detached().unwrap(), before_two);
}

// A-DM-12, spec DM-26, spec DM-101
#[test]
fn keys_of_the_newest_eight_epochs_are_there_and_no_others() {
    let (mut one, mut two) = pair(ChunkLen::WHOLE);
    turn_to(&mut one, &mut two, 12);
    let newest = one.epoch().as_u32();
    for epoch in 0..=newest + 2 {
        let epoch = PqEpoch::from_u32(epoch);
        let is_kept = (newest - 7..=newest).contains(&epoch.as_u32());
        match one.receiving_key(epoch) {
            Ok(_) => assert!(is_kept, "{epoch:?} of {newest}"),
            Err(error) => assert_eq!((is_kept, error), (false, DmError::UnknownPqEpoch { epoch })),
        }
    }
}

// spec DM-100: the answering side has the next key, opens with it, and does not name it.
#[test]
fn the_answering_side_waits_until_the_other_has_the_key() {
    let (mut one, mut two) = pair(ChunkLen::WHOLE);
    let said = one.say();
    two.hear(&said).unwrap();
    let answers: Vec<Said> = (0..3).map(|_| two.say()).collect();
    assert!(answers.iter().all(|said| said.epoch == PqEpoch::FIRST));
    one.hear(&answers[0]).unwrap();
    let said = one.say();
    assert_eq!((said.epoch.as_u32(), two.epoch().as_u32()), (1, 0));
    two.hear(&said).unwrap();
    assert_eq!(two.epoch().as_u32(), 1);
    assert_eq!(one.sending_key(), two.sending_key());
}

#[test]
fn the_last_epoch_goes_on_for_ever() {
    let (mut one, mut two) = pair(ChunkLen::WHOLE);
    one.epoch = PqEpoch::from_u32(u32::MAX - 1);
    two.epoch = one.epoch;
    (one.turn, two.turn) = (one.first_turn(), two.first_turn());
    for _ in 0..6 {
        let said = one.say();
        two.hear(&said).unwrap();
        let said = two.say();
        one.hear(&said).unwrap();
    }
    assert_eq!((one.epoch().as_u32(), two.epoch().as_u32()), (u32::MAX, u32::MAX));
    assert_eq!(one.sending_key(), two.sending_key());
}

#[test]
fn messages_are_counted_from_the_last_epoch_on() {
    let (mut one, mut two) = pair(ChunkLen::WHOLE);
    assert_eq!(one.messages_since_heal(), 0);
    let said = one.say();
    two.hear(&said).unwrap();
    assert_eq!((one.messages_since_heal(), two.messages_since_heal()), (1, 1));
    turn_to(&mut one, &mut two, 1);
    assert!(one.messages_since_heal() < 3 && two.messages_since_heal() < 3);
}

/// What the network does to one message.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Comes behind the next so many.
    Late(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![5 => Just(Fate::Arrives), 2 => Just(Fate::Lost), 1 => Just(Fate::Twice), 1 => (1usize..6).prop_map(Fate::Late)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    // A-DM-28: dropped, doubled, late, and restarts in the middle; the epochs turn on, and the keys are the same.
    #[test]
    fn epochs_turn_under_loss_repetition_disorder_and_restarts(
        fates in prop::collection::vec((any::<bool>(), fate(), prop::bool::weighted(0.1)), 600),
        chunk_len in prop_oneof![Just(37u16), Just(32), Just(100), Just(1_184)],
    ) {
        let chunk_len = ChunkLen::new(chunk_len).unwrap();
        let (mut one, mut two) = pair(chunk_len);
        let mut late: Vec<(usize, bool, Said)> = Vec::new();
        for (at, (from_one, fate, restarts)) in fates.into_iter().enumerate() {
            if restarts {
                (one, two) = (one.restarted(), two.restarted());
            }
            let (from, to) = if from_one { (&mut one, &mut two) } else { (&mut two, &mut one) };
            let said = from.say();
            match fate {
                Fate::Arrives => to.hear(&said).unwrap(),
                Fate::Lost => {}
                Fate::Twice => {
                    to.hear(&said).unwrap();
                    to.hear(&said).unwrap();
                }
                Fate::Late(by) => late.push((at + by, from_one, said)),
            }
            let due: Vec<_> = late.extract_if(.., |(due, ..)| *due <= at).collect();
            for (_, from_one, said) in due {
                let to = if from_one { &mut two } else { &mut one };
                to.hear(&said).unwrap();
            }
            let (ahead, behind) = if one.epoch() >= two.epoch() { (&one, &two) } else { (&two, &one) };
            prop_assert!(ahead.epoch().as_u32() - behind.epoch().as_u32() <= 1);
            prop_assert_eq!(behind.receiving_key(ahead.epoch()).unwrap(), ahead.sending_key());
            prop_assert_eq!(ahead.receiving_key(behind.epoch()).unwrap(), behind.sending_key());
        }
        prop_assert!(one.epoch().as_u32() >= 2, "600 messages turned {} epochs", one.epoch().as_u32());
    }

    // A-DM-16 at this layer: whatever a peer seals, the answer is typed and nothing changes without reason.
    #[test]
    fn whatever_a_peer_says_is_taken_or_refused(index in any::<u8>(), chunk in prop::collection::vec(any::<u8>(), 37)) {
        let (mut one, mut two) = pair(ChunkLen::DEFAULT);
        let said = Said { epoch: PqEpoch::FIRST, index, chunk };
        prop_assert_eq!(two.hear(&said), Ok(()));
        prop_assert_eq!(one.hear(&said), Ok(()));
    }
}
