//! `kill -9` at any moment, and a medium that stops taking bytes: what was acknowledged is there, whole, after reopening.
//!
//! The test starts its own binary again as the process that dies. The page cache outlives a killed process, so this does
//! not show what a power cut does.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../../../tests/conformance/store.rs"]
#[allow(dead_code, reason = "only `batch` is needed here")]
mod conformance;

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rand::RngExt as _;
use undertone::crypto::Secret32;
use undertone::store::{Direction, Store, StoreError, StoreView, Table};
use undertone_sqlcipher::{SqlCipherStore, StoreKey};

/// Names the store to the child; the parent runs without it.
const STORE: &str = "UNDERTONE_CRASH_STORE";
const ROWS_PER_BATCH: u64 = 9;

fn open(path: &Path) -> SqlCipherStore {
    SqlCipherStore::open(path, &StoreKey::from_secret(Secret32::from_bytes([3; 32]))).unwrap()
}

/// Batch `n`: rows over several tables and pages, and the counter. Each rewrites the rows of the batch eight before it.
fn rows(n: u64) -> Vec<(Table, Vec<u8>, Option<Vec<u8>>)> {
    let mut rows: Vec<_> = (1..ROWS_PER_BATCH)
        .map(|i| {
            let table = [Table::Messages, Table::Outbox, Table::Sessions][(i % 3) as usize];
            let len = 50 + (n * 37 + i * 911) % 3_000;
            let value = n.to_be_bytes().into_iter().cycle().take(len as usize).collect();
            (table, [(n % 8).to_be_bytes(), i.to_be_bytes()].concat(), Some(value))
        })
        .collect();
    rows.push((Table::Meta, b"count".to_vec(), Some(n.to_be_bytes().to_vec())));
    rows
}

/// The number of the last batch in the store, after seeing that it and the seven before it are whole.
fn last_whole_batch(store: &SqlCipherStore) -> u64 {
    let count = store.get(Table::Meta, b"count").unwrap();
    let last = count.map_or(0, |count| u64::from_be_bytes(count.as_slice().try_into().unwrap()));
    for n in last.saturating_sub(7).max(1)..=last {
        for (table, key, value) in &rows(n)[..ROWS_PER_BATCH as usize - 1] {
            assert_eq!(store.get(*table, key).unwrap().as_deref(), value.as_ref(), "batch {n} of {last} is whole");
        }
    }
    last
}

/// The process that dies: commits, then says so.
fn commit_until_killed(path: &Path) {
    let store = open(path);
    let mut n = last_whole_batch(&store);
    let mut out = std::io::stdout().lock();
    loop {
        n += 1;
        match store.commit(&conformance::batch(&rows(n))) {
            Ok(()) => writeln!(out, "ack {n}").unwrap(),
            Err(error) => return writeln!(out, "failed {error:?}").unwrap(),
        }
        if n.is_multiple_of(50) && store.checkpoint().is_err() {
            return writeln!(out, "failed checkpoint").unwrap();
        }
        out.flush().unwrap();
    }
}

/// Starts this binary again, to run only the test of that name, as the child.
fn child(test: &str, path: &Path, limit_blocks: Option<u32>) -> (Child, BufReader<ChildStdout>) {
    let binary = std::env::current_exe().unwrap();
    let mut command = match limit_blocks {
        None => Command::new(binary),
        // Files may not grow past the limit; with the signal ignored, a write that would fails with an error.
        Some(blocks) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(binary);
            shell
        }
    };
    let mut child = command
        .args(["--exact", test, "--nocapture"])
        .env(STORE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// The number behind the last whole `ack` line.
fn last_ack(lines: &[String]) -> Option<u64> {
    lines.iter().rev().find_map(|line| line.split_once("ack ")?.1.parse().ok())
}

fn store_of_child() -> Option<PathBuf> {
    std::env::var_os(STORE).map(PathBuf::from)
}

// A-FA-01, A-FA-02
#[test]
fn killed_at_random_no_acknowledged_batch_is_lost_or_torn() {
    if let Some(path) = store_of_child() {
        return commit_until_killed(&path);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut rng = rand::rng();
    let mut acked_before = 0;
    for round in 0..20 {
        let (mut child, out) = child("killed_at_random_no_acknowledged_batch_is_lost_or_torn", &path, None);
        // The first rounds die while the store is being made.
        let delay_ms = if round < 5 { rng.random_range(0..30) } else { rng.random_range(40..250) };
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines: Vec<String> = out.lines().map_while(Result::ok).collect();
        let acked = last_ack(&lines).unwrap_or(acked_before);

        let last = last_whole_batch(&open(&path));

        assert!(last == acked || last == acked + 1, "round {round}: acknowledged {acked}, found {last}");
        acked_before = last;
    }
    assert!(acked_before > 20, "the child did write: {acked_before}");
}

// A-FA-05
#[cfg(unix)]
#[test]
fn a_medium_that_takes_no_more_bytes_is_a_typed_error_and_loses_nothing() {
    if let Some(path) = store_of_child() {
        return commit_until_killed(&path);
    }
    for limit_blocks in [150, 400, 2_000] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        drop(open(&path));

        let test = "a_medium_that_takes_no_more_bytes_is_a_typed_error_and_loses_nothing";
        let (mut child, out) = child(test, &path, Some(limit_blocks));
        let lines: Vec<String> = out.lines().map_while(Result::ok).collect();
        child.wait().unwrap();

        let failed = format!("failed {:?}", StoreError::Medium);
        assert!(lines.iter().any(|line| line.ends_with(&failed) || line.ends_with("failed checkpoint")), "{lines:?}");
        let acked = last_ack(&lines).unwrap_or(0);
        assert_eq!(last_whole_batch(&open(&path)), acked, "at {limit_blocks} blocks");
        assert!(open(&path).scan(Table::Meta, &[], &[0xff], Direction::Ascending, 9).unwrap().len() <= 1);
    }
}
