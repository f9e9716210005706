//! Gates: the public keys that admit readers and appenders of a log for one generation, and the proofs of holding one.
//!
//! A gate is all that the relay knows of a conversation's members. The members derive its secret keys from their group
//! or conversation key; with every turn the keys change, so that a removed member stops at the entry that removed it.

use ed25519_dalek::{Signature as DalekSignature, VerifyingKey};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::id::{ConnectionNonce, Generation, LogId, ServerId, Signature, VerifyKey};
use crate::label::{self, Label, transcript};

/// The public keys of one generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Gate {
    /// Who signs with its secret key may read, up to and including the entry that ends the generation.
    pub read: VerifyKey,
    /// Who signs with its secret key may append while the generation lasts.
    pub append: VerifyKey,
}

/// What a proof asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum Right {
    /// Reading and subscribing.
    Read = 1,
    /// Appending, and ephemeral traffic.
    Append = 2,
    /// Resetting the gate, trimming, deleting, retention.
    Control = 3,
}

/// One claim of a right, signed for this connection only (rule RELAY-11).
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Proof {
    /// The log.
    pub log: LogId,
    /// The generation whose gate holds the key; 0 for `Control` and for inboxes.
    pub generation: Generation,
    /// The right.
    pub right: Right,
    /// Over [`proof_input`], by the secret key of the gate.
    pub signature: Signature,
}

impl Proof {
    /// Whether the signature is one of `key` for this connection. Verification is strict (RFC 8032 §5.1.7, cofactorless,
    /// small-order keys refused).
    pub fn is_signed_by(&self, key: &VerifyKey, nonce: &ConnectionNonce, server: &ServerId) -> bool {
        let input = proof_input(nonce, server, &self.log, self.generation, self.right);
        verify(key, &input, &self.signature)
    }
}

/// The bytes that a proof signs: the connection's nonce and the server come first, so that no proof can be replayed on
/// another connection or to another relay.
pub fn proof_input(
    nonce: &ConnectionNonce,
    server: &ServerId,
    log: &LogId,
    generation: Generation,
    right: Right,
) -> Vec<u8> {
    connection_input(label::GATE_PROOF, nonce, server, &[log.as_bytes(), &generation.to_be_bytes(), &[right as u8]])
}

/// Verifies `signature` over `input`, strictly (RFC 8032 §5.1.7, cofactorless, small-order keys refused).
pub fn verify(key: &VerifyKey, input: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key.as_bytes()) else { return false };
    key.verify_strict(input, &DalekSignature::from_bytes(signature.as_bytes())).is_ok()
}

/// A signature input that is bound to one connection.
pub(crate) fn connection_input(label: Label, nonce: &ConnectionNonce, server: &ServerId, fields: &[&[u8]]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = vec![nonce.as_bytes(), server.as_bytes()];
    all.extend_from_slice(fields);
    transcript(label, &all)
}
