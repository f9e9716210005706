//! One step's view: what is durable, over it the batches on their way, over them the writes of this step.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Batch, Direction, Place, Row, StoreError, StoreView, Table, Value, prefix_end};

/// Batches that were handed to the driver and are not yet known to be durable, oldest first.
#[derive(Default)]
pub struct Overlay {
    batches: VecDeque<Arc<Batch>>,
}

impl Overlay {
    /// Adds the batch of the newest step.
    pub(crate) fn push(&mut self, batch: Arc<Batch>) {
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
    /// What each write replaced in the batch, oldest first.
    undo: Vec<(Place, Option<Option<Value>>)>,
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
        let newest_first = std::iter::once(&self.batch).chain(self.overlay.batches.iter().rev().map(Arc::as_ref));
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
        for batch in self.overlay.batches.iter().map(Arc::as_ref).chain(std::iter::once(&self.batch)) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "the memory store does not fail")]

    use super::super::{MemoryStore, Store};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

    /// What happens to a client's rows.
    #[derive(Clone, Debug)]
    enum Act {
        Put(Table, Vec<u8>, u8),
        Delete(Table, Vec<u8>),
        Mark,
        Undo,
        /// The step ends; its batch is on its way.
        End,
        /// The step is dropped.
        Drop,
        /// The driver joins that many batches, at most, in one commit.
        Commit(usize),
        Scan(Table, Vec<u8>, Vec<u8>, bool, usize),
    }

    fn arb_acts() -> impl Strategy<Value = Vec<Act>> {
        let table = || prop_oneof![Just(Table::Meta), Just(Table::Seen)];
        let key = || vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..4);
        let act = prop_oneof![
            8 => (table(), key(), any::<u8>()).prop_map(|(table, key, value)| Act::Put(table, key, value)),
            4 => (table(), key()).prop_map(|(table, key)| Act::Delete(table, key)),
            2 => Just(Act::Mark),
            2 => Just(Act::Undo),
            2 => Just(Act::End),
            1 => Just(Act::Drop),
            2 => (1..4_usize).prop_map(Act::Commit),
            8 => (table(), key(), key(), any::<bool>(), 0..6_usize)
                .prop_map(|(table, from, to, up, limit)| Act::Scan(table, from, to, up, limit)),
        ];
        vec(act, 1..80)
    }

    /// One step: its acts up to the one that ends it. Returns that one and the batch.
    fn step(tx: Tx<'_>, model: &mut Model, acts: &mut impl Iterator<Item = Act>) -> (Option<Act>, Batch) {
        let mut tx = tx;
        let mut mark = (tx.mark(), model.clone());
        for act in acts {
            match act {
                Act::Put(table, key, value) => {
                    tx.put(table, &key, [value]);
                    model.insert((table, key), vec![value]);
                }
                Act::Delete(table, key) => {
                    tx.delete(table, &key);
                    model.remove(&(table, key));
                }
                Act::Mark => mark = (tx.mark(), model.clone()),
                Act::Undo => {
                    tx.undo_to(mark.0);
                    *model = mark.1.clone();
                }
                Act::Scan(table, from, to, up, limit) => {
                    assert_eq!(tx.get(table, &from).unwrap().as_deref(), model.get(&(table, from.clone())));
                    let direction = if up { Direction::Ascending } else { Direction::Descending };
                    let within = |key: &[u8]| from.as_slice() <= key && key < to.as_slice();
                    let rows = tx.scan(table, &from, &to, direction, limit).unwrap();
                    assert_eq!(plain(rows), expected(model, table, within, up, limit));
                    let rows = tx.scan_prefix(table, &from, direction, limit).unwrap();
                    assert_eq!(plain(rows), expected(model, table, |key| key.starts_with(&from), up, limit));
                }
                Act::End | Act::Drop | Act::Commit(_) => return (Some(act), tx.into_batch()),
            }
        }
        (None, tx.into_batch())
    }

    fn plain(rows: Vec<Row>) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows.into_iter().map(|(key, value)| (key, value.to_vec())).collect()
    }

    fn expected(
        model: &Model,
        table: Table,
        within: impl Fn(&[u8]) -> bool,
        up: bool,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = model.iter().filter(|((of, key), _)| *of == table && within(key));
        let mut rows: Vec<_> = rows.map(|((_, key), value)| (key.clone(), value.clone())).collect();
        if !up {
            rows.reverse();
        }
        rows.truncate(limit);
        rows
    }

    proptest! {
        #[test]
        fn a_step_sees_a_sorted_map_whatever_is_durable_yet(acts in arb_acts()) {
            let store = MemoryStore::new();
            let mut overlay = Overlay::default();
            let mut model = Model::new();
            let mut acts = acts.into_iter();
            loop {
                let before = model.clone();
                let (end, batch) = step(Tx::new(&store, &overlay), &mut model, &mut acts);
                match end {
                    Some(Act::Drop) => model = before,
                    _ => overlay.push(Arc::new(batch)),
                }
                if let Some(Act::Commit(count)) = end {
                    let mut joined = Batch::default();
                    let count = count.min(overlay.batches.len());
                    for batch in overlay.batches.drain(..count) {
                        joined.merge(&batch);
                    }
                    store.commit(&joined).unwrap();
                }
                if end.is_none() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_durable_batch_leaves_the_overlay_oldest_first() {
        let store = MemoryStore::new();
        let mut overlay = Overlay::default();
        for value in [1_u8, 2] {
            let mut tx = Tx::new(&store, &overlay);
            tx.put(Table::Meta, b"k", [value]);
            let batch = tx.into_batch();
            overlay.push(Arc::new(batch));
        }
        overlay.pop();
        assert_eq!(Tx::new(&store, &overlay).get(Table::Meta, b"k").unwrap().as_deref(), Some(&vec![2]));
        overlay.pop();
        assert_eq!(Tx::new(&store, &overlay).get(Table::Meta, b"k").unwrap(), None);
    }

    #[test]
    fn a_batch_shows_no_value_in_debug() {
        let (store, overlay) = (MemoryStore::new(), Overlay::default());
        let mut tx = Tx::new(&store, &overlay);
        tx.put(Table::Sessions, b"\xabkey", b"\xabsecret".to_vec());
        assert_eq!(format!("{:?}", tx.into_batch()), "Batch(1 rows)");
        assert_eq!(format!("{store:?}"), "MemoryStore(0 rows)");
    }
}
