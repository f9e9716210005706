//! Linkings that go well, and those in which somebody stands between, listens, lies, or gives up.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use undertone_wire::id::{InboxToken, LogId, ServerId};

use super::channel::{FirstKeys, LaterKeys, MessageStep, open, opening_key, seal};
use super::new_side::{Opening, commitment, opening_body};
use super::offer::checksum;
use super::*;
use crate::crypto::dh::{DhError, DhPublic, DhSecret};
use crate::crypto::kem::{KemPublic, KemSecret};
use crate::crypto::sign::SigningKey;
use crate::identity::encoding::encode;
use crate::identity::invitation::base32;
use crate::identity::{
    Capability, DeviceRequest, Grant, IdentityError, LocalIdentity, NewDevice, RELAY_URL_LEN_MAX, RelayUrl, Role,
};
use crate::store::{MemoryStore, Overlay, Store, Tx};
use crate::time::UnixMs;

const NOW: UnixMs = UnixMs::from_u64(1_800_000_000_000);
const SERVER: ServerId = ServerId::from_bytes([7; 32]);
const ONE_MS: Duration = Duration::from_millis(1);

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn relay() -> RelayUrl {
    RelayUrl::new("ws://relay.example/v1/ws").unwrap()
}

fn mailbox(number: u8) -> Mailbox {
    Mailbox { inbox: LogId::from_bytes([number; 32]), token: InboxToken::from_bytes([number + 1; 32]) }
}

fn offering(seed: u64) -> NewOffering {
    NewOffering::new(mailbox(1), SERVER, relay(), NOW, &mut rng(seed))
}

fn opened(offer: &Offer, seed: u64) -> (OldOpened, Vec<u8>) {
    OldOpened::open(offer, mailbox(3), &SERVER, NOW, &mut rng(seed)).unwrap()
}

/// What a round led to.
fn next<S, N>(round: Result<Round<S, N>, LinkingError>) -> N {
    match round.unwrap() {
        Round::Next(next) => next,
        Round::Ignored(_) => panic!("the message was passed over"),
    }
}

/// The state as it was: the message was passed over.
fn same<S, N>(round: Result<Round<S, N>, LinkingError>) -> S {
    match round.unwrap() {
        Round::Ignored(same) => same,
        Round::Next(_) => panic!("the message was taken"),
    }
}

/// How the linking ended.
fn end<T>(ended: Result<T, LinkingError>) -> LinkingError {
    ended.err().unwrap()
}

/// Both sides, with the code on both.
struct Compared {
    new: NewComparing,
    old: OldComparing,
    opening: Vec<u8>,
    answer: Vec<u8>,
    reveal: Vec<u8>,
}

fn compared(seed: u64) -> Compared {
    let new = offering(seed);
    let (old, opening) = opened(&new.offer().to_string().parse().unwrap(), seed + 1);
    let (new, answer) = next(new.hear(&opening, NOW, &mut rng(seed + 2)));
    let (old, reveal) = next(old.hear(&answer, NOW));
    let new = next(new.hear(&reveal, NOW));
    Compared { new, old, opening, answer, reveal }
}

/// Both sides after both people have said yes.
fn confirmed(seed: u64) -> (NewConfirmed, OldReady) {
    let Compared { new, old, .. } = compared(seed);
    let (new, confirmation) = new.confirm(NOW).unwrap();
    let old = old.hear(&confirmation, NOW).unwrap();
    (new, next(old.confirm(NOW)))
}

/// An account, and what its key grants to whoever asks.
fn granted(request: &DeviceRequest, role: Role) -> (LocalIdentity, Grant) {
    let store = MemoryStore::new();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&store, &overlay);
    let mut us = LocalIdentity::create(&mut tx, "Ann", NOW, &mut rng(99)).unwrap();
    let grant = us.certify(&mut tx, request, role, relay(), NOW).unwrap();
    store.commit(&tx.into_batch()).unwrap();
    (us, grant)
}

