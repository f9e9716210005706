//! The store: reads and one transaction per batch, over one connection.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use undertone::store::{Batch, Direction, Row, Store, StoreError, StoreView, Table, Value};

use crate::key::StoreKey;
use crate::lease::Lease;
use crate::open::{self, OpenError, empty_log, store_error};

/// A store on disk, encrypted with a [`StoreKey`]. Clones share one connection; the store is closed, and its log emptied,
/// when the last of them is dropped.
///
/// After a failed commit every further call fails in the same way: what is on disk is only known again after reopening.
#[derive(Clone)]
pub struct SqlCipherStore {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    connection: Connection,
    /// Set by the first commit or checkpoint that failed.
    failed: Option<StoreError>,
    /// Dropped after the connection is closed: fields go in this order.
    _lease: Lease,
}

impl SqlCipherStore {
    /// Opens the store at `path`, or makes it if there is no file there; its directory must exist. The files
    /// `<path>-wal`, `<path>.lock` and, for a moment, `<path>.new` belong to it.
    ///
    /// # Errors
    /// [`OpenError`]. A file that is there is never replaced: with a wrong key, or damaged, it stays as it is.
    pub fn open(path: &Path, key: &StoreKey) -> Result<Self, OpenError> {
        let (connection, lease) = open::open(path, key)?;
        Ok(Self { shared: Arc::new(Mutex::new(Shared { connection, failed: None, _lease: lease })) })
    }

    /// Moves what the log holds into the store and cuts the log to nothing, so that no deleted key lives on in it. A
    /// driver calls it when idle, and every 30 seconds.
    ///
    /// # Errors
    /// [`StoreError`]; the handle is then of no more use.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.lock().write(|connection| empty_log(connection))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic inside a call drops its transaction, which rolls it back: the connection is sound.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreView for SqlCipherStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.lock().read(|connection| {
            let mut statement = connection.prepare_cached("SELECT value FROM rows WHERE tbl = ?1 AND key = ?2")?;
            statement.query_row(params![table.number(), key], |row| bytes(row, 0).map(Value::new)).optional()
        })
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let statement = match direction {
            Direction::Ascending => {
                "SELECT key, value FROM rows WHERE tbl = ?1 AND key >= ?2 AND key < ?3 ORDER BY key ASC LIMIT ?4"
            }
            Direction::Descending => {
                "SELECT key, value FROM rows WHERE tbl = ?1 AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT ?4"
            }
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lock().read(|connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let rows = statement.query_map(params![table.number(), from, to, limit], |row| {
                Ok((bytes(row, 0)?, Value::new(bytes(row, 1)?)))
            })?;
            rows.collect()
        })
    }
}

impl Store for SqlCipherStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.lock().write(|connection| {
            if batch.is_empty() {
                return Ok(());
            }
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO rows VALUES (?1, ?2, ?3)")?;
                let mut delete = transaction.prepare_cached("DELETE FROM rows WHERE tbl = ?1 AND key = ?2")?;
                for (table, key, value) in batch.writes() {
                    match value {
                        Some(value) => put.execute(params![table.number(), key, value])?,
                        None => delete.execute(params![table.number(), key])?,
                    };
                }
            }
            transaction.commit()
        })
    }
}

impl Shared {
    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        match self.failed {
            Some(error) => Err(error),
            None => read(&self.connection).map_err(|error| store_error(&error)),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Connection) -> rusqlite::Result<()>) -> Result<(), StoreError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        write(&mut self.connection).map_err(|error| {
            let error = store_error(&error);
            // A sync that failed once may succeed next time without the pages of the first: nothing may follow it.
            self.failed = Some(error);
            error
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.failed.is_none() {
            // Best effort: what stays in the log is encrypted, durable, and moved at the next opening.
            let _ = empty_log(&self.connection);
        }
    }
}

impl fmt::Debug for SqlCipherStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared: _ } = self;
        f.write_str("SqlCipherStore(…)")
    }
}

fn bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
        other => Err(rusqlite::Error::InvalidColumnType(column, String::new(), other.data_type())),
    }
}
