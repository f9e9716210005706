//! Long values in short pieces, of which any large enough set brings the value back (spec/dm, rules DM-90 to DM-92): a
//! systematic Reed–Solomon code over GF(2^8).
//!
//! ```text
//! value, padded with zeros:  d(0) | d(1) | … | d(k − 1)         each chunk_len bytes
//! chunk x, 0 ≤ x ≤ 254:      p(x), where p has degree < k and p(j) = d(j) for j < k, byte by byte
//! ```
//!
//! The first k chunks are the value itself, so that nothing is computed unless something was lost. What is coded here is
//! public (encapsulation keys and ciphertexts), so that the time it takes may depend on it.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::VLBytes;

use crate::crypto::kem;

/// Bytes of one chunk of the post-quantum ratchet: the same for both sides of a session, fixed by its handshake.
///
/// Small chunks make messages short and healing slow; with [`ChunkLen::WHOLE`] each epoch takes one round trip.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ChunkLen(u16);

impl ChunkLen {
    /// The shortest, 32 bytes.
    pub const MIN: Self = Self(32);

    /// What sessions use unless told otherwise, 37 bytes: an encapsulation key is exactly 32 of them.
    pub const DEFAULT: Self = Self(37);

    /// A whole encapsulation key in every message, 1 184 bytes.
    pub const WHOLE: Self = Self(kem::PUBLIC_LEN as u16);

    /// A length from 32 to 1 184 bytes; nothing for others.
    pub fn new(bytes_len: u16) -> Option<Self> {
        let length = Self(bytes_len);
        length.is_bounded().then_some(length)
    }

    /// The number of bytes.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    pub(super) fn is_bounded(self) -> bool {
        (Self::MIN.0..=Self::WHOLE.0).contains(&self.0)
    }

    /// How many chunks bring back a value.
    fn count_for(self, value_len: usize) -> usize {
        value_len.div_ceil(self.as_usize())
    }
}

/// Which piece a chunk is: 0 to 254.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct ChunkIndex(u8);

/// Stands in place of an index where there is no chunk.
pub(super) const NO_CHUNK: u8 = 255;

impl ChunkIndex {
    pub(super) const FIRST: Self = Self(0);

    /// Takes the byte of a message, unless it says that there is no chunk.
    pub(super) fn from_u8(byte: u8) -> Option<Self> {
        (byte != NO_CHUNK).then_some(Self(byte))
    }

    pub(super) fn as_u8(self) -> u8 {
        self.0
    }

    /// The next one; behind the last comes the first again.
    pub(super) fn next(self) -> Self {
        Self((self.0 + 1) % NO_CHUNK)
    }
}

/// Cuts one value into chunks, without end.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Cutter {
    value: VLBytes,
    next: ChunkIndex,
}

impl Cutter {
    pub(super) fn new(value: Vec<u8>) -> Self {
        Self { value: value.into(), next: ChunkIndex::FIRST }
    }

    pub(super) fn value(&self) -> &[u8] {
        self.value.as_slice()
    }

    /// Appends the next chunk to `into`, and counts on.
    pub(super) fn cut(&mut self, chunk_len: ChunkLen, into: &mut Vec<u8>) -> ChunkIndex {
        let index = self.next;
        push_chunk(self.value.as_slice(), chunk_len, index, into);
        self.next = index.next();
        index
    }
}

/// What has come of a value: chunks of different indices, fewer than bring it back.
#[derive(Clone, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Collector {
    indices: VLBytes,
    chunks: VLBytes,
}

/// What a chunk would do.
#[derive(Debug)]
pub(super) enum Collected {
    /// It was there.
    Known,
    /// It is new, and more are needed.
    More,
    /// The value is whole.
    Whole(Vec<u8>),
    /// A chunk of this index came before, with other bytes: they are not pieces of one value.
    Contradiction,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self { indices: Vec::new().into(), chunks: Vec::new().into() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.indices.as_slice().is_empty()
    }

    /// What a chunk would do to what is there; all have the same length.
    pub(super) fn examine(&self, index: ChunkIndex, chunk: &[u8], value_len: usize, chunk_len: ChunkLen) -> Collected {
        let (indices, chunks) = (self.indices.as_slice(), self.chunks.as_slice());
        if let Some(at) = indices.iter().position(|have| *have == index.0) {
            let same = chunks.chunks_exact(chunk_len.as_usize()).nth(at) == Some(chunk);
            return if same { Collected::Known } else { Collected::Contradiction };
        }
        if indices.len() + 1 < chunk_len.count_for(value_len) {
            return Collected::More;
        }
        let (indices, chunks) = ([indices, &[index.0]].concat(), [chunks, chunk].concat());
        Collected::Whole(join(&indices, &chunks, value_len, chunk_len))
    }