/// Somebody who has seen the offer, and can do everything that an old device can, but honestly.
struct Insider {
    agreed: crate::crypto::Secret32,
    kem: KemSecret,
    first: FirstKeys,
    key: DhPublic,
}

impl Insider {
    fn new(offer: &Offer, seed: u64) -> Self {
        let secret = DhSecret::random(&mut rng(seed));
        let agreed = secret.agree(&offer.key).unwrap();
        let first = FirstKeys::derive(offer, &secret.public(), &agreed);
        Self { agreed, kem: KemSecret::random(&mut rng(seed + 1)), first, key: secret.public() }
    }

    fn opening_of(&self, body: &[u8]) -> Vec<u8> {
        seal(&self.first.opening, MessageStep::Opening, self.key.as_bytes(), body)
    }

    fn opening(&self, nonce: &[u8; 32]) -> Vec<u8> {
        let opening = Opening { kem: self.kem.public(), commitment: commitment(nonce), mailbox: mailbox(5) };
        self.opening_of(&opening_body(&opening))
    }

    /// The keys behind the answer, and the nonce of the new device.
    fn heard(self, opening: &[u8], answer: &[u8]) -> (LaterKeys, [u8; 32]) {
        let body = open(&self.first.answer, MessageStep::Answer, answer, 0).unwrap();
        let ciphertext = crate::crypto::kem::KemCiphertext::from_bytes(body[..1_088].try_into().unwrap());
        let nonce = body[1_088..1_120].try_into().unwrap();
        let shared = self.kem.decapsulate(&ciphertext);
        (self.first.into_later(&self.agreed, &shared, opening, answer), nonce)
    }
}

// spec ID-74..77, spec ENC-11
#[test]
fn both_show_the_same_six_digits_and_the_grant_arrives() {
    for (seed, role) in [(1, Role::Linked), (2, Role::Primary)] {
        let both = compared(seed * 100);
        assert_eq!(both.new.code(), both.old.code());
        let shown = both.new.code().to_string();
        assert_eq!((shown.len(), &shown[3..4]), (7, " "));
        assert!(shown.bytes().enumerate().all(|(at, byte)| at == 3 || byte.is_ascii_digit()));
        let (new, old) = confirmed(seed * 100);
        let (account, grant) = granted(old.request(), role);
        let (keys, taken) = next(new.hear(&old.grant(&grant), NOW));
        let store = MemoryStore::new();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let device = LocalIdentity::take_up(&mut tx, keys, taken, NOW).unwrap();
        assert_eq!(device.account(), account.account());
        assert_eq!(device.own_devices(), account.own_devices());
        assert_eq!(device.device().can(Capability::PRIMARY), role == Role::Primary);
        assert!(device.account_key().is_none(), "it comes later");
    }
}

// spec ID-75
#[test]
fn either_person_may_be_the_first_to_say_yes() {
    let Compared { new, old, .. } = compared(200);
    let (new, confirmation) = new.confirm(NOW).unwrap();
    let _: OldAgreed = same(compared(200).old.confirm(NOW));
    let old = same(old.confirm(NOW));
    let old = same(old.hear(&[0; 4], NOW));
    let old = next(old.hear(&confirmation, NOW));
    let (_, grant) = granted(old.request(), Role::Linked);
    next(new.hear(&old.grant(&grant), NOW));
}

// spec ID-75, spec ID-76
#[test]
fn nothing_is_granted_or_taken_up_before_both_people_have_said_yes() {
    // The old device knows nothing of its account until it is ready: what it has sent before cannot hold any of it.
    // A grant that comes before the person at the new device has looked is no grant, whatever it is sealed with.
    let (_, ready) = confirmed(300);
    let (_, grant) = granted(ready.request(), Role::Linked);
    let early = ready.grant(&grant);
    let Compared { new, .. } = compared(300);
    let new = new.hear(&early, NOW).unwrap();
    let (new, _) = new.confirm(NOW).unwrap();
    // The one that comes after is taken: it was not a question of its bytes.
    next(new.hear(&early, NOW));
    // And the old device does not get ready without the confirmation, nor by its own messages.
    let Compared { old, reveal, opening, answer, .. } = compared(300);
    let mut old = same(old.confirm(NOW));
    for message in [reveal, opening, answer, early] {
        old = same(old.hear(&message, NOW));
    }
}

