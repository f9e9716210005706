//! Stores that fail.

use std::cell::Cell;

use crate::store::{Direction, MemoryStore, Row, StoreError, StoreView, Table, Value};

/// A store whose medium fails after some reads.
pub(super) struct Failing<'s> {
    store: &'s MemoryStore,
    reads_left: Cell<usize>,
}

impl<'s> Failing<'s> {
    pub(super) fn after(store: &'s MemoryStore, reads: usize) -> Self {
        Self { store, reads_left: Cell::new(reads) }
    }

    fn read(&self) -> Result<(), StoreError> {
        let left = self.reads_left.get().checked_sub(1).ok_or(StoreError::Medium)?;
        self.reads_left.set(left);
        Ok(())
    }
}

impl StoreView for Failing<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.read()?;
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.read()?;
        self.store.scan(table, from, to, direction, limit)
    }
}
