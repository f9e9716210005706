//! The hub: who listens to which log, and how far each log has come.
//!
//! It raises heads and wakes connections; it queues no payloads. A connection then sends what lies between its own
//! cursor and the head, out of the short tail kept here or out of the store: history, live traffic and a slow reader
//! are one mechanism, and a slow reader costs nobody else anything.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use undertone_wire::frame::Entry;
use undertone_wire::id::{Generation, LogId, Seq};
use undertone_wire::limits::{READ_ENTRIES_MAX, READ_LEN_MAX};

use crate::store::{Raised, payload_len};

/// Names one connection of this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// How far a log has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogHead {
    pub(crate) generation: Generation,
    /// The entry that began the generation.
    pub(crate) turned_at: Seq,
    pub(crate) last: Seq,
}

/// An ephemeral payload on its way.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    pub(crate) log: LogId,
    pub(crate) generation: Generation,
    pub(crate) payload: Arc<[u8]>,
}

/// What a connection should look at.
#[derive(Default)]
pub(crate) struct Wake {
    /// Logs that have come further than when it looked last.
    pub(crate) logs: BTreeSet<LogId>,
    /// Ephemeral payloads, oldest first.
    pub(crate) passing: VecDeque<Passing>,
}

/// The doorbell of one connection.
#[derive(Default)]
pub(crate) struct Doorbell {
    wake: Mutex<Wake>,
    notify: Notify,
}

impl Doorbell {
    /// Rings for one log.
    pub(crate) fn ring(&self, log: LogId) {
        lock(&self.wake).logs.insert(log);
        self.notify.notify_one();
    }

    fn pass(&self, passing: Passing) {
        let mut wake = lock(&self.wake);
        if wake.passing.len() >= PASSING_COUNT_MAX {
            wake.passing.pop_front();
        }
        wake.passing.push_back(passing);
        drop(wake);
        self.notify.notify_one();
    }

    /// Waits until it has rung since the last [`Doorbell::answer`].
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    /// Takes what it rang for.
    pub(crate) fn answer(&self) -> Wake {
        std::mem::take(&mut *lock(&self.wake))
    }
}

/// One log with at least one subscriber.
struct Live {
    head: LogHead,
    tail: VecDeque<Arc<Entry>>,
    tail_len: usize,
    subscribers: HashMap<ConnectionId, Arc<Doorbell>>,
}

#[derive(Default)]
struct Logs {
    live: HashMap<LogId, Live>,
    tails_len: usize,
}

/// The hub of a relay.
#[derive(Default)]
pub(crate) struct Hub {
    logs: Mutex<Logs>,
}

impl Hub {
    /// Adds a subscriber. The caller reads the head from the store *afterwards* and [brings](Hub::bring) it, so that no
    /// commit falls between.
    pub(crate) fn subscribe(&self, log: LogId, connection: ConnectionId, doorbell: Arc<Doorbell>) {
        let mut logs = lock(&self.logs);
        let live = logs.live.entry(log).or_insert_with(|| Live {
            head: LogHead { generation: Generation::FIRST, turned_at: Seq::from_u64(0), last: Seq::from_u64(0) },
            tail: VecDeque::new(),
            tail_len: 0,
            subscribers: HashMap::new(),
        });
        live.subscribers.insert(connection, doorbell);
    }

    /// Raises the head of a log that has subscribers to what the store said.
    pub(crate) fn bring(&self, log: &LogId, head: LogHead) {
        if let Some(live) = lock(&self.logs).live.get_mut(log) {
            live.raise(head);
        }
    }

    /// Removes a subscriber.
    pub(crate) fn unsubscribe(&self, log: &LogId, connection: ConnectionId) {
        let mut logs = lock(&self.logs);
        let Some(live) = logs.live.get_mut(log) else { return };
        live.subscribers.remove(&connection);
        if live.subscribers.is_empty() {
            let tail_len = live.tail_len;
            logs.live.remove(log);
            logs.tails_len -= tail_len;
        }
    }

    /// Takes note of a commit, and wakes the subscribers.
    pub(crate) fn raise(&self, raised: Raised) {
        let Raised { log, generation, turned_at, entries } = raised;
        let mut logs = lock(&self.logs);
        let Logs { live, tails_len } = &mut *logs;
        let Some(live) = live.get_mut(&log) else { return };
        let Some(last) = entries.last().map(|entry| entry.seq) else { return };
        live.raise(LogHead { generation, turned_at, last });
        *tails_len -= live.tail_len;
        live.extend(entries);
        *tails_len += live.tail_len;
        live.subscribers.values().for_each(|doorbell| doorbell.ring(log));
        if *tails_len > TAILS_LEN_MAX {
            logs.live.values_mut().for_each(Live::forget_tail);
            logs.tails_len = 0;
        }
    }

    /// How far a log has come, if somebody subscribes to it.
    pub(crate) fn head(&self, log: &LogId) -> Option<LogHead> {
        lock(&self.logs).live.get(log).map(|live| live.head)
    }

    /// Entries from `from` to `to` up to the bounds of one frame, if the tail goes back that far.
    pub(crate) fn tail(&self, log: &LogId, from: Seq, to: Seq) -> Option<Vec<Arc<Entry>>> {
        let logs = lock(&self.logs);
        let tail = &logs.live.get(log)?.tail;
        let first = tail.front()?.seq;
        let skip_count = from.as_u64().checked_sub(first.as_u64())? as usize;
        let mut page = Vec::new();
        let mut page_len = 0;
        for entry in tail.iter().skip(skip_count).take_while(|entry| entry.seq <= to).take(READ_ENTRIES_MAX) {
            page_len += payload_len(entry);
            if !page.is_empty() && page_len > READ_LEN_MAX {
                break;
            }
            page.push(Arc::clone(entry));
        }
        if page.is_empty() { None } else { Some(page) }
    }

    /// Sends an ephemeral payload to all subscribers but its sender.
    pub(crate) fn pass(&self, passing: &Passing, sender: ConnectionId) {
        let logs = lock(&self.logs);
        let Some(live) = logs.live.get(&passing.log) else { return };
        for (_, doorbell) in live.subscribers.iter().filter(|(connection, _)| **connection != sender) {
            doorbell.pass(passing.clone());
        }
    }
}

impl Live {
    fn raise(&mut self, head: LogHead) {
        if head.last > self.head.last || head.generation > self.head.generation {
            self.head = head;
        }
    }

    fn extend(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if self.tail.back().is_some_and(|back| back.seq.next() != entry.seq) {
                self.forget_tail();
            }
            self.tail_len += payload_len(&entry);
            self.tail.push_back(Arc::new(entry));
        }
        while self.tail.len() > TAIL_ENTRIES_MAX || self.tail_len > TAIL_LEN_MAX {
            let Some(entry) = self.tail.pop_front() else { break };
            self.tail_len -= payload_len(&entry);
        }
    }

    fn forget_tail(&mut self) {
        self.tail.clear();
        self.tail_len = 0;
    }
}

/// A poisoned lock means that a panic is ending the process anyway; what is behind it is plain data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries of one tail.
const TAIL_ENTRIES_MAX: usize = 64;
/// Bytes of payloads of one tail.
const TAIL_LEN_MAX: usize = 256 << 10;
/// Bytes of payloads of all tails; past it they are dropped, and readers use the store.
const TAILS_LEN_MAX: usize = 32 << 20;
/// Ephemeral payloads that wait for one connection; the oldest goes first.
const PASSING_COUNT_MAX: usize = 64;