// spec ID-74
#[test]
fn somebody_in_the_middle_shows_in_the_digits() {
    let mut equal = 0;
    for seed in 0..50 {
        let seed = 1_000 + seed * 10;
        // The old device was made to scan Mallory's offer; Mallory opens the real one, and passes everything on.
        let (real, false_one) = (offering(seed), offering(seed + 1));
        let (old, opening) = opened(false_one.offer(), seed + 2);
        let (false_old, false_opening) = opened(real.offer(), seed + 3);
        let (real, answer) = next(real.hear(&false_opening, NOW, &mut rng(seed + 4)));
        let (false_one, false_answer) = next(false_one.hear(&opening, NOW, &mut rng(seed + 5)));
        let (old, reveal) = next(old.hear(&false_answer, NOW));
        let (false_old, false_reveal) = next(false_old.hear(&answer, NOW));
        let new = next(real.hear(&false_reveal, NOW));
        assert_eq!(next(false_one.hear(&reveal, NOW)).code(), old.code());
        assert_eq!(false_old.code(), new.code());
        equal += u32::from(new.code() == old.code());
    }
    assert_eq!(equal, 0, "by chance one in a million");
}

// spec ID-73
#[test]
fn the_committing_side_cannot_search_for_a_code() {
    let new = offering(2_000);
    // Mallory wants the new device to show what the old one shows already, to within a thousand.
    let wanted = compared(2_100).old.code().0 % 1_000;
    let mallory = Insider::new(new.offer(), 2_001);
    let committed = [1; 32];
    let opening = mallory.opening(&committed);
    let (answered, answer) = next(new.hear(&opening, NOW, &mut rng(2_002)));
    let (keys, theirs) = mallory.heard(&opening, &answer);
    // With the nonce of the new device in hand, one that gives the code is quickly found…
    let mut tried = 0u64;
    let found = loop {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&tried.to_be_bytes());
        if keys.code(&nonce, &theirs).0 % 1_000 == wanted {
            break nonce;
        }
        tried += 1;
        assert!(tried < 100_000, "a thousandth is found in some thousand attempts");
    };
    // …and is not the one committed to.
    let reveal = seal(&keys.reveal, MessageStep::Reveal, &[], &found);
    assert_eq!(end(answered.hear(&reveal, NOW)), LinkingError::Commitment);
}

// spec ID-73, spec ID-74
#[test]
fn the_answering_side_cannot_know_the_code_before_it_is_bound() {
    // Two old devices that differ in nothing but the nonce behind the commitment come to other codes with one answer:
    // whoever answers would have to open the hash.
    let new = offering(2_200);
    let codes: Vec<u32> = (0..20u8)
        .map(|number| {
            let mallory = Insider::new(new.offer(), 2_201);
            let opening = mallory.opening(&[number; 32]);
            let (answered, answer) = next(offering(2_200).hear(&opening, NOW, &mut rng(2_202)));
            let (keys, _) = mallory.heard(&opening, &answer);
            next(answered.hear(&seal(&keys.reveal, MessageStep::Reveal, &[], &[number; 32]), NOW)).code().0
        })
        .collect();
    let mut distinct = codes.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), codes.len());
}

