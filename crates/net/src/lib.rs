//! The tokio driver of undertone: what the client's state machine leaves to others, and nothing else.
//!
//! ```text
//!   app ── Handle::call ──▶ ┌────────┐  one turn at a time   ┌──────────────────────────┐
//!                           │ driver │ ────────────────────▶ │ Client::handle, poll     │ on a thread that may block:
//!   app ◀── Notice ──────── │  task  │ ◀──────────────────── │ Store::commit, Persisted │ SQLite syncs, MLS computes
//!                           └────────┘                       └──────────────────────────┘
//!                            ▲      │
//!                     frames │      │ frames
//!                           ┌┴──────▼┐
//!                           │  link  │ ── WebSocket ── relay
//!                           └────────┘
//! ```
//!
//! Invariants: whatever is told or transmitted was durable before (the client holds it back, and one commit joins all
//! steps of a turn); [`Handle::call`] answers when what the call changed is durable; events come in order, and again
//! after a restart until `Client::events_done` passes them; signals may be dropped. A lost connection is made anew with
//! exponential backoff and full jitter, and resumes where the store's cursors stand: no gap, no duplicate.
//!
//! A device that is joining an account ([`spawn_joining`]) is driven in the same way, until it is a client.
//!
//! Leaves out TLS (put a proxy in front, or use a tunnel), and HTTP long-poll.

mod driver;
mod link;
mod turn;

pub use driver::{Handle, Hook, JoiningHandle, Notice, Options, Stopped, spawn, spawn_joining};
pub use link::{BadAddress, RelayAddress};
pub use turn::{DriverError, now};

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
