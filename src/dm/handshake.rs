//! The handshake (spec/dm, rules DM-10 to DM-17): X3DH with an ML-KEM-768 secret, after PQXDH, in one suite.
//!
//! ```text
//! handshake   u8 version | u16 chunk length | u64 signed prekey | u8 0, or u8 1 and u64 one-time pair | DhPublic 32
//!             | KemCiphertext 1088
//! secret      DH(IK_i, SPK_r) | DH(EK_i, IK_r) | DH(EK_i, SPK_r) [ | DH(EK_i, OPK_r) ] | SS
//! ```
//!
//! Invariants: every key that is used, both devices and both accounts stand in the transcript, whose hash is the session
//! id and enters the derivation; a wrong ciphertext yields other keys, under which the first message does not open.
//!
//! Leaves out a second round: the initiator is authenticated by DH(IK_i, SPK_r), classically.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::Zeroizing;

use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::kem::KemCiphertext;
use crate::crypto::label::{DIRECT_HANDSHAKE, DIRECT_TRANSCRIPT, hash};
use crate::crypto::{CryptoRng, Secret32, kdf};
use crate::limits::DM_HANDSHAKE_LEN_MAX;

use super::chunk::ChunkLen;
use super::keys::{PqKey, RootKey};
use super::prekeys::{LastResort, OneTimeItem, PairRow, PrekeyId, SignedPrekey, SignedRow};
use super::{DmError, Party, SessionId, VERSION, decode, encode};

/// What a first message says besides its ratchet message.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Handshake {
    /// Of both sides' chunks in the post-quantum ratchet.
    pub(super) chunk_len: ChunkLen,
    pub(super) signed: PrekeyId,
    pub(super) one_time: Option<PrekeyId>,
    pub(super) ephemeral: DhPublic,
    ciphertext: KemCiphertext,
}

impl Handshake {
    /// The bytes, 1 132 or 1 140.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a handshake. It proves nothing until the first message opens.
    ///
    /// # Errors
    /// [`DmError::Malformed`], [`DmError::UnsupportedVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DmError> {
        let handshake: Self = decode(bytes, DM_HANDSHAKE_LEN_MAX)?;
        if handshake.chunk_len.is_bounded() { Ok(handshake) } else { Err(DmError::Malformed) }
    }
}

/// What both sides hold after the handshake.
pub(super) struct HandshakeKeys {
    pub(super) root: RootKey,
    /// Seals the headers of the initiator's first chain.
    pub(super) header: Secret32,
    /// Seals the headers of the responder's first chain.
    pub(super) next_header: Secret32,
    pub(super) pq: PqKey,
}

/// The prekeys that an initiator verified and uses.
pub(super) struct Chosen<'p> {
    pub(super) chunk_len: ChunkLen,
    pub(super) signed: &'p SignedPrekey,
    pub(super) second: Second<'p>,
}

