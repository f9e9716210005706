//! End-to-end encrypted messaging.

// Tests inside the library share their helpers with those outside.
#[cfg(test)]
extern crate self as undertone;

pub mod content;
pub mod conversation;
pub mod crypto;
pub mod dm;
pub mod engine;
pub mod envelope;
mod error;
pub mod group;
pub mod identity;
pub mod limits;
pub mod store;
pub mod time;

pub use error::{Error, ErrorKind};
