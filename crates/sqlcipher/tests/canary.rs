//! Nothing that is put into a store stands in its files: not raw, not in hex, not in base64.
//!
//! A-FA-10. The same search runs over a plain SQLite file and over written-out encodings, where it must find every one.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../../../tests/conformance/store.rs"]
#[allow(dead_code, reason = "only `batch` is needed here")]
mod conformance;

use std::fs;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use rand::RngExt as _;
use undertone::crypto::Secret32;
use undertone::store::{Store, Table};
use undertone_sqlcipher::{SqlCipherStore, StoreKey};

const CANARY_COUNT: usize = 200;
const CANARY_LEN: usize = 24;

fn canaries() -> Vec<Vec<u8>> {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut rng = rand::rng();
    (0..CANARY_COUNT).map(|_| (0..CANARY_LEN).map(|_| letters[rng.random_range(0..letters.len())]).collect()).collect()
}

/// Every form in which a canary could stand in a file: raw, hex, and what base64 makes of its inside at each of the three
/// phases of a longer text.
fn forms(canary: &[u8]) -> Vec<Vec<u8>> {
    let base64 = (0..3).map(|phase| {
        let inside = &canary[phase..];
        BASE64.encode(&inside[..inside.len() / 3 * 3]).into_bytes()
    });
    let hex = [HEXLOWER.encode(canary).into_bytes(), HEXUPPER.encode(canary).into_bytes()];
    std::iter::once(canary.to_vec()).chain(hex).chain(base64).collect()
}

/// How many canaries stand somewhere in the files of a directory, and how many bytes were searched.
fn found(dir: &Path, canaries: &[Vec<u8>]) -> (usize, usize) {
    let files: Vec<Vec<u8>> = fs::read_dir(dir).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    let seen = |needle: &[u8]| files.iter().any(|file| memmem(file, needle));
    let count = canaries.iter().filter(|canary| forms(canary).iter().any(|form| seen(form))).count();
    (count, files.iter().map(Vec::len).sum())
}

/// Whether `needle` stands in `hay`: by its first byte, then whole.
fn memmem(hay: &[u8], needle: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|byte| *byte == needle[0]) {
        if hay[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}

#[test]
fn no_value_and_no_key_stands_in_any_file_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        SqlCipherStore::open(&dir.path().join("store"), &StoreKey::from_secret(Secret32::from_bytes([9; 32]))).unwrap();
    let canaries = canaries();
    for (i, pair) in canaries.chunks(2).enumerate() {
        let value = [b"some text around ", pair[1].as_slice(), b" it"].concat();
        store.commit(&conformance::batch(&[(Table::ALL[i % Table::ALL.len()], pair[0].clone(), Some(value))])).unwrap();
    }

    let (in_log, searched) = found(dir.path(), &canaries);
    assert_eq!(in_log, 0, "with the batches still in the log");
    assert!(searched > CANARY_COUNT * CANARY_LEN, "there was something to search");

    store.checkpoint().unwrap();
    assert_eq!(found(dir.path(), &canaries).0, 0, "with the batches moved into the store");

    for pair in canaries.chunks(2) {
        let rows: Vec<_> = Table::ALL.iter().map(|table| (*table, pair[0].clone(), None)).collect();
        store.commit(&conformance::batch(&rows)).unwrap();
    }
    drop(store);
    assert_eq!(found(dir.path(), &canaries).0, 0, "deleted and closed");
}

#[test]
fn the_search_finds_every_canary_in_a_plain_file() {
    let canaries = canaries();
    let dir = tempfile::tempdir().unwrap();
    let plain = rusqlite::Connection::open(dir.path().join("plain")).unwrap();
    plain.execute_batch("CREATE TABLE rows (key BLOB, value BLOB)").unwrap();
    for pair in canaries.chunks(2) {
        plain.execute("INSERT INTO rows VALUES (?1, ?2)", [&pair[0], &pair[1]]).unwrap();
    }
    assert_eq!(found(dir.path(), &canaries).0, CANARY_COUNT);
}

#[test]
fn the_search_finds_every_canary_in_every_encoding() {
    let canaries = canaries();
    let encodings: [fn(&[u8]) -> String; 3] =
        [|bytes| HEXLOWER.encode(bytes), |bytes| HEXUPPER.encode(bytes), |bytes| BASE64.encode(bytes)];
    for encode in encodings {
        for lead in ["", "1", "22"] {
            let dir = tempfile::tempdir().unwrap();
            for (i, canary) in canaries.iter().enumerate() {
                let text = encode(&[lead.as_bytes(), canary, b"behind"].concat());
                fs::write(dir.path().join(i.to_string()), text).unwrap();
            }
            assert_eq!(found(dir.path(), &canaries).0, CANARY_COUNT, "after {lead:?}");
        }
    }
}
