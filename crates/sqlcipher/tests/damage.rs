//! What a store does with a wrong key, a foreign or damaged file, and a second user: a typed error, and never a new store
//! on top of an old one.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../../../tests/conformance/store.rs"]
#[allow(dead_code, reason = "only `batch` is needed here")]
mod conformance;

use std::fs;
use std::path::Path;

use undertone::crypto::Secret32;
use undertone::store::{Direction, Store, StoreError, StoreView, Table};
use undertone_sqlcipher::{OpenError, SqlCipherStore, StoreKey};

const PAGE_LEN: usize = 4_096;

fn key(byte: u8) -> StoreKey {
    StoreKey::from_secret(Secret32::from_bytes([byte; 32]))
}

/// Commits rows `0..100`, each in a batch of its own.
fn fill(store: &SqlCipherStore) {
    for i in 0..100_u8 {
        store.commit(&conformance::batch(&[(Table::Identity, vec![i], Some(vec![i; 200]))])).unwrap();
    }
}

/// Opens and reads everything: how many rows there are.
fn row_count(path: &Path) -> Result<usize, StoreError> {
    let store = SqlCipherStore::open(path, &key(1))?;
    store.scan(Table::Identity, &[], &[0xff; 2], Direction::Ascending, usize::MAX).map(|rows| rows.len())
}

/// The files of a store that a process left behind when it died.
fn died(dir: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let path = dir.join("store");
    let store = SqlCipherStore::open(&path, &key(1)).unwrap();
    fill(&store);
    let files = ["store", "store-wal"].map(|name| (name, fs::read(dir.join(name)).unwrap())).to_vec();
    drop(store);
    files
}

fn lay_out(dir: &Path, files: &[(&'static str, Vec<u8>)]) {
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn a_wrong_key_is_refused_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&SqlCipherStore::open(&path, &key(1)).unwrap());
    let before = fs::read(&path).unwrap();

    assert_eq!(SqlCipherStore::open(&path, &key(2)).unwrap_err(), OpenError::Unreadable);

    assert!(fs::read(&path).unwrap() == before, "the file was written");
    assert_eq!(row_count(&path), Ok(100));
}

#[test]
fn foreign_files_are_refused_and_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    rusqlite::Connection::open(&plain).unwrap().execute_batch("CREATE TABLE rows (a, b)").unwrap();
    fs::write(dir.path().join("empty"), b"").unwrap();
    fs::write(dir.path().join("text"), "not a store. ".repeat(1_000)).unwrap();
    // Encrypted with our key, but by somebody else.
    let other = rusqlite::Connection::open(dir.path().join("other")).unwrap();
    other.execute_batch(&format!("PRAGMA key = \"x'{}'\"; CREATE TABLE t (a)", "01".repeat(32))).unwrap();
    drop(other);
    for name in ["plain", "empty", "text", "other"] {
        let before = fs::read(dir.path().join(name)).unwrap();
        assert_eq!(SqlCipherStore::open(&dir.path().join(name), &key(1)).unwrap_err(), OpenError::Unreadable, "{name}");
        assert!(fs::read(dir.path().join(name)).unwrap() == before, "{name} was written");
    }
}

#[test]
fn a_log_without_its_store_does_not_begin_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let files = died(dir.path());
    fs::remove_file(dir.path().join("store")).unwrap();
    lay_out(dir.path(), &files[1..]);

    assert_eq!(row_count(&dir.path().join("store")), Err(StoreError::Corrupt));
    assert!(!dir.path().join("store").exists());
}

#[test]
fn a_half_made_store_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.new"), b"half").unwrap();
    fs::write(dir.path().join("store.new-wal"), b"half").unwrap();
    fill(&SqlCipherStore::open(&dir.path().join("store"), &key(1)).unwrap());
    assert_eq!(row_count(&dir.path().join("store")), Ok(100));
    assert!(!dir.path().join("store.new").exists());
}

// A-FA-06
#[test]
fn a_flipped_byte_in_any_page_is_a_typed_error_or_a_page_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&SqlCipherStore::open(&path, &key(1)).unwrap());
    let sound = fs::read(&path).unwrap();
    let page_count = sound.len() / PAGE_LEN;
    assert!(page_count >= 8, "{page_count} pages");
    let mut refused = 0;
    for page in 0..page_count {
        for at in [0, 1_000, PAGE_LEN - 1] {
            let mut bytes = sound.clone();
            bytes[page * PAGE_LEN + at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            match row_count(&path) {
                Err(error) => {
                    assert_eq!(error, StoreError::Corrupt, "page {page} byte {at}");
                    refused += 1;
                }
                Ok(count) => assert_eq!(count, 100, "page {page} byte {at}"),
            }
            assert_eq!(fs::read(&path).unwrap().len(), sound.len(), "nothing was replaced");
            let _ = fs::remove_file(dir.path().join("store-wal"));
        }
    }
    assert!(refused >= 3 * (page_count - 2), "{refused} of {} flips were noticed", 3 * page_count);
    fs::write(&path, &sound).unwrap();
    assert_eq!(row_count(&path), Ok(100));
}

