//! ChaCha20-Poly1305 (RFC 8439 §2.8) for short messages: one call of the cipher, one of the MAC, nothing allocated.
//!
//! ```text
//! keystream   block 0: the one-time key of the MAC, 32 of its 64 bytes | blocks 1..: xor the text
//! MAC input   aad, padded to 16 | ciphertext, padded to 16 | u64 aad length | u64 ciphertext length, little-endian
//! ```
//!
//! RustCrypto's AEAD gives the same bytes for every length. What it does for the vector units of a processor costs more
//! than it gains below some hundred bytes, and most of what this library seals is as short (docs/performance.md).
//!
//! Invariant: the keystream is wiped; nothing is decrypted before the tag is known to be right.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;

use super::{DoesNotOpen, TAG_LEN};
use crate::crypto::Secret32;
use crate::crypto::secret::wipe;

/// Bytes of a block of keystream.
const BLOCK_LEN: usize = 64;
/// Bytes of keystream that vector units make at once; a part of them costs as much or more.
const STRIDE_LEN: usize = 4 * BLOCK_LEN;
/// Bytes of the longest text.
const TEXT_LEN_MAX: usize = 4 * STRIDE_LEN - BLOCK_LEN;
/// Bytes of the longest input of the MAC.
const MAC_INPUT_LEN_MAX: usize = 1_280;
/// Bytes to which the parts of the MAC's input are padded.
const PAD_LEN: usize = 16;

/// Whether both parts are short enough for this way.
pub(super) fn fits(aad: &[u8], text: &[u8]) -> bool {
    text.len() <= TEXT_LEN_MAX && mac_input_len(aad, text) <= MAC_INPUT_LEN_MAX
}

/// Encrypts the text in its place, and yields the tag. The caller has asked [`fits`].
pub(super) fn encrypt(key: &Secret32, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    let stream = Keystream::new(key, nonce, text.len());
    stream.apply(text);
    stream.tag(aad, text)
}

/// Decrypts the text in its place. The caller has asked [`fits`].
///
/// # Errors
/// [`DoesNotOpen`]; the text is as it was.
pub(super) fn decrypt(
    key: &Secret32,
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), DoesNotOpen> {
    let stream = Keystream::new(key, nonce, text.len());
    if !bool::from(stream.tag(aad, text).ct_eq(tag)) {
        return Err(DoesNotOpen);
    }
    stream.apply(text);
    Ok(())
}

/// The keystream of one message, from block 0 on.
struct Keystream {
    bytes: [u8; BLOCK_LEN + TEXT_LEN_MAX],
    made_len: usize,
}

impl Keystream {
    fn new(key: &Secret32, nonce: &[u8; 12], text_len: usize) -> Self {
        let made_len = (BLOCK_LEN + text_len).next_multiple_of(STRIDE_LEN);
        let mut stream = Self { bytes: [0; _], made_len };
        ChaCha20::new(key.expose().into(), nonce.into()).apply_keystream(&mut stream.bytes[..made_len]);
        stream
    }

    fn apply(&self, text: &mut [u8]) {
        text.iter_mut().zip(&self.bytes[BLOCK_LEN..]).for_each(|(byte, stream)| *byte ^= stream);
    }

    fn tag(&self, aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_LEN] {
        let mut input = [0; MAC_INPUT_LEN_MAX];
        let input = &mut input[..mac_input_len(aad, ciphertext)];
        input[..aad.len()].copy_from_slice(aad);
        input[padded_len(aad)..][..ciphertext.len()].copy_from_slice(ciphertext);
        let (_, lengths) = input.split_last_chunk_mut::<PAD_LEN>().expect("the input ends with both lengths");
        lengths[..8].copy_from_slice(&(aad.len() as u64).to_le_bytes());
        lengths[8..].copy_from_slice(&(ciphertext.len() as u64).to_le_bytes());

        let key = self.bytes.first_chunk().expect("a block is longer than the key of the MAC");
        let mut tag = [0; TAG_LEN];
        let made = libcrux_poly1305::mac(key, input, &mut tag);
        assert!(made.is_ok(), "the input is far below the 4 GiB of the MAC");
        tag
    }
}

impl Drop for Keystream {
    fn drop(&mut self) {
        wipe(&mut self.bytes[..self.made_len]);
    }
}

fn mac_input_len(aad: &[u8], text: &[u8]) -> usize {
    padded_len(aad) + padded_len(text) + PAD_LEN
}

fn padded_len(part: &[u8]) -> usize {
    part.len().next_multiple_of(PAD_LEN)
}
