//! The memory store does what every store must do.

#[path = "conformance/store.rs"]
mod conformance;

use proptest::prelude::*;
use undertone::store::{MemoryStore, Store, StoreView, Table};

proptest! {
    #[test]
    fn the_memory_store_is_a_sorted_map(batches in conformance::arb_batches(), scans in conformance::arb_scans()) {
        conformance::check(&MemoryStore::new(), &batches, &scans);
    }
}

#[test]
fn clones_of_a_memory_store_share_rows_and_a_snapshot_does_not() {
    let store = MemoryStore::new();
    let (clone, before) = (store.clone(), store.snapshot());
    store.commit(&conformance::batch(&[(Table::Meta, vec![1], Some(vec![2]))])).expect("memory does not fail");
    assert_eq!(clone.rows(Table::Meta).len(), 1);
    assert_eq!(before.get(Table::Meta, &[1]), Ok(None));
}
