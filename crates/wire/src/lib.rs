//! What the undertone library and its relay share, and nothing else: identifiers, gates and their proofs, the entry
//! chain, the frames of the relay protocol, and the bounds of all of them.
//!
//! Everything here is encoded in the TLS presentation language (RFC 8446 §3, with the variable-length vectors of
//! RFC 9420 §2.1.2), so that one value has exactly one encoding. The normative text is `spec/relay.md`.
//!
//! This crate knows nothing of envelopes, ratchets or groups: for the relay a payload is opaque bytes.

pub mod chain;
pub mod frame;
pub mod gate;
pub mod id;
pub mod label;
pub mod limits;
mod opaque;
pub mod refusal;

pub use opaque::VLBytes;
