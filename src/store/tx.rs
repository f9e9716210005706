//! One step's view: what is durable, over it the batches on their way, over them the writes of this step.

use std::collections::{BTreeMap, VecDeque};

use zeroize::Zeroizing;

use super::{Batch, Direction, Row, StoreError, StoreView, Table, Value, prefix_end};

/// Batches that were handed to the driver and are not yet known to be durable, oldest first.
#[derive(Default)]
pub struct Overlay {
    batches: VecDeque<Batch>,
}

impl Overlay {
    /// Adds the batch of the newest step.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.batches.push_back(batch);
    }

    /// Forgets the oldest batch: it is durable now.
    pub(crate) fn pop(&mut self) {
        self.batches.pop_front();
    }
}

/// Reads and writes of one step. Dropping it without [`Tx::into_batch`] leaves nothing behind.
pub struct Tx<'s> {
    store: &'s dyn StoreView,
    overlay: &'s Overlay,
    batch: Batch,
    undo: Vec<((Table, Vec<u8>), Option<Option<Value>>)>,
}

/// A point of a step to which its writes can be taken back.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Mark(usize);

impl<'s> Tx<'s> {
    /// Begins a step.
    pub fn new(store: &'s dyn StoreView, overlay: &'s Overlay) -> Self {
        Self { store, overlay, batch: Batch::default(), undo: Vec::new() }
    }

    /// Ends the step: the writes to be made durable.
    pub fn into_batch(self) -> Batch {
        self.batch
    }

    /// The value at `key`, as this step sees it.
    ///
    /// # Errors
    /// [`StoreError`] of the store below.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let row = (table, key.to_vec());
        let newest_first = std::iter::once(&self.batch).chain(self.overlay.batches.iter().rev());
        for batch in newest_first {
            if let Some(write) = batch.writes.get(&row) {
                return Ok(write.clone());
            }
        }
        self.store.get(table, key)
    }

    /// At most `limit` rows whose keys begin with `prefix`, as this step sees them. `prefix` is not all 0xff.
    ///
    /// # Errors
    /// [`StoreError`] of the store below.
    pub fn scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let end = prefix_end(prefix).unwrap_or_else(|| vec![0xff; prefix.len() + 64]);
        self.scan(table, prefix, &end, direction, limit)
    }

    /// At most `limit` rows with `from <= key < to`, as this step sees them.
    ///
    /// # Errors
    /// [`StoreError`] of the store below.
    pub fn scan(
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
        let mut writes: BTreeMap<Vec<u8>, Option<Value>> = BTreeMap::new();
        for batch in self.overlay.batches.iter().chain(std::iter::once(&self.batch)) {
            for ((_, key), value) in batch.writes.range((table, from.to_vec())..(table, to.to_vec())) {
                writes.insert(key.clone(), value.clone());
            }
        }
        // Every deletion above can hide one stored row, so that many more may be needed from below.
        let hidden = writes.values().filter(|value| value.is_none()).count();
        let stored = self.store.scan(table, from, to, direction, limit.saturating_add(hidden))?;
        let mut rows: BTreeMap<Vec<u8>, Value> = stored.into_iter().collect();
        for (key, value) in writes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        let rows = rows.into_iter();
        Ok(match direction {
            Direction::Ascending => rows.take(limit).collect(),
            Direction::Descending => rows.rev().take(limit).collect(),
        })
    }

    /// Puts a value.
    pub fn put(&mut self, table: Table, key: &[u8], value: impl Into<Vec<u8>>) {
        self.write(table, key, Some(Zeroizing::new(value.into())));
    }

    /// Deletes a row, whether or not it is there.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.write(table, key, None);
    }

    /// The point to which [`Tx::undo_to`] can go back.
    pub fn mark(&self) -> Mark {
        Mark(self.undo.len())
    }

    /// Takes back every write since `mark`.
    pub fn undo_to(&mut self, mark: Mark) {
        while self.undo.len() > mark.0 {
            if let Some((row, before)) = self.undo.pop() {
                match before {
                    Some(write) => self.batch.writes.insert(row, write),
                    None => self.batch.writes.remove(&row),
                };
            }
        }
    }

    fn write(&mut self, table: Table, key: &[u8], value: Option<Value>) {
        let row = (table, key.to_vec());
        let before = self.batch.writes.insert(row.clone(), value);
        self.undo.push((row, before));
    }
}
