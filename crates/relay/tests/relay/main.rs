//! The relay over real sockets, against `spec/relay.md`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod directory;
mod gates;
mod inbox;
mod limits;
mod logs;
mod peer;
mod process;
