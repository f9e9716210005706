//! Who may use a store: one process at a time, by a lock of the operating system on a file beside it.
//!
//! The lock ends with the process, however it ends. `docs/adr/0006-store-lock.md` says what a later lease changes.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// The right to use one store; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    _locked: File,
}

impl Lease {
    /// Takes the lock of the store at `path`, or fails at once if somebody holds it.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let file = private_file(&beside(path, ".lock")).map_err(|_| OpenError::Medium)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _locked: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Busy),
            Err(TryLockError::Error(_)) => Err(OpenError::Medium),
        }
    }
}

/// Opens a file for writing, and makes it if need be: readable by its owner only.
pub(crate) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The file beside a store whose name is the store's and `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
