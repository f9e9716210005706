//! The guard in front of the storage engine's recovery.
//!
//! fjall 3.1 refuses to open behind some torn last batches, and opens silently without what follows a zeroed page. So
//! its journals are read before it is: a batch that the crash cut short at the very end is removed, anything else that
//! is damaged is refused.
//!
//! ```text
//! journal   batch* | zero bytes (space taken in advance)
//! batch     start | item* | end
//! start     u8 1 | u32 items_count | u64 seqno                      all little-endian
//! item      u8 2 | u8 type | u8 compression = 0 | u64 keyspace | u16 key_len | u32 value_len | u32 stored_len | key | value
//! end       u8 3 | u64 XXH3-64 of the items | "FJL" 3
//! ```
//!
//! Why the end can be told from the middle: the committer writes a batch only after the one before it was synced, so a
//! good batch behind a bad one says that the bad one was synced, and perhaps acknowledged. Each of our batches begins
//! with its mark, which holds its number under a key that is random per store: a payload that looks like a batch is
//! never taken for one, and a batch that is missing without a trace shows as a gap in the numbers.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::random;
use crate::rows::{Key, MarkRow, decode};
use crate::store::StoreError;

/// What the journals say.
pub(crate) struct Scan {
    /// The number of the last batch, and where it ends; none if the journals hold no batch.
    last: Option<Position>,
    is_cut: bool,
}

#[derive(Clone, Copy)]
struct Position {
    commit: u64,
    seqno: u64,
    journal: u64,
    offset: usize,
}

impl Position {
    /// Whether `batch` may be the next one. The engine's number is not under its checksum: a wrong one would put the
    /// batch before or far behind its place.
    fn precedes(&self, batch: &Batch) -> bool {
        batch.commit == self.commit + 1 && (1..SEQNO_STEP_MAX).contains(&batch.seqno.saturating_sub(self.seqno))
    }
}

impl Scan {
    /// Whether a torn batch was removed. It may have been the last one acknowledged, if the disk lied about its sync.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Checks that the engine recovered what the journals hold, no more and no less.
    pub(crate) fn compare(&self, commit: u64) -> Result<(), StoreError> {
        match self.last {
            Some(last) if last.commit != commit => Err(hole(last.journal, last.offset)),
            _ => Ok(()),
        }
    }
}

/// Reads the journals of the engine in `path`, cuts a torn last batch, and refuses any other damage.
///
/// # Errors
/// [`StoreError::Hole`] if acknowledged entries may be missing; nothing was changed then.
pub(crate) fn check(path: &Path, guard: &[u8; 16]) -> Result<Scan, StoreError> {
    let mut scan = Scan { last: None, is_cut: false };
    let journals = journals(path)?;
    if !is_created(path)? {
        discard_unfinished(path, &journals)?;
        return Ok(scan);
    }
    let mark_key = Key::mark(guard);
    for (at, (journal, file)) in journals.iter().enumerate() {
        let bytes = fs::read(file)?;
        let mut offset = 0;
        while let Some(batch) = parse_batch(&bytes, offset, &mark_key) {
            if scan.last.is_some_and(|last| !last.precedes(&batch)) {
                return Err(hole(*journal, offset));
            }
            offset = batch.end;
            scan.last = Some(Position { commit: batch.commit, seqno: batch.seqno, journal: *journal, offset });
        }
        if is_zero(&bytes[offset..]) {
            continue;
        }
        let is_last = at + 1 == journals.len();
        if !is_last || holds_batch(&bytes, offset + 1, &mark_key) {
            return Err(hole(*journal, offset));
        }
        tracing::warn!(journal, offset, "the last batch was torn and not acknowledged; it is removed");
        let file = OpenOptions::new().write(true).open(file)?;
        file.set_len(offset as u64)?;
        file.sync_all()?;
        scan.is_cut = true;
    }
    Ok(scan)
}

