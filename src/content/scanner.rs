//! The strict scanner: passes deterministic CBOR (RFC 8949 §4.2.1) and nothing else, before anything is built from it
//! (rules ENV-50 to ENV-56).
//!
//! It refuses what other decoders accept: longer heads than needed, indefinite lengths, map keys out of order or twice,
//! floats, `undefined` and other simple values, invalid UTF-8, bytes behind the item, nesting past the bound. It allocates
//! nothing, and reads every byte once.

use std::fmt;

use super::CONTENT_LEN_MAX;

/// Nested arrays, maps and tags of a message: itself, and two for each of four levels of parts.
pub const CONTENT_DEPTH_MAX: Depth = Depth(9);

/// Nested arrays, maps and tags of a typed body.
pub const BODY_DEPTH_MAX: Depth = Depth(4);

/// A bound on nested arrays, maps and tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Depth(u8);

impl Depth {
    /// Takes the number of levels.
    pub const fn from_levels(levels: u8) -> Self {
        Self(levels)
    }
}

/// Bytes that are not one item of deterministic CBOR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ScanError {
    /// More than [`CONTENT_LEN_MAX`] bytes.
    TooLong,
    /// The item ends behind the bytes.
    Truncated,
    /// Bytes follow the item.
    Trailing,
    /// A head is longer than its number needs.
    NotShortest,
    /// A length is left open.
    Indefinite,
    /// A map key is not above the one before it.
    KeyOrder,
    /// A float, or a simple value other than `false`, `true` and `null`.
    Simple,
    /// A reserved head.
    Reserved,
    /// A text is not UTF-8.
    Utf8,
    /// Arrays, maps and tags are nested too deep.
    Depth,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the content is too long",
            Self::Truncated => "the content ends too early",
            Self::Trailing => "bytes follow the content",
            Self::NotShortest => "a number is not in its shortest form",
            Self::Indefinite => "a length is left open",
            Self::KeyOrder => "map keys are out of order or twice",
            Self::Simple => "a float or a simple value that has no place here",
            Self::Reserved => "a reserved form",
            Self::Utf8 => "a text is not UTF-8",
            Self::Depth => "the content is nested too deep",
        })
    }
}

impl std::error::Error for ScanError {}

/// Checks that `bytes` are exactly one item of deterministic CBOR, nested at most `depth_max` deep.
///
/// # Errors
/// [`ScanError`].
pub fn scan(bytes: &[u8], depth_max: Depth) -> Result<(), ScanError> {
    if bytes.len() > CONTENT_LEN_MAX {
        return Err(ScanError::TooLong);
    }
    let rest = item(bytes, depth_max.0)?;
    if rest.is_empty() { Ok(()) } else { Err(ScanError::Trailing) }
}

/// The head of an item: its major type and its number.
pub(super) struct Head {
    pub(super) major: Major,
    pub(super) number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    Array,
    Map,
    Tag,
    Simple,
}

/// Reads a head in its shortest form.
pub(super) fn head(bytes: &[u8]) -> Result<(Head, &[u8]), ScanError> {
    let (&first, rest) = bytes.split_first().ok_or(ScanError::Truncated)?;
    let major = match first >> 5 {
        0 => Major::Unsigned,
        1 => Major::Negative,
        2 => Major::Bytes,
        3 => Major::Text,
        4 => Major::Array,
        5 => Major::Map,
        6 => Major::Tag,
        _ => Major::Simple,
    };
    let info = first & 0x1f;
    if major == Major::Simple {
        let is_plain = matches!(info, FALSE | TRUE | NULL);
        return if is_plain { Ok((Head { major, number: info.into() }, rest)) } else { Err(ScanError::Simple) };
    }
    let (number_len, number_min) = match info {
        0..=23 => {
            return Ok((Head { major, number: info.into() }, rest));
        }
        24 => (1, 24),
        25 => (2, 1 << 8),
        26 => (4, 1 << 16),
        27 => (8, 1 << 32),
        31 => return Err(ScanError::Indefinite),
        _ => return Err(ScanError::Reserved),
    };
    let (number, rest) = rest.split_at_checked(number_len).ok_or(ScanError::Truncated)?;
    let number = number.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    if number >= number_min { Ok((Head { major, number }, rest)) } else { Err(ScanError::NotShortest) }
}

/// The simple value `false`.
pub(super) const FALSE: u8 = 20;
/// The simple value `true`.
pub(super) const TRUE: u8 = 21;
/// The simple value `null`.
pub(super) const NULL: u8 = 22;

/// Splits the bytes of a string off.
pub(super) fn string(bytes: &[u8], string_len: u64) -> Result<(&[u8], &[u8]), ScanError> {
    let string_len = usize::try_from(string_len).map_err(|_| ScanError::Truncated)?;
    bytes.split_at_checked(string_len).ok_or(ScanError::Truncated)
}

/// Passes one item and yields what follows it.
fn item(bytes: &[u8], depth_left: u8) -> Result<&[u8], ScanError> {
    let (Head { major, number }, rest) = head(bytes)?;
    match major {
        Major::Unsigned | Major::Negative | Major::Simple => Ok(rest),
        Major::Bytes => Ok(string(rest, number)?.1),
        Major::Text => {
            let (text, rest) = string(rest, number)?;
            std::str::from_utf8(text).map_err(|_| ScanError::Utf8)?;
            Ok(rest)
        }
        Major::Array => items(rest, number, deeper(depth_left)?),
        Major::Map => pairs(rest, number, deeper(depth_left)?),
        Major::Tag => item(rest, deeper(depth_left)?),
    }
}

fn items(mut rest: &[u8], count: u64, depth_left: u8) -> Result<&[u8], ScanError> {
    // Each item takes a byte at the least, so that a false count ends with the bytes.
    for _ in 0..count {
        rest = item(rest, depth_left)?;
    }
    Ok(rest)
}

fn pairs(mut rest: &[u8], count: u64, depth_left: u8) -> Result<&[u8], ScanError> {
    let mut key_before: &[u8] = &[];
    for _ in 0..count {
        let behind_key = item(rest, depth_left)?;
        let key = &rest[..rest.len() - behind_key.len()];
        // Keys are never empty, so that the first one is above the empty string.
        if key <= key_before {
            return Err(ScanError::KeyOrder);
        }
        key_before = key;
        rest = item(behind_key, depth_left)?;
    }
    Ok(rest)
}

fn deeper(depth_left: u8) -> Result<u8, ScanError> {
    depth_left.checked_sub(1).ok_or(ScanError::Depth)
}