/// Whose KEM key is used: the pair's, which also brings a fourth DH, or the one of last resort.
pub(super) enum Second<'p> {
    Pair(&'p OneTimeItem),
    LastResort(&'p LastResort),
}

/// The two sides of a handshake.
pub(super) struct Sides {
    pub(super) initiator: Party,
    pub(super) responder: Party,
}

/// The initiator's part (rules DM-11 to DM-14).
///
/// # Errors
/// [`DmError::WeakKey`].
pub(super) fn initiate(
    sides: &Sides,
    ours: &DhSecret,
    theirs: &DhPublic,
    chosen: &Chosen<'_>,
    rng: &mut dyn CryptoRng,
) -> Result<(Handshake, SessionId, HandshakeKeys), DmError> {
    let Chosen { chunk_len, signed, second } = chosen;
    let ephemeral = DhSecret::random(rng);
    let agree = |secret: &DhSecret, public: &DhPublic| secret.agree(public).map_err(|_| DmError::WeakKey);
    let mut input = SecretInput::new();
    input.push(&agree(ours, &signed.key)?);
    input.push(&agree(&ephemeral, theirs)?);
    input.push(&agree(&ephemeral, &signed.key)?);
    let (kem, prekeys) = match second {
        Second::Pair(pair) => {
            input.push(&agree(&ephemeral, &pair.dh)?);
            (&pair.kem, Prekeys { last_resort: Vec::new(), pair: pair.to_transcript() })
        }
        Second::LastResort(prekey) => (&prekey.key, Prekeys { last_resort: prekey.to_transcript(), pair: Vec::new() }),
    };
    let (ciphertext, shared) = kem.encapsulate(rng).map_err(|_| DmError::WeakKey)?;
    input.push(&shared);
    let one_time = match second {
        Second::Pair(pair) => Some(pair.id()),
        Second::LastResort(_) => None,
    };
    let (chunk_len, signed_id) = (*chunk_len, signed.id());
    let handshake = Handshake { chunk_len, signed: signed_id, one_time, ephemeral: ephemeral.public(), ciphertext };
    let session =
        session_id(sides, chunk_len, &signed.to_transcript(), &prekeys, (&handshake.ephemeral, &handshake.ciphertext));
    Ok((handshake, session, input.derive(&session)))
}

/// The responder's part (rule DM-15).
///
/// # Errors
/// [`DmError::WeakKey`].
pub(super) fn respond(
    sides: &Sides,
    ours: &DhSecret,
    theirs: &DhPublic,
    signed: &SignedRow,
    pair: Option<&PairRow>,
    handshake: &Handshake,
) -> Result<(SessionId, HandshakeKeys), DmError> {
    let agree = |secret: &DhSecret, public: &DhPublic| secret.agree(public).map_err(|_| DmError::WeakKey);
    let (signed_key, signed_transcript) = signed.to_dh();
    let ephemeral = &handshake.ephemeral;
    let mut input = SecretInput::new();
    input.push(&agree(&signed_key, theirs)?);
    input.push(&agree(ours, ephemeral)?);
    input.push(&agree(&signed_key, ephemeral)?);
    let (kem, prekeys) = match pair {
        Some(pair) => {
            let (dh, kem, pair) = pair.to_keys();
            input.push(&agree(&dh, ephemeral)?);
            (kem, Prekeys { last_resort: Vec::new(), pair })
        }
        None => {
            let (kem, last_resort) = signed.to_kem();
            (kem, Prekeys { last_resort, pair: Vec::new() })
        }
    };
    input.push(&kem.decapsulate(&handshake.ciphertext));
    let session =
        session_id(sides, handshake.chunk_len, &signed_transcript, &prekeys, (ephemeral, &handshake.ciphertext));
    Ok((session, input.derive(&session)))
}

/// What of the second prekey enters the transcript: one of the two is empty.
pub(super) struct Prekeys {
    pub(super) last_resort: Vec<u8>,
    pub(super) pair: Vec<u8>,
}

/// Rule DM-14.
pub(super) fn session_id(
    sides: &Sides,
    chunk_len: ChunkLen,
    signed: &[u8],
    prekeys: &Prekeys,
    (ephemeral, ciphertext): (&DhPublic, &KemCiphertext),
) -> SessionId {
    let Sides { initiator, responder } = sides;
    SessionId(hash(
        DIRECT_TRANSCRIPT,
        &[
            &[VERSION],
            &(chunk_len.as_usize() as u16).to_be_bytes(),
            initiator.account.as_bytes(),
            initiator.device.as_bytes(),
            responder.account.as_bytes(),
            responder.device.as_bytes(),
            signed,
            &prekeys.last_resort,
            &prekeys.pair,
            ephemeral.as_bytes(),
            ciphertext.as_bytes(),
        ],
    ))
}

/// The concatenation of the shared secrets, wiped when dropped.
pub(super) struct SecretInput(Zeroizing<Vec<u8>>);

impl SecretInput {
    pub(super) fn new() -> Self {
        // Room for all five, so that growing leaves no copy behind.
        Self(Zeroizing::new(Vec::with_capacity(5 * 32)))
    }

    pub(super) fn push(&mut self, secret: &Secret32) {
        self.0.extend_from_slice(secret.expose());
    }

    /// Rule DM-13.
    pub(super) fn derive(self, session: &SessionId) -> HandshakeKeys {
        let [root, header, next_header, pq] =
            kdf::derive_many(&[0; 32], &self.0, DIRECT_HANDSHAKE, &[session.as_bytes()]);
        HandshakeKeys { root: RootKey::from_secret(root), header, next_header, pq: PqKey::from_secret(pq) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four keys, from the secrets DH1, DH2, DH3, DH4 and SS.
    fn keys(secrets: [u8; 5]) -> [Secret32; 4] {
        let mut input = SecretInput::new();
        secrets.iter().for_each(|secret| input.push(&Secret32::from_bytes([*secret; 32])));
        let HandshakeKeys { root, header, next_header, pq } = input.derive(&SessionId([7; 32]));
        [root.as_secret().duplicate(), header, next_header, pq.as_secret().duplicate()]
    }

    // A-DM-29 and its reverse, spec DM-13: who lacks one of the secrets has none of the keys.
    #[test]
    fn each_key_needs_every_secret() {
        let known = keys([1, 2, 3, 4, 5]);
        for lacking in 0..5 {
            let mut secrets = [1, 2, 3, 4, 5];
            secrets[lacking] = 0xee;
            for (guess, key) in keys(secrets).iter().zip(&known) {
                assert_ne!(guess, key, "without secret {lacking}");
            }
        }
        let [root, header, next_header, pq] = &known;
        let pairs = [(root, header), (root, next_header), (root, pq), (header, next_header), (header, pq)];
        assert!(pairs.iter().all(|(one, other)| one != other));
    }
}