    /// Keeps a new chunk.
    pub(super) fn keep(&mut self, index: ChunkIndex, chunk: &[u8]) {
        self.indices.as_mut_vec().push(index.0);
        self.chunks.as_mut_vec().extend_from_slice(chunk);
    }
}

/// Appends chunk `index` of a value (rule DM-91).
pub(super) fn push_chunk(value: &[u8], chunk_len: ChunkLen, index: ChunkIndex, into: &mut Vec<u8>) {
    let len = chunk_len.as_usize();
    let end = into.len() + len;
    match value.chunks(len).nth(usize::from(index.0)) {
        Some(piece) => into.extend_from_slice(piece),
        None => {
            let weights = gf::weights_of_first(chunk_len.count_for(value.len()), index.0);
            into.extend_from_slice(&combine(&weights, value.chunks(len), len));
        }
    }
    into.resize(end, 0);
}

/// The value of as many different chunks as it takes.
fn join(indices: &[u8], chunks: &[u8], value_len: usize, chunk_len: ChunkLen) -> Vec<u8> {
    let len = chunk_len.as_usize();
    let mut value = Vec::with_capacity(indices.len() * len);
    for wanted in 0..indices.len() {
        match indices.iter().position(|index| usize::from(*index) == wanted) {
            Some(at) => value.extend_from_slice(&chunks[at * len..][..len]),
            None => {
                let weights = gf::weights(indices, wanted as u8);
                value.extend_from_slice(&combine(&weights, chunks.chunks_exact(len), len));
            }
        }
    }
    value.truncate(value_len);
    value
}

/// The sum of chunks, each times its weight: for each bit of the weights, from the highest, the sum so far is doubled
/// and the chunks whose weight has the bit are added. So a chunk costs a few additions of whole words.
fn combine<'c>(weights: &[u8], chunks: impl Iterator<Item = &'c [u8]>, len: usize) -> Vec<u8> {
    let words = len.div_ceil(8);
    let mut data = vec![0u64; weights.len() * words];
    for (words, chunk) in data.chunks_exact_mut(words).zip(chunks) {
        for (word, bytes) in words.iter_mut().zip(chunk.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
        }
    }
    let mut sum = vec![0u64; words];
    for bit in (0..8).rev() {
        sum.iter_mut().for_each(|word| *word = gf::double_each(*word));
        for (weight, chunk) in weights.iter().zip(data.chunks_exact(words)) {
            if (weight >> bit) & 1 == 1 {
                sum.iter_mut().zip(chunk).for_each(|(sum, word)| *sum ^= word);
            }
        }
    }
    let mut bytes: Vec<u8> = sum.into_iter().flat_map(u64::to_le_bytes).collect();
    bytes.truncate(len);
    bytes
}

/// GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1, and Lagrange's weights in it.
mod gf {
    /// The most chunks that a value takes: an encapsulation key in chunks of the shortest length.
    pub(super) const COUNT_MAX: usize = 37;

    /// Multiplies the 8 elements of a word by x.
    pub(super) const fn double_each(word: u64) -> u64 {
        const LOW_BITS: u64 = 0x0101_0101_0101_0101;
        let carries = (word >> 7) & LOW_BITS;
        ((word & !(LOW_BITS << 7)) << 1) ^ (carries * 0x1d)
    }

    /// EXP[n] = x^n, LOG its inverse.
    const TABLES: ([u8; 255], [u8; 256]) = {
        let (mut exp, mut log) = ([0; 255], [0; 256]);
        let (mut element, mut power) = (1u64, 0);
        while power < 255 {
            exp[power] = element as u8;
            log[element as usize] = power as u8;
            element = double_each(element) & 0xff;
            power += 1;
        }
        (exp, log)
    };

    const fn log(element: u8) -> u32 {
        TABLES.1[element as usize] as u32
    }

    const fn exp(power: u32) -> u8 {
        TABLES.0[(power % 255) as usize]
    }

    /// FIRST[k][j]: the logarithm of the product of (j − m) over all other m < k.
    const FIRST: [[u8; COUNT_MAX]; COUNT_MAX + 1] = {
        let mut table = [[0; COUNT_MAX]; COUNT_MAX + 1];
        let mut count = 1;
        while count <= COUNT_MAX {
            let added = count - 1;
            let mut node = 0;
            while node < added {
                let difference = log((node ^ added) as u8);
                table[count][node] = ((table[added][node] as u32 + difference) % 255) as u8;
                table[count][added] = ((table[count][added] as u32 + difference) % 255) as u8;
                node += 1;
            }
            count += 1;
        }
        table
    };

