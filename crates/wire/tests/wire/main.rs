//! Frames, gates and the chain, against `spec/relay.md`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod arb;
mod bounds;
mod frames;
mod gates;
