//! ChaCha20-Poly1305 (RFC 8439) for messages, XChaCha20-Poly1305 for the shell: 256-bit keys, full 16-byte tags.

#[cfg(feature = "libcrux")]
mod short;

use std::fmt;

use chacha20poly1305::aead::{Aead, AeadInOut, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Secret32, SecretBytes, random_array};

/// Bytes that sealing adds with a nonce kept elsewhere: the tag.
pub const TAG_LEN: usize = 16;

/// Bytes of the nonce in front of a message sealed under a random nonce.
pub const RANDOM_NONCE_LEN: usize = 24;

/// The ciphertext does not open: another key, nonce or associated data, or changed bytes. Nobody can tell which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DoesNotOpen;

impl fmt::Display for DoesNotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ciphertext does not open")
    }
}

impl std::error::Error for DoesNotOpen {}

/// Seals `plaintext` with ChaCha20-Poly1305. The caller never uses the same key with the same nonce twice.
pub fn seal(key: &Secret32, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(plaintext.len() + TAG_LEN);
    buffer.extend_from_slice(plaintext);
    seal_in_place(key, nonce, aad, &mut buffer, 0);
    buffer
}

/// Seals what stands in `buffer` from `from` on in its place, like [`seal`], and appends the tag.
///
/// # Panics
/// Panics if the buffer is shorter than `from`.
pub fn seal_in_place(key: &Secret32, nonce: &[u8; 12], aad: &[u8], buffer: &mut Vec<u8>, from: usize) {
    let tag = encrypt(key, nonce, aad, &mut buffer[from..]);
    buffer.extend_from_slice(&tag);
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`DoesNotOpen`]; nothing is said about where the tag differs.
pub fn open(key: &Secret32, nonce: &[u8; 12], aad: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, DoesNotOpen> {
    let (text, tag) = ciphertext.split_last_chunk().ok_or(DoesNotOpen)?;
    let mut text = Zeroizing::new(text.to_vec());
    decrypt(key, nonce, aad, &mut text, tag)?;
    Ok(text)
}

/// Opens in its place what [`seal`] made, and yields the plaintext, which is all but the last 16 bytes.
///
/// # Errors
/// [`DoesNotOpen`]; the buffer is as it was.
pub fn open_in_place<'b>(
    key: &Secret32,
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &'b mut [u8],
) -> Result<&'b mut [u8], DoesNotOpen> {
    let (text, tag) = buffer.split_last_chunk_mut().ok_or(DoesNotOpen)?;
    decrypt(key, nonce, aad, text, tag)?;
    Ok(text)
}

fn encrypt(key: &Secret32, nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
    #[cfg(feature = "libcrux")]
    if short::fits(aad, text) {
        return short::encrypt(key, nonce, aad, text);
    }
    ChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(nonce.into(), aad, text.into())
        .expect("plaintexts are bounded far below the 256 GiB of the cipher")
        .into()
}

fn decrypt(
    key: &Secret32,
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), DoesNotOpen> {
    #[cfg(feature = "libcrux")]
    if short::fits(aad, text) {
        return short::decrypt(key, nonce, aad, text, tag);
    }
    ChaCha20Poly1305::new(key.expose().into())
        .decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into())
        .map_err(|_| DoesNotOpen)
}

/// Seals `plaintext` with XChaCha20-Poly1305 under a fresh random nonce, which stands in front of the ciphertext.
pub fn seal_random(key: &Secret32, aad: &[u8], plaintext: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
    let nonce: [u8; RANDOM_NONCE_LEN] = random_array(rng);
    let ciphertext = XChaCha20Poly1305::new(key.expose().into())
        .encrypt((&nonce).into(), Payload { msg: plaintext, aad })
        .expect("plaintexts are bounded far below the 256 GiB of the cipher");
    [nonce.as_slice(), &ciphertext].concat()
}

/// Opens what [`seal_random`] made.
///
/// # Errors
/// [`DoesNotOpen`], also for fewer bytes than a nonce and a tag.
pub fn open_random(key: &Secret32, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, DoesNotOpen> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<RANDOM_NONCE_LEN>().ok_or(DoesNotOpen)?;
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt(nonce.into(), Payload { msg: ciphertext, aad })
        .map(Zeroizing::new)
        .map_err(|_| DoesNotOpen)
}

#[cfg(test)]
mod tests;
