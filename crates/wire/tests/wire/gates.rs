//! Proofs, signed requests, names and the chain: what goes in, and that all of it does.

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use undertone_wire::VLBytes;
use undertone_wire::chain::{self, Leaf};
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right, proof_input, verify};
use undertone_wire::id::*;
use undertone_wire::label;

use crate::arb::chained;

const NONCE: ConnectionNonce = ConnectionNonce::from_bytes([1; 32]);
const SERVER: ServerId = ServerId::from_bytes([2; 32]);
const LOG: LogId = LogId::from_bytes([3; 32]);

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[4; 32])
}

fn public(key: &SigningKey) -> VerifyKey {
    VerifyKey::from_bytes(key.verifying_key().to_bytes())
}

fn sign(input: &[u8]) -> Signature {
    Signature::from_bytes(signing_key().sign(input).to_bytes())
}

/// H, written out from the conventions: every field here is shorter than 64 bytes, or just that long.
fn hash(label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let label = format!("undertone/v1/{label}");
    let mut input = Vec::new();
    for field in std::iter::once(label.as_bytes()).chain(fields.iter().copied()) {
        match field.len() {
            len @ 0..64 => input.push(len as u8),
            len => input.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        }
        input.extend_from_slice(field);
    }
    Sha256::digest(input).into()
}

// spec RELAY-02, RELAY-20, RELAY-30, RELAY-31, RELAY-40
#[test]
fn names_are_hashes_of_keys_under_their_own_label() {
    let key = VerifyKey::from_bytes([5; 32]);
    assert_eq!(LogId::of_control_key(&key).as_bytes(), &hash("log id", &[&[5; 32]]));
    assert_eq!(LogId::of_inbox_key(&key).as_bytes(), &hash("inbox id", &[&[5; 32]]));
    assert_eq!(SlotId::of_owner(&key).as_bytes(), &hash("slot id", &[&[5; 32]]));
    assert_eq!(InboxToken::from_bytes([5; 32]).to_hash().as_bytes(), &hash("inbox token", &[&[5; 32]]));
    assert_eq!(PayloadHash::of(&[5; 32]).as_bytes(), &hash("payload", &[&[5; 32]]));
    assert_eq!(PayloadHash::of(&[5; 200]).as_bytes(), &hash("payload", &[&[5; 200]]));
}

// spec RELAY-11
#[test]
fn a_proof_binds_connection_relay_log_generation_and_right() {
    let (key, generation) = (public(&signing_key()), Generation::from_u64(7));
    let signature = sign(&proof_input(&NONCE, &SERVER, &LOG, generation, Right::Read));
    let proof = Proof { log: LOG, generation, right: Right::Read, signature };
    assert!(proof.is_signed_by(&key, &NONCE, &SERVER));

    assert!(!proof.is_signed_by(&key, &ConnectionNonce::from_bytes([9; 32]), &SERVER));
    assert!(!proof.is_signed_by(&key, &NONCE, &ServerId::from_bytes([9; 32])));
    assert!(!proof.is_signed_by(&public(&SigningKey::from_bytes(&[9; 32])), &NONCE, &SERVER));
    let others = [
        Proof { log: LogId::from_bytes([9; 32]), ..proof.clone() },
        Proof { generation: Generation::from_u64(8), ..proof.clone() },
        Proof { right: Right::Append, ..proof.clone() },
        Proof { right: Right::Control, ..proof.clone() },
    ];
    assert!(others.iter().all(|other| !other.is_signed_by(&key, &NONCE, &SERVER)));
    for bit in 0..512 {
        let mut bytes = *signature.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let flipped = Proof { signature: Signature::from_bytes(bytes), ..proof.clone() };
        assert!(!flipped.is_signed_by(&key, &NONCE, &SERVER), "bit {bit}");
    }
}

// spec RELAY-11: a key of small order verifies anything; a scalar past the group's order is a second signature.
#[test]
fn weak_keys_and_second_signatures_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut anything = [0; 64];
    anything[0] = 1;
    for key in [identity, [0; 32]] {
        assert!(!verify(&VerifyKey::from_bytes(key), b"input", &Signature::from_bytes(anything)));
    }
    let mut bytes = *sign(b"input").as_bytes();
    assert!(verify(&public(&signing_key()), b"input", &Signature::from_bytes(bytes)));
    // ℓ, little-endian.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!verify(&public(&signing_key()), b"input", &Signature::from_bytes(bytes)));
    assert!(!verify(&VerifyKey::from_bytes([0xff; 32]), b"input", &sign(b"input")), "no point at all");
}

// spec RELAY-41
#[test]
fn a_publication_is_signed_with_all_it_says() {
    let items: Vec<VLBytes> = vec![b"one".to_vec().into(), b"two".to_vec().into()];
    let input = Publish::signature_input(&NONCE, &SERVER, SlotKind::PrekeyBundle, 3, b"body", &items);
    let (owner, kind, body, signature) =
        (public(&signing_key()), SlotKind::PrekeyBundle, b"body".to_vec().into(), sign(&input));
    let publish = Publish { owner, kind, version: 3, body, items, signature };
    assert!(publish.is_signed(&NONCE, &SERVER));

    assert!(!publish.is_signed(&ConnectionNonce::from_bytes([9; 32]), &SERVER));
    assert!(!publish.is_signed(&NONCE, &ServerId::from_bytes([9; 32])));
    let mut swapped = publish.items.clone();
    swapped.swap(0, 1);
    let others = [
        Publish { kind: SlotKind::KeyPackages, ..publish.clone() },
        Publish { version: 4, ..publish.clone() },
        Publish { body: b"Body".to_vec().into(), ..publish.clone() },
        Publish { items: swapped, ..publish.clone() },
        Publish { items: vec![b"onetwo".to_vec().into()], ..publish.clone() },
        Publish { items: vec![], ..publish.clone() },
    ];
    assert!(others.iter().all(|other| !other.is_signed(&NONCE, &SERVER)));
}

