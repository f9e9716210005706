//! The store: `fjall`, one committer thread, group commit.
//!
//! ```text
//! connections ──Write──▶ committer: apply to a step ─▶ one batch ─▶ sync ─▶ reply ─▶ hub raises heads
//!      ╰───────────── reads: committed rows only ◀────────╯
//! ```
//!
//! Invariants: nothing is visible, acknowledged or delivered before the sync of its batch; a batch is written only after
//! the one before it was synced; the first row of a batch is its mark, with the number of the batch. When a sync fails,
//! nothing more is written and the relay stops: after a failed fsync no later one says anything about the lost pages.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tls_codec::{DeserializeBytes, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use undertone_wire::frame::{Entry, EntryContent, Reply};
use undertone_wire::id::{Generation, Incarnation, LogId, Seq, ServerId};
use undertone_wire::limits::{READ_ENTRIES_MAX, READ_LEN_MAX};

use crate::config::{Memory, Retention};
use crate::hub::Hub;
use crate::ledger::{self, Write};
use crate::rows::{EntryRow, GateRow, Key, LogRow, MarkRow, StoreRow, decode, encode};
use crate::{journal, random};

/// Why the store cannot go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The storage engine failed; acknowledged entries are safe, the relay has to be started again.
    Engine(fjall::Error),
    /// A file beside the engine's cannot be read or written.
    Io(std::io::Error),
    /// A journal is damaged before its end: entries that were acknowledged may be missing. Restore the data directory
    /// from a backup, or start with an empty one.
    Hole {
        /// The number of the journal, which is its file name.
        journal: u64,
        /// The offset of the damage, bytes.
        offset: u64,
    },
    /// Another relay uses the data directory.
    InUse,
    /// A row is not one that this program wrote, or was written by a newer one.
    Foreign,
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Engine(error) => write!(f, "the storage engine failed: {error}"),
            Self::Io(error) => write!(f, "the data directory failed: {error}"),
            Self::Hole { journal, offset } => write!(
                f,
                "journal {journal}.jnl is damaged at byte {offset}, before its end: acknowledged entries may be missing; \
                 restore the data directory from a backup, or start with an empty one"
            ),
            Self::InUse => f.write_str("another relay uses the data directory"),
            Self::Foreign => f.write_str("the store holds a row that this program did not write, or a newer one did"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The committed rows. Cheap to clone; reads may wait for the disk.
#[derive(Clone)]
pub(crate) struct Rows {
    db: Database,
    rows: Keyspace,
    entries: Keyspace,
}

impl Rows {
    /// One row.
    pub(crate) fn get<T: DeserializeBytes>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        match self.keyspace(key).get(key.as_bytes())? {
            Some(bytes) => decode(&bytes).map(Some).ok_or(StoreError::Foreign),
            None => Ok(None),
        }
    }

    /// The last entry that the read key of `generation` opens; none if there is no such generation.
    pub(crate) fn readable_to(&self, log: &LogId, generation: Generation) -> Result<Option<Seq>, StoreError> {
        // The log comes first: what it says of the present generation holds up to its own last entry.
        let Some(row) = self.get::<LogRow>(&Key::log(log))? else { return Ok(None) };
        if generation == row.generation {
            return Ok(Some(row.last));
        }
        Ok(self.get::<GateRow>(&Key::gate(log, generation))?.and_then(|gate| gate.ended_by))
    }

    /// Contiguous entries from `from` to `to`, up to the bounds of one frame.
    pub(crate) fn page(&self, log: &LogId, from: Seq, to: Seq, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (first, last) = (Key::entry(log, from), Key::entry(log, to));
        let mut page = Vec::new();
        let mut page_len = 0;
        if from > to {
            return Ok(page);
        }
        for guard in self.entries.range(first.as_bytes()..=last.as_bytes()) {
            let row: EntryRow = decode(&guard.value()?).ok_or(StoreError::Foreign)?;
            page_len += payload_len(&row.entry);
            if !page.is_empty() && (page_len > READ_LEN_MAX || page.len() >= limit.min(READ_ENTRIES_MAX)) {
                break;
            }
            page.push(row.entry);
        }
        Ok(page)
    }

    /// The keys of what is due at `now_ms`, oldest first, at most `limit`.
    pub(crate) fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<Key>, StoreError> {
        let (first, last) = (Key::due(0, &Key::from_bytes(&[])), Key::due(now_ms, &Key::from_bytes(&[])));
        let keys = self.rows.range(first.as_bytes()..last.as_bytes()).take(limit);
        keys.map(|guard| Ok(Key::from_bytes(&guard.key()?))).collect()
    }

    fn keyspace(&self, key: &Key) -> &Keyspace {
        if key.is_entry() { &self.entries } else { &self.rows }
    }
}