// A-FA-06
#[test]
fn a_flipped_byte_in_the_log_never_takes_finished_batches_back_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let files = died(dir.path());
    let log = &files[1].1;
    lay_out(dir.path(), &files);
    assert_eq!(row_count(&dir.path().join("store")), Ok(100), "undamaged, the log gives everything back");
    let mut refused = 0;
    for at in (0..log.len()).step_by(2_003) {
        let mut damaged = files.clone();
        damaged[1].1[at] ^= 0x10;
        lay_out(dir.path(), &damaged);
        match row_count(&dir.path().join("store")) {
            Err(error) => {
                assert_eq!(error, StoreError::Corrupt, "byte {at}");
                refused += 1;
            }
            // Only at the very end does damage look like a torn write.
            Ok(count) => assert!(count >= 99 && log.len() - at < 4 * (PAGE_LEN + 24), "byte {at}: {count} rows"),
        }
    }
    assert!(refused > 100, "{refused}");
}

// A-FA-04
#[test]
fn a_log_cut_anywhere_gives_back_a_prefix_of_the_batches() {
    let dir = tempfile::tempdir().unwrap();
    let files = died(dir.path());
    let whole = files[1].1.len();
    let mut before = 0;
    for len in (0..=whole).step_by(3_001).chain([whole]) {
        let mut cut = files.clone();
        cut[1].1.truncate(len);
        lay_out(dir.path(), &cut);
        let count = row_count(&dir.path().join("store")).unwrap();
        assert!(count >= before, "{count} rows of {len} bytes, {before} of fewer");
        before = count;
    }
    assert_eq!(before, 100);
}

#[test]
fn a_newer_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    drop(SqlCipherStore::open(&path, &key(1)).unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute_batch(&format!("PRAGMA key = \"x'{}'\"; PRAGMA user_version = 99", "01".repeat(32))).unwrap();
    drop(newer);

    let before = fs::read(&path).unwrap();
    assert_eq!(SqlCipherStore::open(&path, &key(1)).unwrap_err(), OpenError::TooNew);
    assert!(fs::read(&path).unwrap() == before, "the file was written");
    assert_eq!(row_count(&path), Err(StoreError::TooNew));
}

#[test]
fn a_second_user_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let first = SqlCipherStore::open(&path, &key(1)).unwrap();
    let clone = first.clone();

    assert_eq!(SqlCipherStore::open(&path, &key(1)).unwrap_err(), OpenError::Busy);
    drop(first);
    assert_eq!(SqlCipherStore::open(&path, &key(1)).unwrap_err(), OpenError::Busy, "a clone still holds it");
    drop(clone);
    assert!(SqlCipherStore::open(&path, &key(1)).is_ok());
}

#[cfg(unix)]
#[test]
fn the_same_store_under_another_name_is_refused_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let _first = SqlCipherStore::open(&path, &key(1)).unwrap();
    std::os::unix::fs::symlink(&path, dir.path().join("alias")).unwrap();
    assert_eq!(SqlCipherStore::open(&dir.path().join("alias"), &key(1)).unwrap_err(), OpenError::Busy);
}

#[cfg(unix)]
#[test]
fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let store = SqlCipherStore::open(&dir.path().join("store"), &key(1)).unwrap();
    fill(&store);
    for name in ["store", "store-wal", "store.lock"] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is {mode:o}");
    }
}

#[test]
fn a_path_that_cannot_hold_a_store_is_a_fault_of_the_medium() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(SqlCipherStore::open(dir.path(), &key(1)).unwrap_err(), OpenError::Medium);
    let missing = dir.path().join("no such directory").join("store");
    assert_eq!(SqlCipherStore::open(&missing, &key(1)).unwrap_err(), OpenError::Medium);
}

// A-FA-05
#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_written_is_a_fault_of_the_medium() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    const STORE: &str = "UNDERTONE_READ_ONLY_STORE";
    const NOBODY: u32 = 65_534;
    if let Some(path) = std::env::var_os(STORE) {
        let error = SqlCipherStore::open(Path::new(&path), &key(1)).unwrap_err();
        return assert_eq!(error, OpenError::Medium);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fill(&SqlCipherStore::open(&path, &key(1)).unwrap());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(dir.path(), 0o777);
    mode(&path, 0o444);
    mode(&dir.path().join("store.lock"), 0o666);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_file_that_may_not_be_written_is_a_fault_of_the_medium"]).env(STORE, &path);
    // Root may write everything; then somebody else has to try.
    if fs::File::options().write(true).open(&path).is_ok() {
        child.uid(NOBODY);
    }
    match child.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("not shown here: the test cannot run as another user: {error}"),
    }
    mode(&path, 0o600);
    assert_eq!(row_count(&path), Ok(100));
}