    /// The weights of the values at 0, 1, …, `count` − 1 in the value at `x`, which is none of them.
    pub(super) fn weights_of_first(count: usize, x: u8) -> Vec<u8> {
        let product: u32 = (0..count).map(|node| log(x ^ node as u8)).sum();
        (0..count).map(|node| exp(product + 2 * 255 - log(x ^ node as u8) - u32::from(FIRST[count][node]))).collect()
    }

    /// The weights of the values at `nodes`, all different, in the value at `x`, which is none of them.
    pub(super) fn weights(nodes: &[u8], x: u8) -> Vec<u8> {
        let product: u32 = nodes.iter().map(|node| log(x ^ node)).sum();
        let weight = |node: &u8| {
            let others = nodes.iter().filter(|other| *other != node);
            let divisor: u32 = others.map(|other| log(node ^ other)).sum::<u32>() % 255;
            exp(product + 2 * 255 - log(x ^ node) - divisor)
        };
        nodes.iter().map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails to set up its scene has failed")]

    use super::*;
    use proptest::prelude::*;

    fn chunk_of(value: &[u8], len: ChunkLen, index: u8) -> Vec<u8> {
        let mut chunk = Vec::new();
        push_chunk(value, len, ChunkIndex(index), &mut chunk);
        chunk
    }

    /// Multiplication by the schoolbook, to check the tables against.
    fn times(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b > 0 {
            product ^= a * (b & 1);
            let carry = a >> 7;
            a = (a << 1) ^ (carry * 0x1d);
            b >>= 1;
        }
        product
    }

    fn inverse(a: u8) -> u8 {
        (1..=255).find(|b| times(a, *b) == 1).unwrap()
    }

    // spec DM-90, spec DM-91: the formula of the chapter, by the schoolbook.
    #[test]
    fn a_chunk_is_the_polynomial_at_its_index() {
        let value: Vec<u8> = (0..200u32).map(|n| (n * n + 7) as u8).collect();
        let len = ChunkLen::MIN;
        let count = 7;
        for index in [0, 6, 7, 8, 100, 254] {
            let mut expected = vec![0; 32];
            for node in 0..count {
                let weight = (0..count).filter(|other| *other != node).fold(1, |weight, other| {
                    let (above, below) = (index ^ other, node ^ other);
                    times(weight, times(above, inverse(below)))
                });
                let piece = chunk_of(&value, len, node);
                expected.iter_mut().zip(piece).for_each(|(sum, byte)| *sum ^= times(weight, byte));
            }
            assert_eq!(chunk_of(&value, len, index), expected, "chunk {index}");
        }
        assert_eq!(chunk_of(&value, len, 6)[8..], [0; 24], "the last piece is padded");
    }

    #[test]
    fn a_chunk_of_the_same_index_with_other_bytes_is_a_contradiction() {
        let mut collector = Collector::new();
        let len = ChunkLen::MIN;
        assert!(matches!(collector.examine(ChunkIndex(3), &[1; 32], 100, len), Collected::More));
        collector.keep(ChunkIndex(3), &[1; 32]);
        assert!(matches!(collector.examine(ChunkIndex(3), &[1; 32], 100, len), Collected::Known));
        assert!(matches!(collector.examine(ChunkIndex(3), &[2; 32], 100, len), Collected::Contradiction));
    }

    #[test]
    fn indices_go_round_and_leave_out_the_one_that_means_none() {
        let mut index = ChunkIndex::FIRST;
        for expected in (0..NO_CHUNK).chain(0..3) {
            assert_eq!(index.as_u8(), expected);
            index = index.next();
        }
        assert_eq!(ChunkIndex::from_u8(NO_CHUNK), None);
    }

    proptest! {
        // A-DM-28, spec DM-92: any k different chunks, in any order, are enough, and no fewer.
        #[test]
        fn any_set_large_enough_brings_the_value_back(
            value in prop::collection::vec(any::<u8>(), 1..=kem::PUBLIC_LEN),
            len in 32u16..=1_184,
            order in Just((0..NO_CHUNK).collect::<Vec<u8>>()).prop_shuffle(),
        ) {
            let len = ChunkLen::new(len).unwrap();
            let count = len.count_for(value.len());
            let mut collector = Collector::new();
            for (at, index) in order.iter().take(count).enumerate() {
                let chunk = chunk_of(&value, len, *index);
                prop_assert_eq!(chunk.len(), len.as_usize());
                match collector.examine(ChunkIndex(*index), &chunk, value.len(), len) {
                    Collected::Whole(joined) => {
                        prop_assert_eq!(at + 1, count);
                        prop_assert_eq!(&joined, &value);
                    }
                    Collected::More => prop_assert!(at + 1 < count),
                    Collected::Known | Collected::Contradiction => prop_assert!(false, "each index came once"),
                }
                collector.keep(ChunkIndex(*index), &chunk);
            }
        }
    }
}
