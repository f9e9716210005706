//! The reference relay of undertone: logs, inboxes and the directory of `spec/relay.md`, over WebSocket, on an embedded
//! store.
//!
//! It knows no accounts, no members and no contents: whoever signs with the key of a gate reads or appends, payloads are
//! opaque, and what it stores is durable before it says so to anybody.
//!
//! ```no_run
//! # async fn example() -> Result<(), undertone_relay::Error> {
//! let relay = undertone_relay::Relay::open(undertone_relay::Config::default()).await?;
//! println!("{}", relay.url());
//! relay.serve(std::future::pending()).await
//! # }
//! ```

mod config;
mod connection;
mod door;
mod hub;
mod journal;
mod ledger;
mod rows;
mod server;
mod store;

pub use config::{Config, LaneQuota, Limits, Memory, Retention};
pub use server::{Error, Relay, run};
pub use store::StoreError;

/// Random bytes of the operating system.
fn random<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes, or nothing here is safe");
    bytes
}
