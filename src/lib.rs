//! End-to-end encrypted messaging: groups on MLS (RFC 9420), conversations of two on a double ratchet opened by a
//! post-quantum handshake, and one envelope around both.
//!
//! The library is a state machine. It has no socket, no clock, no thread and no randomness of its own: what came in goes
//! into [`Client::handle`](engine::Client::handle), what is to be done comes out of [`Client::poll`](engine::Client::poll).
//! Most applications use a driver (`undertone-net`, on tokio) and never see either.
//!
//! # Where to begin
//!
//! | to | read |
//! |---|---|
//! | embed it | [`engine::Client`], [`engine::Event`], [`content::Content`] |
//! | show conversations | [`conversation`] |
//! | store on another medium | [`store::Store`] |
//! | drive it from another event loop | [`engine`] |
//! | check it | `spec/`, whose rule ids stand in the code and in the tests |
//!
//! # What can go wrong
//!
//! Calls return one [`Error`], with a [kind](Error::kind), a stable number and what helps. Entries that cannot be read are
//! not errors: they come as [`Event::Undecryptable`](engine::Event::Undecryptable) with a typed
//! [`Reason`](engine::Reason), and everything else goes on.
//!
//! # A conversation, without a relay
//!
//! ```
//! use undertone::engine::{Client, Input, Output};
//! use undertone::store::{MemoryStore, Store};
//! use undertone::time::UnixMs;
//!
//! let (store, now, rng) = (MemoryStore::new(), UnixMs::from_u64(1_800_000_000_000), &mut rand::rng());
//! let mut client = Client::create(store.clone(), "Ann", "ws://relay.example", now, rng)?;
//! while let Some(output) = client.poll() {
//!     match output {
//!         Output::Persist(step, batch) => {
//!             store.commit(&batch)?;
//!             client.handle(Input::Persisted(step), now, rng)?;
//!         }
//!         Output::Transmit(frame) => println!("{} bytes for the relay", frame.len()),
//!         Output::Event(id, event) => println!("{id:?} {event:?}"),
//!         _ => {}
//!     }
//! }
//! assert!(client.invitation()?.to_string().starts_with("undertone1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
