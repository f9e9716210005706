//! End-to-end encrypted messaging.

pub mod crypto;
pub mod identity;
pub mod store;
pub mod time;
