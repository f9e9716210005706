//! What every store must do, said once: the memory store and the encrypted one are both driven through it, against a
//! sorted map that cannot be wrong. Included by path, so that no crate has to publish it.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use undertone::store::{Batch, Direction, Overlay, Store, StoreView, Table, Tx};

/// A write: a table, a key, and a value or a deletion.
type Write = (Table, Vec<u8>, Option<Vec<u8>>);

/// What a store should hold.
type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A read: a table, from, to, direction, limit.
type Scan = (Table, Vec<u8>, Vec<u8>, Direction, usize);

/// Batches of writes over few tables and short keys, so that they meet.
pub(crate) fn arb_batches() -> impl Strategy<Value = Vec<Vec<Write>>> {
    vec(vec((arb_table(), arb_key(), proptest::option::of(vec(any::<u8>(), 0..40))), 0..12), 0..6)
}

/// Ranges over the same tables and keys.
pub(crate) fn arb_scans() -> impl Strategy<Value = Vec<Scan>> {
    let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
    let limit = prop_oneof![0..8usize, Just(usize::MAX)];
    vec((arb_table(), arb_key(), arb_key(), direction, limit), 1..20)
}

fn arb_table() -> impl Strategy<Value = Table> {
    prop_oneof![Just(Table::Meta), Just(Table::Sessions), Just(Table::Receipts)]
}

fn arb_key() -> impl Strategy<Value = Vec<u8>> {
    // The ends of the byte range, a zero inside, and the empty key.
    vec(prop_oneof![Just(0), Just(1), Just(0x7f), Just(0x80), Just(0xff)], 0..4)
}

/// A batch with these writes.
pub(crate) fn batch(writes: &[Write]) -> Batch {
    let (nothing, overlay) = (undertone::store::MemoryStore::new(), Overlay::default());
    let mut tx = Tx::new(&nothing, &overlay);
    for (table, key, value) in writes {
        match value {
            Some(value) => tx.put(*table, key, value.clone()),
            None => tx.delete(*table, key),
        }
    }
    tx.into_batch()
}

/// Commits the batches and reads after each: whole tables, single rows and the given ranges.
pub(crate) fn check(store: &impl Store, batches: &[Vec<Write>], scans: &[Scan]) {
    let mut model = Model::new();
    for writes in batches {
        store.commit(&batch(writes)).expect("a commit on a sound medium");
        for (table, key, value) in writes {
            match value {
                Some(value) => model.insert((*table, key.clone()), value.clone()),
                None => model.remove(&(*table, key.clone())),
            };
        }
        compare(store, &model, scans);
    }
}

fn compare(store: &impl StoreView, model: &Model, scans: &[Scan]) {
    for (table, from, to, direction, limit) in scans {
        let rows = store.scan(*table, from, to, *direction, *limit).expect("a scan on a sound medium");
        let rows: Vec<_> = rows.into_iter().map(|(key, value)| (key, value.to_vec())).collect();
        assert_eq!(
            rows,
            expected(model, *table, from, to, *direction, *limit),
            "{table:?} {from:?}..{to:?} {direction:?} {limit}"
        );

        let value = store.get(*table, from).expect("a read on a sound medium");
        assert_eq!(value.as_deref(), model.get(&(*table, from.clone())), "{table:?} {from:?}");
    }
}

fn expected(
    model: &Model,
    table: Table,
    from: &[u8],
    to: &[u8],
    direction: Direction,
    limit: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows: Vec<_> = model
        .iter()
        .filter(|((of, key), _)| *of == table && from <= key.as_slice() && key.as_slice() < to)
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    if direction == Direction::Descending {
        rows.reverse();
    }
    rows.truncate(limit);
    rows
}
