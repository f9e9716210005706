//! The encrypted SQLite store of `undertone`: every byte on disk passes through SQLCipher, the write-ahead log too.
//!
//! ```text
//! <path>        the rows: AES-256-CBC pages, each with an HMAC-SHA512
//! <path>-wal    batches not yet in <path>: the same pages
//! <path>.lock   empty; locked by the operating system while a handle lives
//! ```
//!
//! ```
//! use undertone::crypto::Secret32;
//! use undertone::store::{Overlay, Store, StoreView, Table, Tx};
//! use undertone_sqlcipher::{SqlCipherStore, StoreKey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("store");
//! // The key comes from the keystore of the platform; a constant stands in for it here.
//! let key = StoreKey::from_secret(Secret32::from_bytes([7; 32]));
//! let store = SqlCipherStore::open(&path, &key)?;
//! let overlay = Overlay::default();
//! let mut tx = Tx::new(&store, &overlay);
//! tx.put(Table::Meta, b"greeting", *b"hello");
//! store.commit(&tx.into_batch())?;
//! assert_eq!(store.get(Table::Meta, b"greeting")?.as_deref().map(Vec::as_slice), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: a batch is one transaction and is synced before [`commit`](undertone::store::Store::commit) returns; a
//! file that cannot be read with the key is never written, and never replaced by a new one; one process at a time.
//!
//! Leaves out: keeping the key (the platform's keystore does), backups, and what the rows mean.

mod key;
mod lease;
mod open;
mod schema;
mod store;
mod wal;

pub use key::StoreKey;
pub use open::OpenError;
pub use store::SqlCipherStore;
