//! A store in memory: for tests, for the simulator, and for clients that keep nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use super::{Batch, Direction, Place, Row, Store, StoreError, StoreView, Table, Value};

/// Rows in memory. Clones share the rows.
#[derive(Clone, Default)]
pub struct MemoryStore {
    rows: Arc<Mutex<BTreeMap<Place, Value>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows of a table, sorted by key: what a test compares before and after.
    pub fn rows(&self, table: Table) -> Vec<Row> {
        let rows = self.lock();
        rows.iter().filter(|((of, _), _)| *of == table).map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    /// A store of its own with the same rows: what a thief, or a backup, would have.
    pub fn snapshot(&self) -> Self {
        Self { rows: Arc::new(Mutex::new(self.lock().clone())) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Value>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreView for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        Ok(self.lock().get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.lock();
        let range = rows.range((table, from.to_vec())..(table, to.to_vec()));
        let row = |((_, key), value): (&Place, &Value)| (key.clone(), value.clone());
        Ok(match direction {
            Direction::Ascending => range.map(row).take(limit).collect(),
            Direction::Descending => range.rev().map(row).take(limit).collect(),
        })
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut rows = self.lock();
        for (table, key, value) in batch.writes() {
            match value {
                Some(value) => rows.insert((table, key.to_vec()), Zeroizing::new(value.to_vec())),
                None => rows.remove(&(table, key.to_vec())),
            };
        }
        Ok(())
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({} rows)", self.lock().len())
    }
}
