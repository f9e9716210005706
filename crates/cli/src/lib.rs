//! The commands of the `undertone` program, as a library, so that its tests can use the same stage as its demonstration.
//!
//! | module | command |
//! |---|---|
//! | `chat` | `undertone chat`: a client for a person, and for programs with `--json` |
//! | [`demo`] | `undertone demo`: a relay and four clients as processes, crashes included, and what came of it |
//! | [`inspect`] | `undertone inspect`: what the bytes of the relay protocol say, and what they hide |
//! | `relay` | `undertone relay`, hidden: the relay in this process, for the demonstration |
//! | `verify` | `undertone verify`: what the test vectors say, derived with the library |
//!
//! Leaves out the protocol (the `undertone` crate), and everything that moves bytes (`undertone-net`).

mod args;
mod chat;
pub mod demo;
mod home;
pub mod inspect;
mod relay;
mod verify;

pub use args::{Failure, run};