// spec RELAY-30
#[test]
fn an_order_to_open_an_inbox_is_signed_with_its_tokens_and_lanes() {
    let token = |lane, byte| LaneToken { lane, token: InboxTokenHash::from_bytes([byte; 32]) };
    let tokens = vec![token(Lane::Knock, 1), token(Lane::Contacts, 2)];
    let signature = sign(&OpenInbox::signature_input(&NONCE, &SERVER, &tokens));
    let open = OpenInbox { owner: public(&signing_key()), tokens, signature };
    assert!(open.is_signed(&NONCE, &SERVER));

    assert!(!open.is_signed(&ConnectionNonce::from_bytes([9; 32]), &SERVER));
    assert!(!open.is_signed(&NONCE, &ServerId::from_bytes([9; 32])));
    for tokens in [vec![], vec![token(Lane::Contacts, 1), token(Lane::Contacts, 2)], vec![token(Lane::Knock, 1)]] {
        assert!(!OpenInbox { tokens, ..open.clone() }.is_signed(&NONCE, &SERVER));
    }
}

// spec RELAY-20, RELAY-21, RELAY-22: known answers, from the chapter alone.
#[test]
fn the_chain_is_what_the_chapter_says() {
    let gate = Gate { read: VerifyKey::from_bytes([6; 32]), append: VerifyKey::from_bytes([7; 32]) };
    let mut leaf = Leaf {
        seq: Seq::FIRST,
        generation: Generation::FIRST,
        class: Class::Normal,
        id: EntryId::from_bytes([8; 16]),
        turn: None,
        payload: PayloadHash::of(b"hello"),
    };
    let payload = hash("payload", &[b"hello"]);
    let (one, two, zero) = (1_u64.to_be_bytes(), 2_u64.to_be_bytes(), 0_u64.to_be_bytes());
    let expected = hash("entry leaf", &[&one, &zero, &[3], &[8; 16], &[], &payload]);
    let first = leaf.extend(&chain::EMPTY);
    assert_eq!(chain::EMPTY.as_bytes(), &[0; 32]);
    assert_eq!(first.as_bytes(), &hash("entry head", &[&[0; 32], &expected]));

    leaf = Leaf { seq: Seq::from_u64(2), class: Class::Control, turn: Some(gate), ..leaf };
    let turn = [[6; 32], [7; 32]].concat();
    let expected = hash("entry leaf", &[&two, &zero, &[1], &[8; 16], &turn, &payload]);
    assert_eq!(leaf.extend(&first).as_bytes(), &hash("entry head", &[first.as_bytes(), &expected]));
}

proptest! {
    // spec RELAY-22, RELAY-23, RELAY-28; A-RE-15
    #[test]
    fn every_field_but_the_relays_clock_moves_the_head(entry in chained(), other in chained(), before in any::<[u8; 32]>()) {
        let before = Head::from_bytes(before);
        let head = entry.leaf().extend(&before);
        prop_assert_eq!(Entry { accepted_ms: other.accepted_ms, ..entry.clone() }.leaf().extend(&before), head);
        let stub = Entry { content: EntryContent::Stub(entry.leaf().payload), ..entry.clone() };
        prop_assert_eq!(stub.leaf().extend(&before), head, "a stub keeps the chain");
        prop_assert_ne!(entry.leaf().extend(&head), head);

        let leaf = entry.leaf();
        let next_class = if leaf.class == Class::Bulk { Class::Control } else { Class::Bulk };
        let gate = Gate { read: VerifyKey::from_bytes([1; 32]), append: VerifyKey::from_bytes([2; 32]) };
        let changed = [
            Leaf { seq: leaf.seq.next(), ..leaf },
            Leaf { generation: leaf.generation.next(), ..leaf },
            Leaf { class: next_class, ..leaf },
            Leaf { id: EntryId::from_bytes(leaf.id.as_bytes().map(|byte| byte ^ 1)), ..leaf },
            Leaf { turn: if leaf.turn.is_some() { None } else { Some(gate) }, ..leaf },
            Leaf { payload: PayloadHash::of(leaf.payload.as_bytes()), ..leaf },
        ];
        for leaf in changed {
            prop_assert_ne!(leaf.extend(&before), head);
        }
    }
}

// spec ENC-03, ENC-08; A-DM-35
#[test]
fn no_label_is_a_prefix_of_another() {
    for (at, one) in label::ALL.iter().enumerate() {
        assert!(one.as_str().starts_with("undertone/v1/") && one.as_str().is_ascii());
        for other in &label::ALL[at + 1..] {
            assert!(!one.as_str().starts_with(other.as_str()) && !other.as_str().starts_with(one.as_str()));
        }
    }
    let split = |fields: &[&[u8]]| label::transcript(label::PAYLOAD, fields);
    assert_ne!(split(&[b"ab", b"c"]), split(&[b"a", b"bc"]));
    assert_ne!(split(&[b"", b"a"]), split(&[b"a", b""]));
    assert_ne!(split(&[b"a"]), split(&[b"a", b""]));
}
