//! The guard against every torn and damaged journal we can think of.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use tempfile::{TempDir, tempdir};
use undertone_wire::frame::{Append, Class, Create, NewEntry, Presence, Reply};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, Generation, Incarnation, LogId, Seq, VerifyKey};

use super::*;
use crate::config::{Memory, Retention};
use crate::hub::Hub;
use crate::ledger::Write as Request;
use crate::store::{Committing, Store};

const KEY: VerifyKey = VerifyKey::from_bytes([7; 32]);

fn open(data: &Path) -> Result<(Store, Committing), StoreError> {
    Store::open(data, &Memory::default(), Retention::default(), Arc::new(Hub::default()))
}

fn close((store, committing): (Store, Committing)) {
    drop(store);
    committing.join().unwrap();
}

async fn ask(store: &Store, write: Request) -> Reply {
    store.submit(write).await.await.unwrap()
}

fn append(id: u8) -> Request {
    let payload = vec![id; 700].into();
    let entry = NewEntry { id: EntryId::from_bytes([id; 16]), class: Class::Normal, ttl_s: 0, payload, turn: None };
    Request::Append(Append { log: log(), generation: Generation::FIRST, entries: vec![entry] })
}

fn log() -> LogId {
    LogId::of_control_key(&KEY)
}

/// A store with `acked` entries, one commit each, as the disk has it when the relay is killed.
struct Killed {
    data: TempDir,
    /// The bytes of the journal, without the space taken in advance.
    journal: Vec<u8>,
    /// Where each batch ends.
    ends: Vec<usize>,
    incarnation: Incarnation,
}

impl Killed {
    async fn after(acked: u8) -> Self {
        let data = tempdir().unwrap();
        let store = open(data.path()).unwrap();
        ask(&store.0, Request::Create(Create { log: log(), control: KEY, gate: Gate { read: KEY, append: KEY } }))
            .await;
        for id in 0..acked {
            ask(&store.0, append(id)).await;
        }
        let copy = tempdir().unwrap();
        copy_all(data.path(), copy.path());
        let incarnation = store.0.incarnation;
        close(store);
        let mark_key = Key::mark(&guard_secret(copy.path()).unwrap());
        let mut journal = fs::read(copy.path().join("db/0.jnl")).unwrap();
        let mut ends = Vec::new();
        while let Some(batch) = parse_batch(&journal, ends.last().copied().unwrap_or(0), &mark_key) {
            ends.push(batch.end);
        }
        assert_eq!(ends.len(), usize::from(acked) + 2, "the first start, the log, the entries");
        journal.truncate(*ends.last().unwrap());
        Self { data: copy, journal, ends, incarnation }
    }

    /// A copy of the store with another journal.
    fn with_journal(&self, journal: &[u8], taken_in_advance: bool) -> TempDir {
        let data = tempdir().unwrap();
        copy_all(self.data.path(), data.path());
        let path = data.path().join("db/0.jnl");
        fs::write(&path, journal).unwrap();
        if taken_in_advance {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
        }
        data
    }
}

fn copy_all(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let file = file.unwrap();
            (file.path(), to.join(file.file_name()))
        };
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_all(&path, &target);
        } else if path.extension().is_none_or(|extension| extension != "jnl") || fs::metadata(&path).unwrap().len() == 0
        {
            fs::copy(&path, &target).unwrap();
        } else {
            // Sparse, as the original.
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count());
            fs::write(&target, &bytes).unwrap();
        }
    }
}

async fn assert_holds(data: &Path, acked: u8) -> Incarnation {
    let store = open(data).unwrap();
    let page = store.0.rows.page(&log(), Seq::FIRST, Seq::from_u64(u64::from(acked) + 9), usize::MAX).unwrap();
    assert_eq!(page.len(), usize::from(acked), "every acknowledged entry, and no other");
    // It goes on, too.
    let Reply::Appended { places } = ask(&store.0, append(200)).await else { panic!("a place") };
    assert_eq!((places[0].seq.as_u64(), places[0].duplicate), (u64::from(acked) + 1, Presence::New));
    let Reply::Appended { places } = ask(&store.0, append(acked - 1)).await else { panic!("a place") };
    assert_eq!(places[0].duplicate, Presence::Duplicate);
    let incarnation = store.0.incarnation;
    close(store);
    close(open(data).unwrap());
    incarnation
}

// spec RELAY-01, RELAY-06; A-FA-04, A-FA-14
#[tokio::test]
async fn a_torn_last_batch_is_cut_wherever_it_was_torn() {
    const ACKED: u8 = 6;
    let killed = Killed::after(ACKED + 1).await;
    let [synced, end] = killed.ends[killed.ends.len() - 2..] else { unreachable!() };

    let near_the_ends = (synced + 1..synced + 40).chain(end - 20..end);
    for cut in near_the_ends.step_by(3).chain((synced + 40..end - 20).step_by(211)) {
        for taken_in_advance in [false, true] {
            let torn = killed.with_journal(&killed.journal[..cut], taken_in_advance);
            let incarnation = assert_holds(torn.path(), ACKED).await;
            assert_ne!(incarnation, killed.incarnation, "torn at {cut}: clients compare notes");
        }
    }
}

