//! The shell: the outer AEAD around every parcel (rules ENV-07 to ENV-10). Under it the relay sees neither MLS headers nor
//! lengths, and an entry opens only in the place for which it was sealed.
//!
//! ```text
//! nonce[24] | XChaCha20-Poly1305( outer key, nonce, aad = transcript("shell", log, generation, entry id, class),
//!                                 padded parcel )
//! ```

use std::fmt;

use undertone_wire::frame::Class;
use undertone_wire::id::{EntryId, Generation, LogId};
use undertone_wire::limits::{PARCEL_LEN_MAX, PAYLOAD_LEN_MAX};

use super::codec::DecodeError;
use super::keys::OuterKey;
use super::padding;
use super::parcel::{BODY_LEN_MAX, Parcel};
use crate::crypto::label::{self, transcript};
use crate::crypto::{CryptoRng, aead};

/// A parcel that cannot be sealed, or a payload that is none for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ShellError {
    /// The body is longer than a parcel can hold: it goes to a blob.
    TooLong {
        /// Bytes of the body.
        body_len: usize,
    },
    /// The payload is garbage, or was sealed under another key or for another log, generation, entry or class.
    DoesNotOpen,
    /// The payload opens, and what is inside is not a parcel that we know.
    Parcel(DecodeError),
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { body_len } => write!(f, "a body of {body_len} bytes is longer than {BODY_LEN_MAX}"),
            Self::DoesNotOpen => f.write_str("the shell does not open"),
            Self::Parcel(error) => write!(f, "inside the shell: {error}"),
        }
    }
}

impl std::error::Error for ShellError {}

/// Pads and seals a parcel for one place. A re-seal for another generation keeps the entry id.
///
/// # Errors
/// [`ShellError::TooLong`].
pub fn seal(
    key: &OuterKey,
    log: LogId,
    generation: Generation,
    entry: EntryId,
    class: Class,
    parcel: &Parcel,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, ShellError> {
    let too_long = ShellError::TooLong { body_len: parcel.body.len() };
    if parcel.body.len() > BODY_LEN_MAX {
        return Err(too_long);
    }
    let padded = padding::pad(&parcel.encode(), PARCEL_LEN_MAX).ok_or(too_long)?;
    Ok(aead::seal_random(key.as_secret(), &place(log, generation, entry, class), &padded, rng))
}

/// Opens the payload of the entry that stands in this place.
///
/// # Errors
/// [`ShellError::DoesNotOpen`] or [`ShellError::Parcel`]; the caller keeps the bytes, and moves on.
pub fn open(
    key: &OuterKey,
    log: LogId,
    generation: Generation,
    entry: EntryId,
    class: Class,
    payload: &[u8],
) -> Result<Parcel, ShellError> {
    if payload.len() > PAYLOAD_LEN_MAX {
        return Err(ShellError::DoesNotOpen);
    }
    let padded = aead::open_random(key.as_secret(), &place(log, generation, entry, class), payload)
        .map_err(|aead::DoesNotOpen| ShellError::DoesNotOpen)?;
    padding::unpad(&padded).and_then(Parcel::decode).map_err(ShellError::Parcel)
}

fn place(log: LogId, generation: Generation, entry: EntryId, class: Class) -> Vec<u8> {
    let fields: [&[u8]; 4] = [log.as_bytes(), &generation.to_be_bytes(), entry.as_bytes(), &[class as u8]];
    transcript(label::SHELL, &fields)
}
