//! The encrypted store does what every store must do, and still after it was closed and opened again.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../../../tests/conformance/store.rs"]
mod conformance;

use proptest::prelude::*;
use undertone::crypto::Secret32;
use undertone::store::{Direction, Store, StoreView, Table};
use undertone_sqlcipher::{SqlCipherStore, StoreKey};

fn key() -> StoreKey {
    StoreKey::from_secret(Secret32::from_bytes([0x5a; 32]))
}

proptest! {
    // Each case makes a store on disk and syncs every batch.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_encrypted_store_is_a_sorted_map(batches in conformance::arb_batches(), scans in conformance::arb_scans()) {
        let dir = tempfile::tempdir().unwrap();
        let store = SqlCipherStore::open(&dir.path().join("store"), &key()).unwrap();
        conformance::check(&store, &batches, &scans);
    }
}

#[test]
fn what_was_committed_is_there_after_reopening_and_the_log_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let rows: Vec<_> =
        (0..500_u16).map(|i| (Table::Messages, i.to_be_bytes().to_vec(), Some(vec![i as u8; 90]))).collect();

    let store = SqlCipherStore::open(&path, &key()).unwrap();
    store.commit(&conformance::batch(&rows)).unwrap();
    assert!(std::fs::metadata(dir.path().join("store-wal")).unwrap().len() > 0, "a commit goes to the log first");
    store.checkpoint().unwrap();
    assert_eq!(
        std::fs::metadata(dir.path().join("store-wal")).unwrap().len(),
        0,
        "a checkpoint cuts the log to nothing"
    );
    store.commit(&conformance::batch(&rows[..10])).unwrap();
    drop(store);

    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["store", "store.lock"]);
    let store = SqlCipherStore::open(&path, &key()).unwrap();
    let found = store.scan(Table::Messages, &[], &[0xff; 3], Direction::Ascending, usize::MAX).unwrap();
    assert_eq!(found.len(), 500);
    assert!(
        found.iter().zip(&rows).all(|(found, (_, key, value))| found.0 == *key && Some(found.1.to_vec()) == *value)
    );
}

#[test]
fn tables_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqlCipherStore::open(&dir.path().join("store"), &key()).unwrap();
    let rows: Vec<_> = Table::ALL.iter().map(|table| (*table, vec![7], Some(vec![table.number()]))).collect();
    store.commit(&conformance::batch(&rows)).unwrap();
    for table in Table::ALL {
        let found = store.scan(*table, &[], &[0xff], Direction::Ascending, 10).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.as_slice(), [table.number()]);
    }
}
