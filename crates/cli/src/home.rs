//! The home of a client: a directory with its store and the key of its store.
//!
//! ```text
//! DIR/store.db    encrypted
//! DIR/store.key   64 hexadecimal digits, readable by its owner only
//! ```
//!
//! A key that is missing beside a store is an error, and never the beginning of a new identity. On a device with a keystore
//! the key belongs there; a file protects against the theft of the store alone.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use undertone::crypto::Secret32;
use undertone_sqlcipher::{SqlCipherStore, StoreKey};
use zeroize::Zeroizing;

use crate::args::Failure;

/// The store's file in a home.
const STORE: &str = "store.db";
/// The key's file in a home.
const KEY: &str = "store.key";
/// Bytes that are read of a key's file at most: 64 digits and an end of line.
const KEY_TEXT_LEN_MAX: u64 = 66;

/// Opens the store of the home `dir`, or makes both.
pub(crate) fn open(dir: &Path) -> Result<SqlCipherStore, Failure> {
    make(dir).map_err(|error| Failure::File { path: dir.to_owned(), error })?;
    let (path, key_path) = (dir.join(STORE), dir.join(KEY));
    let key = match (key_path.exists(), path.exists()) {
        (true, _) => read_key(&key_path)?,
        (false, false) => new_key(dir, &key_path)?,
        (false, true) => {
            let why = format!(
                "{} is there, but its key {} is missing. Put the key back. Without it nothing in the store can be read; \
                 to begin anew as somebody else, choose another --home.",
                path.display(),
                key_path.display()
            );
            return Err(Failure::Home { why });
        }
    };
    SqlCipherStore::open(&path, &key).map_err(|error| Failure::Store { path, error })
}

fn make(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Draws a key, and keeps it before any store is made with it.
fn new_key(dir: &Path, path: &Path) -> Result<StoreKey, Failure> {
    let secret = Secret32::random(&mut UnwrapErr(SysRng));
    let text = Zeroizing::new(HEXLOWER_PERMISSIVE.encode(secret.expose()));
    let aside = dir.join("store.key.new");
    let failed = |error| Failure::File { path: path.to_owned(), error };
    write_private(&aside, text.as_bytes()).map_err(failed)?;
    fs::rename(&aside, path).map_err(failed)?;
    sync_dir(dir).map_err(failed)?;
    Ok(StoreKey::from_secret(secret))
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn read_key(path: &Path) -> Result<StoreKey, Failure> {
    let failed = |error| Failure::File { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    check_private(path, &file)?;
    let mut text = Zeroizing::new(String::with_capacity(KEY_TEXT_LEN_MAX as usize));
    file.take(KEY_TEXT_LEN_MAX).read_to_string(&mut text).map_err(failed)?;
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map(Zeroizing::new);
    match bytes.ok().and_then(|bytes| Secret32::from_slice(&bytes)) {
        Some(secret) => Ok(StoreKey::from_secret(secret)),
        None => {
            let why = format!("{} does not hold the 64 hexadecimal digits of a key", path.display());
            Err(Failure::Home { why })
        }
    }
}

/// Refuses a key that others can read, as ssh does.
fn check_private(path: &Path, file: &File) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        let metadata = file.metadata().map_err(|error| Failure::File { path: path.to_owned(), error })?;
        if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
            let path = path.display();
            let why = format!("{path} can be read by others; make it yours alone first: chmod 600 {path}");
            return Err(Failure::Home { why });
        }
    }
    let _ = (path, file);
    Ok(())
}

/// Where the key and the store of a home are: for those who look at it from outside.
#[cfg(test)]
fn files(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    (dir.join(STORE), dir.join(KEY))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_home_is_made_once_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("new/home");
        drop(open(&home).unwrap());
        let (_, key) = files(&home);
        let text = fs::read_to_string(&key).unwrap();
        assert_eq!(text.len(), 64);
        drop(open(&home).unwrap());
        assert_eq!(fs::read_to_string(&key).unwrap(), text);
    }

    #[test]
    fn a_store_without_its_key_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let (store, key) = files(dir.path());
        let before = fs::read(&store).unwrap();
        fs::remove_file(&key).unwrap();
        assert!(matches!(open(dir.path()), Err(Failure::Home { .. })));
        assert!(!key.exists());
        assert_eq!(fs::read(&store).unwrap(), before);
    }

    #[test]
    fn a_wrong_or_damaged_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let (_, key) = files(dir.path());
        fs::write(&key, "00".repeat(32)).unwrap();
        assert!(matches!(open(dir.path()), Err(Failure::Store { .. })));
        fs::write(&key, "not a key").unwrap();
        assert!(matches!(open(dir.path()), Err(Failure::Home { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let (_, key) = files(dir.path());
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(open(dir.path()), Err(Failure::Home { .. })));
    }
}
