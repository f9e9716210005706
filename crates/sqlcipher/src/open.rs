//! Opening a store: what must hold before the first row is read.
//!
//! ```text
//! lock ─► is there a file? ─ no ─► make it aside, key it, migrate, sync, rename into place ─┐
//!                          └ yes ─► does its log end where a crash could have ended it? ────┤
//!                                                                                           ▼
//!              connect ─► encrypts? ─► key ─► first page opens? ─► version known? ─► settings ─► migrate ─► empty the log
//! ```
//!
//! A new store appears under its name only when it is whole. So an empty, foreign, damaged or wrongly keyed file is never
//! taken for a new store, and a client never starts over with a new identity on top of an old one.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use undertone::store::StoreError;

use crate::key::StoreKey;
use crate::lease::{Lease, beside, private_file};
use crate::schema::{self, STEPS};
use crate::wal;

/// Why a store did not open. Nothing was changed on disk, but for the lock file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The SQLite that was linked does not encrypt: the build is wrong.
    NoCipher,
    /// The key is wrong, or the file is damaged or is no store. The three look the same, because nothing in a store is in
    /// clear. Ask the user before setting a store aside: what is in it is gone without it.
    Unreadable,
    /// The store was written by a newer version of this crate.
    TooNew,
    /// Somebody else holds the store.
    Busy,
    /// The medium failed, is full or is read-only, or the directory does not exist.
    Medium,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCipher => "the linked SQLite does not encrypt",
            Self::Unreadable => "the key is wrong, or the file is damaged or is no store",
            Self::TooNew => "the store was written by a newer version",
            Self::Busy => "somebody else holds the store",
            Self::Medium => "the store's medium failed, is full or is read-only",
        })
    }
}

impl std::error::Error for OpenError {}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match store_error(&error) {
            StoreError::Busy => Self::Busy,
            StoreError::Corrupt => Self::Unreadable,
            StoreError::TooNew => Self::TooNew,
            _ => Self::Medium,
        }
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoCipher | OpenError::Medium => Self::Medium,
            OpenError::Unreadable => Self::Corrupt,
            OpenError::TooNew => Self::TooNew,
            OpenError::Busy => Self::Busy,
        }
    }
}

/// Which of the few faults of a store an error of SQLite is.
pub(crate) fn store_error(error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error;
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy,
            // Our statements are constant and valid, so what SQLite calls an unknown error is a page that did not
            // authenticate.
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown => StoreError::Corrupt,
            _ => StoreError::Medium,
        },
        // A statement against a damaged schema does not compile; a value of another type was not written by us.
        Error::SqlInputError { .. } | Error::InvalidColumnType(..) | Error::FromSqlConversionFailure(..) => {
            StoreError::Corrupt
        }
        _ => StoreError::Medium,
    }
}

/// Opens the store at `path`; makes it if there is nothing there.
pub(crate) fn open(path: &Path, key: &StoreKey) -> Result<(Connection, Lease), OpenError> {
    let lease = Lease::take(path)?;
    let log = beside(path, "-wal");
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(OpenError::Medium),
        Ok(_) => wal::check(&log)?,
        // A log without its store: somebody took the store away.
        Err(_) if log.exists() => return Err(OpenError::Unreadable),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path, key)?,
        Err(_) => return Err(OpenError::Medium),
    }
    let mut connection = connect(path, key)?;
    match schema::version(&connection)? {
        // An empty file, or somebody else's: ours get their version before their name.
        0 => return Err(OpenError::Unreadable),
        version if version > STEPS.len() => return Err(OpenError::TooNew),
        _ => settle(&connection)?,
    }
    schema::migrate(&mut connection, STEPS)?;
    // What a crash left in the log moves into the store before anything is added, so that `wal::check` never meets frames
    // of two lives.
    empty_log(&connection)?;
    Ok((connection, lease))
}

/// Makes a store, whole, under its name.
fn create(path: &Path, key: &StoreKey) -> Result<(), OpenError> {
    let aside = beside(path, ".new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(OpenError::Medium),
            _ => {}
        }
    }
    private_file(&aside).map_err(|_| OpenError::Medium)?;
    let mut connection = connect(&aside, key)?;
    settle(&connection)?;
    schema::migrate(&mut connection, STEPS)?;
    empty_log(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    into_place(&aside, path).map_err(|_| OpenError::Medium)
}

fn into_place(aside: &Path, path: &Path) -> std::io::Result<()> {
    File::open(aside)?.sync_all()?;
    fs::rename(aside, path)?;
    #[cfg(unix)]
    {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// A keyed connection whose first page opened. Nothing has been written yet.
fn connect(path: &Path, key: &StoreKey) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Plain SQLite ignores `PRAGMA key` without a word; then everything below would be in clear.
    let cipher = connection.query_row("PRAGMA cipher_version", [], |row| row.get::<_, String>(0));
    if !cipher.is_ok_and(|version| !version.is_empty()) {
        return Err(OpenError::NoCipher);
    }
    // A library does not write to its host's standard error. Memory that SQLite frees is wiped, the statement with the key
    // among it: a few per cent of a commit.
    connection.execute_batch("PRAGMA cipher_log_level = NONE; PRAGMA cipher_memory_security = ON")?;
    connection.execute_batch(&key.as_pragma())?;
    // Reading the first page is what tells a right key from a wrong one. One process holds the store, so that the index of
    // the log can stay in memory, and no other program gets in between.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; SELECT count(*) FROM sqlite_schema")?;
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Err(OpenError::Medium);
    }
    Ok(connection)
}

/// Puts every setting in force.
fn settle(connection: &Connection) -> Result<(), OpenError> {
    let journal: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if journal != "wal" {
        return Err(OpenError::Medium);
    }
    connection.execute_batch(SETTINGS)?;
    Ok(())
}

/// Moves everything from the log into the store and cuts the log to nothing. `PASSIVE` would leave old pages, and with them
/// old keys, in the log.
pub(crate) fn empty_log(connection: &Connection) -> Result<(), rusqlite::Error> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        0 => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)),
    }
}

/// `FULL` and the two for macOS: synced before a commit returns. `secure_delete`: a deleted value is overwritten, not
/// only forgotten. `temp_store`: nothing spills into a file. `cell_size_check`: a damaged page is found where it is read.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";
