//! End-to-end encrypted messaging.

pub mod content;
pub mod crypto;
pub mod dm;
pub mod envelope;
pub mod group;
pub mod identity;
pub mod limits;
pub mod store;
pub mod time;