/// Reads the secret of the store's marks, or draws it.
pub(crate) fn guard_secret(data: &Path) -> Result<[u8; 16], StoreError> {
    let path = data.join("guard");
    match fs::read(&path) {
        Ok(bytes) => bytes.try_into().map_err(|_| StoreError::Foreign),
        Err(error) if error.kind() == ErrorKind::NotFound && is_created(&data.join("db"))? => Err(StoreError::Foreign),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = random();
            let draft = data.join("guard.new");
            let mut file = File::create(&draft)?;
            file.write_all(&secret)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(data)?.sync_all()?;
            Ok(secret)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the engine finished creating its files: it writes its version last.
fn is_created(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path.join("version")) {
        Ok(metadata) => Ok(metadata.len() >= VERSION_LEN),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes what a first start left behind that was killed before it could have stored anything.
fn discard_unfinished(path: &Path, journals: &[(u64, PathBuf)]) -> Result<(), StoreError> {
    for (journal, file) in journals {
        if !is_zero(&fs::read(file)?) {
            return Err(hole(*journal, 0));
        }
    }
    if fs::read_dir(path.join("keyspaces")).is_ok_and(|mut keyspaces| keyspaces.next().is_some()) {
        return Err(StoreError::Foreign);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The journals, oldest first.
fn journals(path: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut journals = Vec::new();
    let files = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(journals),
        files => files?,
    };
    for file in files {
        let file = file?.path();
        let number = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some("jnl"), Some(number)) = (file.extension().and_then(|extension| extension.to_str()), number) {
            journals.push((number, file));
        }
    }
    journals.sort();
    Ok(journals)
}

/// A whole, correct batch of ours.
struct Batch {
    commit: u64,
    seqno: u64,
    end: usize,
}

fn parse_batch(bytes: &[u8], at: usize, mark_key: &Key) -> Option<Batch> {
    let mut reader = Reader { bytes, at };
    if reader.u8()? != TAG_START {
        return None;
    }
    let items_count = reader.u32()?;
    let seqno = reader.u64()?;
    let items_from = reader.at;
    let mut mark = None;
    for item in 0..items_count {
        if reader.u8()? != TAG_ITEM {
            return None;
        }
        let [_type, compression] = reader.take(2)?.try_into().ok()?;
        reader.take(8)?;
        let key_len = usize::from(u16::from_le_bytes(reader.take(2)?.try_into().ok()?));
        let (value_len, stored_len) = (reader.u32()?, reader.u32()?);
        if compression != COMPRESSION_NONE || value_len != stored_len {
            return None;
        }
        let key = reader.take(key_len)?;
        let value = reader.take(stored_len as usize)?;
        if item == 0 {
            if key != mark_key.as_bytes() {
                return None;
            }
            mark = Some(decode::<MarkRow>(value)?);
        }
    }
    let items = &bytes[items_from..reader.at];
    let is_end = reader.u8()? == TAG_END;
    let checksum = reader.u64()?;
    let is_whole = is_end && reader.take(TRAILER.len())? == TRAILER && xxh3_64(items) == checksum;
    if is_whole { Some(Batch { commit: mark?.commit, seqno, end: reader.at }) } else { None }
}

/// Whether a batch of ours stands anywhere behind `from`.
fn holds_batch(bytes: &[u8], from: usize, mark_key: &Key) -> bool {
    bytes[from..]
        .chunks(PAGE_LEN)
        .enumerate()
        .filter(|(_, page)| !is_zero(page))
        .flat_map(|(at, page)| (from + at * PAGE_LEN..).zip(page))
        .any(|(at, byte)| *byte == TAG_START && parse_batch(bytes, at, mark_key).is_some())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE_LEN).all(|page| page == &[0; PAGE_LEN][..page.len()])
}

fn hole(journal: u64, offset: usize) -> StoreError {
    StoreError::Hole { journal, offset: offset as u64 }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const COMPRESSION_NONE: u8 = 0;
const TRAILER: &[u8] = b"FJL\x03";
/// Numbers that the engine may have used between two batches for its own housekeeping.
const SEQNO_STEP_MAX: u64 = 1 << 20;
/// Bytes of the engine's version file.
const VERSION_LEN: u64 = 4;
/// Bytes compared at once.
const PAGE_LEN: usize = 4_096;

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
