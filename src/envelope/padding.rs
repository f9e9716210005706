//! Padding to buckets, so that a length says little (rules ENV-08, ENV-09).
//!
//! ```text
//! u32 length | that many bytes | zeros up to the bucket
//! ```
//!
//! Buckets are Padmé's (Nikitin et al., PETS 2019, §4): at most 1/16 is added above 1 024 bytes, and a length leaks
//! O(log log n) bits. The smallest bucket holds every ordinary text, receipt, reaction and turn, direct or group, so that
//! their lengths are all the same.

use super::codec::DecodeError;

/// Bytes of the smallest bucket: a group's reaction with its MLS framing needs some 550.
pub const BUCKET_LEN_MIN: usize = 1_024;

/// Bytes in front: the length.
const LENGTH_LEN: usize = 4;

/// The bucket for `bytes_len` bytes, length field included.
pub const fn bucket(bytes_len: usize) -> usize {
    if bytes_len <= BUCKET_LEN_MIN {
        return BUCKET_LEN_MIN;
    }
    let exponent = bytes_len.ilog2();
    let kept_bits = exponent.ilog2() + 1;
    let mask = (1 << (exponent - kept_bits)) - 1;
    (bytes_len + mask) & !mask
}

/// Pads `bytes` to their bucket, which is at most `padded_len_max`; nothing if it is larger.
pub(crate) fn pad(bytes: &[u8], padded_len_max: usize) -> Option<Vec<u8>> {
    let padded_len = bucket(LENGTH_LEN + bytes.len());
    (padded_len <= padded_len_max).then(|| pad_to(bytes, padded_len))
}

/// Pads `bytes` to exactly `padded_len`; the caller knows that they fit.
pub(crate) fn pad_to(bytes: &[u8], padded_len: usize) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a padded value is far below 4 GiB");
    let mut padded = Vec::with_capacity(padded_len);
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(bytes);
    padded.resize(padded_len, 0);
    padded
}

/// The bytes that [`pad`] padded.
///
/// # Errors
/// [`DecodeError::Range`] if the padding is not zero or not to the bucket of the length.
pub(crate) fn unpad(padded: &[u8]) -> Result<&[u8], DecodeError> {
    let bytes = unpad_from(padded)?;
    if padded.len() == bucket(LENGTH_LEN + bytes.len()) { Ok(bytes) } else { Err(PADDING) }
}

/// The bytes that [`pad_to`] padded.
///
/// # Errors
/// [`DecodeError::Range`] if the length does not fit or the padding is not zero.
pub(crate) fn unpad_from(padded: &[u8]) -> Result<&[u8], DecodeError> {
    let (length, rest) = padded.split_first_chunk::<LENGTH_LEN>().ok_or(PADDING)?;
    let bytes_len = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| PADDING)?;
    let (bytes, zeros) = rest.split_at_checked(bytes_len).ok_or(PADDING)?;
    if zeros.iter().all(|byte| *byte == 0) { Ok(bytes) } else { Err(PADDING) }
}

/// Bytes that fit into `padded_len`.
pub(crate) const fn room(padded_len: usize) -> usize {
    padded_len - LENGTH_LEN
}

const PADDING: DecodeError = DecodeError::Range { field: "padding" };