/// Bytes of the payload of an entry; none for a stub.
pub(crate) fn payload_len(entry: &Entry) -> usize {
    match &entry.content {
        EntryContent::Payload(payload) => payload.as_slice().len(),
        EntryContent::Stub(_) => 0,
    }
}

/// The writes of one group of requests, over the committed rows.
pub(crate) struct Step<'a> {
    /// The committed rows.
    pub(crate) rows: &'a Rows,
    /// How long things are kept.
    pub(crate) retention: &'a Retention,
    /// The relay's time, which never runs back.
    pub(crate) now_ms: u64,
    writes: BTreeMap<Key, Option<Vec<u8>>>,
    raised: Vec<Raised>,
}

/// New entries of one log.
pub(crate) struct Raised {
    pub(crate) log: LogId,
    pub(crate) generation: Generation,
    pub(crate) turned_at: Seq,
    pub(crate) entries: Vec<Entry>,
}

impl Step<'_> {
    /// One row, as the requests before left it.
    pub(crate) fn get<T: DeserializeBytes>(&self, key: &Key) -> Result<Option<T>, StoreError> {
        match self.writes.get(key) {
            Some(Some(bytes)) => decode(bytes).map(Some).ok_or(StoreError::Foreign),
            Some(None) => Ok(None),
            None => self.rows.get(key),
        }
    }

    /// Writes a row.
    pub(crate) fn put(&mut self, key: Key, row: &impl Serialize) {
        self.writes.insert(key, Some(encode(row)));
    }

    /// Deletes a row.
    pub(crate) fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    /// Deletes the row under `key`, or what the [ledger] makes of it, once `due_ms` has come.
    pub(crate) fn put_due(&mut self, due_ms: u64, key: &Key) {
        self.writes.insert(Key::due(due_ms, key), Some(Vec::new()));
    }

    /// Says that subscribers have something to read after the commit.
    pub(crate) fn raise(&mut self, raised: Raised) {
        self.raised.push(raised);
    }
}

/// One request on its way to the committer.
struct Job {
    write: Write,
    reply: oneshot::Sender<Reply>,
}

/// The store of a running relay.
pub(crate) struct Store {
    /// The committed rows.
    pub(crate) rows: Rows,
    /// The relay's name.
    pub(crate) server: ServerId,
    /// The life of this store.
    pub(crate) incarnation: Incarnation,
    jobs: mpsc::Sender<Job>,
    failed: watch::Receiver<bool>,
}

/// The committer thread, to be joined once every [`Store`] handle is gone.
pub(crate) struct Committing(std::thread::JoinHandle<Result<(), StoreError>>);

impl Committing {
    /// Waits for the last commit; the caller has dropped the [`Store`].
    pub(crate) fn join(self) -> Result<(), StoreError> {
        self.0.join().unwrap_or(Err(StoreError::Foreign))
    }
}

impl Store {
    /// Opens the store in `data`, and starts the committer.
    pub(crate) fn open(
        data: &Path,
        memory: &Memory,
        retention: Retention,
        hub: Arc<Hub>,
    ) -> Result<(Self, Committing), StoreError> {
        std::fs::create_dir_all(data)?;
        let lock = File::create(data.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse,
            TryLockError::Error(error) => StoreError::Io(error),
        })?;
        let guard = journal::guard_secret(data)?;
        let path = data.join("db");
        let scan = journal::check(&path, &guard)?;
        let db = Database::builder(&path)
            .cache_size(memory.cache_mib << 20)
            .worker_threads(2)
            .max_journaling_size(u64::max(64, memory.journals_mib) << 20)
            .open()?;
        let memtable_len = memory.memtable_mib << 20;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_len);
        let rows = Rows { rows: db.keyspace("rows", options)?, entries: db.keyspace("entries", options)?, db };
        let mark: Option<MarkRow> = rows.get(&Key::mark(&guard))?;
        let mut committer = Committer {
            rows: rows.clone(),
            guard,
            mark: mark.unwrap_or(MarkRow { commit: 0, now_ms: 0 }),
            retention,
            hub,
            _lock: lock,
        };
        scan.compare(committer.mark.commit)?;
        let store = committer.introduce(scan.is_cut())?;
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let (failed_tx, failed) = watch::channel(false);
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn(move || {
            let result = committer.run(queue);
            if result.is_err() {
                failed_tx.send_replace(true);
            }
            result
        })?;
        let StoreRow { server, incarnation, .. } = store;
        Ok((Self { rows, server, incarnation, jobs, failed }, Committing(thread)))
    }

    /// Hands a request to the committer. The receiver gets the reply once the write is durable, or nothing if the store
    /// failed. Waits while the committer's queue is full.
    pub(crate) async fn submit(&self, write: Write) -> oneshot::Receiver<Reply> {
        let (reply, receiver) = oneshot::channel();
        // A closed queue drops the sender, and the receiver says so.
        let _ = self.jobs.send(Job { write, reply }).await;
        receiver
    }

    /// Turns true when the store has failed.
    pub(crate) fn failed(&self) -> watch::Receiver<bool> {
        self.failed.clone()
    }
}