// A-FA-04: pages reach the disk in any order.
#[tokio::test]
async fn a_last_batch_with_holes_or_garbage_is_cut() {
    const ACKED: u8 = 4;
    let killed = Killed::after(ACKED + 1).await;
    let [synced, end] = killed.ends[killed.ends.len() - 2..] else { unreachable!() };
    for from in (synced..end).step_by(97) {
        let mut journal = killed.journal.clone();
        let to = usize::min(end, from + 64);
        journal[from..to].fill(if from % 2 == 0 { 0 } else { 0xa5 });
        if journal == killed.journal {
            continue;
        }
        assert_holds(killed.with_journal(&journal, true).path(), ACKED).await;
    }
}

// spec RELAY-06
#[tokio::test]
async fn a_whole_journal_opens_as_the_same_life() {
    let killed = Killed::after(5).await;
    for taken_in_advance in [false, true] {
        let data = killed.with_journal(&killed.journal, taken_in_advance);
        assert_eq!(assert_holds(data.path(), 5).await, killed.incarnation);
    }
}

// spec RELAY-06; A-FA-06
#[tokio::test]
async fn a_hole_before_the_end_is_refused_and_nothing_is_changed() {
    let killed = Killed::after(12).await;
    let last_from = killed.ends[killed.ends.len() - 2];
    for from in (0..last_from).step_by(389).chain(killed.ends[3]..killed.ends[3] + 13) {
        for len in [1, 64, PAGE_LEN] {
            let mut journal = killed.journal.clone();
            let to = usize::min(last_from, from + len);
            journal[from..to].iter_mut().for_each(|byte| *byte ^= if len == 1 { 0x40 } else { *byte });
            if journal == killed.journal {
                continue;
            }
            let data = killed.with_journal(&journal, from % 11 == 0);
            let before = fs::read(data.path().join("db/0.jnl")).unwrap();
            let Err(StoreError::Hole { journal: 0, offset }) = open(data.path()) else {
                panic!("{len} bytes at {from} went unnoticed")
            };
            assert!(killed.ends.contains(&(offset as usize)) || offset == 0, "the damaged batch is named");
            assert!(before == fs::read(data.path().join("db/0.jnl")).unwrap());
        }
    }
}

#[tokio::test]
async fn a_batch_missing_without_a_trace_is_refused() {
    let killed = Killed::after(6).await;
    let mut journal = killed.journal.clone();
    journal.drain(killed.ends[3]..killed.ends[4]);
    let data = killed.with_journal(&journal, true);
    assert!(matches!(open(data.path()), Err(StoreError::Hole { journal: 0, .. })));
}

// What looks like a batch inside a payload is none: it lacks the store's mark.
#[tokio::test]
async fn a_forged_batch_in_a_torn_payload_is_no_hole() {
    let killed = Killed::after(4).await;
    let other = Killed::after(4).await;
    let [synced, end] = killed.ends[killed.ends.len() - 2..] else { unreachable!() };
    let mut journal = killed.journal.clone();
    journal[synced..synced + 64].fill(0);
    let forged = &other.journal[other.ends[1]..other.ends[2]];
    journal.extend_from_slice(forged);
    assert!(journal.len() > end);
    assert_holds(killed.with_journal(&journal, true).path(), 3).await;
}

#[tokio::test]
async fn a_first_start_that_was_killed_half_way_starts_anew() {
    for version in [None, Some(&b""[..]), Some(&b"FJ"[..])] {
        let data = tempdir().unwrap();
        fs::create_dir_all(data.path().join("db/keyspaces")).unwrap();
        fs::write(data.path().join("db/lock"), b"").unwrap();
        fs::write(data.path().join("db/0.jnl"), vec![0; 100_000]).unwrap();
        if let Some(version) = version {
            fs::write(data.path().join("db/version"), version).unwrap();
        }
        close(open(data.path()).unwrap());
    }
}

#[tokio::test]
async fn a_store_without_its_version_or_guard_is_not_taken_for_a_new_one() {
    for file in ["guard", "db/version"] {
        let killed = Killed::after(2).await;
        fs::remove_file(killed.data.path().join(file)).unwrap();
        assert!(open(killed.data.path()).is_err(), "{file}");
        assert!(killed.data.path().join("db/0.jnl").exists());
    }
}

#[tokio::test]
async fn a_second_relay_on_the_same_data_is_refused() {
    let data = tempdir().unwrap();
    let first = open(data.path()).unwrap();
    assert!(matches!(open(data.path()), Err(StoreError::InUse)));
    close(first);
    close(open(data.path()).unwrap());
}
