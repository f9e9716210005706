//! Ways into the layer for its fuzz targets, which reach what lies behind a sealed payload. Built for nobody else.

use super::chunk::{ChunkIndex, ChunkLen, Collected, Collector};
use super::keys::PqKey;
use super::pq::{PqRatchet, Role};
use super::{PqEpoch, SessionId};
use crate::crypto::{CryptoRng, Secret32, kem};

/// Whatever chunks a peer seals: the collector counts on, contradicts, or brings back a value of the right length.
pub fn collect(data: &[u8]) {
    let chunk_len = ChunkLen::new(40).expect("40 bytes are within the bounds");
    let mut collector = Collector::new();
    for said in data.chunks_exact(41) {
        let (Some(index), chunk) = (ChunkIndex::from_u8(said[0]), &said[1..]) else { continue };
        match collector.examine(index, chunk, kem::PUBLIC_LEN, chunk_len) {
            Collected::More => collector.keep(index, chunk),
            Collected::Whole(value) => return assert_eq!(value.len(), kem::PUBLIC_LEN),
            Collected::Known | Collected::Contradiction => {}
        }
    }
}

/// Two sides of a post-quantum ratchet whose messages arrive, are lost, doubled or changed as `data` says: what is honest
/// is taken, and both sides have the same keys.
pub fn ratchet(data: &[u8], rng: &mut dyn CryptoRng) {
    let chunk_len = ChunkLen::new(400).expect("400 bytes are within the bounds");
    let key = || PqKey::from_secret(Secret32::from_bytes([7; 32]));
    let side = |role| PqRatchet::new(SessionId([1; 32]), role, chunk_len, key());
    let mut sides = [side(Role::Initiator), side(Role::Responder)];
    for action in data {
        let from = usize::from(action & 1);
        let epoch = sides[from].epoch();
        let mut said = Vec::new();
        sides[from].send(&mut said, rng);
        let to = &mut sides[1 - from];
        assert!(to.receiving_key(epoch).is_ok(), "a side named an epoch that the other does not have");
        if action & 0b1100_0000 == 0b1100_0000 {
            // Changed on a copy, as a peer may do: refused or taken, and the state of here goes on.
            let at = usize::from(action & 0b11_1110) * said.len() / 64;
            said[at] ^= 0x55;
            let _refused_or_not = to.receive(epoch, said[0], &said[1..]);
            continue;
        }
        for _ in 0..(action >> 1) & 0b11 {
            let change = to.receive(epoch, said[0], &said[1..]).expect("what is honest is taken");
            to.commit(change);
        }
    }
    let [one, two] = &sides;
    assert!(one.epoch() != two.epoch() || one.sending_key() == two.sending_key());
    assert!(one.receiving_key(PqEpoch::from_u32(u32::MAX)).is_err());
}