/// The one writer.
struct Committer {
    rows: Rows,
    guard: [u8; 16],
    mark: MarkRow,
    retention: Retention,
    hub: Arc<Hub>,
    /// Holds the data directory.
    _lock: File,
}

impl Committer {
    /// Reads who this store is; a new store, or one that may have lost history, begins a new life.
    fn introduce(&mut self, history_lost: bool) -> Result<StoreRow, StoreError> {
        let known: Option<StoreRow> = self.rows.get(&Key::store())?;
        if known.is_some_and(|row| row.schema != SCHEMA) {
            return Err(StoreError::Foreign);
        }
        match known {
            Some(row) if !history_lost => Ok(row),
            known => {
                let server = known.map_or_else(|| ServerId::from_bytes(random()), |row| row.server);
                let row = StoreRow { schema: SCHEMA, server, incarnation: Incarnation::from_bytes(random()) };
                let writes = BTreeMap::from([(Key::store(), Some(encode(&row)))]);
                self.commit(writes, clock_ms())?;
                Ok(row)
            }
        }
    }

    fn run(mut self, mut queue: mpsc::Receiver<Job>) -> Result<(), StoreError> {
        while let Some(first) = queue.blocking_recv() {
            let mut group_len = first.write.weight();
            let mut group = vec![first];
            while group.len() < GROUP_JOBS_MAX && group_len < GROUP_LEN_MAX {
                let Ok(job) = queue.try_recv() else { break };
                group_len += job.write.weight();
                group.push(job);
            }
            self.commit_group(group)
                .inspect_err(|error| tracing::error!(%error, "the store failed; the relay stops"))?;
        }
        Ok(self.rows.db.persist(PersistMode::SyncAll)?)
    }

    fn commit_group(&mut self, group: Vec<Job>) -> Result<(), StoreError> {
        let now_ms = clock_ms().max(self.mark.now_ms);
        let mut step =
            Step { rows: &self.rows, retention: &self.retention, now_ms, writes: BTreeMap::new(), raised: Vec::new() };
        let mut replies = Vec::with_capacity(group.len());
        for Job { write, reply } in group {
            replies.push((reply, ledger::apply(&mut step, write)?));
        }
        let Step { writes, raised, .. } = step;
        if !writes.is_empty() {
            self.commit(writes, now_ms)?;
        }
        for (sender, reply) in replies {
            // The connection may be gone; what it asked for is done all the same.
            let _ = sender.send(reply);
        }
        raised.into_iter().for_each(|raised| self.hub.raise(raised));
        Ok(())
    }

    fn commit(&mut self, writes: BTreeMap<Key, Option<Vec<u8>>>, now_ms: u64) -> Result<(), StoreError> {
        let mark = MarkRow { commit: self.mark.commit + 1, now_ms };
        let mut batch = self.rows.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.rows.rows, Key::mark(&self.guard).as_bytes(), encode(&mark));
        for (key, row) in writes {
            let keyspace = self.rows.keyspace(&key);
            match row {
                Some(bytes) => batch.insert(keyspace, key.as_bytes(), bytes),
                None => batch.remove(keyspace, key.as_bytes()),
            }
        }
        batch.commit()?;
        self.mark = mark;
        Ok(())
    }
}

/// Milliseconds since 1970-01-01T00:00Z by the machine's clock.
pub(crate) fn clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The version of the tables.
const SCHEMA: u16 = 1;
/// Requests that wait for the committer; connections wait beyond.
const QUEUE_JOBS_MAX: usize = 1_024;
/// Requests of one commit.
const GROUP_JOBS_MAX: usize = 256;
/// Bytes of the payloads of one commit; the last request may go past it.
const GROUP_LEN_MAX: usize = 1 << 20;