// spec ID-71
#[test]
fn whoever_photographed_the_offer_and_is_first_takes_it_and_gets_no_further() {
    let new = offering(2_300);
    let (mallory, false_opening) = opened(new.offer(), 2_301);
    let (old, opening) = opened(new.offer(), 2_302);
    let (new, answer) = next(new.hear(&false_opening, NOW, &mut rng(2_303)));
    // The account's own device is not heard any more, shows no code, and gives up; so the person has nothing to compare.
    let new = same(new.hear(&opening, NOW));
    let old = same(old.hear(&answer, NOW));
    let late = NOW.after(LINKING_TIME_MAX).after(ONE_MS);
    assert_eq!(end(old.hear(&answer, late)), LinkingError::Expired);
    let (mallory, reveal) = next(mallory.hear(&answer, NOW));
    let new = next(new.hear(&reveal, NOW));
    // Mallory's own account is not taken up, because nobody says yes on the new device.
    let mallory = same(mallory.confirm(NOW));
    let end_of_new = new.abort(Abort::Declined);
    assert_eq!(end(mallory.hear(&end_of_new, NOW)), LinkingError::Aborted(Abort::Declined));
}

// spec ID-71, spec ID-72
#[test]
fn nothing_is_taken_twice_or_out_of_another_linking() {
    let (one, other) = (compared(2_400), compared(2_500));
    let new = offering(2_400);
    let new = same(new.hear(&other.opening, NOW, &mut rng(1)));
    let (new, _) = next(new.hear(&one.opening, NOW, &mut rng(2_402)));
    let mut new = new;
    for message in [&one.opening, &one.answer, &other.opening, &other.reveal] {
        new = same(new.hear(message, NOW));
    }
    let mut new = next(new.hear(&one.reveal, NOW));
    assert_eq!(new.code(), one.new.code());
    for message in [&one.opening, &one.answer, &one.reveal, &other.reveal] {
        new = new.hear(message, NOW).unwrap();
    }
    let (old, _) = opened(offering(2_400).offer(), 2_401);
    let mut old = old;
    for message in [&one.opening, &one.reveal, &other.answer, &other.opening] {
        old = same(old.hear(message, NOW));
    }
    let (old, _) = next(old.hear(&one.answer, NOW));
    // Confirmations and grants of one linking are nothing in another.
    let (_, theirs) = other.new.confirm(NOW).unwrap();
    let old = old.hear(&theirs, NOW).unwrap();
    let _: OldAgreed = same(old.confirm(NOW));
    let (ours, _) = confirmed(2_400);
    let (_, ready) = confirmed(2_500);
    let (_, grant) = granted(ready.request(), Role::Linked);
    let _: NewConfirmed = same(ours.hear(&ready.grant(&grant), NOW));
}

/// Every way to damage a message: each bit of its first 160 and last 32 bytes, one bit of each byte between, every cut at
/// those places, and a byte more.
fn damaged(message: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..message.len() {
        let is_edge = at < 160 || at + 32 >= message.len();
        let bits = if is_edge { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let mut flipped = message.to_vec();
            flipped[at] ^= 1 << bit;
            all.push(flipped);
        }
        if is_edge {
            all.push(message[..at].to_vec());
        }
    }
    all.push([message, &[0]].concat());
    all
}

// spec ID-72, spec ENC-06
#[test]
fn a_damaged_message_is_passed_over_and_the_linking_goes_on() {
    let all = compared(2_600);
    let mut new = offering(2_600);
    for message in damaged(&all.opening) {
        new = same(new.hear(&message, NOW, &mut rng(1)));
    }
    let (mut new, answer) = next(new.hear(&all.opening, NOW, &mut rng(2_602)));
    assert_eq!(answer, all.answer);
    let (mut old, _) = opened(offering(2_600).offer(), 2_601);
    for message in damaged(&all.answer) {
        old = same(old.hear(&message, NOW));
    }
    let (mut old, _) = next(old.hear(&all.answer, NOW));
    for message in damaged(&all.reveal) {
        new = same(new.hear(&message, NOW));
    }
    let new = next(new.hear(&all.reveal, NOW));
    let (mut new, confirmation) = new.confirm(NOW).unwrap();
    for message in damaged(&confirmation) {
        old = old.hear(&message, NOW).unwrap();
    }
    let old = same(old.confirm(NOW));
    let old = next(old.hear(&confirmation, NOW));
    let (_, grant) = granted(old.request(), Role::Primary);
    let granted = old.grant(&grant);
    for message in damaged(&granted) {
        new = same(new.hear(&message, NOW));
    }
    next(new.hear(&granted, NOW));
}

