//! The channel of one linking: its keys, one for each message, and how messages are sealed.
//!
//! ```text
//! t1 = H(offer, key of message 1)          x      ──▶ opening, answer
//! t2 = H(t1, message 1, message 2)         x ‖ s  ──▶ reveal, confirmation, grant, two aborts, code
//! ```

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_wire::id::{InboxToken, LogId};
use zeroize::Zeroizing;

use super::offer::Offer;
use super::{Abort, LinkingCode};
use crate::crypto::aead::{self, TAG_LEN};
use crate::crypto::dh::DhPublic;
use crate::crypto::{Secret32, SecretBytes, kdf, label};

/// Where one side reads during a linking: an inbox at the relay, and the token that admits messages to it.
#[derive(Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Mailbox {
    /// The inbox.
    pub inbox: LogId,
    /// What admits a deposit.
    pub token: InboxToken,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inbox, token: _ } = self;
        write!(f, "Mailbox({inbox})")
    }
}

/// Which message of a linking; the number stands in clear in front of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum MessageStep {
    Opening = 1,
    Answer = 2,
    Reveal = 3,
    Confirmation = 4,
    Grant = 5,
    AbortOfNew = 6,
    AbortOfOld = 7,
}

/// The version in front of every message.
const VERSION: u8 = 1;

/// Bytes of a padded body: the longest grant fits, and no message is told from another by its length.
const PADDED_LEN: usize = 6 << 10;

/// Bytes of the longest message: the opening, which carries a key in clear.
pub const LINKING_MESSAGE_LEN_MAX: usize = 2 + 32 + PADDED_LEN + TAG_LEN;

/// The keys of the first two messages: they rest on the offer.
pub(super) struct FirstKeys {
    pub(super) opening: Secret32,
    pub(super) answer: Secret32,
    transcript: [u8; 32],
}

/// The keys of everything that follows: they rest on the KEM too, and on every byte sent so far.
pub(super) struct LaterKeys {
    pub(super) reveal: Secret32,
    pub(super) confirmation: Secret32,
    pub(super) grant: Secret32,
    pub(super) abort_of_new: Secret32,
    pub(super) abort_of_old: Secret32,
    code: Secret32,
}

impl FirstKeys {
    pub(super) fn derive(offer: &Offer, old_key: &DhPublic, agreed: &Secret32) -> Self {
        let transcript = label::hash(label::LINKING_TRANSCRIPT, &[&offer.payload(), old_key.as_bytes()]);
        let [opening, answer] = kdf::derive_many(&[0; 32], agreed.expose(), label::LINKING_KEY, &[&transcript]);
        Self { opening, answer, transcript }
    }

    /// Goes on, once both messages are there.
    pub(super) fn into_later(self, agreed: &Secret32, shared: &Secret32, opening: &[u8], answer: &[u8]) -> LaterKeys {
        let transcript = label::hash(label::LINKING_TRANSCRIPT, &[&self.transcript, opening, answer]);
        let mut ikm = Zeroizing::new([0; 64]);
        ikm[..32].copy_from_slice(agreed.expose());
        ikm[32..].copy_from_slice(shared.expose());
        let [reveal, confirmation, grant, abort_of_new, abort_of_old, code] =
            kdf::derive_many(&[0; 32], &*ikm, label::LINKING_KEY, &[&transcript]);
        LaterKeys { reveal, confirmation, grant, abort_of_new, abort_of_old, code }
    }
}

impl LaterKeys {
    /// The digits that both show.
    pub(super) fn code(&self, old: &[u8; 32], new: &[u8; 32]) -> LinkingCode {
        LinkingCode::of_hash(&label::hash(label::LINKING_CODE, &[self.code.expose(), old, new]))
    }

    /// What the new device sends to end it.
    pub(super) fn abort_by_new(&self, reason: Abort) -> Vec<u8> {
        seal(&self.abort_of_new, MessageStep::AbortOfNew, &[], &[reason.to_u8()])
    }

    /// What the old device sends to end it.
    pub(super) fn abort_by_old(&self, reason: Abort) -> Vec<u8> {
        seal(&self.abort_of_old, MessageStep::AbortOfOld, &[], &[reason.to_u8()])
    }

    /// Whether a message is the other side's abort.
    pub(super) fn is_abort(&self, step: MessageStep, message: &[u8]) -> Option<Abort> {
        let key = match step {
            MessageStep::AbortOfNew => &self.abort_of_new,
            MessageStep::AbortOfOld => &self.abort_of_old,
            _ => return None,
        };
        let body = open(key, step, message, 0)?;
        Some(body.first().map_or(Abort::Failed, |reason| Abort::from_u8(*reason)))
    }
}

/// Seals a message. Each key seals one, so that the nonce is zero. `clear` stands in front of the ciphertext.
pub(super) fn seal(key: &Secret32, step: MessageStep, clear: &[u8], body: &[u8]) -> Vec<u8> {
    let mut padded = SecretBytes::new(Vec::with_capacity(PADDED_LEN));
    let len = u32::try_from(body.len()).expect("a body is shorter than a padded one");
    padded.extend_from_slice(&len.to_be_bytes());
    padded.extend_from_slice(body);
    assert!(padded.len() <= PADDED_LEN, "every body is bounded below");
    padded.resize(PADDED_LEN, 0);
    let mut message = [&[VERSION, step as u8], clear].concat();
    let ciphertext = aead::seal(key, &[0; 12], &message, &padded);
    message.extend_from_slice(&ciphertext);
    message
}

/// Opens a message of a step, with `clear_len` bytes in front of its ciphertext; nothing if it is another, or does not
/// open.
pub(super) fn open(key: &Secret32, step: MessageStep, message: &[u8], clear_len: usize) -> Option<SecretBytes> {
    if message.len() != 2 + clear_len + PADDED_LEN + TAG_LEN || message[..2] != [VERSION, step as u8] {
        return None;
    }
    let (front, ciphertext) = message.split_at(2 + clear_len);
    let padded = aead::open(key, &[0; 12], front, ciphertext).ok()?;
    let (len, rest) = padded.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (body, padding) = rest.split_at_checked(len)?;
    padding.iter().all(|byte| *byte == 0).then(|| SecretBytes::new(body.to_vec()))
}

/// The key in front of an opening.
pub(super) fn opening_key(message: &[u8]) -> Option<DhPublic> {
    if message.len() != LINKING_MESSAGE_LEN_MAX {
        return None;
    }
    message[2..].first_chunk::<32>().map(|key| DhPublic::from_bytes(*key))
}