// spec ID-72
#[test]
fn padding_that_is_not_zeros_and_lengths_past_the_end_are_passed_over() {
    let key = crate::crypto::Secret32::random(&mut rng(1));
    let sealed = |padded: &[u8]| {
        let front = [1, MessageStep::Reveal as u8];
        [&front[..], &crate::crypto::aead::seal(&key, &[0; 12], &front, padded)].concat()
    };
    let is_open = |padded: &[u8]| open(&key, MessageStep::Reveal, &sealed(padded), 0).is_some();
    let mut padded = vec![0; 6_144];
    assert!(is_open(&padded));
    padded[6_143] = 1;
    assert!(!is_open(&padded));
    padded[..4].copy_from_slice(&6_140u32.to_be_bytes());
    assert!(is_open(&padded));
    padded[..4].copy_from_slice(&6_141u32.to_be_bytes());
    assert!(!is_open(&padded));
    padded[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(!is_open(&padded));
    assert!(!is_open(&[0; 6_143]) && !is_open(&[0; 6_145]));
}

// spec ID-72
#[test]
fn what_opens_and_is_wrong_ends_the_linking() {
    let heard = |change: &dyn Fn(&Insider) -> Vec<u8>| {
        let new = offering(2_700);
        let mallory = Insider::new(new.offer(), 2_701);
        let opening = change(&mallory);
        new.hear(&opening, NOW, &mut rng(1)).err()
    };
    let body = |mallory: &Insider| {
        opening_body(&Opening { kem: mallory.kem.public(), commitment: [0; 32], mailbox: mailbox(5) })
    };
    assert_eq!(heard(&|mallory| mallory.opening_of(&body(mallory))), None);
    assert_eq!(heard(&|mallory| mallory.opening_of(&[])), Some(LinkingError::Malformed));
    let cut = |mallory: &Insider| mallory.opening_of(&body(mallory)[1..]);
    assert_eq!(heard(&cut), Some(LinkingError::Malformed));
    let longer = |mallory: &Insider| mallory.opening_of(&[&body(mallory)[..], &[0]].concat());
    assert_eq!(heard(&longer), Some(LinkingError::Malformed));
    let bad_kem = |mallory: &Insider| {
        let kem = KemPublic::from_bytes([0xff; 1_184]);
        mallory.opening_of(&opening_body(&Opening { kem, commitment: [0; 32], mailbox: mailbox(5) }))
    };
    assert_eq!(heard(&bad_kem), Some(LinkingError::Malformed));

    let answered = |seed: u64| {
        let new = offering(seed);
        let mallory = Insider::new(new.offer(), seed + 1);
        let opening = mallory.opening(&[3; 32]);
        let (answered, answer) = next(new.hear(&opening, NOW, &mut rng(seed + 2)));
        (answered, mallory.heard(&opening, &answer).0)
    };
    for wrong in [&[][..], &[3; 31], &[3; 33]] {
        let (new, keys) = answered(2_710);
        let reveal = seal(&keys.reveal, MessageStep::Reveal, &[], wrong);
        assert_eq!(end(new.hear(&reveal, NOW)), LinkingError::Malformed);
    }
    let (new, keys) = answered(2_720);
    let new = next(new.hear(&seal(&keys.reveal, MessageStep::Reveal, &[], &[3; 32]), NOW));
    let (new, _) = new.confirm(NOW).unwrap();
    let no_grant = seal(&keys.grant, MessageStep::Grant, &[], &[1, 2, 3]);
    assert!(matches!(end(new.hear(&no_grant, NOW)), LinkingError::Identity(_)));
}

// spec ID-63, spec ID-72
#[test]
fn an_answer_with_a_request_that_cannot_be_granted_ends_the_linking() {
    let keys = NewDevice::random(&mut rng(1));
    let good = keys.request().encode();
    let mut unsigned = good.clone();
    let last = unsigned.len() - 1;
    unsigned[last] ^= 1;
    let low_order = DeviceRequest::sign(&keys.signing, DhPublic::from_bytes([0; 32]), vec![]).encode();
    let cases = [
        (good, None),
        (vec![], Some(LinkingError::Identity(IdentityError::Malformed))),
        (unsigned, Some(LinkingError::Identity(IdentityError::BadSignature))),
        (low_order, Some(LinkingError::Identity(IdentityError::BadDhKey(DhError::NonContributory)))),
    ];
    for (request, expected) in cases {
        let new = offering(2_800);
        let secret = &new.secret;
        let (old, opening) = opened(new.offer(), 2_801);
        let old_key = opening_key(&opening).unwrap();
        let first = FirstKeys::derive(new.offer(), &old_key, &secret.agree(&old_key).unwrap());
        let body = open(&first.opening, MessageStep::Opening, &opening, 32).unwrap();
        let kem = KemPublic::from_bytes(body[..1_184].try_into().unwrap());
        let (ciphertext, _) = kem.encapsulate(&mut rng(3)).unwrap();
        let answer = [ciphertext.as_bytes().as_slice(), &[4; 32], &request].concat();
        let ended = old.hear(&seal(&first.answer, MessageStep::Answer, &[], &answer), NOW).err();
        assert_eq!(ended, expected);
        let (old, _) = opened(new.offer(), 2_801);
        let cut = seal(&first.answer, MessageStep::Answer, &[], &answer[..1_119]);
        assert_eq!(old.hear(&cut, NOW).err(), Some(LinkingError::Malformed));
    }
}

// spec ID-71
#[test]
fn everything_ends_after_ten_minutes() {
    let last = NOW.after(LINKING_TIME_MAX);
    let late = last.after(ONE_MS);
    let offer = offering(2_900).offer().clone();
    assert_eq!(offer.expires(), last);
    assert_eq!(offer.check(&SERVER, last), Ok(()));
    let refused = OldOpened::open(&offer, mailbox(3), &SERVER, late, &mut rng(1));
    assert_eq!(end(refused), LinkingError::Expired);

    let all = compared(2_900);
    assert_eq!(end(offering(2_900).hear(&all.opening, late, &mut rng(1))), LinkingError::Expired);
    let (answered, _) = next(offering(2_900).hear(&all.opening, last, &mut rng(2_902)));
    assert_eq!(end(answered.hear(&all.reveal, late)), LinkingError::Expired);
    assert_eq!(end(opened(&offer, 2_901).0.hear(&all.answer, late)), LinkingError::Expired);
    assert_eq!(end(compared(2_900).new.confirm(late)), LinkingError::Expired);
    assert_eq!(end(compared(2_900).new.hear(&[], late)), LinkingError::Expired);
    assert_eq!(end(compared(2_900).old.confirm(late)), LinkingError::Expired);
    let (new, confirmation) = all.new.confirm(last).unwrap();
    assert_eq!(end(compared(2_900).old.hear(&confirmation, late)), LinkingError::Expired);
    let agreed = same(all.old.confirm(last));
    assert_eq!(end(agreed.hear(&confirmation, late)), LinkingError::Expired);
    let (_, ready) = confirmed(2_900);
    let (_, grant) = granted(ready.request(), Role::Linked);
    assert_eq!(end(new.hear(&ready.grant(&grant), late)), LinkingError::Expired);
}

// spec ID-78
#[test]
fn who_gives_up_tells_the_other_one() {
    let declined = LinkingError::Aborted(Abort::Declined);
    let failed = LinkingError::Aborted(Abort::Failed);
    let by_old = compared(3_000).old.abort(Abort::Declined);
    let by_new = compared(3_000).new.abort(Abort::Failed);
    assert_eq!(end(compared(3_000).new.hear(&by_old, NOW)), declined);
    assert_eq!(end(compared(3_000).old.hear(&by_new, NOW)), failed);
    // Before the code is there on the new device, and after its person has said yes.
    let (answered, _) = next(offering(3_000).hear(&compared(3_000).opening, NOW, &mut rng(3_002)));
    assert_eq!(end(answered.hear(&by_old, NOW)), declined);
    let (confirmed_new, ready) = confirmed(3_000);
    assert_eq!(end(confirmed_new.hear(&ready.abort(Abort::Failed), NOW)), failed);
    let agreed = same(compared(3_000).old.confirm(NOW));
    let (answered, _) = next(offering(3_000).hear(&compared(3_000).opening, NOW, &mut rng(3_002)));
    assert_eq!(end(agreed.hear(&answered.abort(Abort::Declined), NOW)), declined);
    let agreed = same(compared(3_000).old.confirm(NOW));
    let (confirmed_new, _) = confirmed(3_000);
    assert_eq!(end(compared(3_000).new.hear(&agreed.abort(Abort::Declined), NOW)), declined);
    assert_eq!(end(compared(3_000).old.hear(&confirmed_new.abort(Abort::Declined), NOW)), declined);
    // One's own abort, and one of another linking, are nothing.
    let old = compared(3_000).old.hear(&by_old, NOW).unwrap();
    old.hear(&compared(3_100).new.abort(Abort::Declined), NOW).unwrap();
}

// spec ID-70
#[test]
fn an_offer_is_one_line_that_says_the_same_when_read() {
    let offer = offering(3_200).offer().clone();
    let text = offer.to_string();
    assert!(text.starts_with("undertonelink1"));
    assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    assert!(text.len() < 400, "{} characters: a camera reads it", text.len());
    assert_eq!(text.parse(), Ok(offer.clone()));
    assert_eq!(format!(" {}\n", text.to_ascii_uppercase()).parse(), Ok(offer.clone()));
    for at in 0..text.len() {
        let other = if &text[at..=at] == "b" { "c" } else { "b" };
        let mistyped = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        assert!(mistyped.parse::<Offer>().is_err(), "character {at}");
        assert!(text[..at].parse::<Offer>().is_err(), "cut to {at}");
    }
    assert_eq!("undertone1".parse::<Offer>(), Err(OfferError::NotAnOffer));
    assert_eq!("undertonelink1".parse::<Offer>(), Err(OfferError::Checksum));
    assert_eq!(format!("{}!{}", &text[..20], &text[21..]).parse::<Offer>(), Err(OfferError::Alphabet));
    let longest = Offer { relay: RelayUrl::new(&"x".repeat(RELAY_URL_LEN_MAX)).unwrap(), ..offer };
    assert_eq!(longest.to_string().len(), OFFER_LEN_MAX);
    assert_eq!(longest.to_string().parse(), Ok(longest));
    assert_eq!(format!("undertonelink1{}", "a".repeat(OFFER_LEN_MAX)).parse::<Offer>(), Err(OfferError::NotAnOffer));
}

// spec ID-70, spec ENC-07
#[test]
fn an_offer_that_says_what_cannot_be_is_refused() {
    let offer = offering(3_300).offer().clone();
    let text_of = |payload: &[u8]| {
        format!("undertonelink1{}", base32().encode(&[payload, &checksum(payload)].concat())).parse::<Offer>()
    };
    let payload = offer.payload();
    assert_eq!(text_of(&payload), Ok(offer.clone()));
    let invalid = |error| Err(OfferError::Invalid(error));
    assert_eq!(text_of(&[&[2], &payload[1..]].concat()), invalid(IdentityError::UnknownVersion { version: 2 }));
    assert_eq!(text_of(&[&payload[..], &[0]].concat()), invalid(IdentityError::Malformed));
    let low_order = [&payload[..1], &[0; 32], &payload[33..]].concat();
    assert_eq!(text_of(&low_order), invalid(IdentityError::BadDhKey(DhError::NonContributory)));
    let at = payload.len() - relay().as_str().len();
    let blank = [&payload[..at], &b" "[..], &payload[at + 1..]].concat();
    assert_eq!(text_of(&blank), invalid(IdentityError::BadRelayUrl));
    let another = ServerId::from_bytes([8; 32]);
    let refused = OldOpened::open(&offer, mailbox(3), &another, NOW, &mut rng(1));
    assert_eq!(end(refused), LinkingError::AnotherRelay);
    let unusable = Offer { key: DhPublic::from_bytes([0; 32]), ..offer };
    let refused = OldOpened::open(&unusable, mailbox(3), &SERVER, NOW, &mut rng(1));
    assert_eq!(end(refused), LinkingError::Identity(IdentityError::BadDhKey(DhError::NonContributory)));
}

#[test]
fn every_byte_of_an_offer_changes_the_code_or_the_keys() {
    // Whoever changes the offer on its way to the camera is no party to what follows.
    let payload = offering(3_400).offer().payload();
    for at in 1..payload.len() {
        let mut changed = payload.clone();
        changed[at] ^= 1;
        let text = format!("undertonelink1{}", base32().encode(&[&changed[..], &checksum(&changed)].concat()));
        let Ok(offer) = text.parse::<Offer>() else { continue };
        let Ok((_, opening)) = OldOpened::open(&offer, mailbox(3), &offer.server, NOW, &mut rng(1)) else { continue };
        let _: NewOffering = same(offering(3_400).hear(&opening, NOW, &mut rng(2)));
    }
}

// spec ENC-13
#[test]
fn no_state_shows_what_it_holds() {
    let Compared { new, old, .. } = compared(3_500);
    assert_eq!(format!("{new:?} {old:?}"), "NewComparing(…) OldComparing(…)");
    let shown = format!("{:?}", mailbox(1));
    assert!(!shown.contains("0202"), "a token lets others in: {shown}");
    let key = SigningKey::random(&mut rng(1));
    assert_eq!(encode(&key.verify_key()).len(), 32);
}

// A-DM-36
#[test]
fn an_insider_without_the_kem_key_has_none_of_the_later_keys() {
    // X25519 broken, ML-KEM not: the offer and both keys are known, and message 3 stays shut.
    let all = compared(3_600);
    let new = offering(3_600);
    let old_key = opening_key(&all.opening).unwrap();
    let agreed = new.secret.agree(&old_key).unwrap();
    let first = FirstKeys::derive(new.offer(), &old_key, &agreed);
    assert!(open(&first.answer, MessageStep::Answer, &all.answer, 0).is_some());
    let guessed = crate::crypto::Secret32::from_bytes([0; 32]);
    let later = first.into_later(&agreed, &guessed, &all.opening, &all.answer);
    assert!(open(&later.reveal, MessageStep::Reveal, &all.reveal, 0).is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..300), exact: bool, step in 0u8..9) {
        let mut bytes = bytes;
        if exact {
            bytes.resize(if step == 1 { LINKING_MESSAGE_LEN_MAX } else { LINKING_MESSAGE_LEN_MAX - 32 }, step);
            bytes[..2].copy_from_slice(&[1, step]);
        }
        let _: NewOffering = same(offering(1).hear(&bytes, NOW, &mut rng(1)));
        let _: OldOpened = same(opened(offering(1).offer(), 2).0.hear(&bytes, NOW));
    }

    #[test]
    fn arbitrary_text_is_an_offer_or_an_error(text in "undertonelink1[a-z2-7]{0,400}|.{0,60}") {
        if let Ok(offer) = text.parse::<Offer>() {
            prop_assert_eq!(offer.to_string().parse::<Offer>(), Ok(offer));
        }
    }

    #[test]
    fn offers_come_back_from_their_text(seed: u64, expires: u64, url in "[!-~]{1,512}") {
        let mut rng = rng(seed);
        let mut server = [0; 32];
        rng.fill_bytes(&mut server);
        let made = NewOffering::new(mailbox(1), ServerId::from_bytes(server), RelayUrl::new(&url).unwrap(), UnixMs::from_u64(expires), &mut rng);
        prop_assert_eq!(made.offer().to_string().parse::<Offer>(), Ok(made.offer().clone()));
    }
}
